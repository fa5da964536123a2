"""What a stored value is and says: sniffed, checked, decoded.

No database here, and no code of a value's ever runs: classes that a value names are shown, never
imported, and pickles are described (`pickles`), never loaded.
"""

from __future__ import annotations

import base64
import json
import re
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from enum import Enum
from typing import TYPE_CHECKING, Any

from xcomctl.model import Encoding
from xcomctl.text import visible
from xcomctl.values.render import NumpyScalar, Opaque, to_json
from xcomctl.values.strictjson import MAX_DIGITS, deep, is_strict, long_numbers

if TYPE_CHECKING:
    from collections.abc import Callable

    from xcomctl.model import Raw, Storage

_MAX_DEPTH = 20_000

_JSON_START = re.compile(rb'[ \t\r\n]*(?:[{\["]|-?\d|true|false|null|NaN|-?Infinity)')
_STRING_START = re.compile(rb'[ \t\r\n]*"')
_JSON_PREFIX = (b"t", b"f", b"n", b"N", b"I", b"-")


class Reader(Enum):
    """What an Airflow makes of stored JSON when a task pulls it."""

    PLAIN = "plain"
    """1.10 to 2.4: JSON and nothing more."""
    CLASSES = "classes"
    """2.5: `__classname__` names a class to import, and no builtin one is allowed."""
    SERDE = "serde"
    """2.6 and newer: `__classname__` envelopes, and the older `__type`."""


@dataclass(frozen=True, slots=True)
class Context:
    """How the Airflow that owns a database reads a value there."""

    reader: Reader = Reader.SERDE
    storage: Storage = "bytes"
    null_fails: bool = False
    """Whether it raises on SQL NULL (2.2 and older)."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """A value as `xcom_pull` would return it, as far as that can be told."""

    encoding: Encoding
    value: object
    notes: tuple[str, ...] = ()


# --- what is it? ------------------------------------------------------------------------------


def sniff(head: Raw, size: int | None, storage: Storage) -> Encoding:
    """Return what a value is, judged by its first bytes; the whole value where `head` is it."""
    if head is None:
        return Encoding.NULL
    if isinstance(head, int | float):
        return Encoding.JSON
    data = to_bytes(head)
    if not data:
        return Encoding.EMPTY
    if data[0] == 0x80:
        known = len(data) > 1 and 2 <= data[1] <= 5
        return Encoding.PICKLE if known else Encoding.UNKNOWN
    if _JSON_START.match(data) or data.strip() in _JSON_PREFIX:
        return Encoding.JSON
    whole = size is not None and len(data) >= size
    if whole and storage == "bytes" and _is_old_pickle(data):
        return Encoding.PICKLE
    return Encoding.UNKNOWN


def to_bytes(stored: bytes | str) -> bytes:
    """Return the bytes of a stored text, also of one that was no UTF-8."""
    if isinstance(stored, bytes):
        return stored
    try:
        return stored.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return stored.encode("utf-8", "surrogatepass")


def _is_old_pickle(data: bytes) -> bool:
    """Return whether these bytes, which are no JSON, are a pickle of protocol 0 or 1."""
    if len(data) < 2 or not data.endswith(b"."):
        return False
    from xcomctl.values.pickles import describe_pickle

    return bool(describe_pickle(data, most=0)["complete"])


class Health(Enum):
    """What the audit wants to know of a value."""

    VALID = "valid"
    DOUBLE = "double"
    """A JSON string whose text is JSON."""
    PICKLED = "pickled"
    NULL = "null"
    BROKEN = "broken"


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a value is, and why where it is broken."""

    health: Health
    reason: str = ""


_VALID = Verdict(Health.VALID)


def check(raw: Raw, storage: Storage) -> Verdict:
    """Return whether a value can be decoded, without building it where that is avoidable."""
    if raw is None:
        return Verdict(Health.NULL)
    if isinstance(raw, int | float):
        return _VALID
    if isinstance(raw, bytes) and raw[:1] == b"\x80":
        if sniff(raw, len(raw), storage) is Encoding.PICKLE:
            return Verdict(Health.PICKLED)
        return Verdict(Health.BROKEN, "it starts like a pickle and is none")
    if isinstance(raw, bytes) and not _STRING_START.match(raw) and is_strict(raw):
        return _VALID
    try:
        text = _text_of(raw, storage)
        # Nothing of the numbers is wanted, and reading long ones is slow or refused.
        value = json.loads(text, parse_int=len, parse_float=len, parse_constant=len)
    except RecursionError:
        return _VALID
    except ValueError as error:
        if storage == "bytes" and isinstance(raw, bytes) and raw and _is_old_pickle(raw):
            return Verdict(Health.PICKLED)
        return Verdict(Health.BROKEN, problem(error))
    if isinstance(value, str) and _holds_json(value):
        return Verdict(Health.DOUBLE)
    return _VALID


def _holds_json(text: str) -> bool:
    """Return whether a string is itself JSON text."""
    if not _JSON_START.match(text[:32].encode("utf-8", "replace")):
        return False
    try:
        json.loads(text, parse_int=len, parse_float=len, parse_constant=len)
    except RecursionError:
        return True
    except ValueError:
        return False
    return True


def _text_of(raw: bytes | str, storage: Storage) -> str:
    """Return the JSON text, decoded as Airflow does.

    Raises:
        ValueError: the bytes are no text.
    """
    if isinstance(raw, str):
        # Bytes that were no UTF-8 come as lone surrogates, which JSON text cannot hold raw.
        raw.encode("utf-8")
        return raw
    if not raw:
        raise ValueError("it is empty")
    text = raw.decode("utf-8") if storage == "bytes" else raw.decode(json.detect_encoding(raw))
    if text.startswith("\ufeff"):
        raise ValueError("it starts with a byte order mark")
    return text


def problem(error: ValueError) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} at character {error.pos}".replace("'", "")
    if isinstance(error, UnicodeDecodeError):
        return f"byte 0x{error.object[error.start]:02x} at {error.start} is no UTF-8"
    if isinstance(error, UnicodeEncodeError):
        return "it holds bytes that are no UTF-8"
    return str(error)


# --- decoding ---------------------------------------------------------------------------------


def decode(raw: Raw, context: Context) -> Decoded:
    """Return the value as the owning Airflow's `xcom_pull` would, or what it is instead.

    Never raises: whatever cannot be decoded is an `Opaque` that says why.
    """
    if raw is None:
        if context.null_fails:
            problem = "the value is SQL NULL, on which this Airflow's xcom_pull raises an error"
            return Decoded(Encoding.NULL, Opaque("null", {"problem": problem}))
        return Decoded(Encoding.NULL, None, ("the value is SQL NULL",))
    if context.storage == "bytes" and not isinstance(raw, bytes):
        return _wrong_class(raw, context)
    if isinstance(raw, int | float):
        return Decoded(Encoding.JSON, raw)
    if isinstance(raw, bytes) and sniff(raw, len(raw), context.storage) is Encoding.PICKLE:
        return Decoded(Encoding.PICKLE, _pickle(raw))
    return _decode_json(raw, context)


def _wrong_class(raw: str | int | float, context: Context) -> Decoded:
    """Return a value that SQLite holds as text or number where Airflow wants bytes."""
    kind = "text" if isinstance(raw, str) else type(raw).__name__
    facts: dict[str, object] = {"storage_class": kind}
    if isinstance(raw, str):
        inner = _decode_json(to_bytes(raw), context).value
        if not (isinstance(inner, Opaque) and inner.encoding == "unknown"):
            facts["value"] = to_json(inner)[0]
    else:
        facts["value"] = to_json(raw)[0]
    facts["problem"] = f"it is stored as {kind}, not as bytes, on which xcom_pull raises TypeError"
    return Decoded(Encoding.JSON, Opaque("text", facts))


def _pickle(raw: bytes) -> Opaque:
    from xcomctl.values.pickles import describe_pickle

    return Opaque("pickle", describe_pickle(raw))


def _decode_json(raw: bytes | str, context: Context) -> Decoded:
    size = len(raw)
    try:
        with long_numbers(), deep():
            value = json.loads(_text_of(raw, context.storage))
            notes: Counter[str] = Counter()
            value = _Envelopes(context.reader, notes).open(value)
    except RecursionError:
        facts = {"size_bytes": size, "problem": "it is nested too deeply to be read"}
        return Decoded(Encoding.JSON, Opaque("json", facts))
    except ValueError as error:
        if isinstance(raw, bytes) and context.storage == "bytes" and _is_old_pickle(raw):
            return Decoded(Encoding.PICKLE, _pickle(raw))
        if "digits" in str(error):
            facts = {
                "size_bytes": size,
                "problem": f"a number has over {MAX_DIGITS:,} digits",
            }
            return Decoded(Encoding.JSON, Opaque("json", facts))
        return _broken(raw, error)
    said = list(notes)
    if isinstance(value, str):
        url = reference(value)
        if url:
            said.append(f"the value is a reference into object storage: {url}")
        elif _holds_json(value):
            said.append(
                "the value is a string that holds JSON text: encoded twice, or a genuine string; "
                "`jq fromjson` gives what it says"
            )
    return Decoded(Encoding.JSON, value, tuple(said))


def _broken(raw: bytes | str, error: ValueError) -> Decoded:
    data = to_bytes(raw)
    # Not "bytes": whether these are an old pickle was asked before, of all of them.
    encoding = sniff(data[:64], len(data), "json") if data else Encoding.EMPTY
    facts: dict[str, object] = {"size_bytes": len(data), "problem": problem(error)}
    if data:
        try:
            facts["head"] = visible(data[:60].decode("utf-8"))
        except UnicodeDecodeError:
            facts["head_hex"] = data[:32].hex()
    broken = {Encoding.JSON: "broken-json", Encoding.EMPTY: "empty"}
    name = broken.get(encoding, "unknown")
    return Decoded(
        encoding if encoding is Encoding.EMPTY else Encoding.UNKNOWN, Opaque(name, facts)
    )


_CLASS, _VERSION, _DATA = "__classname__", "__version__", "__data__"
_OLD_TYPE, _OLD_DATA = "__type", "__var"


class _ProblemError(Exception):
    """Airflow's own reader raises on this envelope."""


class _Envelopes:
    """Airflow's serialized objects, turned into what they stand for."""

    def __init__(self, reader: Reader, notes: Counter[str]) -> None:
        self._reader = reader
        self._notes = notes

    def open(self, value: Any) -> object:
        if self._reader is Reader.PLAIN:
            return value
        if isinstance(value, list):
            return [self.open(one) for one in value]
        if not isinstance(value, dict):
            return value
        if self._reader is Reader.SERDE and _OLD_TYPE in value and _OLD_DATA in value:
            return self._open_old(value)
        if isinstance(value.get(_CLASS), str) and isinstance(value.get(_VERSION), int):
            return self._open_class(value)
        return {key: self.open(one) for key, one in value.items()}

    def _open_class(self, value: dict[str, Any]) -> object:
        name, version, data = value[_CLASS], value[_VERSION], value.get(_DATA)
        if self._reader is Reader.CLASSES:
            problem = "Airflow 2.5 imports such a class only where its configuration allows it"
            return self._opaque(name, version, data, problem)
        if isinstance(data, dict) and name in _KNOWN and name.endswith(("datetime", "DateTime")):
            data = dict(data.items())
        try:
            opened = self._known(name, version, data)
        except (
            _ProblemError,
            ValueError,
            TypeError,
            OverflowError,
            ArithmeticError,
            KeyError,
        ) as error:
            return self._opaque(name, version, data, f"Airflow cannot read it back: {error}")
        if opened is not None:
            return opened
        if "DataFrame" in name and isinstance(data, str):
            return self._frame(name, version, data)
        return self._opaque(name, version, data, None)

    def _opaque(self, name: str, version: object, data: object, problem: str | None) -> Opaque:
        facts: dict[str, object] = {"classname": name, "version": version}
        facts["data"] = to_json(self.open(data))[0]
        if problem:
            facts["problem"] = problem
        return Opaque("object", facts)

    def _known(self, name: str, version: int, data: Any) -> object:
        if name in _KNOWN:
            return _KNOWN[name](self, data)
        if name.startswith(("pendulum.tz.", "pendulum.timezone")) or name == "zoneinfo.ZoneInfo":
            return self.zone(data)
        if name.startswith("numpy.") and isinstance(data, int | float):
            return NumpyScalar(name, data)
        return None

    def _frame(self, name: str, version: object, data: str) -> Opaque:
        from xcomctl.values.dataframe_footer import shape

        facts: dict[str, object] = {"classname": name, "version": version}
        try:
            parquet = bytes.fromhex(data)
        except ValueError:
            facts["problem"] = "its data is no hexadecimal text"
            return Opaque("object", facts)
        facts["parquet_bytes"] = len(parquet)
        found = shape(parquet)
        if found:
            facts["rows"], facts["columns"] = found
        return Opaque("object", facts)

    def _open_old(self, value: dict[str, Any]) -> object:
        kind, data = value[_OLD_TYPE], value[_OLD_DATA]
        if kind == "dict":
            if isinstance(data, dict):
                return {key: self.open(one) for key, one in data.items()}
            return self.open(data)
        try:
            opened = _OLD_KNOWN[kind](self, data) if kind in _OLD_KNOWN else None
        except (_ProblemError, ValueError, TypeError, OverflowError, KeyError):
            opened = None
        if opened is None:
            return self._opaque(str(kind), None, data, None)
        self._notes[f'Airflow raises ImportError on the old envelope "{visible(str(kind))}"'] += 1
        return opened

    # --- the classes that are known ---

    def list_of(self, data: Any) -> list[object]:
        if not isinstance(data, list):
            raise _ProblemError("its data is no list")
        return [self.open(one) for one in data]

    def moment(self, data: Any) -> datetime:
        if not isinstance(data, dict):
            raise _ProblemError("its data is no object")
        stamp, zone = data["timestamp"], data.get("tz")
        if isinstance(stamp, bool) or not isinstance(stamp, int | float):
            raise _ProblemError("its timestamp is no number")
        if zone is None:
            self._notes[
                "a naive datetime was stored as seconds in the worker's local time, taken for UTC"
            ] += 1
            return datetime.fromtimestamp(stamp, UTC).replace(tzinfo=None)
        return datetime.fromtimestamp(stamp, UTC).astimezone(self.zone(zone))

    def zone(self, data: Any) -> tzinfo:
        if isinstance(data, dict):
            data = data.get(_DATA) if _CLASS in data else data.get(_OLD_DATA)
        if isinstance(data, list | tuple):
            data = data[0] if data else ""
        if isinstance(data, int) and not isinstance(data, bool):
            return timezone(timedelta(seconds=data))
        if not isinstance(data, str):
            raise _ProblemError("its time zone is neither name nor offset")
        from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

        if not data:
            raise _ProblemError("ValueError, its time zone has no name")
        try:
            return ZoneInfo(data)
        except ZoneInfoNotFoundError:
            self._notes[f'time zone "{visible(data)}" is not known here; shown in UTC'] += 1
            return UTC
        except (ValueError, OSError):
            raise _ProblemError(f'ValueError, "{visible(data)}" names no time zone') from None

    @staticmethod
    def duration(data: Any) -> timedelta:
        if not isinstance(data, float):
            raise _ProblemError("TypeError, its seconds are no float")
        return timedelta(seconds=data)

    @staticmethod
    def day(data: Any) -> date:
        return date.fromisoformat(data)

    @staticmethod
    def decimal(data: Any) -> object:
        from decimal import Decimal

        if isinstance(data, bool) or not isinstance(data, int | float | str):
            raise _ProblemError("its data is no number")
        return Decimal(str(data))

    @staticmethod
    def uuid(data: Any) -> object:
        from uuid import UUID

        if not isinstance(data, str):
            raise _ProblemError("its data is no text")
        return UUID(data)


def _bytes(_: _Envelopes, data: Any) -> bytes:
    return base64.b64decode(data, validate=True)


_KNOWN: dict[str, Callable[[_Envelopes, Any], object]] = {
    "builtins.tuple": lambda one, data: tuple(one.list_of(data)),
    "builtins.set": lambda one, data: set(one.list_of(data)),
    "builtins.frozenset": lambda one, data: frozenset(one.list_of(data)),
    "builtins.bytes": _bytes,
    "datetime.datetime": _Envelopes.moment,
    "pendulum.datetime.DateTime": _Envelopes.moment,
    "datetime.date": lambda one, data: one.day(data),
    "datetime.timedelta": lambda one, data: one.duration(data),
    "decimal.Decimal": lambda one, data: one.decimal(data),
    "uuid.UUID": lambda one, data: one.uuid(data),
}
_OLD_KNOWN: dict[str, Callable[[_Envelopes, Any], object]] = {
    "tuple": _KNOWN["builtins.tuple"],
    "set": _KNOWN["builtins.set"],
    "datetime": lambda one, data: datetime.fromtimestamp(data, UTC),
    "timedelta": lambda one, data: timedelta(seconds=data),
    "timezone": _Envelopes.zone,
}


_REFERENCE = re.compile(
    r"(?:[a-z0-9]+_)?(?:file|s3|s3a|s3n|gs|gcs|abfs|abfss|wasb|wasbs|az|adl|hdfs|webhdfs|oss|cos|obs|minio)"
    r"://[^\s\x00-\x1f]+",
    re.IGNORECASE,
)


def reference(value: object) -> str | None:
    """Return the URL where a decoded value is nothing but one into object storage."""
    if isinstance(value, str) and len(value) < 4096 and _REFERENCE.fullmatch(value):
        return value
    return None


def stored_reference(raw: bytes | str) -> str | None:
    """Return the URL where a stored, valid value is nothing but one into object storage."""
    data = to_bytes(raw)
    if len(data) > 4096 or not data.lstrip().startswith(b'"'):
        return None
    return reference(json.loads(data))
