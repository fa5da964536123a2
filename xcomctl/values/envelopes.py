"""Envelopes: the JSON objects in which Airflow serializes what JSON cannot express.

https://airflow.apache.org/docs/apache-airflow/stable/authoring-and-scheduling/serializers.html
"""

from __future__ import annotations

import base64
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from typing import TYPE_CHECKING, Any

from xcomctl.text import visible
from xcomctl.values.context import Reader
from xcomctl.values.render import NumpyScalar, Opaque, to_json

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable

_CLASS, _VERSION, _DATA = "__classname__", "__version__", "__data__"
_OLD_TYPE, _OLD_DATA = "__type", "__var"


class _ProblemError(Exception):
    """Airflow itself raises an error on this envelope."""


class Envelopes:
    """Opens Airflow's serialized objects: turns each envelope into the value that it stands for.

    Nothing is imported. What cannot be opened becomes an `Opaque`.
    """

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


def _bytes(_: Envelopes, data: Any) -> bytes:
    return base64.b64decode(data, validate=True)


_KNOWN: dict[str, Callable[[Envelopes, Any], object]] = {
    "builtins.tuple": lambda one, data: tuple(one.list_of(data)),
    "builtins.set": lambda one, data: set(one.list_of(data)),
    "builtins.frozenset": lambda one, data: frozenset(one.list_of(data)),
    "builtins.bytes": _bytes,
    "datetime.datetime": Envelopes.moment,
    "pendulum.datetime.DateTime": Envelopes.moment,
    "datetime.date": lambda one, data: one.day(data),
    "datetime.timedelta": lambda one, data: one.duration(data),
    "decimal.Decimal": lambda one, data: one.decimal(data),
    "uuid.UUID": lambda one, data: one.uuid(data),
}
_OLD_KNOWN: dict[str, Callable[[Envelopes, Any], object]] = {
    "tuple": _KNOWN["builtins.tuple"],
    "set": _KNOWN["builtins.set"],
    "datetime": lambda one, data: datetime.fromtimestamp(data, UTC),
    "timedelta": lambda one, data: timedelta(seconds=data),
    "timezone": Envelopes.zone,
}
