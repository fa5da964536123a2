"""Findings about whole tables: what stops a migration, and what it deletes, whatever the values are."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from xcomctl.audit import rules
from xcomctl.audit.report import Finding, in_order
from xcomctl.audit.rule import Severity
from xcomctl.model import XComRef

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from xcomctl.audit.report import Report
    from xcomctl.audit.rule import Rule


def with_obstacles(report: Report, reasons: Sequence[str], *, lost: int = 0) -> Report:
    """Return the report with a finding for each reason why the migration stops, and for what is lost."""
    found: list[Finding] = [_finding(rules.AIRFLOW3_TABLES, reason, 1) for reason in reasons]
    if lost:
        noun = (
            "XCom that Airflow does not read is"
            if lost == 1
            else "XComs that Airflow does not read are"
        )
        found.append(_finding(rules.AIRFLOW3_DOWNGRADE, f"{lost:,} {noun} deleted", lost))
    return replace(report, findings=in_order([*report.findings, *_enabled(report, found)]))


def _enabled(report: Report, findings: Iterable[Finding]) -> list[Finding]:
    return [one for one in findings if one.rule.id in report.policy.enabled]


def _finding(rule: Rule, reason: str, occurrences: int) -> Finding:
    return Finding(
        rule=rule,
        # What is deleted is read by no task.
        severity=Severity.WARNING if rule is rules.AIRFLOW3_DOWNGRADE else rule.severity,
        dag_id="*",
        task_id="*",
        key="*",
        occurrences=occurrences,
        max_size=None,
        limit=None,
        message=reason,
        example=XComRef("*", "*", None, "*"),
        variant=reason,
    )
