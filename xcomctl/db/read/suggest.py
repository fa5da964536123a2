"""What is near an entry, or near a name that nothing has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import sqlalchemy as sa

from xcomctl.config.target import parse_iso
from xcomctl.db.read.table import Table

if TYPE_CHECKING:
    from xcomctl.db.backends.base import Element
    from xcomctl.model import XComEntry


class Near(Table):
    """What a mistyped name may have meant, and which runs are newer."""

    def newer_run_without(self, entry: XComEntry) -> str | None:
        """Return the newest run of the DAG where it is newer than the entry's, else None."""
        if not self._joined:
            return None
        run = self._run.c
        order = run.id if self.schema.mapped else run.execution_date
        mine = entry.row[0] if self.schema.mapped else self._date_of(entry)
        statement = (
            sa.select(run.run_id)
            .where(self._backend.same(run.dag_id, entry.ref.dag_id), order > mine)
            .order_by(order.desc())
            .limit(1)
        )
        with self._explained():
            found = self._connection.execute(statement).first()
        return None if found is None else str(found[0])

    def has_its_run(self, entry: XComEntry) -> bool:
        """Return whether the run that the row points to is the run that it names.

        Airflow does not find a row where it is not, and returns None.
        """
        if not (self._joined and self.schema.mapped):
            return True
        run, same = self._run.c, self._backend.same
        ref = entry.ref
        statement = sa.select(run.id).where(
            run.id == entry.row[0], same(run.dag_id, ref.dag_id), same(run.run_id, ref.run_id or "")
        )
        with self._explained():
            return self._connection.execute(statement).first() is not None

    def names(
        self,
        column: Literal["task_id", "key", "run_id", "map_index"],
        dag_id: str,
        task_id: str | None = None,
        key: str | None = None,
        run_id: str | None = None,
        most: int = 1000,
    ) -> list[str]:
        """Return the names (or indexes, as text) under which XComs are there, sorted.

        What a mistyped name may have meant; at most so many.
        """
        x = self._x.c
        if column == "map_index" and not self.schema.mapped:
            return []
        wanted: Element = x[column] if column in x else sa.null()
        if column == "run_id" and not self.schema.mapped:
            wanted = self._run.c.run_id if self._joined else sa.null()
        conditions = [self._backend.same(x.dag_id, dag_id)]
        if task_id is not None:
            conditions.append(self._backend.same(x.task_id, task_id))
        if key is not None:
            conditions.append(self._backend.same(x.key, key))
        if run_id is not None:
            conditions.append(self._one_run(run_id))
        statement = sa.select(wanted.label("name")).select_from(self._from()).where(*conditions)
        with self._explained():
            found = self._connection.execute(statement.distinct().limit(most)).scalars().all()
        return [str(one) for one in sorted(one for one in found if one is not None)]

    def has_run(self, dag_id: str, run_id: str) -> bool:
        """Return whether dag_run knows the run."""
        if not self._joined:
            return False
        run = self._run.c
        same = self._backend.same
        named = self._run_named(run_id)
        statement = sa.select(run.id).where(same(run.dag_id, dag_id), named).limit(1)
        with self._explained():
            return self._connection.execute(statement).first() is not None

    def _date_of(self, entry: XComEntry) -> Any:
        date = entry.ref.logical_date
        return self._backend.bound_moment(date) if date else None

    def _run_named(self, run_id: str) -> Element:
        """Return whether a row of dag_run is the run: by its id or, of old, its date."""
        run = self._run.c
        named = self._backend.same(run.run_id, run_id)
        moment = parse_iso(run_id)
        if moment is None or self.schema.mapped:
            return named
        date = self._backend.moment(run.execution_date)
        return sa.or_(named, date == self._backend.bound_moment(moment))
