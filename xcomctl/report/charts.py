"""Pictures as SVG: bytes per day, the largest value of each day with its forecast, and sizes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xcomctl.report import markup
from xcomctl.sizes import histogram
from xcomctl.sizes.notation import limit_text

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date

    from xcomctl.report.facts import Day, Facts
    from xcomctl.sizes.forecast import Band

WIDTH, HEIGHT = 640, 280
_TOP, _BOTTOM = 24, 34
_PLOT = HEIGHT - _TOP - _BOTTOM


def _svg(label: str, contents: str) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}" class="chart">'
        f"{contents}</svg>"
    )


def _grid(top: float) -> tuple[str, str]:
    """Return lines at round sizes, and their labels, which are drawn on top."""
    places = [(value, _y(value, top)) for value in round_sizes(top)]
    lines = "".join(f"M0 {y:.1f}H{WIDTH}" for _, y in places)
    labels = (f'<text x="0" y="{y - 4:.1f}">{markup.size(value)}</text>' for value, y in places)
    return f'<path class="grid" d="{lines}"/>', "".join(labels)


def round_sizes(top: float) -> list[int]:
    """Return two to four round sizes up to this one: multiples of a power of two."""
    step = 1
    while step * 4 < top:
        step *= 2
    return list(range(step, int(top) + 1, step))


def _y(value: float, top: float) -> float:
    return _TOP + _PLOT * (1 - value / top) if top else float(_TOP + _PLOT)


def _dates(days: Sequence[Day], last: str | None = None) -> str:
    """Return the labels of the first day, of one in the middle, and of the last."""
    labels = [(0, "start", days[0].day.isoformat())]
    end = last or days[-1].day.isoformat()
    if end != labels[0][2]:
        labels.append((WIDTH, "end", end))
    return _axis() + "".join(
        f'<text x="{x}" y="{HEIGHT - 8}" text-anchor="{anchor}">{label}</text>'
        for x, anchor, label in labels
    )


def _axis() -> str:
    return f'<path class="axis" d="M0 {_TOP + _PLOT}H{WIDTH}"/>'


def _place(day_at: int, span: int) -> float:
    return WIDTH * (day_at + 0.5) / span


def pushed(days: Sequence[Day]) -> str:
    """Return bars: the bytes pushed on each day."""
    first, span = days[0].day, (days[-1].day - days[0].day).days + 1
    top = max(max(one.total for one in days), 1) * 1.08
    width = WIDTH / span
    gap = 1 if width > 3 else 0
    bars = "".join(
        f"M{(one.day - first).days * width + gap / 2:.1f} {_TOP + _PLOT}"
        f"V{_y(one.total, top):.1f}h{width - gap:.1f}V{_TOP + _PLOT}z"
        for one in days
        if one.total
    )
    label = f"Bytes pushed per day, from {days[0].day} to {days[-1].day}"
    lines, labels = _grid(top)
    return _svg(label, f'{lines}<path class="bar" d="{bars}"/>{labels}{_dates(days)}')


def largest(facts: Facts, days: Sequence[Day]) -> str:
    """Return a line: the largest value of each day, then its forecast, and the limit."""
    band = facts.band
    first, last = days[0].day, days[-1].day
    end = band.days[-1] if band else last
    span = (end - first).days + 1
    values = [one.largest for one in days]
    top = max(*values, *(band.expected if band else ()), 1) * 1.12
    if facts.limit <= 4 * top:
        top = max(top, facts.limit * 1.1)
    points = " ".join(
        f"{_place((one.day - first).days, span):.1f},{_y(one.largest, top):.1f}" for one in days
    )
    lines, labels = _grid(top)
    parts = [lines]
    if band:
        parts.append(_band_path(band, first, span, top))
    parts.append(f'<polyline class="line" points="{points}"/>')
    if len(days) == 1:
        parts.append(
            f'<circle class="dot" cx="{_place(0, span)}" cy="{_y(values[0], top):.1f}" r="4"/>'
        )
    if facts.limit <= top:
        y = _y(facts.limit, top)
        parts.append(
            f'<path class="limit" d="M0 {y:.1f}H{WIDTH}"/><text class="limit-label" x="{WIDTH}" '
            f'y="{y - 5:.1f}" text-anchor="end">limit {limit_text(facts.limit)}</text>'
        )
    parts += [labels, _dates(days, end.isoformat())]
    forecast = f", with a forecast up to {end}" if band else ""
    return _svg(f"Largest XCom of each day, from {first} to {last}{forecast}", "".join(parts))


def _band_path(band: Band, first: date, span: int, top: float) -> str:
    xs = [_place((day - first).days, span) for day in band.days]
    upper = [f"{x:.1f} {max(_y(y, top), 0):.1f}" for x, y in zip(xs, band.high, strict=True)]
    lower = [f"{x:.1f} {_y(y, top):.1f}" for x, y in zip(xs, band.low, strict=True)]
    middle = [f"{x:.1f} {_y(y, top):.1f}" for x, y in zip(xs, band.expected, strict=True)]
    return (
        f'<path class="band" d="M{"L".join((*upper, *reversed(lower)))}z"/>'
        f'<path class="ahead" d="M{"L".join(middle)}"/>'
    )


def buckets(facts: Facts) -> list[tuple[int, int, int]]:
    """Return the smallest and the largest size of each bucket up to the largest, and its count."""
    used = [bucket for bucket, count in facts.histogram.items() if count and bucket >= 0]
    if not used:
        return []
    return [
        (histogram.lowest(one), histogram.highest(one), facts.histogram[one])
        for one in range(min(used), max(used) + 1)
    ]


def distribution(facts: Facts) -> str:
    """Return bars by powers of two, both axes logarithmic, with a line at the limit."""
    found = buckets(facts)
    first = found[0][0].bit_length()
    last = found[-1][1].bit_length()
    at_limit = facts.limit.bit_length()
    shows_limit = at_limit <= last + 12
    columns = max(last, at_limit if shows_limit else last) - first + 1
    width = WIDTH / columns
    top = max(len(str(max(count for *_, count in found))), 1)
    parts = [_axis()]
    for place, (least, _, count) in enumerate(found):
        x, y = place * width, _log_y(count, top)
        if count:
            parts.append(
                f'<path class="bar" d="M{x + 1:.1f} {_TOP + _PLOT}V{y:.1f}h{max(width - 2, 1):.1f}V{_TOP + _PLOT}z"/>'
            )
            if width > 34 or count == max(one for *_, one in found):
                parts.append(
                    f'<text class="value" x="{x + width / 2:.1f}" y="{y - 5:.1f}" text-anchor="middle">{count:,}</text>'
                )
        every = max(1, round(90 / width))
        if place % every == 0 and x < WIDTH - 60:
            minor = ' class="minor"' if place % (2 * every) else ""
            parts.append(f'<text{minor} x="{x:.1f}" y="{HEIGHT - 8}">{markup.size(least)}</text>')
    if shows_limit:
        # The limit lies within its bucket as far as its size in relation to the bucket's ends.
        inside = (facts.limit - histogram.lowest(at_limit)) / max(histogram.lowest(at_limit), 1)
        x = (at_limit - first + inside) * width
        anchor = "end" if x > WIDTH * 0.25 else "start"
        parts.append(
            f'<path class="limit" d="M{x:.1f} {_TOP - 10}V{_TOP + _PLOT}"/><text class="limit-label" '
            f'x="{x - 6 if anchor == "end" else x + 6:.1f}" y="{_TOP}" text-anchor="{anchor}">limit {limit_text(facts.limit)}</text>'
        )
    return _svg("XComs by size, both axes logarithmic", "".join(parts))


def _log_y(count: int, digits: int) -> float:
    """Return the height of a count: a tenth of it is one step lower, and 1 is one step high."""
    import math

    return _TOP + _PLOT * (1 - (1 + math.log10(max(count, 1))) / (digits + 1.2))
