"""Which columns of a table fit a terminal, and how wide each is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from xcomctl.formats import Column, Kind

GAP: Final = 2
"""Spaces between two columns."""

_Floors: TypeAlias = tuple[int, int, int, int]

_FLOORS: Final[dict[Kind, _Floors]] = {
    "id": (20, 14, 8, 8),
    "run": (22, 22, 12, 12),
    "text": (30, 30, 20, 10),
    "word": (30, 30, 30, 12),
}
"""Widths to which columns are shortened, each tried for all columns before the next.

Columns are dropped rather than shorten others below the first; below the last, a table is not
worth showing. 22 is a scheduled run with its date. Kinds that are not here are never shortened.
"""


@dataclass(frozen=True, slots=True)
class Need:
    """A column, and the room that its cells would take."""

    column: Column
    width: int
    """Of its widest cell or its header."""
    usual: bool = False
    """Whether every cell holds the column's usual value, or none."""
    absent: bool = False
    """Whether no cell holds a value."""

    @property
    def floors(self) -> tuple[int, ...]:
        """Return the widths to which the column may be shortened, in the order of `_FLOORS`."""
        floors = _FLOORS.get(self.column.kind, (self.width,) * 4)
        return tuple(min(self.width, floor) for floor in floors)

    @property
    def rank(self) -> tuple[bool, int]:
        """Return what is highest for the column that is missed least."""
        return self.usual, self.column.drop


def fit(needs: Sequence[Need], width: int, *, droppable: bool = True) -> dict[str, int] | None:
    """Return the width of each column that stays, by name, in the given order.

    Columns that hold only usual values are dropped first, then others by `Column.drop` until the
    rest is readable. Those for which there is room after all come back; then the widest ones are
    shortened. None means that the rows do not fit on one line each.
    """
    kept = list(needs)
    while droppable:
        # Columns that tell nothing go before any other is shortened.
        crowded = _total(one.floors[0] for one in kept) > width
        candidates = [one for one in kept if one.usual or (crowded and one.column.drop > 0)]
        if not candidates or _total(one.width for one in kept) <= width:
            break
        kept.remove(max(candidates, key=lambda one: one.rank))
    for one in sorted(needs, key=lambda one: one.rank):
        # A wide column that went may have made room for others that went before it.
        if (
            one not in kept
            and not one.usual
            and _total(other.floors[0] for other in (*kept, one)) <= width
        ):
            kept.append(one)
    kept.sort(key=needs.index)
    while droppable and _total(one.floors[-1] for one in kept) > width:
        last = [one for one in kept if one.column.drop < 0]
        if not last:
            break
        kept.remove(last[-1])
    if _total(one.floors[-1] for one in kept) > width:
        return None
    widths = [one.width for one in kept]
    for floors in zip(*(one.floors for one in kept), strict=True):
        while _total(widths) > width:
            above = [index for index, floor in enumerate(floors) if widths[index] > floor]
            if not above:
                break
            widths[max(above, key=lambda index: widths[index])] -= 1
    return {one.column.name: taken for one, taken in zip(kept, widths, strict=True)}


def _total(widths: Iterable[int]) -> int:
    listed = list(widths)
    return sum(listed) + GAP * (len(listed) - 1)
