"""The tables of Airflow 3.4's XComs as `metadata` builds them, and rows for them."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

NO_REGION = uuid.UUID(int=0)
_UUID_TYPES = {"sqlite": "CHAR(32)", "postgresql": "UUID", "mysql": "CHAR(32)"}
_REGION_TYPES = _UUID_TYPES | {"mysql": "BINARY(16)"}


def create_statements(backend: str, text: str, long: str, stamp: str, value: str) -> list[str]:
    """Return what creates the tables; dag_run has to exist."""
    one, region = _UUID_TYPES[backend], _REGION_TYPES[backend]
    key = "`key`" if backend == "mysql" else '"key"'
    nothing = f"'{NO_REGION.hex}'" if backend != "mysql" else f"(unhex('{NO_REGION.hex}'))"
    named = f"dag_id {text} NOT NULL, task_id {text} NOT NULL, run_id {text} NOT NULL"
    names = "dag_id, task_id, run_id"
    rest = f"value {value}, timestamp {stamp} NOT NULL, dag_result BOOLEAN, mapped_length INTEGER"
    if backend == "mysql":
        rest = rest.replace("timestamp TIMESTAMP(6) NOT NULL", "timestamp TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6)")  # fmt: skip
    return [
        f"CREATE TABLE dynamic_region (id {region} PRIMARY KEY, dag_id {text} NOT NULL, run_id {text} NOT NULL,"
        f" node_id {text} NOT NULL, parent_region_id {region}, parent_region_index INTEGER)",
        f"CREATE TABLE task_instance (id {one} PRIMARY KEY, {named}, region_index INTEGER DEFAULT -1 NOT NULL,"
        f" region_id {region} DEFAULT {nothing} NOT NULL, state VARCHAR(20), try_number INTEGER NOT NULL,"
        " working_set BOOLEAN DEFAULT true, archived_reason VARCHAR(50),"
        f" CONSTRAINT task_instance_current_key UNIQUE ({names}, region_id, region_index, working_set),"
        f" CONSTRAINT task_instance_try_key UNIQUE ({names}, region_id, region_index, try_number))",
        "CREATE INDEX ti_dag_run ON task_instance (dag_id, run_id)",
        "CREATE INDEX ti_state_lkp ON task_instance (dag_id, task_id, run_id, state)",
        f"CREATE TABLE legacy_task_data_owner ({named}, map_index INTEGER NOT NULL, task_instance_id {one} NOT NULL,"
        f" PRIMARY KEY ({names}, map_index), CONSTRAINT legacy_task_data_owner_ti_fkey"
        " FOREIGN KEY (task_instance_id) REFERENCES task_instance (id) ON DELETE CASCADE)",
        "CREATE INDEX idx_legacy_task_data_owner_ti ON legacy_task_data_owner (task_instance_id)",
        f"CREATE TABLE xcom_v1 (dag_run_id INTEGER NOT NULL, {named}, map_index INTEGER DEFAULT -1 NOT NULL,"
        f" {key} {long} NOT NULL, {rest}, CONSTRAINT xcom_pkey PRIMARY KEY (dag_run_id, task_id, map_index, {key}),"
        f" CONSTRAINT xcom_task_instance_fkey FOREIGN KEY ({names}, map_index) REFERENCES"
        f" legacy_task_data_owner ({names}, map_index) ON DELETE CASCADE)",
        f"CREATE INDEX idx_xcom_task_instance ON xcom_v1 ({names}, map_index)",
        f"CREATE TABLE xcom_v2 (id {one} PRIMARY KEY, task_instance_id {one} NOT NULL, {key} {long} NOT NULL, {rest},"
        f" CONSTRAINT xcom_v2_ti_key_uq UNIQUE (task_instance_id, {key}), CONSTRAINT xcom_v2_ti_fkey"
        " FOREIGN KEY (task_instance_id) REFERENCES task_instance (id) ON DELETE CASCADE)",
    ]  # fmt: skip


@dataclass
class Attempts:
    """The task instances, their regions and owners of one metadata DB, each made on first use."""

    backend: str
    execute: Callable[..., None]
    _instances: dict[tuple[object, ...], uuid.UUID] = field(default_factory=dict)
    _regions: dict[tuple[object, ...], uuid.UUID] = field(default_factory=dict)
    _owners: set[tuple[object, ...]] = field(default_factory=set)
    rows: int = 0

    def instance(
        self, dag_id: str, task_id: str, run_id: str, map_index: int,
        *, legacy: bool, try_number: int, current: bool, region: tuple[uuid.UUID, int] | None,
    ) -> str:  # fmt: skip
        """Return the id of a task instance; a mapped one has a region, unless it is from before."""
        if region is None:
            region = self._region_of(dag_id, task_id, run_id, map_index, legacy=legacy), map_index
        name = (dag_id, task_id, run_id, *region, try_number)
        if name not in self._instances:
            self._instances[name] = self._next()
            self.execute(
                "INSERT INTO task_instance (id, dag_id, task_id, run_id, region_id, region_index, try_number,"
                " state, working_set, archived_reason) VALUES (:id, :dag, :task, :run, :region, :index, :number,"
                " :state, :working, :reason)",
                id=self._instances[name].hex, dag=dag_id, task=task_id, run=run_id,
                region=self._bound(region[0]), index=region[1], number=try_number, state="success",
                working=True if current else None, reason=None if current else "retry",
            )  # fmt: skip
        return self._instances[name].hex

    def own(self, dag_id: str, task_id: str, run_id: str, map_index: int, instance: str) -> None:
        """Make a task instance the owner of the rows of xcom_v1 with this name."""
        name = (dag_id, task_id, run_id, map_index)
        if name not in self._owners:
            self._owners.add(name)
            self.execute(
                "INSERT INTO legacy_task_data_owner (dag_id, task_id, run_id, map_index, task_instance_id)"
                " VALUES (:dag, :task, :run, :index, :id)",
                dag=dag_id, task=task_id, run=run_id, index=map_index, id=instance,
            )  # fmt: skip

    def region(
        self, dag_id: str, run_id: str, node_id: str, parent: tuple[uuid.UUID, int] | None = None
    ) -> uuid.UUID:
        """Make a region: of a mapped task by its id, of a loop by its group's."""
        made = self._next()
        self.execute(
            "INSERT INTO dynamic_region (id, dag_id, run_id, node_id, parent_region_id, parent_region_index)"
            " VALUES (:id, :dag, :run, :node, :parent, :index)",
            id=self._bound(made), dag=dag_id, run=run_id, node=node_id,
            parent=self._bound(parent[0]) if parent else None, index=parent[1] if parent else None,
        )  # fmt: skip
        return made

    def _region_of(
        self, dag_id: str, task_id: str, run_id: str, map_index: int, *, legacy: bool
    ) -> uuid.UUID:
        if map_index < 0:
            return NO_REGION
        name = (dag_id, task_id, run_id)
        if name not in self._regions:
            self._regions[name] = NO_REGION if legacy else self.region(dag_id, run_id, task_id)
        return self._regions[name]

    def _next(self) -> uuid.UUID:
        self.rows += 1
        return uuid.UUID(int=(0x01A2 << 112) + self.rows)

    def _bound(self, one: uuid.UUID) -> str | bytes:
        return one.bytes if self.backend == "mysql" else one.hex
