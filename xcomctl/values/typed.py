"""Values of types that JSON cannot express, in the envelopes in which Airflow stores them."""

from __future__ import annotations

import re
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Literal, get_args
from uuid import UUID

from xcomctl.errors import RefusedError, UsageError
from xcomctl.values.context import Reader
from xcomctl.values.envelope_types import ENVELOPE_TYPES
from xcomctl.values.envelopes import Envelopes
from xcomctl.values.render import Opaque

if TYPE_CHECKING:
    from collections.abc import Callable

    from xcomctl.values.context import Context

Type = Literal[
    "json", "datetime", "date", "timedelta", "decimal", "tuple", "set", "frozenset", "uuid", "bytes"
]
"""The `--type` of a value: `json`, or a Python type that JSON cannot express."""

TYPES: tuple[str, ...] = get_args(Type)


def make_envelope(value: object, kind: Type, context: Context, notes: list[str]) -> object:
    """Return a value in the envelope of its type, which is not `json`; may add to the notes.

    Raises:
        UsageError: the value does not describe a value of that type.
        RefusedError: the Airflow of the context cannot read it back.
    """
    if context.reader is not Reader.SERDE:
        raise RefusedError(
            f"cannot push a {kind} to this Airflow",
            detail="Only Airflow 2.6 and newer read it back.",
            hint="Push a string or a number, and convert it in the task.",
        )
    if kind == "bytes":
        raise RefusedError(
            "cannot push bytes to this Airflow",
            detail="No Airflow serializes bytes as JSON.",
            hint="Push a string, such as base64.",
        )
    since = ENVELOPE_TYPES["uuid.UUID"].since
    if kind == "uuid" and context.release < since:
        raise RefusedError(
            "cannot push a UUID to this Airflow",
            detail=f"Only Airflow {since[0]}.{since[1]} and newer read it back.",
            hint="Push it as a string.",
        )
    envelope = _MAKERS[kind](value, notes)
    _check_read_back(envelope, kind, context)
    return envelope


def _check_read_back(envelope: object, kind: Type, context: Context) -> None:
    """Raise RefusedError if Airflow would store the envelope, and fail to read it.

    One example is a datetime at the end of the year 9999: Airflow stores a float of seconds, which
    rounds up to the year 10000.
    """
    found = Envelopes(context, Counter()).open(envelope)
    if isinstance(found, Opaque):
        problem = str(found.facts.get("problem", "Airflow cannot read it back"))
        raise RefusedError(f"cannot push this {kind}", detail=f"{problem}.")


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
        moment = moment.replace(tzinfo=UTC)
        data = {"timestamp": moment.timestamp(), "tz": None}
    else:
        data = {"timestamp": moment.timestamp(), "tz": _zone(moment, zone)}
    _note_rounding(moment, notes)
    return _envelope("datetime.datetime", 2, data)


def _note_rounding(moment: datetime, notes: list[str]) -> None:
    """Note if the float of seconds in which Airflow stores a datetime is not exact."""
    try:
        kept = datetime.fromtimestamp(moment.timestamp(), UTC)
    except (ValueError, OverflowError):
        return
    if kept != moment:
        notes.append(
            "Airflow stores a datetime as a float of seconds: this one comes back as "
            f"{kept.astimezone(moment.tzinfo).isoformat()}"
        )


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
