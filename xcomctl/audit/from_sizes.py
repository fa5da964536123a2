"""The audit of a snapshot: what sizes and histograms tell, without rows and values."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from xcomctl.audit import rules
from xcomctl.audit.budgets import Tally
from xcomctl.audit.findings import FindingGroups, total_finding
from xcomctl.audit.report import Finding, GroupTotals, Report, in_order
from xcomctl.model import Encoding, Size, XComEntry, XComRef
from xcomctl.sizes import histogram
from xcomctl.sizes.statistics import Summary

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from xcomctl.audit.policy import Policy
    from xcomctl.audit.rule import Rule
    from xcomctl.sizes.snapshot import GroupName, GroupSizes, Snapshot

COUNTED: Final = tuple(
    rule.id for rule in rules.RULES if rule.deep or rule in (rules.PICKLED, rules.TRUNCATED)
)
"""Rules about what values hold, whose findings a deep snapshot counts."""


def run_on_sizes(policy: Policy, snapshot: Snapshot) -> Report:
    """Return what `run` would, as far as a snapshot tells.

    `occurrences` of a rule about sizes is a lower bound, exact where the threshold is a power of
    two minus 1 (or, for a smallest size, a power of two). Findings have no run.
    """
    report = Report(policy)
    tally = Tally(policy.budgets)
    findings: list[Finding] = []
    for name, sizes in snapshot.groups.items():
        counts = sizes.histogram()
        rows, measured = counts.total(), histogram.measured(counts)
        largest = Size(max(sizes.largest)) if measured else None
        report.scanned += rows
        report.total_bytes += sizes.total
        report.add_size(largest)
        if policy.with_totals:
            report.totals[name] = GroupTotals(rows, sizes.total, largest or 0)
        tally.add_group(name, Summary(rows, measured, sizes.total, largest))
        findings += _of_group(policy, tally, name, sizes)
    findings += map(total_finding, tally.exceeded())
    report.findings = in_order(one for one in findings if one.rule.id in policy.enabled)
    report.complete = True
    return report


def _of_group(
    policy: Policy, tally: Tally, name: GroupName, sizes: GroupSizes
) -> Iterator[Finding]:
    """Yield the findings of one group."""
    limit, warn_from = int(policy.limit.size), policy.warn_from
    yield from _within(policy, name, sizes, rules.OVER_LIMIT, limit + 1, None)
    yield from _within(policy, name, sizes, rules.NEAR_LIMIT, warn_from, limit)
    budget = tally.exceeded_by(_entry(name, max(sizes.largest)))
    if budget is not None and budget.max_size is not None:
        groups = FindingGroups(policy)
        groups.add(_entry(name, max(sizes.largest)), (), budget)
        count, _ = _count(sizes, int(budget.max_size) + 1, None)
        yield from (replace(one, occurrences=count, lead=None) for one in groups.findings())
    for rule_id, count in sizes.findings.items():
        rule = rules.RULE_BY_ID.get(rule_id)
        if rule is not None and count:
            example = XComRef(name[0], name[1], None, name[2])
            yield Finding(
                rule, rule.severity, *name, count, None, None, _lower(rule.title), example
            )


def _within(
    policy: Policy, name: GroupName, sizes: GroupSizes, rule: Rule, least: int, most: int | None
) -> Iterator[Finding]:
    """Yield the finding for XComs of these sizes, if there is one for certain."""
    count, largest = _count(sizes, least, most)
    if count:
        groups = FindingGroups(policy)
        groups.add(_entry(name, largest), [(rule, "")])
        yield from (replace(one, occurrences=count, lead=None) for one in groups.findings())


def _count(sizes: GroupSizes, least: int, most: int | None) -> tuple[int, int]:
    """Return how many values are certainly of such a size, and how large one of them is at least.

    The size is exact where there is no upper bound.
    """
    inside = [
        largest
        for largest, short in zip(sizes.largest, sizes.histograms, strict=True)
        if largest >= least
        and (most is None or largest <= most)
        and not histogram.has_only_nulls(short)
    ]
    # Buckets all of whose values are of such a size; each may be of a day with a larger one.
    whole = {
        bucket: count
        for bucket, count in sizes.histogram().items()
        if bucket != histogram.NULL
        and histogram.lowest(bucket) >= least
        and (most is None or histogram.highest(bucket) <= most)
    }
    known = [*inside, *map(histogram.lowest, whole)]
    return max(len(inside), sum(whole.values())), max(known, default=0)


def _entry(name: GroupName, size: int) -> XComEntry:
    ref = XComRef(name[0], name[1], None, name[2])
    return XComEntry(ref, Size(size), None, Encoding.JSON, ())


def _lower(title: str) -> str:
    """Return a title as a message: without its capital, unless it is a name's."""
    return (
        title if title[:2].isupper() or title.startswith("XCom") else title[:1].lower() + title[1:]
    )


def combine(reports: Sequence[tuple[str, Report]]) -> Report:
    """Return one report on several deployments, each with its name.

    The policy is the one with the smallest limit.
    """
    (_, first), *others = reports
    if not others:
        return first
    policy = min((report.policy for _, report in reports), key=lambda one: one.limit.size)
    combined = Report(policy, complete=True)
    for name, report in reports:
        combined.scanned += report.scanned
        combined.total_bytes += report.total_bytes
        combined.add_size(report.largest)
        for group, totals in report.totals.items():
            combined.totals[f"{name}: {group[0]}", group[1], group[2]] = totals
        combined.findings += (
            replace(one, deployment=name, variant=f"{one.variant}@{name}")
            for one in report.findings
        )
    combined.findings = in_order(combined.findings)
    return combined
