"""Reads values as a real Airflow's `xcom_pull` does; for that Airflow's Python.

Reads a JSON object of JSON texts from stdin, and writes what each becomes, in the words of
`canonical`: `{"name": ["value", ...] | ["error", "ImportError"]}`. Its first line is the release.
"""

import datetime
import importlib.metadata
import json
import sys
from collections.abc import Callable
from typing import Any


def reader() -> Callable[[str], object]:
    """Return what reads a stored text."""
    import airflow

    release = tuple(map(int, airflow.__version__.split(".")[:2]))
    if release < (3, 0):
        from airflow.utils.json import XComDecoder

        return lambda text: json.loads(text, cls=XComDecoder)
    if release < (3, 2):
        from airflow.serialization.serde import deserialize
    else:
        from airflow.sdk.serde import deserialize
    return lambda text: deserialize(json.loads(text))


def canonical(value: Any) -> Any:
    """Return a value in words that do not depend on pendulum or numpy."""
    kind = type(value)
    if value is None or kind in (bool, int, str):
        return value
    if kind is float:
        return ["float", repr(value)]
    if kind is list:
        return [canonical(one) for one in value]
    if kind is dict:
        return {key: canonical(one) for key, one in value.items()}
    if kind in (tuple, set, frozenset):
        return [kind.__name__, [canonical(one) for one in value]]
    if isinstance(value, datetime.datetime):
        return ["datetime", value.isoformat()]
    if isinstance(value, datetime.date):
        return ["date", value.isoformat()]
    if isinstance(value, datetime.tzinfo):
        return ["timezone", str(datetime.datetime(2026, 7, 1, tzinfo=value).utcoffset())]
    if kind.__module__ == "numpy" and hasattr(value, "item") and not hasattr(value, "__len__"):
        return ["numpy", kind.__name__.rstrip("_"), repr(value.item()), repr(value)]
    if kind.__module__.startswith(("airflow.", "numpy")):
        return ["object", kind.__name__]
    return [kind.__name__, str(value)]


def main() -> None:
    read = reader()
    found: dict[str, list[Any]] = {}
    for name, text in json.load(sys.stdin).items():
        try:
            found[name] = ["value", canonical(read(text))]
        except Exception as error:  # noqa: BLE001
            found[name] = ["error", type(error).__name__]
    print(importlib.metadata.version("apache-airflow"))
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
