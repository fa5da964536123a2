"""Export to Parquet has the same contents as JSON Lines."""

from __future__ import annotations

import base64
import datetime as dt
import io
import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pyarrow import parquet

from tests.cli.test_export import BYTES
from tests.conftest import clean_environment
from tests.fixture_databases import all_fixtures, parse_time
from tests.metadata import Metadata
from xcomctl.exchange.parquet import ParquetRows

if TYPE_CHECKING:
    from tests.conftest import Run

TIMES = ("timestamp", "logical_date")


def from_lines(text: str) -> list[dict[str, Any]]:
    """Return the expected rows, from an export as JSON Lines."""
    rows = []
    for line in text.splitlines():
        told = json.loads(line)
        row = {name: told.get(name) for name in ("dag_id", "task_id", "run_id", "map_index", "key")}
        row |= {name: parse_time(told[name]) for name in TIMES}
        row |= {name: told[name] for name in ("size_bytes", "encoding", "dag_run_id", "orphan")}
        row |= {"stored_as": told["stored_as"] or None}
        # Airflow 3.3's and 3.4's.
        others = ["dag_result", "mapped_length", "try_number", "region_id", "region_index"]
        others += ["store", "xcom_id"]
        row |= {name: told[name] for name in others if name in told}
        row |= {"value": None, "value_bytes": None}
        if told["value_base64"] or (
            told["value"] is None and told["encoding"] not in ("json", "null")
        ):
            row["value_bytes"] = base64.b64decode(told["value_base64"])
        elif told["encoding"] != "null":
            row["value"] = line[line.index(', "value": ') + len(', "value": ') : -1]
        rows.append(row)
    return ordered(rows)


def ordered(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows in a fixed order."""
    return sorted(rows, key=lambda row: repr(sorted(row.items())))


def from_parquet(file: Any) -> list[dict[str, Any]]:
    """Return the rows of a Parquet file."""
    rows: list[dict[str, Any]] = parquet.read_table(file).to_pylist()
    for row in rows:
        for name in TIMES:
            row[name] = row[name] and row[name].astimezone(dt.UTC)
    return ordered(rows)


@pytest.mark.parametrize("fixture", all_fixtures(), ids=str)
def test_every_fixture_is_the_same_in_parquet(
    run: Run, tmp_path: Path, fixture: Any, any_server: Any
) -> None:
    """Row by row and field by field."""
    server = None if fixture.backend == "sqlite" else any_server(fixture.backend)
    url = fixture.load(tmp_path, server)
    done = run("export", "--url", url, "-o", "parquet=out.parquet")
    assert done.code == 0, done.err
    lines = from_lines(run("export", "--url", url).out)
    assert from_parquet(tmp_path / "out.parquet") == lines
    assert lines


def test_awkward_values_are_the_same_in_parquet(empty_url: str, run: Run) -> None:
    """Values that are not strict JSON as bytes; orphans with their run; also through a pipe."""
    metadata = Metadata(empty_url)
    for name, value in {**BYTES, "sql null": None}.items():
        metadata.add(value, task_id=name)
    metadata.add(b"[1]", run_id="gone", with_run=False, key="a\nb,c\N{SNOWMAN}", map_index=7)
    done = run("export", "--url", empty_url, "-o", "parquet")
    assert done.code == 0, done.err
    assert "exported 16 XComs" in done.err
    rows = from_parquet(io.BytesIO(done.stdout))
    assert rows == from_lines(run("export", "--url", empty_url).out)
    found = {row["task_id"]: row for row in rows}
    assert found["pickle"]["value_bytes"] == BYTES["pickle"]
    assert found["spaced"]["value"] == " [1,  2] "
    assert found["sql null"]["value"] is found["sql null"]["value_bytes"] is None
    assert found["task"]["dag_run_id"] == 999


def test_what_sqlite_holds_besides_text(tmp_path: Path, run: Run) -> None:
    """Numbers, infinity, and names that are not UTF-8."""
    path = tmp_path / "airflow.db"
    metadata = Metadata(str(path), "3.0")
    values: dict[str, float | bytes] = {"int": 10, "real": 0.5, "infinite": float("inf")}
    for name, value in {**values, "blob": b"[1]"}.items():
        metadata.add(value, task_id=name)
    metadata.add("1", task_id="odd")
    metadata.execute("UPDATE xcom SET task_id = CAST(x'ff' AS TEXT) WHERE task_id = 'odd'")
    done = run("export", "--url", path, "-o", "parquet=out.parquet")
    assert done.code == 0, done.err
    rows = from_parquet(tmp_path / "out.parquet")
    assert {(row["task_id"], row["value"], row["value_bytes"], row["stored_as"]) for row in rows} == {
        ("int", "10", None, "integer"), ("real", "0.5", None, "real"), ("blob", "[1]", None, "blob"),
        ("infinite", None, b"inf", "real"), (r"\udcff", "1", None, "integer"),
    }  # fmt: skip


def test_an_empty_selection_is_a_file_without_rows(tmp_path: Path, run: Run) -> None:
    """With all of its columns."""
    path = tmp_path / "airflow.db"
    Metadata(str(path))
    assert run("export", "--url", path, "-o", "parquet=out.parquet").code == 0
    table = parquet.read_table(tmp_path / "out.parquet")
    assert table.num_rows == 0
    assert "value_bytes" in table.column_names


def test_row_groups_are_bounded_by_bytes() -> None:
    """A value of many megabytes is complete, and row groups stay small."""
    out = io.BytesIO()
    facts = (None, None, None, 1, False, (), None)
    sizes = [60_000_000, *[3_000_000] * 30, 5]
    with ParquetRows(out.write, "bytes") as rows:
        for number, size in enumerate(sizes):
            value = b'"' + b"x" * (size - 2) + b'"'
            rows.write_row((b"d", f"t{number}".encode(), b"r", -1, b"k", *facts, value))
    read = parquet.ParquetFile(out)
    assert 3 <= read.num_row_groups <= 6
    texts = [
        text for batch in read.iter_batches(columns=["value"]) for text in batch[0].to_pylist()
    ]
    assert [len(text) for text in texts] == sizes


def test_without_pyarrow_nothing_is_started(tmp_path: Path) -> None:
    """Exit code 2 with the command that installs it, and no file."""
    hidden = tmp_path / "hidden" / "pyarrow"
    hidden.mkdir(parents=True)
    (hidden / "__init__.py").write_text("raise ImportError")
    environment = clean_environment(tmp_path)
    package = str(Path(__file__).parents[2])
    environment["PYTHONPATH"] = f"{hidden.parent}:{package}"
    done = subprocess.run(
        [sys.executable, "-m", "xcomctl", "export", "--url", "none.db", "-o", "parquet=out"],
        capture_output=True, text=True, check=False, cwd=tmp_path, env=environment,
    )  # fmt: skip
    assert done.returncode == 2
    assert 'pip install "xcomctl[parquet]"' in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_pipe_that_closes_is_silent(tmp_path: Path) -> None:
    """Exit code 141 and nothing on stderr, as with every other format."""
    path = tmp_path / "airflow.db"
    metadata = Metadata(str(path))
    metadata.add(b'"' + b"x" * 400_000 + b'"')
    command = [sys.executable, "-m", "xcomctl", "export", "--url", str(path), "-o", "parquet"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=clean_environment(tmp_path)
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait() == 141
    process.stderr.close()


def test_a_terminal_is_not_written_to(tmp_path: Path) -> None:
    """Exit code 2, with what to use instead."""
    main, other = pty.openpty()
    done = subprocess.run(
        [sys.executable, "-m", "xcomctl", "export", "-o", "parquet"],
        stdout=other, stderr=subprocess.PIPE, text=True, check=False, env=clean_environment(tmp_path),
    )  # fmt: skip
    assert done.returncode == 2
    assert "-o parquet=FILE" in done.stderr
    os.close(main)
    os.close(other)
