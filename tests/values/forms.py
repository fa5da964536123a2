"""Serialized forms of every kind, right and wrong, for real Airflows and for our decoder to read."""

from __future__ import annotations

import json
from typing import Any

TIMEZONE = "pendulum.tz.timezone.Timezone"
FIXED = "pendulum.tz.timezone.FixedTimezone"
UUID = "12345678-1234-5678-1234-567812345678"


def envelope(classname: Any, data: Any, version: Any = 1) -> dict[str, Any]:
    return {"__classname__": classname, "__version__": version, "__data__": data}


def old(kind: Any, data: Any) -> dict[str, Any]:
    return {"__type": kind, "__var": data}


def tuple_of(*elements: Any) -> dict[str, Any]:
    return envelope("builtins.tuple", list(elements))


def forms() -> dict[str, str]:
    """Return JSON texts by name."""
    found = {
        **_old(),
        **_collections(),
        **_datetimes(),
        **_times(),
        **_numbers(),
        **_numpy(),
        **_other(),
    }
    return {name: json.dumps(value) for name, value in found.items()}


def _old() -> dict[str, Any]:
    found: dict[str, Any] = {
        "timedelta": old("timedelta", 60.5),
        "timedelta_int": old("timedelta", 60),
        "datetime": old("datetime", 1767322800.5),
        "datetime_int": old("datetime", 1767322800),
        "timezone": old("timezone", "Europe/Paris"),
        "relativedelta": old("relativedelta", {"days": 1}),
        "full_name": old("builtins.tuple", [1]),
        "dict": old("dict", {"a": 1}),
        "dict_2": old("dict", old("dict", {"a": 1})),
        "dict_3": old("dict", old("dict", old("dict", {"a": 1}))),
        "dict_4": old("dict", old("dict", old("dict", old("dict", {"a": 1})))),
        "dict_in_dict": old("dict", {"a": old("dict", {"b": 1})}),
        "dict_in_list": [old("dict", {"a": 1})],
        "dict_list": old("dict", [1]),
        "dict_text": old("dict", "x"),
        "dict_int": old("dict", 3),
        "dict_null": old("dict", None),
        "dict_tuple": old("dict", tuple_of(1)),
        "dict_old_tuple": old("dict", old("tuple", [1])),
        "type_list": {"__type": ["a"], "__var": 1},
        "type_null": {"__type": None, "__var": 1},
        "type_int": {"__type": 3, "__var": 1},
        "extra": {"__type": "dict", "__var": {"a": 1}, "b": 2},
        "and_class": {**old("dict", {"a": 1}), **tuple_of(1)},
        "nested": {"a": old("tuple", [old("set", [1])])},
        "set_tuple": old("set", [old("tuple", [1])]),
        "type_only": {"__type": "dict"},
        **{kind: old(kind, [1]) for kind in ("tuple", "set", "frozenset")},
    }
    return {f"old_{name}": value for name, value in found.items()}


def _collections() -> dict[str, Any]:
    found: dict[str, Any] = {}
    data = {"list": [1], "text": "a", "int": 5, "dict": {"a": 1}, "null": None, "nested": [[1]]}
    for kind in ("tuple", "set", "frozenset"):
        for name, one in data.items():
            found[f"{kind}_{name}"] = envelope(f"builtins.{kind}", one)
        found[f"{kind}_v2"] = envelope(f"builtins.{kind}", [1], 2)
        found[f"{kind}_v0"] = envelope(f"builtins.{kind}", [1], 0)
        found[f"{kind}_of_frozenset"] = envelope(
            f"builtins.{kind}", [envelope("builtins.frozenset", [1])]
        )
        found[f"{kind}_of_tuple"] = envelope(f"builtins.{kind}", [tuple_of(1)])
    frozen = envelope("builtins.frozenset", [1])
    found |= {
        "frozenset_in_dict": {"a": frozen},
        "frozenset_in_list": [frozen],
        "frozenset_in_list_in_dict": {"a": [frozen, {"b": frozen}]},
        "tuple_mixed": tuple_of(envelope("decimal.Decimal", "1.5"), old("dict", {"a": 1})),
    }
    for kind, one in {"list": [1], "dict": {"a": 1}, "bytes": "YQ==", "str": "a", "int": 5}.items():
        found[f"builtins_{kind}"] = envelope(f"builtins.{kind}", one)
    return found


def _datetimes() -> dict[str, Any]:
    utc, paris = tuple_of("UTC", FIXED, 1, True), tuple_of("Europe/Paris", TIMEZONE, 1, True)
    data: dict[str, Any] = {
        "utc": {"timestamp": 1704164645.678901, "tz": utc},
        "paris": {"timestamp": 1704164645.0, "tz": paris},
        "naive": {"timestamp": 1704164645.5, "tz": None},
        "no_tz": {"timestamp": 1704164645.5},
        "int": {"timestamp": 1704164645, "tz": None},
        "text": {"timestamp": "1704164645.5", "tz": None},
        "no_number": {"timestamp": "abc", "tz": None},
        "no_timestamp": {"tz": None},
        "bool": {"timestamp": True, "tz": None},
        "null_timestamp": {"timestamp": None, "tz": None},
        "bare": 1704164645.5,
        "bare_int": 1704164645,
        "bare_text": "1704164645.5",
        "iso": "2024-01-02T00:00:00",
        "null": None,
        "zoneinfo": {"timestamp": 0.0, "tz": tuple_of("Europe/Paris", "zoneinfo.ZoneInfo", 1, True)},
        "zoneinfo_v2": {"timestamp": 0.0, "tz": tuple_of("Europe/Paris", "zoneinfo.ZoneInfo", 2, True)},
        "offset": {"timestamp": 0.0, "tz": tuple_of(3600, FIXED, 1, True)},
        "no_name": {"timestamp": 0.0, "tz": tuple_of("", "", 0, False)},
        "unknown_zone": {"timestamp": 0.0, "tz": tuple_of("No/Where", TIMEZONE, 1, True)},
        "lower_utc": {"timestamp": 0.0, "tz": tuple_of("utc", TIMEZONE, 1, True)},
        "tz_list": {"timestamp": 0.0, "tz": ["Europe/Paris", TIMEZONE, 1, True]},
        "tz_short": {"timestamp": 0.0, "tz": ["Europe/Paris"]},
        "tz_text": {"timestamp": 0.0, "tz": "UTC"},
        "tz_int": {"timestamp": 0.0, "tz": 3600},
        "tz_empty": {"timestamp": 0.0, "tz": ""},
        "tz_other_class": {"timestamp": 0.0, "tz": tuple_of("Europe/Paris", "x.Y", 1, True)},
        "last": {"timestamp": 253402300799.999999, "tz": utc},
        "year_10000": {"timestamp": 253402300800.0, "tz": utc},
        "first": {"timestamp": -62135596800.0, "tz": utc},
        "rounded": {"timestamp": 1704164645.6789012, "tz": utc},
        "extra": {"timestamp": 0.0, "tz": None, "fold": 1},
        **{f"zone_{name}": {"timestamp": 0.0, "tz": tuple_of(name, TIMEZONE, 1, True)} for name in ("EST", "EDT", "CEST")},
    }  # fmt: skip
    found: dict[str, Any] = {}
    zones = ("UTC", "Europe/Paris", "EDT", "CDT", "MDT", "PDT", "CEST", "EST", "CET", 3600, None, "", "No/Where", ["UTC"])  # fmt: skip
    for kind, name in {"datetime": "datetime.datetime", "pendulum": "pendulum.datetime.DateTime"}.items():  # fmt: skip
        found |= {f"{kind}_{form}": envelope(name, one, 2) for form, one in data.items()}
        for zone in zones:
            found[f"{kind}_v1_{zone}"] = envelope(name, {"timestamp": 0.0, "tz": zone})
        found[f"{kind}_v1_tuple"] = envelope(name, {"timestamp": 0.0, "tz": paris})
        found[f"{kind}_v1_no_tz"] = envelope(name, {"timestamp": 0.0})
        found[f"{kind}_v3"] = envelope(name, {"timestamp": 0.0, "tz": utc}, 3)
        found[f"{kind}_v0"] = envelope(name, {"timestamp": 0.0, "tz": None}, 0)
    return found


def _times() -> dict[str, Any]:
    found: dict[str, Any] = {}
    texts = {"iso": "2026-01-02", "basic": "20260102", "week": "2026-W01-5", "datetime": "2026-01-02T03:04:05", "wrong": "x", "int": 3, "dict": {"timestamp": 0.0, "tz": None}, "null": None}  # fmt: skip
    for kind, name in {"date": "datetime.date", "pendulum_date": "pendulum.date.Date"}.items():
        found |= {f"{kind}_{form}": envelope(name, one, 2) for form, one in texts.items()}
        found |= {f"{kind}_v{one}": envelope(name, "2026-01-02", one) for one in (1, 3)}
    seconds = {"float": 60.5, "int": 60, "text": "60.5", "wrong": "x", "bool": True, "null": None, "huge": 1e15, "nan": float("nan"), "inf": float("inf"), "text_int": "60", "tiny": 1e-7, "negative": -0.5, "half": 2.5e-6}  # fmt: skip
    found |= {f"timedelta_{form}": envelope("datetime.timedelta", one, 2) for form, one in seconds.items()}  # fmt: skip
    found |= {f"timedelta_v{one}": envelope("datetime.timedelta", 60.5, one) for one in (1, 3)}
    found["time"] = envelope("datetime.time", "03:04:05")
    found["duration"] = envelope("pendulum.duration.Duration", 60.5)
    zones = {"name": "Europe/Paris", "utc": "UTC", "int": 3600, "negative": -18000, "zero": 0, "unknown": "No/Where", "empty": "", "edt": "EDT", "list": ["UTC"], "null": None, "float": 1.5, "bool": True, "path": "/etc/x"}  # fmt: skip
    for name in ("zoneinfo.ZoneInfo", TIMEZONE, FIXED):
        short = name.rpartition(".")[2]
        found |= {f"{short}_{form}": envelope(name, one) for form, one in zones.items()}
        found[f"{short}_v2"] = envelope(name, "UTC", 2)
    return found


def _numbers() -> dict[str, Any]:
    numbers = {"int": 100, "float": 1.1, "text": "1.2300000000000000000000001", "wrong": "x", "bool": True, "null": None, "list": [1], "nan": "NaN", "infinity": "Infinity", "float_nan": float("nan"), "small": 1e-7, "large": 1e30, "spaces": " 1.5 ", "underscore": "1_0", "dict": {"a": 1}}  # fmt: skip
    found = {f"decimal_{form}": envelope("decimal.Decimal", one) for form, one in numbers.items()}
    found |= {f"decimal_v{one}": envelope("decimal.Decimal", "1", one) for one in (0, 2)}
    texts = {"text": UUID, "hex": UUID.replace("-", ""), "urn": f"urn:uuid:{UUID}", "wrong": "x", "int": 5, "null": None}  # fmt: skip
    found |= {f"uuid_{form}": envelope("uuid.UUID", one) for form, one in texts.items()}
    found["uuid_v2"] = envelope("uuid.UUID", UUID, 2)
    return found


NUMPY = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "bool_", "bool", "float16", "float32", "float64", "complex64", "complex128")  # fmt: skip
OTHER_NUMPY = ("float128", "str_", "datetime64", "ndarray", "int_", "float_")


def _numpy() -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in (*NUMPY, *OTHER_NUMPY):
        one: Any = name.startswith("bool") or (7 if "int" in name else 1.5)
        found[f"numpy_{name}"] = envelope(f"numpy.{name}", one)
    data = {"text": "7", "null": None, "float": 1.5, "bool": True, "wrong": "x", "dict": {"a": 1}, "list": [1]}  # fmt: skip
    for name in ("int64", "float64", "float32", "bool_", "complex128"):
        found |= {f"numpy_{name}_{form}": envelope(f"numpy.{name}", one) for form, one in data.items()}  # fmt: skip
    floats = (3.4e38, 1e39, 1e-45, 0.1, 1 / 3, 65504.0, 70000.0, 1e16, 123456.789, 1e-5, 0.0001, 1234567.0, 16777216.0, -0.0, float("inf"), float("nan"), 5e-324, 1e22, 3e-8, 9.9999e-5)  # fmt: skip
    for number in floats:
        for name in ("float16", "float32", "float64", "complex64", "complex128"):
            found[f"numpy_{name}_{number}"] = envelope(f"numpy.{name}", number)
    for name, one in {"int8": 300, "uint8": -1, "int64": 2**63, "uint64": 2**64 - 1}.items():
        found[f"numpy_{name}_{one}"] = envelope(f"numpy.{name}", one)
    found["numpy_v2"] = envelope("numpy.int64", 7, 2)
    return found


def _other() -> dict[str, Any]:
    asset = {"name": "a", "uri": "s3://bucket/a", "group": "asset", "extra": {}}
    return {
        "dataset": envelope("airflow.datasets.Dataset", {"uri": "s3://bucket/a", "extra": None}),
        "asset": envelope("airflow.sdk.definitions.asset.Asset", asset),
        "unknown": envelope("my.module.Class", {"a": 1}),
        "unknown_inside": {"a": [envelope("my.module.Class", 1)]},
        "no_version": {"__classname__": "x"},
        "no_data": {"__classname__": "builtins.tuple", "__version__": 1},
        "version_text": {"__classname__": "builtins.tuple", "__version__": "1", "__data__": [1]},
        "version_bool": {"__classname__": "builtins.tuple", "__version__": True, "__data__": [1]},
        "version_float": {"__classname__": "builtins.tuple", "__version__": 1.0, "__data__": [1]},
        "version_null": {"__classname__": "builtins.tuple", "__version__": None, "__data__": [1]},
        "class_int": {"__classname__": 3, "__version__": 1, "__data__": [1]},
        "class_empty": envelope("", [1]),
        "extra": {**tuple_of(1), "x": 2},
        "not_an_envelope": {"__version__": 1, "__data__": 2},
    }
