"""Entries with their values as Parquet: what `export` writes for tables of columns.

The fields are those of JSON Lines, with types. pyarrow, an extra, is loaded only here.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

from xcomctl.errors import UsageError
from xcomctl.exchange.lines import Lines, encoding_of, told

if TYPE_CHECKING:
    from xcomctl.model import Storage, StoredRow, Write

_GROUP_BYTES = 32 * 1024 * 1024
"""Values of so many bytes make a row group, which is held until it is written."""
_GROUP_ROWS = 100_000
_WATCH_ROWS = 256
_REPEATED = ("dag_id", "task_id", "run_id", "key", "encoding", "stored_as")
_VALUES = ("value", "value_bytes")


def need_pyarrow() -> None:
    """Raise where pyarrow is not there.

    Raises:
        UsageError: it is not installed.
    """
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        raise UsageError(
            "cannot write Parquet: pyarrow is not installed",
            hint='Install it with pip install "xcomctl[parquet]", or give -o jsonl or -o csv.',
        ) from None


class ParquetRows(Lines):
    """Writes rows as a Parquet file, a row group at a time.

    `value` holds what is strict JSON, as its text; `value_bytes` the stored bytes of the rest.
    """

    def __init__(self, write: Write, storage: Storage, *, strict: bool = False) -> None:
        import pyarrow as pa
        from pyarrow import parquet

        super().__init__(write, storage, strict=strict)
        moment = pa.timestamp("us", tz="UTC")
        self._schema = pa.schema(
            [
                *((name, pa.string()) for name in ("dag_id", "task_id", "run_id")),
                ("map_index", pa.int32()),
                ("key", pa.string()),
                ("timestamp", moment),
                ("logical_date", moment),
                ("size_bytes", pa.int64()),
                ("encoding", pa.string()),
                ("orphan", pa.bool_()),
                ("dag_run_id", pa.int64()),
                ("stored_as", pa.string()),
                # The ordinary ones hold 2 GiB in a batch, which a few values may pass together.
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
        # A name that is no UTF-8, which SQLite takes, is shown as other formats show it.
        return None if text is None else text.encode("utf-8", "backslashreplace").decode()

    def write_row(self, row: StoredRow) -> None:
        dag_id, task_id, run_id, index, key, time, date, size, run, orphan, stored_as, raw = row
        self.rows += 1
        self.bytes += size or 0
        text: bytes | None
        if type(raw) is bytes and self._strict:
            text, other = raw, None
        else:
            text, encoded = told(raw)
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
                run if orphan else None,
                stored_as,
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
            # One row group of it, however many rows it has.
            self._writer.write_batch(batch, row_group_size=batch.num_rows)
        self.watch()

    def end(self) -> None:
        self.flush()
        self._writer.close()

    def __exit__(self, kind: object, *rest: object) -> None:
        try:
            super().__exit__(kind, *rest)
        finally:
            # The writer ends its file when it goes, and there is none any more.
            self._sink.deaf = True


class _Sink:
    """What pyarrow takes for a file: it only writes, so that a pipe will do."""

    closed = False

    def __init__(self, write: Write) -> None:
        self._write = write
        self.deaf = False

    def write(self, data: bytes) -> None:
        if not self.deaf:
            self._write(data)

    def flush(self) -> None:
        pass

    def close(self) -> None:
        pass

    def writable(self) -> bool:
        return True


def _column(pa: Any, values: tuple[object, ...], kind: Any) -> Any:
    if pa.types.is_timestamp(kind):
        return pa.array(values, pa.string()).cast(kind)
    return pa.array(values, kind)


def _stored(raw: object, encoded: str) -> bytes:
    return raw if isinstance(raw, bytes) else base64.b64decode(encoded)
