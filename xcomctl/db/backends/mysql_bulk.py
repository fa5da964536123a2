"""Many rows of MySQL and MariaDB at once."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from xcomctl.db.backends import key_lists
from xcomctl.db.backends.bulk import Bulk

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from xcomctl.model import Storage

    Element = sa.ColumnElement[Any]

_HAS_VALUES = (10, 3)
"""The first MariaDB with VALUES: https://mariadb.com/kb/en/table-value-constructors/"""

_STATEMENT_CHARS = 4 * 1024 * 1024


class MySQLBulk(Bulk):
    """MySQL's and MariaDB's ways: lists of rows in one statement, as long as a packet may be."""

    @functools.cached_property
    def _keys(self) -> key_lists.KeyList:
        return key_lists.KeyList(self._backend.script().literal, "")

    def _is_listed(
        self, columns: Sequence[Element], rows: Sequence[tuple[object, ...]]
    ) -> sa.ColumnElement[bool]:
        return key_lists.is_one_of(columns, f"({self._keys.text(rows)})")

    def only_exactly(
        self,
        statement: sa.Select[Any],
        columns: Sequence[Element],
        rows: Sequence[tuple[object, ...]],
    ) -> sa.Select[Any] | None:
        texts = [at for at, one in enumerate(rows[0]) if isinstance(one, str)]
        for at in texts:
            described = self._backend.described(columns[at])
            if described is None or not str(described.collation).endswith("_bin"):
                return None
            if any(str(row[at]).endswith(" ") for row in rows):
                return None
        # Its binary collations ignore trailing spaces still.
        ends = (sa.func.right(columns[at], 1) != sa.literal_column("' '") for at in texts)
        return self.only(statement, columns, rows).where(*ends)

    def exact_moment(self, column: Element) -> Element:
        return self._backend.streamed_time(column)

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
        for values in self._values(rows, storage):
            connection.exec_driver_sql(
                f"INSERT INTO {named} ({names}) VALUES {values}",
                # Nothing in it is a place for a parameter.
                execution_options={"no_parameters": True},
            )

    def _values(self, rows: Sequence[Sequence[Any]], storage: Storage) -> Iterator[str]:
        """Yield the rows as SQL, as many at a time as the server takes."""
        driver: Any = self._backend.connection.connection.driver_connection
        packet = self._backend.largest_answer(storage) or _STATEMENT_CHARS
        most = min(_STATEMENT_CHARS, packet // 4)
        literal = functools.partial(driver.escape, mapping=driver.encoders)
        known = self._keys.known
        held: list[str] = []
        size = 0
        for *named, raw in rows:
            cells = [
                str(one) if type(one) is int else known[one] if type(one) is str else literal(one)
                for one in named
            ]
            cells.append(f"X'{raw.hex()}'" if type(raw) is bytes else literal(raw))
            text = f"({', '.join(cells)})"
            if held and size + len(text) > most:
                yield ", ".join(held)
                held.clear()
                size = 0
            held.append(text)
            size += len(text)
        if held:
            yield ", ".join(held)


class MariaDBBulk(MySQLBulk):
    """MariaDB's ways: a list is a table, joined along the index, and planned in no time."""

    def _is_table(self, columns: Sequence[Element], rows: Sequence[tuple[object, ...]]) -> bool:
        """Return whether a list can be a table whose texts compare with these columns."""
        version = self._backend.connection.dialect.server_version_info or ()
        texts = [
            self._backend.described(column)
            for column, one in zip(columns, rows[0], strict=True)
            if isinstance(one, str)
        ]
        # Two columns of different collations compare if one of them is binary.
        is_binary = all(one and str(one.collation).endswith("_bin") for one in texts)
        return version >= _HAS_VALUES and is_binary

    def only(
        self,
        statement: sa.Select[Any],
        columns: Sequence[Element],
        rows: Sequence[tuple[object, ...]],
    ) -> sa.Select[Any]:
        if not self._is_table(columns, rows):
            return super().only(statement, columns, rows)
        names = [f"c{number}" for number in range(len(columns))]
        # A colon would be a parameter.
        text = sa.text(self._table(names, rows).replace(":", "\\:"))
        listed = text.columns(*map(sa.column, names)).subquery("w").c
        pairs = zip(columns, names, strict=True)
        return statement.where(*(column == listed[name] for column, name in pairs))

    def _table(self, names: Sequence[str], rows: Sequence[tuple[object, ...]]) -> str:
        # VALUES alone names its columns by the first row, in which two values may be the same.
        nulls = ", ".join(f"NULL AS {name}" for name in names)
        return f"SELECT {nulls} FROM DUAL WHERE 1 = 0 UNION ALL VALUES {self._keys.text(rows)}"

    def delete(
        self, table: sa.TableClause, columns: Sequence[str], rows: Sequence[tuple[object, ...]]
    ) -> int:
        if not self._is_table([table.c[name] for name in columns], rows):
            return super().delete(table, columns, rows)
        connection = self._backend.connection
        quote = connection.dialect.identifier_preparer.quote
        names = [f"c{number}" for number in range(len(columns))]
        pairs = zip(map(quote, columns), names, strict=True)
        same = " AND ".join(f"x.{column} = w.{name}" for column, name in pairs)
        named = self._backend.script().quoted(table.name)
        return connection.exec_driver_sql(
            f"DELETE x FROM {named} AS x, ({self._table(names, rows)}) AS w WHERE {same}",
            execution_options={"no_parameters": True},
        ).rowcount
