"""Squarified treemaps: rectangles whose areas are in proportion to sizes, as square as can be.

https://www.win.tue.nl/~vanwijk/stm.pdf
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence


class Box(NamedTuple):
    """A rectangle: its top left corner, its width and its height."""

    x: float
    y: float
    width: float
    height: float

    def inside(self, top: float, gap: float) -> Box:
        """Return what a heading of this height and a margin leave."""
        return Box(
            self.x + gap,
            self.y + top,
            max(self.width - 2 * gap, 0.0),
            max(self.height - top - gap, 0.0),
        )


def squarify(sizes: Sequence[float], box: Box) -> list[Box]:
    """Return a rectangle for each size, given the largest size first; of no area for 0."""
    total = sum(sizes)
    if total <= 0 or box.width <= 0 or box.height <= 0:
        return [Box(box.x, box.y, 0.0, 0.0)] * len(sizes)
    areas = [size * box.width * box.height / total for size in sizes]
    found: list[Box] = []
    at = 0
    while at < len(areas):
        side = min(box.width, box.height)
        end, sum_ = at + 1, areas[at]
        worst = _worst(areas[at], areas[at], sum_, side)
        while end < len(areas):
            more = _worst(areas[at], areas[end], sum_ + areas[end], side)
            if more > worst:
                break
            worst, sum_ = more, sum_ + areas[end]
            end += 1
        row, box = _lay(areas[at:end], sum_, box)
        found += row
        at = end
    return found


def _worst(largest: float, smallest: float, total: float, side: float) -> float:
    """Return the largest ratio of the sides of a row's rectangles."""
    if not (smallest and side and total):
        return float("inf")
    return max(side**2 * largest / total**2, total**2 / (side**2 * smallest))


def _lay(areas: Sequence[float], total: float, box: Box) -> tuple[list[Box], Box]:
    """Return a row along the shorter side of the box, and the rest of the box."""
    found = []
    if box.width >= box.height:
        width = total / box.height if box.height else 0.0
        y = box.y
        for area in areas:
            height = area / width if width else 0.0
            found.append(Box(box.x, y, width, height))
            y += height
        return found, Box(box.x + width, box.y, max(box.width - width, 0.0), box.height)
    height = total / box.width if box.width else 0.0
    x = box.x
    for area in areas:
        width = area / height if height else 0.0
        found.append(Box(x, box.y, width, height))
        x += width
    return found, Box(box.x, box.y + height, box.width, max(box.height - height, 0.0))
