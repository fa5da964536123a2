"""`list --follow` from outside: lines as they come, exit codes, lost connections, mistakes."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.conftest import clean_environment
from tests.metadata import Metadata

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import Run
    from tests.servers import Server


class Following:
    """A running `xcomctl list`."""

    def __init__(self, url: str, folder: Path, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "xcomctl", "list", "--url", url, "--every", "0.1s", *arguments],
            cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, env=clean_environment(folder) | {"PYTHONPATH": str(Path.cwd())},
        )  # fmt: skip
        self.said("waiting for new XComs")

    def said(self, text: str) -> None:
        """Wait for a line on stderr."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            if text in line:
                return
        pytest.fail(f"it ended without {text!r}")

    def line(self) -> str:
        """Return the next line of stdout."""
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def end(self, signum: int = signal.SIGINT) -> int:
        """End it, and return its exit code."""
        self.process.send_signal(signum)
        return self.process.wait(30)


@contextlib.contextmanager
def following(url: str, folder: Path, *arguments: str) -> Iterator[Following]:
    one = Following(url, folder, *arguments)
    try:
        yield one
    finally:
        one.process.kill()
        one.process.communicate()


def test_each_line_is_there_at_once_and_ctrl_c_ends(tmp_path: Path) -> None:
    """A table has its header once; Ctrl-C is exit code 130."""
    metadata = Metadata(str(tmp_path / "airflow.db"))
    metadata.add(b"1", key="old")
    with following(metadata.url, tmp_path, "--follow") as one:
        metadata.add(b"1" * 2000, key="first")
        assert one.line().split()[:3] == ["dag_id", "task_id", "run_id"]
        assert " first " in one.line()
        metadata.add(b"1", key="second")
        assert " second " in one.line()
        assert one.end() == 130


@pytest.mark.parametrize("form", ["json", "jsonl", "csv", "tsv"])
def test_machines_get_a_line_each(tmp_path: Path, form: str) -> None:
    """JSON means a document per line here."""
    metadata = Metadata(str(tmp_path / "airflow.db"))
    with following(metadata.url, tmp_path, "-f", "-o", form, "--no-header", "--value") as one:
        for number in range(2):
            metadata.add(b'{"a": 1}', key=f"key_{number}")
            line = one.line()
            assert f"key_{number}" in line
            if form.startswith("json"):
                row = json.loads(line)
                assert (row["size_bytes"], row["value"]) == (8, '{"a": 1}')
        assert one.end(signal.SIGTERM) == 143


def test_the_first_match_ends_it_with_exit_code_1(tmp_path: Path) -> None:
    """What does not match does not, and what was there before does so with --since."""
    metadata = Metadata(str(tmp_path / "airflow.db"))
    metadata.add(b'"error: old"', key="a")
    only = ("--until-match", "--contains", "error", "--min-size", "10", "-o", "jsonl")
    with following(metadata.url, tmp_path, *only) as one:
        metadata.add(b'"fine, and long"', key="b")
        metadata.add(b'"error: no disk"', key="c")
        metadata.add(b'"error: again"', key="d")
        assert json.loads(one.line())["key"] == "c"
        assert one.process.wait(30) == 1
        assert one.line() == ""
    with following(metadata.url, tmp_path, *only, "--since", "2026-01-01") as one:
        assert json.loads(one.line())["key"] in "acd"
        assert one.process.wait(30) == 1
    with following(metadata.url, tmp_path, "--follow", "-n", "2", "-o", "jsonl") as one:
        for key in "xyz":
            metadata.add(b"1", key=key)
        assert one.process.wait(30) == 0


def test_it_goes_on_after_a_lost_connection(server: Server, tmp_path: Path) -> None:
    """With a warning; what was committed meanwhile is shown."""
    metadata = Metadata(server.create_database())
    with following(metadata.url, tmp_path, "--follow", "-o", "jsonl") as one:
        metadata.add(b"1", key="before")
        assert json.loads(one.line())["key"] == "before"
        for session in sessions(server, metadata.url):
            with contextlib.suppress(Exception):
                server.execute(session)
        metadata.add(b"1", key="meanwhile")
        assert json.loads(one.line())["key"] == "meanwhile"
        one.said("connected again")
        metadata.add(b"1", key="after")
        assert json.loads(one.line())["key"] == "after"
        assert one.end() == 130


def sessions(server: Server, url: str) -> list[str]:
    """Return the statements that end every other session in the database."""
    name = url.rpartition("/")[2].partition("?")[0]
    if server.backend == "postgresql":
        return [f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"]
    rows = server.execute(f"SELECT id FROM information_schema.processlist WHERE db = '{name}'")
    return [f"KILL {number}" for (number,) in rows]


def test_nothing_is_held_between_two_looks(server: Server, tmp_path: Path) -> None:
    """A migration that locks the table does not wait for it."""
    metadata = Metadata(server.create_database())
    with following(metadata.url, tmp_path, "--follow", "--every", "5s", "-o", "jsonl"):
        began = time.monotonic()
        metadata.execute("ALTER TABLE xcom ADD COLUMN more INTEGER")
        assert time.monotonic() - began < 4


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--every", "5s"], "--every needs --follow"),
        (["--follow", "--every", "0"], "--every must be above 0"),
        (["--follow", "--sort", "size"], "--follow cannot be combined with --sort"),
        (["--until-match", "--total"], "--follow cannot be combined with --total"),
        (["--follow", "-o", "yaml"], "--follow does not work with -o yaml"),
        (["--follow", "-o", "jsonl=x"], "--follow writes to stdout only"),
    ],
)
def test_mistakes_are_told(run: Run, tmp_path: Path, arguments: list[str], said: str) -> None:
    """Before anything is asked of the database."""
    done = run("list", "--url", tmp_path / "none.db", *arguments)
    assert done.code == 2
    assert said in done.err


def test_a_database_that_is_not_there_is_an_error_at_the_start(run: Run, tmp_path: Path) -> None:
    """Only later it is waited for."""
    assert run("list", "--url", tmp_path / "none.db", "--follow").code == 3
