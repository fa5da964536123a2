"""Numbers about sizes: percentiles, growth, and when a limit is met. No database, no commands."""

from __future__ import annotations

import math
import sys
from array import array
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from statistics import median
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_FEWEST_DAYS = 5
"""Below this no trend can be told from chance: five days in order happen once in 120 times."""
_MOST_DAYS = 180
"""Older days are left out, because a trend is of now."""
_SIGNIFICANT = 1.96
"""Standard deviations, which chance alone exceeds once in twenty times."""
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


@dataclass(frozen=True, slots=True)
class Summary:
    """What there is to say of the sizes of one group, in bytes."""

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


@dataclass(slots=True)
class Counts:
    """The sizes of one group, counted only."""

    rows: int = 0
    measured: int = 0
    total: int = 0
    largest: int | None = None
    marked: int = 0
    sample: str | int | None = None

    def add(self, size: int | None, day: date | None = None) -> None:
        """Count a row, of which a NULL has no size; the day is not asked for."""
        self.rows += 1
        if size is None:
            return
        self.measured += 1
        self.total += size
        if self.largest is None or size > self.largest:
            self.largest = size

    def summary(self) -> Summary:
        """Return what there is to say of them."""
        facts = (self.rows, self.measured, self.total, self.largest)
        return Summary(*facts, marked=self.marked, sample=self.sample)


@dataclass(slots=True)
class Sizes:
    """The sizes of one group: eight bytes for each, to be exact about percentiles."""

    rows: int = 0
    total: int = 0
    sizes: array[int] = field(default_factory=lambda: array("Q"))
    largest_by_day: dict[date, int] = field(default_factory=dict)
    marked: int = 0
    sample: str | int | None = None

    def add(self, size: int | None, day: date | None = None) -> None:
        """Count a row, of which a NULL has no size."""
        self.rows += 1
        if size is None:
            return
        self.total += size
        self.sizes.append(size)
        if day is not None and size >= self.largest_by_day.get(day, 0):
            self.largest_by_day[day] = size

    def summary(self) -> Summary:
        """Return what there is to say of them."""
        ordered = sorted(self.sizes)
        return Summary(
            self.rows,
            len(ordered),
            self.total,
            ordered[-1] if ordered else None,
            tuple(percentile(ordered, share) for share in SHARES),
            self.largest_by_day,
            self.marked,
            self.sample,
        )


def unpacked(sizes: bytes | memoryview | None, rows: int, by_day: Mapping[date, int]) -> Summary:
    """Return what there is to say of sizes of four bytes each, the most significant first."""
    numbers = array("I", bytes(sizes or b""))
    if sys.byteorder == "little":
        numbers.byteswap()
    return replace(Sizes(rows, sum(numbers), numbers).summary(), largest_by_day=by_day)


@dataclass(frozen=True, slots=True)
class Forecast:
    """Where the largest value of a day is going."""

    trend: Literal["grows", "shrinks", "flat", "cannot tell"]
    bytes_per_day: float | None = None
    meets_limit: date | None = None
    """The day on which the trend is at the limit; None where it never is, within ten years."""
    why: str = ""


def forecast(largest_by_day: Mapping[date, int], limit: int) -> Forecast:
    """Return whether sizes grow, how fast, and when they meet the limit.

    The slope is the median of those between all pairs of days (Theil and Sen), which single
    large or missing days do not move; whether it is more than chance is told by the order of
    the days alone (Mann and Kendall).
    """
    days = sorted(largest_by_day)[-_MOST_DAYS:]
    if len(days) < _FEWEST_DAYS:
        noun = "day" if len(days) == 1 else "days"
        return Forecast("cannot tell", why=f"{len(days)} {noun}, and a trend needs {_FEWEST_DAYS}")
    values = [largest_by_day[one] for one in days]
    if len(set(values)) == 1:
        return Forecast("flat", 0.0)
    if abs(_kendall(values)) < _SIGNIFICANT:
        return Forecast("cannot tell", why="the days go up and down as chance would have it")
    offsets = [(one - days[0]).days for one in days]
    slope = median(
        (values[second] - values[first]) / (offsets[second] - offsets[first])
        for second in range(len(days))
        for first in range(second)
    )
    if abs(slope) < 1:
        return Forecast("flat", slope, why="less than a byte a day")
    if slope < 0:
        return Forecast("shrinks", slope)
    start = median(value - slope * offset for value, offset in zip(values, offsets, strict=True))
    if values[-1] >= limit:
        return Forecast("grows", slope, days[-1], "the last day is at the limit already")
    ahead = math.ceil((limit - start) / slope - 1e-9)
    ahead = max(ahead, offsets[-1] + 1)
    if ahead - offsets[-1] > _FARTHEST_DAYS:
        return Forecast("grows", slope, why="the limit is more than ten years away")
    return Forecast("grows", slope, days[0] + timedelta(days=ahead))


def _kendall(values: Sequence[int]) -> float:
    """Return by how many standard deviations later values are larger than earlier ones."""
    count = len(values)
    score = sum(
        (values[second] > values[first]) - (values[second] < values[first])
        for second in range(count)
        for first in range(second)
    )
    ties = [values.count(value) for value in set(values)]
    variance = (
        count * (count - 1) * (2 * count + 5) - sum(t * (t - 1) * (2 * t + 5) for t in ties)
    ) / 18
    if variance == 0 or score == 0:
        return 0.0
    # One less, for a score moves in steps while the normal distribution does not.
    return (score - math.copysign(1, score)) / math.sqrt(variance)
