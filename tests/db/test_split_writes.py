"""Changes to Airflow 3.4's two XCom tables, and back: every column of either is as it was."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from tests.db.test_split import CURRENT, HIDDEN, RUN, listed, loop, metadata, named
from tests.metadata import Metadata

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Run

__all__ = ["metadata"]


def tables(metadata: Metadata) -> dict[str, list[str]]:
    """Return every row of both tables as text."""
    found = {}
    with metadata.engine.connect() as connection:
        for table in ("xcom_v1", "xcom_v2"):
            rows = connection.execute(sa.text(f"SELECT * FROM {table}")).mappings()
            found[table] = sorted(
                json.dumps(dict(row), default=str, sort_keys=True) for row in rows
            )
    return found


def changed(run: Run, metadata: Metadata, *command: str | Path) -> str:
    done = run(*command, "--url", metadata.url)
    assert done.code == 0, done.err
    return done.err


def test_delete_and_import_leave_both_tables_as_they_were(
    run: Run, metadata: Metadata, tmp_path: Path
) -> None:
    """With the row that a deleted one replaced, which would be read again otherwise."""
    loop(metadata)
    before, undo = tables(metadata), tmp_path / "undo.jsonl"
    plan = run("delete", "-t", "replaced", "-o", "json", "--url", metadata.url).json()
    assert plan["rows"] == 1
    changed(run, metadata, "delete", "-d", "dag", "--yes", "--include-active", "--undo-file", undo)
    assert listed(run, metadata) == []
    assert named(listed(run, metadata, "--attempts", "all")) == sorted(HIDDEN[:3])
    changed(run, metadata, "import", undo)
    assert tables(metadata) == before
    assert "unchanged" in run("import", undo, "--url", metadata.url).out
    assert tables(metadata) == before


def test_stale_attempts_are_deleted_alone(run: Run, metadata: Metadata, tmp_path: Path) -> None:
    """What Airflow reads stays; an import brings the others back to their attempts."""
    before, undo = tables(metadata), tmp_path / "undo.jsonl"
    changed(run, metadata, "delete", "--stale-attempts", "--yes", "--undo-file", undo)
    assert named(listed(run, metadata, "--attempts", "all")) == CURRENT
    changed(run, metadata, "import", undo)
    assert tables(metadata) == before
    changed(run, metadata, "delete", "--stale-attempts", "-t", "flaky", "--yes")
    left = named(listed(run, metadata, "--attempts", "all"))
    assert left == sorted([*CURRENT, HIDDEN[0], HIDDEN[3]])


def test_push_writes_for_the_current_attempt(run: Run, metadata: Metadata, tmp_path: Path) -> None:
    """A new row, one over another, and one that hides a row of xcom_v1; each can be undone."""
    before = tables(metadata)

    def value(*name: str) -> Any:
        return run("pull", "dag", *name, "-q", "--url", metadata.url).json()

    pushes = [
        (("flaky", "new"), ()),
        (("cleared", "return_value"), ()),
        (("flaky", "return_value"), ("--replace", "--yes")),
        (("legacy_mapped", "return_value"), ("-m", "2", "--replace", "--yes")),
        (("mapped", "return_value"), ("-m", "0", "--replace", "--yes")),
    ]
    undos = []
    for number, ((task, key), options) in enumerate(pushes):
        undos.append(tmp_path / f"{number}.jsonl")
        changed(run, metadata, "push", "dag", task, key, f'{{"n": {number}}}', *options, "--undo-file", undos[-1])  # fmt: skip
        index = options[:2] if "-m" in options else ()
        assert value(task, key, *index) == {"n": number}
    assert len(tables(metadata)["xcom_v1"]) == len(before["xcom_v1"])
    assert set(before["xcom_v1"]) == set(tables(metadata)["xcom_v1"])
    exists = run("push", "dag", "flaky", "return_value", "1", "--url", metadata.url)
    assert exists.code == 5
    nowhere = run("push", "dag", "mapped", "key", "1", "-m", "7", "--url", metadata.url)
    assert nowhere.code == 4
    for undo in reversed(undos):
        changed(run, metadata, "import", undo, "--replace", "--yes")
    assert tables(metadata) == before


def test_push_into_a_loop_needs_the_region(run: Run, metadata: Metadata) -> None:
    """As `pull` does."""
    region, inner = loop(metadata)
    where = ("--replace", "--yes", "--url", metadata.url)
    refused = run("push", "dag", "group.task", '"new"', *where)
    assert refused.code == 2
    assert f"{region}:1" in refused.err
    done = run("push", "dag", "group.task", '"new"', "--region", f"{region}:1", *where)
    assert done.code == 0, done.err
    assert f"dag/{RUN}/group.task#{region}:1:return_value" in done.err
    done = run("push", "dag", "group.each", "5", "-m", "1", "--region", f"{inner[0]}:1", *where)
    assert done.code == 0, done.err
    values = {
        (entry["region_id"], entry["region_index"]): entry["value"]
        for entry in listed(run, metadata, "-t", "group.*")
    }
    assert values[str(region), 1] == '"new"'
    assert values[str(region), 0] == '"pass 0"'
    assert values[str(inner[0]), 1] == "5"
    assert values[str(inner[1]), 1] == "11"


def test_an_export_of_an_older_airflow_goes_to_current_attempts(
    run: Run, metadata: Metadata, tmp_path: Path
) -> None:
    """New XComs go into xcom_v2, existing ones stay as they are, and an export then holds both."""
    old = Metadata(str(tmp_path / "old.db"), "3.0", with_instances=True)
    for task, key in (("flaky", "new"), ("cleared", "return_value")):
        old.instance("dag", task, RUN)
        old.add('"from 3.0"', task_id=task, key=key, run_id=RUN)
    lines = tmp_path / "old.jsonl"
    lines.write_text(run("export", "--url", old.url).out, encoding="utf-8")
    changed(run, metadata, "import", lines)
    found = named(listed(run, metadata))
    assert ("flaky", -1, "new", '"from 3.0"', 2, True, "xcom_v2") in found
    assert ("cleared", -1, "return_value", '"from 3.0"', 2, True, "xcom_v2") in found
    before = tables(metadata)
    lines.write_text(
        run("export", "--attempts", "all", "--url", metadata.url).out, encoding="utf-8"
    )
    changed(run, metadata, "import", lines)
    assert tables(metadata) == before


@pytest.mark.parametrize("table", ["xcom_v1", "xcom_v2"])
def test_a_column_that_must_be_filled_makes_it_read_only(
    run: Run, tmp_path: Path, table: str
) -> None:
    """Nobody knows with what; reading goes on."""
    metadata = Metadata(str(tmp_path / "airflow.db"), "3.4")
    metadata.execute(f"ALTER TABLE {table} ADD COLUMN further INTEGER NOT NULL DEFAULT 0")
    metadata.add("1", store="xcom_v2")
    with metadata.engine.begin() as connection:
        connection.exec_driver_sql("PRAGMA writable_schema = ON")
        connection.exec_driver_sql(
            f"UPDATE sqlite_master SET sql = replace(sql, 'further INTEGER NOT NULL DEFAULT 0', 'further INTEGER NOT NULL') WHERE name = '{table}'"
        )  # fmt: skip
    done = run("push", "dag", "task", "2", "--replace", "--yes", "--url", metadata.url)
    assert done.code == 5
    assert f'"{table}.further"' in done.err
    assert run("pull", "dag", "task", "--url", metadata.url).json() == 1
