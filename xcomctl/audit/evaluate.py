"""The audit itself: XComs go in, a report comes out. Never sees a database."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xcomctl.audit import rules
from xcomctl.audit.budgets import Tally
from xcomctl.audit.checks import check_entry, truncation
from xcomctl.audit.findings import FindingGroups, total_finding
from xcomctl.audit.report import GroupTotals, Report, in_order

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from xcomctl.audit.policy import Policy
    from xcomctl.model import Raw, XComEntry
    from xcomctl.sizes.statistics import Summary, Survey


def run(
    policy: Policy,
    entries: Iterable[tuple[XComEntry, Raw]],
    suspects: Callable[[], Iterable[tuple[XComEntry, Raw]]] | None = None,
) -> Report:
    """Return the report on these XComs, reading them once.

    With `policy.deep` each entry comes with its whole value. Otherwise values are None, and
    `suspects` yields the XComs that fill the column to the last byte, with their values.
    """
    report = Report(policy)
    groups = FindingGroups(policy)
    tally = Tally(policy.budgets, policy.measure)
    warn_from = policy.warn_from
    full = policy.suspicious_size if suspects is not None else None
    for entry, raw in entries:
        report.scanned += 1
        report.total_bytes += entry.size or 0
        report.add_size(entry.size)
        if policy.with_totals:
            _add_to_totals(report, entry)
        budget = tally.add(entry) if policy.budgets else None
        if full is not None and entry.size == full:
            continue
        violations = list(check_entry(policy, warn_from, entry, raw))
        if violations or budget is not None:
            groups.add(entry, violations, budget)
    if suspects is not None and full is not None:
        _add_suspects(groups, policy, tally, suspects())
    return _finish(report, groups, tally)


def run_on_groups(
    policy: Policy,
    survey: Survey,
    doubtful: Callable[[int, bool], Iterable[XComEntry]],
    runs: Callable[[], Iterable[tuple[tuple[str | None, ...], Summary]]],
    suspects: Callable[[], Iterable[tuple[XComEntry, Raw]]],
) -> Report:
    """Return what `run` would without `deep`, from statistics that the database computed.

    `doubtful(size, pickles)` yields the XComs of at least `size` bytes and, with `pickles`, those
    that may be pickles. `runs` yields statistics per dag_id, task_id, key and run_id; `suspects`
    is the same as for `run`. Each is called only if the statistics make it necessary.
    """
    report = Report(policy, sampled=survey.sampled)
    groups = FindingGroups(policy)
    tally = Tally(policy.budgets)
    warn_from = policy.warn_from
    at_least = over_budget = min(warn_from, policy.limit.size + 1)
    for name, summary in survey.groups.items():
        report.scanned += summary.rows
        report.total_bytes += summary.total
        report.add_size(summary.largest)
        if policy.with_totals:
            report.totals[name] = GroupTotals(summary.rows, summary.total, summary.largest or 0)
        over = tally.add_group(name, summary)
        if over is not None and over.max_size is not None:
            over_budget = min(over_budget, over.max_size + 1)
    largest, full = report.largest or 0, policy.suspicious_size
    if largest >= at_least or over_budget < at_least or survey.may_hold_pickles:
        for entry in doubtful(over_budget, survey.may_hold_pickles):
            if entry.size != full:
                violations = check_entry(policy, warn_from, entry, None)
                groups.add(entry, violations, tally.exceeded_by(entry))
    if full is not None and largest >= full:
        _add_suspects(groups, policy, tally, suspects())
    if any(budget.max_total_per_run is not None for budget in policy.budgets):
        for (dag_id, task_id, key, run_id), summary in runs():
            tally.add_run((str(dag_id), str(task_id), key), str(run_id), summary)
    return _finish(report, groups, tally)


def _add_to_totals(report: Report, entry: XComEntry) -> None:
    ref, size = entry.ref, entry.size or 0
    totals = report.totals.setdefault((ref.dag_id, ref.task_id, ref.key), GroupTotals())
    totals.entries += 1
    totals.total += size
    totals.largest = max(totals.largest, size)


def _add_suspects(
    groups: FindingGroups,
    policy: Policy,
    tally: Tally,
    suspects: Iterable[tuple[XComEntry, Raw]],
) -> None:
    """Add all violations of the XComs that fill the column, which were left out before."""
    for entry, raw in suspects:
        violations = [*check_entry(policy, policy.warn_from, entry, None)]
        if truncation(policy, entry, raw) is not None:
            violations.append((rules.TRUNCATED, ""))
        groups.add(entry, violations, tally.exceeded_by(entry))


def _finish(report: Report, groups: FindingGroups, tally: Tally) -> Report:
    found = [*groups.findings(), *map(total_finding, tally.exceeded())]
    report.findings = in_order(one for one in found if one.rule.id in report.policy.enabled)
    report.complete = True
    return report
