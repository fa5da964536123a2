"""Export --resume: whatever ends it, the same command goes on, and the file is as if nothing had."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from tests.conftest import clean_environment
from tests.metadata import WHEN, Metadata

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.conftest import Run

SLOW = """
import sys, time
from xcomctl.exchange.lines import CsvLines, JsonLines
from xcomctl.cli import main, partial_file
every, pause = int(sys.argv[1]), float(sys.argv[2])
for form in (JsonLines, CsvLines):
    def slowly(self, row, write_row=form.write_row):
        write_row(self, row)
        if self.rows % every == 0:
            time.sleep(pause)
    form.write_row = slowly
partial_file._SAVE_EVERY_S = 0.02
sys.exit(main(sys.argv[3:]))
"""
"""The program, but that it pauses now and then, and writes down sooner how far it is."""

ROWS = 3_000


def fill(url: str, generation: str = "2.3", rows: int = ROWS) -> Metadata:
    """Make rows of a few KB: mapped, of several runs, with names that sort in their own way."""
    metadata = Metadata(url, generation)
    names = ("a", "B", "b", "ä", "Z_", "a b", "_", "\N{SNOWMAN}")
    value = '"' + "x" * 2500 + '"'
    metadata.run("dag", "run_0")
    key = "`key`" if metadata.backend == "mysql" else '"key"'
    cast = "CAST(:value AS JSONB)" if metadata.json and metadata.backend == "postgresql" else ":value"  # fmt: skip
    given = [
        {
            "run": number // 1000 + 1, "task": f"{names[number % 8]}{number % 40}", "index": number % 1000 // 40 - 1,
            "key": f"key_{number % 3}", "value": value if metadata.json else value.encode(),
            "when": metadata._moment(WHEN),
        }
        for number in range(rows)
    ]  # fmt: skip
    with metadata.engine.begin() as connection:
        if metadata.backend == "mysql":
            connection.exec_driver_sql("SET time_zone = '+00:00'")
        connection.execute(
            sa.text(
                f"INSERT INTO xcom (dag_run_id, task_id, map_index, {key}, dag_id, run_id, value, timestamp)"
                f" VALUES (:run, :task, :index, :key, 'dag', 'run_0', {cast}, :when)"
            ),
            given,
        )
    return metadata


def slow_export(folder: Path, *arguments: str, every: int = 50, pause: float = 0.03) -> subprocess.Popen[bytes]:  # fmt: skip
    """Start an export that takes its time."""
    return subprocess.Popen(
        [sys.executable, "-c", SLOW, str(every), str(pause), "export", *arguments],
        cwd=folder, env=clean_environment(folder), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip


def state(folder: Path, name: str = "out") -> dict[str, Any]:
    """Return the state beside a partial, an empty one where there is none yet."""
    path = folder / f"{name}.partial.json"
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return found


def stop_at(process: subprocess.Popen[bytes], folder: Path, reached: Callable[[], bool], how: signal.Signals) -> str:  # fmt: skip
    """Send a signal when something is reached, and return what was said."""
    end = time.monotonic() + 60
    while not reached() and process.poll() is None and time.monotonic() < end:
        time.sleep(0.005)
    assert process.poll() is None, "it was done before it could be stopped"
    process.send_signal(how)
    _, said = process.communicate(timeout=60)
    return said.decode()


def left(folder: Path) -> list[str]:
    """Return the files that an export leaves."""
    return sorted(path.name for path in folder.iterdir() if path.name.startswith(("out", ".out")))


@pytest.mark.parametrize("form", ["jsonl", "csv"])
@pytest.mark.parametrize("generation", ["2.3", "3.0"])
def test_killed_several_times_it_ends_whole(
    empty_url: str, run: Run, tmp_path: Path, form: str, generation: str
) -> None:
    """Line for line what one go gives, no line twice, and nothing else left behind."""
    fill(empty_url, generation)
    where = ("--url", empty_url, "-o", f"{form}=out", "--resume", "--min-size", "100")
    safe = -1
    for part in (0, 600, 1200, 1800):

        def reached(part: int = part, safe: int = safe) -> bool:
            rows = state(tmp_path).get("rows", -1)
            return bool(rows >= part and rows > safe)

        stop_at(slow_export(tmp_path, *where), tmp_path, reached, signal.SIGKILL)
        safe = state(tmp_path)["rows"]
        names = {"out.partial", "out.partial.json", "out.partial.json.new"}
        assert set(left(tmp_path)) <= names
        with (tmp_path / "out.partial").open("ab") as out:
            out.write(b"half a li")
    done = run("export", *where)
    assert done.code == 0, done.err
    assert f"resuming after {safe:,} XComs" in done.err
    assert f"exported {ROWS:,} XComs of" in done.err
    assert left(tmp_path) == ["out"]
    whole = run("export", "--url", empty_url, "-o", form).stdout.splitlines()
    lines = (tmp_path / "out").read_bytes().splitlines()
    assert len(lines) == len(whole) == ROWS + (form == "csv")
    assert sorted(lines) == sorted(whole)
    assert lines[0] == whole[0] or form == "jsonl"


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_says_how_to_go_on(
    empty_url: str, run: Run, tmp_path: Path, how: signal.Signals
) -> None:
    """The partial stays where it is safe, and the same command ends it."""
    fill(empty_url)
    where = ("--url", empty_url, "-o", "jsonl=out", "--resume")
    process = slow_export(tmp_path, *where)
    said = stop_at(process, tmp_path, lambda: state(tmp_path).get("rows", 0) > 500, how)
    assert process.returncode == 128 + how
    assert "run the same command to continue" in said
    assert run("export", *where).code == 0
    assert len((tmp_path / "out").read_bytes().splitlines()) == ROWS
    assert left(tmp_path) == ["out"]


def test_a_server_that_goes_leaves_what_is_safe(tmp_path: Path, doomed_server: Any) -> None:
    """Exit 3, and how to go on."""
    url = doomed_server.create_database()
    fill(url)
    process = slow_export(tmp_path, "--url", url, "-o", "jsonl=out", "--resume", pause=0.05)
    end = time.monotonic() + 60
    while state(tmp_path).get("rows", 0) < 300 and time.monotonic() < end:
        time.sleep(0.005)
    if doomed_server.backend == "postgresql":
        # A server that is told to end waits for its sessions.
        doomed_server.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name = 'xcomctl'"
        )
    else:
        doomed_server.stop()
    _, said = process.communicate(timeout=60)
    assert process.returncode == 3, said.decode()
    assert "run the same command to continue" in said.decode()
    found = state(tmp_path)
    lines = (tmp_path / "out.partial").read_bytes()[: found["bytes"]].splitlines(keepends=True)
    assert len(lines) == found["rows"] >= 300
    assert all(json.loads(line) for line in lines)


def stopped(folder: Path, *arguments: str) -> None:
    """Leave a partial of a few hundred rows."""
    process = slow_export(folder, *arguments)
    stop_at(process, folder, lambda: state(folder).get("rows", 0) > 300, signal.SIGKILL)


def test_another_commands_partial_is_refused(tmp_path: Path, run: Run) -> None:
    """Exit 5, what differs, what to do, and nothing is touched."""
    path = tmp_path / "airflow.db"
    fill(str(path))
    stopped(tmp_path, "--url", str(path), "-o", "jsonl=out", "--resume")
    before = (tmp_path / "out.partial").read_bytes()
    for other in (
        ("-o", "csv=out"), ("-o", "jsonl=out", "-d", "dag"), ("-o", "jsonl=out", "--since", "7d"),
    ):  # fmt: skip
        done = run("export", "--url", path, "--resume", *other)
        assert done.code == 5
        assert "belongs to another command" in done.err
        assert "to start again" in done.err
    assert (tmp_path / "out.partial").read_bytes() == before
    # The same file by another path is no other command, and without --resume it is not asked.
    assert run("export", "--url", "airflow.db", "-o", "jsonl=out").code == 0
    assert left(tmp_path) == ["out", "out.partial", "out.partial.json"]
    assert run("export", "--url", f"sqlite:///{path}", "-o", "jsonl=out", "--resume").code == 0
    assert left(tmp_path) == ["out"]


def test_what_is_damaged_is_refused(tmp_path: Path, run: Run) -> None:
    """A state that cannot be read, a partial that is too short or is nobody's."""
    path = tmp_path / "airflow.db"
    fill(str(path))
    where = ("--url", str(path), "-o", "jsonl=out", "--resume")
    (tmp_path / "out.partial").write_text("mine")
    assert run("export", *where).code == 5
    assert (tmp_path / "out.partial").read_text() == "mine"
    (tmp_path / "out.partial").unlink()
    stopped(tmp_path, *where)
    whole = (tmp_path / "out.partial").read_bytes()
    os.truncate(tmp_path / "out.partial", 10)
    assert "is damaged" in run("export", *where).err
    (tmp_path / "out.partial").write_bytes(whole)
    kept = (tmp_path / "out.partial.json").read_text()
    for broken in ("", "[]", "{}", '{"schema": "xcomctl.resume/2"}', kept.replace("rows", "sows")):
        (tmp_path / "out.partial.json").write_text(broken)
        done = run("export", *where)
        assert done.code == 5, done.err
        assert "to start again" in done.err
    (tmp_path / "out.partial.json").write_text(kept)
    assert run("export", *where).code == 0
    assert len((tmp_path / "out").read_bytes().splitlines()) == ROWS


def test_time_bounds_stay_those_of_the_first_run(tmp_path: Path, run: Run) -> None:
    """`--since 7d` means what it meant when the export began."""
    path = tmp_path / "airflow.db"
    metadata = Metadata(str(path))
    metadata.add(b"1", task_id="old", timestamp=WHEN)
    where = ("--url", str(path), "-o", "jsonl=out", "--resume", "--since", "7d")
    (tmp_path / "out.partial").touch()
    asked = {
        "format": "jsonl",
        "since": "7d",
        "backend": "sqlite",
        "url": str(path),
        "schema": None,
    }
    asked |= dict.fromkeys(("dag_id", "run_id", "task_id", "key", "map_index", "until"))
    asked |= {"min_size": None, "max_size": None}
    began = {"bytes": 0, "rows": 0, "size_bytes": 0, "last": None, "until": None}
    text = json.dumps({"schema": "xcomctl.resume/1", "asked": asked, **began, "since": "2026-01-30T00:00:00Z"})  # fmt: skip
    (tmp_path / "out.partial.json").write_text(text)
    done = run("export", *where)
    assert done.code == 0, done.err
    assert len((tmp_path / "out").read_bytes().splitlines()) == 1


def test_names_that_are_no_utf8_are_gone_on_from(tmp_path: Path, run: Run) -> None:
    """SQLite takes any bytes for a name."""
    path = tmp_path / "airflow.db"
    metadata = Metadata(str(path))
    for number in range(300):
        metadata.add(b"1", task_id=f"t{number}")
    metadata.execute("UPDATE xcom SET task_id = CAST(x'ff' || task_id AS TEXT)")
    where = ("--url", str(path), "-o", "jsonl=out", "--resume")
    process = slow_export(tmp_path, *where, every=1, pause=0.01)
    stop_at(process, tmp_path, lambda: state(tmp_path).get("rows", 0) > 5, signal.SIGKILL)
    assert state(tmp_path)["last"][1].startswith("\udcff")
    assert run("export", *where).code == 0
    assert len(set((tmp_path / "out").read_bytes().splitlines())) == 300


@pytest.mark.parametrize("generation", ["1.10", "2.0"])
def test_older_tables_are_refused(
    empty_url: str, run: Run, tmp_path: Path, generation: str
) -> None:
    """They have no such key; exit 2, and no file."""
    Metadata(empty_url, generation).add(b"1")
    done = run("export", "--url", empty_url, "-o", "jsonl=out", "--resume")
    assert done.code == 2
    assert "--resume needs Airflow 2.3 or newer" in done.err
    assert left(tmp_path) == []


def test_only_files_of_lines_can_be_gone_on_with(tmp_path: Path, run: Run) -> None:
    """No stdout, no Parquet, no directory and no device."""
    path = tmp_path / "airflow.db"
    Metadata(str(path)).add(b"1")
    for output in ("jsonl", "parquet=out", "jsonl=/dev/null", f"csv={tmp_path}"):
        done = run("export", "--url", path, "-o", output, "--resume")
        assert done.code == 2, done.err
        assert "--resume" in done.err
    assert run("export", "--url", path, "-o", "jsonl=none/out", "--resume").code == 3
    assert run("export", "--url", path, "--resume", "-o", "jsonl=out", "-d", "no").code == 0
    assert (tmp_path / "out").read_bytes() == b""
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == 0o600


def test_two_at_once_are_refused(tmp_path: Path, run: Run) -> None:
    """The second one, with exit 5; the first one goes on."""
    path = tmp_path / "airflow.db"
    fill(str(path))
    where = ("--url", str(path), "-o", "jsonl=out", "--resume")
    process = slow_export(tmp_path, *where)
    while state(tmp_path).get("rows", 0) < 300:
        time.sleep(0.005)
    done = run("export", *where)
    assert done.code == 5, done.err
    assert "another process is writing" in done.err
    assert process.communicate(timeout=60)[1] is not None
    assert process.returncode == 0
    assert len((tmp_path / "out").read_bytes().splitlines()) == ROWS


def test_another_database_of_the_same_name_is_refused(
    empty_url: str, run: Run, tmp_path: Path
) -> None:
    """Exit 5, and nothing is touched; a few rows may be replaced or gone."""
    metadata = fill(empty_url)
    where = ("--url", empty_url, "-o", "jsonl=out", "--resume")
    process = slow_export(tmp_path, *where)
    enough = lambda: len(state(tmp_path).get("samples", ())) > 8  # noqa: E731
    stop_at(process, tmp_path, enough, signal.SIGKILL)
    samples = state(tmp_path)["samples"]
    key = "`key`" if metadata.backend == "mysql" else '"key"'
    for number, (run_number, task, index, name, *_) in enumerate(samples[: len(samples) // 2]):
        change = "DELETE FROM xcom" if number % 2 else "UPDATE xcom SET value = NULL"
        metadata.execute(
            f"{change} WHERE dag_run_id = :run AND task_id = :task AND map_index = :index AND {key} = :key",
            run=run_number, task=task, index=index, key=name,
        )  # fmt: skip
    text = (tmp_path / "out.partial.json").read_text()
    assert run("export", *where).code == 0
    # The same rows, pushed at another time.
    later = metadata._moment(WHEN.replace(minute=59))
    metadata.execute("UPDATE xcom SET timestamp = :later", later=later)
    (tmp_path / "out").rename(tmp_path / "out.partial")
    (tmp_path / "out.partial.json").write_text(text)
    before = (tmp_path / "out.partial").read_bytes()
    done = run("export", *where)
    assert done.code == 5, done.err
    assert "was made from another database" in done.err
    assert "to start again" in done.err
    assert (tmp_path / "out.partial").read_bytes() == before


def test_a_csv_file_with_another_header_is_not_resumed(tmp_path: Path, run: Run) -> None:
    """As an older xcomctl, or an older Airflow's table, began it."""
    path = tmp_path / "airflow.db"
    metadata = fill(str(path))
    for form in ("csv", "jsonl"):
        where = ("--url", str(path), "-o", f"{form}=out.{form}", "--resume")
        process = slow_export(tmp_path, *where)
        name = f"out.{form}"

        def reached(name: str = name) -> bool:
            return bool(state(tmp_path, name).get("rows", 0) > 300)

        stop_at(process, tmp_path, reached, signal.SIGKILL)
    metadata.execute("ALTER TABLE xcom ADD dag_result BOOLEAN NULL")
    for form in ("csv", "jsonl"):
        done = run("export", "--url", path, "-o", f"{form}=out.{form}", "--resume")
        assert done.code == 5, done.err
        assert "Different: others." in done.err
    metadata.execute("ALTER TABLE xcom DROP COLUMN dag_result")
    found = state(tmp_path, "out.csv")
    del found["asked"]["header"]
    (tmp_path / "out.csv.partial.json").write_text(json.dumps(found))
    done = run("export", "--url", path, "-o", "csv=out.csv", "--resume")
    assert done.code == 5, done.err
    assert "Different: header." in done.err
