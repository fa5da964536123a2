"""Builds the demo database: the SQLite file that Airflow leaves after running the sample DAGs.

It repeats what the DAGs in `sample_dags/` push, so that Airflow need not be installed, in the
table layouts of five Airflow releases. The tour of the demo is in `cli`.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import secrets
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, get_args

from xcomctl.demo.tables import DDL_1_10, DDL_2_2, DDL_2_8, DDL_3
from xcomctl.errors import DatabaseError, RefusedError, UsageError
from xcomctl.model import RETURN_VALUE, UNMAPPED, Size, Storage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

Layout = Literal["1.10", "2.2", "2.8", "2.10", "3.x"]
"""Tables of Airflow 1.10.15 (without pickling), 2.2.5, 2.8.4, 2.10.5 or 3.3."""

LAYOUTS: Final[tuple[Layout, ...]] = get_args(Layout)

START: Final = date(2026, 1, 1)
"""Day on which the list of `sample_dags/file_list_dag.py` begins to grow. In the demo it is the
first day."""

MAX_DAYS: Final = 366
"""A year takes 68 MB."""

MAX_BLOB: Final = Size(65_535)
"""Capacity of a MySQL BLOB, which the list of files outgrows.

https://dev.mysql.com/doc/refman/8.4/en/storage-requirements.html
"""

NEAR: Final = 0.8
"""Share of `MAX_BLOB` from which a list counts as close to it."""

MODELS: Final = ("training_model_a", "training_model_b", "training_model_c")


@dataclass(frozen=True, slots=True)
class DemoFacts:
    """What the demo contains."""

    path: Path
    layout: Layout
    dags: tuple[str, ...]
    runs: int
    rows: int
    """Number of XComs."""
    first_day: date
    last_day: date
    largest: Size
    """Size of the largest list of files."""
    near_day: date | None
    """First run whose list of files takes 80% of `MAX_BLOB`; None if none does."""
    over_day: date | None
    """First run whose list of files exceeds `MAX_BLOB`; None if none does."""


def build(
    path: Path,
    *,
    layout: Layout = "3.x",
    days: int = 90,
    seed: int = 0,
    last_day: date | None = None,
) -> DemoFacts:
    """Write the demo to `path` atomically, and return what it contains.

    An existing demo is replaced. The last run starts at midnight (UTC) of `last_day`, by default
    today. The same arguments on the same day give the same rows. The accuracies are those of
    `xcom_dag` run with `XCOM_DAG_SEED` set to the seed.

    Raises:
        RefusedError: `path` exists and is not a demo, or the demo is in use.
        UsageError: `days` is not from 1 to `MAX_DAYS`.
        DatabaseError: the file could not be written.
    """
    if not 1 <= days <= MAX_DAYS:
        raise UsageError(
            f"cannot build a demo of {days} days", hint=f"Valid values: 1 to {MAX_DAYS} days."
        )
    tables = _LAYOUTS[layout]
    last_day = last_day or datetime.now(UTC).date()
    if not date.min + 2 * timedelta(days=MAX_DAYS) < last_day < date.max - _DAY:
        raise UsageError(f"cannot build a demo that ends on {last_day}", hint="Name another day.")
    # A run is named by its logical date, which in Airflow 1 and 2 is a day before its start.
    start = last_day - tables.starts_after - timedelta(days=days - 1)
    # Not Path.resolve(), which raises RuntimeError for a loop of symbolic links.
    target = Path(os.path.realpath(path))
    fresh = target.with_name(f".{target.name[:40]}.{secrets.token_hex(4)}.tmp")
    try:
        with contextlib.suppress(FileNotFoundError):
            path.stat()
        _refuse_what_is_not_ours(path, target)
        with closing(sqlite3.connect(fresh, isolation_level=None)) as connection:
            _write(connection, tables, start, days, seed)
        _refuse_what_is_not_ours(path, target)
        fresh.replace(target)
    except (OSError, sqlite3.Error) as error:
        raise DatabaseError(
            f'could not write the demo to "{path}"',
            detail=f"{error.strerror if isinstance(error, OSError) else error}.",
            hint="Choose a path in an existing, writable directory.",
        ) from error
    finally:
        with contextlib.suppress(OSError):
            fresh.unlink()
    return _facts(path, layout, start, days)


def accuracy(seed: int, run_id: str, model: str) -> float:
    """Return the accuracy of a model in a run of `xcom_dag`."""
    return random.Random(f"{seed}/{run_id}/{model}").uniform(0.1, 10.0)


def file_names(day: date, start: date = START) -> list[str]:
    """Return the files that `file_list_dag` lists for a day: 20 more each day, 50 bytes of JSON each."""
    count = max(0, 120 + 20 * (day - start).days)
    folder = f"s3-like/landing/{day:%Y/%m/%d}"
    return [f"{folder}/part-{number:06d}.parquet" for number in range(count)]


def _facts(path: Path, layout: Layout, start: date, days: int) -> DemoFacts:
    every_day = [start + timedelta(days=number) for number in range(days)]
    sizes = [Size(len(json.dumps(file_names(day, start)))) for day in every_day]
    sized = tuple(zip(every_day, sizes, strict=True))
    return DemoFacts(
        path=path,
        layout=layout,
        dags=tuple(_STAGES),
        runs=days * len(_STAGES),
        rows=days * sum(len(stage) for stages in _STAGES.values() for stage in stages),
        first_day=every_day[0],
        last_day=every_day[-1],
        largest=max(sizes),
        near_day=next((day for day, size in sized if size >= NEAR * MAX_BLOB), None),
        over_day=next((day for day, size in sized if size > MAX_BLOB), None),
    )


_APPLICATION_ID = 0x78636F6D
"""`xcom` in a SQLite file's header marks a demo; Airflow leaves zero there.

https://www.sqlite.org/fileformat2.html#application_id
"""


def _refuse_what_is_not_ours(path: Path, target: Path) -> None:
    if target.exists() and not _is_demo(target):
        raise RefusedError(
            f'refused to overwrite "{path}"',
            detail="The file exists and is not an xcomctl demo.",
            hint="Choose another path, or delete the file first.",
        )
    for suffix in ("-wal", "-journal"):
        # SQLite would replay it into the new file: https://www.sqlite.org/howtocorrupt.html
        if target.with_name(target.name + suffix).exists():
            raise RefusedError(
                f'refused to overwrite "{path}"',
                detail=f'"{path}{suffix}" exists: the database is in use, or a program that used it crashed.',
                hint="Close the program that uses it, or choose another path.",
            )


def _is_demo(target: Path) -> bool:
    if not target.is_file():
        return False
    with target.open("rb") as file:
        header = file.read(72)
    return header.startswith(b"SQLite format 3\0") and header[68:] == _APPLICATION_ID.to_bytes(4)


@dataclass(frozen=True, slots=True)
class _Task:
    task_id: str
    operator: str
    seconds: float
    """Minimum duration."""
    priority: int
    key: str = RETURN_VALUE


@dataclass(frozen=True, slots=True)
class _Run:
    id: int
    dag_id: str
    day: date
    start: date
    """Day of the demo's first run."""

    @property
    def run_id(self) -> str:
        return f"scheduled__{self.day}T00:00:00+00:00"


_STAGES: Final = {
    "file_list_dag": (
        (_Task("list_files", "_PythonDecoratedOperator", 0.4, 2),),
        (_Task("download_files", "_PythonDecoratedOperator", 0.3, 1),),
    ),
    "xcom_dag": (
        (_Task("downloading_data", "BashOperator", 3.1, 5),),
        tuple(
            _Task(f"processing_tasks.{model}", "PythonOperator", 0.3, 2, "model_accuracy")
            for model in MODELS
        ),
        (_Task("task_4", "PythonOperator", 0.2, 1),),
    ),
}
"""The tasks of each DAG: stages run one after the other, the tasks of a stage in parallel."""

_DESCRIPTIONS = {
    "file_list_dag": "List the files of a source, then download them: the list grows day by day",
    "xcom_dag": "Download, train three models, choose the best by XCom",
}


def _values(run: _Run, seed: int, pulled: Callable[[float], float | int]) -> dict[str, object]:
    """Return the value that each task of the run pushes, by task_id.

    `pulled` turns an accuracy that a model pushed into what `task_4` pulls.
    """
    if run.dag_id == "file_list_dag":
        names = file_names(run.day, run.start)
        return {"list_files": names, "download_files": {"downloaded": len(names)}}
    reached = {model: accuracy(seed, run.run_id, model) for model in MODELS}
    best = max(reached, key=lambda model: pulled(reached[model]))
    return {
        # BashOperator returns this if the command prints nothing.
        "downloading_data": "",
        **{f"processing_tasks.{model}": value for model, value in reached.items()},
        "task_4": {"model": best, "accuracy": pulled(reached[best])},
    }


@dataclass(frozen=True, slots=True)
class _Tables:
    """The table layout of an Airflow release."""

    head: str
    """The row in `alembic_version`."""
    storage: Storage
    ddl: str
    starts_after: timedelta
    """Time from a run's logical date to its start."""


def _write(
    connection: sqlite3.Connection, tables: _Tables, start: date, days: int, seed: int
) -> None:
    # A failure discards the whole file, so no journal is needed.
    connection.executescript(
        f"PRAGMA journal_mode = OFF; PRAGMA application_id = {_APPLICATION_ID}; BEGIN; {tables.ddl}"
    )
    names = ("alembic_version", "dag", "dag_run", "task_instance", "xcom")
    columns = {
        name: {str(row[1]) for row in connection.execute(f"PRAGMA table_info({name})")}
        for name in names
    }

    def pulled(value: float) -> float | int:
        if tables.storage == "bytes":
            return value
        # Affinity makes a number of the JSON text, which SQLite before 3.43 rounds to a neighbour
        # now and then: https://www.sqlite.org/datatype3.html#determination_of_column_affinity
        statement = "SELECT CAST(? AS NUMERIC)"
        (found,) = connection.execute(statement, (json.dumps(value),)).fetchone()
        number: float | int = found
        return number

    for table, row in _rows(tables, start, days, seed, pulled):
        present = {name: value for name, value in row.items() if name in columns[table]}
        connection.execute(
            f"INSERT INTO {table} ({', '.join(present)}) VALUES ({', '.join('?' * len(present))})",
            tuple(present.values()),
        )
    connection.execute("COMMIT")


def _rows(
    tables: _Tables,
    start: date,
    days: int,
    seed: int,
    pulled: Callable[[float], float | int],
) -> Iterator[tuple[str, Mapping[str, object]]]:
    """Yield (table, row), parents first. A row has the columns of every release."""
    yield "alembic_version", {"version_num": tables.head}
    for dag_id in _STAGES:
        yield "dag", _dag_row(dag_id)
    for number in range(days):
        for place, dag_id in enumerate(_STAGES):
            day = start + timedelta(days=number)
            run = _Run(number * len(_STAGES) + place + 1, dag_id, day, start)
            yield from _run_rows(run, tables, seed, pulled)


def _dag_row(dag_id: str) -> dict[str, object]:
    return {
        "dag_id": dag_id,
        "is_paused": 0,
        "is_active": 1,
        "is_stale": 0,
        "fileloc": f"/opt/airflow/dags/{dag_id}.py",
        "relative_fileloc": f"{dag_id}.py",
        "owners": "airflow",
        "description": _DESCRIPTIONS[dag_id],
        "schedule_interval": '"@daily"',
        "timetable_type": "CronTriggerTimetable",
        "timetable_summary": "0 0 * * *",
        "max_active_tasks": 16,
        "max_active_runs": 16,
        "has_task_concurrency_limits": 0,
    }


def _run_rows(
    run: _Run, tables: _Tables, seed: int, pulled: Callable[[float], float | int]
) -> Iterator[tuple[str, Mapping[str, object]]]:
    """Yield the run, then its task instances and their XComs."""
    clock = random.Random(f"{seed}/{run.run_id}/{run.dag_id}")
    values = _values(run, seed, pulled)
    scheduled = datetime.combine(run.day, time(), UTC) + tables.starts_after
    queued = scheduled + timedelta(seconds=clock.uniform(0.2, 2.0))
    started = moment = queued + timedelta(seconds=clock.uniform(0.02, 0.1))
    finished: list[tuple[str, Mapping[str, object]]] = []
    for stage in _STAGES[run.dag_id]:
        ended = moment
        for task in stage:
            begin = moment + timedelta(seconds=clock.uniform(0.5, 1.5))
            end = begin + timedelta(seconds=task.seconds * clock.uniform(1.0, 1.3))
            pushed = end - timedelta(seconds=clock.uniform(0.005, 0.02))
            finished.append(("task_instance", _task_row(run, task, begin, end, clock)))
            finished.append(("xcom", _xcom_row(run, task, values[task.task_id], pushed, tables)))
            ended = max(ended, end)
        moment = ended
    yield "dag_run", _dag_run_row(run, scheduled, queued, started, moment)
    yield from finished


def _dag_run_row(
    run: _Run, scheduled: datetime, queued: datetime, started: datetime, ended: datetime
) -> dict[str, object]:
    run_date = _text(datetime.combine(run.day, time(), UTC))
    return {
        "id": run.id,
        "dag_id": run.dag_id,
        "run_id": run.run_id,
        "execution_date": run_date,
        "logical_date": run_date,
        # Airflow 3 runs on the logical date itself: the data interval is empty.
        "data_interval_start": run_date,
        "data_interval_end": _text(scheduled),
        "run_after": _text(scheduled),
        "queued_at": _text(queued),
        "start_date": _text(started),
        "end_date": _text(ended),
        "state": "success",
        "run_type": "scheduled",
        "external_trigger": 0,
        "triggered_by": "TIMETABLE",
    }


def _task_row(
    run: _Run, task: _Task, begin: datetime, end: datetime, clock: random.Random
) -> dict[str, object]:
    queued = begin - timedelta(seconds=clock.uniform(0.1, 0.4))
    return {
        "id": _uuid(queued, clock),
        "task_id": task.task_id,
        "dag_id": run.dag_id,
        "run_id": run.run_id,
        "execution_date": _text(datetime.combine(run.day, time(), UTC)),
        "map_index": UNMAPPED,
        "queued_dttm": _text(queued),
        "start_date": _text(begin),
        "end_date": _text(end),
        "duration": (end - begin).total_seconds(),
        "state": "success",
        "try_number": 1,
        "max_tries": 0,
        "hostname": "worker",
        "unixname": "airflow",
        "pool": "default_pool",
        "pool_slots": 1,
        "queue": "default",
        "priority_weight": task.priority,
        "operator": task.operator,
    }


def _xcom_row(
    run: _Run, task: _Task, value: object, pushed: datetime, tables: _Tables
) -> dict[str, object]:
    text = json.dumps(value)
    return {
        "dag_run_id": run.id,
        "dag_id": run.dag_id,
        "run_id": run.run_id,
        "execution_date": _text(datetime.combine(run.day, time(), UTC)),
        "task_id": task.task_id,
        "map_index": UNMAPPED,
        "key": task.key,
        "dag_result": 0,
        # Bound as text, as Airflow 3 does: the column's affinity turns numbers into numbers.
        "value": text if tables.storage == "json" else text.encode(),
        "timestamp": _text(pushed),
    }


def _text(moment: datetime) -> str:
    """Return the time as Airflow stores it in SQLite: UTC, microseconds, no zone."""
    return f"{moment:%Y-%m-%d %H:%M:%S.%f}"


def _uuid(moment: datetime, generator: random.Random) -> str:
    """Return a version 7 UUID, the type of Airflow 3's task instance ids, as 32 hex digits."""
    milliseconds = int(moment.timestamp() * 1000)
    variant = 0b10 << 62 | generator.getrandbits(62)
    return f"{milliseconds:012x}7{generator.getrandbits(12):03x}{variant:016x}"


_DAY = timedelta(days=1)

_LAYOUTS: Final[Mapping[Layout, _Tables]] = {
    "1.10": _Tables("03afc6b6f902", "bytes", DDL_1_10, _DAY),
    "2.2": _Tables("587bdf053233", "bytes", DDL_2_2, _DAY),
    "2.8": _Tables("88344c1d9134", "bytes", DDL_2_8, _DAY),
    "2.10": _Tables("5f2621c13b39", "bytes", DDL_2_8, _DAY),
    "3.x": _Tables("d2f4e1b3c5a7", "json", DDL_3, timedelta()),
}
"""`@daily` runs at the end of its day in Airflow 1 and 2, and at the beginning in Airflow 3."""
