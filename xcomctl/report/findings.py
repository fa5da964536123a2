"""The section on findings: by DAG, each with how to fix it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xcomctl.report import markup

if TYPE_CHECKING:
    from collections.abc import Sequence

    from xcomctl.audit import Finding
    from xcomctl.report.facts import Facts

MOST_DAGS = 25
MOST_OF_DAG = 8
MOST_OPEN = 4
"""DAGs whose findings are shown without a click."""


def findings_section(facts: Facts) -> str:
    """Return the findings that are open, the DAGs with the gravest first, and the rules' fixes."""
    found = [one for one in facts.findings if one.state == "open"]
    if not found:
        contents = "<p>None.</p>"
    else:
        by_dag: dict[str, list[Finding]] = {}
        for one in found:
            name = one.dag_id if one.deployment is None else f"{one.deployment}: {one.dag_id}"
            by_dag.setdefault(name, []).append(one)
        dags = "".join(
            _dag(name, some, is_open=at < MOST_OPEN)
            for at, (name, some) in enumerate(list(by_dag.items())[:MOST_DAGS])
        )
        rest = len(by_dag) - MOST_DAGS
        more = (
            f'<p class="note">{rest:,} more DAGs have findings: run xcomctl audit.</p>'
            if rest > 0
            else ""
        )
        contents = f"{_summary(found)}{dags}{more}{_fixes(found)}"
    return f'<section id="findings" class="card"><h2>Findings</h2>\n{contents}</section>\n'


def _summary(found: Sequence[Finding]) -> str:
    return f"<p>{_counts(found)}.</p>"


def _counts(found: Sequence[Finding]) -> str:
    counts = [
        f"{number:,} {word}{'' if number == 1 else 's'}"
        for word in ("error", "warning", "note")
        if (number := sum(str(one.severity) == word for one in found))
    ]
    return ", ".join(counts)


def _dag(name: str, found: Sequence[Finding], *, is_open: bool) -> str:
    items = "".join(_item(one) for one in found[:MOST_OF_DAG])
    rest = len(found) - MOST_OF_DAG
    more = f'<li class="note">and {rest:,} more</li>' if rest > 0 else ""
    shown = "All DAGs" if name == "*" else markup.text(name)
    summary = f'<span class="id">{shown}</span> <span class="note">{_counts(found)}</span>'
    return (
        f'<details class="dag"{" open" if is_open else ""}><summary>{summary}</summary>'
        f'<ul class="findings">{items}{more}</ul></details>'
    )


def _item(one: Finding) -> str:
    count = f" \u00b7 {one.occurrences:,} XComs" if one.occurrences > 1 else ""
    name = f"{markup.text(one.task_id)}:{markup.text(markup.key(one.key))}"
    return (
        f'<li><span class="badge {one.severity}">{one.severity}</span> <span class="id">{name}</span> '
        f'{markup.text(one.message)}<span class="note">{count} \u00b7 '
        f'<a href="#{one.rule.id}">{one.rule.id}</a></span></li>'
    )


def _fixes(found: Sequence[Finding]) -> str:
    rules = {one.rule.id: one.rule for one in found}
    items = "".join(
        f'<dt id="{rule.id}">{rule.id}</dt><dd>{markup.text(rule.why)} {markup.text(rule.fix)}</dd>'
        for rule in rules.values()
    )
    return f"<h3>How to fix</h3><dl>{items}</dl>"
