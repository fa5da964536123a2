"""Delete: a plan that touches nothing, and a removal that does what the plan says and no more."""

from __future__ import annotations

import datetime as dt
import json
import shlex
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from tests.metadata import WHEN, Metadata

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Run


@pytest.fixture
def metadata(empty_url: str) -> Metadata:
    """Six runs of two tasks each, ten days apart, the newest still running."""
    made = Metadata(empty_url, with_instances=True)
    for number in range(6):
        run_id = f"run_{number}"
        for task_id in ("extract", "load"):
            made.instance("dag", task_id, run_id)
            made.add(
                json.dumps("x" * 10 * (number + 1)).encode(),
                task_id=task_id,
                run_id=run_id,
                timestamp=WHEN + dt.timedelta(days=10 * number),
            )
    made.execute("UPDATE dag_run SET state = 'running' WHERE run_id = 'run_5'")
    return made


def exported(run: Run, metadata: Metadata) -> list[bytes]:
    """Return what is there, in an order of its own."""
    return sorted(run("export", "--url", metadata.url, "-q").stdout.splitlines())


def left(run: Run, metadata: Metadata) -> list[str]:
    """Return the runs and tasks that have an XCom still."""
    listed = run("list", "--url", metadata.url, "-n", "0", "-o", "json").json()
    return sorted(f"{one['run_id']}/{one['task_id']}" for one in listed["xcom_entries"])


def test_the_plan_is_what_is_removed(metadata: Metadata, tmp_path: Path, run: Run) -> None:
    """Without --yes nothing goes; with it the same numbers, and the undo file brings it back."""
    before = exported(run, metadata)
    given = ("delete", "--url", metadata.url, "--until", "2026-03-01", "-o", "json")
    plan = run(*given).json()
    assert (plan["dry_run"], plan["rows"], plan["size_bytes"]) == (True, 6, 2 * (12 + 22 + 32))
    assert [one["rows"] for one in plan["tasks"]] == [3, 3]
    assert exported(run, metadata) == before
    undo = tmp_path / "undo.jsonl"
    done = run(*given, "--yes", "--undo-file", undo, "--batch-size", "4").json()
    assert {**done, "dry_run": True} == plan
    assert left(run, metadata) == [f"run_{n}/{t}" for n in (3, 4, 5) for t in ("extract", "load")]
    assert run("import", "--url", metadata.url, undo).code == 0
    assert exported(run, metadata) == before
    # What an undo file holds is never written over.
    again = run(*given, "--yes", "--undo-file", undo)
    assert (again.code, "exists" in again.err) == (5, True)


def test_the_newest_runs_are_kept_and_active_ones_left_alone(metadata: Metadata, run: Run) -> None:
    """--keep-last counts the runs of each task and key, whatever the other filters say."""
    metadata.add(b"1", task_id="load", key="rare", run_id="run_0")
    metadata.add(b"1", task_id="load", key="rare ", run_id="run_1")
    given = ("delete", "--url", metadata.url, "--yes", "-o", "json")
    done = run(*given, "--keep-last", "2", "--task-id", "load", "--until", "2026-03-01").json()
    assert done["rows"] == 3
    assert [one for one in left(run, metadata) if "load" in one] == [
        "run_0/load", "run_1/load", "run_3/load", "run_4/load", "run_5/load",
    ]  # fmt: skip
    done = run(*given, "--task-id", "extract")
    assert (done.json()["rows"], done.json()["active_rows"]) == (5, 1)
    assert "of unfinished runs" in done.err
    assert "run_5/extract" in left(run, metadata)
    assert run(*given, "--task-id", "extract", "--include-active").json()["rows"] == 1


def test_dags_that_airflow_does_not_know_can_be_named(metadata: Metadata, run: Run) -> None:
    """--dag-missing looks into the table dag; case and trailing spaces make another DAG."""
    metadata.execute("INSERT INTO dag (dag_id) VALUES ('dag')")
    metadata.instance("Dag", "load", "run_0")
    metadata.add(b"1", dag_id="Dag", task_id="load", run_id="run_0")
    plan = run("delete", "--url", metadata.url, "--dag-missing", "-o", "json").json()
    assert [one["dag_id"] for one in plan["tasks"]] == ["Dag"]


def test_a_delete_without_a_filter_is_refused(metadata: Metadata, run: Run) -> None:
    """--yes alone would empty the table."""
    done = run("delete", "--url", metadata.url, "--yes")
    assert (done.code, "without a filter" in done.err) == (2, True)
    assert run("delete", "--url", metadata.url, "-o", "json").json()["rows"] == 10
    assert len(left(run, metadata)) == 12


def test_a_held_row_stops_the_delete_and_the_same_command_goes_on(
    metadata: Metadata, run: Run
) -> None:
    """It waits for others no longer than the lock timeout, and says how far it came."""
    given = ("delete", "--url", metadata.url, "-t", "load", "--yes", "--batch-size", "1")
    wait = ("--lock-timeout", "1s", "-o", "json")
    with metadata.engine.connect() as holder:
        if metadata.backend == "sqlite":
            holder.exec_driver_sql("BEGIN IMMEDIATE")
        holder.execute(sa.text("UPDATE xcom SET timestamp = timestamp WHERE run_id = 'run_2'"))
        stopped = run(*given, *wait)
    assert (stopped.code, "another session held" in stopped.err) == (3, True), stopped.err
    assert "before it stopped" in stopped.err
    done = run(*given, *wait)
    assert done.code == 0, done.err
    assert [one for one in left(run, metadata) if "load" in one] == ["run_5/load"]


def test_others_insert_while_a_delete_runs(metadata: Metadata, run: Run) -> None:
    """No insert of another session's waits for longer than a batch."""
    metadata.instance("dag", "t0", "run_0")
    rows: list[dict[str, Any]] = [
        {"run": metadata.runs["dag", "run_0"], "key": f"k{number}", "when": WHEN.strftime("%Y-%m-%d %H:%M:%S.%f")}
        for number in range(3000)
    ]  # fmt: skip
    key = "`key`" if metadata.backend == "mysql" else '"key"'
    insert = sa.text(
        f"INSERT INTO xcom (dag_run_id, task_id, map_index, {key}, dag_id, run_id, timestamp)"
        " VALUES (:run, 't0', -1, :key, 'dag', 'run_0', :when)"
    )
    with metadata.engine.begin() as connection:
        connection.execute(insert, rows)
    waits: list[float] = []
    over = threading.Event()

    def insert_others() -> None:
        number = 0
        while not over.is_set():
            started = time.monotonic()
            with metadata.engine.begin() as connection:
                connection.execute(insert, [{**rows[0], "key": f"other{number}"}])
            waits.append(time.monotonic() - started)
            number += 1
            time.sleep(0.01)

    other = threading.Thread(target=insert_others)
    other.start()
    try:
        done = run("delete", "--url", metadata.url, "-k", "k*", "--yes", "--batch-size", "200",
                   "--pause", "0.01s", "-o", "json")  # fmt: skip
    finally:
        over.set()
        other.join()
    assert done.json()["rows"] == 3000, done.err
    assert max(waits) < 5
    counted = run("list", "--url", metadata.url, "-k", "other*", "-n", "0", "-o", "json").json()
    assert counted["returned"] == len(waits)


def test_the_command_that_undoes_it_is_printed_and_works(run: Run) -> None:
    """For `delete` and `push`, with the options that named the database."""
    run("demo", "a demo.db", "--no-tour", "--days", "3")
    on_demo = ("--url", "a demo.db")
    before = run("export", *on_demo, "-q").stdout
    changes = (("delete", "--keep-last", "1"), ("push", "xcom_dag", "task_4", "5", "--replace"))
    for number, change in enumerate(changes):
        done = run(*change, "--yes", "--undo-file", f"my undo {number}.jsonl", *on_demo)
        assert done.code == 0, done.err
        line = done.err.split("to undo this: ")[1].splitlines()[0]
        assert shlex.split(line)[:3] == ["xcomctl", "import", f"my undo {number}.jsonl"]
        assert run("export", *on_demo, "-q").stdout != before
        undone = run(*shlex.split(line)[1:], "--yes")
        assert undone.code == 0, undone.err
        assert sorted(run("export", *on_demo, "-q").stdout.splitlines()) == sorted(
            before.splitlines()
        )
