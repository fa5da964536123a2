"""`xcomctl audit --from`: the audit of snapshots."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xcomctl.cli.findings import choose_limits
from xcomctl.cli.snapshots import airflow_of, load
from xcomctl.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from xcomctl.audit import Policy, Report
    from xcomctl.cli.console import Console
    from xcomctl.formats import Row
    from xcomctl.model import Limit, Selection
    from xcomctl.sizes.snapshot import Snapshot


def audit_snapshots(
    console: Console,
    paths: Sequence[str],
    selection: Selection,
    policy_for: Callable[[Limit], Policy],
    *,
    size_limit: str,
    as_: str | None,
) -> tuple[Report, list[Limit], Row]:
    """Return the report on these files, the limits that were applied, and the database's fields.

    `policy_for` returns the policy of a limit, as if values were not read.
    """
    from dataclasses import replace

    from xcomctl.audit.from_sizes import combine, run_on_sizes
    from xcomctl.sizes.snapshot import select

    snapshots = select(load(console, paths), selection)
    reports: list[tuple[str, Report]] = []
    limits: list[Limit] = []
    for one in snapshots:
        source = one.source
        applied = choose_limits(
            lambda source=source: list(source.limits),  # type: ignore[misc]
            lambda source=source: source.backend,  # type: ignore[misc]
            airflow_of(one),
            size_limit,
            as_,
        )
        limits += [limit for limit in applied if limit not in limits]
        policy = policy_for(applied[0])
        if policy.deep and not source.rules:
            raise UsageError(
                "--deep needs a snapshot that was taken with it",
                hint="Take one with: xcomctl snapshot --deep FILE",
            )
        # What a deep snapshot has counted is reported in any case.
        policy = replace(policy, deep=bool(source.rules))
        reports.append((source.name, run_on_sizes(policy, one)))
    if any(budget.max_total_per_run is not None for budget in reports[0][1].policy.budgets):
        console.warn("budgets per run are not checked: a snapshot holds no runs")
    return combine(reports), sorted(limits, key=lambda limit: limit.size), _backend_row(snapshots)


def _backend_row(snapshots: Sequence[Snapshot]) -> Row:
    """Return the fields of the database in a report, those of the first deployment."""
    source = snapshots[0].source
    return {
        "name": source.backend,
        "server_version": source.server_version,
        "airflow": source.airflow,
        "column_type": source.column_type,
    }
