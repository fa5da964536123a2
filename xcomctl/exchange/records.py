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
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from xcomctl.model import UNMAPPED, XComRef
from xcomctl.values import strictjson

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import BinaryIO

    from xcomctl.model import Raw, Storage


@dataclass(frozen=True, slots=True)
class Record:
    """One XCom of an exported file or an undo file."""

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
        if not strictjson.is_strict(data.replace(b"\n", b" ").replace(b"\r", b" ")):
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
    first = file.readline().removeprefix(codecs.BOM_UTF8)
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
                yield Fault(reader.line_num, f"it has no field {missing}")
                continue
            for name in ("run_id", "logical_date", "timestamp", "stored_as"):
                given[name] = given.get(name) or None
            data: bytes | None = str(given.get("value") or "").encode()
            if not data and given.get("encoding") != "null":
                data = base64.b64decode(given.get("value_base64") or "")
            yield _record(given, None if given.get("encoding") == "null" else data, reader.line_num)
    except (csv.Error, UnicodeDecodeError) as error:
        yield Fault(0, f"it is not CSV: {error}")
    finally:
        text.detach()


def _json_record(line: bytes, number: int) -> Record | Fault:
    try:
        with strictjson.deep():
            given, value = _members(line.decode("utf-8"))
        data: bytes | None = None
        if missing := _missing(given):
            return Fault(number, f"it has no field {missing}")
        if "value_base64" in given:
            data = base64.b64decode(str(given["value_base64"]), validate=True)
        elif given.get("encoding") not in ("null", "absent"):
            if value is None:
                return Fault(number, "it has neither value nor value_base64")
            data = value.encode("utf-8", "surrogatepass")
        return _record(given, data, number)
    except (ValueError, RecursionError, binascii.Error) as error:
        cut = not line.endswith(b"\n") and line.startswith(b'{"undo": ')
        reason = "it is cut off" if not line.endswith(b"\n") else f"it is not JSON: {error}"
        return Fault(number, reason, cut)


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
