"""Every exit code that a reading command can give, seen from outside."""

from __future__ import annotations

import os
import resource
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.conftest import clean_environment
from tests.metadata import Metadata
from tests.servers import PASSWORD

if TYPE_CHECKING:
    from tests.conftest import Run
    from tests.servers import Server


@pytest.fixture
def db(tmp_path: Path) -> Path:
    """A small metadata DB: two runs of one task, the newer one larger."""
    path = tmp_path / "airflow.db"
    metadata = Metadata(str(path))
    metadata.add(b"1", run_id="run_1")
    metadata.add(b'"' + b"x" * 5000 + b'"', run_id="run_2")
    return path


READING = (
    ("list",),
    ("pull", "dag", "task"),
    ("audit",),
    ("preflight", "--exit-zero"),
    ("top", "--forecast"),
    ("export",),
    ("limits",),
    ("info",),
)


@pytest.mark.parametrize("command", READING, ids=" ".join)
def test_0_where_all_is_well(run: Run, db: Path, command: tuple[str, ...]) -> None:
    """Done, and nothing on stderr that calls itself an error."""
    done = run(*command, "--url", db)
    assert done.code == 0
    assert done.out
    assert "error" not in done.err


@pytest.mark.parametrize(
    ("bare", "dashed"),
    [
        ("list -o json", "list -o json=-"),
        ("export", "export -o jsonl=-"),
        ("audit -o sarif", "audit -o sarif=-"),
        ("pull dag task -o raw", "pull dag task -o raw --file -"),
    ],
)
def test_a_dash_is_stdout(run: Run, db: Path, tmp_path: Path, bare: str, dashed: str) -> None:
    """As everywhere, and no file of that name."""
    told = run(*dashed.split(), "--url", db)
    assert told.stdout == run(*bare.split(), "--url", db).stdout != b""
    assert not [one for one in (tmp_path, Path()) if (one / "-").exists()]
    assert run("list", "-o", "table", "-o", "json=-", "--url", db).code == 2


def test_1_only_where_the_gate_trips(run: Run, db: Path) -> None:
    """A finding at or above --fail-on, in every format, and --exit-zero turns it into 0."""
    where = ("audit", "--url", db, "--size-limit", "1000")
    for name in ("table", "json", "jsonl", "csv", "tsv", "yaml", "markdown"):
        assert run(*where, "-o", name).code == 1, name
    assert run(*where, "--exit-zero").code == 0
    assert run(*where, "--fail-on", "never").code == 0
    near = ("audit", "--url", db, "--size-limit", "5002")
    assert run(*near).code == 0
    assert run(*near, "--fail-on", "warning").code == 1
    assert run(*near, "--fail-on", "note").code == 1


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("lst",), "list"),
        (("list", "--no-such"), "--no-such"),
        (("list", "-n", "many"), "many"),
        (("list", "-n", "-1"), "--limit"),
        (("list", "--since", "yesterday-ish"), "yesterday-ish"),
        (("list", "--min-size", "48K"), "KiB"),
        (("list", "--sort", "colour"), "colour"),
        (("list", "--columns", "dag_id,taks_id"), "task_id"),
        (("list", "-o", "jsn"), "json"),
        (("list", "-o", "table", "-o", "json"), "stdout"),
        (("list", "-o", "json="), "file"),
        (("list", "--timeout", "soon"), "soon"),
        (("list", "--color", "mauve"), "mauve"),
        (("list", "-P", "nowhere"), "nowhere"),
        (("pull", "dag"), "TASK_ID"),
        (("pull", "dag", "task", "-o", "xml"), "xml"),
        (("pull", "dag", "task", "--path", "a..[b"), "path"),
        (("pull", "dag", "task", "--default", "{"), "--default"),
        (("pull", "dag", "task", "--default", "[1e999]"), "--default"),
        (("pull", "dag", "task", "--default", "-Infinity"), "--default"),
        (("pull", "dag", "task", "-m", "1", "--all-map-indexes"), "cannot be combined"),
        (("audit", "--size-limit", "big"), "big"),
        (("audit", "--warn-at", "120%"), "120%"),
        (("audit", "--fail-on", "panic"), "panic"),
        (("audit", "--rules", "xcom-over-limt"), "xcom-over-limit"),
        (("audit", "--as", "oracle"), "oracle"),
        (("list", "--url", "mongodb://h/db"), "mongodb"),
        (("list", "--config", "nowhere.toml"), "nowhere.toml"),
    ],
)
def test_2_for_usage(run: Run, db: Path, command: tuple[str, ...], said: str) -> None:
    """What was mistyped is named, on stderr alone, before any database is opened."""
    done = run(
        *command, env={} if "--url" in command or "-P" in command else {"XCOMCTL_URL": str(db)}
    )
    assert done.code == 2, done.err
    assert done.stdout == b""
    assert done.err.startswith("xcomctl: error: ")
    assert said in done.err
    assert "Traceback" not in done.err


def test_2_for_a_configuration_that_makes_no_sense(run: Run, tmp_path: Path) -> None:
    """The file, the key and the nearest right one."""
    (tmp_path / "xcomctl.toml").write_text('[audit]\nwarn_att = "70%"\n')
    done = run("list")
    assert done.code == 2
    assert "warn_att" in done.err
    assert '"warn_at"' in done.err
    assert "xcomctl.toml" in done.err


@pytest.mark.parametrize("command", READING, ids=" ".join)
def test_3_where_there_is_no_database(run: Run, tmp_path: Path, command: tuple[str, ...]) -> None:
    """A mistyped path is an error, and creates nothing."""
    missing = tmp_path / "mistyped" / "airflow.db"
    assert run(*command, "--url", missing).code == 3
    assert run(*command, "--url", tmp_path / "airflwo.db").code == 3
    assert run(*command).code == 3, "nothing names a database at all"
    assert [one.name for one in tmp_path.iterdir()] == ["home"]


def test_3_for_what_is_no_airflow_database(run: Run, tmp_path: Path) -> None:
    """Not SQLite, empty, without the table, or with one of another shape."""
    text, empty, other, shape = (tmp_path / name for name in ("a.txt", "b.db", "c.db", "d.db"))
    text.write_text("not a database\n" * 100)
    empty.touch()
    for path, statement in ((other, "CREATE TABLE t (a)"), (shape, "CREATE TABLE xcom (a, b)")):
        with sqlite3.connect(path) as connection:
            connection.execute(statement)
    for path in (text, empty, other, shape, tmp_path):
        done = run("list", "--url", path)
        assert done.code == 3, path
        assert done.stdout == b""
    assert empty.read_bytes() == b""


def test_3_where_a_file_is_damaged(run: Run, db: Path) -> None:
    """A report of half a database would be worse than none."""
    data = bytearray(db.read_bytes())
    for page in range(2, len(data) // 4096):
        data[page * 4096 : page * 4096 + 200] = b"\xff" * 200
    db.write_bytes(data)
    # Sizes alone are told without the pages that values continue on, so `audit` has to read them.
    for command in (("list",), ("audit", "--deep"), ("preflight",), ("export",)):
        done = run(*command, "--url", db)
        assert done.code == 3, done.err


def test_3_after_the_timeout(run: Run, server: Server) -> None:
    """A statement that takes too long ends on the server, and the error says which option."""
    url = server.create_database()
    metadata = Metadata(url)
    sleep = "pg_sleep(5)" if server.backend == "postgresql" else "sleep(5)"
    metadata.add(b"1")
    metadata.execute("ALTER TABLE xcom RENAME TO held")
    select = "SELECT held.* FROM held" if server.backend == "postgresql" else "SELECT * FROM held"
    condition = f"{sleep} IS NOT NULL" if server.backend == "postgresql" else f"{sleep} = 0"
    metadata.execute(f"CREATE VIEW xcom AS {select} WHERE {condition}")
    begin = time.monotonic()
    done = run("list", "--url", url, "--timeout", "1s")
    assert done.code == 3, done.out + done.err
    assert "--timeout" in done.err
    assert time.monotonic() - begin < 5


def test_3_after_the_timeout_on_sqlite(run: Run, tmp_path: Path) -> None:
    """SQLite has no statement timeout, so we count."""
    path = tmp_path / "airflow.db"
    metadata = Metadata(str(path))
    metadata.add(b"1")
    metadata.execute("ALTER TABLE xcom RENAME TO held")
    metadata.execute(
        "CREATE VIEW xcom AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000000)"
        " SELECT held.* FROM held, n WHERE i = 100000000"
    )
    done = run("list", "--url", path, "--timeout", "1s")
    assert done.code == 3
    assert "--timeout" in done.err


def test_3_where_another_process_holds_the_lock(run: Run, db: Path) -> None:
    """Not an endless wait."""
    with sqlite3.connect(db) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        done = run("list", "--url", db, "--connect-timeout", "1s")
    assert done.code == 3
    assert "locked" in done.err


@pytest.mark.parametrize("command", [("list",), ("pull", "dag", "task"), ("audit",)], ids=" ".join)
def test_3_where_the_output_cannot_be_written(
    run: Run, db: Path, tmp_path: Path, command: tuple[str, ...]
) -> None:
    """A full disk, or a directory that is not there: not 0, and nothing half-written."""
    option = "--file" if command[0] == "pull" else "-o"
    prefix = "" if command[0] == "pull" else "json="
    done = run(*command, "--url", db, option, f"{prefix}{tmp_path}/none/out")
    assert done.code == 3
    assert f'"{tmp_path}/none/out"' in done.err
    assert not (tmp_path / "none").exists()
    if Path("/dev/full").exists():
        assert run(*command, "--url", db, option, f"{prefix}/dev/full").code == 3
        with Path("/dev/full").open("wb") as full:
            code = subprocess.run(
                [sys.executable, "-m", "xcomctl", *command, "--url", db],
                stdout=full, stderr=subprocess.DEVNULL, check=False,
                env=clean_environment(tmp_path),
            ).returncode  # fmt: skip
        assert code == 3


@pytest.mark.parametrize(
    ("command", "hint"),
    [
        (("pull", "dga", "task"), '"dag"'),
        (("pull", "dag", "tsk"), '"task"'),
        (("pull", "dag", "task", "retrun_value"), '"return_value"'),
        (("pull", "dag", "task", "-r", "run_3"), "run_"),
        (("pull", "dag", "task", "-m", "3"), "-1"),
        (("pull", "dag", "task", "--path", "a"), "string"),
    ],
)
def test_4_for_what_is_not_there(run: Run, db: Path, command: tuple[str, ...], hint: str) -> None:
    """The near miss is offered."""
    done = run(*command, "--url", db)
    assert done.code == 4
    assert done.stdout == b""
    assert hint in done.err


def test_4_for_an_audit_of_nothing_where_that_is_a_failure(run: Run, db: Path) -> None:
    """A filter that matches nothing would pass every gate."""
    where = ("audit", "--url", db, "-d", "nothing")
    assert run(*where).code == 0
    failed = run(*where, "--fail-on-empty")
    assert failed.code == 4
    assert "--fail-on-empty" in failed.err


def test_absent_with_a_default_is_0(run: Run, db: Path) -> None:
    """--default stands in, as JSON."""
    done = run("pull", "dag", "nothing", "--url", db, "--default", '{"a": [1]}')
    assert done.json() == {"a": [1]}


def test_141_and_silence_where_the_reader_goes(tmp_path: Path) -> None:
    """`xcomctl list | head -1` says nothing."""
    path = tmp_path / "airflow.db"
    metadata = Metadata(str(path))
    metadata.run("dag", "run_1")
    with sqlite3.connect(path) as connection:
        connection.executemany(
            "INSERT INTO xcom VALUES (1, ?, -1, 'k', 'dag', 'run_1', X'31', '2026-01-01 00:00:00')",
            [(f"task_{number:06}",) for number in range(20_000)],
        )
    for form in ("table", "json", "jsonl", "csv", "yaml", "markdown"):
        done = subprocess.run(
            ["bash", "-c", 'set -o pipefail; "$0" -m xcomctl list -n 0 -o "$1" --url "$2" | head -1; '
             'echo "${PIPESTATUS[0]}"', sys.executable, form, str(path)],
            capture_output=True, check=False, env=clean_environment(tmp_path), text=True,
        )  # fmt: skip
        assert done.stderr == "", form
        assert done.stdout.splitlines()[-1] == "141", form
    helped = subprocess.run(
        ["bash", "-c", '"$0" -m xcomctl list --help | true; echo "${PIPESTATUS[0]}"', sys.executable],
        capture_output=True, check=False, env=clean_environment(tmp_path), text=True,
    )  # fmt: skip
    assert helped.stderr == ""
    assert helped.stdout.strip() in ("0", "141")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_130_where_it_is_interrupted(tmp_path: Path, number: int, code: int) -> None:
    """An audit that was interrupted never says 0 or 1, and leaves no half-written report."""
    path, report = tmp_path / "airflow.db", tmp_path / "report.json"
    metadata = Metadata(str(path))
    metadata.add(b"1")
    metadata.execute("ALTER TABLE xcom RENAME TO held")
    metadata.execute(
        "CREATE VIEW xcom AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000000000)"
        " SELECT held.* FROM held, n WHERE i % 100000 = 0"
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "xcomctl", "audit", "--url", path, "-o", f"json={report}"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=clean_environment(tmp_path),
    )  # fmt: skip
    timer = threading.Timer(60, process.kill)
    timer.start()
    time.sleep(2)
    os.kill(process.pid, number)
    out, err = process.communicate()
    timer.cancel()
    assert process.returncode == code, err
    assert out == b""
    assert b"Traceback" not in err
    assert sorted(one.name for one in tmp_path.iterdir()) == ["airflow.db"]


@pytest.mark.parametrize(
    "command", [("top", "--forecast", "-q"), ("list", "-n", "0", "--value", "-o", "jsonl")]
)
def test_130_among_many_rows(tmp_path: Path, command: tuple[str, ...]) -> None:
    """Whenever it comes, all that is said is that."""
    path = tmp_path / "airflow.db"
    metadata = Metadata(str(path))
    metadata.add(b'"some value"')
    metadata.execute(
        "INSERT INTO xcom SELECT dag_run_id, 'task_' || n.i, map_index, key, dag_id, run_id, value, timestamp FROM xcom,"
        " (WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 60000) SELECT i FROM n) AS n"
    )
    said = set()
    for attempt in range(12):
        process = subprocess.Popen(
            [sys.executable, "-m", "xcomctl", *command, "--url", path],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=clean_environment(tmp_path),
        )  # fmt: skip
        time.sleep(0.3 + 0.05 * attempt)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
        if process.returncode == 130:
            said.add(err)
    assert said <= {b"xcomctl: warning: interrupted\n"}
    assert said


def test_130_while_a_server_is_busy(server: Server, tmp_path: Path) -> None:
    """Ctrl-C does not wait for a statement to end."""
    url = server.create_database()
    metadata = Metadata(url)
    metadata.add(b"1")
    metadata.execute("ALTER TABLE xcom RENAME TO held")
    slow = "pg_sleep(40) IS NOT NULL" if server.backend == "postgresql" else "sleep(40) = 0"
    metadata.execute(f"CREATE VIEW xcom AS SELECT held.* FROM held WHERE {slow}")
    process = subprocess.Popen(
        [sys.executable, "-m", "xcomctl", "list", "--url", url],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=clean_environment(tmp_path),
    )  # fmt: skip
    time.sleep(3)
    os.kill(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=15)
    assert process.returncode == 130, err
    assert out == b""
    assert b"Traceback" not in err


def test_70_is_a_bug_and_says_so(run: Run, db: Path, tmp_path: Path) -> None:
    """Whatever was not foreseen is told in one line; the traceback is for --verbose."""
    (tmp_path / "sitecustomize.py").write_text(
        "import xcomctl.values.sniff\n"
        "def sniff(*_): raise RuntimeError('planted')\n"
        "xcomctl.values.sniff.sniff = sniff\n"
    )
    env = {"PYTHONPATH": f"{tmp_path}:{Path(__file__).parents[2]}"}
    done = run("list", "--url", db, env=env)
    assert done.code == 70, done.err
    assert "bug in xcomctl" in done.err
    assert "Traceback" not in done.err
    assert "Traceback" in run("list", "--url", db, "-v", env=env).err


def test_audit_of_a_server_that_dies_is_3(doomed_server: Server, tmp_path: Path) -> None:
    """The scan is cut off in the middle: no verdict, no report."""
    url = doomed_server.create_database()
    metadata = Metadata(url)
    metadata.add(b"1")
    metadata.execute("ALTER TABLE xcom RENAME TO held")
    if doomed_server.backend == "postgresql":
        metadata.execute(
            "CREATE VIEW xcom AS SELECT held.* FROM held, generate_series(1, 20000) AS i"
            " WHERE pg_sleep(0.001) IS NOT NULL"
        )
    else:
        metadata.execute("CREATE TABLE ten (n INT)")
        metadata.execute("INSERT INTO ten VALUES (0), (1), (2), (3), (4), (5), (6), (7), (8), (9)")
        metadata.execute(
            "CREATE VIEW xcom AS SELECT held.* FROM held, ten a, ten b, ten c, ten d"
            " WHERE sleep(0.002 + (a.n + b.n + c.n + d.n) / 100000000) = 0"
        )
    report = tmp_path / "report.json"
    process = subprocess.Popen(
        [sys.executable, "-m", "xcomctl", "audit", "--url", url, "-o", f"json={report}"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=clean_environment(tmp_path),
    )  # fmt: skip
    time.sleep(3)
    assert process.poll() is None
    assert doomed_server.process is not None
    doomed_server.process.send_signal(signal.SIGKILL)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 3, err
    assert out == b""
    assert b"Traceback" not in err
    assert PASSWORD.encode() not in err
    assert not report.exists()


def test_3_where_the_disk_is_full_under_several_reports(db: Path, tmp_path: Path) -> None:
    """One report fits and the other does not: neither is left, half or whole."""
    folder = tmp_path / "reports"
    folder.mkdir()

    def little_room() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))

    outputs = [part for form in ("csv", "sarif", "junit") for part in ("-o", f"{form}={folder}/{form}")]  # fmt: skip
    # Python would leave half of what it compiles, too, and stumble over it from then on.
    environment = {**clean_environment(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "xcomctl", "audit", "--url", str(db), *outputs],
        capture_output=True, env=environment, check=False, preexec_fn=little_room,
    )  # fmt: skip
    assert done.returncode == 3, done.stderr
    assert b"could not write" in done.stderr
    assert list(folder.iterdir()) == []
