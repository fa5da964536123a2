"""Task instances: where a pushed XCom goes, and what to say where there is no such place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from xcomctl.db.write.statements import Place
from xcomctl.errors import DatabaseError, NotFoundError
from xcomctl.model import UNMAPPED, XComRef
from xcomctl.text import nearest

if TYPE_CHECKING:
    from xcomctl.db.backends.base import Element
    from xcomctl.db.read.store import Store


class Instances:
    """The task instances of an open metadata database."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._table = store.table
        self._backend = store.table.backend

    def place(
        self, dag_id: str, task_id: str, key: str, run_id: str | None, map_index: int
    ) -> Place:
        """Return where the XCom goes: in the run, or in the newest with that task instance.

        Raises:
            NotFoundError: there is no such run or task instance.
            DatabaseError: the tables cannot be read.
        """
        found = self._find(dag_id, task_id, run_id, map_index)
        if found is None:
            with self._table.explained():
                raise self._missing(dag_id, task_id, run_id, map_index)
        run, named = found
        return Place(XComRef(dag_id, task_id, named, key, map_index), run)

    def _find(
        self, dag_id: str, task_id: str, run_id: str | None, map_index: int
    ) -> tuple[Any, str] | None:
        """Return what points to the run, and the run's id, of the newest task instance."""
        columns = self._table.columns["task_instance"]
        if not columns or not self._table.joined:
            raise DatabaseError(
                "cannot write: the table task_instance or dag_run does not exist",
                detail="Airflow only reads XComs of existing task instances.",
            )
        instance = self._table.named("task_instance").alias("t")
        run, same, mapped = self._table.run.c, self._backend.same, self._table.schema.mapped
        by = "run_id" if "run_id" in columns else "execution_date"
        pointer = run.id if mapped else run.execution_date
        if map_index != UNMAPPED and "map_index" not in columns:
            return None
        matching = (
            self._backend.same_column(instance.c[by], run[by])
            if by == "run_id"
            else instance.c[by] == run[by]
        )
        conditions: list[Element] = [
            same(run.dag_id, dag_id),
            same(instance.c.dag_id, dag_id),
            same(instance.c.task_id, task_id),
        ]
        if run_id is not None:
            conditions.append(self._store.rows.conditions.is_run(run_id))
        if "map_index" in columns:
            conditions.append(instance.c.map_index == map_index)
        statement = (
            sa.select(pointer, run.run_id)
            .select_from(sa.join(self._table.run, instance, matching))
            .where(*conditions)
            .order_by(pointer.desc())
            .limit(1)
        )
        with self._table.explained():
            row = self._table.connection.execute(statement).first()
        return None if row is None else (row[0], str(row[1]))

    def _missing(
        self, dag_id: str, task_id: str, run_id: str | None, map_index: int
    ) -> NotFoundError:
        """Return the error that names what does not exist, and the nearest name that does."""
        named = f'"{dag_id}/{run_id}/{task_id}"' if run_id else f'"{dag_id}/{task_id}"'
        index = "" if map_index == UNMAPPED else f" with map_index {map_index}"
        message = f"there is no task instance {named}{index}"
        run = self._table.run.c
        if run_id is not None and not self._store.suggest.has_run(dag_id, run_id):
            runs = self._distinct(self._table.run, "run_id", self._backend.same(run.dag_id, dag_id))
            near = nearest(run_id, runs)
            return NotFoundError(
                f'there is no run "{run_id}" of the DAG "{dag_id}"',
                hint=f'Did you mean "{near}"?'
                if near
                else "--run-id needs the full id of the run.",
            )
        instance = self._table.named("task_instance").alias("t")
        of_dag = self._backend.same(instance.c.dag_id, dag_id)
        tasks = self._distinct(instance, "task_id", of_dag)
        if not tasks:
            dags = self._distinct(self._table.run, "dag_id")
            near = nearest(dag_id, dags)
            return NotFoundError(
                message,
                detail=f'No run of a DAG "{dag_id}" has any.',
                hint=f'Did you mean the DAG "{near}"?' if near else None,
            )
        if task_id not in tasks:
            grouped = [task for task in tasks if task.endswith(f".{task_id}")]
            near = grouped[0] if grouped else nearest(task_id, tasks)
            return NotFoundError(
                message,
                detail=f'The DAG has no task "{task_id}" in any run.',
                hint=f'Did you mean the task "{near}"?' if near else None,
            )
        if "map_index" in instance.c:
            conditions = [of_dag, self._backend.same(instance.c.task_id, task_id)]
            if run_id is not None:
                conditions.append(self._backend.same(instance.c.run_id, run_id))
            indexes = sorted(map(int, self._distinct(instance, "map_index", *conditions)))
            if indexes and map_index not in indexes:
                some = ", ".join(map(str, indexes[:12]))
                return NotFoundError(message, detail=f"Existing map indexes: {some}.")
        return NotFoundError(
            message,
            detail="Airflow only reads XComs of existing task instances.",
            hint="The scheduler creates task instances when it processes the run.",
        )

    def _distinct(self, table: sa.FromClause, column: str, *conditions: Element) -> list[str]:
        statement = sa.select(table.c[column]).where(*conditions).distinct().limit(1000)
        return [str(one) for one in self._table.connection.execute(statement).scalars()]
