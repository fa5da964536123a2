"""The classes that Airflow's `xcom_pull` turns back into values, and since which release.

From the serializers of Airflow 2.6.0 to 3.3.2; `tests/values/test_envelopes.py` compares the table
with what real releases return.

https://github.com/apache/airflow/tree/main/task-sdk/src/airflow/sdk/serde/serializers
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from xcomctl.values.context import Release

Kind = Literal[
    "collection", "datetime", "date", "timedelta", "decimal", "uuid", "timezone", "numpy", "frame"
]
"""How the data of an envelope is turned into a value."""

_SERDE: Release = (2, 6, 0)


@dataclass(frozen=True, slots=True)
class EnvelopeType:
    """A class that `xcom_pull` reads without further configuration."""

    kind: Kind
    since: Release = _SERDE
    """The first release that reads it; older ones raise ImportError."""
    max_version: int | None = 1
    """The newest `__version__` that is read; None if any is."""


ENVELOPE_TYPES: Final[Mapping[str, EnvelopeType]] = {
    "builtins.tuple": EnvelopeType("collection"),
    "builtins.set": EnvelopeType("collection"),
    "builtins.frozenset": EnvelopeType("collection"),
    "datetime.datetime": EnvelopeType("datetime", max_version=None),
    "pendulum.datetime.DateTime": EnvelopeType("datetime", max_version=None),
    "datetime.date": EnvelopeType("date", max_version=None),
    "pendulum.date.Date": EnvelopeType("date", since=(3, 1, 8), max_version=None),
    "datetime.timedelta": EnvelopeType("timedelta", max_version=None),
    "decimal.Decimal": EnvelopeType("decimal"),
    "uuid.UUID": EnvelopeType("uuid", since=(3, 2, 0), max_version=None),
    "pendulum.tz.timezone.FixedTimezone": EnvelopeType("timezone"),
    "pendulum.tz.timezone.Timezone": EnvelopeType("timezone"),
    "zoneinfo.ZoneInfo": EnvelopeType("timezone"),
    "pandas.core.frame.DataFrame": EnvelopeType("frame"),
    "pandas.DataFrame": EnvelopeType("frame", since=(3, 3, 1)),
    **{
        f"numpy.{name}": EnvelopeType("numpy")
        for name in (
            *("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
            *("float16", "float64", "complex64", "complex128", "bool_"),
        )
    },
    "numpy.float32": EnvelopeType("numpy", since=(3, 1, 0)),
    "numpy.bool": EnvelopeType("numpy", since=(3, 1, 0)),
}
"""By `__classname__`."""


@dataclass(frozen=True, slots=True)
class OldType:
    """The class that an old `__type` envelope stands for."""

    classname: str
    since: Release
    """The first release that reads it; older ones raise ImportError."""


OLD_TYPES: Final[Mapping[str, OldType]] = {
    "tuple": OldType("builtins.tuple", (3, 2, 0)),
    "set": OldType("builtins.set", (3, 2, 0)),
    "frozenset": OldType("builtins.frozenset", (3, 2, 0)),
    "timedelta": OldType("datetime.timedelta", (3, 2, 0)),
    "datetime": OldType("datetime.datetime", (3, 3, 0)),
}
"""By `__type`. `dict` is not here: every release returns its `__var`."""

BARE_TIMESTAMP_SINCE: Release = (3, 3, 0)
"""The first release that reads a datetime whose data is a number, as UTC."""

ZONEINFO_BY_OFFSET_SINCE: Release = (3, 0, 0)
"""The first release that reads a zoneinfo.ZoneInfo whose data is an offset in seconds."""

ZONEINFO_BY_PENDULUM: tuple[Release, Release] = (3, 0, 0), (3, 1, 0)
"""From the first release on, and before the second, a zoneinfo.ZoneInfo is read by pendulum."""

OBJECT_HOOK_BEFORE: Release = (3, 0, 0)
"""Releases before this open envelopes from the inside out, newer ones from the outside in."""

OFFSET_BY_OLD_ZONE: Final[Mapping[str, int | str]] = {
    "EDT": -4 * 3600,
    "CDT": -5 * 3600,
    "MDT": -6 * 3600,
    "PDT": -7 * 3600,
    "CEST": "CET",
}
"""What Airflow takes for zone names of datetimes of version 1: an offset in seconds, or a name."""


@dataclass(frozen=True, slots=True)
class Module:
    """A module of Airflow that only some releases have, so that its classes cannot be imported."""

    prefix: str
    since: Release = (0, 0, 0)
    before: Release = (999, 0, 0)


MODULES: Final = (
    Module("airflow.datasets.", before=(3, 2, 0)),
    Module("airflow.sdk.", since=(3, 0, 0)),
)
"""https://airflow.apache.org/docs/apache-airflow/stable/installation/upgrading_to_airflow3.html"""
