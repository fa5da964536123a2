"""Exported XComs as JSON Lines and CSV: the writers that rows are streamed into.

Values are written as they are stored: JSON text unchanged, everything else (pickles, NaN, broken
bytes) as base64.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Self

from xcomctl.exchange import others as other_columns
from xcomctl.exchange.entries import FIELDS
from xcomctl.exchange.stored import encode_value, encoding_of, is_strict_line
from xcomctl.model import UNMAPPED
from xcomctl.text import is_utf8
from xcomctl.values import strictjson

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from xcomctl.exchange.others import OtherColumn
    from xcomctl.model import Storage, StoredRow, Write


class Lines(ABC):
    """Writes rows to a file, and counts them: a `RowSink`. Subclasses define the format.

    A subclass must override `write_row` and `flush`; `encode_name` and `decode_name` if names
    take another form in its rows, `resume` if the file starts with a header, and `end` if it ends
    with a footer. `strict` says that the database guarantees values to be JSON; `others` are
    further columns of the rows.
    """

    def __init__(
        self,
        write: Write,
        storage: Storage,
        *,
        strict: bool = False,
        others: Sequence[OtherColumn] = (),
    ) -> None:
        self._write = write
        self._storage = storage
        self._strict = strict
        self._others = others
        self._held_bytes = 0
        self.rows = 0
        self.bytes = 0
        """Total size of the values."""
        self.watch: Callable[[], object] = lambda: None
        """Called after about every page that was written."""

    def encode_name(self, name: str, text: str | None) -> Any:
        """Return a name, logical_date or the `others` in the form that `write_row` takes."""
        return other_columns.read(self._others, text) if name == "others" else text

    def decode_name(self, name: str, encoded: Any) -> Any:
        """Return the text that `encode_name` encoded."""
        return encoded

    @abstractmethod
    def write_row(self, row: StoredRow) -> None:
        """Write one row."""

    @abstractmethod
    def flush(self) -> None:
        """Write the rows that are held in memory."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self.end()

    def resume(self, rows: int, size: int) -> None:
        """Continue after `rows` rows with values of `size` bytes, which the file contains already."""
        self.rows, self.bytes = rows, size

    def end(self) -> None:
        """Write the rows that are held in memory, and the footer."""
        self.flush()


class PlainLines(Lines):
    """Writes lines that do not depend on earlier ones, so they can be made elsewhere: a `LineSink`.

    One page at a time. A subclass must override `_pieces`, and may set `_header`.
    """

    def __init__(
        self,
        write: Write,
        storage: Storage,
        *,
        strict: bool = False,
        others: Sequence[OtherColumn] = (),
    ) -> None:
        super().__init__(write, storage, strict=strict, others=others)
        self._page: list[StoredRow] = []
        self._header = b""
        """What the file starts with."""

    @abstractmethod
    def _pieces(self, *, checked: bool) -> list[bytes]:
        """Return the lines of the page in pieces.

        Without `checked`, a value may contain a line end or invalid UTF-8. Checking the whole
        page for these costs half as much as checking each value.
        """

    def write_row(self, row: StoredRow) -> None:
        raw = row[-1]
        length = len(raw) if type(raw) is bytes else 0
        self.rows += 1
        self.bytes += row[7] or 0
        if length >= _PAGE_BYTES:
            self.flush()
            self._page.append(row)
            # Not joined: that would copy it.
            for piece in self._pieces(checked=True):
                self._write(piece)
            self._page.clear()
            return
        self._page.append(row)
        self._held_bytes += length + _ABOUT_HEAD_BYTES
        if self._held_bytes >= _PAGE_BYTES:
            self.flush()

    def flush(self) -> None:
        if self._header:
            self._write(self._header)
            self._header = b""
        if self._page:
            page = b"".join(self._pieces(checked=self._strict))
            if not self._strict and not _are_lines(page, len(self._page)):
                page = b"".join(self._pieces(checked=True))
            self._write(page)
            self._page.clear()
            self._held_bytes = 0
        self.watch()

    def _is_json(self, *, checked: bool) -> Callable[[bytes], bool]:
        """Return how `_pieces` finds out whether a value is written as JSON."""
        if not checked:
            return strictjson.is_json_text
        return (lambda _: True) if self._strict else is_strict_line

    def resume(self, rows: int, size: int) -> None:
        super().resume(rows, size)
        # The file has its header already.
        self._header = b""

    def divert(self, write: Write) -> None:
        """Write to another file from now on, and start counting at 0."""
        self._write = write
        self.watch = lambda: None
        self.resume(0, 0)

    def counted(self) -> tuple[int, int]:
        """Return the number of rows since the last call, and their size in bytes."""
        counts = self.rows, self.bytes
        self.resume(0, 0)
        return counts

    def write(self, data: bytes | memoryview) -> None:
        """Write lines that were made elsewhere, in pieces."""
        self._write(data)

    def count(self, rows: int, size: int) -> None:
        """Count the rows of lines that were made elsewhere."""
        self.rows += rows
        self.bytes += size
        self.watch()


_PAGE_BYTES = 256 * 1024
_ABOUT_HEAD_BYTES = 256


def _are_lines(page: bytes, count: int) -> bool:
    """Return whether the page consists of exactly `count` lines of valid UTF-8."""
    at = -1
    for _ in range(count):
        # Many times faster than count().
        at = page.find(b"\n", at + 1)
    if at != len(page) - 1 or b"\r" in page:
        return False
    return _is_utf8(page)


def _is_utf8(page: bytes) -> bool:
    try:
        return page.isascii() or bool(page.decode("utf-8"))
    except UnicodeDecodeError:
        return False


def are_json(values: Sequence[bytes]) -> bool:
    """Return whether every value is strict JSON on one line."""
    if not all(map(strictjson.is_json_text, values)):
        return False
    page = b"".join(values)
    return b"\n" not in page and b"\r" not in page and _is_utf8(page)


class JsonLines(PlainLines):
    """Writes rows as JSON Lines.

    Every line has every field, and no rare field is null in ordinary lines: DuckDB and polars
    infer columns from the first lines, and lose what only later ones have. `value_base64` is empty
    if the value is in `value`, and `stored_as` unless SQLite holds the value in another storage
    class than Airflow writes.
    """

    def encode_name(self, name: str, text: str | None) -> Any:
        if name == "others":
            values = other_columns.read(self._others, text)
            pairs = zip(self._others, values, strict=True)
            return "".join(
                f", {strictjson.dumps(one.name)}: {strictjson.dumps(value)}" for one, value in pairs
            )
        quoted = strictjson.dumps(text)
        return quoted if name == "logical_date" else f"{_BEFORE[name]}{quoted}".encode()

    def decode_name(self, name: str, encoded: Any) -> Any:
        return json.loads(encoded if name == "logical_date" else encoded[len(_BEFORE[name]) :])

    def _pieces(self, *, checked: bool) -> list[bytes]:
        pieces: list[bytes] = []
        is_json = self._is_json(checked=checked)
        for dag, task, run, index, key, time, date, size, run_number, orphan, others, stored_as, raw in self._page:  # fmt: skip
            if type(raw) is bytes and is_json(raw):
                encoding, encoded, value = "json", "", raw
            else:
                encoding = encoding_of(raw, self._storage)
                text, base64 = encode_value(raw)
                encoded, value = base64 or "", text or b"null"
            moment = f'"{time}"' if time else "null"
            facts = (
                f', "timestamp": {moment}, "logical_date": {date}, '
                f'"size_bytes": {"null" if size is None else size}, "encoding": "{encoding}", '
                f'"orphan": {"true" if orphan else "false"}, '
                f'"dag_run_id": {"null" if run_number is None else run_number}, '
                f'"stored_as": "{stored_as or ""}"{others}, "value_base64": "'
            )
            mapped = b', "map_index": -1' if index == UNMAPPED else b', "map_index": %d' % index
            head = facts.encode()
            if encoded:
                # Not joined: it may be large.
                pieces += (
                    dag,
                    task,
                    run,
                    mapped,
                    key,
                    head,
                    encoded.encode(),
                    b'", "value": null}\n',
                )
            else:
                pieces += (dag, task, run, mapped, key, head, b'", "value": ', value, b"}\n")
        return pieces


_BEFORE = {
    "dag_id": '{"dag_id": ',
    "task_id": ', "task_id": ',
    "run_id": ', "run_id": ',
    "key": ', "key": ',
}
"""The text before each name."""


class CsvLines(PlainLines):
    """Writes rows as CSV; with `escape`, every cell is quoted, and is what that makes of its text."""

    def __init__(
        self,
        write: Write,
        storage: Storage,
        *,
        strict: bool = False,
        others: Sequence[OtherColumn] = (),
        escape: Callable[[str], str] | None = None,
    ) -> None:
        super().__init__(write, storage, strict=strict, others=others)
        self._escape = escape
        self._header = ",".join(map(self._cell, csv_fields(others))).encode() + b"\n"

    def encode_name(self, name: str, text: str | None) -> Any:
        if name == "others":
            values = other_columns.read(self._others, text)
            cells = "".join(f"{self._cell(_csv_text(value))}," for value in values)
            return cells.encode("utf-8", "backslashreplace").decode()
        cell = self._cell(text or "")
        if name == "logical_date":
            return cell
        if text is not None and self._escape is None and is_utf8(text):
            return f"{cell},".encode()
        # SQLite allows names that are not UTF-8.
        return _NameCell(text, f"{cell},".encode("utf-8", "backslashreplace"))

    def decode_name(self, name: str, encoded: Any) -> Any:
        if name == "logical_date":
            return encoded
        if isinstance(encoded, _NameCell):
            return encoded.text
        cell: str = encoded[:-1].decode()
        return cell[1:-1].replace('""', '"') if cell.startswith('"') else cell

    def _cell(self, text: str) -> str:
        if self._escape is not None:
            text = self._escape(text)
        elif not any(special in text for special in _SPECIAL):
            return text
        return '"' + text.replace('"', '""') + '"'

    def _pieces(self, *, checked: bool) -> list[bytes]:
        pieces: list[bytes] = []
        escape = self._escape
        is_json = self._is_json(checked=checked or escape is not None)
        q = '"' if escape else ""
        end, quoted_end = f",{q}{q}\n".encode(), f'",{q}{q}\n'.encode()
        for dag, task, run, index, key, time, date, size, run_number, orphan, others, stored_as, raw in self._page:  # fmt: skip
            encoded = None
            if type(raw) is bytes and is_json(raw):
                encoding, text = "json", raw
            else:
                encoding = encoding_of(raw, self._storage)
                strict_json, encoded = encode_value(raw)
                text = strict_json or b""
            if escape is not None:
                text = escape(text.decode("utf-8")).encode()
            facts = (
                time or "", date, "" if size is None else size, encoding,
                "true" if orphan else "false", run_number, stored_as or "",
            )  # fmt: skip
            mapped = f"{q}{index}{q},".encode() if q or index != UNMAPPED else b"-1,"
            head = (_QUOTED_FACTS if q else _FACTS) % facts + others
            pieces += (dag, task, run, mapped, key, head.encode())
            if encoded:
                # Of base64 no character needs quotes, and the value is empty then.
                pieces.append(f"{q}{q},{q}{encoded}{q}\n".encode())
            elif b'"' in text:
                pieces += (b'"', text.replace(b'"', b'""'), quoted_end)
            elif b"," in text or q:
                pieces += (b'"', text, quoted_end)
            else:
                pieces += (text, end)
        return pieces


_FACTS = "%s,%s,%s,%s,%s,%s,%s,"
_QUOTED_FACTS = '"%s",%s,"%s","%s","%s","%s","%s",'
"""From `timestamp` to `stored_as`; the cell of `logical_date` is quoted already."""


def csv_fields(others: Sequence[OtherColumn]) -> list[str]:
    """Return the header of a CSV file."""
    facts = ("orphan", "dag_run_id", "stored_as", *(one.name for one in others))
    return [*FIELDS, *facts, "value", "value_base64"]


def _csv_text(value: object) -> str:
    """Return the value of a further column as a cell has it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)


_SPECIAL = ('"', ",", "\n", "\r")
"""What makes a cell need quotes."""


class _NameCell(bytes):
    """The cell of a name that cannot be read from it, with the comma behind it."""

    text: str | None

    def __new__(cls, text: str | None, cell: bytes) -> Self:
        new = super().__new__(cls, cell)
        new.text = text
        return new
