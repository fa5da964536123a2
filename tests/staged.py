"""Metadata databases in which tasks have run, failed or waited, of any release on any backend."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import dataclass
from typing import Any

from tests.metadata import WHEN, Metadata

RELEASES = ("1.10", "2.2", "2.3", "2.10", "3.0")

_GENERATION_BY_RELEASE = {"2.2": "2.0", "2.10": "2.3"}


@dataclass
class Staged(Metadata):
    """A metadata database with the columns that a release has around XComs."""

    release: str = "2.10"

    def __post_init__(self) -> None:
        self.generation = _GENERATION_BY_RELEASE.get(self.release, self.release)
        self.major = int(self.release[0])
        self.minor = int(self.release.split(".")[1]) if self.major > 1 else 0
        self.stamp = {"postgresql": "TIMESTAMPTZ NULL", "mysql": "TIMESTAMP(6) NULL"}
        super().__post_init__()

    def at_least(self, release: str) -> bool:
        major, minor = map(int, release.split("."))
        return (self.major, self.minor) >= (major, minor)

    def _create(self) -> None:
        super()._create()
        stamp = self.stamp.get(self.backend, "TIMESTAMP")
        blob = {"postgresql": "BYTEA", "mysql": "LONGBLOB"}.get(self.backend, "BLOB")
        text = "VARCHAR(250)"
        if self.backend == "mysql":
            text += " CHARACTER SET utf8mb3 COLLATE utf8mb3_bin"
        run = f"run_id {text} NOT NULL" if self.at_least("2.2") else f"execution_date {stamp}"
        names = f"task_id {text} NOT NULL, dag_id {text} NOT NULL, {run}"
        if self.mapped:
            names += ", map_index INTEGER DEFAULT -1 NOT NULL"
        times = f"start_date {stamp}, end_date {stamp}"
        instance = f"{names}, state VARCHAR(20), try_number INTEGER, {times}"
        instance += ", hostname VARCHAR(1000), operator VARCHAR(1000)"
        if self.at_least("2.2"):
            instance += ", trigger_id INTEGER"
        if self.major == 3:
            instance += ", dag_version_id CHAR(32)"
        statements = [f"CREATE TABLE task_instance ({instance})"]
        statements += [
            f"ALTER TABLE dag_run ADD COLUMN {one} {stamp}" for one in ("start_date", "end_date")
        ]
        if self.at_least("2.10"):
            statements += [
                "ALTER TABLE dag_run ADD COLUMN clear_number INTEGER DEFAULT 0 NOT NULL",
                f"CREATE TABLE task_instance_history ({names}, try_number INTEGER NOT NULL,"
                f" state VARCHAR(20), {times})",
            ]
        if self.at_least("2.2"):
            name = {"postgresql": '"trigger"', "mysql": "`trigger`"}.get(self.backend, '"trigger"')
            statements.append(
                f"CREATE TABLE {name} (id INTEGER PRIMARY KEY, classpath VARCHAR(1000))"
            )
        if self.mapped:
            statements.append(f"CREATE TABLE task_map ({names}, length INTEGER NOT NULL)")
        compressed = f", data_compressed {blob}" if self.at_least("2.5") else ""
        version = ", dag_version_id CHAR(32)" if self.major == 3 else ""
        statements.append(
            f"CREATE TABLE serialized_dag (dag_id {text} NOT NULL, data JSON,"
            f" last_updated {stamp}{compressed}{version})"
        )
        with self.engine.begin() as connection:
            for statement in statements:
                connection.exec_driver_sql(statement)

    # --- what Airflow would record ---

    def has_run(
        self, run_id: str = "run_1", state: str = "success", *, dag_id: str = "etl", day: int = 0
    ) -> None:
        """Make a run."""
        when = WHEN + dt.timedelta(days=day)
        number = self.run(dag_id, run_id, when)
        started = None if state == "queued" else when
        ended = when + dt.timedelta(hours=1) if state in ("success", "failed") else None
        self.execute(
            "UPDATE dag_run SET state = :state, start_date = :started, end_date = :ended WHERE id = :id",
            state=state, started=self._moment(started), ended=self._moment(ended), id=number,
        )  # fmt: skip

    def has_task(
        self,
        state: str | None,
        task_id: str = "load",
        *,
        run_id: str = "run_1",
        map_index: int = -1,
        tries: int = 1,
        ran: bool = True,
        operator: str = "PythonOperator",
        trigger_id: int | None = None,
        day: int = 0,
    ) -> None:
        """Make a task instance."""
        when = WHEN + dt.timedelta(days=day)
        given: dict[str, Any] = {
            "dag_id": "etl", "task_id": task_id, "state": state, "try_number": tries,
            "start_date": self._moment(when if ran else None), "hostname": "worker" if ran else "",
            "end_date": self._moment(when if state in ("success", "failed") else None),
            "operator": operator,
        }  # fmt: skip
        if self.at_least("2.2"):
            given["run_id"] = run_id
            given["trigger_id"] = trigger_id
        else:
            given["execution_date"] = self._moment(when)
        if self.mapped:
            given["map_index"] = map_index
        if self.major == 3:
            given["dag_version_id"] = "1" * 32
        self._insert("task_instance", given)

    def had_try(
        self, number: int, state: str, *, task_id: str = "load", map_index: int = -1
    ) -> None:
        """Make an earlier try of a task instance, where the release records it."""
        if self.at_least("2.10"):
            self._insert(
                "task_instance_history",
                {
                    "dag_id": "etl", "task_id": task_id, "run_id": "run_1", "map_index": map_index,
                    "try_number": number, "state": state, "end_date": self._moment(WHEN),
                },
            )  # fmt: skip

    def has_dag(self, tasks: dict[str, dict[str, Any]]) -> None:
        """Serialize a DAG as the release does: fields by task id."""
        listed: list[Any] = [{"task_id": name, **fields} for name, fields in tasks.items()]
        if self.major == 3:
            listed = [{"__type": "operator", "__var": one} for one in listed]
        given = {
            "dag_id": "etl",
            "data": json.dumps({"__version": 1, "dag": {"tasks": listed}}),
            "last_updated": self._moment(WHEN - dt.timedelta(days=1)),
        }
        if self.major == 3:
            given["dag_version_id"] = "1" * 32
        self._insert("serialized_dag", given)

    def pushed(self, value: str = "1", key: str = "return_value", **more: Any) -> None:
        """Push an XCom of the task `load`."""
        given = {"dag_id": "etl", "task_id": "load"} | more
        self.add(value if self.json else value.encode(), key=key, **given)

    def _insert(self, table: str, given: dict[str, Any]) -> None:
        names = {name: f"p{index}" for index, name in enumerate(given)}
        places = [
            f"CAST(:{place} AS JSON)"
            if name == "data" and self.backend == "postgresql"
            else f":{place}"
            for name, place in names.items()
        ]
        self.execute(
            f"INSERT INTO {table} ({', '.join(names)}) VALUES ({', '.join(places)})",
            **{names[name]: value for name, value in given.items()},
        )
