"""Import: what export and undo files hold comes back as it was, or nothing does and it says why."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from tests.conftest import clean_environment
from tests.fixture_databases import all_fixtures, needed
from tests.metadata import Metadata

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import Run
    from tests.fixture_databases import Fixture
    from tests.servers import Server


WRITABLE = [one for one in all_fixtures() if "3.4" not in one.airflow]
"""Those with one XCom table. Writing to the two of Airflow 3.4 is tested in tests/db/test_split_writes.py."""


def exported(run: Run, url: str, *more: str) -> list[bytes]:
    """Return the lines of an export, in an order of their own."""
    done = run("export", "--url", url, "-q", *more)
    assert done.code == 0, done.err
    return sorted(done.stdout.splitlines(keepends=True))


@needed
@pytest.mark.parametrize("fixture", WRITABLE, ids=str)
def test_real_databases_come_back_as_they_were(
    fixture: Fixture, tmp_path: Path, run: Run, any_server: Callable[[str], Server]
) -> None:
    """Export, delete, import, export: identical on every generation and backend."""
    server = None if fixture.backend == "sqlite" else any_server(fixture.backend)
    url = fixture.load(tmp_path, server)
    before = exported(run, url)
    engine = sa.create_engine(url if "://" in url else f"sqlite:///{url}")
    with engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM xcom")
    engine.dispose()
    assert exported(run, url) == []
    file = tmp_path / "export.jsonl"
    file.write_bytes(b"".join(before))
    looked = run("import", "--url", url, file, "--dry-run", "-o", "json").json()
    assert looked["added"] == len(before)
    assert exported(run, url) == []
    done = run("import", "--url", url, file, "-o", "json").json()
    assert (done["added"], done["refused"]) == (len(before), 0)
    assert exported(run, url) == before
    again = run("import", "--url", url, "-", "-o", "json", stdin=file.read_bytes()).json()
    assert again["unchanged"] == len(before)


def rows(url: str) -> list[str]:
    """Return the whole table, every column, in an order of its own; 1.10 numbers rows anew."""
    engine = sa.create_engine(
        url if "://" in url else f"sqlite:///{url}", poolclass=sa.pool.NullPool
    )
    with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            # Without the types that SQLAlchemy sees in it.
            found = connection.connection.cursor().execute("SELECT * FROM xcom")
            names = [one[0] for one in found.description]
        else:
            found = connection.exec_driver_sql("SELECT * FROM xcom")
            names = [*found.keys()]
        shown = [
            [bytes(one) if isinstance(one, memoryview) else one
             for name, one in zip(names, row, strict=True) if name != "id"]
            for row in found.fetchall()
        ]  # fmt: skip
    return sorted(map(repr, shown))


@needed
@pytest.mark.parametrize("fixture", WRITABLE, ids=str)
def test_deleted_rows_come_back_in_every_column(
    fixture: Fixture, tmp_path: Path, run: Run, any_server: Callable[[str], Server]
) -> None:
    """Delete with an undo file, import it: the table is as it was, and once more changes nothing."""
    server = None if fixture.backend == "sqlite" else any_server(fixture.backend)
    url = fixture.load(tmp_path, server)
    before, undo = rows(url), tmp_path / "undo.jsonl"
    given = ("delete", "--url", url, "-d", "*", "--include-active", "--yes", "--batch-size", "7")
    gone = run(*given, "--undo-file", undo, "-o", "json").json()
    assert gone["rows"] == len(before)
    assert rows(url) == []
    back = run("import", "--url", url, undo, "-o", "json").json()
    assert (back["added"], back["refused"]) == (len(before), 0)
    assert rows(url) == before
    again = run("import", "--url", url, undo, "--replace", "--yes", "-o", "json").json()
    assert again["unchanged"] == len(before)
    assert rows(url) == before


@pytest.fixture
def metadata(empty_url: str) -> Metadata:
    """Two runs of a DAG with task instances, on each backend."""
    made = Metadata(empty_url, with_instances=True)
    for run_id in ("run_1", "run_2"):
        made.instance("dag", "task", run_id)
    return made


def line(value: Any = 1, **changed: Any) -> str:
    """Return a line of an export."""
    fields = {
        "dag_id": "dag", "task_id": "task", "run_id": "run_1", "map_index": -1, "key": "k",
        "timestamp": "2026-01-31T07:08:09.5Z", "logical_date": None, "encoding": "json",
    }  # fmt: skip
    return json.dumps(fields | {"value": value} | changed) + "\n"


def test_nothing_comes_in_where_one_line_does_not_fit(
    metadata: Metadata, tmp_path: Path, run: Run
) -> None:
    """All or nothing, with every reason; --batch-size leaves out what does not fit."""
    file = tmp_path / "export.jsonl"
    file.write_text(
        line()
        + line(run_id="none")
        + line(task_id="none")
        + line(map_index=3)
        + line(timestamp=None, key="t")
        + line()
        + "{}\n"
        + "[1, 2\n"
        + line(key="other", value="\N{SNOWMAN}")
        + '{"dag_id": "dag"'
    )
    done = run("import", "--url", metadata.url, file)
    assert done.code == 5, done.err
    for number, reason in {
        2: 'there is no run "none"',
        3: 'no task instance of "none"',
        4: "with map_index 3",
        5: "no timestamp",
        6: "twice",
        7: "no field dag_id",
        8: "not JSON",
        10: "cut off",
    }.items():
        (said,) = [one for one in done.err.splitlines() if f"line {number}: " in one]
        assert reason in said
    assert "8 lines cannot be imported" in done.err
    assert exported(run, metadata.url) == []
    done = run("import", "--url", metadata.url, file, "--batch-size", "1", "-o", "json")
    assert done.code == 5
    assert json.loads(done.out)["added"] == 2
    assert all(done.err.count(f"line {number}: ") == 1 for number in range(2, 9))
    assert len(exported(run, metadata.url)) == 2


def test_what_is_there_is_replaced_only_when_asked(
    metadata: Metadata, tmp_path: Path, run: Run
) -> None:
    """Without --replace another value is a reason; with it the undo file brings the old one back."""
    metadata.add(b"[1]", key="k")
    before = exported(run, metadata.url)
    file, undo = tmp_path / "export.jsonl", tmp_path / "undo.jsonl"
    file.write_text(line([2]) + line([3], key="new"))
    refused = run("import", "--url", metadata.url, file)
    assert (refused.code, "it already exists" in refused.err) == (5, True)
    unconfirmed = run("import", "--url", metadata.url, file, "--replace")
    assert (unconfirmed.code, "not confirmed" in unconfirmed.err) == (5, True)
    assert exported(run, metadata.url) == before
    done = run(
        "import",
        "--url",
        metadata.url,
        file,
        "--replace",
        "--yes",
        "--undo-file",
        undo,
        "-o",
        "json",
    )
    assert (done.json()["replaced"], done.json()["added"]) == (1, 1)
    assert [json.loads(one)["value"] for one in exported(run, metadata.url)] == [[2], [3]]
    back = run("import", "--url", metadata.url, undo, "--replace", "--yes", "-o", "json").json()
    assert (back["replaced"], back["removed"]) == (1, 1)
    assert exported(run, metadata.url) == before


def test_a_dag_is_imported_under_another_name(metadata: Metadata, tmp_path: Path, run: Run) -> None:
    """--map-dag OLD=NEW; a CSV comes in as well."""
    metadata.instance("copy", "task", "run_1")
    metadata.add(b'{"a": "\\u00e9"}', key="k")
    metadata.add(b"\x80broken", key="b")
    metadata.add(None, key="n")
    file = tmp_path / "export.csv"
    assert run("export", "--url", metadata.url, "-o", f"csv={file}").code == 0
    done = run("import", "--url", metadata.url, file, "--map-dag", "dag=copy", "-o", "json")
    assert done.json()["added"] == 3, done.err
    lines = [json.loads(one) for one in exported(run, metadata.url)]
    values = {dag: [one.get("value", one.get("value_base64")) for one in lines if one["dag_id"] == dag] for dag in ("dag", "copy")}  # fmt: skip
    assert values["dag"] == values["copy"]


def test_the_end_of_an_undo_file_may_be_missing(
    metadata: Metadata, tmp_path: Path, run: Run
) -> None:
    """Its writer was killed before it changed that one; the rest comes back."""
    file = tmp_path / "undo.jsonl"
    whole = '{"undo": "restore", ' + line()[1:]
    file.write_text(whole + whole.replace('"k"', '"l"')[:60])
    done = run("import", "--url", metadata.url, file)
    assert done.code == 0, done.err
    assert "line 2 is cut off" in done.err
    assert len(exported(run, metadata.url)) == 1


def test_a_pickle_stays_out_of_airflow_3(tmp_path: Path, run: Run) -> None:
    """And comes into an older one with a warning."""
    new = Metadata(str(tmp_path / "new.db"), "3.0", with_instances=True)
    old = Metadata(str(tmp_path / "old.db"), with_instances=True)
    file = tmp_path / "export.jsonl"
    file.write_text(line(None, encoding="pickle", value_base64="gARLAS4="))
    for metadata, code in ((new, 5), (old, 0)):
        metadata.instance("dag", "task", "run_1")
        done = run("import", "--url", metadata.url, file)
        assert done.code == code, done.err
        assert "pickle" in done.err


def test_a_file_without_end_is_not_read(tmp_path: Path) -> None:
    """A device that was named by mistake."""
    Metadata(str(tmp_path / "airflow.db"))
    for given in ("/dev/zero", "-"):
        command = [sys.executable, "-m", "xcomctl", "import", given, "--url", "airflow.db"]
        with Path("/dev/zero").open("rb") as endless:
            done = subprocess.run(
                command, stdin=endless, capture_output=True, text=True, cwd=tmp_path,
                env=clean_environment(tmp_path), timeout=60, check=False,
            )  # fmt: skip
        assert done.returncode == 5, done.stderr
        assert "line 1: it is not text" in done.stderr


def test_the_line_that_the_database_refuses_is_named(
    postgres: Server, tmp_path: Path, run: Run
) -> None:
    """jsonb has no NUL: nothing comes in, and it says which of the lines written together it was."""
    metadata = Metadata(postgres.create_database(), "3.0", with_instances=True)
    metadata.instance("dag", "task", "run_1")
    file = tmp_path / "export.jsonl"
    file.write_text(line(key="a") + line(key="b\t\\N") + line("\0", key="c") + line(key="d"))
    done = run("import", "--url", metadata.url, file)
    assert (done.code, "line 3: the database does not accept" in done.err) == (5, True), done.err
    assert exported(run, metadata.url) == []
    file.write_text(line(key="a") + line(key="b\t\\N") + line("\\u0041\n\\", key="d"))
    assert run("import", "--url", metadata.url, file).code == 0
    lines = [json.loads(one) for one in exported(run, metadata.url)]
    assert [(one["key"], one["value"]) for one in lines] == [
        ("a", 1), ("b\t\\N", 1), ("d", "\\u0041\n\\"),
    ]  # fmt: skip
