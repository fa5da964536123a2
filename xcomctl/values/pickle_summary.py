"""One line about a pickle whose contents need an import, from what it would import and call."""

from __future__ import annotations

from typing import Any

from xcomctl.text import visible
from xcomctl.values.pickle_objects import Built, Named, foreign_names

_PUBLIC = {
    "pandas.core.frame.DataFrame": "pandas.DataFrame",
    "pandas.core.series.Series": "pandas.Series",
    "pandas._libs.tslibs.timestamps._unpickle_timestamp": "pandas.Timestamp",
    "pandas._libs.tslibs.timestamps.Timestamp": "pandas.Timestamp",
    "pendulum.datetime.DateTime": "pendulum.DateTime",
    "pyarrow.lib.Table": "pyarrow.Table",
}
"""The public name of what pickles name by the module that defines it."""
_RECONSTRUCT = ("numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct")
_MAX_NAMES = 3


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
    """Return the shape and type of a numpy array, whose state has them."""
    state = value.state
    if value.name not in _RECONSTRUCT or not isinstance(state, tuple) or len(state) < 3:
        return None
    shape, kind = state[1], state[2]
    code = kind.arguments[0] if isinstance(kind, Built) and kind.arguments else "?"
    return f"a numpy.ndarray of shape {shape!r} and type {code}"[:200]
