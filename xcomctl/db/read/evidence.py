"""What a metadata database knows about one XCom, collected for `audit.causes`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import sqlalchemy as sa

from xcomctl.audit.evidence import Definition, Evidence, Question, Row
from xcomctl.db.read.runs import MOST_NAMES, Runs
from xcomctl.model import UNMAPPED, Encoding
from xcomctl.values import decode
from xcomctl.values.context import Reader
from xcomctl.values.references import reference
from xcomctl.values.render import Opaque

if TYPE_CHECKING:
    from collections.abc import Iterator

    from xcomctl.audit.evidence import Condition, Instance, Run
    from xcomctl.db.read.store import Store
    from xcomctl.model import XComEntry

MAX_DECODED = 64 * 1024 * 1024
"""Larger values are not decoded to see whether Airflow could."""

_ARCHIVES = ("_xcom_archive", "_airflow_deleted__xcom", "_airflow_moved__")
"""How the names of tables begin to which an upgrade or `airflow db clean` moves XComs."""


def collect(store: Store, question: Question, *, external: bool = True) -> Evidence:
    """Return what is known about an XCom. Names are read only where a step of the answer fails.

    `external` looks whether a file exists that the value refers to.

    Raises:
        DatabaseError: the database cannot be read.
    """
    return _Collector(store, question, external=external).collect()


class _Collector:
    """Asks about one XCom."""

    def __init__(self, store: Store, question: Question, *, external: bool) -> None:
        self._store = store
        self._question = question
        self._external = external
        self._runs = Runs(store, question.dag_id)
        self._run: Run | None = None
        self._pointer: Any = None

    def collect(self) -> Evidence:
        q, runs, store = self._question, self._runs, self._store
        has_runs = store.table.joined and runs.has("dag_run")
        evidence = Evidence(
            q,
            runs.knows_dag(),
            has_runs,
            has_instances=runs.has("task_instance"),
            major=store.schema.major,
            keeps_history=runs.has("task_instance_history"),
        )
        if has_runs:
            found = runs.find(q.run_id)
            if found is not None:
                self._run, self._pointer = found
        evidence = replace(evidence, run=self._run)
        if not evidence.dag_is_known:
            return self._add_rows(replace(evidence, dags=runs.dag_ids()))
        evidence = self._add_instances(evidence)
        evidence = self._add_rows(evidence)
        if self._is_answered(evidence):
            return evidence
        evidence = self._add_names(evidence)
        if self._run is None and has_runs:
            return self._add_runs(evidence)
        return self._add_others(evidence)

    def _is_answered(self, evidence: Evidence) -> bool:
        """Return whether the row itself answers the question, so that names need not be read."""
        index = UNMAPPED if self._question.map_index is None else self._question.map_index
        return any(row.map_index == index for row in evidence.rows) or bool(evidence.archived)

    # --- the task -----------------------------------------------------------------------------

    def _add_instances(self, evidence: Evidence) -> Evidence:
        """Add the task instances, their tries, and the task of the serialized DAG."""
        q, runs, run = self._question, self._runs, self._run
        found: list[tuple[Instance, Any]] = []
        if run is not None:
            found = runs.instances(self._pointer, q.task_id)
        instances = tuple(one for one, _ in found)
        tasks, of_run = runs.definitions(run, found)
        task = tasks.get(q.task_id)
        definition = None
        if task is not None:
            definition = Definition(
                task.operator,
                pushes=task.pushes,
                multiple_outputs=task.multiple_outputs,
                mapped=task.mapped,
                of_run=of_run,
            )
        evidence = replace(
            evidence,
            instances=instances,
            attempts=runs.attempts(run.run_id, q.task_id) if run is not None else (),
            definition=definition,
            has_definitions=bool(tasks),
            tasks=tuple(tasks),
        )
        unsuccessful = any(one.state != "success" for one in instances)
        if task is not None and run is not None and unsuccessful:
            upstream = runs.upstream(self._pointer, run.run_id, task.upstream)
            evidence = replace(evidence, upstream=upstream)
        if run is not None and evidence.has_instances and not instances:
            evidence = replace(evidence, instances_in_run=runs.count_instances(self._pointer))
        return evidence

    # --- rows ---------------------------------------------------------------------------------

    def _add_rows(self, evidence: Evidence) -> Evidence:
        """Add the rows of the name, what the task pushed besides, and archived rows."""
        q, entries = self._question, self._store.entries
        run_id = self._run.run_id if self._run is not None else q.run_id
        found: list[XComEntry] = []
        if run_id is not None or not evidence.has_runs:
            found = entries.find(q.dag_id, q.task_id, q.key, run_id=run_id, map_index=None)
        newest = {entry.ref.map_index: entry for entry in reversed(found)}
        rows = tuple(self._row(evidence, newest[index]) for index in sorted(newest))
        evidence = replace(evidence, rows=rows)
        if not rows:
            evidence = replace(evidence, archived=tuple(self._archived(run_id)))
        return evidence

    def _row(self, evidence: Evidence, entry: XComEntry) -> Row:
        row = Row(entry.ref.map_index, entry.size, entry.encoding, entry.timestamp)
        asked = UNMAPPED if self._question.map_index is None else self._question.map_index
        if entry.ref.map_index != asked:
            return row
        if not self._store.suggest.has_its_run(entry):
            row = replace(row, orphan="run" if evidence.run is None else "pointer")
        elif self._store.table.joined and entry.ref.run_id is None:
            row = replace(row, orphan="run")
        elif self._store.schema.mapped and evidence.has_instances:
            indexes = {one.map_index for one in evidence.instances}
            row = replace(row, orphan="" if entry.ref.map_index in indexes else "instance")
        return self._decoded(row, entry)

    def _decoded(self, row: Row, entry: XComEntry) -> Row:
        """Return the row with whether Airflow can read its value."""
        if entry.encoding is Encoding.NULL:
            return replace(row, condition="null")
        if entry.encoding is Encoding.PICKLE:
            return replace(row, condition="readable", caveat=self._pickle_caveat())
        if entry.size is None or entry.size > MAX_DECODED:
            return replace(row, caveat="it is too large to see here whether it can be decoded")
        value = decode.decode(self._store.entries.read(entry), self._store.context).value
        if value is None:
            return replace(row, condition="json-null")
        problem = next(_problems(value), None)
        if problem is not None:
            return replace(row, condition="undecodable", problem=problem)
        url = reference(value)
        condition: Condition = "readable"
        if url is not None and self._external and _is_missing_file(url, entry):
            condition = "external-missing"
        return replace(row, condition=condition, reference=url)

    def _pickle_caveat(self) -> str:
        if self._store.schema.major == 1:
            return "it is pickled, which Airflow reads only while enable_xcom_pickling is on"
        if self._store.schema.reader is not Reader.SERDE:
            return ""
        return "it is pickled, which Airflow reads only with enable_xcom_pickling"

    def _archived(self, run_id: str | None) -> Iterator[tuple[str, int]]:
        """Yield table and map index of the rows of the name that were put aside."""
        table, same, q = self._store.table, self._store.table.backend.same, self._question
        with table.explained():
            there = sa.inspect(table.connection).get_table_names(schema=table.backend.target.schema)
        names = [name for name in sorted(there) if name.startswith(_ARCHIVES)]
        for name in [one for one in names if "xcom" in one][:MOST_NAMES]:
            with table.explained():
                columns = table.backend.columns(name)
            if not {"dag_id", "task_id", "key"} <= columns.keys() or not self._runs.has(name):
                continue
            c = table.clause(name, *columns).c
            where = [same(c.dag_id, q.dag_id), same(c.task_id, q.task_id), same(c.key, q.key)]
            if "run_id" in columns and run_id is not None:
                where.append(same(c.run_id, run_id))
            elif "execution_date" in columns and self._run is not None:
                date = table.backend.bound_moment(self._run.logical_date)
                where.append(table.backend.moment(c.execution_date) == date)
            index = c.map_index if "map_index" in columns else sa.literal(UNMAPPED)
            with table.explained():
                rows = table.connection.execute(sa.select(index).where(*where).limit(10)).all()
            yield from ((name, int(row[0])) for row in rows)

    # --- names --------------------------------------------------------------------------------

    def _add_names(self, evidence: Evidence) -> Evidence:
        """Add the keys that the task pushed, and the tasks that the DAG has."""
        q, suggest = self._question, self._store.suggest
        keys = tuple(suggest.names("key", q.dag_id, q.task_id))
        tasks = dict.fromkeys(evidence.tasks)
        if evidence.instances or keys:
            tasks[q.task_id] = None
        else:
            tasks |= dict.fromkeys(suggest.names("task_id", q.dag_id))
            if self._run is not None:
                tasks |= dict.fromkeys(self._runs.tasks(self._pointer))
        evidence = replace(evidence, keys=keys, tasks=tuple(tasks))
        if self._run is not None and keys:
            evidence = replace(evidence, keys_in_run=self._keys_in_run(self._run.run_id))
        return evidence

    def _keys_in_run(self, run_id: str) -> tuple[tuple[int, str], ...]:
        q, table, rows = self._question, self._store.table, self._store.rows
        x = table.x.c
        index = x.map_index if self._store.schema.mapped else sa.literal(UNMAPPED)
        statement = (
            sa.select(index, x.key)
            .select_from(rows.source())
            .where(
                *rows.conditions.named(q.dag_id, q.task_id, None), rows.conditions.of_run(run_id)
            )
            .limit(MOST_NAMES)
        )
        with table.explained():
            found = table.connection.execute(statement).all()
        text = table.backend.text_of
        return tuple(sorted((int(row[0]), text(row[1]) or "") for row in found))

    def _add_runs(self, evidence: Evidence) -> Evidence:
        """Add the runs that were perhaps meant."""
        q, runs = self._question, self._runs
        newest = runs.newest()
        if q.run_id is None:
            return replace(evidence, runs=newest)
        return replace(
            evidence,
            runs=newest,
            run_of_date=runs.of_date(q.run_id),
            dag_of_run=runs.other_dag(q.run_id),
            run_with_key=self._run_with_key(),
        )

    def _add_others(self, evidence: Evidence) -> Evidence:
        """Add other runs that have the XCom, and whether the run's XComs are all gone."""
        evidence = replace(evidence, run_with_key=self._run_with_key())
        states = {one.state for one in evidence.instances}
        if states != {"success"} or evidence.keys_in_run:
            return evidence
        has_xcoms = self._has_xcoms(older=False)
        has_older = has_xcoms or evidence.run_with_key is None or self._has_xcoms(older=True)
        return replace(evidence, run_has_xcoms=has_xcoms, has_older_xcoms=has_older)

    def _run_with_key(self) -> str | None:
        q = self._question
        index = UNMAPPED if q.map_index is None else q.map_index
        found = self._store.entries.find(q.dag_id, q.task_id, q.key, map_index=index)
        return found[0].ref.run_id if found else None

    def _has_xcoms(self, *, older: bool) -> bool:
        """Return whether the DAG has an XCom of this run or, with `older`, of one before it."""
        table, schema = self._store.table, self._store.schema
        x, run = table.x.c, table.run.c
        pointer = x.dag_run_id if schema.mapped else x.execution_date
        key = sa.select(run.id if schema.mapped else run.execution_date)
        here = key.where(run.id == self._pointer).scalar_subquery()
        is_dag = table.backend.same(x.dag_id, self._question.dag_id)
        statement = sa.select(sa.literal(1)).select_from(table.x)
        statement = statement.where(is_dag, pointer < here if older else pointer == here).limit(1)
        with table.explained():
            return table.connection.execute(statement).first() is not None


def _problems(value: object) -> Iterator[str]:
    """Yield why Airflow cannot read what is in a decoded value."""
    if isinstance(value, Opaque):
        problem = value.facts.get("problem")
        if isinstance(problem, str):
            yield problem.removesuffix(".")
    elif isinstance(value, dict):
        for one in value.values():
            yield from _problems(one)
    elif isinstance(value, list | tuple | set | frozenset):
        for one in value:
            yield from _problems(one)


def _is_missing_file(url: str, entry: XComEntry) -> bool:
    """Return whether the reference is to a file that Airflow wrote for this XCom and that is gone.

    Airflow's object storage backend names objects BASE/DAG/RUN/TASK/UUID. Where BASE is not a
    directory here, this is another machine, and nothing is known.
    """
    parts = urlsplit(url)
    if parts.scheme != "file" or parts.netloc not in ("", "localhost"):
        return False
    path = Path(unquote(parts.path))
    ref = entry.ref
    if path.parts[-4:-1] != (ref.dag_id, ref.run_id, ref.task_id):
        return False
    try:
        return path.parents[3].is_dir() and not path.exists()
    except OSError:
        return False
