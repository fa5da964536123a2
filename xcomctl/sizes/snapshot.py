"""Sizes of XComs by DAG, task, key and day, as a snapshot holds them; they add up exactly."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import date
from fnmatch import fnmatchcase
from itertools import groupby, pairwise
from typing import TYPE_CHECKING, Final

from xcomctl.errors import RefusedError, UsageError
from xcomctl.model import KeyRange, Size, is_glob
from xcomctl.sizes import histogram
from xcomctl.sizes.statistics import SHARES, Summary

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from xcomctl.model import Limit, Selection
    from xcomctl.sizes.histogram import Histogram

GroupName = tuple[str, str, str | None]
"""dag_id, task_id and key."""

SIZE_BITS: Final = 41
"""Bits of a packed number that hold the size plus 1, 0 for NULL. The bits above hold the day."""
_SIZE_MASK: Final = (1 << SIZE_BITS) - 1
NO_DAY: Final = 0
"""In place of a day (`date.toordinal`) where an XCom has no timestamp that is one."""
LAST_DAY: Final = date.max.toordinal()


@dataclass(slots=True)
class GroupSizes:
    """Sizes of the XComs of one dag_id, task_id and key, by day. One item of each list per day."""

    days: list[int] = field(default_factory=list)
    """Ascending ordinals, `NO_DAY` first."""
    largest: list[int] = field(default_factory=list)
    """Bytes of the largest value; 0 where all are NULL."""
    others: list[int] = field(default_factory=list)
    """Bytes of all values but one of the largest."""
    histograms: list[str] = field(default_factory=list)
    """In their short form."""
    findings: dict[str, int] = field(default_factory=dict)
    """XComs that violate a rule, by its id, where values were read."""
    _sum: Histogram | None = field(default=None, compare=False, repr=False)

    def histogram(self) -> Histogram:
        """Return the histogram of all days together, which must not be changed."""
        if self._sum is None:
            self._sum = histogram.parse(*self.histograms)
        return self._sum

    @property
    def total(self) -> int:
        """Return the bytes of all values."""
        return sum(self.largest) + sum(self.others)

    def largest_by_day(self) -> dict[date, int]:
        """Return the largest value of each day that has one."""
        rows = zip(self.days, self.largest, self.histograms, strict=True)
        return {
            date.fromordinal(day): largest
            for day, largest, short in rows
            if day != NO_DAY and not histogram.has_only_nulls(short)
        }

    def add(self, day: int, largest: int, others: int, short: str) -> None:
        """Append a day behind all others."""
        self.days.append(day)
        self.largest.append(largest)
        self.others.append(others)
        self.histograms.append(short)
        self._sum = None


def fold(packed: Iterable[int]) -> GroupSizes:
    """Return the sizes of a group by day, from one packed number per XCom (see `SIZE_BITS`)."""
    group = GroupSizes()
    for day, numbers in groupby(sorted(packed), lambda number: number >> SIZE_BITS):
        sizes = [(number & _SIZE_MASK) - 1 for number in numbers]
        if len(sizes) == 1 and sizes[0] >= 0:
            size = sizes[0]
            group.add(day, size, 0, histogram.LETTERS[histogram.bucket_of(size)])
            continue
        nulls = bisect_left(sizes, 0)
        del sizes[:nulls]
        counts = Counter(map(histogram.bucket_of, sizes))
        if nulls:
            counts[histogram.NULL] = nulls
        largest = sizes[-1] if sizes else 0
        group.add(day, largest, sum(sizes) - largest, histogram.shorten(counts))
    return group


def add_up(groups: Sequence[GroupSizes]) -> GroupSizes:
    """Return the sum of the sizes of one group in several parts."""
    if len(groups) == 1:
        return groups[0]
    found = GroupSizes(findings=dict(sum((Counter(one.findings) for one in groups), Counter())))
    rows = sorted(
        row
        for one in groups
        for row in zip(one.days, one.largest, one.others, one.histograms, strict=True)
    )
    for day, same in groupby(rows, lambda row: row[0]):
        cells = [*same]
        if len(cells) == 1:
            found.add(*cells[0])
            continue
        largest = max(cell[1] for cell in cells)
        others = sum(cell[1] + cell[2] for cell in cells) - largest
        short = histogram.shorten(histogram.parse(*(cell[3] for cell in cells)))
        found.add(day, largest, others, short)
    return found


@dataclass(frozen=True, slots=True)
class Source:
    """Where a snapshot comes from."""

    name: str
    """The deployment: the profile, or the name of the database."""
    database_id: str
    """The same in every snapshot of one database, and in those of no other."""
    backend: str
    server_version: str
    airflow: str
    column_type: str
    limits: tuple[Limit, ...]
    """The one in force first."""
    store: str = "xcom"
    filters: Mapping[str, object] = field(default_factory=dict)
    """The filters that were given, by name."""
    rules: tuple[str, ...] = ()
    """Ids of the rules whose findings are counted."""


@dataclass(frozen=True, slots=True)
class PartOf:
    """Which part of the table a snapshot is of."""

    number: int
    of: int
    range: KeyRange = field(default=KeyRange())

    def __str__(self) -> str:
        return f"part {self.number} of {self.of}"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The sizes of one store of one deployment."""

    source: Source
    groups: Mapping[GroupName, GroupSizes]
    part: PartOf | None = None

    def ordered(self) -> Iterator[tuple[GroupName, GroupSizes]]:
        """Yield the groups by name, a key that is NULL first."""
        for name in sorted(self.groups, key=lambda name: (*name[:2], name[2] or "", bool(name[2]))):
            yield name, self.groups[name]

    def days(self) -> list[int]:
        """Return every day on which an XCom was pushed, `NO_DAY` included."""
        return sorted({day for group in self.groups.values() for day in group.days})


def merge(snapshots: Sequence[tuple[str, Snapshot]]) -> Snapshot:
    """Merge the parts of a snapshot into the whole. Each comes with the name of its file.

    Raises:
        RefusedError: they are not all parts of one database, or one is missing or doubled.
    """
    first_name, first = snapshots[0]
    for name, one in snapshots[1:]:
        if one.source.database_id != first.source.database_id:
            raise RefusedError(
                f'"{first_name}" and "{name}" are of different databases',
                detail=f'They are of "{first.source.name}" and "{one.source.name}".',
                hint="Merge the parts of one database. top, audit and report take several with --from.",
            )
        if one.source != first.source:
            raise RefusedError(
                f'"{first_name}" and "{name}" were taken in different ways',
                detail=f"They differ in {_difference(first.source, one.source)}.",
                hint="Take every part with the same options.",
            )
    _refuse_other_parts(snapshots)
    _refuse_gaps(snapshots)
    by_name: dict[GroupName, list[GroupSizes]] = {}
    for _, one in snapshots:
        for group_name, sizes in one.groups.items():
            by_name.setdefault(group_name, []).append(sizes)
    return Snapshot(first.source, {name: add_up(some) for name, some in by_name.items()})


def _difference(one: Source, other: Source) -> str:
    names = ("store", "filters", "rules", "name", "limits", "server_version", "airflow")
    different = [name for name in names if getattr(one, name) != getattr(other, name)]
    return ", ".join(different) or "the database's column"


def _refuse_other_parts(snapshots: Sequence[tuple[str, Snapshot]]) -> None:
    """Raise RefusedError unless each part is given exactly once."""
    found: dict[int, str] = {}
    (first_name, first), *_ = snapshots
    of = first.part.of if first.part else 1
    for name, one in snapshots:
        if (one.part.of if one.part else 1) != of:
            raise RefusedError(
                f'"{first_name}" and "{name}" are parts of different divisions',
                detail=f"They are {_said(first.part)} and {_said(one.part)}.",
                hint="Take all parts with the same N: --part 1/N, --part 2/N and so on.",
            )
        number = one.part.number if one.part else 1
        if number in found:
            raise RefusedError(
                f'"{found[number]}" and "{name}" are both {_said(one.part)}',
                hint="Give each part once."
                if of > 1
                else '"xcomctl diff" compares two snapshots of one database.',
            )
        found[number] = name
    missing = [str(number) for number in range(1, of + 1) if number not in found][:10]
    if missing:
        raise RefusedError(
            f"{'part' if len(missing) == 1 else 'parts'} {', '.join(missing)} of {of} "
            f"{'is' if len(missing) == 1 else 'are'} missing",
            hint=f"Take it with --part {missing[0]}/{of}.",
        )


def _refuse_gaps(snapshots: Sequence[tuple[str, Snapshot]]) -> None:
    """Raise RefusedError unless each part begins where the one before it ends."""
    parts = sorted((one.part for _, one in snapshots if one.part), key=lambda part: part.number)
    for before, after in pairwise(parts):
        if before.range.end != after.range.start:
            raise RefusedError(
                f"{before} and {after} do not meet",
                detail=f"The one ends before the key {before.range.end}, and the other begins at "
                f"{after.range.start}: runs were added or deleted between them.",
                hint="Take all parts again, at about the same time.",
            )


def _said(part: PartOf | None) -> str:
    return "the whole database" if part is None else str(part)


# --- questions --------------------------------------------------------------------------------


def select(snapshots: Iterable[Snapshot], selection: Selection) -> list[Snapshot]:
    """Return the snapshots with only the selected groups and days.

    Days are whole: one is selected if any of its moments is.

    Raises:
        UsageError: a filter is by what a snapshot does not hold.
    """
    given = {
        "--run-id": selection.run_ids,
        "--map-index": selection.map_indexes,
        "--min-size": selection.min_size,
        "--max-size": selection.max_size,
    }
    for option, value in given.items():
        if value not in ((), None):
            raise UsageError(
                f"{option} cannot be applied to a snapshot",
                detail="A snapshot holds sizes per DAG, task, key and day.",
                hint=f"Take a snapshot with {option}, or read the database.",
            )
    first = selection.since.date().toordinal() if selection.since else None
    last = selection.until.date().toordinal() if selection.until else None
    return [replace(one, groups=_selected(one.groups, selection, first, last)) for one in snapshots]


def _selected(
    groups: Mapping[GroupName, GroupSizes],
    selection: Selection,
    first: int | None,
    last: int | None,
) -> dict[GroupName, GroupSizes]:
    found: dict[GroupName, GroupSizes] = {}
    for name, sizes in groups.items():
        texts = (selection.dag_ids, selection.task_ids, selection.keys)
        if not all(_matches(part, wanted) for part, wanted in zip(name, texts, strict=True)):
            continue
        if first is not None or last is not None:
            sizes = _within(sizes, first or 1, LAST_DAY if last is None else last)
        if sizes.days:
            found[name] = sizes
    return found


def _matches(text: str | None, wanted: Sequence[str]) -> bool:
    if not wanted:
        return True
    return text is not None and any(
        fnmatchcase(text, one) if is_glob(one) else text == one for one in wanted
    )


def _within(sizes: GroupSizes, first: int, last: int) -> GroupSizes:
    found = GroupSizes(findings=sizes.findings)
    rows = zip(sizes.days, sizes.largest, sizes.others, sizes.histograms, strict=True)
    for row in rows:
        if first <= row[0] <= last:
            found.add(*row)
    return found


class _Tally:
    """Adds up cells to a summary."""

    def __init__(self) -> None:
        self._counts: Histogram = Counter()
        self._total = self._largest = 0
        self._by_day: dict[date, int] = {}

    def add(self, sizes: GroupSizes) -> None:
        self._counts.update(sizes.histogram())
        self._total += sizes.total
        self._largest = max(self._largest, *sizes.largest)
        for day, largest in sizes.largest_by_day().items():
            self._by_day[day] = max(self._by_day.get(day, 0), largest)

    def summary(self) -> Summary:
        measured = histogram.measured(self._counts)
        largest = Size(self._largest) if measured else None
        return Summary(
            rows=self._counts.total(),
            measured=measured,
            total=self._total,
            largest=largest,
            percentiles=histogram.percentiles(self._counts, largest, SHARES),
            largest_by_day=self._by_day if measured else {},
        )


def summarize(
    snapshots: Iterable[Snapshot], by: Sequence[str]
) -> dict[tuple[str | None, ...], Summary]:
    """Return the sizes of each group, its percentiles as upper bounds.

    `by` holds names among deployment, dag_id, task_id, key and day.
    """
    tallies: dict[tuple[str | None, ...], _Tally] = {}
    for snapshot in snapshots:
        for (dag_id, task_id, key), sizes in snapshot.groups.items():
            named: dict[str, str | None] = {
                "deployment": snapshot.source.name,
                "dag_id": dag_id,
                "task_id": task_id,
                "key": key,
            }
            for day, some in _by_day(sizes) if "day" in by else ((None, sizes),):
                name = tuple(day if one == "day" else named[one] for one in by)
                tallies.setdefault(name, _Tally()).add(some)
    return {name: tally.summary() for name, tally in tallies.items()}


def _by_day(sizes: GroupSizes) -> Iterator[tuple[str | None, GroupSizes]]:
    rows = zip(sizes.days, sizes.largest, sizes.others, sizes.histograms, strict=True)
    for day, largest, others, short in rows:
        name = None if day == NO_DAY else date.fromordinal(day).isoformat()
        yield name, GroupSizes([day], [largest], [others], [short])
