"""Text for SQLite that is not UTF-8, which its Python driver refuses to send.

SQLite stores whatever bytes it is given as text, so ids may contain any. They are read as text
with lone surrogates (PEP 383), and sent back here as the same bytes.
"""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any, Self

from xcomctl.text import is_utf8

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Self


class AnyTextConnection(sqlite3.Connection):
    """A connection whose statements take text with lone surrogates as parameters."""

    def cursor(self, factory: Callable[..., Any] | None = None) -> Any:
        return super().cursor(factory or AnyTextCursor)

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        cursor: sqlite3.Cursor = self.cursor()
        return cursor.execute(sql, parameters)


class AnyTextCursor(sqlite3.Cursor):
    """A cursor of such a connection."""

    def execute(self, sql: str, parameters: Any = (), /) -> Self:
        try:
            return super().execute(sql, parameters)
        except UnicodeEncodeError:
            # Nothing was executed.
            sql, (values,) = _cast(sql, [parameters])
            return super().execute(sql, values)

    def executemany(self, sql: str, parameters: Iterable[Any], /) -> Self:
        rows = list(parameters)
        if any(_is_odd(value) for row in rows for value in row):
            sql, rows = _cast(sql, rows)
        return super().executemany(sql, rows)


def _cast(sql: str, rows: list[Any]) -> tuple[str, list[Any]]:
    """Return the statement with its odd parameters as bytes that SQLite casts to text.

    Raises:
        ValueError: the placeholders cannot be told from the statement's literals.
    """
    odd = {at for row in rows for at, value in enumerate(row) if _is_odd(value)}
    pieces = sql.split("?")
    if any(len(row) != len(pieces) - 1 for row in rows):
        raise ValueError("a text is not UTF-8")
    marks = ["CAST(? AS TEXT)" if at in odd else "?" for at in range(len(pieces) - 1)]
    text = pieces[0] + "".join(mark + piece for mark, piece in zip(marks, pieces[1:], strict=True))
    return text, [_as_bytes(row, odd) for row in rows]


def _as_bytes(row: Sequence[Any], odd: set[int]) -> tuple[Any, ...]:
    return tuple(
        _encoded(value) if at in odd and isinstance(value, str) else value
        for at, value in enumerate(row)
    )


def _is_odd(value: object) -> bool:
    return isinstance(value, str) and not is_utf8(value)


def _encoded(text: str) -> bytes:
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        # Not read from SQLite: JSON may name a lone surrogate.
        return text.encode("utf-8", "surrogatepass")
