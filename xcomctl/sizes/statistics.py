"""Numbers about sizes: percentiles, growth, and when a limit is met. No database, no commands."""

from __future__ import annotations

import math
import sys
from array import array
from bisect import bisect_left
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from itertools import groupby
from statistics import median
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

_FEWEST_DAYS = 5
"""Below this no trend can be told from chance: five days in order happen once in 120 times."""
_MOST_DAYS = 180
"""Older days are left out, because a trend is of now."""
_SIGNIFICANT = 1.96
"""Standard deviations, which chance alone exceeds once in twenty times."""
_CHANGED = 3.0
"""Standard deviations by which a later slope has to differ: several are looked at."""
_FEWEST_RECENT = 10
"""Days of which a later slope is told."""
_FAR_NEARER = 2
"""How many times nearer a step or a curve has to be to be believed instead of a line."""
_FARTHEST_DAYS = 3650


def percentile(ordered: Sequence[int], share: float) -> int | None:
    """Return the smallest of the ascending numbers that has so large a share at or below it.

    As SQL's percentile_disc: always one of the numbers. None of none.
    """
    if not ordered:
        return None
    return ordered[max(0, math.ceil(share * len(ordered) - 1e-9) - 1)]


SHARES = (0.5, 0.95, 0.99)
"""The percentiles that are told of a group."""


@dataclass(slots=True)
class Summary:
    """What there is to say of the sizes of one group, in bytes.

    Not frozen, which takes four times as long to make, and there may be a million.
    """

    rows: int
    measured: int
    """The rows that have a size: not NULL."""
    total: int
    largest: int | None
    percentiles: tuple[int | None, ...] = ()
    """Of `SHARES`, where they were asked for."""
    largest_by_day: Mapping[date, int] = field(default_factory=dict)
    """Where it was asked for."""
    marked: int = 0
    """The rows that may be pickles, where it was asked for."""
    sample: str | int | None = None
    """What names a row whose first byte was not looked at."""


@dataclass(frozen=True, slots=True)
class Survey:
    """What is there of each dag, task and key."""

    groups: Mapping[tuple[str, str, str | None], Summary]
    may_hold_pickles: bool
    sampled: bool
    """Whether of the large values only one of each group was looked at for being a pickle."""


Name = tuple[Any, ...]


def gather_counts(rows: Iterable[Name], width: int) -> Iterator[tuple[Name, Summary]]:
    """Yield what there is of each group of rows, which is all that is held.

    A row is as many names as `width` says, then its size, and if there is more, whether it is
    marked, and what names it as a sample.
    """
    groups: dict[Name, list[Any]] = {}
    for row in rows:
        # A list and no object: a million calls of a method are half a second.
        size = row[width]
        group = groups.get(row[:width])
        if group is None:
            group = groups[row[:width]] = [0, 0, 0, None, 0, None]
        group[0] += 1
        if size is not None:
            group[1] += 1
            group[2] += size
            if group[3] is None or size > group[3]:
                group[3] = size
        if len(row) > width + 1:
            if row[width + 1]:
                group[4] += 1
            if row[width + 2] is not None:
                group[5] = row[width + 2]
    for name, (count, measured, total, largest, marked, sample) in groups.items():
        yield name, Summary(count, measured, total, largest, marked=marked, sample=sample)


def gather_sizes(batches: Iterable[Sequence[Sequence[Any]]], width: int) -> dict[Name, array[int]]:
    """Return the sizes of each group of rows, eight bytes a row; -1 stands for NULL.

    A row is as many names as `width` says, and its size. Rows come many at a time.
    """
    sizes: dict[Name, array[int]] = {}
    if width == 3:
        # The usual number, written out: a million slices are a tenth of a second.
        for rows in batches:
            for one, two, three, size in rows:
                try:
                    sizes[one, two, three].append(size)
                except (KeyError, TypeError):
                    some = sizes.setdefault((one, two, three), array("q"))
                    some.append(-1 if size is None else size)
        return sizes
    for rows in batches:
        for *name, size in rows:
            some = sizes.setdefault(tuple(name), array("q"))
            some.append(-1 if size is None else size)
    return sizes


def gather_days(rows: Iterable[Name], width: int) -> Iterator[tuple[Name, Summary]]:
    """Yield what there is of each group of rows, percentiles included: eight bytes a row are held.

    A row is as many names as `width` says, then its size and last its day.
    """
    sizes: dict[Name, array[int]] = {}
    by_day: dict[Name, dict[date, int]] = {}
    for row in rows:
        name, size, day = row[:width], row[width], row[-1]
        sizes.setdefault(name, array("q")).append(-1 if size is None else size)
        if day is not None and size is not None:
            largest = by_day.setdefault(name, {})
            if size >= largest.get(day, 0):
                largest[day] = size
    for name, numbers in sizes.items():
        yield name, summarized(numbers, by_day.get(name, {}))


def summarized(sizes: Iterable[int], largest_by_day: Mapping[date, int] | None = None) -> Summary:
    """Return what there is to say of these sizes, of which -1 stands for NULL."""
    ordered = sorted(sizes)
    rows = len(ordered)
    if rows and ordered[0] < 0:
        del ordered[: bisect_left(ordered, 0)]
    percentiles = tuple([percentile(ordered, share) for share in SHARES])
    largest = ordered[-1] if ordered else None
    by_day = largest_by_day or {}
    return Summary(rows, len(ordered), sum(ordered), largest, percentiles, by_day)


def unpacked(sizes: bytes | memoryview | None, rows: int, by_day: Mapping[date, int]) -> Summary:
    """Return what there is to say of so many rows, of which these are the sizes.

    Four bytes each, the most significant first; NULLs have none.
    """
    numbers = array("I", bytes(sizes or b""))
    if sys.byteorder == "little":
        numbers.byteswap()
    return replace(summarized(numbers, by_day), rows=rows)


@dataclass(frozen=True, slots=True)
class Forecast:
    """Where the largest value of a day is going."""

    trend: Literal["grows", "shrinks", "flat", "cannot tell"]
    bytes_per_day: float | None = None
    meets_limit: date | None = None
    """The day on which the trend is at the limit, or the first that was if the last is; None where
    it never is, within ten years."""
    why: str = ""


def forecast(largest_by_day: Mapping[date, int], limit: int) -> Forecast:
    """Return whether sizes grow, how fast, and when they meet the limit.

    The slope is the median of those between all pairs of days (Theil and Sen), which single
    large or missing days do not move; whether it is more than chance is told by the order of
    the days alone (Mann and Kendall). It is that of the days since the last change: a step is
    no growth, and growth that has stopped is none any more. Sizes that grow by a share of
    themselves meet the limit sooner than a line would.
    """
    days = sorted(largest_by_day)[-_MOST_DAYS:]
    if len(days) < _FEWEST_DAYS:
        return Forecast("cannot tell", why=f"{_count(days)}, and a trend needs {_FEWEST_DAYS}")
    values = [largest_by_day[one] for one in days]
    first = _since_step(days, values)
    since = "" if first == 0 else f"since a step on {days[first]}"
    if len(days) - first < _FEWEST_DAYS:
        why = f"{_count(days[first:])} {since}, and a trend needs {_FEWEST_DAYS}"
        return Forecast("cannot tell", why=why)
    recent = first + _since_change(days[first:], values[first:])
    if recent > first:
        since = f"since {days[recent]}, other than before"
    return _trend(days[recent:], values[recent:], limit, since)


def _trend(days: Sequence[date], values: Sequence[int], limit: int, since: str) -> Forecast:
    """Return where days that nothing interrupts are going."""
    why = "the last day is at the limit already" if values[-1] >= limit else since
    if len(set(values)) == 1:
        return Forecast("flat", 0.0, why=why)
    if abs(_kendall(values)) < _SIGNIFICANT:
        return Forecast("cannot tell", why="the days go up and down as chance would have it")
    offsets = _offsets(days)
    line = _line(offsets, values)
    if abs(line.slope) < 1:
        return Forecast("flat", line.slope, why=why or "less than a byte a day")
    if line.slope < 0:
        return Forecast("shrinks", line.slope, why=why)
    daily, ahead = line.slope, (limit - line.start) / line.slope
    share = _compound(offsets, values, line)
    if share is not None:
        growth = math.expm1(share.slope)
        daily = growth * math.exp(share.start + share.slope * offsets[-1])
        ahead = (math.log(max(limit, 1)) - share.start) / share.slope
        why = "; ".join(filter(None, (why, f"by {growth:.1%} of itself a day")))
    if values[-1] >= limit:
        met_on = next(day for day, value in zip(days, values, strict=True) if value >= limit)
        return Forecast("grows", daily, met_on, why)
    met = max(math.ceil(ahead - 1e-9), offsets[-1] + 1)
    if met - offsets[-1] > _FARTHEST_DAYS:
        return Forecast("grows", daily, why="the limit is more than ten years away")
    return Forecast("grows", daily, days[0] + timedelta(days=met), why)


def _count(days: Sequence[date]) -> str:
    return f"{len(days)} {'day' if len(days) == 1 else 'days'}"


def _offsets(days: Sequence[date]) -> list[int]:
    return [(one - days[0]).days for one in days]


class _Line(NamedTuple):
    start: float
    slope: float

    def misses(self, offsets: Sequence[int], values: Sequence[float]) -> float:
        """Return by how much, in all, the values are off the line."""
        return sum(
            abs(value - self.start - self.slope * offset)
            for offset, value in zip(offsets, values, strict=True)
        )


def _slopes(offsets: Sequence[int], values: Sequence[float]) -> list[float]:
    return [
        (values[second] - values[first]) / (offsets[second] - offsets[first])
        for second in range(len(values))
        for first in range(second)
    ]


def _line(offsets: Sequence[int], values: Sequence[float]) -> _Line:
    slope = median(_slopes(offsets, values))
    pairs = zip(values, offsets, strict=True)
    return _Line(median(value - slope * offset for value, offset in pairs), slope)


def _compound(offsets: Sequence[int], values: Sequence[int], line: _Line) -> _Line | None:
    """Return the line of the logarithms, None unless it is far nearer to the values."""
    if min(values) <= 0:
        return None
    logs = _line(offsets, [math.log(value) for value in values])
    if logs.slope <= 0:
        return None
    off = sum(
        abs(value - math.exp(logs.start + logs.slope * offset))
        for offset, value in zip(offsets, values, strict=True)
    )
    return logs if off * _FAR_NEARER < line.misses(offsets, values) else None


def _since_step(days: Sequence[date], values: Sequence[int]) -> int:
    """Return the index after the one step that explains the values, 0 where none does.

    It has to be far nearer to them than a line.
    """
    count, total = len(values), sum(values)
    best, before, split = -1.0, 0, 0
    for index in range(1, count):
        before += values[index - 1]
        # The split whose two means differ from the values least, by least squares.
        explained = before**2 / index + (total - before) ** 2 / (count - index)
        if explained > best:
            best, split = explained, index
    sides = (values[:split], values[split:])
    off = sum(abs(value - median(side)) for side in sides for value in side)
    offsets = _offsets(days)
    return split if off * _FAR_NEARER < _line(offsets, values).misses(offsets, values) else 0


def _since_change(days: Sequence[date], values: Sequence[int]) -> int:
    """Return the index from which on the slope is another than that of all days, else 0.

    The later half is looked at, then its later half, down to some days more than a week: within
    a week a rhythm of weekdays would look like a change. Days that are equal have stopped where
    they are twice as many as ever before: who climbs stairs has not stopped at each landing.
    """
    *earlier, last = [len(list(run)) for _, run in groupby(values)]
    if last >= _FEWEST_RECENT:
        return len(values) - last if last >= 2 * max(earlier, default=last) else 0
    slope = median(_slopes(_offsets(days), values))
    start, length = 0, len(values)
    while length > _FEWEST_RECENT:
        length = max(length // 2, _FEWEST_RECENT)
        index = len(values) - length
        recent = sorted(_slopes(_offsets(days[index:]), values[index:]))
        # The interval of the slope, by Sen: so many slopes either side of the middle.
        width = _CHANGED * math.sqrt(_variance(values[index:]))
        low = max(0, math.floor((len(recent) - width) / 2))
        high = min(len(recent) - 1, math.ceil((len(recent) + width) / 2))
        slack = 1e-9 * abs(slope)
        if not recent[low] - slack <= slope <= recent[high] + slack:
            start, slope = index, median(recent)
    return start


def _kendall(values: Sequence[int]) -> float:
    """Return by how many standard deviations later values are larger than earlier ones."""
    count = len(values)
    score = sum(
        (values[second] > values[first]) - (values[second] < values[first])
        for second in range(count)
        for first in range(second)
    )
    variance = _variance(values)
    if variance == 0 or score == 0:
        return 0.0
    # One less, for a score moves in steps while the normal distribution does not.
    return (score - math.copysign(1, score)) / math.sqrt(variance)


def _variance(values: Sequence[int]) -> float:
    """Return the variance of Kendall's score where nothing but chance orders the values."""
    count = len(values)
    ties = [values.count(value) for value in set(values)]
    return (
        count * (count - 1) * (2 * count + 5) - sum(t * (t - 1) * (2 * t + 5) for t in ties)
    ) / 18
