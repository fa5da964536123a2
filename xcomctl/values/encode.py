"""Encodes a value as the `xcom_push` of the owning Airflow does, or says why that Airflow cannot.

The inverse of `decode`: property tests check that decoding an encoded value returns it.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, Literal, get_args
from uuid import UUID

from xcomctl.errors import RefusedError, UsageError
from xcomctl.values import strictjson
from xcomctl.values.context import Reader
from xcomctl.values.health import describe_error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from xcomctl.values.context import Context

Type = Literal[
    "json", "datetime", "date", "timedelta", "decimal", "tuple", "set", "frozenset", "uuid", "bytes"
]
"""The `--type` of a value: `json`, or a Python type that JSON cannot express."""

RESERVED = frozenset({"__classname__", "__version__", "__data__", "__type", "__var", "__id__"})
"""Keys by which Airflow recognises serialized objects."""

_MAX_DEPTH = {"bytes": 250, "sqlite": 195, "postgresql": 195, "mysql": 100, "mariadb": 31}
"""Levels of nesting that can be read back: from a bytes column, and from each backend's JSON column.

MySQL refuses more than 100 levels (error 3157), MariaDB's JSON_VALID more than 31, and the JSON
parser of Airflow 3's tasks about 200, including its own message around the value. Airflow 2
recurses in Python, with several frames per level, under a limit of 1,000.
"""
_SMALLEST_INT, _LARGEST_INT = -(2**63), 2**64 - 1
"""The range of msgpack, in which Airflow 3 sends values to its tasks."""


@dataclass(frozen=True, slots=True)
class Traits:
    """How the owning Airflow writes a value."""

    context: Context
    backend: str
    uuid_read: bool = False
    """Whether it reads UUIDs (Airflow 3.3)."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """A value in the form in which it is stored."""

    text: str
    """JSON text, as Airflow's own `json.dumps` writes it: ASCII."""
    value: object
    """The text, parsed; envelopes are not opened."""
    notes: tuple[str, ...] = ()

    @property
    def data(self) -> bytes:
        """Return the text as bytes."""
        return self.text.encode("ascii")


def parse(text: str) -> object:
    """Return the value of a JSON text; NaN and Infinity are allowed.

    Raises:
        UsageError: the text is not JSON.
        RefusedError: it is nested too deeply.
    """
    try:
        with strictjson.long_numbers(), strictjson.deep():
            return json.loads(text, object_pairs_hook=_unique, parse_float=_number)
    except RecursionError:
        raise RefusedError("cannot push a value that is nested too deeply") from None
    except ValueError as error:
        raise UsageError(
            "cannot read the value: it is not JSON",
            detail=f"{describe_error(error)}.",
            hint="Use --string to push it as text. A JSON string needs its own quotes: '\"rows\"'.",
        ) from None


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f'an object has the key "{twice}" twice')
    return found


def _number(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"{text[:40]} is out of range for a float")
    return number


def encode(
    value: object, kind: Type, traits: Traits, *, allow_reserved_keys: bool = False
) -> Encoded:
    """Return what `xcom_push` of the owning Airflow stores for a value.

    `value` is what `parse` returned; `kind` is the type that it stands for.

    Raises:
        UsageError: the value does not describe a value of that type.
        RefusedError: this Airflow cannot push it, or cannot read it back.
    """
    checked = _Checked(traits, allow_reserved_keys)
    with strictjson.long_numbers(), strictjson.deep():
        try:
            checked.walk(value, 1)
        except RecursionError:
            raise RefusedError("cannot push a value that is nested too deeply") from None
        if kind != "json":
            value = _enveloped(value, kind, traits, checked.notes)
        text = json.dumps(value)
    return Encoded(text, value, tuple(checked.notes))


@dataclass(slots=True)
class _Checked:
    """Walks a value, and refuses what the database or Airflow cannot return unchanged."""

    traits: Traits
    allow_reserved_keys: bool
    notes: list[str] = field(default_factory=list)

    def walk(self, value: object, depth: int) -> None:
        most = _MAX_DEPTH[self.traits.backend if self._json else "bytes"]
        if isinstance(value, dict | list) and depth > most:
            raise RefusedError(
                f"cannot push a value of more than {most} levels of nesting",
                detail="This is the maximum of the database."
                if self._json and most <= 100
                else "This is the maximum of Airflow's own reader.",
            )
        if isinstance(value, dict):
            self._keys(value)
            for key, one in value.items():
                self._text(key)
                self.walk(one, depth + 1)
        elif isinstance(value, list):
            for one in value:
                self.walk(one, depth + 1)
        elif isinstance(value, str):
            self._text(value)
        elif self._json and isinstance(value, int | float):
            self._json_number(value)

    @property
    def _json(self) -> bool:
        return self.traits.context.storage == "json"

    def _keys(self, value: dict[str, object]) -> None:
        found = sorted(RESERVED & value.keys())
        if found and not self.allow_reserved_keys:
            raise RefusedError(
                f'cannot push a value with the key "{found[0]}"',
                detail="Airflow reserves this key for serialized objects: it would read another "
                "value back, or raise an error.",
                hint="Use --type to push a datetime, Decimal, tuple or set, or "
                "--allow-reserved-keys to push the keys as they are.",
            )

    def _text(self, text: str) -> None:
        if not self._json or (text.isascii() and "\0" not in text):
            return
        if any("\ud800" <= char <= "\udfff" for char in text):
            raise RefusedError(
                "cannot push a text with a lone surrogate",
                detail="It is not valid Unicode: JSON columns and Airflow 3 refuse it.",
            )
        if "\0" in text and self.traits.backend == "postgresql":
            raise RefusedError(
                "cannot push a text with a NUL character",
                detail="The column is a jsonb, and PostgreSQL cannot store \\u0000 there.",
            )

    def _json_number(self, number: int | float) -> None:
        if isinstance(number, float):
            if not math.isfinite(number):
                raise RefusedError(
                    f"cannot push {json.dumps(number)}",
                    detail="JSON has no such number, and Airflow 3 refuses it.",
                    hint="Push null or a string.",
                )
        elif not _SMALLEST_INT <= number <= _LARGEST_INT:
            raise RefusedError(
                "cannot push an integer of more than 64 bits",
                detail="Airflow 3 cannot send it to a task: msgpack is limited to 64 bits.",
                hint="Push it as a string.",
            )


def _enveloped(value: object, kind: Type, traits: Traits, notes: list[str]) -> object:
    """Return the value in the envelope in which Airflow stores its type."""
    if traits.context.reader is not Reader.SERDE:
        raise RefusedError(
            f"cannot push a {kind} to this Airflow",
            detail="Only Airflow 2.6 and newer read it back.",
            hint="Push a string or a number, and convert it in the task.",
        )
    if kind == "bytes" or (kind == "uuid" and not traits.uuid_read):
        is_bytes = kind == "bytes"
        raise RefusedError(
            f"cannot push {'bytes' if is_bytes else 'a UUID'} to this Airflow",
            detail="No Airflow serializes bytes as JSON."
            if is_bytes
            else "Only Airflow 3.3 and newer read it back.",
            hint="Push a string, such as base64." if is_bytes else "Push it as a string.",
        )
    return _MAKERS[kind](value, notes)


def _envelope(classname: str, version: int, data: object) -> dict[str, object]:
    return {"__classname__": classname, "__version__": version, "__data__": data}


def _wrong(kind: str, wanted: str) -> UsageError:
    return UsageError(f"cannot read the value as a {kind}", hint=f"Give {wanted}.")


_ISO_ZONED = re.compile(r"(?P<moment>[^\[\]]+)\[(?P<zone>[A-Za-z0-9_+\-/]+)\]")


def _datetime(value: object, notes: list[str]) -> object:
    wanted = (
        "ISO 8601 in quotes, with a zone or without: "
        "'\"2026-01-31T07:08:09+01:00\"', '\"2026-01-31T07:08:09[Europe/Paris]\"'"
    )
    match = _ISO_ZONED.fullmatch(value) if isinstance(value, str) else None
    try:
        moment = datetime.fromisoformat(match["moment"] if match else str(value))
        zone = match["zone"] if match else None
        if zone is not None:
            from zoneinfo import ZoneInfo

            named = ZoneInfo(zone)
            moment = (
                moment.replace(tzinfo=named) if moment.tzinfo is None else moment.astimezone(named)
            )
    except (ValueError, KeyError, OSError):
        raise _wrong("datetime", wanted) from None
    if not isinstance(value, str):
        raise _wrong("datetime", wanted)
    data: dict[str, object]
    if moment.tzinfo is None:
        notes.append(
            "a datetime without a time zone is stored as seconds, which each worker interprets in its "
            "local time zone; this value is correct if that is UTC"
        )
        data = {"timestamp": moment.replace(tzinfo=UTC).timestamp(), "tz": None}
    else:
        data = {"timestamp": moment.timestamp(), "tz": _zone(moment, zone)}
    return _envelope("datetime.datetime", 2, data)


def _zone(moment: datetime, name: str | None) -> object:
    """Return the time zone as Airflow stores it: name or offset in seconds, class, version, flag."""
    kept: object = name
    classname = "pendulum.tz.timezone.Timezone"
    if name is None or name == "UTC":
        offset = moment.utcoffset() or timedelta()
        if offset % timedelta(seconds=1):
            raise _wrong("datetime", "an offset of whole seconds")
        kept = int(offset.total_seconds()) or "UTC"
        classname = "pendulum.tz.timezone.FixedTimezone"
    return _envelope("builtins.tuple", 1, [kept, classname, 1, True])


def _date(value: object, _: list[str]) -> object:
    try:
        if isinstance(value, str):
            return _envelope("datetime.date", 2, date.fromisoformat(value).isoformat())
    except ValueError:
        pass
    raise _wrong("date", "ISO 8601 in quotes: '\"2026-01-31\"'")


def _timedelta(value: object, _: list[str]) -> object:
    try:
        if isinstance(value, int | float) and not isinstance(value, bool):
            # Airflow reads a float only.
            return _envelope("datetime.timedelta", 2, timedelta(seconds=value).total_seconds())
    except (OverflowError, ValueError):
        pass
    raise _wrong("timedelta", "its seconds as a number: 86402.5")


def _decimal(value: object, _: list[str]) -> object:
    wrong = _wrong("decimal", "a number in quotes, so that no digit is lost: '\"1.10\"'")
    if not isinstance(value, str | int | float) or isinstance(value, bool):
        raise wrong
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        raise wrong from None
    if not number.is_finite():
        raise wrong
    exponent = number.as_tuple().exponent
    own: int | float = int(number) if isinstance(exponent, int) and exponent >= 0 else float(number)
    # Airflow stores a number, which may lose digits, but reads a string exactly, too.
    same = str(Decimal(str(own))) == str(number) and abs(number) < 2**53
    return _envelope("decimal.Decimal", 1, own if same else str(number))


def _several(classname: str) -> Callable[[object, list[str]], object]:
    def make(value: object, _: list[str]) -> object:
        if not isinstance(value, list):
            raise _wrong(classname.partition(".")[2], "a JSON list: [1, 2]")
        if classname != "builtins.tuple":
            if any(isinstance(one, dict | list) for one in value):
                raise _wrong("set", "a JSON list of strings and numbers")
            if len(set(value)) < len(value):
                raise _wrong("set", "a JSON list without duplicates")
        return _envelope(classname, 1, value)

    return make


def _uuid(value: object, _: list[str]) -> object:
    try:
        if isinstance(value, str):
            return _envelope("uuid.UUID", 1, str(UUID(value)))
    except ValueError:
        pass
    raise _wrong("UUID", "its text in quotes")


_MAKERS: dict[str, Callable[[object, list[str]], object]] = {
    "datetime": _datetime,
    "date": _date,
    "timedelta": _timedelta,
    "decimal": _decimal,
    "tuple": _several("builtins.tuple"),
    "set": _several("builtins.set"),
    "frozenset": _several("builtins.frozenset"),
    "uuid": _uuid,
}

TYPES: tuple[str, ...] = get_args(Type)


def same(sent: object, found: object) -> bool:
    """Return whether two JSON values are equal, including types, but not the order of keys."""
    if isinstance(sent, dict):
        return (
            isinstance(found, dict)
            and sent.keys() == found.keys()
            and all(same(one, found[key]) for key, one in sent.items())
        )
    if isinstance(sent, list):
        return (
            isinstance(found, list)
            and len(sent) == len(found)
            and all(same(one, other) for one, other in zip(sent, found, strict=True))
        )
    if type(sent) is not type(found):
        return False
    if isinstance(sent, float) and isinstance(found, float):
        return sent == found or (math.isnan(sent) and math.isnan(found))
    return sent == found


def floats_spelled_out(value: object) -> str:
    """Return JSON text in which every float has a decimal point.

    PostgreSQL's jsonb stores decimals: it would return 1e+16 as an integer.
    """
    return "".join(_spelled(value))


def _spelled(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield "{"
        for index, (key, one) in enumerate(value.items()):
            yield f"{', ' if index else ''}{json.dumps(key)}: "
            yield from _spelled(one)
        yield "}"
    elif isinstance(value, list):
        yield "["
        for index, one in enumerate(value):
            yield ", " if index else ""
            yield from _spelled(one)
        yield "]"
    elif isinstance(value, float) and value.is_integer():
        yield f"{Decimal(repr(value)):f}".partition(".")[0] + ".0"
    else:
        yield json.dumps(value)


def least_size(value: object) -> int:
    """Return a lower bound of a value's size in any JSON column, in bytes: its strings in UTF-8."""
    if isinstance(value, dict):
        return sum(len(key.encode()) + least_size(one) for key, one in value.items())
    if isinstance(value, list):
        return sum(map(least_size, value))
    return len(value.encode()) if isinstance(value, str) else 0
