"""The audit: a policy and XComs go in, a report of findings comes out. Never sees a database."""

from __future__ import annotations

from xcomctl.audit.evaluate import Audit, run, run_on_groups
from xcomctl.audit.hidden import hidden_rows, with_hidden_rows
from xcomctl.audit.locations import source_path, with_files
from xcomctl.audit.policy import Policy
from xcomctl.audit.report import Finding, GroupTotals, Report, State, in_order

__all__ = [
    "Audit",
    "Finding",
    "GroupTotals",
    "Policy",
    "Report",
    "State",
    "hidden_rows",
    "in_order",
    "run",
    "run_on_groups",
    "source_path",
    "with_files",
    "with_hidden_rows",
]
