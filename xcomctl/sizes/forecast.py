"""Forecasts from the largest value of each day: whether sizes grow, and when they meet the limit."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections import Counter
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import groupby
from operator import sub, truediv
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
_MAX_BAND_DAYS = 60


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
    series = _Series.of(largest_by_day)
    if len(series.days) < _MIN_DAYS:
        return Forecast("cannot tell", why=f"only {_count(series.days)}; a trend needs {_MIN_DAYS}")
    recent, since = _recent(series)
    if len(recent.days) < _MIN_DAYS:
        why = f"only {_count(recent.days)} {since}; a trend needs {_MIN_DAYS}"
        return Forecast("cannot tell", why=why)
    return _trend(recent, limit, since)


@dataclass(frozen=True, slots=True)
class Band:
    """Where the largest value of the coming days is likely to be, in bytes."""

    days: tuple[date, ...]
    """From the last day that is known."""
    low: tuple[float, ...]
    expected: tuple[float, ...]
    high: tuple[float, ...]


def forecast_band(largest_by_day: Mapping[date, int], limit: int) -> Band | None:
    """Return the forecast as a 95% band, None without a clear trend.

    Its width is Sen's confidence interval of the slope, and the distance from the line within
    which 95% of the known days are.
    """
    found = forecast(largest_by_day, limit)
    if found.bytes_per_day is None or found.trend not in ("grows", "shrinks"):
        return None
    recent, _ = _recent(_Series.of(largest_by_day))
    ahead = min(max(len(recent.days) // 2, _MIN_DAYS), _MAX_BAND_DAYS)
    ahead = min(ahead, date.max.toordinal() - recent.days[-1].toordinal())
    line, slopes = recent.line(), recent.slopes()
    share = _compound(recent, line) if found.trend == "grows" else None
    curve = share or line
    fitted = [curve.start + curve.slope * offset for offset in recent.offsets]
    known = [math.exp(one) for one in fitted] if share else fitted
    distances = sorted(abs(one - value) for one, value in zip(known, recent.values, strict=True))
    spread = distances[math.ceil(0.95 * len(distances)) - 1]
    width = _SIGNIFICANT * math.sqrt(_variance(recent.values))
    low = slopes[max(0, math.floor((len(slopes) - width) / 2))] - line.slope
    high = slopes[min(len(slopes) - 1, math.ceil((len(slopes) + width) / 2))] - line.slope
    last = recent.offsets[-1]
    points = [curve.start + curve.slope * (last + step) for step in range(ahead + 1)]
    expected = [math.exp(one) for one in points] if share else points
    return Band(
        tuple(recent.days[-1] + timedelta(days=step) for step in range(ahead + 1)),
        tuple(max(0.0, one - spread + low * step) for step, one in enumerate(expected)),
        tuple(max(0.0, one) for one in expected),
        tuple(one + spread + high * step for step, one in enumerate(expected)),
    )


class _Series:
    """Values of ascending days. The slopes between all pairs of days are worked out once."""

    def __init__(self, days: Sequence[date], values: Sequence[int]) -> None:
        self.days = days
        self.values = values
        self.offsets = [(one - days[0]).days for one in days] if days else []
        self._slopes: list[float] | None = None

    @classmethod
    def of(cls, largest_by_day: Mapping[date, int]) -> _Series:
        """Return the newest days that count for a trend."""
        days = sorted(largest_by_day)[-_MAX_DAYS:]
        return cls(days, [largest_by_day[one] for one in days])

    def after(self, index: int) -> _Series:
        """Return the days from this index on."""
        return _Series(self.days[index:], self.values[index:]) if index else self

    def slopes(self) -> list[float]:
        """Return the slopes between all pairs of days, ascending."""
        if self._slopes is None:
            self._slopes = _sorted_slopes(self.offsets, self.values)
        return self._slopes

    def line(self) -> _Line:
        """Return the line of the median slope."""
        return _line(self.offsets, self.values, self.slopes())


def _recent(series: _Series) -> tuple[_Series, str]:
    """Return the days since the last step or change of slope, and which of them it was."""
    first = _since_step(series)
    since = "" if first == 0 else f"since a step on {series.days[first]}"
    after = series.after(first)
    if len(after.days) < _MIN_DAYS:
        return after, since
    changed = _since_change(after)
    if changed:
        since = f"the trend changed on {after.days[changed]}"
    return after.after(changed), since


def _trend(series: _Series, limit: int, since: str) -> Forecast:
    """Return the forecast of days without a step or a change of slope."""
    days, values, offsets = series.days, series.values, series.offsets
    why = "the last day is already at the limit" if values[-1] >= limit else since
    if len(set(values)) == 1:
        return Forecast("flat", 0.0, why=why)
    if abs(_kendall(series)) < _SIGNIFICANT:
        return Forecast("cannot tell", why="no significant trend")
    line = series.line()
    if abs(line.slope) < 1:
        return Forecast("flat", line.slope, why=why or "less than 1 byte per day")
    if line.slope < 0:
        return Forecast("shrinks", line.slope, why=why)
    daily, ahead = line.slope, (limit - line.start) / line.slope
    share = _compound(series, line)
    if share is not None:
        growth = math.expm1(share.slope)
        daily = growth * math.exp(share.start + share.slope * offsets[-1])
        ahead = (math.log(max(limit, 1)) - share.start) / share.slope
        why = "; ".join(filter(None, (why, f"{growth:.1%} per day")))
    if values[-1] >= limit:
        met_on = next(day for day, value in zip(days, values, strict=True) if value >= limit)
        return Forecast("grows", daily, met_on, why)
    met = max(math.ceil(ahead - 1e-9), offsets[-1] + 1)
    if met - offsets[-1] > _MAX_DAYS_AHEAD or days[0].toordinal() + met > date.max.toordinal():
        return Forecast("grows", daily, why="the limit is more than ten years away")
    return Forecast("grows", daily, days[0] + timedelta(days=met), why)


def _count(days: Sequence[date]) -> str:
    return f"{len(days)} {'day' if len(days) == 1 else 'days'}"


class _Line(NamedTuple):
    start: float
    slope: float

    def error(self, offsets: Sequence[int], values: Sequence[float]) -> float:
        """Return the sum of the absolute distances of the values from the line."""
        return sum(
            abs(value - self.start - self.slope * offset)
            for offset, value in zip(offsets, values, strict=True)
        )


def _sorted_slopes(offsets: Sequence[int], values: Sequence[float]) -> list[float]:
    found: list[float] = []
    for lag in range(1, len(values)):
        rises = map(sub, values[lag:], values)
        found += map(truediv, rises, map(sub, offsets[lag:], offsets))
    found.sort()
    return found


def _line(offsets: Sequence[int], values: Sequence[float], slopes: Sequence[float]) -> _Line:
    """Return the line of the median of the slopes, which are ascending."""
    slope = median(slopes)
    pairs = zip(values, offsets, strict=True)
    return _Line(median(value - slope * offset for value, offset in pairs), slope)


def _compound(series: _Series, line: _Line) -> _Line | None:
    """Return the line through the logarithms, or None unless it fits clearly better than `line`."""
    offsets, values = series.offsets, series.values
    if min(values) <= 0:
        return None
    logarithms = [math.log(value) for value in values]
    logs = _line(offsets, logarithms, _sorted_slopes(offsets, logarithms))
    if logs.slope <= 0:
        return None
    error = sum(
        abs(value - math.exp(logs.start + logs.slope * offset))
        for offset, value in zip(offsets, values, strict=True)
    )
    return logs if error * _BETTER_FIT < line.error(offsets, values) else None


def _since_step(series: _Series) -> int:
    """Return the index of the first day after a step, or 0 if a line fits the values as well."""
    values = series.values
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
    return split if error * _BETTER_FIT < series.line().error(series.offsets, values) else 0


def _since_change(series: _Series) -> int:
    """Return the index of the first day whose slope differs from that of all days, or 0.

    Tests the later half, then the later half of that, and so on down to `_MIN_RECENT_DAYS`: in
    a shorter window the rhythm of weekdays would look like a change. A run of equal days counts
    as a stop only if it is at least twice as long as any before it; a plateau between two steps
    does not.
    """
    values = series.values
    *earlier, last = [len(list(run)) for _, run in groupby(values)]
    if last >= _MIN_RECENT_DAYS:
        return len(values) - last if last >= 2 * max(earlier, default=last) else 0
    slope = median(series.slopes())
    start, length = 0, len(values)
    while length > _MIN_RECENT_DAYS:
        length = max(length // 2, _MIN_RECENT_DAYS)
        index = len(values) - length
        recent = series.after(index).slopes()
        # Sen's confidence interval of the slope: this many slopes on either side of the median.
        width = _CHANGED * math.sqrt(_variance(values[index:]))
        low = max(0, math.floor((len(recent) - width) / 2))
        high = min(len(recent) - 1, math.ceil((len(recent) + width) / 2))
        slack = 1e-9 * abs(slope)
        if not recent[low] - slack <= slope <= recent[high] + slack:
            start, slope = index, median(recent)
    return start


def _kendall(series: _Series) -> float:
    """Return the Mann-Kendall score in standard deviations; positive if later values are larger."""
    slopes = series.slopes()
    score = len(slopes) - bisect_right(slopes, 0) - bisect_left(slopes, 0)
    variance = _variance(series.values)
    if variance == 0 or score == 0:
        return 0.0
    # Continuity correction: the score is discrete, the normal distribution is not.
    return (score - math.copysign(1, score)) / math.sqrt(variance)


def _variance(values: Sequence[int]) -> float:
    """Return the variance of Kendall's score under the null hypothesis, corrected for ties."""
    count = len(values)
    ties = Counter(values).values()
    return (
        count * (count - 1) * (2 * count + 5) - sum(t * (t - 1) * (2 * t + 5) for t in ties)
    ) / 18
