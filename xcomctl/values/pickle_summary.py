"""One line about a pickle whose contents need an import, from what it would import and call."""

from __future__ import annotations

import math
import struct
from typing import Any, cast

from xcomctl.text import visible
from xcomctl.values.pickle_objects import NUMPY_TYPES, Built, Named, foreign_names

_PUBLIC = {
    "pandas.core.frame.DataFrame": "pandas.DataFrame",
    "pandas.core.series.Series": "pandas.Series",
    "pandas._libs.tslibs.timestamps._unpickle_timestamp": "pandas.Timestamp",
    "pandas._libs.tslibs.timestamps.Timestamp": "pandas.Timestamp",
    "pendulum.datetime.DateTime": "pendulum.DateTime",
    "pyarrow.lib._reconstruct_table": "pyarrow.Table",
    "numpy.core.multiarray.scalar": "numpy scalar",
    "numpy._core.multiarray.scalar": "numpy scalar",
    **{
        f"numpy.{core}.{name}": "numpy.ndarray"
        for core in ("core", "_core")
        for name in ("multiarray._reconstruct", "numeric._frombuffer")
    },
}
"""The public name of what pickles name by the module that defines it."""
_MAX_NAMES = 3
_MAX_ROWS, _MAX_NUMBERS = 10, 10_000
"""Rows and numbers of an array that are shown."""


def summarize(value: Any, protocol: object) -> str:
    """Return what a pickle holds, for people: `a pandas.DataFrame, pickled with protocol 4; …`."""
    return visible(f"{_describe(value)}, pickled with protocol {protocol}; contents not read")


def _describe(value: Any) -> str:
    if isinstance(value, Built):
        return _array(value) or f"a {_public(value)}"
    if isinstance(value, Named):
        return f"the name {value.name}"
    names = [_PUBLIC.get(name, name) for name in foreign_names(value)]
    shown = ", ".join(names[:_MAX_NAMES])
    more = f" and {len(names) - _MAX_NAMES} more" if len(names) > _MAX_NAMES else ""
    size = len(value)
    return f"a {type(value).__name__} of {size:,} {'element' if size == 1 else 'elements'} with {shown}{more} in it"


def _public(value: Built) -> str:
    return _PUBLIC.get(value.name, value.name)


def _array(value: Built) -> str | None:
    facts = array_facts(value)
    if not facts:
        return None
    shape = " x ".join(map(str, cast("list[int]", facts["shape"])))
    return f"a numpy.ndarray of {shape or 'one'} {facts['type']}"


def array_facts(value: object) -> dict[str, object]:
    """Return the `shape`, `type` and first rows (`head`) of a numpy array, as far as it has them.

    Empty for anything else. The rows are there for numbers in C order only.
    """
    if not isinstance(value, Built) or _PUBLIC.get(value.name) != "numpy.ndarray":
        return {}
    try:
        if value.name.endswith("._frombuffer"):
            data, kind, shape, order_letter = value.arguments
            fortran = order_letter != "C"
        else:
            _, shape, kind, fortran, data = value.state
        code = str(kind.arguments[0])
        name, form = NUMPY_TYPES.get(code, (code, ""))
        facts: dict[str, object] = {"shape": [int(one) for one in shape], "type": visible(name)}
        if form and shape and not fortran and isinstance(data, bytes | bytearray):
            order = ">" if kind.state and kind.state[1] == ">" else "<"
            facts["head"] = _head(shape, order + form[-1], data)
    except (TypeError, ValueError, AttributeError, IndexError, OverflowError, struct.error):
        return {}
    return facts


def _head(shape: tuple[int, ...], form: str, data: bytes | bytearray) -> list[Any]:
    """Return the first rows of an array as nested lists."""
    row = math.prod(shape[1:])
    rows = min(shape[0], _MAX_ROWS, _MAX_NUMBERS // max(row, 1))
    size = struct.calcsize(form)
    if rows < 0 or rows * row * size > len(data):
        raise ValueError("less data than its shape says")
    numbers: list[Any] = [one for (one,) in struct.iter_unpack(form, data[: rows * row * size])]
    for length in reversed(shape[1:]):
        step = max(length, 1)
        numbers = [numbers[at : at + step] for at in range(0, len(numbers), step)]
    return numbers
