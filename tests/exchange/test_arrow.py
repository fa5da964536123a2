"""Arrow arrays made from buffers are those that pyarrow makes of the same values."""

from __future__ import annotations

import datetime as dt
import subprocess
import sys
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xcomctl.exchange.arrow import microseconds, to_array

_MOMENT = pa.timestamp("us", tz="UTC")
_KINDS: dict[Any, Any] = {
    pa.int64(): st.integers(-(2**63), 2**63 - 1),
    pa.float64(): st.floats(allow_nan=False),
    pa.bool_(): st.booleans(),
    pa.string(): st.text(max_size=5),
    pa.large_string(): st.text(max_size=5),
    pa.large_binary(): st.binary(max_size=5),
    _MOMENT: st.datetimes(),
}


@settings(deadline=None)
@given(st.data(), st.sampled_from([*_KINDS]), st.booleans())
def test_arrays_hold_what_they_are_given(data: Any, kind: Any, some_null: bool) -> None:
    """Of every type, with nulls and without, and empty."""
    values = data.draw(st.lists(st.none() | _KINDS[kind] if some_null else _KINDS[kind]))
    given_values = values
    if kind == _MOMENT:
        values = [value and value.replace(tzinfo=dt.UTC) for value in values]
        given_values = [value and value.isoformat().replace("+00:00", "Z") for value in values]
    elif kind in (pa.string(), pa.large_string()):
        given_values = [None if value is None else value.encode() for value in values]
    array = to_array(given_values, kind)
    array.validate(full=True)
    assert array.type == kind
    assert array.to_pylist() == values


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1970-01-01T00:00:00Z", 0), ("1969-12-31T23:59:59.999999Z", -1), ("2026-01-31T07:08:09.1Z", 1769843289100000)],
)  # fmt: skip
def test_times_are_microseconds(text: str, expected: int) -> None:
    assert microseconds([text, None]) == [expected, None]


def test_no_pandas_is_imported() -> None:
    """Its import takes as long as writing 100 MB."""
    code = (
        "import sys, io\nfrom xcomctl.exchange.parquet import ParquetRows\n"
        "with ParquetRows(io.BytesIO().write, 'bytes') as rows:\n"
        "    rows.write_row((b'd', b't', b'r', -1, b'k', '2026-01-31T07:08:09Z', None, 1, 2, False, [], None, b'1'))\n"
        "assert 'pandas' not in sys.modules and 'pyarrow.compute' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
