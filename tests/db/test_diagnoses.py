"""What is said of a database's error: what it means and what to try, decided by its code."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import struct
import subprocess
import sys
import tempfile
import time
from decimal import InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg2
import pymysql
import pytest
import sqlalchemy as sa

from tests.bad_network import bad_network
from tests.conftest import clean_environment
from tests.db.test_store import opened
from tests.metadata import Metadata
from tests.servers import PASSWORD, PostgresServer
from xcomctl.config.target import resolve_target
from xcomctl.db.backends import mysql_errors, postgresql_errors, sqlite_errors
from xcomctl.db.backends.base import MovedError
from xcomctl.db.backends.diagnosis import Circumstances, Diagnosis, to_error
from xcomctl.db.backends.engine import UnreadableAnswerError, unreadable_answer
from xcomctl.errors import XcomctlError
from xcomctl.model import Selection

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.conftest import Run
    from tests.servers import Server

PUSH = ("push", "dag", "task", "return_value", "2", "--run-id", "run_1", "--replace", "--yes")
DELETE = ("delete", "-d", "dag", "--include-active", "--yes")


def with_instance(url: str) -> Metadata:
    """Make a database with one XCom of a task instance."""
    metadata = Metadata(url, with_instances=True)
    metadata.instance("dag", "task", "run_1")
    metadata.add(b"1")
    return metadata


DIAGNOSES = {
    *sqlite_errors._DIAGNOSES.values(),
    *postgresql_errors._BY_CODE.values(),
    *postgresql_errors._BY_CLASS.values(),
    *(found for _, found in postgresql_errors._LIBPQ_SAYS),
    *mysql_errors._BY_NUMBER.values(),
    *mysql_errors._BY_NUMBER_WRITING.values(),
    Diagnosis(),
}


@pytest.mark.parametrize("found", sorted(DIAGNOSES, key=repr), ids=repr)
def test_every_error_has_a_hint(found: Diagnosis) -> None:
    """Whatever the database was asked for."""
    target = resolve_target(url="postgresql://host/airflow")
    for connecting, writing in ((True, False), (False, False), (False, True)):
        at = Circumstances(target, connecting, writing, 5.0)
        error = to_error(found, "what the driver says", at)
        assert error.hint
        assert error.hint.endswith((".", ")"))
        assert error.detail == "what the driver says"
        assert found.reason in error.message


# --- SQLite -----------------------------------------------------------------------------------


def crash_while_writing(path: Path, mode: str) -> None:
    """Leave what a writer leaves that is killed in a transaction, with WAL behind one."""
    code = (
        "import os, sqlite3, sys\n"
        "connection = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "for setting in ('journal_mode = ' + sys.argv[2], 'cache_size = 2', 'wal_autocheckpoint = 0'):\n"
        "    connection.execute(f'PRAGMA {setting}')\n"
        "connection.execute('BEGIN')\n"
        "connection.execute('UPDATE xcom SET value = zeroblob(9000)')\n"
        "if sys.argv[2] == 'wal':\n"
        "    connection.execute('COMMIT')\n"
        "os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path), mode], check=False)
    assert done.returncode == -signal.SIGKILL


@pytest.mark.parametrize("mode", ["delete", "persist", "truncate"])
def test_a_crashed_writers_journal_is_named(run: Run, tmp_path: Path, mode: str) -> None:
    """The file and its directory can be written, and still the file cannot be read as it is."""
    path = tmp_path / "airflow.db"
    metadata = Metadata(str(path))
    for number in range(60):
        metadata.add(b'"%s"' % (b"x" * 3000), task_id=f"task_{number}")
    crash_while_writing(path, mode)
    done = run("list", "--url", path)
    assert done.code == 3
    assert '"airflow.db-journal"' in done.err
    assert "a writer has crashed" in done.err
    assert "permission" not in done.err
    with sqlite3.connect(path) as connection:
        # What the hint says.
        connection.execute("SELECT 1 FROM xcom").fetchone()
    assert run("list", "--url", path, "-n", "0", "-o", "json").json()["returned"] == 60


def as_nobody(call: Callable[[], object]) -> str:
    """Return the error of a call by an account that may write nothing here; "" if it succeeds."""
    receiving, sending = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            if os.geteuid() == 0:
                os.setgid(65534)
                os.setuid(65534)
            call()
        except XcomctlError as error:
            os.write(sending, f"{error.message} {error.hint}".encode())
        except BaseException as error:  # noqa: BLE001 - nothing of the test is to run twice
            os.write(sending, repr(error).encode())
        finally:
            os._exit(0)
    os.close(sending)
    os.waitpid(pid, 0)
    with os.fdopen(receiving) as told:
        return told.read()


@pytest.fixture
def read_only_folder() -> Iterator[Path]:
    """A folder that others may enter, and that nobody may write when the block ends."""
    folder = Path(tempfile.mkdtemp(prefix="xcomctl-test-"))
    folder.chmod(0o755)
    yield folder
    folder.chmod(0o755)
    shutil.rmtree(folder)


def read_all(path: Path) -> None:
    with opened(str(path)) as store:
        assert len(list(store.entries.scan(Selection()))) == 1


def test_a_log_that_cannot_be_read_is_named(read_only_folder: Path) -> None:
    """A crashed writer's write-ahead log, where no shared memory can be made for it."""
    path = read_only_folder / "airflow.db"
    Metadata(str(path)).add(b"1")
    crash_while_writing(path, "wal")
    log = read_only_folder / "airflow.db-wal"
    assert log.stat().st_size > 0
    (read_only_folder / "airflow.db-shm").unlink()
    read_only_folder.chmod(0o555)
    said = as_nobody(lambda: read_all(path))
    assert '"airflow.db-wal"' in said
    assert 'Copy "airflow.db" and "airflow.db-wal"' in said
    assert "permission" not in said
    # An empty one holds nothing that would be missed.
    log.write_bytes(b"")
    assert as_nobody(lambda: read_all(path)) == ""


def test_a_locked_file_is_no_permission_problem(run: Run, tmp_path: Path) -> None:
    """In a write it is another session's, with the option to wait longer."""
    path = tmp_path / "airflow.db"
    with_instance(str(path))
    with sqlite3.connect(path) as connection:
        connection.execute("BEGIN IMMEDIATE")
        done = run(*PUSH, "--url", path, "--lock-timeout", "0.5s")
    assert done.code == 3
    assert "another session held the table or the row for 0.5 s" in done.err
    assert "--lock-timeout" in done.err


# --- servers ----------------------------------------------------------------------------------


@pytest.fixture
def standby(postgres: Server) -> Iterator[tuple[Metadata, str]]:
    """A database on PostgreSQL, and the URL of the same on a standby of the server."""
    assert isinstance(postgres, PostgresServer)
    metadata = with_instance(postgres.create_database())
    server = postgres.start_standby()
    try:
        name = sa.make_url(metadata.url).database
        yield metadata, server.url.set(database=name).render_as_string(hide_password=False)
    finally:
        server.stop()


def test_a_standby_is_read_and_not_written(
    run: Run, standby: tuple[Metadata, str], tmp_path: Path
) -> None:
    """It answers, so nothing is said of a connection; and what it cancels is explained."""
    metadata, url = standby
    assert run("list", "--url", url, "-o", "json").json()["returned"] == 1
    for command in (PUSH, DELETE):
        done = run(*command, "--url", url)
        assert done.code == 3, done.err
        assert "this server is read-only" in done.err
        assert "could not connect" not in done.err
        assert "target_session_attrs=read-write" in done.err
    metadata.execute("ALTER TABLE xcom RENAME TO held")
    metadata.execute("CREATE VIEW xcom AS SELECT held.* FROM held WHERE pg_sleep(20) IS NOT NULL")
    end = time.monotonic() + 30
    while run("list", "--url", url, "--timeout", "0.2s").code == 0 and time.monotonic() < end:
        time.sleep(0.1)
    process = subprocess.Popen(
        [sys.executable, "-m", "xcomctl", "list", "--url", url],
        stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, env=clean_environment(tmp_path),
    )  # fmt: skip
    reads = sa.text(
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'xcomctl' AND query LIKE '%value%'"
        " AND wait_event = 'PgSleep'"
    )
    with sa.create_engine(url, poolclass=sa.pool.NullPool).connect() as connection:
        while not connection.scalar(reads) and process.poll() is None:
            connection.rollback()
            time.sleep(0.1)
    metadata.execute("ALTER TABLE held ADD COLUMN more INT")
    _, err = process.communicate(timeout=60)
    assert process.returncode == 3
    assert b"a standby ended the statement" in err
    assert b"max_standby_streaming_delay" in err


def test_a_read_only_server_is_no_connection_problem(run: Run, mysql_like: Server) -> None:
    """A replica, or a primary during a failover."""
    metadata = with_instance(mysql_like.create_database())
    url = sa.make_url(metadata.url)
    name = f"u{url.database}"
    mysql_like.execute(f"CREATE USER '{name}'@'%%' IDENTIFIED BY '{PASSWORD}'")
    mysql_like.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {url.database}.* TO '{name}'@'%%'")
    reader = url.set(username=name).render_as_string(hide_password=False)
    with mysql_like.variable("read_only", "1"):
        for command in (PUSH, DELETE):
            done = run(*command, "--url", reader)
            assert done.code == 3, done.err
            assert "this server is read-only" in done.err
            assert "could not connect" not in done.err
        assert run("list", "--url", reader).code == 0
    assert run(*PUSH, "--url", reader).code == 0


def test_a_server_without_tls_is_told_from_none(run: Run, postgres: Server) -> None:
    """It answers, and only TLS fails."""
    done = run("list", "--url", f"{postgres.create_database()}?sslmode=require")
    assert done.code == 3
    assert "TLS failed" in done.err
    assert "no server is listening" not in done.err


def test_a_port_without_a_server(run: Run, server: Server) -> None:
    """And it is said so."""
    nobody = server.url.set(port=1).render_as_string(hide_password=False)
    done = run("list", "--url", nobody)
    assert done.code == 3
    assert "no server is listening there" in done.err


@pytest.mark.parametrize("command", [("list", "-n", "0"), ("export",)], ids=" ".join)
def test_what_a_driver_makes_of_nonsense_is_no_bug_of_ours(
    run: Run, server: Server, command: tuple[str, ...]
) -> None:
    """Such as a proxy that speaks another protocol from some point on."""
    metadata = Metadata(server.create_database())
    for number in range(40):
        metadata.add(b'"%s"' % (b"x" * 500), task_id=f"task_{number}")
    with bad_network(
        metadata.url, bytes_from_server=8_000, damage=lambda data: b"HTTP/1.1 400\r\n" * 40
    ) as network:
        done = run(*command, "--url", network.url, "--timeout", "1s", timeout=60)
        assert network.silent.is_set()
    assert done.code == 3, done.err
    assert "hint: " in done.err


def raised(error: type[Exception], module: str) -> Exception:
    """Return an error as raised by code of a module."""
    code = compile("raise error()", module, "exec")
    with pytest.raises(error) as caught:
        eval(code, {"__name__": module, "error": error})  # noqa: S307 - our own line
    return caught.value


@pytest.mark.parametrize(
    "error", [TypeError, AttributeError, KeyError, AssertionError, struct.error, InvalidOperation]
)
def test_a_drivers_own_bug_is_told_from_ours(error: type[Exception]) -> None:
    """By who raised it."""
    for module in ("pymysql.connections", "psycopg2.extras", "sqlalchemy.engine.default"):
        assert isinstance(unreadable_answer(raised(error, module)), UnreadableAnswerError)
    for module in ("xcomctl.db.read.entries", "tests.db.test_diagnoses", "__main__"):
        assert unreadable_answer(raised(error, module)) is None
    assert unreadable_answer(raised(MovedError, "xcomctl.db.backends.mysql_values")) is None


def test_codes_decide_and_no_text_does() -> None:
    """A server may speak any language."""

    class Spoken(psycopg2.Error):
        def __init__(self, code: str) -> None:
            super().__init__("in einer anderen Sprache")
            self._code = code

        @property
        def pgcode(self) -> str:  # type: ignore[override]
            return self._code

    def kind(code: str, *, writing: bool = False) -> Diagnosis:
        return postgresql_errors.diagnose(
            Spoken(code), writing=writing, closed=False, silent_s=None
        )

    assert kind("57014").kind == "timeout"
    assert kind("55P03", writing=True).kind == "locked"
    assert kind("40001").reason.startswith("a standby")
    assert kind("40001", writing=True).kind == "locked"
    assert kind("54000").reason != kind("54000", writing=True).reason
    assert kind("08006").kind == "lost"
    for number, expected in ((1205, "locked"), (3024, "timeout"), (2006, "lost"), (1406, "value")):
        cause = pymysql.err.OperationalError(number, "dans une autre langue")
        assert mysql_errors.diagnose(cause, writing=True).kind == expected
