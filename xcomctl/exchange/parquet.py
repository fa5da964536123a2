"""Exported XComs as Parquet, with the fields of JSON Lines as typed columns.

Loads pyarrow, an optional extra.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

from xcomctl.errors import UsageError
from xcomctl.exchange.lines import Lines
from xcomctl.exchange.stored import encode_value, encoding_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from xcomctl.exchange.others import OtherColumn
    from xcomctl.model import Storage, StoredRow, Write

_GROUP_BYTES = 32 * 1024 * 1024
"""Bytes of values per row group; a row group is held in memory until it is written."""
_GROUP_ROWS = 100_000
_WATCH_ROWS = 256
_REPEATED = ("dag_id", "task_id", "run_id", "key", "encoding", "stored_as")
_VALUES = ("value", "value_bytes")


def need_pyarrow() -> None:
    """Check that pyarrow is installed.

    Raises:
        UsageError: it is not.
    """
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        raise UsageError(
            "cannot write Parquet: pyarrow is not installed",
            hint='Install it with pip install "xcomctl[parquet]", or use -o jsonl or -o csv.',
        ) from None


class ParquetRows(Lines):
    """Writes rows as a Parquet file, one row group at a time.

    The column `value` contains values that are strict JSON, as text; `value_bytes` the stored
    bytes of all others.
    """

    def __init__(
        self,
        write: Write,
        storage: Storage,
        *,
        strict: bool = False,
        others: Sequence[OtherColumn] = (),
    ) -> None:
        import pyarrow as pa
        from pyarrow import parquet

        super().__init__(write, storage, strict=strict, others=others)
        moment = pa.timestamp("us", tz="UTC")
        self._schema = pa.schema(
            [
                *((name, pa.string()) for name in ("dag_id", "task_id", "run_id")),
                # SQLite holds 64 bits in an INTEGER column.
                ("map_index", pa.int64()),
                ("key", pa.string()),
                ("timestamp", moment),
                ("logical_date", moment),
                ("size_bytes", pa.int64()),
                ("encoding", pa.string()),
                ("orphan", pa.bool_()),
                ("dag_run_id", pa.int64()),
                ("stored_as", pa.string()),
                *((one.name, _type_of(pa, one)) for one in others),
                # The ordinary types hold 2 GiB per batch, which a few values may exceed.
                ("value", pa.large_string()),
                ("value_bytes", pa.large_binary()),
            ]
        )
        self._held_rows: list[tuple[object, ...]] = []
        self._sink = _Sink(write)
        names = [name for name in self._schema.names if name not in _VALUES]
        self._writer = parquet.ParquetWriter(
            self._sink,
            self._schema,
            compression="zstd",
            use_dictionary=[*_REPEATED],
            write_statistics=names,
        )

    def encode_name(self, name: str, text: str | None) -> Any:
        if name == "others":
            values = super().encode_name(name, text)
            return [_fitting(one, value) for one, value in zip(self._others, values, strict=True)]
        # SQLite allows names that are not UTF-8: written as other formats write them.
        return None if text is None else text.encode("utf-8", "backslashreplace").decode()

    def write_row(self, row: StoredRow) -> None:
        dag_id, task_id, run_id, index, key, time, date, size, run, orphan, others, stored_as, raw = row  # fmt: skip
        self.rows += 1
        self.bytes += size or 0
        text: bytes | None
        if type(raw) is bytes and self._strict:
            text, other = raw, None
        else:
            text, encoded = encode_value(raw)
            other = None if encoded is None else _stored(raw, encoded)
        self._held_rows.append(
            (
                dag_id,
                task_id,
                run_id,
                index,
                key,
                time,
                date,
                size,
                encoding_of(raw, self._storage),
                orphan,
                run,
                stored_as,
                *others,
                text,
                other,
            )
        )
        self._held_bytes += len(text or other or b"")
        if self._held_bytes >= _GROUP_BYTES or len(self._held_rows) >= _GROUP_ROWS:
            self.flush()
        elif self.rows % _WATCH_ROWS == 0:
            self.watch()

    def flush(self) -> None:
        import pyarrow as pa

        if self._held_rows:
            columns = zip(*self._held_rows, strict=True)
            self._held_rows, self._held_bytes = [], 0
            arrays = [
                _column(pa, column, field.type)
                for column, field in zip(columns, self._schema, strict=True)
            ]
            batch = pa.RecordBatch.from_arrays(arrays, schema=self._schema)
            # Exactly one row group.
            self._writer.write_batch(batch, row_group_size=batch.num_rows)
        self.watch()

    def end(self) -> None:
        self.flush()
        self._writer.close()

    def __exit__(self, kind: object, *rest: object) -> None:
        try:
            super().__exit__(kind, *rest)
        finally:
            # pyarrow writes a footer when the writer is collected: too late for this file.
            self._sink.closed_for_good = True


class _Sink:
    """A file for pyarrow that only needs `write`, so that a pipe works."""

    closed = False

    def __init__(self, write: Write) -> None:
        self._write = write
        self.closed_for_good = False

    def write(self, data: bytes) -> None:
        if not self.closed_for_good:
            self._write(data)

    def flush(self) -> None:
        pass

    def close(self) -> None:
        pass

    def writable(self) -> bool:
        return True


_PYTHON_TYPES = {"boolean": bool, "integer": int, "number": float, "text": str}


def _type_of(pa: Any, column: OtherColumn) -> Any:
    """Return the type of a further column."""
    types = {"boolean": pa.bool_(), "integer": pa.int64(), "number": pa.float64()}
    return types.get(column.kind, pa.string())


def _fitting(column: OtherColumn, value: Any) -> object:
    """Return a value of a further column as Parquet takes it, None if it is of another kind."""
    if type(value) is not _PYTHON_TYPES[column.kind]:
        return None
    if type(value) is int and not -(2**63) <= value < 2**63:
        return None
    return value.encode("utf-8", "backslashreplace").decode() if type(value) is str else value


def _column(pa: Any, values: tuple[object, ...], kind: Any) -> Any:
    if pa.types.is_timestamp(kind):
        return pa.array(values, pa.string()).cast(kind)
    return pa.array(values, kind)


def _stored(raw: object, encoded: str) -> bytes:
    return raw if isinstance(raw, bytes) else base64.b64decode(encoded)
