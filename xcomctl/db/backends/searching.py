"""Finds a text in stored values: each product has its own function for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import sqlalchemy as sa

from xcomctl.values.text_forms import text_forms

if TYPE_CHECKING:
    from collections.abc import Callable

    from xcomctl.model import Storage

    Element = sa.ColumnElement[Any]


class Searching:
    """Builds the condition that a value holds a text, in standard SQL."""

    rewritten: ClassVar[frozenset[str]] = frozenset()
    """Types whose JSON text shows every character beyond ASCII as itself, however it was written."""

    def __init__(self, raw: Callable[[Element, Storage], Element]) -> None:
        """Take what makes the bytes, or the JSON text, of a value column."""
        self._raw = raw

    def holds(self, value: Element, storage: Storage, value_type: str, text: str) -> Element:
        """Return whether a stored value holds a text, however it writes it; case counts."""
        parts = text_forms(text, verbatim=value_type not in self.rewritten)
        found = (self.position(value, storage, part) for part in parts)
        return sa.or_(sa.false(), *(one > 0 for one in found if one is not None))

    def position(self, value: Element, storage: Storage, part: bytes) -> Element | None:
        """Return where the stored bytes are, from one; 0 for nowhere, None if they cannot be there."""
        if storage == "bytes":
            return _position(sa.literal(part, sa.LargeBinary), self._raw(value, storage))
        text = decoded(part)
        return None if text is None else _position(sa.literal(text), self._raw(value, storage))


class PostgreSQLSearching(Searching):
    """PostgreSQL's."""

    rewritten: ClassVar[frozenset[str]] = frozenset({"jsonb"})

    def __init__(
        self, raw: Callable[[Element, Storage], Element], can_hold: Callable[[str], bool]
    ) -> None:
        """Take, too, what knows whether the server's encoding has every character of a text."""
        super().__init__(raw)
        self._can_hold = can_hold

    def position(self, value: Element, storage: Storage, part: bytes) -> Element | None:
        """Compare texts as they are, whatever the collation."""
        if storage == "bytes":
            return super().position(value, storage, part)
        text = decoded(part)
        if text is None or not self._can_hold(text):
            return None
        exact = self._raw(value, storage).op("COLLATE")(sa.literal_column('"C"'))
        return _position(sa.literal(text), exact)


class MySQLSearching(Searching):
    """MySQL's, whose JSON is binary and written anew; and MariaDB's, whose JSON is a text."""

    rewritten: ClassVar[frozenset[str]] = frozenset({"json"})

    def position(self, value: Element, storage: Storage, part: bytes) -> Element | None:
        """Compare bytes, so that no collation counts."""
        whole = self._raw(value, storage)
        if storage == "json":
            utf8 = whole.op("USING", is_comparison=False)(sa.literal_column("utf8mb4"))
            whole = sa.cast(sa.func.convert(utf8), sa.LargeBinary)
        return sa.func.locate(sa.literal(part, sa.LargeBinary), whole)


class SQLiteSearching(Searching):
    """SQLite's, where the type of a value may differ from row to row."""

    def position(self, value: Element, storage: Storage, part: bytes) -> Element | None:
        """Give instr() two blobs or two texts: of one of each it would make texts."""
        text = decoded(part)
        blob = sa.literal(part, sa.LargeBinary)
        same = sa.cast(blob, sa.Text) if text is None else sa.literal(text)
        sought = sa.case({"blob": blob}, value=sa.func.typeof(value), else_=same)
        return sa.func.instr(value, sought)


def _position(sought: Element, whole: Element) -> Element:
    return sa.func.position(sought.op("IN", is_comparison=False)(whole))


def decoded(part: bytes) -> str | None:
    """Return a text from its UTF-8, None where it is none."""
    try:
        return part.decode("utf-8")
    except UnicodeDecodeError:
        return None
