"""Small metadata DBs of any generation on any backend, for tests to fill row by row."""

from __future__ import annotations

import datetime as dt
import uuid
from dataclasses import dataclass, field
from typing import Any, Literal

import sqlalchemy as sa

from tests.split_tables import Attempts, create_statements

WHEN = dt.datetime(2026, 1, 31, 7, 8, 9, 123456)

_VALUE_TYPES = {
    ("sqlite", "bytes"): "BLOB",
    ("sqlite", "json"): "JSON",
    ("postgresql", "bytes"): "BYTEA",
    ("postgresql", "json"): "JSONB",
    ("mysql", "bytes"): "LONGBLOB",
    ("mysql", "json"): "JSON",
}


def _write_quickly(connection: Any, _record: object) -> None:
    """Do not wait for the disk, which no test needs."""
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute("PRAGMA journal_mode = MEMORY")


@dataclass
class Metadata:
    """An xcom table with its runs, of one generation: `1.10`, `2.0`, `2.3`, `3.0` or `3.4`.

    Of 3.4 rows are added to xcom_v2 and xcom_v1 in turn, unless a test says to which.
    """

    url: str
    generation: str = "2.3"
    value_type: str | None = None
    with_instances: bool = False
    """Whether there is a table of task instances, too, of those generations that map tasks."""
    runs: dict[tuple[str, str], int] = field(default_factory=dict)
    _added: int = 0

    def __post_init__(self) -> None:
        url = self.url if "://" in self.url else f"sqlite:///{self.url}"
        self.engine = sa.create_engine(url, poolclass=sa.pool.NullPool)
        self.backend = self.engine.dialect.name
        if self.backend == "sqlite":
            sa.event.listen(self.engine, "connect", _write_quickly)
        storage = "json" if self.generation.startswith("3") else "bytes"
        self.value_type = self.value_type or _VALUE_TYPES[self.backend, storage]
        self.json = storage == "json"
        self.split = self.generation >= "3.4"
        self.attempts = Attempts(self.backend, self.execute)
        self._create()

    @property
    def mapped(self) -> bool:
        return self.generation >= "2.3"

    def _create(self) -> None:
        key = "`key`" if self.backend == "mysql" else '"key"'
        stamp = {"postgresql": "TIMESTAMPTZ", "mysql": "TIMESTAMP(6)"}.get(
            self.backend, "TIMESTAMP"
        )
        stamp_null = f"{stamp} NULL"
        serial = {"postgresql": "SERIAL", "mysql": "INTEGER AUTO_INCREMENT"}.get(
            self.backend, "INTEGER"
        )
        text = "VARCHAR(250)" + (
            " CHARACTER SET utf8mb3 COLLATE utf8mb3_bin" if self.backend == "mysql" else ""
        )
        long = text.replace("250", "512")
        date = "logical_date" if self.generation.startswith("3") else "execution_date"
        if self.split:
            columns = ""
        elif self.mapped:
            columns = (
                f"dag_run_id INTEGER NOT NULL, task_id {text} NOT NULL, map_index INTEGER DEFAULT -1 NOT NULL,"
                f" {key} {long} NOT NULL, dag_id {text} NOT NULL, run_id {text} NOT NULL,"
                f" value {self.value_type}, timestamp {stamp} NOT NULL,"
                f" CONSTRAINT xcom_pkey PRIMARY KEY (dag_run_id, task_id, map_index, {key})"
            )
        elif self.generation == "1.10":
            columns = (
                f"id {serial} PRIMARY KEY, {key} {long}, value {self.value_type}, timestamp {stamp} NOT NULL,"
                f" execution_date {stamp} NOT NULL, task_id {text} NOT NULL, dag_id {text} NOT NULL"
            )
        else:
            columns = (
                f"{key} {long} NOT NULL, value {self.value_type}, timestamp {stamp} NOT NULL,"
                f" execution_date {stamp} NOT NULL, task_id {text} NOT NULL, dag_id {text} NOT NULL,"
                f" CONSTRAINT pk_xcom PRIMARY KEY (dag_id, task_id, {key}, execution_date)"
            )
        if self.backend == "mysql":
            columns = columns.replace(
                f"{stamp} NOT NULL", f"{stamp} NOT NULL DEFAULT CURRENT_TIMESTAMP(6)"
            )
        statements = [
            f"CREATE TABLE xcom ({columns})",
            f"CREATE TABLE dag_run (id {serial} PRIMARY KEY, dag_id {text} NOT NULL, run_id {text} NOT NULL, {date} {stamp_null}, state VARCHAR(50))",
            f"CREATE TABLE dag (dag_id {text} PRIMARY KEY, fileloc VARCHAR(2000))",
        ]
        if self.split:
            kind = str(self.value_type)
            statements = [
                *statements[1:],
                *create_statements(self.backend, text, long, stamp, kind),
            ]
        elif self.with_instances:
            statements.append(
                f"CREATE TABLE task_instance (task_id {text} NOT NULL, dag_id {text} NOT NULL, run_id {text} NOT NULL,"
                " map_index INTEGER NOT NULL, state VARCHAR(20), PRIMARY KEY (dag_id, task_id, run_id, map_index))"
            )
            foreign = (
                ", CONSTRAINT xcom_task_instance_fkey FOREIGN KEY (dag_id, task_id, run_id, map_index)"
                " REFERENCES task_instance (dag_id, task_id, run_id, map_index) ON DELETE CASCADE)"
            )
            statements = [*statements[1:], statements[0][:-1] + foreign]
        with self.engine.begin() as connection:
            for statement in statements:
                connection.exec_driver_sql(statement)

    def run(self, dag_id: str, run_id: str, date: dt.datetime | None = WHEN) -> int:
        """Return the id of the run, made where it is not there yet."""
        if (dag_id, run_id) not in self.runs:
            number = len(self.runs) + 1
            column = "logical_date" if self.generation.startswith("3") else "execution_date"
            self.execute(
                f"INSERT INTO dag_run (id, dag_id, run_id, {column}, state) VALUES (:id, :dag, :run, :date, 'success')",
                id=number, dag=dag_id, run=run_id, date=self._moment(date),
            )  # fmt: skip
            self.runs[dag_id, run_id] = number
        return self.runs[dag_id, run_id]

    def instance(self, dag_id: str, task_id: str, run_id: str, map_index: int = -1) -> None:
        """Make a task instance, with its run."""
        self.run(dag_id, run_id)
        if self.split:
            self.attempts.instance(
                dag_id, task_id, run_id, map_index,
                legacy=False, try_number=1, current=True, region=None,
            )  # fmt: skip
            return
        self.execute(
            "INSERT INTO task_instance (dag_id, task_id, run_id, map_index) VALUES (:dag, :task, :run, :index)",
            dag=dag_id, task=task_id, run=run_id, index=map_index,
        )  # fmt: skip

    def add(
        self,
        value: bytes | str | int | float | None,
        *,
        dag_id: str = "dag",
        task_id: str = "task",
        key: str | None = "return_value",
        run_id: str = "run_1",
        map_index: int = -1,
        date: dt.datetime = WHEN,
        timestamp: dt.datetime = WHEN,
        dag_run_id: int | None = None,
        with_run: bool = True,
        store: Literal["xcom_v1", "xcom_v2"] | None = None,
        try_number: int = 1,
        current: bool = True,
        region: tuple[uuid.UUID, int] | None = None,
    ) -> None:
        """Insert a row whose value column holds exactly this.

        The last four are Airflow 3.4's: which table, and which attempt of which region.
        """
        number = dag_run_id
        if with_run:
            number = self.run(dag_id, run_id, date) if number is None else number
        if self.split and store is None:
            store = ("xcom_v2", "xcom_v1")[self._added % 2]
        self._added += 1
        name = "`key`" if self.backend == "mysql" else '"key"'
        given: dict[str, Any] = {
            "dag_id": dag_id, "task_id": task_id, name: key,
            "timestamp": self._moment(timestamp), "value": value,
        }  # fmt: skip
        if self.split:
            instance = self.attempts.instance(
                dag_id, task_id, run_id, map_index, legacy=store == "xcom_v1",
                try_number=try_number, current=current, region=region,
            )  # fmt: skip
        if store == "xcom_v2":
            given = {"id": uuid.uuid4().hex, "task_instance_id": instance, **given}
            del given["dag_id"], given["task_id"]
        elif store == "xcom_v1":
            self.attempts.own(dag_id, task_id, run_id, map_index, instance)
        if store == "xcom_v2":
            pass
        elif self.mapped:
            given |= {"dag_run_id": number or 999, "run_id": run_id, "map_index": map_index}
        else:
            given["execution_date"] = self._moment(date)
        parameters = {f"p{index}": one for index, one in enumerate(given.values())}
        places = [
            f"CAST(:{parameter} AS JSONB)"
            if self.json and self.backend == "postgresql" and column == "value"
            else f":{parameter}"
            for column, parameter in zip(given, parameters, strict=True)
        ]
        self.execute(
            f"INSERT INTO {store or 'xcom'} ({', '.join(given)}) VALUES ({', '.join(places)})",
            **parameters,
        )

    def execute(self, statement: str, **parameters: Any) -> None:
        """Run one statement, and commit it."""
        with self.engine.begin() as connection:
            if self.backend == "mysql":
                connection.exec_driver_sql("SET time_zone = '+00:00'")
            connection.execute(sa.text(statement), parameters)

    def _moment(self, moment: dt.datetime | None) -> Any:
        if moment is None:
            return None
        if self.backend == "sqlite":
            return moment.strftime("%Y-%m-%d %H:%M:%S.%f")
        return moment.replace(tzinfo=dt.UTC) if self.backend == "postgresql" else moment
