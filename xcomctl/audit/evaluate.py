"""The audit itself: XComs go in, a report comes out. Never sees a database."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xcomctl.audit import rules
from xcomctl.audit.budgets import Tally
from xcomctl.audit.checks import check_entry, check_value, truncation
from xcomctl.audit.findings import FindingGroups, total_finding
from xcomctl.audit.report import GroupTotals, Report, in_order
from xcomctl.audit.screening import doubtful

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from xcomctl.audit.policy import Policy
    from xcomctl.exchange.pages import Page
    from xcomctl.model import Raw, XComEntry
    from xcomctl.sizes.statistics import Summary, Survey


class Audit:
    """An audit that is under way: XComs go in, one by one or in pages, and a report comes out.

    XComs of `left_out` bytes are counted, and not checked. `strict` says that the database
    guarantees values to be JSON.
    """

    def __init__(
        self, policy: Policy, left_out: int | None = None, *, strict: bool = False
    ) -> None:
        self.report = Report(policy)
        self._strict = strict
        self._policy = policy
        self._warn_from = policy.warn_from
        self._left_out = left_out
        self._groups = FindingGroups(policy)
        self._tally = Tally(policy.budgets, policy.measure)

    def add(self, entry: XComEntry, raw: Raw) -> None:
        """Count and check an XCom; `raw` is its whole value if the policy is deep."""
        report = self.report
        report.scanned += 1
        report.total_bytes += entry.size or 0
        report.add_size(entry.size)
        if self._policy.with_totals:
            _add_to_totals(report, entry)
        self._check(entry, raw, is_doubtful=self._policy.deep)

    def add_page(self, page: Page) -> None:
        """Count and check a page of XComs for a deep policy, as `add` does each of them."""
        report, policy = self.report, self._policy
        sizes = [row[7] or 0 for row in page.rows]
        report.scanned += len(sizes)
        report.total_bytes += sum(sizes)
        if any(row[7] is not None for row in page.rows):
            report.add_size(max(sizes))
        found = doubtful(page, policy.enabled, strict=self._strict)
        if policy.with_totals or policy.budgets:
            wanted: Iterable[int] = range(len(sizes))
        else:
            least = min(self._warn_from, policy.limit.size + 1)
            large = [at for at, size in enumerate(sizes) if size >= least]
            wanted = sorted({*found, *large})
        for at in wanted:
            entry = page.entry(at)
            if policy.with_totals:
                _add_to_totals(report, entry)
            is_doubtful = at in found
            self._check(entry, page.raw(at) if is_doubtful else None, is_doubtful=is_doubtful)

    def _check(self, entry: XComEntry, raw: Raw, *, is_doubtful: bool) -> None:
        policy = self._policy
        budget = self._tally.add(entry) if policy.budgets else None
        if self._left_out is not None and entry.size == self._left_out:
            return
        violations = [*check_entry(policy, self._warn_from, entry)]
        if is_doubtful:
            violations += check_value(policy, entry, raw)
        if violations or budget is not None:
            self._groups.add(entry, violations, budget)

    def add_suspects(self, suspects: Iterable[tuple[XComEntry, Raw]]) -> None:
        """Check the XComs that were left out."""
        _add_suspects(self._groups, self._policy, self._tally, suspects)

    def finish(self) -> Report:
        """Return the report, with the findings of everything that was added."""
        return _finish(self.report, self._groups, self._tally)


def run(
    policy: Policy,
    entries: Iterable[tuple[XComEntry, Raw]],
    suspects: Callable[[], Iterable[tuple[XComEntry, Raw]]] | None = None,
) -> Report:
    """Return the report on these XComs, reading them once.

    With `policy.deep` each entry comes with its whole value. Otherwise values are None, and
    `suspects` yields the XComs that fill the column to the last byte, with their values.
    """
    full = policy.suspicious_size if suspects is not None else None
    audit = Audit(policy, full)
    for entry, raw in entries:
        audit.add(entry, raw)
    if suspects is not None and full is not None:
        audit.add_suspects(suspects())
    return audit.finish()


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
                violations = check_entry(policy, warn_from, entry)
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
        violations = [*check_entry(policy, policy.warn_from, entry)]
        if truncation(policy, entry, raw) is not None:
            violations.append((rules.TRUNCATED, ""))
        groups.add(entry, violations, tally.exceeded_by(entry))


def _finish(report: Report, groups: FindingGroups, tally: Tally) -> Report:
    found = [*groups.findings(), *map(total_finding, tally.exceeded())]
    report.findings = in_order(one for one in found if one.rule.id in report.policy.enabled)
    report.complete = True
    return report
