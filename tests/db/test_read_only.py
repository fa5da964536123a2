"""Reading commands cannot write: proved on the database's side."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import time
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from tests.metadata import Metadata
from xcomctl.config.target import resolve_target
from xcomctl.db import open_store
from xcomctl.errors import DatabaseError
from xcomctl.model import Selection

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Run
    from tests.servers import Server

READING = (
    ("list", "-n", "0", "--text", "--stored", "--value"),
    ("list", "--sort", "-size", "--total", "-d", "d*"),
    ("pull", "dag", "task"),
    ("pull", "dag", "nothing", "--default", "1"),
    ("audit",),
    ("audit", "--deep"),
    ("preflight", "--exit-zero"),
    ("top", "--forecast"),
    ("export",),
    ("limits",),
    ("info",),
)


def fill(metadata: Metadata) -> None:
    for number in range(50):
        value = b"NaN" if number == 3 else b'"' + b"x" * number * 50 + b'"'
        metadata.add(value, run_id=f"run_{number}")


@pytest.mark.parametrize("journal", ["delete", "wal"])
def test_no_byte_of_a_sqlite_file_changes(run: Run, tmp_path: Path, journal: str) -> None:
    """Content, name and times of every file in its folder."""
    folder = tmp_path / "db"
    folder.mkdir()
    path = folder / "airflow.db"
    fill(Metadata(str(path)))
    with sqlite3.connect(path) as connection:
        connection.execute(f"PRAGMA journal_mode = {journal}")
    connection.close()

    def state() -> dict[str, tuple[str, int]]:
        return {
            one.name: (hashlib.sha256(one.read_bytes()).hexdigest(), one.stat().st_mtime_ns)
            for one in folder.iterdir()
        }

    before = state()
    for command in READING:
        assert run(*command, "--url", path).code in (0, 1)
        after = state()
        # SQLite's own shared memory for readers of a WAL database may come; the data may not.
        after = {name: kept for name, kept in after.items() if not name.endswith("-shm")}
        after = {name: kept for name, kept in after.items() if kept[0] != EMPTY}
        assert after == before, command


EMPTY = hashlib.sha256(b"").hexdigest()


def test_a_wal_database_in_a_folder_that_nobody_may_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copy on read-only media is read all the same, without the two files beside it."""
    path = tmp_path / "airflow.db"
    fill(Metadata(str(path)))
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA journal_mode = wal")
    connection.close()
    # Permissions do not bind root, who may be running this.
    monkeypatch.setattr(os, "access", lambda *_: False)
    with open_store(resolve_target(url=str(path))) as store:
        assert store.entries.count(Selection()) == 50
        assert [one.name for one in tmp_path.iterdir()] == ["airflow.db"]


def counters(server: Server, database: str) -> dict[str, int]:
    """Return what the server counts of writes."""
    if server.backend == "postgresql":
        time.sleep(1.2)  # a session reports when it ends, at most once a second
        server.execute("SELECT pg_stat_force_next_flush()", database)
        row = server.execute(
            "SELECT tup_inserted, tup_updated, tup_deleted, temp_bytes FROM pg_stat_database"
            f" WHERE datname = '{database}'"
        )[0]
        return dict(zip(("inserted", "updated", "deleted", "temp"), row, strict=True))
    names = (
        "Com_insert", "Com_update", "Com_delete", "Com_replace", "Com_create_table",
        "Com_alter_table", "Handler_update", "Handler_delete", "Innodb_rows_inserted",
        "Innodb_rows_updated", "Innodb_rows_deleted",
    )  # fmt: skip
    rows = server.execute("SHOW GLOBAL STATUS")
    found = {str(name): int(value) for name, value in rows if name in names}
    assert len(found) >= 8, found
    return found


def test_no_write_is_counted_by_a_server(run: Run, server: Server) -> None:
    """Inserted, updated, deleted: the same before and after every reading command."""
    url = server.create_database()
    database = sa.make_url(url).database
    assert database is not None
    fill(Metadata(url))
    before = counters(server, database)
    for command in READING:
        assert run(*command, "--url", url).code in (0, 1), command
    assert counters(server, database) == before


def test_counters_would_tell(server: Server) -> None:
    """The check above can fail: one insert shows."""
    url = server.create_database()
    database = sa.make_url(url).database
    assert database is not None
    metadata = Metadata(url)
    before = counters(server, database)
    metadata.add(b"1")
    assert counters(server, database) != before


WRITES = (
    "DELETE FROM xcom",
    "UPDATE xcom SET value = NULL",
    "INSERT INTO dag (dag_id) VALUES ('x')",
    "CREATE TABLE mine (a INTEGER)",
    "DROP TABLE xcom",
)


@pytest.mark.parametrize("statement", WRITES)
def test_the_connection_itself_refuses(empty_url: str, statement: str) -> None:
    """Whatever statement a bug would send, the database says no."""
    metadata = Metadata(empty_url)
    metadata.add(b"1")
    with (
        open_store(resolve_target(url=empty_url)) as store,
        pytest.raises(sa.exc.DBAPIError, match=r"(?i)read[- ]?only"),
    ):
        store.table.connection.exec_driver_sql(statement)
    with metadata.engine.connect() as connection:
        assert (
            connection.exec_driver_sql("SELECT count(*) FROM xcom WHERE value IS NOT NULL").scalar()
            == 1
        )


def test_guards_hold_in_the_transaction_that_reads(server: Server) -> None:
    """What a transaction pooler could lose is set within the transaction."""
    url = server.create_database()
    Metadata(url).add(b"1")
    with open_store(resolve_target(url=url, timeout="7s")) as store:
        ask = store.table.connection.exec_driver_sql
        if server.backend == "postgresql":
            assert ask("SHOW transaction_read_only").scalar() == "on"
            assert ask("SHOW statement_timeout").scalar() == "7s"
            assert ask("SHOW timezone").scalar() == "UTC"
            assert ask("SHOW client_encoding").scalar() == "UTF8"
        else:
            name = "max_statement_time" if server.backend == "mariadb" else "max_execution_time"
            assert float(str(ask(f"SELECT @@{name}").scalar())) in (7.0, 7000.0)
            assert ask("SELECT @@time_zone").scalar() == "+00:00"
            assert ask("SELECT @@character_set_client").scalar() == "utf8mb4"


def test_a_role_that_may_only_read(run: Run, postgres: Server) -> None:
    """README's grant is enough; less than it says what is missing."""
    url = postgres.create_database()
    database = sa.make_url(url).database
    assert database is not None
    metadata = Metadata(url)
    fill(metadata)
    metadata.execute("CREATE TABLE alembic_version (version_num VARCHAR(32))")
    metadata.execute("CREATE TABLE task_instance (dag_id VARCHAR(250))")
    postgres.execute("CREATE ROLE xcomctl_reader LOGIN PASSWORD 'reader'")
    try:
        reader = sa.make_url(url).set(username="xcomctl_reader", password="reader")
        shown = reader.render_as_string(hide_password=False)
        refused = run("list", "--url", shown)
        assert refused.code == 3
        assert "GRANT SELECT" in refused.err
        postgres.execute(
            "GRANT SELECT ON xcom, dag_run, task_instance, dag, alembic_version TO xcomctl_reader",
            database,
        )
        for command in READING:
            assert run(*command, "--url", shown).code in (0, 1), command
    finally:
        postgres.execute("DROP OWNED BY xcomctl_reader", database)
        postgres.execute("DROP ROLE xcomctl_reader")


def test_nothing_is_made_beside_a_mistyped_path(tmp_path: Path) -> None:
    """mode=ro never creates."""
    with (
        pytest.raises(DatabaseError, match="the file does not exist"),
        open_store(resolve_target(url=str(tmp_path / "x.db"))),
    ):
        pass
    assert list(tmp_path.iterdir()) == []
