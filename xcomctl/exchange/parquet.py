"""Exported XComs as Parquet, with the fields of JSON Lines as typed columns.

Loads pyarrow, an optional extra.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

from xcomctl.errors import UsageError
from xcomctl.exchange.arrow import to_array
from xcomctl.exchange.lines import Lines, are_json
from xcomctl.exchange.stored import encode_value, encoding_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from xcomctl.exchange.others import OtherColumn
    from xcomctl.model import Storage, StoredRow, Write

_GROUP_BYTES = 32 * 1024 * 1024
"""Bytes of values per row group; a row group is held in memory until it is written."""
_GROUP_ROWS = 100_000
_PAGE_BYTES = 1024 * 1024
_PAGE_ROWS = 2_000
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
        self._page: list[StoredRow] = []
        self._page_bytes = 0
        self._batches: list[Any] = []
        """The pages of a row group."""
        self._held_rows = 0
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
        if name == "logical_date":
            return text
        # SQLite allows names that are not UTF-8: written as other formats write them.
        return None if text is None else text.encode("utf-8", "backslashreplace")

    def write_row(self, row: StoredRow) -> None:
        raw = row[-1]
        self.rows += 1
        self.bytes += row[7] or 0
        self._page.append(row)
        self._page_bytes += len(raw) if type(raw) is bytes else 0
        if self._page_bytes >= _PAGE_BYTES or len(self._page) >= _PAGE_ROWS:
            self._end_page()

    def _end_page(self) -> None:
        """Make arrays of the rows while the processor still has them at hand."""
        import pyarrow as pa

        if self._page:
            batch = pa.RecordBatch.from_arrays(self._columns(), schema=self._schema)
            self._batches.append(batch)
            self._held_bytes += self._page_bytes
            self._held_rows += batch.num_rows
            self._page_bytes = 0
        if self._held_bytes >= _GROUP_BYTES or self._held_rows >= _GROUP_ROWS:
            self._end_group()
        self.watch()

    def _end_group(self) -> None:
        import pyarrow as pa

        if self._batches:
            table = pa.Table.from_batches(self._batches)
            self._batches.clear()
            self._writer.write_table(table, row_group_size=self._held_rows)
            self._held_bytes = self._held_rows = 0

    def flush(self) -> None:
        self._end_page()
        self._end_group()

    def _columns(self) -> list[Any]:
        """Return the columns of the rows that are held, and let go of the rows."""
        columns: list[Sequence[Any]] = [*zip(*self._page, strict=True)]
        self._page = []
        *facts, others, stored_as, raws = columns
        dag_id, task_id, run_id, index, key, time, date, size, run, orphan = facts
        encodings, texts, bytes_ = self._values(raws)
        further = zip(*others, strict=True) if self._others else ()
        ordered = [
            *(dag_id, task_id, run_id, index, key, time, date, size, encodings),
            *(orphan, run, _encoded(stored_as), *further, texts, bytes_),
        ]
        return [to_array(one, field.type) for one, field in zip(ordered, self._schema, strict=True)]

    def _values(
        self, raws: Sequence[Any]
    ) -> tuple[Sequence[bytes], Sequence[bytes | None], Sequence[bytes | None]]:
        """Return the encoding of each value, its text if it is strict JSON, or else its bytes."""
        if all(type(raw) is bytes for raw in raws) and (self._strict or are_json(raws)):
            return [b"json"] * len(raws), raws, [None] * len(raws)
        texts: list[bytes | None] = []
        others: list[bytes | None] = []
        for raw in raws:
            text, encoded = (raw, None) if self._is_json(raw) else encode_value(raw)
            texts.append(text)
            others.append(None if encoded is None else _stored(raw, encoded))
        return [encoding_of(raw, self._storage).encode() for raw in raws], texts, others

    def _is_json(self, raw: object) -> bool:
        return self._strict and type(raw) is bytes

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
    return value.encode("utf-8", "backslashreplace") if type(value) is str else value


def _encoded(texts: Sequence[str | None]) -> list[bytes | None]:
    return [None if text is None else text.encode() for text in texts]


def _stored(raw: object, encoded: str) -> bytes:
    return raw if isinstance(raw, bytes) else base64.b64decode(encoded)
