"""Renders decoded values as strict JSON, or as the Python repr of what a task gets."""

from __future__ import annotations

import base64
import math
from collections import Counter
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, tzinfo
from typing import Any

from xcomctl.values.numpy_scalars import NumpyScalar
from xcomctl.values.strictjson import deep, long_numbers


@dataclass(frozen=True, slots=True)
class Opaque:
    """A value that cannot be decoded or represented, described by facts that JSON can express."""

    encoding: str
    """What it is: `pickle`, `object`, `broken-json`, …"""
    facts: dict[str, object]
    parquet: bytes | None = field(default=None, repr=False)
    """The Parquet file that a DataFrame was serialized to."""

    def marker(self) -> dict[str, object]:
        """Return the object that represents it in JSON."""
        return {"__xcomctl__": {"encoding": self.encoding, **self.facts}}


@dataclass(slots=True)
class _Renderer:
    """Converts values to strict JSON, and counts what had to be changed."""

    changed: Counter[str] = field(default_factory=Counter)

    def render(self, value: Any) -> object:
        if value is None or isinstance(value, bool | int | str):
            return value
        if isinstance(value, float):
            if math.isfinite(value):
                return value
            self.changed["NaN became null" if math.isnan(value) else "Infinity became null"] += 1
            return None
        if isinstance(value, list):
            return [self.render(one) for one in value]
        if isinstance(value, dict):
            found = {
                key if type(key) is str else self._key(key): self.render(one)
                for key, one in value.items()
            }
            return found if len(found) == len(value) else self._pairs(value)
        return self._render_other(value)

    def _pairs(self, value: dict[Any, Any]) -> object:
        self.changed["a dict with keys that are equal as strings became a list of pairs"] += 1
        return [[self.render(key), self.render(one)] for key, one in value.items()]

    def _key(self, key: Any) -> str:
        """Return a key as a string: as json.dumps writes it, or its repr."""
        self.changed["dict key became a string"] += 1
        if key is None or isinstance(key, bool):
            return "null" if key is None else str(key).lower()
        return str(key) if isinstance(key, str | int | float) else _repr(key)

    def _render_other(self, value: Any) -> object:
        if isinstance(value, Opaque):
            return value.marker()
        if isinstance(value, NumpyScalar):
            return self.render(value.value)
        if isinstance(value, complex):
            self.changed["complex number became a string"] += 1
            return str(value)
        if isinstance(value, tuple | set | frozenset):
            self.changed[f"{type(value).__name__} became a list"] += 1
            return [self.render(one) for one in value]
        if isinstance(value, datetime | date):
            return value.isoformat()
        if isinstance(value, timedelta):
            self.changed["timedelta became seconds"] += 1
            return value.total_seconds()
        if isinstance(value, bytes | bytearray):
            self.changed["bytes became base64"] += 1
            return base64.b64encode(value).decode("ascii")
        if isinstance(value, tzinfo):
            return getattr(value, "key", None) or str(value)
        return str(value)


def to_json(value: object) -> tuple[object, tuple[str, ...]]:
    """Return a value that strict JSON can express, and notes on what had to be changed."""
    renderer = _Renderer()
    try:
        with deep():
            rendered = renderer.render(value)
    except RecursionError:
        return Opaque("json", {"problem": "it is nested too deeply"}).marker(), ()
    return rendered, tuple(
        change if number == 1 else f"{change} ({number} times)"
        for change, number in renderer.changed.items()
    )


def to_repr(value: object) -> str:
    """Return the Python repr of what `xcom_pull` returns; `<...>` for what has none."""
    try:
        with long_numbers(), deep():
            return _repr(value)
    except RecursionError:
        return "<nested too deeply>"


def _repr(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_repr, value))}]"
    if isinstance(value, tuple):
        return f"({', '.join(map(_repr, value))}{',' if len(value) == 1 else ''})"
    if isinstance(value, set):
        return f"{{{', '.join(map(_repr, value))}}}" if value else "set()"
    if isinstance(value, frozenset):
        return f"frozenset({{{', '.join(map(_repr, value))}}})" if value else "frozenset()"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{_repr(key)}: {_repr(one)}' for key, one in value.items())}}}"
    if isinstance(value, Opaque):
        return _repr_opaque(value)
    return repr(value)


def _repr_opaque(value: Opaque) -> str:
    facts = value.facts
    if value.encoding == "pickle":
        said = facts.get("summary") or facts.get("problem") or "not loaded"
        return f"<pickle protocol {facts['protocol']}, {facts['size_bytes']} bytes: {said}>"
    if value.encoding == "object" and "rows" in facts:
        columns = facts.get("columns")
        count = len(columns) if isinstance(columns, list) else 0
        return f"<object {facts['classname']}: {facts['rows']:,} rows x {count:,} columns>"
    if value.encoding == "object":
        data = facts.get("data", facts.get("parquet_bytes"))
        return f"<object {facts['classname']} version {facts['version']}: {data!r}>"
    return f"<{value.encoding}: {facts.get('problem', 'not decoded')}>"
