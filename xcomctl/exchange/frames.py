"""DataFrames in the Parquet files to which Airflow serializes them: their rows, and CSV of them.

Loads pyarrow, an optional extra.
"""

from __future__ import annotations

import io
import re
from dataclasses import replace
from typing import Any

from xcomctl.errors import UsageError
from xcomctl.text import visible
from xcomctl.values.render import Opaque

MAX_CELLS = 10_000_000
"""Rows times columns that are read; a few bytes of Parquet can stand for billions."""
_MAX_BYTES = 2**30
"""Uncompressed bytes that are read."""
_BATCH_ROWS = 1_000
_INDEX_COLUMN = re.compile(r"__index_level_\d+__")
"""An index without a name, which pandas stores as a column."""
INSTALL = 'Install it with pip install "xcomctl[parquet]".'


def with_records(value: Any, most: int | None) -> tuple[Any, tuple[str, ...]]:
    """Return a decoded value whose DataFrames have their first `most` rows, and notes.

    The rows are the fact `records` of each, a list of objects; None for `most` means all rows.
    """
    notes: dict[str, None] = {}
    found = _with_records(value, most, notes)
    return found, tuple(notes)


def _with_records(value: Any, most: int | None, notes: dict[str, None]) -> Any:
    if isinstance(value, list):
        return [_with_records(one, most, notes) for one in value]
    if isinstance(value, tuple):
        return tuple([_with_records(one, most, notes) for one in value])
    if isinstance(value, dict):
        return {key: _with_records(one, most, notes) for key, one in value.items()}
    if not isinstance(value, Opaque) or value.parquet is None:
        return value
    from xcomctl.values.render import to_json

    try:
        records, changes = to_json(_records(value.parquet, most))
    except ImportError:
        notes[f"the rows of a DataFrame need pyarrow. {INSTALL}"] = None
        return value
    except _UnreadableError as error:
        notes[f"the rows of a DataFrame cannot be read: {error}"] = None
        return value
    notes.update(dict.fromkeys(changes))
    return replace(value, facts={**value.facts, "records": records})


class _UnreadableError(Exception):
    """A DataFrame is too large or broken; the message says so."""


def _records(parquet: bytes, most: int | None) -> list[dict[str, Any]]:
    return [row for batch in _batches(parquet, most) for row in batch.to_pylist()]


def _batches(parquet: bytes, most: int | None) -> list[Any]:
    """Return the first rows as record batches without unnamed indexes.

    Raises:
        ImportError: pyarrow is not installed.
        _UnreadableError: it is not valid Parquet, or too large.
    """
    import pyarrow as pa
    from pyarrow import parquet as pq

    try:
        file = pq.ParquetFile(pa.BufferReader(parquet))
        names = [one for one in file.schema_arrow.names if not _INDEX_COLUMN.fullmatch(one)]
        rows = file.metadata.num_rows if most is None else min(most, file.metadata.num_rows)
        groups = range(file.metadata.num_row_groups)
        size = sum(file.metadata.row_group(one).total_byte_size for one in groups)
        if rows * len(names) > MAX_CELLS or size > _MAX_BYTES:
            raise _UnreadableError("it is too large")
        found: list[Any] = []
        for batch in file.iter_batches(batch_size=min(_BATCH_ROWS, max(rows, 1)), columns=names):
            found.append(_without_nanoseconds(batch.slice(0, rows)))
            rows -= batch.num_rows
            if rows <= 0:
                break
        return found
    except (pa.ArrowException, OSError, ValueError, NotImplementedError) as error:
        raise _UnreadableError(visible(str(error).splitlines()[0])[:200]) from error


def _without_nanoseconds(batch: Any) -> Any:
    """Return the batch with times that Python can hold: exact ones of microseconds, else text."""
    import pyarrow as pa

    for index, column in enumerate(batch.schema):
        if not pa.types.is_timestamp(column.type) or column.type.unit != "ns":
            continue
        try:
            changed = batch.column(index).cast(pa.timestamp("us", column.type.tz))
        except pa.ArrowInvalid:
            changed = batch.column(index).cast(pa.string())
        batch = batch.set_column(index, column.name, changed)
    return batch


def csv_of(parquet: bytes) -> bytes:
    """Return a DataFrame as CSV with a header.

    Raises:
        UsageError: pyarrow is not installed, or the DataFrame cannot be written as CSV.
    """
    try:
        import pyarrow as pa
        from pyarrow import csv

        batches = _batches(parquet, None)
        out = io.BytesIO()
        if batches:
            csv.write_csv(pa.Table.from_batches(batches), out)
        return out.getvalue()
    except ImportError:
        raise UsageError("cannot write CSV: pyarrow is not installed", hint=INSTALL) from None
    except (_UnreadableError, pa.ArrowException) as error:
        raise UsageError(
            "cannot write the DataFrame as CSV",
            detail=f"{visible(str(error).splitlines()[0])[:200]}.",
            hint="-o parquet writes the file in which Airflow keeps it.",
        ) from None


def frame_as(form: str, value: object) -> bytes:
    """Return a decoded value, which must be a DataFrame, as `csv` or `parquet`.

    Raises:
        UsageError: it is not a DataFrame, or cannot be written so.
    """
    if not isinstance(value, Opaque) or value.parquet is None:
        raise UsageError(
            f"cannot write {form}: the value is not a DataFrame that Airflow serialized",
            hint="-o json and -o repr write any value; --path leads to a part of it.",
        )
    return value.parquet if form == "parquet" else csv_of(value.parquet)
