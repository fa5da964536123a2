"""An upgraded metadata DB, read by us and by the real Airflow 3.4 that it belongs to."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from tests.left_out import AIRFLOWS, real_airflow
from tests.real_airflow import airflow
from xcomctl.config.target import resolve_target
from xcomctl.db import open_store
from xcomctl.db.read.entries import replaced_left_out
from xcomctl.model import Selection, exactly
from xcomctl.values import decode, render

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import Run
    from tests.servers import Server
    from xcomctl.db.read.store import Store
    from xcomctl.model import XComEntry

HERE = Path(__file__).parents[1]
DAG = "attempts_dag"


@dataclass
class Upgraded:
    """A metadata DB with a run from before the upgrade to 3.4, and one from after it."""

    url: str
    folder: Path
    environment: dict[str, str]
    program: str

    def run_dag(self, program: str) -> list[tuple[str, str, int | str | None, str]]:
        """Return what its own xcom_pull returned in a run of the DAG."""
        told = self.folder / "told.json"
        self.environment["JUDGE_TOLD"] = str(told)
        airflow(program, "dags", "test", DAG, environment=self.environment, folder=self.folder)
        return [tuple(one) for one in json.loads(told.read_text())]

    def read(self, *changes: list[object]) -> list[dict[str, Any]]:
        """Make changes as Airflow does; return every XCom that it reads, of each attempt."""
        python = str(Path(self.program).with_name("python"))
        done = subprocess.run(
            [python, str(HERE / "real_xcoms.py"), json.dumps(changes)],
            env=self.environment, cwd=self.folder, capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        lines = [one for one in done.stdout.splitlines() if one.startswith("XCOMS ")]
        assert lines, done.stdout + done.stderr
        found: list[dict[str, Any]] = json.loads(lines[-1].removeprefix("XCOMS "))
        return found


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def upgraded(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    any_server: Callable[[str], Server],
) -> tuple[Upgraded, Any]:
    """Return the metadata DB, and what the run after the upgrade was told."""
    programs = [real_airflow(AIRFLOWS[release]) for release in ("3.3", "3.4")]
    folder = tmp_path_factory.mktemp("upgraded")
    url = f"sqlite:///{folder}/airflow.db"
    if request.param != "sqlite":
        url = any_server(request.param).create_database()
    environment = {
        **{name: text for name, text in os.environ.items() if not name.startswith("AIRFLOW")},
        "AIRFLOW_HOME": str(folder),
        "AIRFLOW__CORE__DAGS_FOLDER": str(HERE / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": url,
        # 3.3 wrote the DAG without its loop; by default 3.4 leaves that alone for 30 s.
        "AIRFLOW__CORE__MIN_SERIALIZED_DAG_UPDATE_INTERVAL": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
        "JUDGE_PUSH": "[]",
        "TZ": "UTC",
    }
    found = Upgraded(url, folder, environment, programs[1])
    told: Any = []
    for program in programs:
        airflow(program, "db", "migrate", environment=environment, folder=folder)
        told = found.run_dag(program)
    return found, told


def shown(store: Store, entry: XComEntry) -> str:
    value = decode.decode(store.entries.read(entry), store.context).value
    return render.to_repr(value)


def test_pull_is_what_xcom_pull_returned(upgraded: tuple[Upgraded, Any], run: Run) -> None:
    """Of a retried task, a mapped one with a gap, a loop; None where there is nothing."""
    metadata, told = upgraded
    assert len(told) == 17
    for task_id, key, index, expected in told:
        options = {"all": ("--all-map-indexes",), None: ()}.get(index) or ("-m", str(index))
        if index is None:
            options = ()
        done = run("pull", DAG, task_id, key, "-r", "latest", "-o", "repr", *options, "--url", metadata.url)  # fmt: skip
        if expected == "None":
            assert done.code == 4, (task_id, key, index)
        else:
            assert done.out == f"{expected}\n", (task_id, key, index)


def test_rows_are_those_that_airflow_reads(upgraded: tuple[Upgraded, Any]) -> None:
    """Before and after an old XCom is pushed again and old tasks are cleared, of every attempt."""
    metadata, _ = upgraded
    target = resolve_target(url=metadata.url)
    assert compared(target, metadata.read()) > 20
    with open_store(target) as store:
        oldest = next(store.entries.scan(Selection(dag_ids=(exactly(DAG),)), sort="run", limit=1))
        old = oldest.ref.run_id
    changes: list[list[object]] = [
        ["set", DAG, old, "numbers", "return_value", {"again": [8]}],
        ["clear", DAG, old, "each"],
        ["clear", DAG, old, "flaky"],
    ]
    assert compared(target, metadata.read(*changes)) > 20
    with open_store(target) as store:
        now = {(one.ref.task_id, one.ref.key) for one in store.entries.scan(Selection(run_ids=(str(old),)))}  # fmt: skip
        assert now == {("numbers", "return_value")}


def compared(target: Any, read: list[dict[str, Any]]) -> int:
    """Compare names, attempts and values with what Airflow read, and return how many."""
    expected = sorted(
        (one["run_id"], one["task_id"], one["key"], one["region_id"], one["region_index"], one["try_number"],
         one["current"], one["value"])
        for one in read
    )  # fmt: skip
    with open_store(target, all_attempts=True) as store:
        every = list(store.entries.scan(Selection()))
        found = sorted(
            (str(one.ref.run_id), one.ref.task_id, str(one.ref.key), attempt.region_id, attempt.region_index,
             attempt.try_number, attempt.is_current, shown(store, one))
            for one in replaced_left_out(every)
            if (attempt := one.attempt) is not None
        )  # fmt: skip
    assert found == expected
    with open_store(target) as store:
        assert store.entries.count(Selection()) == sum(one["current"] for one in read)
    return len(found)


def test_what_was_deleted_comes_back_in_every_column(
    upgraded: tuple[Upgraded, Any], run: Run, tmp_path: Path
) -> None:
    """Of both tables, and Airflow reads the same as before."""
    metadata, _ = upgraded
    read, undo = metadata.read(), tmp_path / "undo.jsonl"
    before = tables(metadata.url)
    deleted = run("delete", "--attempts", "all", "-d", DAG, "--include-active", "--yes", "--undo-file", undo,
                  "--url", metadata.url)  # fmt: skip
    assert deleted.code == 0, deleted.err
    assert tables(metadata.url) == {"xcom_v1": [], "xcom_v2": []}
    imported = run("import", undo, "--url", metadata.url)
    assert imported.code == 0, imported.err
    assert tables(metadata.url) == before
    assert metadata.read() == read


def tables(url: str) -> dict[str, list[str]]:
    """Return every row of both tables as text."""
    with sa.create_engine(url).connect() as connection:
        return {
            table: sorted(
                str(sorted(row.items()))
                for row in connection.execute(sa.text(f"SELECT * FROM {table}")).mappings()
            )
            for table in ("xcom_v1", "xcom_v2")
        }


def test_a_downgrade_does_what_preflight_said(upgraded: tuple[Upgraded, Any], run: Run) -> None:
    """It deletes as many, and keeps what Airflow reads."""
    metadata, _ = upgraded
    where = ("-o", "json", "--url", metadata.url)
    (finding,) = run("preflight", "--to", "3.3.2", *where).json()["findings"]
    every = run("list", "-n", "0", "--attempts", "all", *where).json()["returned"]
    kept = run("list", "-n", "0", *where).json()["returned"]
    assert finding["occurrences"] == every - kept > 0
    airflow(metadata.program, "db", "downgrade", "--to-version", "3.3.2", "--yes",
            environment=metadata.environment, folder=metadata.folder)  # fmt: skip
    assert run("list", "-n", "0", *where).json()["returned"] == kept
    assert run("info", *where).json()["airflow"]["generation"] == "2.3"
    assert run("preflight", "--to", "3.4", *where).json()["findings"] == []
