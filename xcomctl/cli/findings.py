"""What `audit` and `preflight` share: the limits to apply, and findings as rows."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from xcomctl.errors import UsageError
from xcomctl.formats import Column
from xcomctl.model import Limit, parse_size
from xcomctl.sizes import limits
from xcomctl.text import suggestion

if TYPE_CHECKING:
    from collections.abc import Iterable

    from xcomctl.audit import Finding, Report
    from xcomctl.audit.rules import Rule, Severity
    from xcomctl.config.file import Config
    from xcomctl.db.read.store import Store
    from xcomctl.formats import Row
    from xcomctl.model import Ignore

FINDING_COLUMNS = (
    Column("severity", "id"),
    Column("rule", "id"),
    Column("dag_id", "id", aliases=("dag",)),
    Column("task_id", "id", aliases=("task",)),
    Column("key", "id"),
    Column("occurrences", "number", title="count"),
    Column("max_size_bytes", "size", title="largest"),
    Column("limit_bytes", "exact", people=False, title="limit"),
    Column("percent", "percent", title="of limit"),
    Column("message", drop=1),
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
    if size_limit == "auto":
        return store.limits() if as_ is None else [limit_in_force(store, as_)]
    if size_limit == "nominal":
        backend = limits.parse_as(as_, (2, 11))[0] if as_ else store.facts().backend
        return [limits.nominal(backend)]
    size = parse_size(size_limit)
    if size <= 0:
        raise UsageError("--size-limit must be above 0")
    return [Limit("size_limit", size, "--size-limit", hard=False)]


def parse_threshold(text: str) -> Severity | None:
    """Return the severity that `--fail-on` names, None for never.

    Raises:
        UsageError: it is not a severity.
    """
    from xcomctl.audit.rules import Severity

    known = {str(severity): severity for severity in Severity}
    if text == "never":
        return None
    if text not in known:
        raise UsageError(
            f'unknown severity "{text}" for --fail-on',
            hint=f"It is one of {', '.join(known)} or never.",
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
    """Return the number of open findings by severity: `2 errors, 1 warning`."""
    from xcomctl.audit.rules import Severity

    return ", ".join(
        f"{number} {severity}{'' if number == 1 else 's'}"
        for severity in reversed(Severity)
        if (number := report.count(severity)) or severity is Severity.ERROR
    )


def finding_row(finding: Finding, report: Report, threshold: Severity | None) -> Row:
    """Return a finding as a row for the formats."""
    example = finding.example
    return {
        "trips": threshold is not None and finding.severity >= threshold,
        "per_entry": report.policy.per_entry,
        "rule": finding.rule.id,
        "severity": str(finding.severity),
        "dag_id": finding.dag_id,
        "task_id": finding.task_id,
        "key": finding.key,
        "occurrences": finding.occurrences,
        "max_size_bytes": finding.max_size,
        "limit_bytes": finding.limit,
        "percent": finding.percent,
        "message": finding.message,
        "fingerprint": finding.fingerprint,
        "example": {
            "run_id": None if example.run == "?" else example.run,
            "map_index": example.map_index,
        },
        "file": finding.file,
        "state": finding.state,
        "reason": finding.reason,
    }
