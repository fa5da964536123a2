"""What is selected, in which order, and what is found: every generation on every backend."""

from __future__ import annotations

import contextlib
import datetime as dt
import sqlite3
from typing import TYPE_CHECKING, Any

import pytest

from tests.metadata import Metadata
from xcomctl.config.target import resolve_target
from xcomctl.db import open_store
from xcomctl.db.write.delete import Delete
from xcomctl.db.write.push import Push
from xcomctl.db.write.restore_target import RestoreTarget
from xcomctl.errors import NotFoundError
from xcomctl.model import Encoding, Selection, Size

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.conftest import Run
    from xcomctl.db.read.contracts import EntrySource, NameSource
    from xcomctl.db.read.store import Store
    from xcomctl.db.write.delete import BatchDeleter
    from xcomctl.db.write.push import ValuePusher
    from xcomctl.db.write.restore import RowTarget
    from xcomctl.model import SortKey
    from xcomctl.sizes.statistics import SizeSource

GENERATIONS = ("1.10", "2.0", "2.3", "3.0", "3.4")
DAY = dt.datetime(2026, 3, 1, 12)


def opened(url: str) -> Any:
    return open_store(resolve_target(url=url))


@pytest.fixture(params=GENERATIONS)
def generation(request: pytest.FixtureRequest) -> str:
    return str(request.param)


NAMES = (
    "plain", "with_underscore", "withXunderscore", "per%cent", "perXcent", "UPPER", "upper",
    "a.b", "axb", "[bracket]", "back\\slash", "star*", "quote'd", "trail ", "trail", "é", "😀",
)  # fmt: skip


def ascii_only(metadata: Metadata) -> tuple[str, ...]:
    """Return the names that the backend's key columns can hold."""
    if metadata.backend != "mysql":
        return NAMES
    return tuple(name for name in NAMES if name != "😀")


GLOBS = {
    "with_*": {"with_underscore"},
    "per%cent": {"per%cent"},
    "per%*": {"per%cent"},
    "UPPER": {"UPPER"},
    "upp*": {"upper"},
    "[Uu]p*": {"upper"},
    "[Uu]*": {"UPPER", "upper"},
    "[!a-zA-Z]*": {"[bracket]", "é", "😀"},
    "a?b": {"a.b", "axb"},
    "a.?": {"a.b"},
    "[[]b*": {"[bracket]"},
    "back\\*": {"back\\slash"},
    "back\\slash": {"back\\slash"},
    "star[*]": {"star*"},
    "quote'*": {"quote'd"},
    "trail ": {"trail "},
    "trail": {"trail"},
    "trai?": {"trail"},
    "trail?": {"trail "},
    "?": {"é", "😀"},
    "😀": {"😀"},
    "nothing*": set(),
    "*": set(NAMES),
}


def test_globs_and_exact_names(empty_url: str) -> None:
    """`_` and `%` are ordinary, case and trailing spaces count, on every column."""
    metadata = Metadata(empty_url)
    there = ascii_only(metadata)
    # MySQL's padding comparison holds two keys that differ in spaces for one: runs of their own.
    for name in there:
        metadata.add(b"1", dag_id=name, task_id=name, key=name, run_id=f"r {name}")
    with opened(empty_url) as store:
        for glob, expected in GLOBS.items():
            wanted = expected & set(there)
            for selection in (
                Selection(dag_ids=(glob,)),
                Selection(task_ids=(glob,)),
                Selection(keys=(glob,)),
                Selection(run_ids=(f"r {glob}",)),
            ):
                found = {entry.ref.dag_id for entry in store.entries.scan(selection)}
                assert found == wanted, (glob, selection)
                assert store.entries.count(selection) == len(wanted)
        several = Selection(dag_ids=("plain", "a?b", "nothing"))
        assert {one.ref.dag_id for one in store.entries.scan(several)} == {"plain", "a.b", "axb"}


def test_every_generation_is_read(empty_url: str, generation: str) -> None:
    """Identity, size, time, order and values, of rows with a run."""
    metadata = Metadata(empty_url, generation)
    for day in range(3):
        date = DAY + dt.timedelta(days=day)
        text = f'{{"day": {day}}}'
        metadata.add(
            text if metadata.json else text.encode(), run_id=f"run_{day}", date=date, timestamp=date
        )
    with opened(empty_url) as store:
        assert store.schema.generation.name == generation.replace("3.0", "2.3")
        assert store.schema.storage == ("json" if generation.startswith("3") else "bytes")
        entries = list(store.entries.scan(Selection(), sort="run", descending=True))
        assert [entry.ref.run_id for entry in entries] == ["run_2", "run_1", "run_0"]
        newest = entries[0]
        assert newest.ref.logical_date == (DAY + dt.timedelta(days=2)).replace(tzinfo=dt.UTC)
        assert newest.timestamp == newest.ref.logical_date
        assert newest.encoding is Encoding.JSON
        if metadata.backend != "postgresql" or not metadata.json:
            assert newest.size == 10
        (found,) = store.entries.find("dag", "task", "return_value")
        assert found.ref.run_id == "run_2"
        assert store.entries.read(found) in (b'{"day": 2}', '{"day": 2}')
        (by_run,) = store.entries.find("dag", "task", "return_value", run_id="run_1")
        assert by_run.ref.run_id == "run_1"
        if generation in ("1.10", "2.0"):
            (by_date,) = store.entries.find(
                "dag", "task", "return_value", run_id="2026-03-01T12:00:00Z"
            )
            assert by_date.ref.run_id == "run_0"


@pytest.mark.parametrize("generation", [one for one in GENERATIONS if one != "3.4"])
def test_rows_without_a_run_are_shown(run: Run, empty_url: str, generation: str) -> None:
    """No dag_run, a wrong dag_run_id: listed, and pulled by what names them."""
    metadata = Metadata(empty_url, generation)
    orphan: Any = "1" if metadata.json else b"1"
    metadata.add(orphan, task_id="orphan", run_id="gone", with_run=False)
    metadata.add(orphan, task_id="fine", run_id="here", date=DAY)
    if metadata.mapped:
        metadata.add(orphan, task_id="wrong", run_id="here", dag_run_id=4711)
    entries = run("list", "--url", empty_url, "-o", "json").json()["xcom_entries"]
    by_task = {entry["task_id"]: entry for entry in entries}
    assert set(by_task) == {"orphan", "fine"} | ({"wrong"} if metadata.mapped else set())
    if metadata.mapped:
        assert by_task["orphan"]["run_id"] == "gone"
        assert by_task["orphan"]["logical_date"] is None
        wrong = run("pull", "dag", "wrong", "--url", empty_url, "-r", "here")
        assert wrong.json() == 1
        assert "returns None" in wrong.err
        assert "returns None" not in run("pull", "dag", "fine", "--url", empty_url).err
    else:
        assert by_task["orphan"]["run_id"] is None
        assert by_task["orphan"]["logical_date"] == "2026-01-31T07:08:09.123456Z"
    pulled = run("pull", "dag", "orphan", "--url", empty_url)
    assert pulled.json() == 1
    name = by_task["orphan"]["run_id"] or by_task["orphan"]["logical_date"]
    assert run("pull", "dag", "orphan", "--url", empty_url, "-r", name).json() == 1
    assert run("audit", "--deep", "--url", empty_url).code == 0


def test_null_values_and_keys(run: Run, empty_url: str, generation: str) -> None:
    """SQL NULL is no JSON null; 1.10 also allows it as a key."""
    metadata = Metadata(empty_url, generation)
    metadata.add(None, task_id="null_value")
    if generation == "1.10":
        metadata.add(b"1", task_id="null_key", key=None)
    entries = run("list", "--url", empty_url, "-o", "json").json()["xcom_entries"]
    by_task = {entry["task_id"]: entry for entry in entries}
    assert by_task["null_value"]["encoding"] == "null"
    assert by_task["null_value"]["size_bytes"] is None
    if generation == "1.10":
        assert by_task["null_key"]["key"] is None
    pulled = run("pull", "dag", "null_value", "--url", empty_url)
    if generation in ("1.10", "2.0"):
        assert pulled.json()["__xcomctl__"]["encoding"] == "null"
    else:
        assert pulled.json() is None
    for form in ("table", "csv", "yaml", "markdown"):
        assert run("list", "--url", empty_url, "-o", form, "--value").code == 0
    assert run("audit", "--deep", "--url", empty_url).code == 0


def test_duplicates_of_1_10(run: Run, empty_url: str) -> None:
    """`list` shows each, `pull` takes the newest; of the same moment, as Airflow, the first."""
    metadata = Metadata(empty_url, "1.10")
    later = dt.datetime(2026, 1, 31, 8)
    metadata.add(b'"old"')
    metadata.add(b'"new"', timestamp=later)
    metadata.add(b'"same moment"', timestamp=later)
    metadata.add(b'"older"', timestamp=dt.datetime(2026, 1, 30))
    assert len(run("list", "--url", empty_url, "-o", "json").json()["xcom_entries"]) == 4
    done = run("pull", "dag", "task", "--url", empty_url)
    assert done.json() == "new"
    assert "4 rows" in done.err


def test_mapped_tasks(run: Run, empty_url: str) -> None:
    """One index, all of them in order, and what is said when there is none at -1."""
    metadata = Metadata(empty_url)
    for index in (10, 2, 0):
        metadata.add(b"%d" % index, map_index=index)
    where = ("--url", empty_url)
    assert run("pull", "dag", "task", "-m", "2", *where).json() == 2
    assert run("pull", "dag", "task", "--all-map-indexes", *where).json() == [0, 2, 10]
    missing = run("pull", "dag", "task", *where)
    assert missing.code == 4
    assert "0, 2, 10" in missing.err or "0, 10, 2" in missing.err
    listed = run("list", "-m", "2", "-m", "10", "-o", "json", *where).json()["xcom_entries"]
    assert sorted(entry["map_index"] for entry in listed) == [2, 10]


def test_filters_by_time_and_size(empty_url: str, generation: str) -> None:
    """Bounds are inclusive; naive means UTC."""
    metadata = Metadata(empty_url, generation)
    for number in range(5):
        value: Any = '"' + "x" * (10 * number) + '"'
        stamp = DAY + dt.timedelta(hours=number)
        metadata.add(
            value if metadata.json else value.encode(),
            run_id=f"run_{number}", date=stamp, timestamp=stamp,
        )  # fmt: skip
    utc = DAY.replace(tzinfo=dt.UTC)

    def runs(store: Store, selection: Selection) -> list[str]:
        return sorted(str(one.ref.run_id) for one in store.entries.scan(selection))

    with opened(empty_url) as store:
        since = utc + dt.timedelta(hours=3)
        assert runs(store, Selection(since=since)) == ["run_3", "run_4"]
        assert runs(store, Selection(until=utc + dt.timedelta(hours=1))) == ["run_0", "run_1"]
        sizes = {str(one.ref.run_id): one.size or 0 for one in store.entries.scan(Selection())}
        middle = Size(sizes["run_2"])
        assert runs(store, Selection(min_size=middle)) == ["run_2", "run_3", "run_4"]
        assert runs(store, Selection(max_size=middle)) == ["run_0", "run_1", "run_2"]
        keys: tuple[SortKey, ...] = ("size", "timestamp", "run")
        for key in keys:
            up = [one.ref.run_id for one in store.entries.scan(Selection(), sort=key)]
            down = [
                one.ref.run_id for one in store.entries.scan(Selection(), sort=key, descending=True)
            ]
            assert up == [f"run_{number}" for number in range(5)]
            assert down == up[::-1]


def test_largest_first_with_a_large_json_value(empty_url: str) -> None:
    """MySQL cannot sort rows that touch a JSON of a megabyte; we can."""
    metadata = Metadata(empty_url, "3.0")
    for number, length in enumerate((10, 3_000_000, 1000)):
        metadata.add('"' + "y" * length + '"', run_id=f"run_{number}")
    with opened(empty_url) as store:
        keys: tuple[SortKey, ...] = ("size", "timestamp", "dag_id", "run")
        for sort in keys:
            found = list(store.entries.scan(Selection(), sort=sort, descending=True))
            assert len(found) == 3
        largest = next(iter(store.entries.scan(Selection(), sort="size", descending=True)))
        assert largest.ref.run_id == "run_1"


def test_columns_that_are_new_do_not_matter(empty_url: str, generation: str) -> None:
    """An unknown column is fine; the table is asked, not the version."""
    metadata = Metadata(empty_url, generation)
    table = "xcom_v2" if metadata.split else "xcom"
    metadata.execute(f"ALTER TABLE {table} ADD COLUMN new_in_3_9 INTEGER")
    metadata.add("1" if metadata.json else b"1")
    with opened(empty_url) as store:
        assert len(list(store.entries.scan(Selection()))) == 1


@pytest.mark.parametrize("backend", ["sqlite"])
def test_storage_classes_of_sqlite(run: Run, tmp_path: Path, backend: str) -> None:
    """Integer, real, text, blob and null in a JSON column; text where Airflow wants bytes."""
    path = tmp_path / f"{backend}.db"
    metadata = Metadata(str(path), "3.0")
    cases: dict[str, tuple[Any, Any]] = {
        "integer": (7, 7),
        "real": (2.5, 2.5),
        "text": ('{"a": 1}', {"a": 1}),
        "blob": (b"12345678901234567890123", 12345678901234567890123),
        "blob_utf16": ('"x"'.encode("utf-16"), "x"),
        "null": (None, None),
    }
    for name, (value, _) in cases.items():
        metadata.add(value, task_id=name)
    for name, (_, expected) in cases.items():
        assert run("pull", "dag", name, "--url", path, "-q").json() == expected, name
    old = tmp_path / "old.db"
    Metadata(str(old)).add('{"a": 1}')
    told = run("pull", "dag", "task", "--url", old).json()["__xcomctl__"]
    assert told["encoding"] == "text"
    assert told["value"] == {"a": 1}
    assert run("pull", "dag", "task", "--url", old, "-o", "raw").stdout == b'{"a": 1}'


@pytest.mark.parametrize("generation", [one for one in GENERATIONS if one != "3.4"])
def test_names_and_times_of_other_storage_classes(
    run: Run, tmp_path: Path, generation: str
) -> None:
    """SQLite lets a blob into a column of names, and anything into one of times."""
    path = tmp_path / "airflow.db"
    metadata = Metadata(str(path), generation)
    for number in range(4):
        metadata.add(b"1", task_id=f"task_{number}")
    odd: dict[str, tuple[object, ...]] = {
        "task_id": (b"b\xff", b""),
        "key": (b"k",),
        "timestamp": (5, 1.5, b"\xff"),
    }
    if generation in ("1.10", "2.0"):
        odd["execution_date"] = (5, 1.5, b"x")
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("PRAGMA foreign_keys = OFF")
        for column, values in odd.items():
            for value in values:
                last = "(SELECT max(rowid) FROM xcom)"
                database.execute(f"UPDATE xcom SET {column} = ? WHERE rowid = {last}", (value,))
                for command in (
                    ("list", "-o", "jsonl"), ("list", "-o", "csv", "--sort", "-size"), ("list", "--sort", "timestamp"),
                    ("audit", "--deep"), ("top", "--by", "task_id", "--by", "day"), ("top", "--forecast"), ("export",),
                ):  # fmt: skip
                    done = run(*command, "--url", path)
                    assert done.code == 0, (column, value, command, done.err)
                assert len(run("list", "--url", path, "-o", "jsonl").out.splitlines()) == 4


def test_rows_stream(empty_url: str) -> None:
    """The first of many rows comes before the last was fetched."""
    metadata = Metadata(empty_url)
    metadata.run("dag", "run_1")
    with metadata.engine.begin() as connection:
        for number in range(0, 3000, 500):
            rows = ", ".join(
                f"(1, 'task_{one}', 'dag', 'run_1', 'k', '2026-01-01 00:00:00')"
                for one in range(number, number + 500)
            )
            name = "`key`" if metadata.backend == "mysql" else '"key"'
            connection.exec_driver_sql(
                f"INSERT INTO xcom (dag_run_id, task_id, dag_id, run_id, {name}, timestamp) VALUES {rows}"
            )
    with opened(empty_url) as store:
        rows_: Iterator[Any] = store.entries.scan(Selection())
        first = next(rows_)
        assert first.ref.dag_id == "dag"
        assert store.table.streams, "the result is still open"
        assert sum(1 for _ in rows_) == 2999


def test_the_parts_of_a_store_are_what_their_contracts_say(tmp_path: Path) -> None:
    """mypy checks these assignments: a stand-in with the same methods can take their places."""
    Metadata(str(tmp_path / "airflow.db"), with_instances=True).add(b"1")
    with open_store(resolve_target(url=str(tmp_path / "airflow.db"))) as store:
        entries: EntrySource = store.entries
        sizes: SizeSource = store.sizes
        names: NameSource = store.suggest
        pusher: ValuePusher = Push(store)
        deleter: BatchDeleter = Delete(store)
        target: RowTarget = RestoreTarget(store)
        assert entries.count(Selection()) == 1
        assert [one.rows for _, one in sizes.by_group(Selection(), ["dag_id"])] == [1]
        assert names.dag_ids() == ["dag"]
        with pytest.raises(NotFoundError):
            pusher.place("dag", "task", "key", None, -1)
        assert deleter.breather_s >= 0
        assert target.schema.mapped
