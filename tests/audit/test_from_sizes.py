"""The audit of a snapshot: what it finds is so, and it finds what sizes tell."""

from __future__ import annotations

from datetime import date

from hypothesis import given
from hypothesis import strategies as st

from xcomctl.audit import Policy
from xcomctl.audit.from_sizes import combine, run_on_sizes
from xcomctl.model import Budget, Limit, Size
from xcomctl.sizes.snapshot import SIZE_BITS, GroupSizes, Snapshot, Source, fold

DAY = date(2026, 1, 1).toordinal()


def limited(limit: int, warn_at: int, *budgets: Budget) -> Policy:
    return Policy(Limit("blob", Size(limit), "BLOB"), warn_at=warn_at, budgets=budgets)


def group(*sizes: int, days: int = 3) -> GroupSizes:
    return fold([((DAY + at % days) << SIZE_BITS) + size + 1 for at, size in enumerate(sizes)])


def snapshot(group: GroupSizes, name: str = "prod") -> Snapshot:
    limit = Limit("blob", Size(65_535), "BLOB")
    source = Source(name, name, "mysql", "8.4", "2.8", "blob", (limit,))
    return Snapshot(source, {("etl", "t", "k"): group})


@given(
    st.lists(st.integers(0, 300), min_size=1, max_size=30),
    st.integers(1, 300),
    st.integers(1, 300),
)
def test_counts_are_lower_bounds_and_the_largest_is_exact(
    sizes: list[int], limit: int, warn_at: int
) -> None:
    """What exceeds the limit is always found, with its size; no more XComs than there are.

    A size close to the limit may be that of another day, where a day has a larger one.
    """
    report = run_on_sizes(limited(limit, warn_at), snapshot(group(*sizes)))
    found = {one.rule.id: one for one in report.findings}
    over = sum(size > limit for size in sizes)
    near = sum(warn_at <= size <= limit for size in sizes)
    assert ("xcom-over-limit" in found) == bool(over)
    if over:
        assert found["xcom-over-limit"].max_size == max(sizes)
        assert 1 <= found["xcom-over-limit"].occurrences <= over
    if "xcom-near-limit" in found:
        assert 1 <= found["xcom-near-limit"].occurrences <= near
        largest = max(size for size in sizes if warn_at <= size <= limit)
        assert warn_at <= (found["xcom-near-limit"].max_size or 0) <= largest
    elif warn_at <= max(sizes) <= limit:
        raise AssertionError("the largest of all is known")
    assert (report.scanned, report.total_bytes, report.largest) == (
        len(sizes), sum(sizes), max(sizes),
    )  # fmt: skip


def test_the_count_is_exact_where_the_limit_is_a_buckets_end() -> None:
    """As that of a BLOB, 65,535, is."""
    report = run_on_sizes(limited(65_535, 60_000), snapshot(group(*range(65_530, 65_560), days=1)))
    (over,) = report.findings
    assert (over.rule.id, over.occurrences, over.max_size) == ("xcom-over-limit", 24, 65_559)


def test_budgets_and_what_a_deep_snapshot_counted() -> None:
    """Of one value, of all, and rules about values; a name never leaves a finding's text."""
    one = group(10, 20, 70)
    one.findings = {"xcom-secret": 2, "xcom-of-the-future": 1}
    policy = limited(1000, 900, Budget(dag_id="etl", max_size=Size(63), max_total=Size(99)))
    report = run_on_sizes(policy, snapshot(one))
    assert [(found.rule.id, found.occurrences) for found in report.findings] == [
        ("xcom-total-over-budget", 1),
        ("xcom-over-budget", 1),
        ("xcom-secret", 2),
    ]


def test_several_deployments_are_told_apart() -> None:
    """By name and fingerprint; the smallest limit is the report's."""
    reports = [
        (name, run_on_sizes(limited(limit, 900), snapshot(group(1000), name)))
        for name, limit in (("eu", 999), ("us", 500))
    ]
    both = combine(reports)
    assert [one.deployment for one in both.findings] == ["eu", "us"]
    assert len({one.fingerprint for one in both.findings}) == 2
    assert (both.scanned, both.policy.limit.size) == (2, 500)
    assert combine(reports[:1]) is reports[0][1]
