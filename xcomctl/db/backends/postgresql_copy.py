"""PostgreSQL's COPY in binary: its rows taken apart as they come."""

from __future__ import annotations

import struct
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from xcomctl.db.backends.streaming import Memo, reads_times
from xcomctl.db.backends.times import iso

if TYPE_CHECKING:
    from collections.abc import Iterator

    from xcomctl.model import RowSink


class CopiedRows:
    """The file that COPY writes to: takes its binary rows apart and hands them over.

    libpq passes one row at a time. Each field stands behind its length, -1 for NULL:
    https://www.postgresql.org/docs/current/sql-copy.html
    """

    def __init__(self, sink: RowSink) -> None:
        self._sink = sink
        self._write_row = sink.write_row
        self._reads_times = reads_times(sink)
        self._names = Memo(self._encode_names)
        self._runs = Memo(self._encode_run)
        self._minute: int | None = None
        self._until_minute = ""
        self._started = False
        self.busy = False
        """Whether what the server sent is being dealt with; otherwise it is the server's turn."""
        self.turns = 0

    def write(self, data: bytes) -> None:
        """Take one row; the first comes with the header, and the last is only an end mark."""
        self.busy = True
        at = 0
        if not self._started:
            self._started = True
            at = len(_COPY_SIGNATURE) + 8 + _LENGTH(data, 15)[0]
        if len(data) - at > 2:
            self._take_row(data, at)
        self.turns += 1
        self.busy = False

    def _take_row(self, data: bytes, at: int) -> None:
        # Written out, because a loop over the fields would be most of the time of an export.
        _, _, index, _, run, _, orphan, _, stamp, _, size, length = _COPY_START(data, at)
        begin = at + _COPY_START_BYTES
        end = begin + length
        dag_id, task_id, key = self._names[data[begin:end]]
        begin = end + 4
        end = begin + _LENGTH(data, end)[0]
        run_id, date, others = self._runs[data[begin:end]]
        raw: Any = data[end + 4 :]
        if not raw and _LENGTH(data, end)[0] < 0:
            raw = size = None
        elif not size:
            size = len(raw)
        time = self._time(stamp) if self._reads_times else None
        self._write_row((
            dag_id, task_id, run_id, index, key, time, date, size, run, orphan != 0, others, None,
            raw,
        ))  # fmt: skip

    def _encode_names(self, names: bytes) -> tuple[Any, Any, Any]:
        dag_id, task_id, key = _elements(names)
        encode_name = self._sink.encode_name
        return (
            encode_name("dag_id", dag_id or ""),
            encode_name("task_id", task_id or ""),
            encode_name("key", key),
        )

    def _encode_run(self, run: bytes) -> tuple[Any, Any, Any]:
        run_id, date, others = _elements(run)
        encode_name = self._sink.encode_name
        return (
            encode_name("run_id", run_id),
            encode_name("logical_date", iso(date)),
            encode_name("others", others),
        )

    def _time(self, microseconds: int) -> str | None:
        """Return PostgreSQL's binary timestamp as RFC 3339 text, None for infinity and the like."""
        minute, rest = divmod(microseconds, 60_000_000)
        if minute != self._minute:
            try:
                self._until_minute = (_EPOCH + timedelta(minutes=minute)).isoformat()[:17]
            except OverflowError:
                return None
            self._minute = minute
        digits = str(100_000_000 + rest)
        if rest % 1_000_000:
            return f"{self._until_minute}{digits[1:3]}.{digits[3:]}Z"
        return f"{self._until_minute}{digits[1:3]}Z"


_COPY_SIGNATURE: Final = b"PGCOPY\n\xff\r\n\0"
_COPY_START: Final = struct.Struct(">hiiiiiiiqiii").unpack_from
"""The number of fields, then map_index, dag_run_id, orphan, timestamp and size behind their
lengths, and the length of the names."""
_COPY_START_BYTES: Final = struct.calcsize(">hiiiiiiiqiii")
_ARRAY_START_BYTES: Final = struct.calcsize(">iiiii")
"""Dimensions, whether there are NULLs, the elements' type, their number, the first one's index."""
_LENGTH: Final = struct.Struct(">i").unpack_from
_EPOCH: Final = datetime(2000, 1, 1)


def _elements(data: bytes) -> Iterator[str | None]:
    """Yield the elements of an array of texts in its binary form."""
    at = _ARRAY_START_BYTES
    while at < len(data):
        (length,) = _LENGTH(data, at)
        at += 4
        if length < 0:
            yield None
        else:
            yield data[at : at + length].decode("utf-8", "surrogateescape")
            at += length
