"""Forecasts from the largest value of each day: whether sizes grow, and when they meet the limit."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import groupby
from statistics import median
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_MIN_DAYS = 5
"""Below this no trend can be told from chance: five days in order happen once in 120 times."""
_MAX_DAYS = 180
"""Older days are ignored: a trend describes the present."""
_SIGNIFICANT = 1.96
"""Standard deviations that chance alone exceeds once in twenty times."""
_CHANGED = 3.0
"""Standard deviations by which a later slope must differ; high, because several are tested."""
_MIN_RECENT_DAYS = 10
"""The shortest tail of days whose slope is tested."""
_BETTER_FIT = 2
"""How many times closer a step or a curve must fit before it is preferred to a line."""
_MAX_DAYS_AHEAD = 3650


@dataclass(frozen=True, slots=True)
class Forecast:
    """The trend of the largest value of each day."""

    trend: Literal["grows", "shrinks", "flat", "cannot tell"]
    bytes_per_day: float | None = None
    meets_limit: date | None = None
    """The day on which the trend reaches the limit, or the first day that did if the last day is
    at the limit already. None if that is more than ten years away."""
    why: str = ""
    """What limits or explains the forecast, in a few words."""


def forecast(largest_by_day: Mapping[date, int], limit: int) -> Forecast:
    """Return whether sizes grow, how fast, and on which day they meet `limit` (bytes).

    The slope is the median of the slopes between all pairs of days (Theil-Sen estimator), which
    outliers and missing days do not move. Whether it differs from chance is the Mann-Kendall
    test. Only the days since the last change count: a step is not growth, and neither is growth
    that has stopped. Compound growth, if it fits clearly better, meets the limit sooner than a
    line.

    https://en.wikipedia.org/wiki/Theil%E2%80%93Sen_estimator
    https://en.wikipedia.org/wiki/Kendall_rank_correlation_coefficient
    """
    days = sorted(largest_by_day)[-_MAX_DAYS:]
    if len(days) < _MIN_DAYS:
        return Forecast("cannot tell", why=f"only {_count(days)}; a trend needs {_MIN_DAYS}")
    values = [largest_by_day[one] for one in days]
    first = _since_step(days, values)
    since = "" if first == 0 else f"since a step on {days[first]}"
    if len(days) - first < _MIN_DAYS:
        why = f"only {_count(days[first:])} {since}; a trend needs {_MIN_DAYS}"
        return Forecast("cannot tell", why=why)
    recent = first + _since_change(days[first:], values[first:])
    if recent > first:
        since = f"the trend changed on {days[recent]}"
    return _trend(days[recent:], values[recent:], limit, since)


def _trend(days: Sequence[date], values: Sequence[int], limit: int, since: str) -> Forecast:
    """Return the forecast of days without a step or a change of slope."""
    why = "the last day is already at the limit" if values[-1] >= limit else since
    if len(set(values)) == 1:
        return Forecast("flat", 0.0, why=why)
    if abs(_kendall(values)) < _SIGNIFICANT:
        return Forecast("cannot tell", why="no significant trend")
    offsets = _offsets(days)
    line = _line(offsets, values)
    if abs(line.slope) < 1:
        return Forecast("flat", line.slope, why=why or "less than 1 byte per day")
    if line.slope < 0:
        return Forecast("shrinks", line.slope, why=why)
    daily, ahead = line.slope, (limit - line.start) / line.slope
    share = _compound(offsets, values, line)
    if share is not None:
        growth = math.expm1(share.slope)
        daily = growth * math.exp(share.start + share.slope * offsets[-1])
        ahead = (math.log(max(limit, 1)) - share.start) / share.slope
        why = "; ".join(filter(None, (why, f"{growth:.1%} per day")))
    if values[-1] >= limit:
        met_on = next(day for day, value in zip(days, values, strict=True) if value >= limit)
        return Forecast("grows", daily, met_on, why)
    met = max(math.ceil(ahead - 1e-9), offsets[-1] + 1)
    if met - offsets[-1] > _MAX_DAYS_AHEAD:
        return Forecast("grows", daily, why="the limit is more than ten years away")
    return Forecast("grows", daily, days[0] + timedelta(days=met), why)


def _count(days: Sequence[date]) -> str:
    return f"{len(days)} {'day' if len(days) == 1 else 'days'}"


def _offsets(days: Sequence[date]) -> list[int]:
    return [(one - days[0]).days for one in days]


class _Line(NamedTuple):
    start: float
    slope: float

    def error(self, offsets: Sequence[int], values: Sequence[float]) -> float:
        """Return the sum of the absolute distances of the values from the line."""
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
    """Return the line through the logarithms, or None unless it fits clearly better than `line`."""
    if min(values) <= 0:
        return None
    logs = _line(offsets, [math.log(value) for value in values])
    if logs.slope <= 0:
        return None
    error = sum(
        abs(value - math.exp(logs.start + logs.slope * offset))
        for offset, value in zip(offsets, values, strict=True)
    )
    return logs if error * _BETTER_FIT < line.error(offsets, values) else None


def _since_step(days: Sequence[date], values: Sequence[int]) -> int:
    """Return the index of the first day after a step, or 0 if a line fits the values as well."""
    count, total = len(values), sum(values)
    best, before, split = -1.0, 0, 0
    for index in range(1, count):
        before += values[index - 1]
        # The split whose two means leave the smallest squared error.
        explained = before**2 / index + (total - before) ** 2 / (count - index)
        if explained > best:
            best, split = explained, index
    sides = (values[:split], values[split:])
    error = sum(abs(value - median(side)) for side in sides for value in side)
    offsets = _offsets(days)
    return split if error * _BETTER_FIT < _line(offsets, values).error(offsets, values) else 0


def _since_change(days: Sequence[date], values: Sequence[int]) -> int:
    """Return the index of the first day whose slope differs from that of all days, or 0.

    Tests the later half, then the later half of that, and so on down to `_MIN_RECENT_DAYS`: in
    a shorter window the rhythm of weekdays would look like a change. A run of equal days counts
    as a stop only if it is at least twice as long as any before it; a plateau between two steps
    does not.
    """
    *earlier, last = [len(list(run)) for _, run in groupby(values)]
    if last >= _MIN_RECENT_DAYS:
        return len(values) - last if last >= 2 * max(earlier, default=last) else 0
    slope = median(_slopes(_offsets(days), values))
    start, length = 0, len(values)
    while length > _MIN_RECENT_DAYS:
        length = max(length // 2, _MIN_RECENT_DAYS)
        index = len(values) - length
        recent = sorted(_slopes(_offsets(days[index:]), values[index:]))
        # Sen's confidence interval of the slope: this many slopes on either side of the median.
        width = _CHANGED * math.sqrt(_variance(values[index:]))
        low = max(0, math.floor((len(recent) - width) / 2))
        high = min(len(recent) - 1, math.ceil((len(recent) + width) / 2))
        slack = 1e-9 * abs(slope)
        if not recent[low] - slack <= slope <= recent[high] + slack:
            start, slope = index, median(recent)
    return start


def _kendall(values: Sequence[int]) -> float:
    """Return the Mann-Kendall score in standard deviations; positive if later values are larger."""
    count = len(values)
    score = sum(
        (values[second] > values[first]) - (values[second] < values[first])
        for second in range(count)
        for first in range(second)
    )
    variance = _variance(values)
    if variance == 0 or score == 0:
        return 0.0
    # Continuity correction: the score is discrete, the normal distribution is not.
    return (score - math.copysign(1, score)) / math.sqrt(variance)


def _variance(values: Sequence[int]) -> float:
    """Return the variance of Kendall's score under the null hypothesis, corrected for ties."""
    count = len(values)
    ties = [values.count(value) for value in set(values)]
    return (
        count * (count - 1) * (2 * count + 5) - sum(t * (t - 1) * (2 * t + 5) for t in ties)
    ) / 18
