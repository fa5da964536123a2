"""Lists of primary keys as the text of a statement, which costs a tenth of binding each value."""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from xcomctl.db.backends.streaming import Memo

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from xcomctl.db.backends.base import Element


class KeyList:
    """Writes keys as SQL. Names repeat, so what was made of them is kept.

    `literal` writes any text or bytes; `time` is the prefix of a timestamp literal.
    """

    def __init__(self, literal: Callable[[str | bytes], str], time: str) -> None:
        self._literal = literal
        self._time = time
        self.known = Memo(self._write)
        """The SQL of each name."""

    def text(self, rows: Iterable[Sequence[object]]) -> str:
        """Return rows as `(1, 'a'), (2, 'b')`."""
        known = self.known
        # An int is not looked up: 1, 1.0 and True would be one key.
        return ", ".join([
            "(" + ", ".join([str(one) if type(one) is int else known[one] for one in row]) + ")"
            for row in rows
        ])  # fmt: skip

    def _write(self, value: Any) -> str:
        if value is None:
            return "NULL"
        if isinstance(value, int | float):
            # SQLite alone has floats in a key, also infinite ones.
            return repr(value).replace("inf", "9e999")
        if isinstance(value, datetime):
            return f"{self._time}'{value.isoformat(' ')}'"
        if isinstance(value, str) and _PLAIN(value):
            return f"'{value}'"
        return self._literal(value)


_PLAIN = re.compile(r"[ -&(-\[\]-~]*").fullmatch
"""Matches texts that mean the same between quotes in every product and mode."""


def is_one_of(columns: Sequence[Element], listed: str) -> sa.ColumnElement[bool]:
    """Return whether columns are in a list, which is SQL as it stands: `(VALUES (1, 'a'))`."""
    left: Any = columns[0] if len(columns) == 1 else sa.tuple_(*columns)
    found: sa.ColumnElement[bool] = left.op("IN", is_comparison=True)(sa.literal_column(listed))
    return found
