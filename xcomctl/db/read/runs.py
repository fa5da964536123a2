"""Runs, task instances and serialized DAGs: what Airflow records around the XComs of one task.

Columns that a release does not have read as NULL.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from xcomctl.audit.evidence import Attempt, Instance, Run, Upstream
from xcomctl.audit.serialized_dag import read_tasks
from xcomctl.config.target import parse_iso
from xcomctl.db.backends.times import to_moment
from xcomctl.db.read.split import coordinates
from xcomctl.model import UNMAPPED

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from xcomctl.audit.serialized_dag import Task
    from xcomctl.db.backends.base import Element
    from xcomctl.db.read.store import Store

MOST_NAMES = 1000
"""Names or task instances that are read at most."""

_INSTANCE_COLUMNS = (
    "map_index",
    "state",
    "try_number",
    "start_date",
    "end_date",
    "operator",
    "hostname",
    "trigger_id",
    "dag_version_id",
)


class Runs:
    """The runs of one DAG in an open metadata database.

    Every method raises DatabaseError where the database cannot be read.
    """

    def __init__(self, store: Store, dag_id: str) -> None:
        self._store = store
        self._table = store.table
        self._backend = store.table.backend
        self._dag_id = dag_id
        self._columns_by_table: dict[str, frozenset[str]] = {}

    def has(self, table: str) -> bool:
        """Return whether a table exists and may be read."""
        return bool(self._columns(table))

    # --- runs ---------------------------------------------------------------------------------

    def find(self, run_id: str | None) -> tuple[Run, Any] | None:
        """Return a run and its key in dag_run, by default of the newest; None if there is none.

        `latest` is the newest run, `latest~1` the one before it.
        """
        named = self._store.suggest.run_id(self._dag_id, run_id or "latest")
        run = self._dag_run()
        columns = [
            *(run.id, run.run_id, self._optional("dag_run", run, "state")),
            self._date().label("logical_date"),
            *(self._optional("dag_run", run, name) for name in ("start_date", "end_date")),
            self._optional("dag_run", run, "clear_number"),
        ]
        statement = sa.select(*columns).where(
            self._backend.same(run.dag_id, self._dag_id),
            self._store.rows.conditions.is_run(named),
        )
        found = self._rows(statement.order_by(self._order().desc()).limit(1))
        if not found:
            return None
        row = found[0]
        name, state = self._text(row.run_id) or "", self._text(row.state)
        date, started = to_moment(row.logical_date), to_moment(row.start_date)
        return Run(name, state, date, started, to_moment(row.end_date), row.clear_number), row.id

    def newest(self) -> tuple[str, ...]:
        """Return the newest runs, newest first."""
        run = self._dag_run()
        statement = (
            sa.select(run.run_id)
            .where(self._backend.same(run.dag_id, self._dag_id))
            .order_by(self._order().desc())
            .limit(MOST_NAMES)
        )
        return self._names(statement)

    def of_date(self, text: str) -> str | None:
        """Return the newest run whose logical date is this time, or on this day."""
        moment = parse_iso(text)
        if moment is None:
            return None
        last = moment + timedelta(days=1, microseconds=-1) if len(text) <= 10 else moment
        run, date = self._dag_run(), self._backend.moment(self._date())
        statement = (
            sa.select(run.run_id)
            .where(
                self._backend.same(run.dag_id, self._dag_id),
                date >= self._backend.bound_moment(moment),
                date <= self._backend.bound_moment(last),
            )
            .order_by(self._order().desc())
            .limit(1)
        )
        return next(iter(self._names(statement)), None)

    def other_dag(self, run_id: str) -> str | None:
        """Return another DAG that has a run of this id."""
        run = self._dag_run()
        statement = sa.select(run.dag_id).where(self._backend.same(run.run_id, run_id)).limit(1)
        return next(iter(self._names(statement)), None)

    # --- DAGs ---------------------------------------------------------------------------------

    def knows_dag(self) -> bool:
        """Return whether any table has the DAG."""
        for name in ("dag", "dag_run", "serialized_dag", "xcom"):
            if "dag_id" in self._columns(name):
                dag_id = self._table.clause(name, "dag_id").c.dag_id
                is_dag = self._backend.same(dag_id, self._dag_id)
                if self._rows(sa.select(dag_id).where(is_dag).limit(1)):
                    return True
        return False

    def dag_ids(self) -> tuple[str, ...]:
        """Return the DAGs that any table has."""
        found = [*self._store.suggest.dag_ids()]
        if self.has("dag"):
            dag_id = self._table.clause("dag", "dag_id").c.dag_id
            found += self._names(sa.select(dag_id).limit(10 * MOST_NAMES))
        return tuple(dict.fromkeys(found))

    def definitions(
        self, run: Run | None, instances: Sequence[tuple[Instance, Any]]
    ) -> tuple[dict[str, Task], bool]:
        """Return the tasks of the serialized DAG, and whether it is the one that the run used."""
        columns = self._columns("serialized_dag")
        if "data" not in columns:
            return {}, False
        table = self._table.clause("serialized_dag", *columns).c
        statement = sa.select(
            sa.cast(table.data, sa.Text) if self._backend.name == "postgresql" else table.data,
            self._optional("serialized_dag", table, "data_compressed"),
            self._optional("serialized_dag", table, "dag_hash"),
            self._optional("serialized_dag", table, "last_updated"),
        ).where(self._backend.same(table.dag_id, self._dag_id))
        version = next((one for _, one in instances if one is not None), None)
        if "dag_version_id" in columns and version is not None:
            found = self._rows(statement.where(table.dag_version_id == version))
            if found:
                return read_tasks(found[0][0], found[0].data_compressed), True
        newest = [table[name] for name in ("created_at", "last_updated") if name in columns][:1]
        found = self._rows(statement.order_by(*(one.desc() for one in newest)).limit(1))
        if not found:
            return {}, False
        changed = to_moment(found[0].last_updated)
        before = bool(run and run.started and changed and changed <= run.started)
        return read_tasks(found[0][0], found[0].data_compressed), before

    # --- task instances -----------------------------------------------------------------------

    def instances(self, pointer: Any, task_id: str) -> list[tuple[Instance, Any]]:
        """Return the task's instances in a run, by map index, each with its DAG version's id."""
        if not self.has("task_instance"):
            return []
        t, of_run = self._instances_of(pointer)
        columns = [self._optional("task_instance", t.c, name) for name in _INSTANCE_COLUMNS]
        if self._store.schema.split:
            columns[0], of_run = self._map_index(t, of_run)
        statement = sa.select(*columns).select_from(of_run)
        statement = statement.where(
            *self._of_run(t, pointer), self._backend.same(t.c.task_id, task_id)
        )
        known = "hostname" in self._columns("task_instance")
        found = [
            (
                Instance(
                    map_index=UNMAPPED if row.map_index is None else int(row.map_index),
                    state=self._text(row.state),
                    try_number=int(row.try_number or 0),
                    started=to_moment(row.start_date),
                    ended=to_moment(row.end_date),
                    operator=self._text(row.operator),
                    ran=bool(row.hostname) or not known,
                    trigger=self._trigger(row.trigger_id),
                ),
                row.dag_version_id,
            )
            for row in self._rows(statement)
        ]
        return sorted(found, key=lambda one: one[0].map_index)

    def attempts(self, run_id: str, task_id: str) -> tuple[Attempt, ...]:
        """Return the earlier tries of the task's instances in a run, oldest first."""
        split = self._store.schema.split
        name = "task_instance" if split else "task_instance_history"
        columns = self._columns(name)
        if not columns:
            return ()
        t = self._table.clause(name, *columns).alias("t")
        table, same = t.c, self._backend.same
        index, rows = self._map_index(t, t) if split else (table.map_index, t)
        facts = [self._optional(name, table, one) for one in ("state", "end_date")]
        statement = sa.select(index, table.try_number, *facts).select_from(rows)
        if split:
            statement = statement.where(table.working_set.is_(None))
        statement = statement.where(
            same(table.dag_id, self._dag_id),
            same(table.task_id, task_id),
            same(table.run_id, run_id),
        )
        found = [
            Attempt(row.map_index, row.try_number, self._text(row.state), to_moment(row.end_date))
            for row in self._rows(statement.limit(MOST_NAMES))
        ]
        return tuple(sorted(found, key=lambda one: (one.map_index, one.number)))

    def tasks(self, pointer: Any) -> tuple[str, ...]:
        """Return the tasks that have an instance in a run."""
        if not self.has("task_instance"):
            return ()
        t, of_run = self._instances_of(pointer)
        statement = sa.select(t.c.task_id).select_from(of_run).where(*self._of_run(t, pointer))
        return self._names(statement.distinct().limit(MOST_NAMES))

    def count_instances(self, pointer: Any) -> int:
        """Return how many task instances a run has."""
        t, of_run = self._instances_of(pointer)
        statement = sa.select(sa.func.count()).select_from(of_run).where(*self._of_run(t, pointer))
        return int(self._rows(statement)[0][0])

    def upstream(self, pointer: Any, run_id: str, task_ids: Sequence[str]) -> tuple[Upstream, ...]:
        """Return the states of other tasks in a run, and which tasks they chose or map over."""
        found = []
        for task_id in task_ids[:20]:
            states = [one.state for one, _ in self.instances(pointer, task_id)]
            found.append(
                Upstream(
                    task_id,
                    tuple(states),
                    self._followed(run_id, task_id) if states else None,
                    self._lengths(run_id, task_id),
                )
            )
        return tuple(found)

    def _followed(self, run_id: str, task_id: str) -> tuple[str, ...] | None:
        """Return the tasks that a branch chose, from the XCom that Airflow keeps about it."""
        entries = self._store.entries
        for entry in entries.find(self._dag_id, task_id, "skipmixin_key", run_id=run_id):
            if entry.size is not None and entry.size < 100_000:
                from xcomctl.values import decode

                value = decode.decode(entries.read(entry), self._store.context).value
                followed = value.get("followed") if isinstance(value, dict) else None
                if isinstance(followed, list):
                    return tuple(map(str, followed))
        return None

    def _lengths(self, run_id: str, task_id: str) -> tuple[int, ...]:
        if self._store.schema.split:
            return self._mapped_lengths(run_id, task_id)
        columns = self._columns("task_map")
        if not columns:
            return ()
        table, same = self._table.clause("task_map", *columns).c, self._backend.same
        statement = sa.select(table.length).where(
            same(table.dag_id, self._dag_id),
            same(table.task_id, task_id),
            same(table.run_id, run_id),
        )
        return tuple(int(row[0]) for row in self._rows(statement.limit(MOST_NAMES)))

    def _mapped_lengths(self, run_id: str, task_id: str) -> tuple[int, ...]:
        """Return what Airflow 3.4 has in the place of task_map."""
        x, conditions = self._table.x.c, self._store.rows.conditions
        statement = sa.select(x.mapped_length).where(
            *conditions.named(self._dag_id, task_id, None),
            conditions.of_run(run_id),
            x.mapped_length.is_not(None),
        )
        return tuple(int(row[0]) for row in self._rows(statement.limit(MOST_NAMES)))

    def _trigger(self, trigger_id: Any) -> str | None:
        if trigger_id is None or "classpath" not in self._columns("trigger"):
            return None
        table = self._table.clause("trigger", "id", "classpath").c
        names = self._names(sa.select(table.classpath).where(table.id == trigger_id))
        return names[0] if names else None

    # --- SQL ----------------------------------------------------------------------------------

    def _instances_of(self, pointer: Any) -> tuple[Any, sa.FromClause]:
        """Return task_instance, and it joined with the runs that its rows belong to."""
        columns = self._columns("task_instance")
        t = self._table.clause("task_instance", *columns).alias("t")
        run = self._table.run
        if "run_id" in columns:
            on = self._backend.same_column(t.c.run_id, run.c.run_id)
        else:
            on = t.c.execution_date == run.c.execution_date
        return t, sa.join(run, t, on)

    def _of_run(self, t: Any, pointer: Any) -> list[Element]:
        of_run = [self._table.run.c.id == pointer, self._backend.same(t.c.dag_id, self._dag_id)]
        # From Airflow 3.4 on, earlier attempts are in the same table.
        current = [t.c.working_set.is_(sa.true())] if self._store.schema.split else []
        return [*of_run, *current]

    def _map_index(self, t: Any, rows: sa.FromClause) -> tuple[Element, sa.FromClause]:
        """Return the map_index of attempts (Airflow 3.4), and them joined with what tells it."""
        region = self._table.named("dynamic_region").alias("d")
        index, _, _ = coordinates(self._table.columns, t, region)
        return index, sa.outerjoin(rows, region, region.c.id == t.c.region_id)

    def _dag_run(self) -> Any:
        return self._table.run.c

    def _date(self) -> Element:
        """Return the column with a run's logical date."""
        date: Element = self._dag_run()[self._store.schema.run_date or ""]
        return date

    def _order(self) -> Element:
        """Return the column by which runs are sorted from old to new."""
        run = self._dag_run()
        order: Element = run.id if self._store.schema.mapped else run.execution_date
        return order

    def _columns(self, table: str) -> frozenset[str]:
        """Return the names of a table's columns; none where it is missing or may not be read."""
        if table not in self._columns_by_table:
            with self._table.explained():
                known: Mapping[str, Any] = self._table.columns.get(table) or {}
                columns = known or self._backend.columns(table)
                if (
                    columns
                    and self._backend.name == "postgresql"
                    and not self._table.may_read(table)
                ):
                    columns = {}
            self._columns_by_table[table] = frozenset(columns)
        return self._columns_by_table[table]

    def _optional(self, table: str, clause: Any, column: str) -> Element:
        """Return a column that not every release has, NULL where it does not exist."""
        found: Element = clause[column] if column in self._columns(table) else sa.null()
        return found.label(column)

    def _rows(self, statement: sa.Select[Any]) -> list[sa.Row[Any]]:
        with self._table.explained():
            return list(self._table.connection.execute(statement).all())

    def _names(self, statement: sa.Select[Any]) -> tuple[str, ...]:
        """Return the texts of a statement's first column."""
        texts = (self._text(row[0]) for row in self._rows(statement))
        return tuple(text for text in texts if text is not None)

    def _text(self, value: Any) -> str | None:
        return self._backend.text_of(value)
