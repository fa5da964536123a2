"""Rows of Airflow 3.4's two XCom tables: found by what the source shows of them, and deleted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import sqlalchemy as sa

from xcomctl.db.read import split
from xcomctl.errors import DatabaseError
from xcomctl.exchange.entries import undo_line
from xcomctl.model import Selection

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from xcomctl.db.backends.base import Element
    from xcomctl.db.read.store import Store

Item = TypeVar("Item")

_AT_ONCE = 500
_V1_KEY = ("dag_run_id", "task_id", "map_index", "key")


class Found(NamedTuple):
    """A row of one of the tables."""

    row: tuple[object, ...]
    """Its key in the source: `XComEntry.row`."""
    instance: object
    """Its task_instance.id, as the driver has it."""
    key: str
    store: str
    xcom_id: str | None
    """Its id in xcom_v2."""
    moment: object
    """Its timestamp, to be compared."""


class SplitRows:
    """Single rows of an open metadata database, which was opened with all attempts."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._table = store.table
        self._backend = store.table.backend

    def find(
        self, rows: Collection[tuple[object, ...]], moment: Element | None = None
    ) -> dict[tuple[object, ...], Found]:
        """Return the rows of these keys that exist, by key. `moment` is the timestamp to return."""
        x = self._table.x.c
        key = [x[name] for name in self._table.schema.generation.identity]
        columns = self._columns(x.timestamp if moment is None else moment)
        found = {}
        for some in _chunks([*rows]):
            statement = sa.select(*columns).where(self._table.is_one_of([*key], some))
            for one in self._execute(statement):
                found[tuple(one[: len(key)])] = self._found(one)
        return found

    def hidden_by(self, rows: Iterable[Found]) -> list[Found]:
        """Return the rows of xcom_v1 that these rows of xcom_v2 replace."""
        newer = {(one.instance, one.key) for one in rows if one.store == "xcom_v2"}
        x, hidden = self._table.x.c, []
        columns = self._columns(x.timestamp)
        for some in _chunks([*{instance for instance, _ in newer}]):
            statement = sa.select(*columns).where(
                x.task_instance_id.in_(some), x.store == "xcom_v1"
            )
            rows_found = (self._found(one) for one in self._execute(statement))
            hidden += [one for one in rows_found if (one.instance, one.key) in newer]
        return hidden

    def lock(self, rows: Iterable[Found]) -> None:
        """Keep others from changing these rows before the transaction ends."""
        newer, older = self._table.named("xcom_v2"), self._table.named("xcom_v1")
        ids, keys = self._keys([*rows])
        for some in _chunks(ids):
            statement = sa.select(newer.c.id).where(newer.c.id.in_(some))
            self._execute(self._backend.locked(statement))
        columns: list[Element] = [older.c[name] for name in _V1_KEY]
        for several in _chunks(keys):
            statement = sa.select(*columns).where(self._backend.is_one_of(columns, several))
            self._execute(self._backend.locked(statement))

    def lines_to_restore(self, rows: Iterable[Found]) -> Iterator[bytes]:
        """Yield the lines of an undo file that bring these rows back."""
        storage, x = self._table.schema.storage, self._table.x.c
        raw = self._backend.raw(x.value, storage).label("whole")
        query = self._store.rows.select(Selection(), others=True).add_columns(raw)
        key: list[Element] = [x[name] for name in self._table.schema.generation.identity]
        for some in _chunks([one.row for one in rows]):
            for row in self._execute(query.where(self._table.is_one_of(key, some))):
                entry = self._store.rows.full_entry(row)
                yield undo_line(entry, self._backend.fetched(row.whole), storage)

    def delete(self, rows: Sequence[Found]) -> None:
        """Delete these rows, inside a transaction.

        Raises:
            DatabaseError: the database would delete more or fewer.
        """
        newer, older = self._table.named("xcom_v2"), self._table.named("xcom_v1")
        ids, keys = self._keys(rows)
        count = 0
        for some in _chunks(ids):
            count += self._execute(sa.delete(newer).where(newer.c.id.in_(some))).rowcount
        columns: list[Element] = [older.c[name] for name in _V1_KEY]
        for several in _chunks(keys):
            is_one = self._backend.is_one_of(columns, several)
            count += self._execute(sa.delete(older).where(is_one)).rowcount
        if count != len(rows):
            raise DatabaseError(
                f"the database would delete {count} rows instead of {len(rows)}",
                hint="Nothing was changed.",
            )

    def _keys(self, rows: Sequence[Found]) -> tuple[list[str], list[tuple[object, ...]]]:
        """Return the primary keys: ids of rows in xcom_v2, and what identifies those in xcom_v1."""
        kind = self._table.columns["xcom_v2"]["id"].type
        ids = [split.bound_uuid(one.xcom_id, kind) for one in rows if one.xcom_id is not None]
        wanted = {(one.instance, one.key) for one in rows if one.xcom_id is None}
        v = self._table.named("xcom_v1").alias("v").c
        o = self._table.named("legacy_task_data_owner").alias("o").c
        is_owner = (o[name] == v[name] for name in ("dag_id", "task_id", "run_id", "map_index"))
        statement = sa.select(*(v[name] for name in _V1_KEY), o.task_instance_id).where(*is_owner)
        keys: list[tuple[object, ...]] = []
        for some in _chunks([*{instance for instance, _ in wanted}]):
            found: Any = self._execute(statement.where(o.task_instance_id.in_(some)))
            keys += [tuple(row[:4]) for row in found if (row[4], str(row[3])) in wanted]
        return ids, keys

    def _columns(self, moment: Element) -> list[Element]:
        x = self._table.x.c
        names = self._table.schema.generation.identity
        others = (x.task_instance_id, x.key, x.store, x.xcom_id, moment)
        # Labels, because some are part of the key, too.
        return [
            *(x[name].label(f"key_{name}") for name in names),
            *(one.label(f"o{at}") for at, one in enumerate(others)),
        ]

    def _found(self, row: Sequence[Any]) -> Found:
        width = len(self._table.schema.generation.identity)
        instance, key, table, xcom_id, moment = row[width:]
        return Found(tuple(row[:width]), instance, str(key), str(table), xcom_id, moment)

    def _execute(self, statement: sa.Executable) -> sa.CursorResult[Any]:
        """Execute a statement that is another one each time."""
        result: sa.CursorResult[Any] = self._table.connection.execute(
            statement, execution_options={"compiled_cache": None}
        )
        return result


def _chunks(items: list[Item]) -> Iterator[list[Item]]:
    for at in range(0, len(items), _AT_ONCE):
        yield items[at : at + _AT_ONCE]
