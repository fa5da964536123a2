"""What every change shares: where a row goes, the row that is there, and single statements."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import sqlalchemy as sa

if TYPE_CHECKING:
    from collections.abc import Iterable

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


class Statements:
    """Single statements on the xcom table. The caller opens the transaction."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._table = store.table
        self._backend = store.table.backend
        self._schema = store.table.schema

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
            own_id = self._backend.own_id(self._table.xcom)
            if own_id is not None:
                given["id"] = own_id
        columns = {one.name: one for one in self._table.others}
        given |= {name: columns[name].read(one) for name, one in others if name in columns}
        self._table.connection.execute(sa.insert(self._table.xcom).values(given))

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
