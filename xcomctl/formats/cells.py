"""The text of a table's cells, for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xcomctl.model import Size
from xcomctl.text import visible
from xcomctl.values.strictjson import dumps

if TYPE_CHECKING:
    from collections.abc import Sequence

    from xcomctl.formats import Column, Row

ABSENT = "-"


class Cells:
    """Turns rows into text. Two different sizes never get the same text."""

    def __init__(self, columns: Sequence[Column]) -> None:
        self._columns = columns
        self._size_by_text: dict[str, int] = {}

    def texts(self, rows: Sequence[Row]) -> list[list[str]]:
        """Return the rows' cells: a size is exact where rounding would make it equal to another."""
        clashing = self._clashes(rows)
        return [
            [self._text(row.get(column.name), column, clashing) for column in self._columns]
            for row in rows
        ]

    def _clashes(self, rows: Sequence[Row]) -> set[str]:
        clashing: set[str] = set()
        for column in self._columns:
            if column.kind != "size":
                continue
            for row in rows:
                value = row.get(column.name)
                if isinstance(value, int):
                    text = str(Size(value))
                    if self._size_by_text.setdefault(text, value) != value:
                        clashing.add(text)
        return clashing

    def _text(self, value: object, column: Column, clashing: set[str]) -> str:
        if value is None:
            return ABSENT
        if isinstance(value, bool):
            return "yes" if value else "no"
        if isinstance(value, int) and column.kind == "size":
            size = Size(value)
            return size.exactly() if str(size) in clashing else str(size)
        if isinstance(value, int) and column.kind == "exact":
            return Size(value).exactly()
        if isinstance(value, int | float) and column.kind == "percent":
            return format_percent(value)
        if isinstance(value, str):
            return visible(_short_time(value) if column.kind == "time" else value)
        return visible(dumps(value))


def format_percent(percent: float) -> str:
    """Return a percentage for people, rounded down: 99.99 is not shown as full."""
    if 0 < percent < 0.1:
        return "<0.1%"
    return f"{int(percent * 10) / 10:.1f}%"


def _short_time(text: str) -> str:
    """Return `2026-01-31 07:08:09` of an RFC 3339 time."""
    return text[:19].replace("T", " ")
