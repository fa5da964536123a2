"""Numpy scalars without numpy: their values, rounded to their type, and numpy's own repr."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import Any

_FLOAT_FORMATS = {"float16": "<e", "float32": "<f", "complex64": "<f"}
"""The struct format of the types that hold less than a Python float."""
_FIXED_FROM, _FIXED_BELOW = 1e-4, 1e16
"""Numpy writes numbers outside this range in scientific notation."""


@dataclass(frozen=True, slots=True)
class NumpyScalar:
    """A numpy scalar, such as numpy.int64."""

    name: str
    """The type without `numpy.`: `int64`, `bool`."""
    value: bool | int | float | complex

    def __repr__(self) -> str:
        """Return the repr of numpy 2: `np.float32(0.1)`."""
        value = self.value
        if isinstance(value, bool):
            return f"np.{value}_"
        if isinstance(value, complex):
            return f"np.{self.name}({self._complex_text(value)})"
        text = self._text(value) if isinstance(value, float) else str(value)
        return f"np.{self.name}({text})"

    def _text(self, value: float) -> str:
        """Return the shortest decimal that stands for no other value of the type."""
        if self.name not in _FLOAT_FORMATS or not math.isfinite(value) or value == 0:
            return repr(value)
        text = ""
        for digits in range(17):
            text = f"{value:.{digits}e}"
            if _round(float(text), self.name) == value:
                break
        # Compared exactly: the float32 nearest to 0.0001 is a little less.
        fixed = _FIXED_FROM <= abs(value) < _FIXED_BELOW
        return repr(float(text)) if fixed else text

    def _complex_text(self, value: complex) -> str:
        real, imag = (self._text(part).removesuffix(".0") for part in (value.real, value.imag))
        sign = "" if imag.startswith("-") else "+"
        if value.real == 0 and math.copysign(1, value.real) > 0:
            return f"{imag}j"
        return f"{real}{sign}{imag}j"


def numpy_scalar(classname: str, data: Any) -> NumpyScalar | None:
    """Return the scalar that numpy makes of serialized data; None for an array.

    Raises:
        ValueError, TypeError, OverflowError: numpy 2 raises it, too.
    """
    name = classname.removeprefix("numpy.").rstrip("_")
    if isinstance(data, list | tuple):
        return None
    if name == "bool":
        return NumpyScalar(name, bool(data))
    if "int" in name:
        return NumpyScalar(name, _integer(name, data))
    if name.startswith("complex"):
        number = complex(math.nan, math.nan) if data is None else complex(data)
        return NumpyScalar(name, complex(_round(number.real, name), _round(number.imag, name)))
    return NumpyScalar(name, _round(math.nan if data is None else float(data), name))


def _integer(name: str, data: Any) -> int:
    value = int(data)
    bits = int(name.removeprefix("u").removeprefix("int"))
    smallest = 0 if name.startswith("u") else -(2 ** (bits - 1))
    if not smallest <= value < smallest + 2**bits:
        raise OverflowError(f"Python integer {value} out of bounds for {name}")
    return value


def _round(value: float, name: str) -> float:
    """Return the nearest value of the type."""
    form = _FLOAT_FORMATS.get(name)
    if form is None or not math.isfinite(value):
        return value
    try:
        rounded: float = struct.unpack(form, struct.pack(form, value))[0]
    except OverflowError:
        return math.copysign(math.inf, value)
    return rounded
