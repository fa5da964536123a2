"""One awkward database in every format, against files that a reviewer can open.

`XCOMCTL_UPDATE_GOLDEN=1` writes them anew; read the difference before you commit it.
"""

from __future__ import annotations

import csv
import datetime as dt
import io
import json
import os
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from tests.metadata import Metadata
from xcomctl.formats import AUDIT_FORMATS, FORMATS

if TYPE_CHECKING:
    from tests.conftest import Run

GOLDEN = Path(__file__).parent / "golden"

COMMANDS = {
    "list": ("list", "-n", "0", "--sort", "dag_id", "--text", "--value"),
    "audit": ("audit", "--deep", "--as", "mysql:2.8", "--exit-zero"),
    "limits": ("limits",),
}


@pytest.fixture
def db(tmp_path: Path) -> Path:
    """Good, near, over, broken, pickled, double, NULL, orphaned, mapped, and hostile names."""
    path = tmp_path / "airflow.db"
    metadata = Metadata(str(path))
    day = dt.datetime(2026, 2, 1, 6, 30)
    for number in range(3):
        value = b'"' + b"x" * (60_000 + number * 5_000) + b'"'
        metadata.add(
            value, dag_id="etl", task_id="group.extract", key="rows", run_id=f"scheduled__{number}",
            date=day + dt.timedelta(days=number), timestamp=day + dt.timedelta(days=number),
        )  # fmt: skip
    metadata.add(b'{"a": [1, 2.50, null], "b": "\\u2603"}', task_id="fine")
    metadata.add(b'{"a": [1, 2', task_id="broken")
    metadata.add(b"\x80\x04\x95\x05\x00\x00\x00\x00\x00\x00\x00]\x94K\x01a.", task_id="pickled")
    metadata.add(b'"{\\"a\\": 1}"', task_id="double")
    metadata.add(None, task_id="null")
    metadata.add(b"1", task_id="mapped", map_index=3)
    metadata.add(b"1", task_id="orphan", run_id="gone", with_run=False)
    hostile = '\x1b[31m|[b]x[/b]\n<b>\u202e, "q" \'é💥'
    metadata.add(b"NaN", dag_id=hostile, task_id=hostile, key=hostile, run_id=hostile)
    metadata.execute("INSERT INTO dag (dag_id, fileloc) VALUES ('etl', '/opt/dags/etl.py')")
    return path


@pytest.mark.parametrize(
    ("command", "form"),
    [
        (command, form)
        for command in COMMANDS
        for form in (AUDIT_FORMATS if command == "audit" else FORMATS)
    ],
)
def test_format_is_as_it_was(run: Run, db: Path, command: str, form: str) -> None:
    """The same bytes as in the file."""
    done = run(*COMMANDS[command], "--url", db, "-o", form)
    assert done.code == 0, done.err
    out = done.out.replace(sqlite3.sqlite_version, "SQLITE_VERSION")
    path = GOLDEN / f"{command}.{form}"
    if os.environ.get("XCOMCTL_UPDATE_GOLDEN"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(out, encoding="utf-8")
    assert out == path.read_text(encoding="utf-8")


@pytest.mark.parametrize("command", ["list", "audit"])
def test_machine_formats_agree(run: Run, db: Path, command: str) -> None:
    """Every field of a row is the same in JSON, JSON lines, CSV and TSV: sizes are integers."""
    where = (*COMMANDS[command], "--url", str(db))
    document = run(*where, "-o", "json").json()
    rows = document["xcom_entries" if command == "list" else "findings"]
    assert yaml.safe_load(run(*where, "-o", "yaml").out) == document
    lines = run(*where, "-o", "jsonl").out.splitlines()
    assert [json.loads(line) for line in lines] == rows
    tsv = [line.split("\t") for line in run(*where, "-o", "tsv").out.splitlines()]
    for read in (
        list(csv.DictReader(io.StringIO(run(*where, "-o", "csv").out))),
        [dict(zip(tsv[0], fields, strict=True)) for fields in tsv[1:]],
    ):
        assert len(read) == len(rows)
        for fields, row in zip(read, rows, strict=True):
            for name, field in fields.items():
                value = row[name]
                if isinstance(value, int):
                    assert int(field) == value, name
                elif value is None:
                    assert field == "", name


def test_a_lone_empty_field_is_a_row(run: Run, db: Path) -> None:
    """One column, nothing in it, is still a line."""
    for form in ("csv", "tsv"):
        done = run("list", "--url", db, "-t", "null", "--columns", "size_bytes", "-o", form)
        assert done.code == 0, done.err
        assert len(done.out.splitlines()) == 2
