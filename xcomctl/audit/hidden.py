"""Rows that the database hides: an audit that did not see them is not complete."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from xcomctl.audit import rules
from xcomctl.audit.report import Finding, in_order
from xcomctl.model import XComRef

if TYPE_CHECKING:
    from collections.abc import Sequence

    from xcomctl.audit.report import Report


def with_hidden_rows(report: Report, reasons: Sequence[str]) -> Report:
    """Return the report, incomplete and with a finding for each reason why rows are hidden.

    Without the rule or without a reason it is returned as it is.
    """
    if not reasons or rules.HIDDEN_ROWS.id not in report.policy.enabled:
        return report
    found = (_finding(reason) for reason in reasons)
    return replace(report, findings=in_order([*report.findings, *found]), complete=False)


def hidden_rows(report: Report) -> list[str]:
    """Return the reasons in the report that the team has not decided to ignore."""
    return [one.message for one in report.open if one.rule is rules.HIDDEN_ROWS]


def _finding(reason: str) -> Finding:
    return Finding(
        rule=rules.HIDDEN_ROWS,
        severity=rules.HIDDEN_ROWS.severity,
        dag_id="*",
        task_id="*",
        key="*",
        occurrences=1,
        max_size=None,
        limit=None,
        message=reason,
        example=XComRef("*", "*", None, "*"),
        variant=reason,
    )
