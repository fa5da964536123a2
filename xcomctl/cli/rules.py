"""`xcomctl rules`: what each rule of `audit` and `preflight` finds, why it matters, how to fix it."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Annotated

import typer

from xcomctl.cli.console import parse_outputs
from xcomctl.cli.options import Manners, Output
from xcomctl.errors import UsageError
from xcomctl.formats import Column
from xcomctl.text import suggestion

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from xcomctl.audit.rule import Rule
    from xcomctl.formats import Part, Row

EXAMPLES = (
    ("List the rules", "xcomctl rules"),
    ("Explain one", "xcomctl rules xcom-over-limit"),
    ("Those of preflight, as JSON", "xcomctl rules 'xcom-airflow3-*' -o json"),
)
_COLUMNS = (
    Column("rule", "id"),
    Column("severity", "id", drop=1),
    Column("found_by", "id", title="found by", drop=2),
    Column("title"),
    Column("why", people=False),
    Column("example", people=False),
    Column("fix", people=False),
    Column("ignore", people=False),
)
CHOICES = {"columns": [one.name for one in _COLUMNS]}


def command(
    output: Output,
    manners: Manners,
    rule: Annotated[
        str | None, typer.Argument(metavar="[RULE]", help="Rule or glob. [default: all]")
    ] = None,
) -> None:
    """Explain the rules of audit and preflight."""
    from dataclasses import replace

    from xcomctl.cli import console

    manners.apply(console)
    outputs = parse_outputs(output.output)
    layout = output.layout("xcomctl.rules/1", "rules", _COLUMNS)
    rows = list(_rows(rule or "*"))
    if not rows:
        from xcomctl.audit.rules import AIRFLOW3_RULES, RULES

        known = [one.id for one in (*RULES, *AIRFLOW3_RULES)]
        raise UsageError(f'unknown rule "{rule}"', hint=suggestion(rule or "", known))
    if rule == rows[0]["rule"] and not layout.chosen:
        layout = replace(layout, prose=_paragraphs)
    elif len(rows) > 1:
        closing = '"xcomctl rules RULE" explains one: why it matters, and how to fix or ignore it'
        layout = replace(layout, closing=lambda: [closing])
    console.write(layout, rows, outputs)


def _rows(pattern: str) -> Iterator[Row]:
    """Yield the rules that match a glob."""
    from xcomctl.audit.rules import AIRFLOW3_RULES, RULES, UPKEEP

    for rule in (*RULES, *AIRFLOW3_RULES):
        if fnmatchcase(rule.id, pattern):
            preflight = rule in AIRFLOW3_RULES
            found_by = "preflight" if preflight else "audit"
            yield {
                "rule": rule.id,
                # An error if the migration stops or loses the value, else a warning.
                "severity": "error or warning" if preflight else str(rule.severity),
                "found_by": f"{found_by} --deep" if rule.deep else found_by,
                "title": rule.title,
                "why": rule.why,
                "example": rule.example,
                "fix": rule.fix,
                "ignore": None if rule in UPKEEP else _ignore(rule),
            }


def _ignore(rule: Rule) -> str:
    """Return the block of the configuration that ignores some findings of a rule."""
    return (
        "[[audit.ignore]]\n"
        f'rule = "{rule.id}"\n'
        'dag_id = "legacy_*"    # also task_id and key\n'
        'reason = "OPS-42: moving to object storage"\n'
        "# until = 2030-12-31   # reported again afterwards\n"
    )


def _paragraphs(row: Row) -> Sequence[tuple[Part, str]]:
    """Return a rule as people read it."""
    parts: list[tuple[Part, str]] = [
        ("title", f"{row['rule']}: {row['title']}"),
        ("item", f"Severity: {row['severity']}"),
        ("item", f"Found by: xcomctl {row['found_by']}"),
        ("text", f"Why: {row['why']}"),
        ("text", "Example:"),
        ("code", str(row["example"])),
        ("text", f"Fix: {row['fix']}"),
    ]
    if row["ignore"] is not None:
        parts.append(("text", "Ignore: in xcomctl.toml, with a reason:"))
        parts += [("code", line) for line in str(row["ignore"]).splitlines()]
    if row["found_by"] != "preflight":
        parts.append(("text", "Leave the rule out:"))
        parts.append(("command", f"xcomctl audit --skip-rules {row['rule']}"))
    return parts
