"""Why a pull returns nothing: each cause, staged on every release and every backend."""

from __future__ import annotations

import datetime as dt
import json
import zlib
from typing import TYPE_CHECKING, Any, get_args

import pytest

from tests.metadata import WHEN
from tests.staged import RELEASES, Staged
from xcomctl.audit.causes import explain
from xcomctl.audit.evidence import Question
from xcomctl.audit.states import Cause
from xcomctl.config.target import resolve_target
from xcomctl.db import open_store
from xcomctl.db.read.evidence import collect

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.servers import Server
    from xcomctl.audit.causes import Explanation

Stage = tuple["Callable[[Staged], None]", Question, Cause, str, str]
"""What happened, what is asked, the cause, words of the verdict, and the first release with it."""

LOAD = Question("etl", "load")


def ran(staged: Staged, state: str | None = "success", **more: object) -> None:
    """Make the newest of two runs, in which `load` has this state; another pushed in both."""
    staged.has_run("run_0", day=-1)
    staged.has_run("run_1", "success" if state == "success" else "failed")
    staged.has_task(state, **more)  # type: ignore[arg-type]
    staged.has_task("success", "extract")
    staged.pushed(task_id="extract")


def pushed(staged: Staged) -> None:
    ran(staged)
    staged.pushed()


def unknown_dag(staged: Staged) -> None:
    pushed(staged)


def in_group(staged: Staged) -> None:
    staged.has_run()
    staged.has_task("success", "group.load")
    staged.pushed(task_id="group.load")


def queued_run(staged: Staged) -> None:
    pushed(staged)
    staged.has_run("run_2", "queued", day=1)


def added_later(staged: Staged) -> None:
    staged.has_run()
    staged.has_task("success", "extract")
    staged.has_dag({"extract": {}, "load": {}})


def waits(staged: Staged) -> None:
    staged.has_run("run_1", "running")
    staged.has_task("scheduled", tries=0, ran=False)


def upstream_failed(staged: Staged) -> None:
    staged.has_run("run_1", "failed")
    staged.has_task("upstream_failed", tries=0, ran=False)
    staged.has_task("failed", "extract")
    staged.has_dag({"extract": {"downstream_task_ids": ["load"]}, "load": {}})


def marked(staged: Staged) -> None:
    ran(staged, tries=0, ran=False)


def runs_again(staged: Staged) -> None:
    staged.has_run("run_1", "running")
    staged.has_task("running", tries=2)
    staged.had_try(1, "success")


def reschedules(staged: Staged) -> None:
    staged.has_run("run_1", "running")
    staged.has_task("up_for_reschedule")


def deferred(staged: Staged) -> None:
    staged.has_run("run_1", "running")
    staged.has_task("deferred", trigger_id=7)
    name = "`trigger`" if staged.backend == "mysql" else '"trigger"'
    staged.execute(f"INSERT INTO {name} (id, classpath) VALUES (7, 'a.b.WaitTrigger')")


def failed(staged: Staged) -> None:
    ran(staged, "failed")
    staged.pushed(key="early")


def retries(staged: Staged) -> None:
    staged.has_run("run_1", "running")
    staged.has_task("up_for_retry")


def lost(staged: Staged) -> None:
    ran(staged, "failed", tries=1, ran=False)


def skipped_by_branch(staged: Staged) -> None:
    staged.has_run()
    staged.has_task("skipped", tries=0, ran=False)
    staged.has_task("success", "choose")
    staged.has_dag({"choose": {"downstream_task_ids": ["load", "other"]}, "load": {}, "other": {}})
    staged.pushed('{"followed": ["other"]}', "skipmixin_key", task_id="choose")


def skipped_itself(staged: Staged) -> None:
    ran(staged, "skipped")


def nothing_to_map(staged: Staged) -> None:
    staged.has_run()
    staged.has_task("skipped", tries=0, ran=False)
    staged.has_task("success", "extract")
    tasks: dict[str, dict[str, Any]] = {"load": {"_is_mapped": True}}
    tasks["extract"] = {"downstream_task_ids": ["load"]}
    staged.has_dag(tasks)
    staged.execute(
        "INSERT INTO task_map (dag_id, task_id, run_id, map_index, length)"
        " VALUES ('etl', 'extract', 'run_1', -1, 0)"
    )


def cleared(staged: Staged) -> None:
    staged.has_run("run_1", "running")
    staged.has_task(None)
    staged.had_try(1, "success")


def cleaned(staged: Staged) -> None:
    staged.has_run("run_0", day=-1)
    staged.has_task("success", run_id="run_0", day=-1)
    pushed(staged)


def returned_none(staged: Staged) -> None:
    ran(staged)
    staged.has_dag({"load": {}, "extract": {}})


def perhaps_none(staged: Staged) -> None:
    ran(staged)


def all_gone(staged: Staged) -> None:
    staged.has_run()
    staged.has_task("success")
    staged.has_dag({"load": {}})


def does_nothing(staged: Staged) -> None:
    ran(staged, operator="EmptyOperator")


def marked_by_scheduler(staged: Staged) -> None:
    ran(staged, operator="DummyOperator", tries=0, ran=False)


def pushes_not(staged: Staged) -> None:
    ran(staged)
    staged.has_dag({"load": {"do_xcom_push": False}})


def mapped_pushes_not(staged: Staged) -> None:
    ran(staged, map_index=0)
    staged.has_dag({"load": {"_is_mapped": True, "partial_kwargs": {"do_xcom_push": False}}})


def not_this_time(staged: Staged) -> None:
    staged.has_run("run_0", day=-1)
    staged.pushed("5", "rows", run_id="run_0", date=WHEN - dt.timedelta(days=1))
    ran(staged)


def other_keys(staged: Staged) -> None:
    ran(staged)
    staged.pushed(key="row_count")


def outputs(staged: Staged) -> None:
    ran(staged)
    staged.has_dag({"load": {"multiple_outputs": True}})
    staged.pushed('{"x": 1}')
    staged.pushed("1", "x")


def mapped(staged: Staged) -> None:
    staged.has_run()
    for index in range(4):
        staged.has_task("success", map_index=index)
        if index != 2:
            staged.pushed(map_index=index)


def mapped_gap(staged: Staged) -> None:
    mapped(staged)
    staged.has_dag({"load": {"_is_mapped": True}})


def half_failed(staged: Staged) -> None:
    staged.has_run("run_1", "failed")
    staged.has_task("success", map_index=0)
    staged.has_task("failed", map_index=1)


def sql_null(staged: Staged) -> None:
    ran(staged)
    staged.add(None, dag_id="etl", task_id="load")


def json_null(staged: Staged) -> None:
    ran(staged)
    staged.pushed("null")


def wrong_pointer(staged: Staged) -> None:
    ran(staged)
    staged.pushed(dag_run_id=99)


def without_run(staged: Staged) -> None:
    pushed(staged)
    staged.execute("DELETE FROM dag_run WHERE run_id = 'run_1'")


def without_instance(staged: Staged) -> None:
    pushed(staged)
    staged.execute("DELETE FROM task_instance WHERE task_id = 'load'")


def broken(staged: Staged) -> None:
    ran(staged)
    staged.add(b'{"a": ', dag_id="etl", task_id="load")


def pickled(staged: Staged) -> None:
    ran(staged)
    staged.add(b"\x80\x04K\x01.", dag_id="etl", task_id="load")


def instance_gone(staged: Staged) -> None:
    without_instance(staged)
    staged.execute("UPDATE xcom SET key = 'other' WHERE task_id = 'load'")


def bad_envelope(staged: Staged) -> None:
    ran(staged)
    value = {"__classname__": "datetime.timedelta", "__version__": 2, "__data__": "x"}
    staged.pushed(json.dumps({"took": value}))


def _put_aside(staged: Staged, table: str) -> None:
    ran(staged)
    staged.pushed()
    staged.execute(f"CREATE TABLE {table} AS SELECT * FROM xcom WHERE task_id = 'load'")
    staged.execute("DELETE FROM xcom WHERE task_id = 'load'")


def upgraded(staged: Staged) -> None:
    _put_aside(staged, "_xcom_archive")


def db_cleaned(staged: Staged) -> None:
    _put_aside(staged, "_airflow_deleted__xcom__20260201000000")


OF_RUN_0 = Question("etl", "load", run_id="run_0")
STAGES: dict[str, Stage] = {
    "pushed": (pushed, LOAD, "exists", "can be pulled", "1.10"),
    "pushed, latest": (pushed, Question("etl", "load", run_id="latest"), "exists", "", "1.10"),
    "other DAG": (unknown_dag, Question("elt", "load"), "dag", 'did you mean "etl"', "1.10"),
    "strange DAG": (unknown_dag, Question("zzzzz", "load"), "dag", "No DAG", "1.10"),
    "other task": (pushed, Question("etl", "laod"), "task", 'did you mean "load"', "1.10"),
    "task in a group": (in_group, LOAD, "group-prefix", '"group.load"', "1.10"),
    "task in no group": (
        pushed, Question("etl", "group.load"), "group-prefix", 'not "group.load"', "1.10",
    ),
    "other key": (other_keys, Question("etl", "load", "row_cuont"), "key", "row_count", "1.10"),
    "strange key": (other_keys, Question("etl", "load", "zz"), "key", "it pushes", "1.10"),
    "other output": (outputs, Question("etl", "load", "z"), "key", "multiple_outputs", "1.10"),
    "other run": (pushed, Question("etl", "load", run_id="run_11"), "run", '"run_1"', "1.10"),
    "a date for a run": (
        pushed, Question("etl", "load", run_id="2026-01-31"), "run", '"run_1"', "2.3",
    ),
    "before all runs": (pushed, Question("etl", "load", run_id="latest~7"), "run", "", "1.10"),
    "a gap": (mapped, LOAD, "map-index", "0-1 and 3", "2.3"),
    "no such index": (
        mapped, Question("etl", "load", map_index=7), "map-index", "0-3", "2.3",
    ),
    "not mapped": (
        pushed, Question("etl", "load", map_index=7), "map-index", "is not mapped", "2.3",
    ),
    "in the gap": (
        mapped_gap, Question("etl", "load", map_index=2), "returned-none", "returned None", "2.3",
    ),
    "queued run": (queued_run, LOAD, "not-run", "has not started yet", "1.10"),
    "task added later": (added_later, LOAD, "not-run", "probably added", "1.10"),
    "scheduled": (waits, LOAD, "not-run", "scheduled", "1.10"),
    "upstream failed": (upstream_failed, LOAD, "not-run", '"extract" failed', "1.10"),
    "marked as success": (marked, LOAD, "not-run", "never ran", "1.10"),
    "runs again": (runs_again, LOAD, "running", "try 2", "1.10"),
    "a sensor": (reschedules, LOAD, "running", "sensor", "1.10"),
    "deferred": (deferred, LOAD, "deferred", "WaitTrigger", "2.2"),
    "failed": (failed, LOAD, "failed", 'failed before it pushed "return_value"', "1.10"),
    "retries": (retries, LOAD, "failed", "next try", "1.10"),
    "lost by the executor": (lost, LOAD, "failed", "before it started", "1.10"),
    "half of it failed": (half_failed, LOAD, "failed", "1 success, 1 failed", "2.3"),
    "skipped by a branch": (skipped_by_branch, LOAD, "skipped", 'chose "other"', "1.10"),
    "skipped itself": (skipped_itself, LOAD, "skipped", "itself", "1.10"),
    "nothing to map": (nothing_to_map, LOAD, "skipped", "is empty", "2.3"),
    "cleared": (cleared, LOAD, "cleared", "was cleared", "1.10"),
    "cleaned": (cleaned, OF_RUN_0, "cleared", "probably deleted", "1.10"),
    "returned None": (returned_none, LOAD, "returned-none", "and returned None", "1.10"),
    "perhaps None": (perhaps_none, LOAD, "returned-none", "probably returned None", "1.10"),
    "all gone": (all_gone, LOAD, "returned-none", "no XComs at all", "1.10"),
    "does nothing": (does_nothing, LOAD, "returned-none", "EmptyOperator", "1.10"),
    "needs no worker": (marked_by_scheduler, LOAD, "returned-none", "DummyOperator", "1.10"),
    "do_xcom_push": (pushes_not, LOAD, "not-pushed", "do_xcom_push=False", "1.10"),
    "mapped do_xcom_push": (mapped_pushes_not, LOAD, "not-pushed", "do_xcom_push=False", "2.3"),
    "not this time": (
        not_this_time, Question("etl", "load", "rows"), "not-pushed", "in others", "1.10",
    ),
    "SQL NULL": (sql_null, LOAD, "null", "SQL NULL", "1.10"),
    "JSON null": (json_null, LOAD, "null", "pushed None", "1.10"),
    "wrong dag_run_id": (wrong_pointer, LOAD, "orphan", "dag_run_id", "2.3"),
    "run deleted": (
        without_run, Question("etl", "load", run_id="run_1"), "orphan", "does not exist", "2.3",
    ),
    "run deleted, by date": (
        without_run, Question("etl", "load", run_id=WHEN.isoformat()), "orphan", "does not", "1.10",
    ),
    "instance deleted": (without_instance, LOAD, "orphan", "task instance", "2.3"),
    "instance deleted, other key": (instance_gone, LOAD, "not-run", "any more", "2.3"),
    "bad envelope": (bad_envelope, LOAD, "undecodable", "float", "2.10"),
    "upgraded": (upgraded, LOAD, "archived", "_xcom_archive", "2.3"),
    "db clean": (db_cleaned, LOAD, "archived", "db clean", "2.3"),
}  # fmt: skip


def answer(url: str, question: Question) -> Explanation | None:
    with open_store(resolve_target(url=url)) as store:
        return explain(collect(store, question))


def possible(name: str, release: str) -> bool:
    """Return whether a release records what this is about."""
    first = STAGES[name][4]
    if name == "run deleted, by date":
        return release in ("1.10", "2.2")
    return RELEASES.index(release) >= RELEASES.index(first)


def check(staged: Staged, name: str) -> None:
    """Stage what happened, and compare the answer."""
    stage, question, cause, words, _ = STAGES[name]
    stage(staged)
    found = answer(staged.url, question)
    assert found is not None
    assert (found.cause, words in found.verdict) == (cause, True), found
    assert found.verdict.endswith((".", "?"))
    assert found.evidence


@pytest.mark.parametrize(
    ("name", "release"),
    [(name, release) for name in STAGES for release in RELEASES if possible(name, release)],
)
def test_cause_is_named(tmp_path: Path, name: str, release: str) -> None:
    """The nearest cause, with the words that make it clear."""
    check(Staged(str(tmp_path / "airflow.db"), release=release), name)


@pytest.mark.parametrize(
    ("name", "release"),
    [
        ("a date for a run", "2.10"),
        ("upstream failed", "1.10"),
        ("cleaned", "2.2"),
        ("deferred", "2.10"),
        ("cleared", "3.0"),
        ("skipped by a branch", "3.0"),
        ("nothing to map", "2.3"),
        ("in the gap", "3.0"),
        ("db clean", "2.10"),
        ("other task", "3.0"),
    ],
)
def test_cause_is_named_on_every_server(server: Server, name: str, release: str) -> None:
    """The statements that differ from the others are understood by every product."""
    check(Staged(server.create_database(), release=release), name)


def test_every_cause_is_staged() -> None:
    """A cause that nothing leads to would be a promise without a test."""
    staged = {cause for _, _, cause, _, _ in STAGES.values()}
    assert staged | {"external-missing"} == set(get_args(Cause))


def offloaded(staged: Staged, folder: Path) -> Path:
    """Push a reference to a file as Airflow's object storage backend names it."""
    file = folder / "etl" / "run_1" / "load" / "7b0c6f0e-5a4e-4d7c-9d43-1f0f3f1b2c3d"
    ran(staged)
    staged.pushed(json.dumps(f"file://{file}"))
    return file


def test_missing_object_is_named(tmp_path: Path) -> None:
    """Only where the store is a directory here, and the file was written for this XCom."""
    staged = Staged(str(tmp_path / "airflow.db"), release="3.0")
    store = tmp_path / "store"
    file = offloaded(staged, store)
    elsewhere = answer(staged.url, LOAD)
    assert elsewhere is not None
    assert elsewhere.cause == "exists"
    assert f"refers to file://{file}" in elsewhere.evidence[-1]
    store.mkdir()
    missing = answer(staged.url, LOAD)
    assert missing is not None
    assert missing.cause == "external-missing"
    file.parent.mkdir(parents=True)
    file.write_text("1")
    there = answer(staged.url, LOAD)
    assert there is not None
    assert there.cause == "exists"


def test_reference_that_a_task_pushed_itself_is_left_alone(tmp_path: Path) -> None:
    """A URL that no object storage backend wrote is a value like any other."""
    staged = Staged(str(tmp_path / "airflow.db"), release="3.0")
    ran(staged)
    staged.pushed(json.dumps(f"file://{tmp_path}/gone/away/now.txt"))
    found = answer(staged.url, LOAD)
    assert found is not None
    assert found.cause == "exists"


def test_nothing_is_said_where_nothing_is_known(tmp_path: Path) -> None:
    """Without task instances, a run without the XCom tells nothing about the task."""
    staged = Staged(str(tmp_path / "airflow.db"), release="2.10")
    staged.has_run()
    staged.pushed(key="other")
    staged.execute("DROP TABLE task_instance")
    assert answer(staged.url, LOAD) is None


@pytest.mark.parametrize(
    ("release", "words"),
    [
        ("1.10", "while enable_xcom_pickling is on"),
        ("2.2", "can be pulled"),
        ("2.10", "only with enable_xcom_pickling"),
    ],
)
def test_pickles_are_read_by_configuration(tmp_path: Path, release: str, words: str) -> None:
    """Which the database does not know: 2.0 to 2.5 read them in any case."""
    staged = Staged(str(tmp_path / "airflow.db"), release=release)
    pickled(staged)
    found = answer(staged.url, LOAD)
    assert found is not None
    assert found.cause == "exists"
    assert words in found.verdict


def test_compressed_dag_is_read(tmp_path: Path) -> None:
    """`[core] compress_serialized_dags` puts the DAG into another column."""
    staged = Staged(str(tmp_path / "airflow.db"), release="2.10")
    pushes_not(staged)
    with staged.engine.begin() as connection:
        data = connection.exec_driver_sql("SELECT data FROM serialized_dag").scalar_one()
        connection.exec_driver_sql(
            "UPDATE serialized_dag SET data = NULL, data_compressed = ?",
            (zlib.compress(data.encode()),),
        )
    found = answer(staged.url, LOAD)
    assert found is not None
    assert found.cause == "not-pushed"


@pytest.mark.parametrize("data", ["[" * 100_000, "7", "{", '{"dag": {"tasks": [1, {}]}}', ""])
def test_strange_serialized_dag_is_ignored(tmp_path: Path, data: str) -> None:
    """It only adds to what is known."""
    staged = Staged(str(tmp_path / "airflow.db"), release="2.10")
    ran(staged)
    staged.has_dag({"load": {}})
    staged.execute("UPDATE serialized_dag SET data = :data", data=data)
    found = answer(staged.url, LOAD)
    assert found is not None
    assert "probably returned None" in found.verdict
