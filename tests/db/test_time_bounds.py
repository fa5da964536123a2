"""No wait without an end: silent networks, locks of others, and statements that are given up."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from tests.bad_network import bad_network
from tests.conftest import clean_environment
from tests.metadata import Metadata

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.conftest import Run
    from tests.servers import Server

LONGEST_S = 20
"""Timeouts here are of 1 s; a busy machine takes its time besides."""


def filled(server: Server, rows: int = 1, size: int = 10) -> str:
    """Return the URL of a database with XComs whose run and task instance exist."""
    url = server.create_database()
    metadata = Metadata(url, with_instances=True)
    for number in range(rows):
        metadata.instance("dag", f"task_{number}", "run_1")
        metadata.add(b'"%s"' % (b"x" * size), task_id=f"task_{number}")
    return url


def value_of(url: str) -> Any:
    with sa.create_engine(url, poolclass=sa.pool.NullPool).connect() as connection:
        return bytes(connection.exec_driver_sql("SELECT value FROM xcom").scalar_one())


@pytest.mark.parametrize(
    "command",
    [("list", "-n", "0", "--value"), ("export",)],
    ids=" ".join,
)
def test_a_network_that_goes_silent_in_a_result_ends_in_an_error(
    run: Run, server: Server, command: tuple[str, ...]
) -> None:
    """The server's own timeout is of no use where its answer does not arrive."""
    url = filled(server, rows=30, size=20_000)
    with bad_network(url, bytes_from_server=6_000) as network:
        begin = time.monotonic()
        done = run(*command, "--url", network.url, "--timeout", "1s", timeout=60)
        assert network.silent.is_set()
    assert done.code == 3, done.err
    assert "did not answer" in done.err
    assert "hint: " in done.err
    assert time.monotonic() - begin < LONGEST_S


def test_a_network_that_goes_silent_in_a_commit_leaves_it_unknown(run: Run, server: Server) -> None:
    """The value is written, and the program cannot know."""
    url = filled(server)
    # MySQL's follows the byte that marks a query, and is not AUTOCOMMIT.
    commit = b"COMMIT" if server.backend == "postgresql" else b"\x03COMMIT"
    with bad_network(url, text_from_client=commit) as network:
        begin = time.monotonic()
        done = run(
            "push", "dag", "task_0", "return_value", "2", "--replace", "--yes", "--run-id", "run_1",
            "--url", network.url, "--timeout", "1s", timeout=60,
        )  # fmt: skip
        assert network.silent.is_set()
    assert done.code == 3, done.err
    assert "unknown whether the change was made" in done.err
    assert '"xcomctl pull"' in done.err
    assert time.monotonic() - begin < LONGEST_S
    assert value_of(url) == b"2"


def test_ctrl_c_ends_a_wait_for_a_bad_network(server: Server, tmp_path: Path) -> None:
    """Also without any timeout."""
    url = filled(server, rows=30, size=20_000)
    with bad_network(url, bytes_from_server=6_000) as network:
        process = subprocess.Popen(
            [sys.executable, "-m", "xcomctl", "list", "-n", "0", "--url", network.url, "--timeout", "0"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=clean_environment(tmp_path),
        )  # fmt: skip
        assert network.silent.wait(30)
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=LONGEST_S)
    assert (process.returncode, err) == (130, b"xcomctl: warning: interrupted\n")


@contextlib.contextmanager
def another_session(url: str, *statements: str) -> Iterator[int]:
    """Hold what the statements lock, and give the session's number."""
    engine = sa.create_engine(url, poolclass=sa.pool.NullPool)
    ask = "pg_backend_pid" if engine.dialect.name == "postgresql" else "connection_id"
    with engine.connect() as connection:
        number = int(connection.exec_driver_sql(f"SELECT {ask}()").scalar_one())
        for statement in statements:
            connection.exec_driver_sql(statement).close()
        yield number


def lock_table(server: Server) -> str:
    if server.backend == "postgresql":
        return "LOCK TABLE xcom IN ACCESS EXCLUSIVE MODE"
    return "LOCK TABLES xcom WRITE"


PUSH = ("push", "dag", "task_0", "return_value", "2", "--replace", "--yes", "--run-id", "run_1")


def test_a_write_waits_so_long_for_a_locked_table_and_names_who_holds_it(
    run: Run, server: Server
) -> None:
    """Also for MySQL's metadata locks, which have a timeout of their own: a year."""
    url = filled(server)
    with another_session(url, lock_table(server)) as number:
        begin = time.monotonic()
        done = run(*PUSH, "--url", url, "--lock-timeout", "3s", timeout=60)
    assert done.code == 3, done.err
    assert "another session held the table or the row for 3 s" in done.err
    assert f"ession {number} (" in done.err
    assert "--lock-timeout" in done.err
    assert time.monotonic() - begin < LONGEST_S
    assert value_of(url) == b'"xxxxxxxxxx"'


def test_a_write_names_who_holds_the_row(run: Run, server: Server) -> None:
    """A row that is changed and not committed."""
    url = filled(server)
    with another_session(url, "UPDATE xcom SET value = '3'") as number:
        done = run(*PUSH, "--url", url, "--lock-timeout", "4s", timeout=60)
    assert done.code == 3, done.err
    assert "another session held the table or the row for 4 s" in done.err
    assert f"Session {number} (" in done.err
    assert "holds the lock" in done.err


def test_a_read_that_waits_for_a_lock_does_not_ask_for_narrower_filters(
    run: Run, server: Server
) -> None:
    """They would not help."""
    url = filled(server)
    with another_session(url, lock_table(server)) as number:
        done = run("list", "--url", url, "--timeout", "5s", timeout=60)
    assert done.code == 3, done.err
    assert "another session held the table or the row for 5 s" in done.err
    assert f"ession {number} (" in done.err
    assert "arrow the filters" not in done.err
    assert "--timeout" in done.err


def slow(server: Server) -> str:
    """Return the URL of a database of which one row more takes 0.3 s, for half an hour."""
    url = server.create_database()
    metadata = Metadata(url)
    metadata.add(b"1")
    metadata.execute("ALTER TABLE xcom RENAME TO held")
    if server.backend == "postgresql":
        metadata.execute(
            "CREATE VIEW xcom AS SELECT held.* FROM held, generate_series(1, 6000) AS i"
            " WHERE pg_sleep(0.3) IS NOT NULL AND i > 0"
        )
        return url
    metadata.execute("CREATE TABLE ten (n INT)")
    metadata.execute("INSERT INTO ten VALUES (0), (1), (2), (3), (4), (5), (6), (7), (8), (9)")
    metadata.execute(
        "CREATE VIEW xcom AS SELECT held.* FROM held, ten a, ten b, ten c, ten d"
        " WHERE sleep(0.3 + (a.n + b.n + c.n + d.n) / 100000000) = 0"
    )
    return url


def statements(server: Server, url: str) -> int:
    """Return how many statements on the database are running."""
    name = sa.make_url(url).database
    if server.backend == "postgresql":
        where = f"pg_stat_activity WHERE datname = '{name}' AND state = 'active'"
    else:
        where = f"information_schema.processlist WHERE db = '{name}' AND command = 'Query'"
    return int(server.execute(f"SELECT count(*) FROM {where}")[0][0])


def wait_for(server: Server, url: str, count: int) -> None:
    end = time.monotonic() + LONGEST_S
    while statements(server, url) != count and time.monotonic() < end:
        time.sleep(0.1)
    assert statements(server, url) == count


@pytest.mark.parametrize(
    ("command", "number"),
    [(("export",), signal.SIGINT), (("list", "-n", "0"), signal.SIGTERM)],
    ids=["export", "list"],
)
def test_nothing_runs_on_at_the_server_after_an_interrupt(
    server: Server, tmp_path: Path, command: tuple[str, ...], number: int
) -> None:
    """A client that only hangs up is noticed when there are rows to send, if ever."""
    url = slow(server)
    process = subprocess.Popen(
        [sys.executable, "-m", "xcomctl", *command, "--url", url],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=clean_environment(tmp_path),
    )  # fmt: skip
    wait_for(server, url, 1)
    time.sleep(0.5)
    os.kill(process.pid, number)
    _, err = process.communicate(timeout=LONGEST_S)
    assert (process.returncode, err) == (128 + number, b"xcomctl: warning: interrupted\n")
    wait_for(server, url, 0)


def test_nothing_runs_on_at_the_server_after_a_timeout_of_ours(run: Run, server: Server) -> None:
    """An export is bounded row by row, which the server cannot do."""
    url = slow(server)
    done = run("export", "--url", url, "--timeout", "1s", timeout=60)
    assert done.code == 3, done.err
    wait_for(server, url, 0)
