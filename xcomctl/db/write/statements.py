"""What every change shares: where a row goes, the existing row, and single statements."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa

from xcomctl.errors import RefusedError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from xcomctl.db.read.store import Store
    from xcomctl.model import Raw, XComEntry, XComRef

KEY_LENGTH = 512
"""Capacity of the column `xcom.key` in characters, in every generation.

https://github.com/apache/airflow/blob/2.10.5/airflow/models/xcom.py
"""


@dataclass(frozen=True, slots=True)
class Place:
    """Where an XCom is written: its name, and what the row points to its run by."""

    ref: XComRef
    run: object
    """dag_run_id, or the execution_date as the driver has it."""


@dataclass(frozen=True, slots=True)
class Current:
    """A row with its value, as it was when it was read."""

    entry: XComEntry
    raw: Raw


class NewRow(NamedTuple):
    """A row to be inserted, from a line of a file."""

    line: int
    ref: XComRef
    pointer: object
    """What the row points to its run by."""
    raw: Raw
    timestamp: datetime
    others: tuple[tuple[str, object], ...]
    """Further columns; those that the table does not have are left out."""


class Statements:
    """Single statements on the xcom table. The caller opens the transaction."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._table = store.table
        self._backend = store.table.backend
        self._schema = store.table.schema
        self._bulk = self._backend.bulk()
        self._others = {one.name: one for one in store.table.others}

    def current(self, place: Place) -> list[Current]:
        """Return the stored rows, with their values; 1.10's duplicates newest first."""
        ref, entries = place.ref, self._store.entries
        found = entries.find(
            ref.dag_id, ref.task_id, ref.key or "", run_id=ref.run_id, map_index=ref.map_index
        )
        if self._schema.mapped:
            # A row that points to another run is none of this one's.
            found = [entry for entry in found if entry.row[0] == place.run]
        return [Current(entry, entries.read(entry)) for entry in found]

    def insert(
        self,
        place: Place,
        raw: Raw,
        timestamp: datetime,
        others: Iterable[tuple[str, object]] = (),
    ) -> None:
        """Insert a row. Of `others`, further columns, those that the table has are filled."""
        ref = place.ref
        given: dict[str, object] = {
            "dag_id": ref.dag_id,
            "task_id": ref.task_id,
            "key": ref.key,
            "value": self._backend.stored(raw, self._schema.storage),
            "timestamp": self._backend.bound_moment(timestamp),
        }
        if self._schema.mapped:
            given |= {"dag_run_id": place.run, "run_id": ref.run_id, "map_index": ref.map_index}
        else:
            given["execution_date"] = place.run
        if "id" in self._table.xcom.c:
            own_id = self._bulk.own_id(self._table.xcom)
            if own_id is not None:
                given["id"] = own_id
        known = self._others
        given |= {name: known[name].read(one) for name, one in others if name in known}
        self._table.connection.execute(sa.insert(self._table.xcom).values(given))

    def insert_all(self, rows: Sequence[NewRow]) -> None:
        """Insert many rows.

        Raises:
            RefusedError: the database does not accept a row; the message names its line.
            sqlalchemy.exc.DBAPIError: the database did not do it.
        """
        if "id" in self._table.xcom.c and self._bulk.own_id(self._table.xcom) is not None:
            # Each takes the next id, which only the row before it tells.
            self._insert_each(rows)
            return
        savepoint = self._table.connection.begin_nested()
        try:
            for columns, some in self._by_columns(rows).items():
                self._bulk.insert(self._table.xcom, columns, some, self._schema.storage)
        except sa.exc.DBAPIError as error:
            cause = error.orig if error.orig is not None else error
            kind = self._backend.diagnose(cause).kind
            if error.connection_invalidated or kind in ("lost", "locked", "timeout"):
                raise
            # One after the other, to tell which row it was; or the table is one, such as a view,
            # that takes them no other way.
            savepoint.rollback()
            self._insert_each(rows)
        else:
            savepoint.commit()

    def _insert_each(self, rows: Sequence[NewRow]) -> None:
        for line, ref, pointer, raw, timestamp, others in rows:
            try:
                self.insert(Place(ref, pointer), raw, timestamp, others)
            except sa.exc.DBAPIError as error:
                explained = self._backend.explain(error)
                if isinstance(explained, RefusedError):
                    explained.message = f"line {line}: {explained.message}"
                raise explained from None

    def _by_columns(self, rows: Sequence[NewRow]) -> dict[tuple[str, ...], list[tuple[Any, ...]]]:
        """Return what to insert, by the columns that are filled: the value's is the last."""
        moment, mapped, known = self._backend.bound_moment, self._schema.mapped, self._others
        of_run = ("dag_run_id", "run_id", "map_index") if mapped else ("execution_date",)
        found: dict[tuple[str, ...], list[tuple[Any, ...]]] = {}
        for _, ref, pointer, raw, timestamp, others in rows:
            further = [(name, known[name].read(one)) for name, one in others if name in known]
            columns = (
                "dag_id", "task_id", "key", "timestamp", *of_run, *(name for name, _ in further), "value"
            )  # fmt: skip
            run = (pointer, ref.run_id, ref.map_index) if mapped else (pointer,)
            row = (ref.dag_id, ref.task_id, ref.key, moment(timestamp), *run)
            found.setdefault(columns, []).append((*row, *(one for _, one in further), raw))
        return found

    def update(self, entry: XComEntry, raw: Raw, *, timestamp: bool = True) -> int:
        """Replace the value of a row and, with `timestamp`, its time by now.

        Returns:
            How many rows that changed.
        """
        values: dict[str, object] = {"value": self._backend.stored(raw, self._schema.storage)}
        if timestamp:
            values["timestamp"] = self._backend.bound_moment(datetime.now(UTC))
        xcom = self._table.xcom
        is_row = self._store.rows.conditions.is_row(entry, xcom)
        statement = sa.update(xcom).where(*is_row).values(values)
        return self._table.connection.execute(statement).rowcount

    def delete(self, entry: XComEntry) -> None:
        """Delete a row."""
        xcom = self._table.xcom
        is_row = self._store.rows.conditions.is_row(entry, xcom)
        self._table.connection.execute(sa.delete(xcom).where(*is_row))
