"""Many rows of PostgreSQL at once."""

from __future__ import annotations

import binascii
import functools
from datetime import datetime
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from psycopg2.extensions import adapt

from xcomctl.db.backends import key_lists
from xcomctl.db.backends.bulk import Bulk
from xcomctl.db.backends.streaming import Memo

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from xcomctl.model import Storage

    Element = sa.ColumnElement[Any]

_PIECE_BYTES = 256 * 1024


class PostgreSQLBulk(Bulk):
    """PostgreSQL's ways: joins with VALUES, and COPY."""

    @functools.cached_property
    def _keys(self) -> key_lists.KeyList:
        driver = self._backend.connection.connection.driver_connection

        def literal(value: str | bytes) -> str:
            quoted: Any = adapt(value)
            quoted.prepare(driver)
            written: bytes = quoted.getquoted()
            return written.decode("utf-8", "surrogateescape")

        return key_lists.KeyList(literal, "timestamptz ")

    def _is_listed(
        self, columns: Sequence[Element], rows: Sequence[tuple[object, ...]]
    ) -> sa.ColumnElement[bool]:
        return key_lists.is_one_of(columns, f"(VALUES {self._keys.text(rows)})")

    def only_exactly(
        self,
        statement: sa.Select[Any],
        columns: Sequence[Element],
        rows: Sequence[tuple[object, ...]],
    ) -> sa.Select[Any] | None:
        texts = [
            column for column, one in zip(columns, rows[0], strict=True) if isinstance(one, str)
        ]
        if any(self._backend.exact(column) is not column for column in texts):
            return None
        return self.only(statement, columns, rows)

    def exact_moment(self, column: Element) -> Element:
        return sa.cast(column, sa.Text)

    def own_id(self, table: sa.TableClause) -> Element | None:
        named = self._backend.script().quoted("xcom")
        statement = sa.text(
            "SELECT coalesce(has_sequence_privilege(pg_get_serial_sequence(:name, 'id'), 'USAGE'),"
            " true)"
        )
        if self._backend.connection.scalar(statement, {"name": named}):
            return None
        # Below 1, where no sequence gets to, so that Airflow's own rows never meet it.
        lowest = sa.func.least(sa.func.min(table.c.id), 1) - 1
        return sa.select(lowest).select_from(table).scalar_subquery()

    def insert(
        self,
        table: sa.TableClause,
        columns: Sequence[str],
        rows: Sequence[Sequence[Any]],
        storage: Storage,
    ) -> None:
        connection = self._backend.connection
        names = ", ".join(map(connection.dialect.identifier_preparer.quote, columns))
        named = self._backend.script().quoted(table.name)
        driver: Any = connection.connection.driver_connection
        try:
            with driver.cursor() as cursor:
                cursor.copy_expert(f"COPY {named} ({names}) FROM STDIN", CopiedIn(rows))
        except connection.dialect.loaded_dbapi.Error as error:
            raise sa.exc.DBAPIError("COPY", None, error) from None


class CopiedIn:
    """The file that COPY reads from: rows in its text format, in pieces.

    https://www.postgresql.org/docs/current/sql-copy.html
    """

    def __init__(self, rows: Sequence[Sequence[Any]]) -> None:
        self._pieces = _pieces(rows)

    def read(self, size: int) -> bytes:
        """Return the next piece, of any size; nothing at the end."""
        return next(self._pieces, b"")


def _pieces(rows: Sequence[Sequence[Any]]) -> Iterator[bytes]:
    known = Memo(_cell)
    held: list[bytes] = []
    size = 0
    for *named, raw in rows:
        # Names repeat. Numbers are not looked up: 1 and 1.0 would be one key.
        cells = [known[one] if type(one) is str else _cell(one) for one in named]
        cells.append(_cell(raw))
        line = b"\t".join(cells)
        held.append(line)
        size += len(line)
        if size >= _PIECE_BYTES:
            held.append(b"")
            yield b"\n".join(held)
            held.clear()
            size = 0
    if held:
        held.append(b"")
        yield b"\n".join(held)


def _cell(value: Any) -> bytes:
    if type(value) is bytes:
        return b"\\\\x" + binascii.hexlify(value)
    if type(value) is str:
        data = _encoded(value)
        if b"\\" in data:
            data = data.replace(b"\\", b"\\\\")
        if b"\n" in data or b"\t" in data or b"\r" in data:
            data = data.replace(b"\n", b"\\n").replace(b"\t", b"\\t").replace(b"\r", b"\\r")
        return data
    if value is None:
        return b"\\N"
    if isinstance(value, datetime):
        return value.isoformat().encode()
    return str(value).encode()


def _encoded(text: str) -> bytes:
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        # Not read from a database: JSON may name a lone surrogate, which the server refuses.
        return text.encode("utf-8", "surrogatepass")
