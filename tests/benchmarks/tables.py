"""Large xcom tables to measure on: the shape of a grown metadata DB, the same rows every time.

200 DAGs of 20 tasks, run after run; 90 % of the values have 10 to 200 bytes, 9 % up to 20 KB,
0.9 % up to 60 KB, 0.1 % up to 1 MB, and two have 50 MB: 1.5 KB a row on average.
"""

from __future__ import annotations

import datetime as dt
import io
import json
import random
import sqlite3
import string
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from tests.metadata import Metadata

if TYPE_CHECKING:
    from collections.abc import Iterator

DAGS, TASKS = 200, 20
HUGE_BYTES = 50_000_000
HUGE_FROM_ROWS = 100_000
"""Smaller tables have none of the huge values."""
_START = dt.datetime(2026, 1, 1)
_BATCH_BYTES = 4_000_000


@dataclass(frozen=True, slots=True)
class Row:
    """A row of xcom, its value as JSON text."""

    dag_run_id: int
    task_id: str
    dag_id: str
    run_id: str
    timestamp: dt.datetime
    value: str

    @property
    def fields(self) -> tuple[object, ...]:
        """Return the columns in the order of `COLUMNS`."""
        moment = self.timestamp.strftime("%Y-%m-%d %H:%M:%S.%f")
        return (self.dag_run_id, self.task_id, -1, "return_value", self.dag_id, self.run_id, moment, self.value)  # fmt: skip


COLUMNS = ("dag_run_id", "task_id", "map_index", "key", "dag_id", "run_id", "timestamp", "value")


class _Values:
    """JSON texts of any wanted length: strings, lists of objects and lists of numbers in turn."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        words = ["".join(chance.choices("abcdefghijklmnopqrstuvwxyz", k=chance.randint(2, 9))) for _ in range(4000)]  # fmt: skip
        self._texts = (
            self._pool(" ".join(chance.choices(words, k=8)) for _ in range(16_000)),
            self._pool(
                json.dumps({"file": f"{chance.choice(words)}/{chance.choice(words)}.csv", "rows": chance.randrange(10**6), "ok": chance.random() < 0.9})
                for _ in range(16_000)
            ),
            self._pool(str(round(chance.uniform(-1e4, 1e4), chance.randint(0, 9))) for _ in range(80_000)),
        )  # fmt: skip

    @staticmethod
    def _pool(parts: Any) -> tuple[str, list[int]]:
        """Return the parts joined, and where each begins."""
        starts, at, kept = [], 0, []
        for part in parts:
            starts.append(at)
            kept.append(part)
            at += len(part) + 2
        return ", ".join(kept) + ", ", starts

    def text(self, size: int) -> str:
        """Return a JSON text of about `size` bytes."""
        kind = self._chance.randrange(3)
        joined, starts = self._texts[kind]
        begin = starts[self._chance.randrange(len(starts) // 2)]
        wanted, pieces = size - 2, []
        while wanted > 0:
            piece = joined[begin : begin + wanted]
            pieces.append(piece)
            wanted -= len(piece)
            begin = 0
        text = "".join(pieces)
        if kind == 0:
            return f'"{text}"'
        # Cut where a part ends.
        end = text.rfind("}, ") + 1 if kind == 1 else text.rfind(", ")
        return f"[{text[:end]}]" if end > 0 else "[]"


def rows(count: int) -> Iterator[Row]:
    """Yield `count` rows in the order in which Airflow would have written them."""
    chance = random.Random(20260131)
    values = _Values(chance)
    for number in range(count):
        run = number // TASKS
        dag = f"dag_{run % DAGS:03d}"
        task = number % TASKS
        stamp = _START + dt.timedelta(seconds=number * 15, microseconds=number % 999_999)
        logical = _START + dt.timedelta(hours=run // DAGS)
        lot = chance.random()
        if number in (count // 3, count // 2) and count >= HUGE_FROM_ROWS:
            size = HUGE_BYTES
        elif lot < 0.9:
            size = chance.randint(10, 200)
        elif lot < 0.99:
            size = chance.randint(1_000, 20_000)
        elif lot < 0.999:
            size = chance.randint(20_000, 60_000)
        else:
            size = chance.randint(60_000, 1_000_000)
        yield Row(run + 1, f"group.task_{task:02d}", dag, f"scheduled__{logical.isoformat()}+00:00", stamp, values.text(size))  # fmt: skip


def build(url: str, generation: str, count: int) -> None:
    """Fill an empty database with the rows, in a table as Airflow makes it, indexes included."""
    metadata = Metadata(url, generation)
    key = "`key`" if metadata.backend == "mysql" else '"key"'
    statements = [
        "CREATE INDEX idx_xcom_task_instance ON xcom (dag_id, task_id, run_id, map_index)",
        f"CREATE INDEX idx_xcom_key ON xcom ({key})",
        "CREATE UNIQUE INDEX dag_run_dag_id_run_id_key ON dag_run (dag_id, run_id)",
    ]
    if metadata.backend == "mysql":
        # InnoDB builds them faster in one go, too, but its rows come in primary key order anyway.
        _run(metadata, statements)
    if metadata.backend == "sqlite":
        _fill_sqlite(metadata, count)
    elif metadata.backend == "postgresql":
        _fill_postgres(metadata, count)
    else:
        _fill_mysql(metadata, count)
    if metadata.backend != "mysql":
        _run(metadata, statements)
    _run_rows(metadata, count)
    if metadata.backend == "postgresql":
        with metadata.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as one:
            one.exec_driver_sql("VACUUM ANALYZE")
    else:
        _run(metadata, ["ANALYZE" if metadata.backend == "sqlite" else "ANALYZE TABLE xcom, dag_run"])  # fmt: skip


def build_large(url: str, size: int) -> None:
    """Fill an empty database with one value: a JSON string of `size` bytes that cannot be packed."""
    metadata = Metadata(url, "2.3")
    number = metadata.run("dag", "run_1")
    # The servers put it together, because no driver sends so much. What repeats lies further
    # apart than any of them looks back.
    chunk = "".join(random.Random(20260131).choices(string.ascii_letters + string.digits, k=10**6))
    value = {
        "postgresql": "convert_to(:quote || repeat(:chunk, :times) || substr(:chunk, 1, :rest) || :quote, 'UTF8')",
        "mysql": "CONCAT(:quote, REPEAT(:chunk, :times), SUBSTR(:chunk, 1, :rest), :quote)",
    }.get(metadata.backend, ":value")
    times, rest = divmod(size - 2, len(chunk))
    given: dict[str, object] = {"chunk": chunk, "times": times, "rest": rest, "quote": '"'}
    if metadata.backend == "sqlite":
        given = {"value": f'"{chunk * times}{chunk[:rest]}"'.encode()}
    key = "`key`" if metadata.backend == "mysql" else '"key"'
    metadata.execute(
        f"INSERT INTO xcom (dag_run_id, task_id, {key}, dag_id, run_id, timestamp, value)"
        f" VALUES ({number}, 'task', 'return_value', 'dag', 'run_1', '{_START}', {value})",
        **given,
    )


def _run(metadata: Metadata, statements: list[str]) -> None:
    with metadata.engine.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


def _run_rows(metadata: Metadata, count: int) -> None:
    """Write the runs, and the DAGs that they are of."""
    date = "logical_date" if metadata.json else "execution_date"
    runs = []
    for number in range(-(-count // TASKS)):
        moment = _START + dt.timedelta(hours=number // DAGS)
        runs.append({"id": number + 1, "dag": f"dag_{number % DAGS:03d}", "run": f"scheduled__{moment.isoformat()}+00:00", "date": str(moment)})  # fmt: skip
    if not runs:
        return
    with metadata.engine.begin() as connection:
        connection.execute(
            sa.text(
                f"INSERT INTO dag_run (id, dag_id, run_id, {date}, state) VALUES (:id, :dag, :run, :date, 'success')"
            ),
            runs,
        )
        dags = [{"dag": f"dag_{number:03d}", "file": f"/opt/airflow/dags/{number:03d}.py"} for number in range(DAGS)]  # fmt: skip
        connection.execute(sa.text("INSERT INTO dag VALUES (:dag, :file)"), dags)


def _batches(metadata: Metadata, count: int) -> Iterator[list[tuple[object, ...]]]:
    batch: list[tuple[object, ...]] = []
    held = 0
    for row in rows(count):
        *fields, value = row.fields
        batch.append((*fields, value if metadata.json else row.value.encode()))
        held += len(row.value)
        if held > _BATCH_BYTES or len(batch) >= 5000:
            yield batch
            batch, held = [], 0
    if batch:
        yield batch


def _fill_sqlite(metadata: Metadata, count: int) -> None:
    path = metadata.engine.url.database or ""
    names = ", ".join(f'"{name}"' for name in COLUMNS)
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA synchronous = OFF")
    for batch in _batches(metadata, count):
        connection.executemany(f"INSERT INTO xcom ({names}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)", batch)
    connection.commit()
    connection.close()


def _fill_postgres(metadata: Metadata, count: int) -> None:
    connection = metadata.engine.raw_connection()
    cursor = connection.cursor()
    escapes = str.maketrans({"\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"})
    for batch in _batches(metadata, count):
        lines = io.StringIO()
        for *fields, value in batch:
            told = f"\\\\x{value.hex()}" if isinstance(value, bytes) else str(value).translate(escapes)  # fmt: skip
            lines.write("\t".join([*map(str, fields), told]) + "\n")
        lines.seek(0)
        names = ", ".join(f'"{name}"' for name in COLUMNS)
        cursor.copy_expert(f"COPY xcom ({names}) FROM STDIN", lines)
    connection.commit()
    connection.close()


def _fill_mysql(metadata: Metadata, count: int) -> None:
    connection = metadata.engine.raw_connection()
    cursor = connection.cursor()
    names = ", ".join(f"`{name}`" for name in COLUMNS)
    cursor.execute("SET time_zone = '+00:00'")
    binary = "" if metadata.json else "_binary "
    for batch in _batches(metadata, count):
        cursor.executemany(
            f"INSERT INTO xcom ({names}) VALUES (%s, %s, %s, %s, %s, %s, %s, {binary}%s)", batch
        )
    connection.commit()
    connection.close()
