"""Entries with their values as lines that a script reads: what `export` writes, `import` reads.

A value stands as it is stored: JSON text goes through untouched, and what is no strict JSON
(pickles, NaN, broken bytes) as base64 of its bytes. Nothing is decoded, so nothing is lost.
"""

from __future__ import annotations

import base64
import binascii
import csv
import io
import json
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Self

from xcomctl import codec
from xcomctl.model import UNMAPPED, XComRef, format_time

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from typing import BinaryIO

    from xcomctl.model import Raw, Storage, StoredRow, XComEntry

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


class Lines:
    """Writes rows as JSON Lines, or as CSV under a header, and counts them.

    For `Store.pour`. `strict` says that the database sees to it that values are JSON.
    """

    def __init__(
        self, write: Callable[[bytes], object], storage: Storage, *, strict: bool = False
    ) -> None:
        self._write = write
        self._storage = storage
        self._strict = strict
        self._held: list[bytes] = []
        self._held_bytes = 0
        self.rows = 0
        self.bytes = 0
        """The sizes of the values together."""
        self.watch: Callable[[], object] = lambda: None
        """Called now and then: whenever as much as a page was written."""

    def spell(self, name: str, text: str | None) -> Any:
        """Return a name, or logical_date, as `take` wants it."""
        return text

    def spelled(self, name: str, spelling: Any) -> Any:
        """Return the text that was spelled so."""
        return spelling

    def take(self, row: StoredRow) -> None:
        """Write one row."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            if kind is None:
                self.end()
        finally:
            self.abandon()

    def resume(self, rows: int, size: int) -> None:
        """Go on behind so many rows, which are written already, of that size together."""
        self._held, self._held_bytes = [], 0
        self.rows, self.bytes = rows, size

    def end(self) -> None:
        """Write what is held, and what comes behind the last row."""
        self.flush()

    def abandon(self) -> None:
        """Write nothing any more, whatever is held."""

    def hold(self, piece: bytes) -> None:
        """Write a piece with others that are as small, or alone where it is many megabytes."""
        if len(piece) >= _PAGE_BYTES and self._held:
            self.flush()
        self._held.append(piece)
        self._held_bytes += len(piece)
        if self._held_bytes >= _PAGE_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write what is held."""
        # Joining what is alone would copy it.
        self._write(self._held[0] if len(self._held) == 1 else b"".join(self._held))
        self._held = []
        self._held_bytes = 0
        self.watch()


class JsonLines(Lines):
    """Writes rows as JSON Lines, each as `json_line` has it, a page of them at a time."""

    def __init__(
        self, write: Callable[[bytes], object], storage: Storage, *, strict: bool = False
    ) -> None:
        super().__init__(write, storage, strict=strict)
        self._page: list[StoredRow] = []

    def spell(self, name: str, text: str | None) -> Any:
        quoted = codec.dumps(text)
        return quoted if name == "logical_date" else f"{_BEFORE[name]}{quoted}".encode()

    def spelled(self, name: str, spelling: Any) -> Any:
        return json.loads(spelling if name == "logical_date" else spelling[len(_BEFORE[name]) :])

    def take(self, row: StoredRow) -> None:
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

    def resume(self, rows: int, size: int) -> None:
        super().resume(rows, size)
        self._page.clear()

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
        is_json: Callable[[bytes], bool] = codec.is_json_text
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


class CsvLines(Lines):
    """Writes rows as CSV."""

    def __init__(
        self, write: Callable[[bytes], object], storage: Storage, *, strict: bool = False
    ) -> None:
        super().__init__(write, storage, strict=strict)
        self.hold(_csv([*FIELDS, "stored_as", "value", "value_base64"]))

    def take(self, row: StoredRow) -> None:
        self.rows += 1
        *named, size, _, _, stored_as, raw = row
        self.bytes += size or 0
        text, other = told(raw)
        cells = [*named, size, encoding_of(raw, self._storage), stored_as]
        plain = "" if text is None else text.decode("utf-8")
        self.hold(_csv([*map(_cell, cells), plain, "" if other is None else other]))


_PAGE_BYTES = 256 * 1024


def encoding_of(raw: bytes | float | None, storage: Storage) -> str:
    """Return the encoding of a whole value, told by its first bytes."""
    if not isinstance(raw, bytes):
        return codec.sniff(raw, None, storage).value
    return codec.sniff(raw[:_HEAD_BYTES], len(raw), storage).value


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
    return codec.dumps(named).encode() + b"\n"


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
        return codec.dumps(facts).encode() + b"\n"
    return codec.dumps(facts).encode()[:-1] + b', "value": ' + (text or b"null") + b"}\n"


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
    data = codec.to_bytes(raw)
    if _is_strict(data):
        return data, None
    return None, base64.b64encode(data).decode()


def _is_strict(data: bytes) -> bool:
    """Return whether the bytes are one line of strict JSON."""
    return b"\n" not in data and b"\r" not in data and codec.is_strict(data)


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


# --- reading ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Record:
    """A line of an export or of an undo file."""

    line: int
    ref: XComRef
    timestamp: datetime | None
    data: bytes | None
    """The stored bytes, or the UTF-8 of the stored text; None for SQL NULL."""
    encoding: str = "json"
    stored_as: str | None = None
    undo: str | None = None
    """Of an undo file: `restore`, or `remove` where there was nothing."""
    dag_run_id: int | None = None
    """Of an orphan, which no run of its name points to."""

    def raw(self, storage: Storage, *, sqlite: bool) -> Raw:
        """Return the value as a column of that storage holds it.

        Raises:
            ValueError: it cannot hold this value.
        """
        data = self.data
        if data is None:
            return None
        if sqlite and self.stored_as in ("integer", "real"):
            return int(data) if self.stored_as == "integer" else float(data)
        if storage == "bytes":
            return data.decode() if sqlite and self.stored_as == "text" else data
        if sqlite:
            # Text that looks like a number would become one, and another.
            as_bytes = self.stored_as == "blob" or (self.stored_as is None and _escapes(data))
            return data if as_bytes else data.decode("utf-8", "surrogateescape")
        if not _is_strict(data.replace(b"\n", b" ").replace(b"\r", b" ")):
            what = "a pickle" if self.encoding == "pickle" else "no JSON"
            raise ValueError(f"its value is {what}, and this column takes JSON only")
        return data.decode("utf-8")


def _escapes(data: bytes) -> bool:
    """Return whether SQLite's NUMERIC affinity would alter this JSON text."""
    if data[:1] not in b"-0123456789" or not data:
        return False
    try:
        return not -(2**63) <= int(data) < 2**63 or str(int(data)).encode() != data
    except ValueError:
        return True


@dataclass(frozen=True, slots=True)
class Fault:
    """A line that cannot be read, and why."""

    line: int
    reason: str
    cut_off: bool = False
    """Whether it is the last of an undo file whose writer was killed: it removed nothing yet."""


def records(file: BinaryIO) -> Iterator[Record | Fault]:
    """Yield what a file of `export` or `--undo-file` holds, JSON Lines or CSV, line by line."""
    first = file.readline()
    if first.startswith(b"dag_id,"):
        yield from _csv_records(first, file)
        return
    line, number = first, 1
    while line:
        if line.strip():
            yield _json_record(line, number)
        line = file.readline()
        number += 1


def _csv_records(header: bytes, file: BinaryIO) -> Iterator[Record | Fault]:
    csv.field_size_limit(sys.maxsize)
    text = io.TextIOWrapper(file, encoding="utf-8", newline="")
    try:
        reader = csv.DictReader(text, fieldnames=header.decode().strip().split(","))
        for row in reader:
            given: dict[str, Any] = {**row}
            if missing := _missing(given):
                yield Fault(reader.line_num, f"it has no {missing}")
                continue
            for name in ("run_id", "logical_date", "timestamp", "stored_as"):
                given[name] = given.get(name) or None
            data: bytes | None = str(given.get("value") or "").encode()
            if not data and given.get("encoding") != "null":
                data = base64.b64decode(given.get("value_base64") or "")
            yield _record(given, None if given.get("encoding") == "null" else data, reader.line_num)
    except (csv.Error, UnicodeDecodeError) as error:
        yield Fault(0, f"it is no CSV: {error}")
    finally:
        text.detach()


def _json_record(line: bytes, number: int) -> Record | Fault:
    try:
        with codec.deep():
            given, value = _members(line.decode("utf-8"))
        data: bytes | None = None
        if missing := _missing(given):
            return Fault(number, f"it has no {missing}")
        if "value_base64" in given:
            data = base64.b64decode(str(given["value_base64"]), validate=True)
        elif given.get("encoding") not in ("null", "absent"):
            if value is None:
                return Fault(number, "it has neither value nor value_base64")
            data = value.encode("utf-8", "surrogatepass")
        return _record(given, data, number)
    except (ValueError, RecursionError, binascii.Error) as error:
        cut = not line.endswith(b"\n") and line.startswith(b'{"undo": ')
        said = "it is cut off" if not line.endswith(b"\n") else f"it is no JSON: {error}"
        return Fault(number, said, cut)


def _members(line: str) -> tuple[dict[str, object], str | None]:
    """Return the members of a JSON object but `value`, and the text of that one, untouched."""
    others = json.JSONDecoder()
    # Nothing of the value's numbers is wanted, only where it ends.
    skip = json.JSONDecoder(parse_int=len, parse_float=len, parse_constant=codec.refuse)
    given: dict[str, object] = {}
    value: str | None = None
    at = _expect(line, 0, "{")
    if line[at:].strip() == "}":
        return given, None
    while True:
        name, at = others.raw_decode(line, _space(line, at))
        at = _space(line, _expect(line, at, ":"))
        decoder = skip if name == "value" else others
        found, end = decoder.raw_decode(line, at)
        if name == "value":
            value = line[at:end]
        else:
            given[str(name)] = found
        at = _space(line, end)
        if line[at : at + 1] == "}":
            if line[at + 1 :].strip():
                raise ValueError("there is more behind its object")
            return given, value
        at = _expect(line, at, ",")


def _space(line: str, at: int) -> int:
    while line[at : at + 1] in (" ", "\t", "\r", "\n") and at < len(line):
        at += 1
    return at


def _expect(line: str, at: int, char: str) -> int:
    at = _space(line, at)
    if line[at : at + 1] != char:
        raise ValueError(f'"{char}" is missing at character {at}')
    return at + 1


def _missing(given: Mapping[str, object]) -> str | None:
    names = ("dag_id", "task_id", "key", "encoding")
    return next((name for name in names if name not in given), None)


def _record(given: Mapping[str, Any], data: bytes | None, number: int) -> Record | Fault:
    try:
        ref = XComRef(
            str(given["dag_id"]),
            str(given["task_id"]),
            _text_or_none(given.get("run_id")),
            _text_or_none(given["key"]),
            UNMAPPED if given.get("map_index") is None else int(given["map_index"]),
            _time(given.get("logical_date")),
        )
        run = given.get("dag_run_id")
        return Record(
            number,
            ref,
            _time(given.get("timestamp")),
            data,
            str(given["encoding"]),
            _text_or_none(given.get("stored_as")),
            _text_or_none(given.get("undo")),
            run if isinstance(run, int) else None,
        )
    except (ValueError, TypeError) as error:
        return Fault(number, str(error))


def _text_or_none(value: object) -> str | None:
    return None if value is None else str(value)


def _time(value: object) -> datetime | None:
    if value is None:
        return None
    moment = datetime.fromisoformat(str(value))
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
