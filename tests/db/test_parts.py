"""Worker processes that read one SQLite file: the same as from one, of one state, and none is left."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.conftest import clean_environment
from tests.db.test_store import opened
from tests.metadata import Metadata
from xcomctl.config.target import resolve_target
from xcomctl.db import open_store
from xcomctl.db.backends import sqlite_parts, workers
from xcomctl.db.backends.sqlite_parts import PartedSQLite
from xcomctl.db.backends.workers import AHEAD, Channel, Part
from xcomctl.errors import DatabaseError
from xcomctl.exchange.lines import CsvLines, JsonLines
from xcomctl.model import Selection, Size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="workers are started on Linux only"
)

ROWS = 24_000
EVERYTHING = Selection()


@pytest.fixture(autouse=True)
def three_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers are started whatever threads and processors there are here."""
    monkeypatch.setattr(sqlite_parts, "spare_processors", lambda: 3)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that takes, for each question, how many workers shared it."""
    found: list[int] = []
    start = PartedSQLite._workers

    @contextlib.contextmanager
    def noted(self: PartedSQLite, count: int, work: Any) -> Iterator[Any]:
        with start(self, count, work) as channels:
            found.append(len(channels))
            yield channels

    monkeypatch.setattr(PartedSQLite, "_workers", noted)
    return found


def fill(path: Path, generation: str = "2.3", rows: int = ROWS, value: Any = None) -> Metadata:
    """Make rows of all kinds in the order of chance, with holes between their numbers."""
    metadata = Metadata(str(path), generation)
    metadata.run("dag", "run")
    chance = random.Random(1)
    odd = [
        None, 7, 0.5, b"", "", b'"\xe9"', "[1,\n2]", b"\x80\x04K\x01.", b"[NaN]", '"x"', b"\xff" * 3000,
        b'"' + b"y" * 700_000 + b'"',
    ]  # fmt: skip
    dag_ids: list[Any] = [f"dag_{number}" for number in range(20)] + ["d\n,\"'", "\N{SNOWMAN}"]
    with sqlite3.connect(path) as connection:
        for number in range(rows):
            one = value
            if one is None:
                one = odd[number % 12] if number % 50 == 0 else b'"%s"' % (b"x" * chance.randrange(300))  # fmt: skip
            rowid = number * 3 - 9000 + (2**40 if number > rows * 0.9 else 0)
            facts = (f"task {number}", f"key_{number % 3}", chance.choice(dag_ids), one)
            connection.execute(
                "INSERT INTO xcom (rowid, dag_run_id, run_id, timestamp, task_id, key, dag_id, value)"
                f" VALUES ({rowid}, 1, 'run', '2026-01-31 07:08:09.{number:06}', ?, ?, ?, ?)",
                facts,
            )
        if value is None:
            # A name that is no UTF-8.
            connection.execute(
                "UPDATE xcom SET dag_id = CAST(x'c3' AS TEXT) WHERE rowid % 1000 = 0"
            )
    return metadata


def exported(path: Path, form: type[JsonLines | CsvLines], selection: Selection = EVERYTHING) -> tuple[bytes, int, int]:  # fmt: skip
    """Return what an export writes, and what it counted."""
    written = bytearray()
    with opened(str(path)) as store, form(written.extend, store.schema.storage) as lines:
        store.entries.stream_into(selection, lines)
    return bytes(written), lines.rows, lines.bytes


def alone(monkeypatch: pytest.MonkeyPatch, call: Callable[[], Any]) -> Any:
    """Return what a call gives without workers."""
    with monkeypatch.context() as changed:
        changed.setattr(sqlite_parts, "spare_processors", lambda: 0)
        return call()


@pytest.mark.parametrize(("generation", "count"), [("2.3", 2), ("3.0", 9)])
def test_all_is_as_from_one_process(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    started: list[int],
    generation: str,
    count: int,
) -> None:
    """Exports byte for byte, groups and the largest entries, in the same order."""
    monkeypatch.setattr(sqlite_parts, "spare_processors", lambda: count)
    path = tmp_path / "airflow.db"
    fill(path, generation)
    some = Selection(min_size=Size(100))

    def groups() -> Any:
        names = ("dag_id", "task_id", "key"), ("dag_id",), ("key", "run_id")
        with opened(str(path)) as store:
            return [dict(store.sizes.by_group(EVERYTHING, by, percentiles=True)) for by in names]

    def first(descending: bool, limit: int) -> Any:
        with opened(str(path)) as store:
            found = store.entries.scan(EVERYTHING, sort="size", descending=descending, limit=limit)
            return [(entry.ref, entry.size, entry.encoding) for entry in found]

    calls: list[Callable[[], Any]] = [
        lambda: exported(path, JsonLines),
        lambda: exported(path, CsvLines),
        lambda: exported(path, JsonLines, some),
        groups,
        lambda: first(True, 50),
        lambda: first(False, 5_000),
        lambda: first(True, 9_999),
    ]
    for call in calls:
        assert call() == alone(monkeypatch, call)
    # Each once with workers, in one call three times, and as often without.
    some_workers = min(count, sqlite_parts.MOST_WORKERS)
    both = [some_workers, 0] * 3
    assert started == [*both, *[some_workers] * 3, *[0] * 3, *both]


def test_filters_along_an_index_and_other_tables_take_one(
    tmp_path: Path, started: list[int]
) -> None:
    """Of few rows nothing is to be gained; rows WITHOUT ROWID have no numbers."""
    path = tmp_path / "airflow.db"
    fill(path)
    text, rows, _ = exported(path, JsonLines, Selection(dag_ids=("dag_1*",)))
    assert text.count(b"\n") == rows > 1000
    assert started == []
    small = tmp_path / "small.db"
    fill(small, rows=100)
    assert exported(small, JsonLines)[1] == 100
    without = tmp_path / "without.db"
    with sqlite3.connect(without) as connection:
        metadata = Metadata(str(without))
        (made,) = connection.execute("SELECT sql FROM sqlite_master WHERE name = 'xcom'").fetchone()
        metadata.execute("DROP TABLE xcom")
        metadata.execute(f"{made} WITHOUT ROWID")
    metadata.add(b"1")
    assert exported(without, JsonLines)[1] == 1
    assert started == [0, 0]


@pytest.mark.parametrize("mode", ["wal", "delete"])
@pytest.mark.parametrize("moment", ["before this process begins", "before the workers begin"])
def test_who_writes_at_the_worst_moment_is_seen_as_a_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, started: list[int], mode: str, moment: str
) -> None:
    """Two states are never mixed: then one process reads alone."""
    path = tmp_path / "airflow.db"
    fill(path, value=b'"old"')
    writer = sqlite3.connect(path, timeout=0, isolation_level=None)
    writer.execute(f"PRAGMA journal_mode = {mode}")
    refused: list[str] = []

    def begin(self: PartedSQLite, really: Any = PartedSQLite._begin_reading) -> None:
        ours = self._parent is None
        if ours and moment == "before the workers begin":
            really(self)
        if ours:
            try:
                writer.execute("UPDATE xcom SET value = CAST('\"new\"' AS BLOB)")
            except sqlite3.OperationalError as error:
                refused.append(str(error))
        if not ours or moment == "before this process begins":
            really(self)

    monkeypatch.setattr(PartedSQLite, "_begin_reading", begin)
    text, rows, _ = exported(path, JsonLines)
    writer.close()
    assert rows == ROWS
    if mode == "delete" and moment == "before the workers begin":
        # Who reads holds off who writes.
        assert (refused, started) == (["database is locked"], [3])
    else:
        assert (refused, started) == ([], [0])
    wanted = b"new" if moment == "before this process begins" else b"old"
    assert text.count(b'"value": "%s"}' % wanted) == ROWS


@pytest.mark.parametrize("mode", ["wal", "delete"])
def test_beside_a_busy_writer_all_rows_are_of_one_state(
    tmp_path: Path, started: list[int], mode: str
) -> None:
    """Every row is changed again and again, in one transaction each time."""
    path = tmp_path / "airflow.db"
    fill(path, value=b"0")
    with sqlite3.connect(path) as connection:
        connection.execute(f"PRAGMA journal_mode = {mode}")
    writes = (
        "import itertools, sqlite3, sys, time\n"
        "connection = sqlite3.connect(sys.argv[1], timeout=60, isolation_level=None)\n"
        "for number in itertools.count(1):\n"
        "    connection.execute('UPDATE xcom SET value = CAST(? AS BLOB)', (str(number),))\n"
        "    print(number, flush=True)\n"
        "    time.sleep(0.03)\n"
    )
    writer = subprocess.Popen([sys.executable, "-c", writes, str(path)], stdout=subprocess.PIPE)
    assert writer.stdout is not None
    states = set()
    try:
        writer.stdout.readline()
        for _ in range(15):
            text, rows, _ = exported(path, JsonLines)
            values = {json.loads(line)["value"] for line in text.splitlines()}
            assert (rows, len(values)) == (ROWS, 1)
            states |= values
    finally:
        writer.kill()
        writer.communicate()
    assert len(states) > 3, "nobody wrote"
    assert 3 in started


def test_what_fails_in_a_worker_is_reported_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own words; or, where it has gone, that it has."""
    path = tmp_path / "airflow.db"
    fill(path)
    batches, fork = PartedSQLite._batches, os.fork
    made: list[int] = []

    def noted() -> int:
        made.append(fork())
        return made[-1]

    monkeypatch.setattr(os, "fork", noted)

    def broken(self: PartedSQLite, *given: Any) -> Iterator[Any]:
        if self._parent:
            raise DatabaseError("could not read", detail="disk I/O error", hint="Look at it.")
        return batches(self, *given)

    def killed(self: PartedSQLite, *given: Any) -> Iterator[Any]:
        if self._parent:
            os.kill(os.getpid(), signal.SIGKILL)
        return batches(self, *given)

    monkeypatch.setattr(PartedSQLite, "_batches", broken)
    with pytest.raises(DatabaseError, match="could not read") as caught:
        exported(path, JsonLines)
    assert (caught.value.detail, caught.value.hint) == ("disk I/O error", "Look at it.")
    monkeypatch.setattr(PartedSQLite, "_batches", killed)
    with pytest.raises(DatabaseError, match="worker process ended unexpectedly"):
        exported(path, JsonLines)
    assert len(made) == 6
    for pid in made:
        with pytest.raises(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)


def test_a_bug_in_a_worker_is_reported_as_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With where it was."""
    path = tmp_path / "airflow.db"
    fill(path)
    ours, write_row = os.getpid(), JsonLines.write_row

    def wrong(self: JsonLines, row: Any) -> None:
        if os.getpid() != ours:
            raise KeyError("a bug")
        write_row(self, row)

    monkeypatch.setattr(JsonLines, "write_row", wrong)
    with pytest.raises(RuntimeError, match=r"in wrong(.|\n)*KeyError: 'a bug'"):
        exported(path, JsonLines)


def test_a_worker_is_some_parts_ahead_and_no_more(tmp_path: Path) -> None:
    """A slow reader does not stop the workers at once; what they hold stays bounded."""
    done = [tmp_path / str(number) for number in range(2)]

    def work(channel: Channel, number: int) -> None:
        while True:
            part = channel.receive()
            with done[number].open("a") as note:
                print(part.first, file=note)
            channel.send(part.first)

    def parts_done() -> int:
        return sum(len(one.read_text().split()) for one in done if one.exists())

    parts = [Part(number, number) for number in range(20)]
    with workers.workers(2, work) as channels:
        taken = []
        for answer in workers.in_order(channels, iter(parts)):
            taken.append(answer)
            if len(taken) == 5:
                # All parts handed out: those taken, and those queued ahead of each worker.
                given = 4 + 2 * AHEAD
                end = time.monotonic() + 60
                while parts_done() < given and time.monotonic() < end:
                    time.sleep(0.01)
                time.sleep(0.2)
                assert parts_done() == given
        assert taken == list(range(20))


def test_large_messages_pass_both_ways() -> None:
    """Far more than a pipe holds, whole and in order."""

    def echo(channel: Channel, number: int) -> None:
        while True:
            channel.send((number, channel.receive()))

    messages = [b"", b"x" * 5_000_000, {("a", None, b"\xff"): [1, 2.5]}, b"y" * 300_000]
    with workers.workers(2, echo) as channels:
        for message in messages:
            for number, channel in enumerate(channels):
                channel.send(message)
                assert channel.receive() == (number, message)


def test_without_new_processes_one_reads_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, started: list[int]
) -> None:
    """Whichever fork fails; no worker is left, and no signal blocked."""
    path = tmp_path / "airflow.db"
    fill(path)
    whole, fork = exported(path, JsonLines), os.fork
    made: list[int] = []

    def second_refused() -> int:
        if made:
            raise OSError(11, "no more processes")
        pid = fork()
        # Only seen in this process.
        made.append(pid)
        return pid

    monkeypatch.setattr(os, "fork", second_refused)
    assert exported(path, JsonLines) == whole
    assert exported(path, JsonLines) == whole
    assert started == [3, 0, 0]
    with pytest.raises(ChildProcessError):
        os.waitpid(made[0], os.WNOHANG)
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == set()


def test_another_file_under_the_name_is_not_mixed_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, started: list[int]
) -> None:
    """A backup may be moved there at any moment."""
    path, other = tmp_path / "airflow.db", tmp_path / "other.db"
    fill(path, value=b'"old"')
    fill(other, value=b'"new"')

    def begin(self: PartedSQLite, really: Any = PartedSQLite._begin_reading) -> None:
        if self._parent is None:
            other.replace(path)
        really(self)

    monkeypatch.setattr(PartedSQLite, "_begin_reading", begin)
    text, rows, _ = exported(path, JsonLines)
    assert (rows, started) == (ROWS, [0])
    # The connection was opened before the file was moved away.
    assert text.count(b'"value": "old"}') == ROWS


def test_a_slow_reader_is_no_slow_statement(tmp_path: Path) -> None:
    """--timeout bounds what the database takes, in every process."""
    path = tmp_path / "airflow.db"
    fill(path)
    with sqlite3.connect(path) as connection:
        # Their text is asked of SQLite.
        connection.execute("UPDATE xcom SET value = rowid WHERE rowid % 5 < 2")
    target = dataclasses.replace(resolve_target(url=str(path)), timeout_s=0.05)

    def write(data: bytes | memoryview) -> None:
        if len(data) > 100_000:
            time.sleep(0.06)

    with open_store(target) as store, JsonLines(write, store.schema.storage) as lines:
        store.entries.stream_into(EVERYTHING, lines)
    assert lines.rows == ROWS


def test_under_nohup_the_workers_go_on(tmp_path: Path) -> None:
    """A terminal that is closed ends no process."""
    path = tmp_path / "airflow.db"
    fill(path)
    process = subprocess.Popen(
        [sys.executable, "-c", SLOWED, "0.0002", "export", "--url", str(path), "-o", "jsonl=out", "-q"],
        cwd=tmp_path, env=clean_environment(tmp_path), stderr=subprocess.PIPE,
        start_new_session=True, preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),
    )  # fmt: skip
    children_of(process)
    os.killpg(process.pid, signal.SIGHUP)
    _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (0, b"")
    assert (tmp_path / "out").read_bytes().count(b"\n") == ROWS


def test_damage_is_reported_whoever_meets_it(tmp_path: Path) -> None:
    """As by one process."""
    path = tmp_path / "airflow.db"
    fill(path, value=b'"%s"' % (b"x" * 300))
    with sqlite3.connect(path) as connection:
        (size,) = connection.execute("PRAGMA page_size").fetchone()
        (count,) = connection.execute("PRAGMA page_count").fetchone()
    whole = path.read_bytes()
    for at in (0.3, 0.5, 0.7):
        damaged = bytearray(whole)
        start = int(count * at) * size
        for page in range(40):
            # No b-tree page has such a type.
            damaged[start + page * size] = 0x77
        path.write_bytes(damaged)
        with pytest.raises(DatabaseError, match="not a valid SQLite database"):
            exported(path, JsonLines)


SLOWED = (
    "import sys, time\n"
    "from xcomctl.exchange import lines\n"
    "from xcomctl.cli import main\n"
    "from xcomctl.db.backends import sqlite_parts as parts\n"
    "parts.spare_processors = lambda: 3\n"
    "pause = float(sys.argv[1])\n"
    "def slowly(self, row, take=lines.JsonLines.write_row):\n"
    "    take(self, row)\n"
    "    time.sleep(pause)\n"
    "lines.JsonLines.write_row = slowly\n"
    "def gather(batches, width, really=parts.gather_sizes):\n"
    "    return really((time.sleep(pause * 1000) or rows for rows in batches), width)\n"
    "parts.gather_sizes = gather\n"
    "sys.exit(main(sys.argv[2:]))\n"
)
"""The program, but that it takes its time."""


def children_of(process: subprocess.Popen[bytes]) -> list[str]:
    """Return the pids of the workers, as soon as there are all."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    end = time.monotonic() + 60
    while len(found := children.read_text().split()) < 3 and time.monotonic() < end:
        time.sleep(0.01)
    assert len(found) == 3
    return found


@pytest.mark.parametrize("command", ["export", "top"])
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_when_this_process_ends_so_do_the_workers(
    tmp_path: Path, how: signal.Signals, command: str
) -> None:
    """No process is left behind, nor a part of the file, whether there is anything to say or not."""
    path = tmp_path / "airflow.db"
    fill(path)
    output = ["-o", "jsonl=out"] if command == "export" else ["--by", "key"]
    process = subprocess.Popen(
        [sys.executable, "-c", SLOWED, "0.001", command, "--url", str(path), "-q", *output],
        cwd=tmp_path, env=clean_environment(tmp_path), stderr=subprocess.PIPE,
    )  # fmt: skip
    children = children_of(process)
    time.sleep(0.2)
    process.send_signal(how)
    process.wait(timeout=60)
    assert process.returncode == (-how if how == signal.SIGKILL else 128 + how)
    end = time.monotonic() + 10
    while any(map(_is_running, children)) and time.monotonic() < end:
        time.sleep(0.01)
    assert not any(map(_is_running, children))
    process.communicate()
    if how != signal.SIGKILL:
        assert [one.name for one in tmp_path.iterdir() if "out" in one.name] == []


def _is_running(pid: str) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    # A zombie waits only to be told of, where nobody reaps orphans.
    return state != "Z"


def test_where_no_workers_are_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """With one processor, beside threads, and elsewhere than on Linux."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    one, other = threading.Thread(), threading.Thread()
    monkeypatch.setattr(threading, "enumerate", lambda: [one])
    assert workers.spare_processors() == 2
    monkeypatch.setattr(threading, "enumerate", lambda: [one, other])
    assert workers.spare_processors() == 0
    other.pauses_at_forks = True  # type: ignore[attr-defined]
    assert workers.spare_processors() == 2
    monkeypatch.setattr(sys, "platform", "darwin")
    assert workers.spare_processors() == 0


def test_one_processor_reads_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, started: list[int]
) -> None:
    """Workers would only take turns."""
    monkeypatch.setattr(sqlite_parts, "spare_processors", lambda: 1)
    path = tmp_path / "airflow.db"
    fill(path)
    assert exported(path, JsonLines)[1] == ROWS
    assert started == [0]
