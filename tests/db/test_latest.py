"""`-r latest`: the newest run of each DAG, in every generation and on every backend."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.metadata import WHEN, Metadata
from xcomctl.config.target import Target
from xcomctl.db import open_store
from xcomctl.model import Selection

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Run
    from tests.servers import Server

GENERATIONS = ("1.10", "2.0", "2.3", "3.0", "3.4")


def fill(db: Metadata) -> None:
    """Add two DAGs of three runs each, whose ids sort in another order than they came."""
    value = "1" if db.json else b"1"
    for day, run_id in ((1, "c_first"), (2, "a_second"), (3, "b_third")):
        for dag_id in ("etl", "Etl"):
            date = WHEN.replace(day=day)
            db.add(value, dag_id=dag_id, run_id=f"{dag_id}_{run_id}", date=date)


def runs_of(url: str, selection: Selection) -> list[str]:
    """Return the runs of the selected rows, sorted."""
    with open_store(Target(url, "test")) as store:
        return sorted(entry.ref.run_id or "" for entry in store.entries.scan(selection))


def check(url: str) -> None:
    """Check what `latest` stands for with and without other filters."""
    assert runs_of(url, Selection(run_ids=("latest",))) == ["Etl_b_third", "etl_b_third"]
    one = Selection(dag_ids=("etl",), run_ids=("latest~1",))
    assert runs_of(url, one) == ["etl_a_second"]
    some = Selection(dag_ids=("e*",), run_ids=("latest", "latest~2", "no such run"))
    assert runs_of(url, some) == ["etl_b_third", "etl_c_first"]
    named = Selection(run_ids=("latest~2", "*_second"))
    assert len(runs_of(url, named)) == 4
    assert runs_of(url, Selection(run_ids=("latest~3",))) == []
    with open_store(Target(url, "test")) as store:
        assert store.suggest.run_id("etl", "latest") == "etl_b_third"
        assert store.suggest.run_id("Etl", "latest~2") == "Etl_c_first"
        assert store.suggest.run_id("etl", "latest~3") == "latest~3"
        assert store.suggest.run_id("etl", "latest~x") == "latest~x"
        assert store.suggest.run_id("none", "latest") == "latest"
        assert store.suggest.run_id("\udcff", "latest") == "latest"
        summaries = store.sizes.by_group(Selection(run_ids=("latest",)), ("dag_id",))
        assert {name for (name,), _ in summaries} == {"Etl", "etl"}
        assert store.entries.count(Selection(run_ids=("latest",))) == 2


@pytest.mark.parametrize("generation", GENERATIONS)
def test_latest_is_the_newest_run_of_each_dag(server: Server, generation: str) -> None:
    """On the servers."""
    db = Metadata(server.create_database(), generation)
    fill(db)
    check(db.url)


@pytest.mark.parametrize("generation", GENERATIONS)
def test_latest_is_the_newest_run_of_each_dag_in_a_file(tmp_path: Path, generation: str) -> None:
    """On SQLite."""
    db = Metadata(str(tmp_path / "a.db"), generation)
    fill(db)
    check(db.url)


def test_a_run_may_be_called_latest(tmp_path: Path) -> None:
    """Then it is meant, of its DAG."""
    db = Metadata(str(tmp_path / "a.db"))
    fill(db)
    db.add(b"1", dag_id="etl", run_id="latest", dag_run_id=db.run("etl", "latest"))
    db.add(b"1", dag_id="etl", run_id="etl_newest")
    assert runs_of(db.url, Selection(run_ids=("latest",))) == ["Etl_b_third", "latest"]
    with open_store(Target(db.url, "test")) as store:
        assert store.suggest.run_id("etl", "latest") == "latest"


def test_rows_of_no_run_are_not_of_the_latest(tmp_path: Path) -> None:
    """A wrong dag_run_id makes no row one of another DAG's newest run."""
    db = Metadata(str(tmp_path / "a.db"))
    fill(db)
    db.add(b"1", dag_id="etl", run_id="odd", task_id="x", dag_run_id=db.run("Etl", "Etl_b_third"))
    assert runs_of(db.url, Selection(run_ids=("latest",))) == ["Etl_b_third", "etl_b_third"]


@pytest.mark.parametrize("generation", ["2.0", "2.3"])
def test_latest_without_a_table_of_runs(tmp_path: Path, generation: str) -> None:
    """The newest rows say which run is newest."""
    db = Metadata(str(tmp_path / "a.db"), generation)
    fill(db)
    db.execute("DROP TABLE dag_run")
    with open_store(Target(db.url, "test")) as store:
        selection = Selection(dag_ids=("etl",), run_ids=("latest~1",))
        (entry,) = store.entries.scan(selection)
        assert store.suggest.run_id("etl", "latest~1") == entry.ref.run


def test_a_run_that_starts_meanwhile_changes_nothing(tmp_path: Path) -> None:
    """All statements of a command are about the same run."""
    db = Metadata(str(tmp_path / "a.db"))
    fill(db)
    latest = Selection(dag_ids=("etl",), run_ids=("latest",))
    with open_store(Target(db.url, "test")) as store:
        assert store.entries.count(latest) == 1
        db.add(b"1", dag_id="etl", run_id="newer")
        assert [one.ref.run_id for one in store.entries.scan(latest)] == ["etl_b_third"]


def test_every_command_takes_latest(run: Run, tmp_path: Path) -> None:
    """As a filter, and as the one run of pull and push."""
    db = Metadata(str(tmp_path / "a.db"), with_instances=True)
    fill(db)
    db.instance("etl", "task", "etl_a_second")
    url = ("--url", db.url)
    latest = ("-d", "etl", "-r", "latest")
    listed = run("list", *url, *latest, "-o", "json").json()["xcom_entries"]
    assert [one["run_id"] for one in listed] == ["etl_b_third"]
    assert run("top", *url, *latest, "-o", "json").json()["summary"]["scanned"] == 1
    assert run("audit", *url, *latest, "-o", "json").json()["summary"]["scanned"] == 1
    found = run("preflight", "--exit-zero", *url, *latest, "-o", "json").json()
    assert found["summary"]["scanned"] == 1
    assert run("export", *url, *latest).out.count('"run_id": "etl_b_third"') == 1
    assert run("delete", *url, *latest, "-o", "json").json()["rows"] == 1
    pulled = run("pull", "etl", "task", *url, "-r", "latest~1")
    assert pulled.out == "1\n"
    assert 'run "etl_a_second"' in pulled.err
    pushed = run("push", "etl", "task", "new", "2", *url, "-r", "latest~1")
    assert 'into the run "etl_a_second"' in pushed.err
    resumed = run("export", *url, *latest, "-o", "jsonl=x.jsonl", "--resume")
    assert resumed.code == 2
    missing = run("pull", "etl", "task", *url, "-r", "latest~9")
    assert missing.code == 4
