"""Which names and runs exist: for suggestions when a name is mistyped, and for notes on runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import sqlalchemy as sa

from xcomctl.db.backends.times import to_moment
from xcomctl.model import UNMAPPED, Selection, exactly, format_time, is_glob, runs_back

if TYPE_CHECKING:
    from xcomctl.db.backends.base import Element
    from xcomctl.db.read.rows import Rows
    from xcomctl.model import XComEntry

Column = Literal["dag_id", "task_id", "key", "run_id", "map_index"]

_ROWS = 5000
"""Newest rows of the xcom table that are searched for ids."""
_RUNS = 200
"""Runs that are offered, the newest."""


class Suggest:
    """Names and runs that exist. Implements `contracts.NameSource`.

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

    def ids(self, column: Column, start: str, selection: Selection) -> list[str]:
        """Return the ids that begin with `start` and exist where the selection holds.

        Quick rather than complete: in a large table only the newest rows are looked at. Runs come
        newest first, all others sorted. Indexes are returned as text.
        """
        with self._table.explained():
            if column == "dag_id":
                found = self._rows.conditions.dag_ids()
            elif column == "run_id" and self._table.joined and not _of_tasks(selection):
                return self._runs(start, selection)
            elif column == "task_id" and _is_one_dag(selection):
                conditions = self._rows.conditions.where(selection)
                statement = self._table.distinct("task_id", *conditions)
                found = self._texts(statement)
            else:
                found = self._newest(column, selection)
        fitting = [one for one in dict.fromkeys(found) if one.startswith(start)]
        if column == "run_id":
            return fitting
        return sorted(fitting, key=int if column == "map_index" else None)

    def _runs(self, start: str, selection: Selection) -> list[str]:
        """Return the newest runs of the selected DAGs, from dag_run."""
        run = self._table.run.c
        conditions: list[Element] = [run.run_id.is_not(None)]
        if selection.dag_ids:
            conditions.append(self._rows.conditions.any_of(run.dag_id, selection.dag_ids))
        if start:
            conditions.append(self._backend.like(run.run_id, f"{exactly(start)}*"))
        order = run.id if self._schema.mapped else run.execution_date
        statement = sa.select(run.run_id).where(*conditions).order_by(order.desc())
        return list(dict.fromkeys(self._texts(statement.limit(_RUNS))))

    def _newest(self, column: Column, selection: Selection) -> list[str]:
        """Return an id of each of the newest rows, with repetitions."""
        x, schema = self._table.x.c, self._schema
        if not schema.mapped and column == "map_index":
            return []
        of_runs = not schema.mapped and column == "run_id"
        if of_runs and not self._table.joined:
            return []
        wanted = self._table.run.c.run_id if of_runs else x[column]
        rows = self._rows.over(selection, wanted, of_runs=of_runs)
        order = [x[name].desc() for name in self._rows.run_order]
        return self._texts(rows.order_by(*order).limit(_ROWS))

    def _texts(self, statement: sa.Select[Any]) -> list[str]:
        """Return the first column of each row that is not NULL."""
        found = self._table.connection.execute(statement).scalars()
        return [str(self._backend.text_of(one)) for one in found if one is not None]

    def run_id(self, dag_id: str, text: str) -> str:
        """Return the id of the run that `latest` or `latest~N` stands for.

        Any other text is returned as it is, and so is one that stands for no run. Where the
        database knows no run ids, the run is named by its date.
        """
        if runs_back(text) is None:
            return text
        with self._table.explained():
            key = self._rows.conditions.newest_runs((dag_id,), text).get(dag_id)
            if key is None:
                return text
            x, run, mapped = self._table.x.c, self._table.run.c, self._schema.mapped
            if self._table.joined:
                is_run = run.id == key if mapped else run.execution_date == key
                statement = sa.select(run.run_id).where(
                    self._backend.same(run.dag_id, dag_id), is_run
                )
            elif mapped:
                statement = sa.select(x.run_id).where(x.dag_run_id == key)
            else:
                return format_time(to_moment(key)) or text
            found = self._table.connection.execute(statement.limit(1)).scalar()
        return text if found is None else self._backend.text_of(found) or text

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

    def map_indexes(self, entry: XComEntry) -> list[int]:
        """Return the indexes of the mapped task instances of the entry's task and run, sorted."""
        columns = self._table.columns["task_instance"]
        if "map_index" not in columns or "run_id" not in columns or entry.ref.run_id is None:
            return []
        if self._backend.name == "postgresql" and not self._table.may_read("task_instance"):
            return []
        instance, same, ref = self._table.named("task_instance").c, self._backend.same, entry.ref
        statement = sa.select(instance.map_index).where(
            same(instance.dag_id, ref.dag_id),
            same(instance.task_id, ref.task_id),
            same(instance.run_id, ref.run_id or ""),
            instance.map_index > UNMAPPED,
        )
        with self._table.explained():
            return sorted(self._table.connection.execute(statement).scalars())

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


def _is_one_dag(selection: Selection) -> bool:
    """Return whether the selection is one DAG and nothing else."""
    one = selection.dag_ids[:1]
    return selection == Selection(dag_ids=one) and not any(map(is_glob, one)) and bool(one)


def _of_tasks(selection: Selection) -> bool:
    """Return whether the selection names tasks or keys, which only the xcom table knows."""
    return bool(selection.task_ids or selection.keys)
