"""Many rows of SQLite at once."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from xcomctl.db.backends import key_lists
from xcomctl.db.backends.bulk import Bulk
from xcomctl.db.backends.streaming import Memo

if TYPE_CHECKING:
    from collections.abc import Sequence

    from xcomctl.model import Storage

    Element = sa.ColumnElement[Any]


def has_rowid(connection: sa.Connection, table: str) -> bool:
    """Return whether the rows of a table have a number: those of a view have none."""
    made = connection.scalar(
        sa.text("SELECT sql FROM sqlite_master WHERE name = :name AND type = 'table'"),
        {"name": table},
    )
    return bool(made) and "WITHOUT ROWID" not in str(made).upper()


class SQLiteBulk(Bulk):
    """SQLite's ways: rows by their number, and one statement prepared once."""

    @functools.cached_property
    def _keys(self) -> key_lists.KeyList:
        return key_lists.KeyList(self._backend.script().literal, "")

    def _is_listed(
        self, columns: Sequence[Element], rows: Sequence[tuple[object, ...]]
    ) -> sa.ColumnElement[bool]:
        table: Any = getattr(columns[0], "table")  # noqa: B009 - not of every ColumnElement
        name = getattr(table, "element", table).name
        if not self._have_rowids[name]:
            return super()._is_listed(columns, rows)
        # A plain IN would look for every row of the table in the list.
        same = " AND ".join(
            f'k."{column.name}" IS w.column{number} COLLATE BINARY'
            for number, column in enumerate(columns, 1)
        )
        listed = (
            f"(SELECT k.rowid FROM (VALUES {self._keys.text(rows)}) AS w"
            f" CROSS JOIN {self._backend.script().quoted(name)} AS k ON {same})"
        )
        return key_lists.is_one_of([sa.column("rowid", _selectable=table)], listed)

    def only_exactly(
        self,
        statement: sa.Select[Any],
        columns: Sequence[Element],
        rows: Sequence[tuple[object, ...]],
    ) -> sa.Select[Any] | None:
        table: Any = getattr(columns[0], "table")  # noqa: B009
        if not self._have_rowids[getattr(table, "element", table).name]:
            return None
        return self.only(statement, columns, rows)

    @functools.cached_property
    def _have_rowids(self) -> Memo:
        return Memo(functools.partial(has_rowid, self._backend.connection))

    def insert(
        self,
        table: sa.TableClause,
        columns: Sequence[str],
        rows: Sequence[Sequence[Any]],
        storage: Storage,
    ) -> None:
        names = ", ".join(f'"{column}"' for column in columns)
        places = ", ".join("?" * len(columns))
        named = self._backend.script().quoted(table.name)
        self._backend.connection.exec_driver_sql(
            f"INSERT INTO {named} ({names}) VALUES ({places})", [tuple(row) for row in rows]
        )
