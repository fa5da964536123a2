"""What tests share: real servers, and the program run as a user runs it."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from tests import program, servers
from tests.left_out import LEFT_OUT, leave_out

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from tests.program import Done
    from tests.servers import Server

# A shell's background job ignores it, and so would every program started here.
signal.signal(signal.SIGINT, signal.default_int_handler)

_started: dict[str, Server] = {}


class Run(Protocol):
    """`run("list", "--url", url)`"""

    def __call__(
        self,
        *arguments: str | Path,
        env: Mapping[str, str] | None = None,
        stdin: bytes = b"",
        timeout: float = 120,
    ) -> Done: ...


def clean_environment(home: Path) -> dict[str, str]:
    """Return this process's variables without those that name a database, a home or colours."""
    dropped = (
        "AIRFLOW", "XCOMCTL", "PG", "MYSQL", "XDG_", "NO_COLOR", "FORCE_COLOR", "TZ", "COLUMNS", "LINES",
    )  # fmt: skip
    kept = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
    return kept | {"HOME": str(home)}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run the program as a process of its own in an empty home, and return what it left."""
    home = tmp_path / "home"
    home.mkdir(exist_ok=True)

    def call(
        *arguments: str | Path,
        env: Mapping[str, str] | None = None,
        stdin: bytes = b"",
        timeout: float = 120,
    ) -> Done:
        return program.execute(
            [*map(str, arguments)],
            env=clean_environment(home) | dict(env or {}),
            stdin=stdin,
            cwd=tmp_path,
            timeout=timeout,
        )

    return call


def _server(backend: str) -> Server:
    if backend not in _started:
        _started[backend] = _start(backend, servers.start)
    return _started[backend]


def _start(backend: str, start: Callable[[str], Server]) -> Server:
    """Return a server, or leave the test out, loudly, where there is none to start."""
    reason, _ = LEFT_OUT.get(backend, ("", 0))
    if not reason:
        try:
            return start(backend)
        except servers.ServerMissingError as missing:
            reason = str(missing)
    return leave_out(backend, reason)


@pytest.fixture(params=list(servers.KINDS))
def server(request: pytest.FixtureRequest) -> Server:
    """Each of the three servers in turn."""
    return _server(request.param)


@pytest.fixture
def postgres() -> Server:
    """PostgreSQL."""
    return _server("postgresql")


@pytest.fixture(params=list(servers.KINDS))
def doomed_server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """Each of the servers in turn, one of the test's own, which it may kill."""
    server = _start(request.param, servers.start_own)
    yield server
    server.stop()


@pytest.fixture(params=["mysql", "mariadb"])
def mysql_like(request: pytest.FixtureRequest) -> Server:
    """MySQL and MariaDB in turn."""
    return _server(request.param)


@pytest.fixture
def mysql() -> Server:
    """MySQL."""
    return _server("mysql")


@pytest.fixture(params=["sqlite", *servers.KINDS])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database on each backend in turn."""
    if request.param == "sqlite":
        return str(tmp_path / "airflow.db")
    return _server(request.param).create_database()


@pytest.fixture(scope="session")
def any_server() -> Any:
    """Return the server of a backend by name."""
    return _server


@pytest.fixture(scope="session", autouse=True)
def _end_servers() -> Iterator[None]:
    yield
    for one in _started.values():
        one.stop()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Hand the controller of several test processes what this one left out."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["left_out"] = LEFT_OUT


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """Add up, in the controller, what the test processes left out."""
    for missing, (reason, count) in getattr(node, "workeroutput", {}).get("left_out", {}).items():
        LEFT_OUT[missing] = (reason, count + LEFT_OUT.get(missing, ("", 0))[1])


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Name everything that tests were skipped for."""
    if not LEFT_OUT:
        return
    terminalreporter.section("LEFT OUT", sep="!", red=True, bold=True)
    for missing, (reason, count) in LEFT_OUT.items():
        terminalreporter.line(f"{missing}: {count} tests did not run: {reason}", red=True)
    terminalreporter.line(
        "XCOMCTL_TEST_AIRFLOW=1 bash .ci/run, as root on Debian, installs all of it.", red=True
    )
