"""What the page shows, worked out from snapshots."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

from xcomctl.model import Size
from xcomctl.sizes import histogram
from xcomctl.sizes.forecast import Band, Forecast, forecast, forecast_band
from xcomctl.sizes.snapshot import NO_DAY

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from xcomctl.audit import Finding
    from xcomctl.model import Limit
    from xcomctl.sizes.histogram import Histogram
    from xcomctl.sizes.snapshot import GroupSizes, Snapshot

MOST_FORECASTS = 1_000
"""Groups whose growth is worked out: those with the most bytes, and those with the largest values."""
_WEEK = 7

Key = tuple[str, str, str, str | None]
"""Deployment, dag_id, task_id and key."""


@dataclass(frozen=True, slots=True)
class Group:
    """The XComs of one deployment, dag_id, task_id and key."""

    name: Key
    count: int
    measured: int
    total: int
    largest: int
    limit: int
    change: int
    """By how many bytes it grew: since the earlier snapshot, or from one week to the next."""
    before: int
    """What it grew from: the earlier snapshot's bytes, or those pushed in the earlier week."""
    forecast: Forecast | None = None

    @property
    def of_limit(self) -> float:
        """Return the largest value as a share of the limit."""
        return self.largest / self.limit if self.limit else 0.0

    @property
    def mean(self) -> int:
        """Return the mean size in bytes."""
        return round(self.total / self.measured) if self.measured else 0


@dataclass(frozen=True, slots=True)
class Day:
    """What was pushed on one day, of what is still stored."""

    day: date
    count: int
    total: int
    largest: int


@dataclass(frozen=True, slots=True)
class Deployment:
    """One database."""

    name: str
    about: str
    limit: Limit
    count: int
    total: int
    largest: int
    change: int


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything that the page shows."""

    deployments: tuple[Deployment, ...]
    groups: tuple[Group, ...]
    """The one with the most bytes first."""
    days: tuple[Day, ...]
    histogram: Histogram
    findings: tuple[Finding, ...]
    band: Band | None
    """The forecast of the largest value of each day."""
    since: date | None
    """The last day of the earlier snapshot that changes are measured from; None without one."""
    written_at: str
    version: str

    @property
    def limit(self) -> int:
        """Return the smallest limit of all deployments."""
        return min(one.limit.size for one in self.deployments)

    @property
    def total(self) -> int:
        """Return the bytes of all XComs."""
        return sum(one.total for one in self.deployments)

    @property
    def count(self) -> int:
        """Return the number of XComs."""
        return sum(one.count for one in self.deployments)

    @property
    def largest(self) -> Group | None:
        """Return the group with the largest value."""
        return max(self.groups, key=lambda one: one.of_limit, default=None)

    @property
    def first_to_meet_limit(self) -> Group | None:
        """Return the group that is forecast to meet its limit first."""
        meeting = [one for one in self.groups if one.forecast and one.forecast.meets_limit]
        return min(meeting, key=_meets, default=None)

    @property
    def shows_change(self) -> bool:
        """Return whether colours show what grew, rather than what is close to the limit."""
        return self.since is not None or len(self.deployments) > 1


def _meets(group: Group) -> date:
    assert group.forecast is not None
    assert group.forecast.meets_limit is not None
    return group.forecast.meets_limit


def gather(
    snapshots: Sequence[tuple[Snapshot, Limit]],
    findings: Sequence[Finding],
    earlier: Sequence[Snapshot] = (),
    *,
    written_at: str,
    version: str,
) -> Facts:
    """Return what to show of these snapshots, each with the limit that applies to it."""
    names = {one.source.database_id: one.source.name for one, _ in snapshots}
    before = {
        (names.get(one.source.database_id, one.source.name), *name): sizes.total
        for one in earlier
        for name, sizes in one.groups.items()
    }
    days = [one.days() for one in earlier]
    last = max((some[-1] for some in days if some), default=NO_DAY)
    groups: list[Group] = []
    sizes_of: dict[Key, GroupSizes] = {}
    deployments = []
    for snapshot, limit in snapshots:
        week = _week_ends(snapshot)
        found = []
        for name, sizes in snapshot.groups.items():
            key = (snapshot.source.name, *name)
            sizes_of[key] = sizes
            old, new = (before.get(key, 0), sizes.total) if earlier else _weeks(sizes, week)
            found.append(_group(key, sizes, limit.size, old, new))
        gone = sum(
            total
            for (deployment, *name), total in before.items()
            if deployment == snapshot.source.name and tuple(name) not in snapshot.groups
        )
        deployments.append(_deployment(snapshot, limit, found, gone))
        groups += found
    groups.sort(key=lambda one: (-one.total, *map(str, one.name)))
    by_day = _by_day(sizes_of.values())
    largest_by_day = {one.day: one.largest for one in by_day}
    smallest = min(limit.size for _, limit in snapshots)
    return Facts(
        tuple(deployments),
        _with_forecasts(groups, sizes_of),
        by_day,
        sum((sizes.histogram() for sizes in sizes_of.values()), Counter()),
        tuple(findings),
        forecast_band(largest_by_day, smallest),
        date.fromordinal(last) if earlier and last != NO_DAY else None,
        written_at,
        version,
    )


def _group(key: Key, sizes: GroupSizes, limit: int, old: int, new: int) -> Group:
    counts = sizes.histogram()
    return Group(
        key, counts.total(), histogram.measured(counts), sizes.total, max(sizes.largest), limit, new - old, old
    )  # fmt: skip


def _deployment(snapshot: Snapshot, limit: Limit, groups: Sequence[Group], gone: int) -> Deployment:
    source = snapshot.source
    return Deployment(
        source.name,
        f"{_PRODUCTS.get(source.backend, source.backend)} {source.server_version}, Airflow {source.airflow}",
        limit,
        sum(one.count for one in groups),
        sum(one.total for one in groups),
        max((one.largest for one in groups), default=0),
        sum(one.change for one in groups) - gone,
    )


_PRODUCTS = {
    "sqlite": "SQLite",
    "postgresql": "PostgreSQL",
    "mysql": "MySQL",
    "mariadb": "MariaDB",
}


def _week_ends(snapshot: Snapshot) -> int:
    """Return the last day of the week that is compared with the one before it."""
    days = snapshot.days()
    return days[-1] if days else NO_DAY


def _weeks(sizes: GroupSizes, last: int) -> tuple[int, int]:
    """Return the bytes pushed in the week before the last one, and in the week up to a day."""
    old = new = 0
    for day, largest, others in zip(sizes.days, sizes.largest, sizes.others, strict=True):
        if day > last - _WEEK:
            new += largest + others
        elif day > last - 2 * _WEEK:
            old += largest + others
    return old, new


def _by_day(groups: Iterable[GroupSizes]) -> tuple[Day, ...]:
    """Return every day from the first to the last one, also those on which nothing was pushed."""
    counts: Counter[int] = Counter()
    totals: Counter[int] = Counter()
    largest: dict[int, int] = {}
    for sizes in groups:
        rows = zip(sizes.days, sizes.largest, sizes.others, sizes.histograms, strict=True)
        for day, most, others, short in rows:
            if day != NO_DAY:
                counts[day] += histogram.count(short)
                totals[day] += most + others
                largest[day] = max(largest.get(day, 0), most)
    return tuple(
        Day(date.fromordinal(day), counts[day], totals[day], largest[day]) for day in sorted(counts)
    )


def _with_forecasts(
    groups: Sequence[Group], sizes_of: Mapping[Key, GroupSizes]
) -> tuple[Group, ...]:
    """Return the groups, those that matter with a forecast."""
    from dataclasses import replace

    by_largest = sorted(groups, key=lambda one: -one.of_limit)[: MOST_FORECASTS // 2]
    wanted = {one.name for one in (*groups[: MOST_FORECASTS // 2], *by_largest)}
    return tuple(
        replace(one, forecast=forecast(sizes_of[one.name].largest_by_day(), one.limit))
        if one.name in wanted
        else one
        for one in groups
    )


def unmatched(snapshots: Iterable[Snapshot], earlier: Iterable[Snapshot]) -> list[str]:
    """Return the names of earlier snapshots that are of none of these deployments."""
    known = {one for each in snapshots for one in (each.source.database_id, each.source.name)}
    return [
        one.source.name
        for one in earlier
        if one.source.database_id not in known and one.source.name not in known
    ]


def weekly(facts: Facts) -> tuple[int, int]:
    """Return the bytes pushed in the last seven days, and in the seven days before them."""
    if not facts.days:
        return 0, 0
    last = facts.days[-1].day.toordinal()
    ages = [(last - one.day.toordinal(), one.total) for one in facts.days]
    return (
        sum(total for age, total in ages if age < _WEEK),
        sum(total for age, total in ages if _WEEK <= age < 2 * _WEEK),
    )


def growth_per_day(group: Group) -> Size | None:
    """Return the growth of a group's largest value in bytes per day, None if unknown."""
    found = group.forecast
    if found is None or found.bytes_per_day is None:
        return None
    return Size(round(found.bytes_per_day))
