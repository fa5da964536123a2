"""Two processes that read one SQLite file: the same as from one, of one state, and neither is left."""

from __future__ import annotations

import dataclasses
import json
import mmap
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
from xcomctl.db.backends import halves, twin
from xcomctl.db.backends.halves import HalvedSQLite
from xcomctl.errors import DatabaseError
from xcomctl.exchange.lines import CsvLines, JsonLines
from xcomctl.model import Selection, Size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="there is a second process on Linux only"
)

ROWS = 24_000
EVERYTHING = Selection()


@pytest.fixture(autouse=True)
def two_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever threads and processors there are here."""
    monkeypatch.setattr(halves, "worth_it", lambda: True)


@pytest.fixture
def twins(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Note of each second process whether it worked on the same state."""
    found: list[bool] = []
    begins = HalvedSQLite._twin

    def noted(self: HalvedSQLite, work: Any) -> Any:
        manager = begins(self, work)
        enter = manager.__enter__

        class Noted:
            def __enter__(self) -> Any:
                receiver = enter()
                found.append(receiver is not None)
                return receiver

            def __exit__(self, *failure: Any) -> Any:
                return manager.__exit__(*failure)

        return Noted()

    monkeypatch.setattr(HalvedSQLite, "_twin", noted)
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
        store.stream_into(selection, lines)
    return bytes(written), lines.rows, lines.bytes


def alone(monkeypatch: pytest.MonkeyPatch, call: Callable[[], Any]) -> Any:
    """Return what a call gives without a second process."""
    with monkeypatch.context() as changed:
        changed.setattr(halves, "worth_it", lambda: False)
        return call()


@pytest.mark.parametrize("generation", ["2.3", "3.0"])
def test_all_is_as_from_one_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, twins: list[bool], generation: str
) -> None:
    """Exports byte for byte, groups and the largest entries, in the same order."""
    path = tmp_path / "airflow.db"
    fill(path, generation)
    some = Selection(min_size=Size(100))

    def groups() -> Any:
        names = ("dag_id", "task_id", "key"), ("dag_id",), ("key", "run_id")
        with opened(str(path)) as store:
            return [dict(store.summaries(EVERYTHING, by, percentiles=True)) for by in names]

    def first(descending: bool, limit: int) -> Any:
        with opened(str(path)) as store:
            found = store.scan(EVERYTHING, sort="size", descending=descending, limit=limit)
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
    # Each once with a twin, in one call three times, and as often without.
    assert twins == [*([True, False] * 3), *[True] * 3, *[False] * 3, *([True, False] * 3)]


def test_filters_along_an_index_and_other_tables_take_one(
    tmp_path: Path, twins: list[bool]
) -> None:
    """Of few rows nothing is to be gained; rows WITHOUT ROWID have no numbers."""
    path = tmp_path / "airflow.db"
    fill(path)
    text, rows, _ = exported(path, JsonLines, Selection(dag_ids=("dag_1*",)))
    assert text.count(b"\n") == rows > 1000
    assert twins == []
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
    assert twins == [False, False]


@pytest.mark.parametrize("mode", ["wal", "delete"])
@pytest.mark.parametrize("moment", ["before this process begins", "before the twin begins"])
def test_who_writes_at_the_worst_moment_is_seen_as_a_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, twins: list[bool], mode: str, moment: str
) -> None:
    """Two states are never mixed: then one process reads alone."""
    path = tmp_path / "airflow.db"
    fill(path, value=b'"old"')
    writer = sqlite3.connect(path, timeout=0, isolation_level=None)
    writer.execute(f"PRAGMA journal_mode = {mode}")
    refused: list[str] = []

    def write() -> None:
        try:
            writer.execute("UPDATE xcom SET value = CAST('\"new\"' AS BLOB)")
        except sqlite3.OperationalError as error:
            refused.append(str(error))

    def go_on(self: twin.Link, facts: object = None, really: Any = twin._LinkToTwin.end) -> None:
        write()
        really(self, facts)

    def begin(self: HalvedSQLite, really: Any = HalvedSQLite._begin_reading) -> None:
        if os.getpid() == ours:
            write()
        really(self)

    ours = os.getpid()
    if moment == "before the twin begins":
        monkeypatch.setattr(twin._LinkToTwin, "end", go_on)
    else:
        monkeypatch.setattr(HalvedSQLite, "_begin_reading", begin)
    text, rows, _ = exported(path, JsonLines)
    writer.close()
    assert rows == ROWS
    if mode == "delete" and moment == "before the twin begins":
        # Who reads holds off who writes.
        assert (refused, twins) == (["database is locked"], [True])
    else:
        assert (refused, twins) == ([], [False])
    wanted = b"new" if moment == "before this process begins" else b"old"
    assert text.count(b'"value": "%s"}' % wanted) == ROWS


@pytest.mark.parametrize("mode", ["wal", "delete"])
def test_beside_a_busy_writer_all_rows_are_of_one_state(
    tmp_path: Path, twins: list[bool], mode: str
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
    assert True in twins


def test_what_fails_in_the_twin_is_told_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own words; or, where it has gone, that it has."""
    path = tmp_path / "airflow.db"
    fill(path)
    ours, batches, fork = os.getpid(), HalvedSQLite._batches, os.fork
    made: list[int] = []

    def noted() -> int:
        made.append(fork())
        return made[-1]

    monkeypatch.setattr(os, "fork", noted)

    def broken(self: HalvedSQLite, *given: Any) -> Iterator[Any]:
        if os.getpid() != ours:
            raise DatabaseError("could not read", detail="disk I/O error", hint="Look at it.")
        return batches(self, *given)

    def killed(self: HalvedSQLite, *given: Any) -> Iterator[Any]:
        if os.getpid() != ours:
            os.kill(os.getpid(), signal.SIGKILL)
        return batches(self, *given)

    monkeypatch.setattr(HalvedSQLite, "_batches", broken)
    with pytest.raises(DatabaseError, match="could not read") as caught:
        exported(path, JsonLines)
    assert (caught.value.detail, caught.value.hint) == ("disk I/O error", "Look at it.")
    monkeypatch.setattr(HalvedSQLite, "_batches", killed)
    with pytest.raises(DatabaseError, match="has gone"):
        exported(path, JsonLines)
    assert len(made) == 2
    for pid in made:
        with pytest.raises(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)


def test_a_bug_in_the_twin_is_told_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_the_twin_goes_on_until_much_is_unread(tmp_path: Path) -> None:
    """A part that takes this process long does not stop the other; memory stays bounded."""
    made, piece, count = tmp_path / "made", b"x" * 1_000_000, 40

    def work(link: twin.Link) -> None:
        for number in range(count):
            link.send(piece)
            link.end(number)
            made.write_text(str(number + 1))

    def so_far() -> int:
        return int(made.read_text() or 0) if made.exists() else 0

    with twin.twin(work) as link:
        assert link is not None
        # A pipe holds one.
        end = time.monotonic() + 60
        while so_far() < 4 and time.monotonic() < end:
            time.sleep(0.01)
        time.sleep(0.2)
        assert so_far() >= 4
        assert so_far() < 10
        for number in range(count):
            taken = bytearray()
            assert link.part(taken.extend) == number
            assert taken == piece
        with pytest.raises(DatabaseError, match="has gone"):
            link.part()


def test_what_is_sent_arrives_whatever_its_size() -> None:
    """Both ways: nothing, single bytes by the ten thousand, what fills the memory between, and more."""
    chance = random.Random(5)
    ahead = twin._AHEAD_BYTES
    sizes = [0, 1, ahead - 1, ahead, ahead + 1, 3 * ahead + 7, *(chance.randrange(300_000) for _ in range(60))]  # fmt: skip
    parts = [[chance.randbytes(size)] for size in sizes]
    parts.append([b"%d" % (number % 10) for number in range(60_000)])
    parts += [[b"x" * chance.randrange(5) for _ in range(chance.randrange(9))] for _ in range(300)]
    chance.shuffle(parts)

    def echo(link: twin.Link) -> None:
        for number, _ in enumerate(parts):
            taken = bytearray()
            assert link.part(taken.extend) == number
            view = memoryview(taken)
            for at in range(0, len(taken), 100_000):
                link.send(view[at : at + 100_000])
            link.end(len(taken))

    def send(link: twin.Link) -> None:
        for number, pieces in enumerate(parts):
            for piece in pieces:
                link.send(piece)
            link.end(number)

    with twin.twin(echo) as link:
        assert link is not None
        for number, pieces in enumerate(parts):
            for piece in pieces:
                link.send(piece)
            link.end(number)
            taken = bytearray()
            assert link.part(taken.extend) == len(b"".join(pieces))
            assert taken == b"".join(pieces)
    with twin.twin(send) as link:
        assert link is not None
        for number, pieces in enumerate(parts):
            taken = bytearray()
            assert link.part(taken.extend) == number
            assert taken == b"".join(pieces)


def test_without_pipes_or_processes_one_reads_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, twins: list[bool]
) -> None:
    """Nothing stays open, and no signal blocked."""
    path = tmp_path / "airflow.db"
    fill(path)
    whole, pipe = exported(path, JsonLines), os.pipe
    made: list[int] = []

    def refused(*_: int) -> Any:
        raise OSError(24, "no more")

    def second_refused() -> Any:
        if made:
            refused()
        made.extend(pipe())
        return tuple(made)

    cases = ((os, "fork", refused), (os, "pipe", refused), (os, "pipe", second_refused), (mmap, "mmap", refused))  # fmt: skip
    for module, name, fails in cases:
        with monkeypatch.context() as changed:
            changed.setattr(module, name, fails)
            assert exported(path, JsonLines) == whole
    assert twins == [True, False, False, False, False]
    for one in made:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(one)
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == set()


def test_another_file_under_the_name_is_not_mixed_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, twins: list[bool]
) -> None:
    """A backup may be moved there at any moment."""
    path, other = tmp_path / "airflow.db", tmp_path / "other.db"
    fill(path, value=b'"old"')
    fill(other, value=b'"new"')

    def begin(self: HalvedSQLite, really: Any = HalvedSQLite.use) -> Any:
        if os.getpid() == ours and other.exists() and path.exists() and began:
            time.sleep(0.3)
            other.replace(path)
        began.append(True)
        return lambda connection: really(self, connection)

    ours = os.getpid()
    began: list[bool] = []
    monkeypatch.setattr(HalvedSQLite, "use", property(begin))
    text, rows, _ = exported(path, JsonLines)
    assert (rows, twins) == (ROWS, [False])
    assert text.count(b'"value": "new"}') == ROWS


def test_a_slow_reader_is_no_slow_statement(tmp_path: Path) -> None:
    """--timeout bounds what the database takes, in both processes."""
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
        store.stream_into(EVERYTHING, lines)
    assert lines.rows == ROWS


def test_under_nohup_the_twin_goes_on(tmp_path: Path) -> None:
    """A terminal that is closed ends neither process."""
    path = tmp_path / "airflow.db"
    fill(path)
    process = subprocess.Popen(
        [sys.executable, "-c", SLOWED, "0.0002", "export", "--url", str(path), "-o", "jsonl=out", "-q"],
        cwd=tmp_path, env=clean_environment(tmp_path), stderr=subprocess.PIPE,
        start_new_session=True, preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),
    )  # fmt: skip
    child_of(process)
    os.killpg(process.pid, signal.SIGHUP)
    _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (0, b"")
    assert (tmp_path / "out").read_bytes().count(b"\n") == ROWS


def test_a_damaged_half_is_told_as_a_whole_one_is(tmp_path: Path) -> None:
    """Whichever process meets it."""
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
        with pytest.raises(DatabaseError, match="not a sound SQLite database"):
            exported(path, JsonLines)


SLOWED = (
    "import sys, time\n"
    "from xcomctl.exchange import lines\n"
    "from xcomctl.cli import main\n"
    "from xcomctl.db.backends import halves\n"
    "halves.worth_it = lambda: True\n"
    "pause = float(sys.argv[1])\n"
    "def slowly(self, row, take=lines.JsonLines.write_row):\n"
    "    take(self, row)\n"
    "    time.sleep(pause)\n"
    "lines.JsonLines.write_row = slowly\n"
    "def gather(batches, width, really=halves.gather_sizes):\n"
    "    return really((time.sleep(pause * 1000) or rows for rows in batches), width)\n"
    "halves.gather_sizes = gather\n"
    "sys.exit(main(sys.argv[2:]))\n"
)
"""The program, but that it takes its time."""


def child_of(process: subprocess.Popen[bytes]) -> str:
    """Return the pid of the twin, as soon as there is one."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    end = time.monotonic() + 60
    while not (found := children.read_text().split()) and time.monotonic() < end:
        time.sleep(0.01)
    (child,) = found
    return child


@pytest.mark.parametrize("command", ["export", "top"])
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_when_this_process_ends_so_does_the_twin(
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
    child = child_of(process)
    time.sleep(0.2)
    process.send_signal(how)
    process.wait(timeout=60)
    assert process.returncode == (-how if how == signal.SIGKILL else 128 + how)
    end = time.monotonic() + 10
    while _is_running(child) and time.monotonic() < end:
        time.sleep(0.01)
    assert not _is_running(child)
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


def test_where_a_second_process_is_not_worth_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """With one processor, beside threads, and elsewhere than on Linux."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    monkeypatch.setattr(threading, "active_count", lambda: 1)
    assert twin.worth_it()
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3})
    assert not twin.worth_it()
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    monkeypatch.setattr(threading, "active_count", lambda: 2)
    assert not twin.worth_it()
    monkeypatch.setattr(threading, "active_count", lambda: 1)
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not twin.worth_it()
