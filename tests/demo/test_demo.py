"""The demo metadata DB: what is in it, that it is always the same, and what it never overwrites."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from tests.conftest import clean_environment
from tests.program import at_terminal
from xcomctl.cli import demo
from xcomctl.demo.build import LAYOUTS, MODELS, build
from xcomctl.errors import DatabaseError, RefusedError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from xcomctl.demo.build import Layout

TABLES = ("alembic_version", "dag", "dag_run", "task_instance", "xcom")

every_layout = pytest.mark.parametrize("layout", LAYOUTS)


def query(path: Path, sql: str) -> list[tuple[object, ...]]:
    """Return the rows that a statement yields."""
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(sql).fetchall()


def content(path: Path) -> dict[str, list[tuple[object, ...]]]:
    """Return every row of every table, in the order they lie there."""
    return {table: query(path, f"SELECT *, rowid FROM {table}") for table in TABLES}


def lists(path: Path) -> list[str]:
    """Return the lists of files as JSON text, in the order of the runs."""
    sql = "SELECT CAST(value AS TEXT) FROM xcom WHERE task_id = 'list_files' ORDER BY timestamp"
    return [str(value) for (value,) in query(path, sql)]


# What is in it


@every_layout
def test_facts_are_those_of_the_file(tmp_path: Path, layout: Layout) -> None:
    """Rows, runs, DAGs and the longest list are as the database counts them."""
    facts = build(tmp_path / "demo.db", layout=layout, days=7, last_day=date(2026, 1, 7))
    assert query(facts.path, "SELECT count(*) FROM xcom") == [(facts.rows,)]
    assert query(facts.path, "SELECT count(*) FROM dag_run") == [(facts.runs,)]
    assert query(facts.path, "SELECT dag_id FROM dag") == [(dag,) for dag in facts.dags]
    assert facts.largest == max(len(text) for text in lists(facts.path))
    assert (facts.last_day - facts.first_day).days == 6


COLUMNS: dict[Layout, tuple[str, ...]] = {
    "1.10": ("id", "key", "value", "timestamp", "execution_date", "task_id", "dag_id"),
    "2.2": ("key", "value", "timestamp", "execution_date", "task_id", "dag_id"),
    "2.8": (
        *("dag_run_id", "task_id", "map_index", "key"),
        *("dag_id", "run_id", "value", "timestamp"),
    ),
    "2.10": (
        *("dag_run_id", "task_id", "map_index", "key"),
        *("dag_id", "run_id", "value", "timestamp"),
    ),
    "3.x": (
        *("dag_run_id", "task_id", "map_index", "key"),
        *("dag_result", "dag_id", "run_id", "value", "timestamp"),
    ),
}


@every_layout
def test_xcom_table_has_the_columns_of_its_release(tmp_path: Path, layout: Layout) -> None:
    """Names and order are Airflow's, and every row holds to its foreign keys."""
    path = build(tmp_path / "demo.db", layout=layout, days=3).path
    names = [row[1] for row in query(path, "PRAGMA table_info(xcom)")]
    assert names == list(COLUMNS[layout])
    assert query(path, "PRAGMA foreign_key_check") == []
    assert query(path, "PRAGMA integrity_check") == [("ok",)]


@every_layout
def test_values_are_stored_as_the_release_stores_them(tmp_path: Path, layout: Layout) -> None:
    """Airflow 1 and 2 leave bytes; in Airflow 3 SQLite makes numbers of numbers."""
    path = build(tmp_path / "demo.db", layout=layout, days=3).path
    types = {
        (str(task_id).rpartition(".")[2], stored)
        for task_id, stored in query(path, "SELECT task_id, typeof(value) FROM xcom")
    }
    number = "real" if layout == "3.x" else "blob"
    other = "text" if layout == "3.x" else "blob"
    others = ("downloading_data", "task_4", "list_files", "download_files")
    assert types == {(model, number) for model in MODELS} | {(one, other) for one in others}


@every_layout
def test_task_4_chose_the_best_model(tmp_path: Path, layout: Layout) -> None:
    """What the last task returned is the largest of the three accuracies of its run."""
    path = build(tmp_path / "demo.db", layout=layout, days=5).path
    pushed: list[tuple[str, Any]] = [
        (str(task_id), json.loads(value) if isinstance(value, bytes | str) else value)
        for task_id, value in query(
            path, "SELECT task_id, value FROM xcom WHERE dag_id = 'xcom_dag' ORDER BY rowid"
        )
    ]
    for start in range(0, len(pushed), 5):
        by_task = dict(pushed[start : start + 5])
        assert by_task["downloading_data"] == ""
        reached = {model: by_task[f"processing_tasks.{model}"] for model in MODELS}
        assert all(0.1 <= value <= 10.0 for value in reached.values())
        best = by_task["task_4"]
        assert best == {"model": best["model"], "accuracy": max(reached.values())}
        assert reached[best["model"]] == best["accuracy"]


def test_list_of_files_grows_past_what_a_blob_holds(tmp_path: Path) -> None:
    """The list grows with every run, passes 80% of 65,535 bytes, then all of them about day 60."""
    facts = build(tmp_path / "demo.db")
    sizes = [len(text) for text in lists(facts.path)]
    assert sizes == sorted(set(sizes))
    near = next(day for day, size in enumerate(sizes) if size >= 0.8 * 65_535)
    over = next(day for day, size in enumerate(sizes) if size > 65_535)
    assert (near, over) == (47, 60)
    assert facts.near_day is not None
    assert facts.over_day is not None
    assert (facts.near_day - facts.first_day).days == near
    assert (facts.over_day - facts.first_day).days == over


def test_short_demo_stays_below_the_limit(tmp_path: Path) -> None:
    """Where the list never comes near the limit, no day is named."""
    facts = build(tmp_path / "demo.db", days=30)
    assert (facts.near_day, facts.over_day) == (None, None)


# Always the same


@every_layout
def test_same_seed_gives_the_same_rows(tmp_path: Path, layout: Layout) -> None:
    """Nothing but the arguments decides what is in the demo, to the last microsecond."""
    first = build(tmp_path / "first.db", layout=layout, days=5, seed=7).path
    second = build(tmp_path / "second.db", layout=layout, days=5, seed=7).path
    assert content(first) == content(second)


def test_other_seed_gives_other_accuracies(tmp_path: Path) -> None:
    """A seed changes what is random and leaves the lists of files alone."""
    first = build(tmp_path / "first.db", days=5, seed=0).path
    second = build(tmp_path / "second.db", days=5, seed=1).path
    accuracies = "SELECT value FROM xcom WHERE key = 'model_accuracy'"
    assert not set(query(first, accuracies)) & set(query(second, accuracies))
    assert lists(first) == lists(second)


@every_layout
def test_last_run_starts_at_the_latest_midnight(tmp_path: Path, layout: Layout) -> None:
    """The demo is of now: nothing in it lies ahead, and `--since 7d` finds a week of it."""
    path = build(tmp_path / "demo.db", layout=layout, days=10).path
    today = datetime.now(UTC).date()
    day_of_push = [str(text)[:10] for (text,) in query(path, "SELECT max(timestamp) FROM xcom")]
    assert day_of_push in ([str(today)], [str(today - timedelta(days=1))])
    week = datetime.now(UTC) - timedelta(days=7)
    (recent,) = query(
        path, f"SELECT count(*) FROM xcom WHERE timestamp >= '{week:%Y-%m-%d %H:%M:%S}'"
    )
    assert recent == (7 * 7,)


@pytest.mark.parametrize("last_day", [date.min, date(3, 1, 1), date.max])
def test_days_beyond_the_calendar_are_refused(tmp_path: Path, last_day: date) -> None:
    """A demo that would begin before year 1 or end after 9999 is a usage error."""
    with pytest.raises(UsageError, match="cannot build a demo that ends on"):
        build(tmp_path / "demo.db", last_day=last_day)


def test_longer_demo_begins_like_a_shorter_one(tmp_path: Path) -> None:
    """With the same first day, more days add runs and change none."""
    short = content(build(tmp_path / "short.db", days=3, last_day=date(2026, 1, 3)).path)
    long = content(build(tmp_path / "long.db", days=6, last_day=date(2026, 1, 6)).path)
    assert all(long[table][: len(rows)] == rows for table, rows in short.items())


# What it never overwrites


def test_own_demo_is_replaced(tmp_path: Path) -> None:
    """A demo may be built over an older one."""
    path = tmp_path / "demo.db"
    build(path, days=5, layout="2.10")
    build(path, days=3, layout="3.x")
    assert query(path, "SELECT count(*) FROM dag_run") == [(6,)]
    assert [one.name for one in tmp_path.iterdir()] == ["demo.db"]


def test_link_to_a_demo_stays_a_link(tmp_path: Path) -> None:
    """The file behind a link is replaced, not the link."""
    path, link = tmp_path / "demo.db", tmp_path / "link.db"
    build(path, days=5)
    link.symlink_to(path)
    build(link, days=3)
    assert link.is_symlink()
    assert query(path, "SELECT count(*) FROM dag_run") == [(6,)]


def test_other_files_are_refused(tmp_path: Path) -> None:
    """An Airflow database, a text, an empty file and a directory are left as they are."""
    airflow = tmp_path / "airflow.db"
    with closing(sqlite3.connect(airflow)) as connection:
        connection.execute("CREATE TABLE xcom (id INTEGER)")
    text, empty, folder = tmp_path / "notes.txt", tmp_path / "empty.db", tmp_path / "folder"
    text.write_text("keep me " * 100)
    empty.touch()
    folder.mkdir()
    before = {one: one.read_bytes() for one in (airflow, text, empty)}
    for path in (*before, folder):
        with pytest.raises(RefusedError) as refusal:
            build(path, days=1)
        assert refusal.value.message == f'refused to overwrite "{path}"'
        assert refusal.value.hint
    assert {one: one.read_bytes() for one in before} == before
    assert sorted(tmp_path.iterdir()) == sorted([*before, folder])


@pytest.mark.parametrize("suffix", ["-wal", "-journal"])
def test_demo_in_use_is_refused(tmp_path: Path, suffix: str) -> None:
    """SQLite would replay a log that lies beside the old file into the new one."""
    path = tmp_path / "demo.db"
    build(path, days=3)
    before = path.read_bytes()
    (tmp_path / f"demo.db{suffix}").write_bytes(b"log")
    with pytest.raises(RefusedError, match="refused to overwrite"):
        build(path, days=1)
    assert path.read_bytes() == before


def test_failed_build_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A demo is written whole or not at all, whatever stops it."""
    path = tmp_path / "demo.db"
    build(path, days=2)
    before = path.read_bytes()

    def stop(seed: int, run_id: str, model: str) -> float:
        raise KeyboardInterrupt

    monkeypatch.setattr("xcomctl.demo.build.accuracy", stop)
    with pytest.raises(KeyboardInterrupt):
        build(path, days=5)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_missing_directory_is_named(tmp_path: Path) -> None:
    """A path that cannot be written to is a failure with its reason."""
    path = tmp_path / "nowhere" / "demo.db"
    with pytest.raises(DatabaseError) as failure:
        build(path)
    assert str(path) in failure.value.message
    assert failure.value.detail


@pytest.mark.parametrize("days", [-1, 0, 367])
def test_days_out_of_range_are_refused(tmp_path: Path, days: int) -> None:
    """A demo has from one day to a year of runs."""
    with pytest.raises(UsageError, match=f"a demo of {days} days"):
        build(tmp_path / "demo.db", days=days)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("width", [40, 60, 80])
def test_the_tour_fits_the_terminal_and_its_commands_can_be_copied(
    tmp_path: Path, width: int
) -> None:
    """No line is wider, and a command that is has a backslash where it is broken."""
    path = "a-longer-name.db"
    env = clean_environment(tmp_path) | {"NO_COLOR": "1"}
    shown = at_terminal(("demo", path, "--days", "3"), width=width, env=env, cwd=tmp_path)
    assert all(len(line) <= width for line in shown.splitlines())
    commands = shown.replace(" \\\n", "").split("\n$ ")[1:]
    first = [one.splitlines()[0].split() for one in commands]
    assert first[0] == ["xcomctl", "list", "--url", path, "--sort", "-size", "-n", "5"]
    assert len(first) == 8
    assert all(one[0] == "xcomctl" for one in first)


@pytest.mark.parametrize(
    ("called", "found", "shown"),
    [
        (".venv/bin/xcomctl", None, ".venv/bin/xcomctl limits"),
        (".venv/bin/xcomctl", "/usr/bin/xcomctl", "xcomctl limits"),
        ("/lib/xcomctl/__main__.py", None, "python -m xcomctl limits"),
        ("xcomctl", None, "xcomctl limits"),
    ],
)
def test_the_tour_shows_commands_that_can_be_typed(
    monkeypatch: pytest.MonkeyPatch, called: str, found: str | None, shown: str
) -> None:
    """As the program was called, if its name alone would not be found."""
    monkeypatch.setattr("sys.argv", [called, "demo"])
    monkeypatch.setattr("shutil.which", lambda _name: found)
    assert demo._shown(["limits"]) == shown
