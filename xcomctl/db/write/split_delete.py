"""Deletes XComs of Airflow 3.4, out of both tables: otherwise the older value would be read again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xcomctl.db.write.delete import Delete, RowToDelete
from xcomctl.db.write.split_rows import SplitRows
from xcomctl.db.write.transaction import transaction
from xcomctl.db.write.undo import ending

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from xcomctl.db.read.store import Store
    from xcomctl.db.write.undo import UndoLog


class SplitDelete(Delete):
    """Deletes XComs of a database that was opened with all attempts. Implements `BatchDeleter`."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self._both = SplitRows(store)

    def delete(
        self,
        rows: Sequence[RowToDelete],
        *,
        active_too: bool,
        undo: UndoLog | None,
        deleted: Callable[[list[RowToDelete]], None],
    ) -> None:
        """Delete a batch as `Delete` does, and with it the rows of xcom_v1 that these replace."""
        gone: list[RowToDelete] = []
        moment = self._bulk.exact_moment(self._table.x.c.timestamp)
        keys = [planned.row for planned in rows]
        with transaction(self._table, ending(undo, lambda: deleted(gone))):
            self._both.lock(self._both.find(keys).values())
            found = self._both.find(keys, moment)
            there = [
                planned
                for planned in rows
                if planned.row in found and found[planned.row].moment == planned.timestamp
            ]
            if not active_too:
                there = self._of_ended_runs(there)
            if not there:
                return
            # A plan can name a row of xcom_v1 and the one that replaces it.
            taken = {planned.row: found[planned.row] for planned in there}
            taken |= {one.row: one for one in self._both.hidden_by([*taken.values()])}
            if undo is not None:
                undo.write(self._both.lines_to_restore(taken.values()))
            self._both.delete([*taken.values()])
            gone += there
