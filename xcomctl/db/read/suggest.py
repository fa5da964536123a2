"""Which names and runs exist: for suggestions when a name is mistyped, and for notes on runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import sqlalchemy as sa

if TYPE_CHECKING:
    from xcomctl.db.backends.base import Element
    from xcomctl.db.read.rows import Rows
    from xcomctl.model import XComEntry


class Suggest:
    """Names and runs that exist. Implements `model.NameSource`.

    Every method raises DatabaseError where the database cannot be read.
    """

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._table = rows.table
        self._backend = rows.table.backend
        self._schema = rows.table.schema

    def dag_ids(self) -> list[str]:
        """Return the dag_ids that have an XCom."""
        with self._table.explained():
            return self._rows.conditions.dag_ids()

    def newer_run(self, entry: XComEntry) -> str | None:
        """Return the newest run of the DAG where it is newer than the entry's, else None."""
        if not self._table.joined:
            return None
        run = self._table.run.c
        order = run.id if self._schema.mapped else run.execution_date
        mine = entry.row[0] if self._schema.mapped else self._date_of(entry)
        statement = (
            sa.select(run.run_id)
            .where(self._backend.same(run.dag_id, entry.ref.dag_id), order > mine)
            .order_by(order.desc())
            .limit(1)
        )
        with self._table.explained():
            found = self._table.connection.execute(statement).first()
        return None if found is None else str(found[0])

    def has_its_run(self, entry: XComEntry) -> bool:
        """Return whether the run that the row points to is the run that it names.

        Airflow does not find a row where it is not, and returns None.
        """
        if not (self._table.joined and self._schema.mapped):
            return True
        run, same = self._table.run.c, self._backend.same
        ref = entry.ref
        statement = sa.select(run.id).where(
            run.id == entry.row[0], same(run.dag_id, ref.dag_id), same(run.run_id, ref.run_id or "")
        )
        with self._table.explained():
            return self._table.connection.execute(statement).first() is not None

    def names(
        self,
        column: Literal["task_id", "key", "run_id", "map_index"],
        dag_id: str,
        task_id: str | None = None,
        key: str | None = None,
        run_id: str | None = None,
        most: int = 1000,
    ) -> list[str]:
        """Return up to `most` names under which XComs exist, sorted; map indexes as text.

        `run_id` values are None-free: rows of a run that no longer exists are left out.
        """
        x = self._table.x.c
        if column == "map_index" and not self._schema.mapped:
            return []
        wanted: Element = x[column] if column in x else sa.null()
        if column == "run_id" and not self._schema.mapped:
            wanted = self._table.run.c.run_id if self._table.joined else sa.null()
        conditions = [self._backend.same(x.dag_id, dag_id)]
        if task_id is not None:
            conditions.append(self._backend.same(x.task_id, task_id))
        if key is not None:
            conditions.append(self._backend.same(x.key, key))
        if run_id is not None:
            conditions.append(self._rows.conditions.of_run(run_id))
        statement = (
            sa.select(wanted.label("name")).select_from(self._rows.source()).where(*conditions)
        )
        with self._table.explained():
            found = self._table.connection.execute(statement.distinct().limit(most)).scalars().all()
        return [str(one) for one in sorted(one for one in found if one is not None)]

    def has_run(self, dag_id: str, run_id: str) -> bool:
        """Return whether dag_run has the run, named by its id or, in old Airflows, its date."""
        if not self._table.joined:
            return False
        run = self._table.run.c
        same = self._backend.same
        named = self._rows.conditions.is_run(run_id)
        statement = sa.select(run.id).where(same(run.dag_id, dag_id), named).limit(1)
        with self._table.explained():
            return self._table.connection.execute(statement).first() is not None

    def _date_of(self, entry: XComEntry) -> Any:
        date = entry.ref.logical_date
        return self._backend.bound_moment(date) if date else None
