"""Records read back from an exported file or an undo file, for `import`.

`exchange.lines` and `exchange.entries` write these files.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import csv
import io
import json
import re
import sys
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from xcomctl.exchange.entries import FIELDS
from xcomctl.model import UNMAPPED, XComRef
from xcomctl.values import strictjson

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import BinaryIO

    from xcomctl.exchange.line_members import Members
    from xcomctl.model import Raw, Storage


class Record(NamedTuple):
    """One XCom of an exported file or an undo file. A tuple: there may be millions."""

    line: int
    ref: XComRef
    timestamp: datetime | None
    data: bytes | None
    """The stored bytes, or the stored text in UTF-8; None for SQL NULL."""
    encoding: str = "json"
    stored_as: str | None = None
    undo: str | None = None
    """In an undo file: `restore`, or `remove` if the XCom did not exist before."""
    dag_run_id: int | None = None
    """Set for an orphan, whose run does not exist."""
    others: tuple[tuple[str, object], ...] = ()
    """Further columns of the row, such as Airflow 3.3's dag_result."""
    row_id: int | None = None
    """In an undo file of Airflow 1.10: which of the rows of one name it was."""
    strict: bool = False
    """Whether `data` is known to be strict JSON."""

    def raw(self, storage: Storage, *, sqlite: bool) -> Raw:
        """Return the value in the form that a column of this storage takes.

        Raises:
            ValueError: the column cannot store this value.
        """
        data = self.data
        if data is None:
            return None
        if sqlite and self.stored_as in ("integer", "real"):
            return int(data) if self.stored_as == "integer" else float(data)
        if storage == "bytes":
            return data.decode() if sqlite and self.stored_as == "text" else data
        if sqlite:
            # NUMERIC affinity would turn text that looks like a number into a number, not always exactly.
            as_bytes = self.stored_as == "blob" or (self.stored_as is None and _is_altered(data))
            return data if as_bytes else data.decode("utf-8", "surrogateescape")
        if not self.strict and not strictjson.is_strict(
            data.replace(b"\n", b" ").replace(b"\r", b" ")
        ):
            what = "a pickle" if self.encoding == "pickle" else "not JSON"
            raise ValueError(f"its value is {what}, and this column only takes JSON")
        return data.decode("utf-8")


def _is_altered(data: bytes) -> bool:
    """Return whether SQLite's NUMERIC affinity would alter this JSON text."""
    if data[:1] not in b"-0123456789" or not data:
        return False
    try:
        return not -(2**63) <= int(data) < 2**63 or str(int(data)).encode() != data
    except ValueError:
        return True


@dataclass(frozen=True, slots=True)
class Fault:
    """A line that cannot be read."""

    line: int
    reason: str
    cut_off: bool = False
    """Whether it is the cut last line of an undo file, whose writer was killed before it changed anything."""


def records(file: BinaryIO) -> Iterator[Record | Fault]:
    """Yield the records of a file written by `export` or `--undo-file` (JSON Lines or CSV), lazily."""
    start = file.readline(BEGINNING_BYTES)
    if b"\0" in start:
        # A device such as /dev/zero has no line end, ever.
        yield Fault(1, "it is not text")
        return
    first = start if start.endswith(b"\n") else start + file.readline()
    first = first.removeprefix(codecs.BOM_UTF8)
    if first.startswith(b"dag_id,"):
        yield from _csv_records(first, file)
        return
    line, number, undo = first, 1, True
    while line:
        if line.strip():
            found = quick_record(line, number) or _json_record(line, number)
            if isinstance(found, Fault):
                found = replace(found, cut_off=undo and _is_cut_undo_line(line))
            elif number == 1:
                undo = found.undo is not None
            yield found
        line = file.readline()
        number += 1


def _is_cut_undo_line(line: bytes) -> bool:
    """Return whether this is the start of a line of an undo file, and has no end."""
    start = line[: len(_UNDO_START)]
    return not line.endswith(b"\n") and _UNDO_START.startswith(start)


BEGINNING_BYTES = 64 * 1024
"""Read first, to tell text from a device such as /dev/zero."""
_UNDO_START = b'{"undo": '


def _csv_records(header: bytes, file: BinaryIO) -> Iterator[Record | Fault]:
    csv.field_size_limit(sys.maxsize)
    text = io.TextIOWrapper(file, encoding="utf-8", errors="surrogateescape", newline="")
    # Counted with the header, which was read already.
    reader = csv.reader(text)
    names = header.decode("utf-8", "replace").strip().split(",")
    try:
        for row in reader:
            if row:
                yield _csv_record(dict(zip(names, row, strict=False)), reader.line_num + 1)
    except csv.Error as error:
        yield Fault(reader.line_num + 1, f"it is not CSV: {error}")
    finally:
        text.detach()


def _csv_record(given: dict[str, Any], number: int) -> Record | Fault:
    if missing := _missing(given):
        return Fault(number, f"it has no field {missing}")
    # An empty cell of a column that Airflow does not require is NULL.
    given = {name: cell for name, cell in given.items() if cell or name in _REQUIRED}
    data: bytes | None = None
    try:
        if given["encoding"] != "null":
            data = str(given.get("value") or "").encode()
            data = data or base64.b64decode(given.get("value_base64") or "", validate=True)
        return _record(given, data, number)
    except UnicodeEncodeError:
        return Fault(number, "it is not UTF-8")
    except ValueError as error:
        return Fault(number, str(error))


def quick_record(line: bytes, number: int) -> Record | None:
    """Return what `_json_record` does of a line as xcomctl writes it; None of any other.

    A tenth of the time: the line is not made Python objects, and no column is looked for.
    """
    global _members_of
    if _members_of is None:
        from xcomctl.exchange.line_members import decoder

        _members_of = decoder()
    try:
        given = _members_of(line)
        if not line.isascii():
            line.decode("utf-8")
        timestamp, date = _moment(given.timestamp), _moment(given.logical_date)
    except (ValueError, RecursionError):
        return None
    is_orphan = given.orphan and given.dag_run_id is not None
    if is_orphan or given.id is not None or not -(2**31) <= given.map_index < 2**31:
        return None
    encoding, value, encoded = given.encoding, bytes(given.value), given.value_base64
    data: bytes | None = value
    if encoding in ("null", "absent"):
        data = None
    elif encoded or not value or (value == b"null" and encoding != "json"):
        return None
    ref = XComRef(given.dag_id, given.task_id, given.run_id, given.key, given.map_index, date)
    others = () if given.dag_result is None else (("dag_result", given.dag_result),)
    return Record(
        number, ref, timestamp, data, encoding, given.stored_as or None, given.undo, None, others,
        None, data is not None,
    )  # fmt: skip


def _moment(text: str | None) -> datetime | None:
    """Return a time of a line as xcomctl writes it.

    Raises:
        ValueError: it is another, or written in another way.
    """
    if text is None:
        return None
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is not UTC:
        raise ValueError(text)
    return moment


_members_of: Callable[[bytes], Members] | None = None


def _json_record(line: bytes, number: int) -> Record | Fault:
    try:
        with strictjson.deep():
            given, value = _members(line.decode("utf-8"))
        if missing := _missing(given):
            return Fault(number, f"it has no field {missing}")
        return _record(given, _stored_value(given, value), number)
    except (ValueError, RecursionError, binascii.Error) as error:
        reason = "it is cut off" if not line.endswith(b"\n") else f"it is not JSON: {error}"
        return Fault(number, reason)


def _stored_value(given: Mapping[str, object], value: str | None) -> bytes | None:
    """Return the stored bytes of a line with this text in `value`; None for SQL NULL.

    Raises:
        ValueError: the line has no value.
    """
    if given["encoding"] in ("null", "absent"):
        return None
    encoded = _text(given, "value_base64")
    if encoded:
        return base64.b64decode(encoded, validate=True)
    # A null beside an empty value_base64 is an empty value, unless JSON was stored. Undo files
    # leave out the one that does not apply.
    if value is not None and (value != "null" or given["encoding"] == "json" or encoded is None):
        return value.encode("utf-8", "surrogatepass")
    if encoded is None:
        raise ValueError("it has neither value nor value_base64")
    return b""


def _members(line: str) -> tuple[dict[str, object], str | None]:
    """Return the members of a JSON object except `value`, and the text of `value`, unchanged."""
    others = json.JSONDecoder()
    # Only the end of the value is needed, not its numbers.
    skip = json.JSONDecoder(parse_int=len, parse_float=len, parse_constant=strictjson.refuse)
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
                raise ValueError("text follows the object")
            return given, value
        at = _expect(line, at, ",")


def leading_members(start: bytes) -> tuple[dict[str, object], int]:
    """Return the members before the value, and where the value begins, from the start of a line.

    Raises:
        ValueError: this is not the start of a line that `export` wrote.
    """
    line = start.decode("utf-8", "ignore")
    given: dict[str, object] = {}
    decoder = json.JSONDecoder()
    at = _expect(line, 0, "{")
    while True:
        name, end = decoder.raw_decode(line, _space(line, at))
        if name in ("value", "value_base64"):
            return given, len(line[:at].encode())
        given[str(name)], end = decoder.raw_decode(line, _space(line, _expect(line, end, ":")))
        at = _expect(line, end, ",")


def _space(line: str, at: int) -> int:
    while line[at : at + 1] in (" ", "\t", "\r", "\n") and at < len(line):
        at += 1
    return at


def _expect(line: str, at: int, char: str) -> int:
    at = _space(line, at)
    if line[at : at + 1] != char:
        raise ValueError(f'"{char}" is missing at character {at}')
    return at + 1


_REQUIRED = ("dag_id", "task_id", "key", "encoding")


def _missing(given: Mapping[str, object]) -> str | None:
    return next((name for name in _REQUIRED if name not in given), None)


def ref_of(given: Mapping[str, Any]) -> XComRef:
    """Return the name of the XCom that a line is about, from its members.

    Raises:
        ValueError: a member is missing or of another type.
    """
    if missing := _missing(given):
        raise ValueError(f"it has no field {missing}")
    return XComRef(
        _text(given, "dag_id") or "",
        _text(given, "task_id") or "",
        _text(given, "run_id"),
        _text(given, "key"),
        UNMAPPED if given.get("map_index") is None else _whole(given, "map_index", 32),
        _time(given, "logical_date"),
    )


_KNOWN_FIELDS = frozenset(
    (*FIELDS, "orphan", "dag_run_id", "stored_as", "value", "value_base64", "undo", "id")
)


def _is_other(name: str, value: object) -> bool:
    """Return whether a field is a further column with a value that a column can hold."""
    return name not in _KNOWN_FIELDS and isinstance(value, bool | int | float | str)


def _record(given: Mapping[str, Any], data: bytes | None, number: int) -> Record | Fault:
    try:
        ref = ref_of(given)
        orphan = given.get("dag_run_id") is not None and given.get("orphan", True) in (True, "true")
        return Record(
            number,
            ref,
            _time(given, "timestamp"),
            data,
            _text(given, "encoding") or "",
            _text(given, "stored_as") or None,
            _text(given, "undo"),
            _whole(given, "dag_run_id", 64) if orphan else None,
            tuple((name, one) for name, one in given.items() if _is_other(name, one)),
            None if given.get("id") is None else _whole(given, "id", 64),
        )
    except ValueError as error:
        return Fault(number, str(error))


def _text(given: Mapping[str, Any], name: str) -> str | None:
    """Return a field that is text or null.

    Raises:
        ValueError: it is neither.
    """
    value = given.get(name)
    if value is None or isinstance(value, str):
        return value
    raise ValueError(f"its {name} is not text")


def _whole(given: Mapping[str, Any], name: str, bits: int) -> int:
    """Return a field that is a whole number, as a column of this many bits stores it.

    Raises:
        ValueError: it is something else.
    """
    value = given.get(name)
    if isinstance(value, str) and re.fullmatch(r"-?\d{1,20}", value, re.ASCII):
        # All cells of a CSV file are text.
        value = int(value)
    if type(value) is int and -(2 ** (bits - 1)) <= value < 2 ** (bits - 1):
        return value
    raise ValueError(f"its {name} is not a whole number")


def _time(given: Mapping[str, Any], name: str) -> datetime | None:
    """Return a field that is a time, in UTC.

    Raises:
        ValueError: it is something else, or outside of the calendar.
    """
    text = _text(given, name)
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(f"its {name} is not a time") from None
