"""Serialized DataFrames: their rows, and the DataFrame itself as a file."""

from __future__ import annotations

import csv
import datetime as dt
import io
import json
import sys
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from pyarrow import parquet as pq

from tests.metadata import Metadata
from tests.values.forms import envelope
from xcomctl.exchange import frames
from xcomctl.values.context import Context
from xcomctl.values.dataframe_footer import frame_shape
from xcomctl.values.decode import decode
from xcomctl.values.render import Opaque

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Run

MOMENT = dt.datetime(2026, 1, 31, 7, 8, 9, 123456)


def parquet(table: pa.Table) -> bytes:
    out = pa.BufferOutputStream()
    pq.write_table(table, out)
    return bytes(out.getvalue())


def frame(rows: int = 3) -> pa.Table:
    """Return a table as pandas writes it, with an unnamed index."""
    columns = {
        "number": pa.array(range(rows), pa.int64()),
        "name": pa.array([f"row {one}" for one in range(rows)]),
        "moment": pa.array([MOMENT] * rows, pa.timestamp("ns")),
        "part": pa.array([float("nan")] * rows),
        "__index_level_0__": pa.array(range(rows), pa.int64()),
    }
    described = [
        {"field_name": "number", "numpy_type": "int64"},
        {"field_name": "name", "numpy_type": "object"},
        {"field_name": "moment", "numpy_type": "datetime64[ns]"},
    ]
    return pa.table(columns).replace_schema_metadata({"pandas": json.dumps({"columns": described})})


def stored(table: pa.Table) -> bytes:
    return json.dumps(envelope("pandas.DataFrame", parquet(table).hex())).encode()


@pytest.fixture
def url(tmp_path: Path) -> str:
    metadata = Metadata(str(tmp_path / "airflow.db"))
    data = json.dumps(envelope("pandas.core.frame.DataFrame", parquet(frame(25)).hex()))
    metadata.add(data.encode())
    nested = {
        "report": {"frames": [envelope("pandas.core.frame.DataFrame", parquet(frame(2)).hex())]}
    }
    metadata.add(json.dumps(nested).encode(), key="nested")
    metadata.add(b"[1]", key="list")
    return metadata.url


def test_shape_and_types_need_no_pyarrow() -> None:
    """Pandas' dtypes if the file has them, else the types of Parquet."""
    found = frame_shape(parquet(frame()))
    assert found is not None
    assert found.rows == 3
    assert found.types == {"number": "int64", "name": "object", "moment": "datetime64[ns]", "part": "float64"}  # fmt: skip
    plain = pa.table({"d": pa.array([MOMENT.date()]), "s": ["x"], "l": [[1]], "b": [True]})
    bare = frame_shape(parquet(plain))
    assert bare is not None
    assert bare.types == {"d": "date", "s": "string", "l": "nested", "b": "bool"}


def test_json_has_all_rows_and_pretty_the_first(url: str, run: Run) -> None:
    """Besides rows, columns and types; conversions are noted."""
    done = run("pull", "dag", "task", "--url", url)
    shown = done.json()["__xcomctl__"]
    assert (shown["rows"], shown["columns"]) == (25, ["number", "name", "moment", "part"])
    assert shown["types"]["moment"] == "datetime64[ns]"
    assert len(shown["records"]) == 25
    assert shown["records"][1] == {"number": 1, "name": "row 1", "moment": "2026-01-31T07:08:09.123456", "part": None}  # fmt: skip
    assert "NaN became null (25 times)" in done.err
    pretty = run("pull", "dag", "task", "--url", url, "-o", "pretty").json()["__xcomctl__"]
    assert len(pretty["records"]) == 10
    nested = run("pull", "dag", "task", "nested", "--url", url, "--path", "report.frames[0]").json()
    assert len(nested["__xcomctl__"]["records"]) == 2
    repr_ = run("pull", "dag", "task", "nested", "--url", url, "-o", "repr").out
    assert "<object pandas.core.frame.DataFrame: 2 rows x 4 columns>" in repr_


def test_a_dataframe_is_written_as_a_file(url: str, tmp_path: Path, run: Run) -> None:
    """Parquet is exactly the file that Airflow stored; CSV has a header and all rows."""
    done = run("pull", "dag", "task", "--url", url, "-o", "parquet", "--file", "frame.parquet")
    assert done.code == 0, done.err
    assert (tmp_path / "frame.parquet").read_bytes() == parquet(frame(25))
    done = run("pull", "dag", "task", "nested", "--url", url, "-o", "csv", "--path", "report.frames[0]")  # fmt: skip
    rows = list(csv.DictReader(io.StringIO(done.out)))
    assert [row["name"] for row in rows] == ["row 0", "row 1"]
    assert list(rows[0]) == ["number", "name", "moment", "part"]
    for arguments in (("list",), ("list", "--all-map-indexes"), ("nested",)):
        done = run("pull", "dag", "task", *arguments, "--url", url, "-o", "csv")
        assert done.code == 2, done.err


def value_of(data: bytes) -> Any:
    return decode(data, Context()).value


def test_a_dataframe_that_the_owner_cannot_read_has_its_shape_too() -> None:
    """Together with the error that xcom_pull raises."""
    decoded = decode(stored(frame()), Context(release=(3, 2, 0)))
    assert isinstance(decoded.value, Opaque)
    assert decoded.value.facts["rows"] == 3
    assert "ImportError" in str(decoded.value.facts["problem"])
    assert decoded.value.parquet is not None


def test_times_of_nanoseconds_are_exact() -> None:
    """Times that Python cannot represent become strings."""
    table = pa.table({"t": pa.array([1, 1000], pa.timestamp("ns", "UTC"))})
    found, notes = frames.with_records(value_of(stored(table)), None)
    assert notes == ()
    assert found.facts["records"][0]["t"] == "1970-01-01 00:00:00.000000001Z"
    whole = pa.table({"t": pa.array([1000], pa.timestamp("ns", "UTC"))})
    found, _ = frames.with_records(value_of(stored(whole)), None)
    assert found.facts["records"] == [{"t": "1970-01-01T00:00:00.000001+00:00"}]


def test_a_dataframe_that_is_too_large_or_broken_keeps_its_shape() -> None:
    """A few bytes of Parquet can stand for more rows than fit into memory."""
    huge = pa.table({"a": pa.nulls(20_000_000)})
    value = value_of(stored(huge))
    found, notes = frames.with_records([value], None)
    assert found == [value]
    assert notes == ("the rows of a DataFrame cannot be read: it is too large",)
    found, _ = frames.with_records(value, 3)
    assert len(found.facts["records"]) == 3
    data = bytearray(parquet(frame()))
    data[4:60] = b"\xff" * 56
    broken = json.dumps(envelope("pandas.DataFrame", data.hex())).encode()
    found, (note,) = frames.with_records(value_of(broken), None)
    assert found.facts["rows"] == 3
    assert "cannot be read" in note


def test_without_pyarrow_the_shape_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """A note says what to install."""
    value = value_of(stored(frame()))
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    found, (note,) = frames.with_records((value,), None)
    assert found == (value,)
    assert "xcomctl[parquet]" in note
