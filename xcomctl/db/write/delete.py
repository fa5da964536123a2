"""Which rows a prune removes, and the statements that remove them, batch by batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from xcomctl.db.backends.times import to_moment
from xcomctl.db.read.table import HEAD_BYTES
from xcomctl.db.write.push import Current, Writer
from xcomctl.errors import DatabaseError
from xcomctl.model import Selection, Size, is_glob

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import datetime

    from xcomctl.db.backends.base import Element

ENDED = ("success", "failed")
"""States of a run in which no task of it reads an XCom any more."""


@dataclass(frozen=True, slots=True)
class RowToDelete:
    """A row that a prune is to remove, as it was when the plan was made."""

    row: tuple[object, ...]
    """Its primary key."""
    timestamp: datetime | None
    dag_id: str
    task_id: str
    size: Size | None
    stored_size: Size | None
    active: bool
    """Whether its run has not ended."""


class Pruner(Writer):
    """An open metadata DB whose XComs are pruned."""

    def rows_to_delete(
        self, selection: Selection, *, keep_last: int | None, dag_missing: bool
    ) -> Iterator[RowToDelete]:
        """Yield what a prune would remove, as the database sends it, without the values.

        `keep_last` runs of each task and key are spared; `dag_missing` takes those only whose DAG
        the table `dag` does not know.
        """
        x = self._x.c
        names = [*self.schema.generation.identity]
        others = [name for name in ("dag_id", "task_id", "timestamp") if name not in names]
        statement = sa.select(
            *(x[name] for name in (*names, *others)),
            self._size().label("size"),
            self._backend.stored_size(x.value, self.schema.storage).label("stored_size"),
            self._active().label("active"),
        ).select_from(self._from())
        for condition in self._where(selection):
            statement = statement.where(condition)
        if dag_missing:
            statement = statement.where(self._dag_missing())
        if keep_last is not None:
            statement = statement.where(self._is_older_than_newest(selection, keep_last))
        with self._explained():
            for row in self._stream(statement, self._backend.paged.rows):
                named = row._mapping
                yield RowToDelete(
                    tuple(named[name] for name in names),
                    to_moment(row.timestamp),
                    row.dag_id,
                    row.task_id,
                    None if row.size is None else Size(row.size),
                    None if row.stored_size is None else Size(row.stored_size),
                    bool(row.active),
                )

    def _active(self) -> Element:
        if not self._joined or "state" not in self._run.c:
            return sa.literal(0)
        run = self._run.c
        ended = sa.or_(run.id.is_(None), run.state.in_(ENDED))
        return sa.case((ended, 0), else_=1)

    def _dag_missing(self) -> Element:
        if not self._columns["dag"]:
            raise DatabaseError("cannot tell which DAGs are missing: there is no table dag")
        dag = self._table("dag", self._columns["dag"]).alias("g")
        known = sa.exists().where(self._backend.same_column(dag.c.dag_id, self._x.c.dag_id))
        return sa.not_(known)

    def _is_older_than_newest(self, selection: Selection, keep: int) -> Element:
        """Return whether the row is of none of the newest runs that have this task and key.

        All runs count, whichever the other filters select: what is left are the newest.
        """
        other = self._table("xcom", self._columns["xcom"]).alias("k")
        by = other.c.dag_run_id if self.schema.mapped else other.c.execution_date
        group = [self._backend.exact(other.c[name]) for name in ("dag_id", "task_id", "key")]
        rank = sa.func.dense_rank().over(partition_by=group, order_by=by.desc()).label("rank")
        names = self.schema.generation.identity
        ranked = sa.select(*(other.c[name] for name in names), rank)
        if selection.dag_ids and not any(map(is_glob, selection.dag_ids)):
            # The others' ranks are not asked for.
            ranked = ranked.where(other.c.dag_id.in_(selection.dag_ids))
        derived = ranked.subquery("n")
        old = sa.select(*(derived.c[name] for name in names)).where(derived.c.rank > keep)
        mine = sa.tuple_(*(self._x.c[name] for name in names))
        return mine.in_(old)

    def remove(
        self,
        candidates: Sequence[RowToDelete],
        *,
        active_too: bool,
        keep: Callable[[list[Current]], None] | None,
    ) -> list[RowToDelete]:
        """Remove a batch in one transaction, and return what was removed.

        What has changed since the plan, or whose run has become active, is left. `keep` is given
        the rows before they go.
        """
        by_row = {candidate.row: candidate for candidate in candidates}
        names = self.schema.generation.identity
        table = self._xcom
        with self.transaction():
            is_one = self._backend.is_one_of([table.c[name] for name in names], list(by_row))
            lock = sa.select(*(table.c[name] for name in names), table.c.timestamp).where(is_one)
            found = self._connection.execute(self._backend.locked(lock)).all()
            there = [
                by_row[tuple(row[:-1])]
                for row in found
                if tuple(row[:-1]) in by_row
                and to_moment(row[-1]) == by_row[tuple(row[:-1])].timestamp
            ]
            if not active_too:
                there = self._of_ended_runs(there)
            if not there:
                return []
            rows = [candidate.row for candidate in there]
            if keep is not None:
                keep(self._currents(rows))
            is_one = self._backend.is_one_of([table.c[name] for name in names], rows)
            removed = self._connection.execute(sa.delete(table).where(is_one)).rowcount
            if removed != len(rows):
                raise DatabaseError(
                    f"the database would remove {removed} rows instead of {len(rows)}",
                    hint="This batch was not removed.",
                )
        return there

    def _of_ended_runs(self, candidates: list[RowToDelete]) -> list[RowToDelete]:
        if not (self.schema.mapped and self._joined and "state" in self._run.c):
            return candidates
        run = self._run.c
        ids = {candidate.row[0] for candidate in candidates}
        statement = sa.select(run.id).where(run.id.in_(ids), run.state.not_in(ENDED))
        active = set(self._connection.execute(statement).scalars())
        return [candidate for candidate in candidates if candidate.row[0] not in active]

    def _currents(self, rows: list[tuple[object, ...]]) -> list[Current]:
        x = self._x.c
        names = self.schema.generation.identity
        base = self._base(Selection(), text=False, stored=False, heads=HEAD_BYTES)
        raw = self._backend.raw(x.value, self.schema.storage).label("whole")
        statement = base.add_columns(raw, self._orphan()).where(
            self._backend.is_one_of([x[name] for name in names], rows)
        )
        found: list[Any] = list(self._connection.execute(statement).all())
        return [Current(self._entry(row), self._backend.fetched(row.whole)) for row in found]

    @property
    def breather_s(self) -> float:
        """Return how long a series of removals has to rest now and then for others' sake."""
        return self._backend.breather_s

    def reclaiming(self) -> str:
        """Return what becomes of the space of removed rows, for people."""
        return self._backend.reclaiming
