"""The text of a table's cells, for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from xcomctl.model import Size, format_percent
from xcomctl.sizes.notation import limit_exactly
from xcomctl.text import visible
from xcomctl.values.strictjson import dumps

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from xcomctl.formats import Column, Row

ABSENT: Final = "-"

RIGHT: Final = frozenset({"index", "number", "size", "limit", "delta", "percent"})
"""Kinds of columns that are aligned to the right."""

_UNITS: Final = (("B", 1), ("KiB", 2**10), ("MiB", 2**20), ("GiB", 2**30), ("TiB", 2**40))
_MOST_IN_UNIT: Final = 10_000
_LEAST_IN_UNIT: Final = 10
"""Three significant digits with the one decimal that sizes have."""


class Cells:
    """Turns rows into text. Sizes of a column have one unit where that can be read."""

    def __init__(self, columns: Sequence[Column]) -> None:
        self.columns = columns
        self._range_by_column: dict[str, tuple[int, int]] = {}

    def by_column(self, rows: Sequence[Row]) -> list[list[str]]:
        """Return the texts of each column."""
        return [
            self._sizes(column, [row.get(column.name) for row in rows])
            if column.kind == "size"
            else [_text(row.get(column.name), column) for row in rows]
            for column in self.columns
        ]

    def by_row(self, rows: Sequence[Row]) -> Iterable[tuple[str, ...]]:
        """Return the texts of each row."""
        return zip(*self.by_column(rows), strict=True)

    def _sizes(self, column: Column, values: Sequence[object]) -> list[str]:
        sizes = [value for value in values if isinstance(value, int) and value > 0]
        if sizes:
            low, high = self._range_by_column.get(column.name, (sizes[0], sizes[0]))
            self._range_by_column[column.name] = (min(low, *sizes), max(high, *sizes))
        unit = _common_unit(*self._range_by_column.get(column.name, (0, 0)))
        return [
            format_in(unit, value) if unit and isinstance(value, int) else _text(value, column)
            for value in values
        ]


def _common_unit(smallest: int, largest: int) -> tuple[str, int] | None:
    """Return the unit in which both have three significant digits or more, but not too many.

    That is the one in which both are written anyway, if it is the same.
    """
    own = {str(Size(one)).split()[1] for one in (smallest, largest)}
    if len(own) == 1:
        return next(unit for unit in _UNITS if unit[0] in own)
    for name, size in reversed(_UNITS):
        enough = smallest >= _LEAST_IN_UNIT * size or (size == 1 and smallest)
        if enough and largest < _MOST_IN_UNIT * size:
            return name, size
    return None


def format_in(unit: tuple[str, int], value: int) -> str:
    """Return a number of bytes in the unit: `1,228.8 KiB`."""
    name, size = unit
    return f"{value:,} B" if size == 1 else f"{value / size:,.1f} {name}"


def _text(value: object, column: Column) -> str:
    if value is None:
        return ABSENT
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        if column.kind == "size":
            return str(Size(value))
        if column.kind == "delta":
            return format_delta(value)
        if column.kind == "limit":
            return limit_exactly(value)
        if column.kind == "number":
            return f"{value:,}"
    if isinstance(value, int | float) and column.kind == "percent":
        return format_percent(value)
    if isinstance(value, str):
        # An empty id would look like a cell that is missing.
        return visible(_short_time(value) if column.kind == "time" else value) or '""'
    return visible(dumps(value))


def format_delta(value: int) -> str:
    """Return a change of size with its sign: `+1.2 KiB`."""
    return f"{'-' if value < 0 else '+' if value > 0 else ''}{Size(abs(value))}"


def _short_time(text: str) -> str:
    """Return `2026-01-31 07:08:09` of an RFC 3339 time."""
    return text[:19].replace("T", " ")
