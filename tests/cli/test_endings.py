"""How a change ends: interrupted, locked or killed, it is known what happened, and it goes on."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest

from tests.conftest import clean_environment
from tests.metadata import WHEN, Metadata

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Run

AT_COMMIT = """
import os, signal, sys
import sqlalchemy as sa
from xcomctl.cli import main
do, after = sys.argv[1].split(":")
commits = 0
def commit(self, really=sa.Connection.commit):
    global commits
    commits += 1
    if commits == int(after):
        for sent in do.split("+"):
            if sent == "commit":
                really(self)
            else:
                os.kill(os.getpid(), getattr(signal, sent))
    else:
        really(self)
sa.Connection.commit = commit
sys.exit(main(sys.argv[2:]))
"""
"""The program, which gets signals while it commits for the nth time: `SIGTERM+commit:2`."""


def at_commit(home: Path, what: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the program so that something happens at a COMMIT."""
    return subprocess.run(
        [sys.executable, "-c", AT_COMMIT, what, *arguments],
        env=clean_environment(home), cwd=home, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


def exported(run: Run, url: str) -> list[bytes]:
    """Return the lines of an export, sorted."""
    done = run("export", "--url", url, "-q")
    assert done.code == 0, done.err
    return sorted(done.stdout.splitlines())


@pytest.fixture
def metadata(empty_url: str) -> Metadata:
    """Six XComs of one run with task instances."""
    made = Metadata(empty_url, with_instances=True)
    for number in range(6):
        made.instance("dag", f"task_{number}", "run_1")
        made.add(b"%d" % number, task_id=f"task_{number}", run_id="run_1", timestamp=WHEN)
    return made


PUSH = ("push", "dag", "task_1", '"new"', "--replace", "--yes", "--undo-file", "undo")


@pytest.mark.parametrize("what", ["SIGTERM+commit:1", "commit+SIGTERM:1"])
def test_a_push_interrupted_at_its_commit_says_that_it_is_done(
    metadata: Metadata, tmp_path: Path, run: Run, what: str
) -> None:
    """Exit 143, and the new value; the undo file restores the old one."""
    before = exported(run, metadata.url)
    done = at_commit(tmp_path, what, *PUSH, "--url", metadata.url)
    assert done.returncode == 143
    assert "replaced" in done.stderr
    assert "interrupted" in done.stderr
    assert any(b'"new"' in line for line in exported(run, metadata.url))
    assert not (tmp_path / "undo.unfinished").exists()
    assert run("import", "undo", "--replace", "--yes", "--url", metadata.url).code == 0
    assert exported(run, metadata.url) == before


def test_a_second_signal_at_the_commit_leaves_it_unknown(
    metadata: Metadata, tmp_path: Path, run: Run
) -> None:
    """And that is said; the undo file stays, and the same command goes on with it."""
    before = exported(run, metadata.url)
    done = at_commit(tmp_path, "SIGINT+SIGINT+commit:1", *PUSH, "--url", metadata.url)
    assert done.returncode == 130
    assert "unknown whether the change was made" in done.stderr
    assert exported(run, metadata.url) == before
    assert (tmp_path / "undo").stat().st_size > 0
    assert run(*PUSH, "--url", metadata.url).code == 0
    assert run("import", "undo", "--replace", "--yes", "--url", metadata.url).code == 0
    assert exported(run, metadata.url) == before


DELETE = ("delete", "-d", "dag", "--yes", "--undo-file", "undo", "--batch-size", "2")


def test_a_delete_interrupted_at_a_commit_counts_that_batch(
    metadata: Metadata, tmp_path: Path, run: Run
) -> None:
    """It says how many are gone; the same command deletes the rest into the same undo file."""
    before = exported(run, metadata.url)
    done = at_commit(tmp_path, "SIGINT+commit:2", *DELETE, "--url", metadata.url)
    assert done.returncode == 130, done.stderr
    assert "deleted 4 XComs" in done.stderr
    assert "run the same command to continue" in done.stderr
    assert len(exported(run, metadata.url)) == 2
    other = run("delete", "-d", "other", "--yes", "--undo-file", "undo", "--url", metadata.url)
    assert (other.code, "belongs to another command" in other.err) == (5, True), other.err
    assert run(*DELETE, "--url", metadata.url).code == 0
    assert exported(run, metadata.url) == []
    assert len((tmp_path / "undo").read_bytes().splitlines()) == 6
    assert run(*DELETE, "--url", metadata.url).code == 5, "it is complete now"
    assert run("import", "undo", "--url", metadata.url).code == 0
    assert exported(run, metadata.url) == before


@pytest.mark.parametrize("what", ["SIGKILL+commit:2", "commit+SIGKILL:2"])
def test_a_delete_killed_at_a_commit_goes_on(
    metadata: Metadata, tmp_path: Path, run: Run, what: str
) -> None:
    """No row is lost, and none stands in the way of the import although it is there twice."""
    before = exported(run, metadata.url)
    killed = at_commit(tmp_path, what, *DELETE, "--url", metadata.url)
    assert killed.returncode == -signal.SIGKILL
    with (tmp_path / "undo").open("ab") as undo:
        undo.write(b'{"un')
    while (done := run(*DELETE, "--url", metadata.url)).code == 3:
        # The server has not yet noticed that its client is gone.
        time.sleep(0.2)
    assert done.code == 0, done.err
    assert exported(run, metadata.url) == []
    lines = (tmp_path / "undo").read_bytes().splitlines()
    assert len(set(lines)) == 6
    assert len(lines) == (8 if what.startswith("SIGKILL") else 6)
    assert run("import", "undo", "--url", metadata.url).code == 0
    assert exported(run, metadata.url) == before


def test_an_import_interrupted_at_a_commit_says_how_far_it_came(
    metadata: Metadata, tmp_path: Path, run: Run
) -> None:
    """The same command goes on, and undoing it leaves what was there before."""
    before = exported(run, metadata.url)
    assert run(*DELETE, "--url", metadata.url).code == 0
    given = ("import", "undo", "--batch-size", "2", "--undo-file", "redo", "--url", metadata.url)
    done = at_commit(tmp_path, "SIGINT+commit:2", *given)
    assert done.returncode == 130, done.stderr
    assert "imported 4 lines before it stopped" in done.stderr
    assert run(*given).code == 0
    assert exported(run, metadata.url) == before
    assert run("import", "redo", "--replace", "--yes", "--url", metadata.url).code == 0
    assert exported(run, metadata.url) == []


def test_an_undo_file_restores_the_oldest_state(
    metadata: Metadata, tmp_path: Path, run: Run
) -> None:
    """Airflow wrote an XCom anew while a delete was half done: the first value comes back."""
    before = exported(run, metadata.url)
    killed = at_commit(tmp_path, "commit+SIGKILL:2", *DELETE, "--url", metadata.url)
    assert killed.returncode == -signal.SIGKILL
    metadata.add(b"99", task_id="task_0", run_id="run_1", timestamp=WHEN)
    while run(*DELETE, "--url", metadata.url).code == 3:
        time.sleep(0.2)
    assert len((tmp_path / "undo").read_bytes().splitlines()) == 7
    assert run("import", "undo", "--url", metadata.url).code == 0
    assert exported(run, metadata.url) == before


def test_of_old_duplicates_each_comes_back(empty_url: str, tmp_path: Path, run: Run) -> None:
    """Airflow 1.10 has several rows of one name, which the ids in the undo file tell apart."""
    metadata = Metadata(empty_url, "1.10")
    for _ in range(3):
        metadata.add(b"1")
    before = exported(run, metadata.url)
    given = ("delete", "-d", "dag", "--yes", "--undo-file", "undo", "--batch-size", "1")
    killed = at_commit(tmp_path, "SIGKILL:2", *given, "--url", metadata.url)
    assert killed.returncode == -signal.SIGKILL
    while run(*given, "--url", metadata.url).code == 3:
        time.sleep(0.2)
    assert len((tmp_path / "undo").read_bytes().splitlines()) == 4
    assert run("import", "undo", "--url", metadata.url).code == 0
    assert exported(run, metadata.url) == before


def test_a_commit_that_a_reader_holds_up_is_tried_again(tmp_path: Path, run: Run) -> None:
    """SQLite's COMMIT waits for readers; the retry writes nothing twice into the undo file."""
    path = tmp_path / "airflow.db"
    metadata = Metadata(str(path))
    for number in range(3):
        metadata.add(b"1", task_id=f"task_{number}")
    before = exported(run, str(path))
    reader = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM xcom").fetchone()
    undo = tmp_path / "undo"

    def let_go() -> None:
        end = time.monotonic() + 30
        while time.monotonic() < end and not (undo.exists() and undo.stat().st_size):
            time.sleep(0.01)
        time.sleep(0.7)
        reader.execute("ROLLBACK")

    thread = threading.Thread(target=let_go)
    thread.start()
    done = run(*DELETE, "--lock-timeout", "0.5s", "--url", str(path))
    thread.join()
    reader.close()
    assert done.code == 0, done.err
    lines = undo.read_bytes().splitlines()
    assert len(lines) == len(set(lines)) == 3
    assert run("import", "undo", "--url", str(path)).code == 0
    assert exported(run, str(path)) == before


def test_a_commit_that_a_reader_never_lets_through_is_a_lock(tmp_path: Path, run: Run) -> None:
    """Exit 3, which says so; nothing is gone, and no undo file is left."""
    path = tmp_path / "airflow.db"
    metadata = Metadata(str(path), with_instances=True)
    metadata.instance("dag", "task_1", "run_1")
    metadata.add(b"1", task_id="task_1")
    reader = sqlite3.connect(path, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM xcom").fetchone()
    for given in (DELETE, PUSH):
        done = run(*given, "--lock-timeout", "0.1s", "--url", str(path))
        assert done.code == 3, done.err
        assert "another session held" in done.err
        assert not (tmp_path / "undo").exists()
    reader.execute("ROLLBACK")
    assert len(exported(run, str(path))) == 1
    reader.close()


def test_what_is_no_file_is_no_undo_file(tmp_path: Path, run: Run) -> None:
    """A device would be written to in vain, and must not be removed."""
    path = tmp_path / "airflow.db"
    Metadata(str(path)).add(b"1")
    (tmp_path / "folder").mkdir()
    for name in ("/dev/null", "folder"):
        done = run("delete", "-d", "dag", "--yes", "--undo-file", name, "--url", str(path))
        assert (done.code, "not a regular file" in done.err) == (5, True), done.err
    assert len(exported(run, str(path))) == 1
    (tmp_path / "empty").touch()
    assert run("delete", "-d", "no", "--yes", "--undo-file", "empty", "--url", str(path)).code == 0
    assert (tmp_path / "empty").exists(), "it was there before"


@pytest.mark.parametrize(
    ("end", "cut"),
    [(b'{"un', True), (b'{"undo": "rest', True), (b'{"dag_id"', False), (b'{"undo": 1}x\n', False)],
)
def test_only_the_cut_end_of_an_undo_file_is_left_out(
    tmp_path: Path, run: Run, end: bytes, cut: bool
) -> None:
    """What else cannot be read is refused."""
    path = tmp_path / "airflow.db"
    metadata = Metadata(str(path))
    metadata.add(b"1")
    assert run(*DELETE, "--url", str(path)).code == 0
    whole = (tmp_path / "undo").read_bytes()
    (tmp_path / "undo").write_bytes(whole + end)
    done = run("import", "undo", "--url", str(path))
    assert done.code == (0 if cut else 5), done.err
    assert ("line 2 is cut off" in done.err) is cut
    assert run("export", "--url", str(path), "-o", "jsonl=lines").code == 0
    if cut:
        with (tmp_path / "lines").open("ab") as lines:
            lines.write(b'{"un')
        done = run("import", "lines", "--url", str(path))
        assert (done.code, "line 2: it is cut off" in done.err) == (5, True), done.err


H = "dag_id,task_id,run_id,map_index,key,timestamp,logical_date,size_bytes,encoding,stored_as,value,value_base64"
GOOD = {"dag_id": "d", "task_id": "t", "run_id": "r", "key": "k", "encoding": "json", "value": 1}
NOT_BASE64 = {"encoding": "pickle", "value_base64": "gAR9L"}


@pytest.mark.parametrize(
    "line",
    [
        f"{H}\nd,t,r,-1,k,2024-01-01T00:00:00Z,,1,pickle,,,gAR9L\n",
        f"{H}\nd,t,r,-1,k,2024-01-01T00:00:00Z,,1,pickle,,,\u00e9\n",
        f"{H}\nd,t,r,1.5,k,2024-01-01T00:00:00Z,,1,json,,1,\n",
        f"{H}\nd,t\udcff,r,-1,k,2024-01-01T00:00:00Z,,1,json,,\udcff,\n",
        f"{H}\nd,t\n",
        *(
            "\n" + json.dumps(GOOD | other).replace('"INF"', "1e999")
            for other in (
                {"timestamp": "9999-12-31T23:59:59-23:00"}, {"timestamp": 5}, {"map_index": "INF"},
                {"map_index": 1.5}, {"map_index": 2**31}, {"map_index": True}, {"dag_id": ["d"]},
                {"dag_run_id": 2**63}, {"logical_date": "0001-01-01T00:00:00+10:00"}, NOT_BASE64,
            )
        ),
        "\n[]", "\n1", '\n"text"', "\n{}", "\n" + "[" * 100_000, '\n{"dag_id": ' + "9" * 5_000 + "}",
    ],
)  # fmt: skip
def test_a_damaged_line_is_named(tmp_path: Path, run: Run, line: str) -> None:
    """Exit 5 and "line 2: ..."; nothing is imported."""
    path = tmp_path / "airflow.db"
    Metadata(str(path))
    (tmp_path / "file").write_bytes(line.encode("utf-8", "surrogateescape"))
    done = run("import", "file", "--url", str(path))
    assert done.code == 5, done.err
    assert "line 2: " in done.err


def test_undo_restores_every_column(empty_url: str, tmp_path: Path, run: Run) -> None:
    """Airflow 3.3 marks what a DAG returns, and asks for it by that mark."""
    metadata = Metadata(empty_url, "3.0", with_instances=True)
    metadata.execute("ALTER TABLE xcom ADD dag_result BOOLEAN NULL")
    for number, mark in enumerate(("true", "false", "NULL")):
        metadata.instance("dag", f"task_{number}", "run_1")
        metadata.add("1", task_id=f"task_{number}", run_id="run_1")
        metadata.execute(f"UPDATE xcom SET dag_result = {mark} WHERE task_id = 'task_{number}'")

    def marks() -> list[bool | None]:
        with metadata.engine.begin() as connection:
            found = connection.exec_driver_sql("SELECT dag_result FROM xcom ORDER BY task_id")
            return [None if one is None else bool(one) for one in found.scalars()]

    for number in range(2):
        given = ("delete", "-d", "dag", "--yes", "--undo-file", f"undo_{number}")
        assert run(*given, "--url", metadata.url).code == 0
        assert marks() == []
        done = run("import", f"undo_{number}", "--url", metadata.url)
        assert done.code == 0, done.err
        assert marks() == [True, False, None]
