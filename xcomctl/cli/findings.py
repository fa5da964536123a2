"""What `audit` and `preflight` share: the limits to apply, and findings as rows."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, cast

from xcomctl.errors import DatabaseError, UsageError
from xcomctl.formats import FORMATS, Column
from xcomctl.model import Limit, parse_size
from xcomctl.sizes import limits
from xcomctl.text import suggestion

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

    from xcomctl.audit import Finding, Report
    from xcomctl.audit.rule import Rule, Severity
    from xcomctl.cli.console import Outputs
    from xcomctl.config.file import Config
    from xcomctl.db.read.store import Store
    from xcomctl.formats import Row
    from xcomctl.model import Ignore

_MOST_OF_RULE = 3
"""Messages of one rule in a legend."""

FINDING_COLUMNS = (
    Column("severity", "word", drop=-1),
    Column("rule", "word"),
    Column("deployment", "id", machine=False, people=False),
    Column("dag_id", "id", aliases=("dag",)),
    Column("task_id", "id", aliases=("task",)),
    Column("key", "id"),
    Column("run_id", "run", machine=False, people=False, aliases=("run",)),
    Column("map_index", "index", machine=False, people=False, title="map", usual=-1),
    Column("occurrences", "number", title="count", drop=3),
    Column("max_size_bytes", "size", title="largest", aliases=("size",), drop=-1),
    Column("limit_bytes", "limit", people=False, title="limit"),
    Column("percent", "percent", title="of limit", drop=2),
    Column("message", drop=4),
    Column("fingerprint", people=False),
    Column("example", people=False),
    Column("file", people=False),
    Column("state", people=False),
    Column("reason", people=False),
)


def airflow_version(store: Store) -> tuple[int, int]:
    """Return the oldest release, as (major, minor), that this database can belong to."""
    match = re.match(r"(\d+)\.(\d+)", store.schema.airflow)
    assert match, "every generation has a release"
    return int(match[1]), int(match[2])


def limit_in_force(store: Store, as_: str | None) -> Limit:
    """Return the limit that the database enforces, or the one of another backend with `--as`.

    Raises:
        UsageError: `--as` is not a known backend.
    """
    if as_ is None:
        return store.limits()[0]
    return limits.typical(*limits.parse_as(as_, airflow_version(store)))


def limits_to_apply(store: Store, size_limit: str, as_: str | None) -> list[Limit]:
    """Return the limits that sizes are compared with, the one in force first."""
    backend = lambda: store.facts().backend  # noqa: E731
    return choose_limits(store.limits, backend, airflow_version(store), size_limit, as_)


def choose_limits(
    in_force: Callable[[], list[Limit]],
    backend: Callable[[], str],
    airflow: tuple[int, int],
    size_limit: str,
    as_: str | None,
) -> list[Limit]:
    """Return the limits that sizes are compared with, of a database or of a snapshot.

    Raises:
        UsageError: `--size-limit` is not a size, or `--as` not a known backend.
    """
    if size_limit == "auto":
        return in_force() if as_ is None else [limits.typical(*limits.parse_as(as_, airflow))]
    if size_limit == "nominal":
        return [limits.nominal(limits.parse_as(as_, (2, 11))[0] if as_ else backend())]
    size = parse_size(size_limit)
    if size <= 0:
        raise UsageError("--size-limit must be above 0")
    return [Limit("size_limit", size, "--size-limit", hard=False)]


def parse_threshold(text: str) -> Severity | None:
    """Return the severity that `--fail-on` names, None for never.

    Raises:
        UsageError: it is not a severity.
    """
    from xcomctl.audit.rule import Severity

    known = {str(severity): severity for severity in Severity}
    if text == "never":
        return None
    if text not in known:
        raise UsageError(
            f'unknown severity "{text}" for --fail-on',
            hint=f"Valid values: {', '.join(known)}, never.",
        )
    return known[text]


def check_ignores(config: Config) -> tuple[Ignore, ...]:
    """Return the configuration's ignores.

    Raises:
        UsageError: one names a rule that does not exist.
    """
    from fnmatch import fnmatchcase

    from xcomctl.audit.rules import KNOWN_IDS

    for ignore in config.audit.ignores:
        if not any(fnmatchcase(rule, ignore.rule) for rule in KNOWN_IDS):
            raise UsageError(
                f'unknown rule "{ignore.rule}" in {config.path} [[audit.ignore]]',
                hint=suggestion(ignore.rule, KNOWN_IDS),
            )
    return config.audit.ignores


def enabled_rules(only: str | None, skipped: str | None) -> frozenset[str]:
    """Return the ids of the rules that `--rules` and `--skip-rules` leave.

    Raises:
        UsageError: a rule is unknown, or none is left.
    """
    from xcomctl.audit.rules import RULE_BY_ID

    def parse(text: str) -> set[str]:
        names = {name.strip() for name in text.split(",") if name.strip()}
        for name in names:
            if name not in RULE_BY_ID:
                raise UsageError(f'unknown rule "{name}"', hint=suggestion(name, RULE_BY_ID))
        return names

    enabled = parse(only) if only is not None else set(RULE_BY_ID)
    enabled -= parse(skipped) if skipped is not None else set()
    if not enabled:
        raise UsageError("the options leave no rule to apply")
    return frozenset(enabled)


def shows_closing(outputs: Outputs) -> bool:
    """Return whether an output to stdout has the closing lines."""
    return any(name in ("table", "markdown", "github") for name, path in outputs if path is None)


def backend_row(store: Store) -> Row:
    """Return the fields of the database in a report."""
    facts = store.facts()
    return {
        "name": facts.backend,
        "server_version": facts.server_version,
        "airflow": facts.airflow,
        "column_type": facts.column_type,
    }


def rule_texts(rules: Iterable[Rule]) -> dict[str, dict[str, str]]:
    """Return severity, title and help of each rule, by rule id."""
    return {
        rule.id: {"severity": str(rule.severity), "title": rule.title, "help": rule.help}
        for rule in rules
    }


def severity_counts(report: Report) -> str:
    """Return the number of findings that are shown, by severity: `2 errors, 1 warning`."""
    shown = Counter(
        lead.severity
        for finding, lead in _with_leads(report)
        if finding.state == "open" and lead.occurrences
    )
    from xcomctl.audit.rule import Severity

    return ", ".join(
        f"{number} {severity}{'' if number == 1 else 's'}"
        for severity in reversed(Severity)
        if (number := shown[severity])
    )


def finding_columns(
    *, hidden: Collection[str] = (), shown: Collection[str] = ()
) -> tuple[Column, ...]:
    """Return the columns of findings, some of them hidden from people, others shown to them."""
    return tuple(
        replace(
            one,
            people=(one.people or one.name in shown) and one.name not in hidden,
            machine=one.machine or (one.name == "deployment" and one.name in shown),
        )
        for one in FINDING_COLUMNS
    )


def finding_rows(report: Report, threshold: Severity | None) -> Iterator[Row]:
    """Yield the findings as rows for the formats, each with `lead`, what people see of it."""
    for finding, lead in _with_leads(report):
        row = _finding_row(finding, report, threshold)
        if lead is not finding:
            row |= {"lead": _finding_row(lead, report, threshold)}
        yield row


def failed_rows(failed: Sequence[Row], outputs: Outputs) -> Iterator[Row]:
    """Yield a row for each deployment that could not be read, where every format has room for it.

    CI systems would take it for a finding in a DAG.
    """
    if any(name not in FORMATS for name, _ in outputs):
        return
    for one in failed:
        row: dict[str, object] = dict.fromkeys(column.name for column in FINDING_COLUMNS)
        row |= {"severity": "error", "rule": "deployment-failed", "state": "open"}
        row |= {"deployment": one["deployment"], "message": one["reason"], "dag_id": "*"}
        row |= {"per_entry": False, "trips": False}
        yield row | {"lead": row | {"occurrences": 1}}


def _with_leads(report: Report) -> Iterator[tuple[Finding, Finding]]:
    """Yield each finding with what people see of it: an XCom is shown under its gravest rule.

    Where a finding is ignored or known, its XComs are shown under each other rule.
    """
    suppressed = {
        (one.dag_id, one.task_id, one.key) for one in report.findings if one.state != "open"
    }
    for finding in report.findings:
        lead = finding.lead
        if lead is None or (finding.dag_id, finding.task_id, finding.key) in suppressed:
            lead = finding
        yield finding, lead


def digest_findings(rows: Sequence[Row]) -> list[Row]:
    """Return the rows as people see them.

    Each XCom is shown once, under its gravest rule; notes of a rule are one row per DAG; the rows
    of a DAG stand together, DAGs with the gravest findings first.
    """
    by_dag: dict[object, list[Row]] = {}
    for row in rows:
        shown = dict(cast("Row", row.get("lead") or row))
        if shown["dag_id"] == "*":
            shown["dag_id"] = "(all DAGs)"
        if shown["occurrences"]:
            by_dag.setdefault(row["dag_id"], []).append(shown)
    return [row for of_dag in by_dag.values() for row in _fold_notes(sorted(of_dag, key=_rank))]


def _rank(row: Row) -> tuple[int, int]:
    """Return a sort key: the gravest first, then the largest."""
    gravest = ("error", "warning", "note")
    return gravest.index(str(row["severity"])), -cast("int", row["max_size_bytes"] or 0)


def _fold_notes(rows: Sequence[Row]) -> Iterator[Row]:
    """Yield the rows of a DAG, the notes of each rule and state as one."""
    notes: dict[tuple[object, ...], list[Row]] = {}
    for row in rows:
        if row["severity"] == "note" and not row["per_entry"]:
            notes.setdefault((row["rule"], row["state"], row["reason"]), []).append(row)
        else:
            yield row
    for folded in notes.values():
        # The largest is in front.
        yield {
            **folded[0],
            "task_id": _one_or_count((row["task_id"] for row in folded), "tasks"),
            "key": _one_or_count((row["key"] for row in folded), "keys"),
            "occurrences": sum(cast("int", row["occurrences"]) for row in folded),
        }


def legend(report: Report) -> list[str]:
    """Return what the findings say, one line for messages of a rule that differ in numbers only."""
    messages: dict[str, dict[str, str]] = {}
    for finding, lead in _with_leads(report):
        if finding.state == "open" and lead.occurrences:
            words = re.sub(r"\d[\d.,]*( [KMGT]?i?B\b)?", "", lead.message)
            messages.setdefault(lead.rule.id, {}).setdefault(words, lead.message)
    width = max(map(len, messages), default=0)
    lines = []
    for rule, found in messages.items():
        shown = list(found.values())
        if len(shown) > _MOST_OF_RULE + 1:
            left = len(shown) - _MOST_OF_RULE
            shown[_MOST_OF_RULE:] = [f"{left:,} other reasons; -o plain shows every message"]
        lines += [f"{rule:<{width}}  {text}" for text in shown]
    return lines


def pointer(report: Report) -> list[str]:
    """Return the line that says where the rules of the findings are explained."""
    rules = {lead.rule.id for finding, lead in _with_leads(report) if finding.state == "open"}
    if not rules:
        return []
    one = len(rules) == 1
    name = next(iter(rules)) if one else "RULE"
    return [f'"xcomctl rules {name}" explains {"it" if one else "a rule"} and how to fix it']


def _one_or_count(names: Iterable[object], noun: str) -> object:
    distinct = list(dict.fromkeys(names))
    return distinct[0] if len(distinct) == 1 else f"({len(distinct):,} {noun})"


def _finding_row(finding: Finding, report: Report, threshold: Severity | None) -> dict[str, object]:
    example = finding.example
    return {
        "trips": threshold is not None and finding.severity >= threshold,
        "per_entry": report.policy.per_entry,
        "rule": finding.rule.id,
        "severity": str(finding.severity),
        "deployment": finding.deployment,
        "dag_id": finding.dag_id,
        "task_id": finding.task_id,
        "key": finding.key,
        "occurrences": finding.occurrences,
        "max_size_bytes": finding.max_size,
        "limit_bytes": finding.limit,
        "percent": finding.percent,
        "message": finding.message,
        "fingerprint": finding.fingerprint,
        "run_id": None if example.run == "?" else example.run,
        "map_index": example.map_index,
        "example": {
            "run_id": None if example.run == "?" else example.run,
            "map_index": example.map_index,
        },
        "file": finding.file,
        "state": finding.state,
        "reason": finding.reason,
    }


def refuse_incomplete(report: Report) -> None:
    """Raise DatabaseError if rows may be hidden from this role, which no verdict can make good."""
    from xcomctl.audit import hidden_rows

    for reason in hidden_rows(report):
        raise DatabaseError(
            "the check is not complete: it may not have seen every XCom",
            detail=f"{reason[:1].upper()}{reason[1:]}.",
            hint="Connect as a role that sees every row: one with BYPASSRLS, or with a policy FOR "
            "SELECT USING (true).",
        )
