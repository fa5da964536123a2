"""Several processes that export parts of the table: what they write together is the whole."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any

import pytest

from tests.db.test_store import opened
from tests.db.test_table_parts import ROWS, fill
from tests.metadata import Metadata
from xcomctl.config.target import resolve_target
from xcomctl.db import jobs
from xcomctl.db.backends.postgresql import PostgreSQL
from xcomctl.db.backends.sqlite_parts import PartedSQLite
from xcomctl.db.read import parts
from xcomctl.errors import DatabaseError
from xcomctl.exchange.lines import CsvLines, JsonLines
from xcomctl.model import Selection

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Run


EVERYTHING = Selection()


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have several parts of a few rows, and processes beside the threads of a test."""
    monkeypatch.setattr(jobs, "spare_processors", lambda: 2)
    monkeypatch.setattr(parts, "_FIRST_ROWS", 3)
    monkeypatch.setattr(parts, "_PART_BYTES", 1_500)


def make(form: type[JsonLines | CsvLines], write: Any, store: Any) -> JsonLines | CsvLines:
    return form(write, store.schema.storage, strict=store.holds_strict_json, others=store.others)


def by_jobs(
    url: str, form: type[JsonLines | CsvLines], count: int, selection: Selection = EVERYTHING
) -> tuple[bytes, int] | None:  # fmt: skip
    """Return the output of `count` jobs and the number of rows; None if they cannot share a snapshot."""
    out = bytearray()
    with (
        jobs.start_jobs(resolve_target(url=url), count, lambda write, store: make(form, write, store)) as started,
        opened(url) as store,
        make(form, out.extend, store) as lines,
    ):  # fmt: skip
        if not started.write_into(lines, store, selection):
            return None
    return bytes(out), lines.rows


def alone(
    url: str, form: type[JsonLines | CsvLines], selection: Selection = EVERYTHING
) -> tuple[bytes, int]:  # fmt: skip
    out = bytearray()
    with opened(url) as store, make(form, out.extend, store) as lines:
        store.entries.stream_into(selection, lines, ordered=True)
    return bytes(out), lines.rows


@pytest.mark.parametrize("generation", ["1.10", "2.0", "2.3", "3.0"])
def test_jobs_write_what_one_process_writes(empty_url: str, generation: str) -> None:
    """Byte for byte, in every generation on every backend; of a selection, too."""
    fill(empty_url, generation)
    whole = alone(empty_url, JsonLines)
    assert whole[1] == ROWS
    assert by_jobs(empty_url, JsonLines, 3) == whole
    assert by_jobs(empty_url, CsvLines, 2) == alone(empty_url, CsvLines)
    with opened(empty_url) as store:
        part = Selection(dag_ids=("[a-z]*",), part=store.parts.plan(2)[1])
    assert by_jobs(empty_url, JsonLines, 2, part) == alone(empty_url, JsonLines, part)


def test_lines_longer_than_the_memory_between_processes(tmp_path: Path) -> None:
    """Whole and in order, and more of one run than there is room for."""
    path = str(tmp_path / "airflow.db")
    metadata = Metadata(path)
    for number in range(12):
        metadata.add(b'"' + bytes([97 + number]) * 1_500_000 + b'"', task_id=f"t{number:02}", run_id=f"run_{number % 2}")  # fmt: skip
    assert by_jobs(path, JsonLines, 2) == alone(path, JsonLines)


def test_on_postgresql_all_jobs_read_one_snapshot(
    postgres: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What another session commits after it was exported is not in it."""
    url = postgres.create_database()
    fill(url, "3.0")
    metadata_url, export = url, PostgreSQL._export_snapshot
    before = alone(url, JsonLines)

    def export_and_write(self: PostgreSQL) -> str:
        name = export(self)
        with opened_for_writing(metadata_url) as connection:
            connection.exec_driver_sql("UPDATE xcom SET value = '\"new\"'")
        return name

    monkeypatch.setattr(PostgreSQL, "_export_snapshot", export_and_write)
    assert by_jobs(url, JsonLines, 2) == before
    assert alone(url, JsonLines) != before


def opened_for_writing(url: str) -> Any:
    import sqlalchemy as sa

    return sa.create_engine(url, poolclass=sa.pool.NullPool).begin()


def test_on_sqlite_jobs_refuse_two_states(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If somebody writes while they begin to read, nothing is written."""
    path = tmp_path / "airflow.db"
    fill(str(path), "2.3")
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA journal_mode = WAL")

    def begin(self: PartedSQLite, really: Any = PartedSQLite._begin_reading) -> None:
        really(self)
        if self._parent is None:
            with sqlite3.connect(path) as writer:
                writer.execute("UPDATE xcom SET value = x'32'")

    monkeypatch.setattr(PartedSQLite, "_begin_reading", begin)
    assert by_jobs(str(path), JsonLines, 2) is None


def test_what_fails_in_a_job_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "airflow.db"
    fill(str(path), "2.3")

    def broken(self: PartedSQLite, *given: Any) -> None:
        raise DatabaseError("could not read", detail="disk I/O error")

    monkeypatch.setattr(PartedSQLite, "stream_into", broken)
    with pytest.raises(DatabaseError, match="could not read"):
        by_jobs(str(path), JsonLines, 2)


def test_jobs_on_the_command_line(tmp_path: Path, run: Run) -> None:
    """The same bytes for every N; with a part; and what does not go together."""
    path = tmp_path / "airflow.db"
    fill(str(path), "2.3")
    whole = run("export", "--url", path, "--part", "1/1").out
    for count in ("1", "2", "5"):
        done = run("export", "--url", path, "--jobs", count)
        assert (done.code, done.out) == (0, whole), done.err
        assert f"exported {ROWS} XComs" in done.err
    found = [run("export", "--url", path, "-o", "csv", "--part", f"{part}/2", "--jobs", "2").out for part in (1, 2)]  # fmt: skip
    assert "".join(found) == run("export", "--url", path, "-o", "csv", "--part", "1/1").out
    for other in (("-o", "parquet=out"), ("-o", "jsonl=out", "--resume")):
        done = run("export", "--url", path, "--jobs", "2", *other)
        assert done.code == 2
        assert "--jobs" in done.err
    assert run("export", "--url", path, "--jobs", "0").code == 2


def test_mysql_and_mariadb_say_what_they_cannot_do(mysql_like: Any, run: Run) -> None:
    url = mysql_like.create_database()
    fill(url, "3.0")
    done = run("export", "--url", url, "--jobs", "2")
    assert done.code == 0, done.err
    assert "cannot share one state between connections: the jobs began to read within" in done.err
