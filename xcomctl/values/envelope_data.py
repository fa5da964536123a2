"""The data of an envelope turned into a value, as Airflow's deserializers do it.

https://github.com/apache/airflow/tree/main/task-sdk/src/airflow/sdk/serde/serializers
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from xcomctl.text import visible
from xcomctl.values.envelope_types import (
    BARE_TIMESTAMP_SINCE,
    ENVELOPE_TYPES,
    OFFSET_BY_OLD_ZONE,
    ZONEINFO_BY_OFFSET_SINCE,
    ZONEINFO_BY_PENDULUM,
)
from xcomctl.values.numpy_scalars import numpy_scalar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from xcomctl.values.context import Release
    from xcomctl.values.envelope_types import Kind

_NAIVE = "a naive datetime was stored as seconds in the worker's local time zone; UTC is assumed"
_LOCAL = "a pendulum DateTime without a time zone is shown in UTC; a task gets its local time zone"
_MANY = 10_000
"""Elements from which on a set is checked for equal hashes, which make it take quadratic time."""


class AirflowError(Exception):
    """An error that Airflow raises on a value."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        """The name of Airflow's exception class."""


class Opened(NamedTuple):
    """The value of an envelope."""

    value: object
    """None if it cannot be represented."""
    note: str = ""
    """What is uncertain about it."""


def open_data(kind: Kind, classname: str, version: int, data: Any, release: Release) -> Opened:
    """Return the value for the data of an envelope, whose own envelopes are open already.

    Raises:
        AirflowError: Airflow raises an error.
        ValueError, TypeError, OverflowError, ArithmeticError, LookupError, AttributeError:
            Airflow raises the same.
    """
    return _OPENERS[kind](classname, version, data, release)


def _open_collection(classname: str, _: int, data: Any, __: Release) -> Opened:
    if classname == "builtins.tuple":
        return Opened(tuple(data))
    if len(data) > _MANY and 2 * len({hash(one) for one in data}) < len(data):
        return Opened(None, "a set is not opened: too many of its elements have the same hash")
    return Opened(set(data) if classname == "builtins.set" else frozenset(data))


def _open_datetime(classname: str, version: int, data: Any, release: Release) -> Opened:
    # pendulum reads one without a zone as an aware datetime in the local zone.
    naive = classname == "datetime.datetime"
    if not isinstance(data, dict):
        if naive and isinstance(data, int | float) and release >= BARE_TIMESTAMP_SINCE:
            return Opened(datetime.fromtimestamp(float(data), _utc()))
        raise TypeError(f"unknown date/time format {classname}")
    zone: tzinfo | None = None
    note = ""
    if version == 1 and "tz" in data:
        zone, note = _zone(OFFSET_BY_OLD_ZONE.get(data["tz"], data["tz"]))
    elif data.get("tz"):
        name, zone_class, zone_version = data["tz"][0], data["tz"][1], data["tz"][2]
        zone, note = _open_timezone(str(zone_class), zone_version, name, release, checked=True)
    stamp = float(data["timestamp"])
    if zone is not None:
        return Opened(datetime.fromtimestamp(stamp, zone), note)
    moment = datetime.fromtimestamp(stamp, _utc())
    return Opened(moment.replace(tzinfo=None), _NAIVE) if naive else Opened(moment, _LOCAL)


def _open_timezone_envelope(classname: str, version: int, data: Any, release: Release) -> Opened:
    zone, note = _open_timezone(classname, version, data, release)
    return Opened(zone, note)


def _open_timezone(
    classname: str, version: Any, data: Any, release: Release, *, checked: bool = False
) -> tuple[tzinfo, str]:
    """Return a time zone from its name or its offset in seconds, and a note."""
    if not isinstance(data, str | int):
        raise TypeError(f"{data!r} is not of type int or str")
    newest = ENVELOPE_TYPES["zoneinfo.ZoneInfo"].max_version or 0
    if checked and version > newest:
        raise AirflowError(
            "TypeError", f"version {version} of the time zone is newer than {newest}"
        )
    by_offset = isinstance(data, int) and release < ZONEINFO_BY_OFFSET_SINCE
    if by_offset and classname == "zoneinfo.ZoneInfo":
        raise TypeError("expected str, bytes or os.PathLike object, not int")
    first, before = ZONEINFO_BY_PENDULUM
    direct = classname == "zoneinfo.ZoneInfo" and not first <= release < before
    return _zone(data, "ZoneInfoNotFoundError" if direct else "InvalidTimezone")


@cache
def _utc() -> tzinfo:
    """Return UTC as Airflow has it: a time zone with that name."""
    return _zone("UTC")[0]


def _zone(data: Any, unknown: str = "InvalidTimezone") -> tuple[tzinfo, str]:
    """Return a time zone and a note; `unknown` is Airflow's error for an unknown name."""
    if isinstance(data, int):
        return timezone(timedelta(seconds=data)), ""
    if not isinstance(data, str):
        raise AttributeError(f"{type(data).__name__!r} object has no attribute 'lower'")
    if data.lower() == "utc":
        data = "UTC"
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    if not data:
        raise AirflowError("ValueError", "its time zone has no name")
    shown = visible(data)[:200]
    try:
        return ZoneInfo(data), ""
    except ZoneInfoNotFoundError:
        if data in OFFSET_BY_OLD_ZONE or _knows_all_zones():
            raise AirflowError(unknown, shown) from None
        return UTC, f'time zone "{shown}" is unknown on this machine; shown in UTC'
    except (ValueError, OSError):
        raise AirflowError("ValueError", f'"{shown}" is not a time zone') from None


def _knows_all_zones() -> bool:
    """Return whether the time zone database has the old names, which some systems leave out."""
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    try:
        ZoneInfo("US/Pacific")
    except (ZoneInfoNotFoundError, OSError):
        return False
    return True


def _open_date(classname: str, _: int, data: Any, __: Release) -> Opened:
    if not isinstance(data, str):
        raise TypeError(f"unknown date/time format {classname}")
    return Opened(date.fromisoformat(data))


def _open_timedelta(classname: str, _: int, data: Any, __: Release) -> Opened:
    if not isinstance(data, str | float):
        # Airflow does not read an integer.
        raise TypeError(f"unknown date/time format {classname}")
    return Opened(timedelta(seconds=float(data)))


def _open_decimal(_: str, __: int, data: Any, ___: Release) -> Opened:
    from decimal import Decimal, InvalidOperation

    try:
        return Opened(Decimal(str(data)))
    except InvalidOperation:
        raise AirflowError("InvalidOperation", "its data is not a number") from None


def _open_uuid(classname: str, _: int, data: Any, __: Release) -> Opened:
    from uuid import UUID

    if not isinstance(data, str):
        raise TypeError(f"cannot deserialize {classname} from {type(data)}")
    return Opened(UUID(data))


def _open_numpy(classname: str, _: int, data: Any, __: Release) -> Opened:
    return Opened(numpy_scalar(classname, data))


_OPENERS: Mapping[Kind, Callable[[str, int, Any, Release], Opened]] = {
    "collection": _open_collection,
    "datetime": _open_datetime,
    "date": _open_date,
    "timedelta": _open_timedelta,
    "decimal": _open_decimal,
    "uuid": _open_uuid,
    "timezone": _open_timezone_envelope,
    "numpy": _open_numpy,
}
