"""Export: every entry once, its value as it is stored, on every backend."""

from __future__ import annotations

import base64
import csv
import io
import json
import pickle
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import clean_environment
from tests.fixture_databases import all_fixtures
from tests.metadata import Metadata
from xcomctl.exchange.lines import JsonLines
from xcomctl.exchange.stored import encode_value

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Run

BYTES = {
    "json": b'{"b": 1, "a": [1.0, "\\u00e9", null]}',
    "spaced": b" [1,  2] ",
    "big": b"1" * 4000,
    "dup": b'{"a": 1, "a": 2}',
    "utf8": '"\N{SNOWMAN}"'.encode(),
    "lone": b'"\\ud83d"',
    "nan": b"[NaN]",
    "lines": b"[1,\n2]",
    "pickle": pickle.dumps({"a": 1}),
    "broken": b'{"a": ',
    "latin1": b'"\xe9"',
    "empty": b"",
    "null": b"null",
    "large": b'"' + b"x" * 400_000 + b'"',
}


def stored(row: dict[str, Any], line: str) -> bytes | None:
    """Return the bytes that an exported line says were stored."""
    if row["value_base64"] or (row["value"] is None and row["encoding"] not in ("json", "null")):
        return base64.b64decode(row["value_base64"])
    if row["encoding"] == "null":
        return None
    return line[line.index(', "value": ') + len(', "value": ') : -1].encode()


def test_values_are_as_they_are_stored(empty_url: str, run: Run) -> None:
    """JSON inline and untouched, the rest as base64, and NULL as null with its encoding."""
    metadata = Metadata(empty_url)
    values: dict[str, bytes | None] = {**BYTES, "sql null": None}
    for name, value in values.items():
        metadata.add(value, task_id=name)
    done = run("export", "--url", empty_url)
    assert done.code == 0, done.err
    assert "exported 15 XComs" in done.err
    found = {}
    for line in done.out.splitlines():
        row = json.loads(line)
        found[row["task_id"]] = stored(row, line)
        value = values[row["task_id"]]
        assert row["size_bytes"] == (None if value is None else len(value))
    assert found == values
    csv.field_size_limit(10**7)
    text = run("export", "--url", empty_url, "-o", "csv").stdout.decode()
    told = {row["task_id"]: row for row in csv.DictReader(io.StringIO(text, newline=""))}
    assert told.keys() == values.keys()
    for name, value in values.items():
        row = told[name]
        if row["value_base64"]:
            assert base64.b64decode(row["value_base64"]) == value
        else:
            assert row["value"].encode() == (value or b"")


def test_a_json_of_postgresql_keeps_its_line_ends_out_of_the_lines(postgres: Any, run: Run) -> None:
    """Its text is stored as it came, unlike a jsonb's."""
    url = postgres.create_database()
    metadata = Metadata(url, "3.0", value_type="JSON")
    metadata.add("[1]")
    metadata.execute("UPDATE xcom SET value = CAST(:value AS JSON)", value="[1,\n2]")
    (line,) = run("export", "--url", url).out.splitlines()
    assert stored(json.loads(line), line) == b"[1,\n2]"


def test_filters_and_files_are_those_of_the_other_commands(tmp_path: Path, run: Run) -> None:
    """A file is whole or not there; ids with line ends stay on their line."""
    path = tmp_path / "airflow.db"
    metadata = Metadata(str(path))
    metadata.add(b"1", dag_id="keep", task_id="a\nb,c")
    metadata.add(b"2", dag_id="other")
    done = run("export", "--url", path, "-d", "keep", "-o", "jsonl=out.jsonl")
    assert (done.code, done.out) == (0, "")
    (line,) = (tmp_path / "out.jsonl").read_text().splitlines()
    assert json.loads(line)["task_id"] == "a\nb,c"
    rows = list(csv.DictReader(io.StringIO(run("export", "--url", path, "-d", "keep", "-o", "csv").out)))  # fmt: skip
    assert [row["task_id"] for row in rows] == ["a\nb,c"]
    assert run("export", "--url", path, "-o", "jsonl=none/out").code == 3
    assert run("export", "--url", path, "-o", "xml").code == 2
    assert run("export", "--url", path, "-o", "csv", "-o", "jsonl=a").code == 2


@given(st.one_of(st.binary(max_size=40), st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
).map(lambda value: json.dumps(value).encode())))  # fmt: skip
def test_every_value_comes_back_from_its_line(data: bytes) -> None:
    """Whatever the bytes are, the line is strict JSON and holds them."""
    text, other = encode_value(data)
    if text is not None:
        assert text == data
        json.loads(text, parse_constant=pytest.fail)
    else:
        assert other is not None
        assert base64.b64decode(other) == data


_ANY = st.one_of(
    st.none(),
    st.floats(),
    st.binary(max_size=12),
    st.sampled_from(sorted(BYTES.values(), key=len)),
    st.lists(st.sampled_from([b'"', b"\n", b"\r", b"\xc3", b"\xa9", b"[", b"]", b"1", b" ", b"\\"])).map(b"".join),
)  # fmt: skip


@given(st.lists(st.tuples(_ANY, st.booleans(), st.sampled_from([None, "text"])), max_size=12))
def test_lines_are_the_same_in_whatever_company(
    given_rows: list[tuple[bytes | float | None, bool, str | None]],
) -> None:
    """A page is looked at as a whole: what is odd in one value changes no other line."""
    rows: list[Any] = []
    for number, (raw, orphan, kind) in enumerate(given_rows):
        size = len(raw) if isinstance(raw, bytes) else None
        rows.append(("d\n\x00", "t\udcff", None, number - 1, 'k"', None, None, size, 7, orphan, None, kind, raw))  # fmt: skip

    def written(rows: list[Any]) -> list[bytes]:
        out = io.BytesIO()
        with JsonLines(out.write, "bytes") as lines:
            for dag, task, run, index, key, time, date, *rest in rows:
                names = zip(("dag_id", "task_id", "run_id"), (dag, task, run), strict=True)
                encoded = [lines.encode_name(name, text) for name, text in names]
                assert lines.decode_name("task_id", encoded[1]) == task
                lines.write_row((*encoded, index, lines.encode_name("key", key), time, lines.encode_name("logical_date", date), *rest[:-3], lines.encode_name("others", rest[-3]), *rest[-2:]))  # fmt: skip
        return out.getvalue().split(b"\n")

    together = written(rows)
    assert together == [*(written([row])[0] for row in rows), b""]
    for line, row in zip(together, rows, strict=False):
        told = json.loads(line, parse_constant=pytest.fail)
        assert (told["map_index"], told["dag_id"], told["run_id"]) == (row[3], "d\n\x00", None)
        if isinstance(row[-1], bytes):
            assert stored(told, line.decode()) == row[-1]


def test_numbers_that_sqlite_made_say_so(tmp_path: Path, run: Run) -> None:
    """Airflow 3's JSON column there has numbers, texts and blobs."""
    path = tmp_path / "airflow.db"
    metadata = Metadata(str(path), "3.0")
    values: dict[str, bytes | str | float] = {"int": 10, "real": 0.5, "text": '"a"', "blob": b"[1]"}
    for name, value in values.items():
        metadata.add(value, task_id=name)
    rows = [json.loads(line) for line in run("export", "--url", path).out.splitlines()]
    told = {row["task_id"]: (row["stored_as"], row["value"]) for row in rows}
    assert told == {
        "int": ("integer", 10), "real": ("real", 0.5), "text": ("", "a"), "blob": ("blob", [1]),
    }  # fmt: skip


def test_times_that_are_none_are_told_so(tmp_path: Path, run: Run) -> None:
    """SQLite takes anything for a timestamp."""
    metadata = Metadata(str(tmp_path / "airflow.db"))
    for name in ("number", "text", "blob"):
        metadata.add(b"1", task_id=name)
    for name, stamp in (("number", "12"), ("text", "'once'"), ("blob", "x'ff00'")):
        metadata.execute(f"UPDATE xcom SET timestamp = {stamp} WHERE task_id = '{name}'")
    lines = run("export", "--url", metadata.url).out.splitlines()
    assert {(row["task_id"], row["timestamp"]) for row in map(json.loads, lines)} == {
        ("number", None), ("text", None), ("blob", None),
    }  # fmt: skip


@pytest.mark.parametrize("fixture", all_fixtures(), ids=str)
def test_every_fixture_is_exported_whole(
    run: Run, tmp_path: Path, fixture: Any, any_server: Any
) -> None:
    """As many rows as `list` has, each with its size."""
    server = None if fixture.backend == "sqlite" else any_server(fixture.backend)
    url = fixture.load(tmp_path, server)
    rows = [json.loads(line) for line in run("export", "--url", url).out.splitlines()]
    listed = run("list", "--url", url, "-n", "0", "-o", "json").json()["xcom_entries"]

    def names(rows: list[dict[str, Any]]) -> list[str]:
        fields = ("dag_id", "task_id", "run_id", "map_index", "key", "timestamp", "logical_date", "size_bytes", "encoding")  # fmt: skip
        return sorted(str([row[field] for field in fields]) for row in rows)

    assert names(rows) == names(listed)


def test_memory_does_not_grow_with_the_table(tmp_path: Path) -> None:
    """Ten times the rows, the same peak within a tenth."""
    peaks = []
    for count in (5_000, 50_000):
        path = tmp_path / f"{count}.db"
        metadata = Metadata(str(path))
        metadata.add(b'"' + b"x" * 500 + b'"')
        metadata.execute(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :count)"
            " INSERT INTO xcom (dag_run_id, task_id, map_index, key, dag_id, run_id, value, timestamp)"
            " SELECT dag_run_id, 'task_' || i, map_index, key, dag_id, run_id, value, timestamp"
            " FROM xcom, n",
            count=count,
        )
        code = (
            "import resource, subprocess, sys;"
            "subprocess.run([sys.executable, '-m', 'xcomctl', 'export', '--url', sys.argv[1], '-q'],"
            " stdout=subprocess.DEVNULL, check=True);"
            "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, str(path)],
            capture_output=True, text=True, check=True, env=clean_environment(tmp_path),
        )  # fmt: skip
        peaks.append(int(done.stdout))
    assert peaks[1] <= 1.1 * peaks[0]


MORE = ("dag_result BOOLEAN NULL", "note VARCHAR(20) NULL, level INTEGER NULL, rate REAL NULL")
"""Airflow 3.3's column, and what a later release may have besides."""


@pytest.mark.parametrize("form", ["jsonl", "csv"])
@pytest.mark.parametrize("columns", [1, 2])
def test_every_column_goes_out_and_comes_back(
    empty_url: str, run: Run, form: str, columns: int
) -> None:
    """Airflow 3.3 marks what a DAG returns, and asks for it by that mark."""
    metadata = Metadata(empty_url, "3.0", with_instances=True)
    added = ", ".join(MORE[:columns]).split(", ")
    for column in added:
        metadata.execute(f"ALTER TABLE xcom ADD {column}")
    names = [column.partition(" ")[0] for column in added]
    rows = [("true", "'a,\"b'", "7", "0.5"), ("false", "'x'", "-1", "1e10"), ("NULL",) * 4]
    for number, values in enumerate(rows):
        metadata.instance("dag", f"task_{number}", "run_1")
        metadata.add("1", task_id=f"task_{number}", run_id="run_1")
        for name, value in zip(names, values, strict=False):
            metadata.execute(f"UPDATE xcom SET {name} = {value} WHERE task_id = 'task_{number}'")

    def stored() -> list[tuple[object, ...]]:
        with metadata.engine.begin() as connection:
            found = connection.exec_driver_sql(f"SELECT {', '.join(names)} FROM xcom ORDER BY task_id")  # fmt: skip
            return [tuple(row) for row in found]

    before = stored()
    text = run("export", "--url", metadata.url, "-o", form).out
    exported = run("export", "--url", metadata.url, "-o", f"{form}=file")
    assert exported.code == 0, exported.err
    if form == "jsonl":
        lines = sorted(map(json.loads, text.splitlines()), key=lambda line: str(line["task_id"]))
        expected = [
            (True, 'a,"b', 7, 0.5), (False, "x", -1, 1e10), (None, None, None, None),
        ]  # fmt: skip
        assert [tuple(line[name] for name in names) for line in lines] == [row[: len(names)] for row in expected]  # fmt: skip
    else:
        marks = {row["task_id"]: row["dag_result"] for row in csv.DictReader(io.StringIO(text))}
        assert marks == {"task_0": "true", "task_1": "false", "task_2": ""}
    metadata.execute("DELETE FROM xcom")
    done = run("import", "file", "--url", metadata.url)
    assert done.code == 0, done.err
    assert stored() == before


@pytest.mark.parametrize("form", ["jsonl", "csv"])
def test_orphans_come_back_as_they_were(empty_url: str, run: Run, form: str) -> None:
    """With the run that does not exist, as any other row with its own."""
    metadata = Metadata(empty_url)
    metadata.add(b"1")
    metadata.add(b"2", task_id="orphan", run_id="gone", with_run=False)
    assert run("export", "--url", metadata.url, "-o", f"{form}=file").code == 0

    def stored() -> list[tuple[object, ...]]:
        with metadata.engine.begin() as connection:
            found = connection.exec_driver_sql("SELECT dag_run_id, run_id, task_id FROM xcom ORDER BY task_id")  # fmt: skip
            return [tuple(row) for row in found]

    before = stored()
    metadata.execute("DELETE FROM xcom")
    done = run("import", "file", "--url", metadata.url)
    assert done.code == 0, done.err
    assert stored() == before
