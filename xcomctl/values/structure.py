"""Where two JSON values differ, in paths such as `files[3].rows`."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from typing import Any

from xcomctl.sizes.compare import Change, Item, Name, kind_of
from xcomctl.values.strictjson import deep, long_numbers

MAX_PATHS = 50
"""Paths that one comparison names. It counts the others."""

_PLAIN_KEY = re.compile(r"[^.\[\]\"$][^.\[\]\"]*")


@dataclass(frozen=True, slots=True)
class Difference:
    """How two values differ."""

    paths: tuple[str, ...]
    """The innermost parts that differ, in the form that `pull --path` takes; `$` is the whole."""
    types: tuple[str, ...]
    """Those of another type: `rows: number -> string`."""
    total: int
    """How many parts differ, of which `paths` names the first."""


def find_change(name: Name, old: Item, new: Item) -> Change | None:
    """Return how an XCom that both sides have differs; None where it says the same."""
    change = Change(kind_of(old.size, new.size), name, old.size, new.size)
    if old.digest is None or new.digest is None:
        return None if old.size == new.size else change
    if old.digest == new.digest:
        return None
    if old.read is None or new.read is None:
        return change
    try:
        found = compare(old.read(), new.read())
    except ValueError:
        return change
    if found is None:
        return None
    return replace(change, paths=found.paths, types=found.types, total_paths=found.total)


def compare(old: bytes, new: bytes) -> Difference | None:
    """Return where two stored JSON texts differ; None where they say the same.

    Raises:
        ValueError: one of them is not JSON.
    """
    try:
        with long_numbers(), deep():
            return compare_values(json.loads(old), json.loads(new))
    except RecursionError:
        return Difference(("$",), (), 1)


def compare_values(old: object, new: object) -> Difference | None:
    """Return where two values that JSON can hold differ; None where they are equal."""
    found = _Differences()
    found.compare("", old, new)
    if not found.total:
        return None
    return Difference(tuple(found.paths), tuple(found.types), found.total)


class _Differences:
    """Collects the parts that differ."""

    def __init__(self) -> None:
        self.paths: list[str] = []
        self.types: list[str] = []
        self.total = 0

    def compare(self, path: str, old: Any, new: Any) -> None:
        if isinstance(old, dict) and isinstance(new, dict):
            for key in [*old, *(key for key in new if key not in old)]:
                below = _join(path, key)
                if key in old and key in new:
                    self.compare(below, old[key], new[key])
                else:
                    self._add(below)
        elif isinstance(old, list) and isinstance(new, list):
            self._compare_lists(path, old, new)
        elif _type(old) != _type(new):
            self._add(path, f"{_type(old)} -> {_type(new)}")
        elif old != new and not _are_nan(old, new):
            self._add(path)

    def _compare_lists(self, path: str, old: list[Any], new: list[Any]) -> None:
        """Compare by position; of lists of different length, leave out what both begin or end with."""
        first, same_end = 0, 0
        shorter = min(len(old), len(new))
        if len(old) != len(new):
            while first < shorter and _is_same(old[first], new[first]):
                first += 1
            while same_end < shorter - first and _is_same(old[-1 - same_end], new[-1 - same_end]):
                same_end += 1
        ends = len(old) - same_end, len(new) - same_end
        for index in range(first, max(ends)):
            if index < min(ends):
                self.compare(f"{path}[{index}]", old[index], new[index])
            else:
                self._add(f"{path}[{index}]")

    def _add(self, path: str, types: str = "") -> None:
        self.total += 1
        if len(self.paths) < MAX_PATHS:
            self.paths.append(path or "$")
            if types:
                self.types.append(f"{path or '$'}: {types}")


def _is_same(old: Any, new: Any) -> bool:
    """Return whether two values are equal, in type, too: Python holds True and 1 to be equal."""
    if isinstance(old, dict) and isinstance(new, dict):
        return old.keys() == new.keys() and all(_is_same(old[key], new[key]) for key in old)
    if isinstance(old, list) and isinstance(new, list):
        return len(old) == len(new) and all(map(_is_same, old, new))
    return _type(old) == _type(new) and (old == new or _are_nan(old, new))


def _are_nan(old: object, new: object) -> bool:
    """Return whether both are NaN, the only value that differs from itself."""
    return old != old and new != new


def _type(value: object) -> str:
    if value is None:
        return "null"
    names = {bool: "boolean", int: "number", float: "number", str: "string", list: "array"}
    return names.get(type(value), "object")


def _join(path: str, key: str) -> str:
    if not _PLAIN_KEY.fullmatch(key):
        return f"{path}[{json.dumps(key, ensure_ascii=False)}]"
    return f"{path}.{key}" if path else key
