"""Finds the rows that a deletion is about, and deletes them in batches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import sqlalchemy as sa

from xcomctl.db.write.transaction import transaction
from xcomctl.db.write.undo import RowsToRestore, ending
from xcomctl.errors import DatabaseError
from xcomctl.model import is_glob

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from xcomctl.db.backends.base import Element
    from xcomctl.db.read.store import Store
    from xcomctl.db.write.undo import UndoLog
    from xcomctl.model import Selection

ENDED = ("success", "failed")
"""States of a run in which no task of it reads an XCom any more."""


class RowToDelete(NamedTuple):
    """A row to be deleted, as it was when the plan was made. A tuple: there may be millions."""

    row: tuple[object, ...]
    """Its primary key."""
    timestamp: object
    """As `Bulk.exact_moment` has it."""
    dag_id: str
    task_id: str
    size: int | None
    stored_size: int | None
    active: bool
    """Whether its run has not ended."""


class BatchDeleter(Protocol):
    """What deletes batches of planned rows. `Delete` does it to a database."""

    @property
    def breather_s(self) -> float:
        """Return how long to rest now and then so that other writers get their turn."""

    def delete(
        self,
        rows: Sequence[RowToDelete],
        *,
        active_too: bool,
        undo: UndoLog | None,
        deleted: Callable[[list[RowToDelete]], None],
    ) -> None:
        """Delete a batch in one transaction, and then call `deleted` with what was deleted.

        Leaves rows that have changed since the plan. `undo` is given the rows before they go.
        Raises LockedError where another session holds them.
        """


class Delete:
    """Deletes XComs of an open metadata database. Implements `BatchDeleter`."""

    def __init__(self, store: Store) -> None:
        self._rows = store.rows
        self._bulk = store.table.backend.bulk()
        self._to_restore = RowsToRestore(store)
        self._table = store.table
        self._backend = store.table.backend
        self._schema = store.table.schema

    def rows_to_delete(
        self, selection: Selection, *, keep_last: int | None, dag_missing: bool
    ) -> Iterator[RowToDelete]:
        """Yield the rows to delete, as the database sends them, without their values.

        Keeps the newest `keep_last` runs of each task and key; with `dag_missing`, only rows
        whose DAG is not in the table `dag`.
        """
        x = self._table.x.c
        names = self._schema.generation.identity
        # Labels, because a part of the key may be a column of its own, too.
        statement = sa.select(
            *(x[name].label(f"key_{name}") for name in names),
            self._bulk.exact_moment(x.timestamp).label("moment"),
            x.dag_id.label("dag"),
            x.task_id.label("task"),
            self._rows.size().label("size"),
            self._backend.stored_size(x.value, self._schema.storage).label("stored_size"),
            self._is_active().label("active"),
        ).select_from(self._rows.source())
        for condition in self._rows.conditions.where(selection):
            statement = statement.where(condition)
        if dag_missing:
            statement = statement.where(self._has_no_dag())
        if keep_last is not None:
            statement = statement.where(self._is_older_than_newest(selection, keep_last))
        width = len(names)
        with self._table.explained():
            for row in self._table.stream(statement, self._backend.paged.rows):
                yield RowToDelete(tuple(row[:width]), *row[width:])

    def _is_active(self) -> Element:
        if not self._table.joined or "state" not in self._table.run.c:
            return sa.literal(0)
        run = self._table.run.c
        ended = sa.or_(run.id.is_(None), run.state.in_(ENDED))
        return sa.case((ended, 0), else_=1)

    def _has_no_dag(self) -> Element:
        if not self._table.columns["dag"]:
            raise DatabaseError("cannot tell which DAGs are missing: no table of DAGs exists")
        dag = self._table.named("dag").alias("g")
        known = sa.exists().where(self._backend.same_column(dag.c.dag_id, self._table.x.c.dag_id))
        return sa.not_(known)

    def _is_older_than_newest(self, selection: Selection, keep: int) -> Element:
        """Return whether the row is of none of the newest runs that have this task and key.

        All runs count, whichever the other filters select: what is left are the newest.
        """
        other = self._table.copy("k")
        by = other.c.dag_run_id if self._schema.mapped else other.c.execution_date
        group = [self._backend.exact(other.c[name]) for name in ("dag_id", "task_id", "key")]
        rank = sa.func.dense_rank().over(partition_by=group, order_by=by.desc()).label("rank")
        names = self._schema.generation.identity
        ranked = sa.select(*(other.c[name] for name in names), rank)
        if selection.dag_ids and not any(map(is_glob, selection.dag_ids)):
            # The others' ranks are not asked for.
            same = (self._backend.same(other.c.dag_id, one) for one in selection.dag_ids)
            ranked = ranked.where(sa.or_(*same))
        derived = ranked.subquery("n")
        old = sa.select(*(derived.c[name] for name in names)).where(derived.c.rank > keep)
        mine = sa.tuple_(*(self._table.x.c[name] for name in names))
        return mine.in_(old)

    def delete(
        self,
        rows: Sequence[RowToDelete],
        *,
        active_too: bool,
        undo: UndoLog | None,
        deleted: Callable[[list[RowToDelete]], None],
    ) -> None:
        """Delete a batch in one transaction, and then call `deleted` with what was deleted.

        Leaves rows that have changed since the plan, or whose run has become active. `undo` is
        given the rows, with their values, before they go. No signal comes between COMMIT and
        `deleted`.

        Raises:
            LockedError: another session holds the rows; nothing was deleted.
            DatabaseError: the database did not do it.
        """
        gone: list[RowToDelete] = []
        with transaction(self._table, ending(undo, lambda: deleted(gone))):
            there = self._lock(rows)
            if not active_too:
                there = self._of_ended_runs(there)
            if not there:
                return
            keys = [planned.row for planned in there]
            if undo is not None:
                undo.write(self._to_restore.lines(keys))
            names = self._schema.generation.identity
            count = self._bulk.delete(self._table.xcom, names, keys)
            if count != len(keys):
                raise DatabaseError(
                    f"the database would delete {count} rows instead of {len(keys)}",
                    hint="This batch was not deleted.",
                )
            gone += there

    def _lock(self, rows: Sequence[RowToDelete]) -> list[RowToDelete]:
        """Return which of the rows are there as they were planned, locked."""
        xcom = self._table.xcom
        by_row = {planned.row: planned for planned in rows}
        key: list[Element] = [xcom.c[name] for name in self._schema.generation.identity]
        lock = sa.select(*key, self._bulk.exact_moment(xcom.c.timestamp))
        lock = self._backend.locked(self._bulk.only(lock, key, [*by_row]))
        found = {tuple(row) for row in self._execute(lock)}
        return [one for row, one in by_row.items() if (*row, one.timestamp) in found]

    def _execute(self, statement: sa.Executable) -> sa.CursorResult[Any]:
        """Execute a statement that is another one for each batch."""
        return self._table.connection.execute(statement, execution_options={"compiled_cache": None})

    def _of_ended_runs(self, candidates: list[RowToDelete]) -> list[RowToDelete]:
        if not (self._schema.mapped and self._table.joined and "state" in self._table.run.c):
            return candidates
        run = self._table.run.c
        ids = {candidate.row[0] for candidate in candidates}
        statement = sa.select(run.id).where(run.id.in_(ids), run.state.not_in(ENDED))
        active = set(self._table.connection.execute(statement).scalars())
        return [candidate for candidate in candidates if candidate.row[0] not in active]

    @property
    def breather_s(self) -> float:
        """Return how long to rest now and then so that other writers get their turn."""
        return self._backend.breather_s

    def reclaiming(self) -> str:
        """Return what happens to the space of deleted rows, as a sentence."""
        return self._backend.reclaiming
