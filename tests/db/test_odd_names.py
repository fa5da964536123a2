"""Names that are not UTF-8: SQLite may hold them, a server cannot."""

from __future__ import annotations

import json
import sqlite3
from typing import TYPE_CHECKING

import pytest

from tests.metadata import Metadata

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Run

NAMES = {"latin1": b"caf\xe9", "surrogate": b"\xed\xa0\x80", "cut": b"x\xf0\x9f"}


@pytest.fixture
def db(tmp_path: Path) -> Path:
    """A metadata database with a row for each odd name, and one with an ordinary name."""
    path = tmp_path / "airflow.db"
    Metadata(str(path)).add(b"1")
    with sqlite3.connect(path) as connection:
        for number, name in enumerate(NAMES.values()):
            connection.execute(
                "INSERT INTO xcom (dag_run_id, task_id, map_index, key, dag_id, run_id, value, timestamp)"
                " VALUES (?, CAST(? AS TEXT), -1, 'k', CAST(? AS TEXT), 'r', X'32', '2026-01-01 00:00:00')",
                (900 + number, name, name),
            )
    return path


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_sqlite_finds_them(run: Run, db: Path, tmp_path: Path, name: bytes) -> None:
    """By an argument with the same bytes, in every command."""
    text = name.decode("utf-8", "surrogateescape")
    where = ("--url", str(db))
    for filters in (("-d", text), ("-t", text), ("-d", f"{text}*")):
        (row,) = run("list", *where, *filters, "-o", "json").json()["xcom_entries"]
        assert row["dag_id"] == text
        assert run("top", *where, *filters, "-o", "json").json()["total_groups"] == 1
        assert run("audit", *where, *filters, "-o", "json").json()["summary"]["scanned"] == 1
    assert run("pull", text, text, "k", *where).json() == 2
    line = json.loads(run("export", *where, "-d", text).stdout)
    assert (line["dag_id"], line["value"]) == (text, 2)
    done = run("export", *where, "-d", text, "-o", "parquet=out.parquet")
    assert done.code == 0, done.err


def test_sqlite_deletes_and_restores_them(run: Run, db: Path, tmp_path: Path) -> None:
    """The bytes come back as they were."""
    query = "SELECT CAST(dag_id AS BLOB), CAST(task_id AS BLOB), value FROM xcom ORDER BY 1"
    with sqlite3.connect(db) as connection:
        before = connection.execute(query).fetchall()
    done = run("delete", "--url", db, "-d", "*", "--include-active", "--yes", "--undo-file", "undo")
    assert done.code == 0, done.err
    with sqlite3.connect(db) as connection:
        assert connection.execute(query).fetchall() == []
    done = run("import", "--url", db, "undo")
    assert done.code == 0, done.err
    with sqlite3.connect(db) as connection:
        assert connection.execute(query).fetchall() == before


def test_a_name_that_cannot_exist_matches_nothing(run: Run, empty_url: str) -> None:
    """On a server, and in SQLite where nothing has it: no match, and no such XCom."""
    Metadata(empty_url).add(b"1")
    text = b"caf\xe9".decode("utf-8", "surrogateescape")
    where = ("--url", empty_url)
    for filters in (("-d", text), ("-k", f"*{text}"), ("-r", text), ("-t", text)):
        for command in ("list", "audit", "top", "export", "delete"):
            done = run(command, *where, *filters)
            assert done.code == 0, (command, filters, done.err)
    assert run("pull", text, "task", *where).code == 4
    assert run("pull", "dag", "task", text, "-r", text, *where).code == 4
    assert run("push", text, "task", "k", "1", *where).code in (3, 4)


@pytest.mark.parametrize("command", [("list",), ("audit",), ("delete", "-d", "dag", "--yes")])
def test_a_schema_that_is_not_there(tmp_path: Path, run: Run, command: tuple[str, ...]) -> None:
    """Whatever it is called, it is no bug."""
    Metadata(str(tmp_path / "airflow.db")).add(b"1")
    for schema in ("a/b/c[3]:k", 'a"b', ":x", "%s"):
        done = run(*command, "--url", "airflow.db", "--schema", schema)
        assert done.code == 3, done.err
