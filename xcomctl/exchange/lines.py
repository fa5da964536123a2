"""Entries with their values as lines that a script reads: what `export` and undo files hold.

A value stands as it is stored: JSON text goes through untouched, and what is no strict JSON
(pickles, NaN, broken bytes) as base64 of its bytes. Nothing is decoded, so nothing is lost.
"""

from __future__ import annotations

import base64
import csv
import io
import json
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Self

from xcomctl.model import UNMAPPED, XComRef, format_time
from xcomctl.values import decode, strictjson

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from xcomctl.model import Raw, Storage, StoredRow, Write, XComEntry

FIELDS = (
    "dag_id",
    "task_id",
    "run_id",
    "map_index",
    "key",
    "timestamp",
    "logical_date",
    "size_bytes",
    "encoding",
)


class Lines(ABC):
    """Writes rows as JSON Lines, or as CSV under a header, and counts them.

    For `Store.stream_into`. `strict` says that the database sees to it that values are JSON.
    """

    def __init__(self, write: Write, storage: Storage, *, strict: bool = False) -> None:
        self._write = write
        self._storage = storage
        self._strict = strict
        self._held_bytes = 0
        self.rows = 0
        self.bytes = 0
        """The sizes of the values together."""
        self.watch: Callable[[], object] = lambda: None
        """Called now and then: whenever as much as a page was written."""

    def encode_name(self, name: str, text: str | None) -> Any:
        """Return a name, or logical_date, as `write_row` wants it."""
        return text

    def decode_name(self, name: str, spelling: Any) -> Any:
        """Return the text that was spelled so."""
        return spelling

    @abstractmethod
    def write_row(self, row: StoredRow) -> None:
        """Write one row."""

    @abstractmethod
    def flush(self) -> None:
        """Write what is held."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self.end()

    def resume(self, rows: int, size: int) -> None:
        """Go on behind so many rows, which are written already, of that size together."""
        self.rows, self.bytes = rows, size

    def end(self) -> None:
        """Write what is held, and what comes behind the last row."""
        self.flush()


class PlainLines(Lines):
    """Writes lines that do not depend on those before them: see `LineSink`."""

    def divert(self, write: Write) -> None:
        """Write from now on there what comes behind other lines, and count it anew."""
        self._write = write
        self.watch = lambda: None
        self.resume(0, 0)

    def counted(self) -> tuple[int, int]:
        """Return how many rows there were since the last time, and their size in bytes."""
        counts = self.rows, self.bytes
        self.resume(0, 0)
        return counts

    def write(self, data: bytes | memoryview) -> None:
        """Write a piece of lines that are made."""
        self._write(data)

    def count(self, rows: int, size: int) -> None:
        """Count the rows of such lines."""
        self.rows += rows
        self.bytes += size
        self.watch()


class JsonLines(PlainLines):
    """Writes rows as JSON Lines, each as `json_line` has it, a page of them at a time."""

    def __init__(self, write: Write, storage: Storage, *, strict: bool = False) -> None:
        super().__init__(write, storage, strict=strict)
        self._page: list[StoredRow] = []

    def encode_name(self, name: str, text: str | None) -> Any:
        quoted = strictjson.dumps(text)
        return quoted if name == "logical_date" else f"{_BEFORE[name]}{quoted}".encode()

    def decode_name(self, name: str, spelling: Any) -> Any:
        return json.loads(spelling if name == "logical_date" else spelling[len(_BEFORE[name]) :])

    def write_row(self, row: StoredRow) -> None:
        raw = row[-1]
        length = len(raw) if type(raw) is bytes else 0
        self.rows += 1
        self.bytes += row[7] or 0
        if length >= _PAGE_BYTES:
            self.flush()
            self._page.append(row)
            # Not joined, which would copy it.
            for piece in self._pieces(surely=True):
                self._write(piece)
            self._page.clear()
            return
        self._page.append(row)
        self._held_bytes += length + _ABOUT_HEAD_BYTES
        if self._held_bytes >= _PAGE_BYTES:
            self.flush()

    def flush(self) -> None:
        if self._page:
            page = b"".join(self._pieces(surely=self._strict))
            if not self._strict and not _are_lines(page, len(self._page)):
                page = b"".join(self._pieces(surely=True))
            self._write(page)
            self._page.clear()
            self._held_bytes = 0
        self.watch()

    def _pieces(self, *, surely: bool) -> list[bytes]:
        """Return the lines of the page in pieces.

        Unless `surely`, a value may still hold the end of a line, or what is no UTF-8: looked for
        in the whole page, that costs half as much.
        """
        pieces: list[bytes] = []
        is_json: Callable[[bytes], bool] = strictjson.is_json_text
        if surely:
            is_json = (lambda _: True) if self._strict else _is_strict
        for dag, task, run, index, key, time, date, size, run_number, orphan, stored_as, raw in self._page:  # fmt: skip
            moment = f'"{time}"' if time else "null"
            tail = f', "orphan": true, "dag_run_id": {run_number}' if orphan else ""
            if stored_as is not None:
                tail += f', "stored_as": "{stored_as}"'
            if type(raw) is bytes and is_json(raw):
                encoding, before, value, end = "json", b'"value": ', raw, b"}\n"
            else:
                encoding = encoding_of(raw, self._storage)
                text, other = told(raw)
                if text is None and other is not None:
                    before, value, end = b'"value_base64": "', other.encode(), b'"}\n'
                else:
                    before, value, end = b'"value": ', text or b"null", b"}\n"
            facts = (
                f', "timestamp": {moment}, "logical_date": {date}, '
                f'"size_bytes": {"null" if size is None else size}, "encoding": "{encoding}"{tail}, '
            )
            mapped = b', "map_index": -1' if index == UNMAPPED else b', "map_index": %d' % index
            pieces += (dag, task, run, mapped, key, facts.encode(), before, value, end)
        return pieces


def _are_lines(page: bytes, count: int) -> bool:
    """Return whether it is just so many lines of UTF-8."""
    at = -1
    for _ in range(count):
        # Many times as fast as count().
        at = page.find(b"\n", at + 1)
    if at != len(page) - 1 or b"\r" in page:
        return False
    try:
        return page.isascii() or bool(page.decode("utf-8"))
    except UnicodeDecodeError:
        return False


_BEFORE = {
    "dag_id": '{"dag_id": ',
    "task_id": ', "task_id": ',
    "run_id": ', "run_id": ',
    "key": ', "key": ',
}
"""What stands before each name."""
_ABOUT_HEAD_BYTES = 256


class CsvLines(PlainLines):
    """Writes rows as CSV."""

    def __init__(self, write: Write, storage: Storage, *, strict: bool = False) -> None:
        super().__init__(write, storage, strict=strict)
        self._held = [_csv([*FIELDS, "stored_as", "value", "value_base64"])]

    def resume(self, rows: int, size: int) -> None:
        super().resume(rows, size)
        # The header is written already, too.
        self._held.clear()

    def write_row(self, row: StoredRow) -> None:
        self.rows += 1
        *named, size, _, _, stored_as, raw = row
        self.bytes += size or 0
        text, other = told(raw)
        cells = [*named, size, encoding_of(raw, self._storage), stored_as]
        plain = "" if text is None else text.decode("utf-8")
        line = _csv([*map(_cell, cells), plain, "" if other is None else other])
        if len(line) >= _PAGE_BYTES:
            # Not joined with others, which would copy it.
            self.flush()
        self._held.append(line)
        self._held_bytes += len(line)
        if self._held_bytes >= _PAGE_BYTES:
            self.flush()

    def flush(self) -> None:
        self._write(self._held[0] if len(self._held) == 1 else b"".join(self._held))
        self._held.clear()
        self._held_bytes = 0
        self.watch()


_PAGE_BYTES = 256 * 1024


def encoding_of(raw: bytes | float | None, storage: Storage) -> str:
    """Return the encoding of a whole value, told by its first bytes."""
    if not isinstance(raw, bytes):
        return decode.sniff(raw, None, storage).value
    return decode.sniff(raw[:_HEAD_BYTES], len(raw), storage).value


_HEAD_BYTES = 64


def undo_line(entry: XComEntry, raw: Raw, storage: Storage) -> bytes:
    """Return an entry as `json_line` does, marked as one that an undo file keeps."""
    return json_line(entry, raw, storage, {"undo": "restore"})


def absence_line(ref: XComRef) -> bytes:
    """Return the line of an undo file that says: there was no such entry."""
    facts = (
        ref.dag_id,
        ref.task_id,
        ref.run_id,
        ref.map_index,
        ref.key,
        None,
        format_time(ref.logical_date),
        None,
        "absent",
    )
    named = {"undo": "remove", **dict(zip(FIELDS, facts, strict=True))}
    return strictjson.dumps(named).encode() + b"\n"


def json_line(
    entry: XComEntry,
    raw: Raw,
    storage: Storage,
    before: Mapping[str, object] | None = None,
) -> bytes:
    """Return one entry as a line of JSON.

    `value` where the stored text is strict JSON, `value_base64` where it is not, and a `value` of
    null with the encoding `null` where there is none. `stored_as` only where SQLite holds the
    value in another storage class than this Airflow writes; `orphan` and its `dag_run_id` only
    where the row's run or task instance is not there.
    """
    named = dict(zip(FIELDS, _facts(entry), strict=True))
    facts: dict[str, object] = {**(before or {}), **named}
    if entry.orphan:
        facts |= {"orphan": True, "dag_run_id": entry.row[0]}
    stored_as = _stored_as(raw, storage)
    if stored_as is not None:
        facts["stored_as"] = stored_as
    text, other = told(raw)
    if text is None and other is not None:
        facts["value_base64"] = other
        return strictjson.dumps(facts).encode() + b"\n"
    return strictjson.dumps(facts).encode()[:-1] + b', "value": ' + (text or b"null") + b"}\n"


def told(raw: Raw) -> tuple[bytes | None, str | None]:
    """Return the value as strict JSON text of one line, or else as base64; both None for NULL."""
    if raw is None:
        return None, None
    if isinstance(raw, int | float):
        try:
            return json.dumps(raw, allow_nan=False).encode(), None
        except ValueError:
            # SQLite's infinity, which only its text tells apart.
            return None, base64.b64encode(repr(raw).encode()).decode()
    data = decode.to_bytes(raw)
    if _is_strict(data):
        return data, None
    return None, base64.b64encode(data).decode()


def _is_strict(data: bytes) -> bool:
    """Return whether the bytes are one line of strict JSON."""
    return b"\n" not in data and b"\r" not in data and strictjson.is_strict(data)


def _stored_as(raw: Raw, storage: Storage) -> str | None:
    if isinstance(raw, int | float):
        return "real" if isinstance(raw, float) else "integer"
    if isinstance(raw, str) and storage == "bytes":
        return "text"
    return "blob" if isinstance(raw, bytes) and storage == "json" else None


def _facts(entry: XComEntry) -> tuple[object, ...]:
    ref = entry.ref
    return (
        ref.dag_id,
        ref.task_id,
        ref.run_id,
        ref.map_index,
        ref.key,
        format_time(entry.timestamp),
        format_time(ref.logical_date),
        entry.size,
        entry.encoding.value,
    )


def _cell(value: object) -> str:
    if value is None:
        return ""
    # A Size says itself for people.
    return str(int(value)) if isinstance(value, int) else str(value)


def _csv(fields: Iterable[str]) -> bytes:
    out = io.StringIO()
    write: Callable[[Iterable[str]], object] = csv.writer(out, lineterminator="\n").writerow
    write(fields)
    return out.getvalue().encode("utf-8", "backslashreplace")
