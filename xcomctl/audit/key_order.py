"""Whether a JSON column that sorts the keys of objects stores a value in another order.

PostgreSQL's jsonb and MySQL's JSON sort them by length, then by bytes.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

_FIRST_OBJECT = re.compile(rb"[\[ \t\r\n]*+\{")
_PAIR = re.compile(
    rb'[ \t\r\n]*+"([^"\\]*+)"[ \t\r\n]*+:[ \t\r\n]*+(?:"[^"\\]*+(?:\\.[^"\\]*+)*+"|[^"\\\[\]{},]++)[ \t\r\n]*+,'
)
"""A key and a value that is no object or array, before a comma."""
_KEY = re.compile(rb'[ \t\r\n]*+"([^"\\]*+)"')
_MOST_PAIRS = 32
_MOST_KNOWN, _MOST_KEYS = 4_000, 64
_known: dict[tuple[str, ...], bool] = {}
"""Whether keys are in their stored order, for keys that were seen before."""


def stored_order(key: str) -> tuple[int, bytes]:
    """Return the sort key by which the columns sort the keys of an object."""
    data = key.encode("utf-8", "surrogatepass")
    return len(data), data


def loses_key_order(value: bytes) -> bool | None:
    """Return whether an object in a strict JSON text comes back with its keys in another order.

    None where that is not known.
    """
    if _first_object_is_reordered(value):
        return True
    import msgspec

    try:
        document = msgspec.json.decode(value)
    except (ValueError, RecursionError):
        return None
    return any(not is_in_order(keys) for keys in _keys_of(document))


def is_in_order(keys: tuple[str, ...]) -> bool:
    """Return whether the keys of an object, each once, are in the order of the columns."""
    if len(keys) > _MOST_KEYS:
        return list(keys) == sorted(keys, key=stored_order)
    found = _known.get(keys)
    if found is None:
        if len(_known) > _MOST_KNOWN:
            _known.clear()
        found = _known[keys] = list(keys) == sorted(keys, key=stored_order)
    return found


def _first_object_is_reordered(value: bytes) -> bool:
    """Return whether the first object is known to be: most values have one kind of object."""
    match = _FIRST_OBJECT.match(value)
    if match is None:
        return False
    at, seen = match.end(), [(-1, b"")]
    for _ in range(_MOST_PAIRS):
        match = _KEY.match(value, at)
        if match is None:
            return False
        key = match[1]
        this = len(key), key
        if this < seen[-1]:
            # A key that occurs again keeps its first place.
            return this not in seen
        seen.append(this)
        match = _PAIR.match(value, at)
        if match is None:
            return False
        at = match.end()
    return False


def _keys_of(document: Any) -> Iterator[tuple[str, ...]]:
    """Yield the keys of each object in a document."""
    waiting: list[Any] = [[document]]
    while waiting:
        one = waiting.pop()
        if type(one) is dict:
            yield tuple(one)
            one = one.values()
        waiting += [inner for inner in one if type(inner) is dict or type(inner) is list]
