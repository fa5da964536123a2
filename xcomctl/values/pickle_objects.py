"""Objects in pickles: values of a few standard types, and what stands for all others.

Nothing that a pickle names is imported or called: each type has code of its own here.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import UUID

from xcomctl.values.numpy_scalars import NumpyScalar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    MakeSet = Callable[[Any], set[Any]]


class TooMuchError(Exception):
    """A limit was reached; the message says which."""


@dataclass(frozen=True, slots=True)
class Named:
    """What a pickle would import."""

    name: str


@dataclass(slots=True, eq=False)
class Built:
    """What a pickle would get by calling something that it imports."""

    name: str
    """What is called."""
    arguments: Any = ()
    state: Any = None
    elements: list[Any] = field(default_factory=list)
    """What would be appended or set."""


_RECONSTRUCTORS = ("copyreg._reconstructor", "copy_reg._reconstructor", "copyreg.__newobj__")
"""Helpers that make an object of the class that is their first argument."""


def made(name: str, arguments: tuple[Any, ...], make_set: MakeSet) -> Any:
    """Return the value that a call of this name would, or what stands for it."""
    if name in _RECONSTRUCTORS and arguments and isinstance(arguments[0], Named):
        return Built(arguments[0].name, arguments[1:])
    maker = _MAKERS.get(name.replace("__builtin__.", "builtins.", 1))
    if maker is None:
        return Built(name, arguments)
    try:
        return maker(arguments, make_set)
    except (TypeError, ValueError, ArithmeticError, LookupError, AttributeError, struct.error):
        return Built(name, arguments)


def with_state(target: Any, state: Any) -> Any:
    """Return an object with its state set: a UUID, or what stands for it."""
    if not isinstance(target, Built):
        raise TypeError("the state of a plain value is set")
    if target.name == "uuid.UUID" and isinstance(state, dict) and isinstance(state.get("int"), int):
        return UUID(int=state["int"])
    target.state = state
    return target


def _bytes(arguments: tuple[Any, ...], _: MakeSet) -> bytes:
    """Return what `_codecs.encode(text, "latin1")` does: bytes in pickles of protocol 0 to 2."""
    text, encoding = arguments
    if encoding not in ("latin1", "latin-1"):
        raise ValueError("another encoding")
    encoded: bytes = text.encode("latin-1")
    return encoded


def _bytearray(arguments: tuple[Any, ...], _: MakeSet) -> bytearray:
    first = arguments[0] if arguments else b""
    if isinstance(first, str):
        first = first.encode("latin-1")
    if not isinstance(first, bytes):
        raise TypeError("not bytes")
    return bytearray(first)


def _packed(value: Any, length: int) -> bytes:
    data = value.encode("latin-1") if isinstance(value, str) else value
    if not isinstance(data, bytes) or len(data) != length:
        raise ValueError("not a packed time")
    return data


def _datetime(arguments: tuple[Any, ...], _: MakeSet) -> datetime:
    data = _packed(arguments[0], 10)
    month, fold = data[2] & 0x7F, data[2] >> 7
    zone = arguments[1] if len(arguments) > 1 else None
    return datetime(
        int.from_bytes(data[:2]), month, data[3], data[4], data[5], data[6],
        int.from_bytes(data[7:]), zone, fold=fold,
    )  # fmt: skip


def _date(arguments: tuple[Any, ...], _: MakeSet) -> date:
    data = _packed(arguments[0], 4)
    return date(int.from_bytes(data[:2]), data[2], data[3])


def _time(arguments: tuple[Any, ...], _: MakeSet) -> time:
    data = _packed(arguments[0], 6)
    zone = arguments[1] if len(arguments) > 1 else None
    hour, fold = data[0] & 0x7F, data[0] >> 7
    return time(hour, data[1], data[2], int.from_bytes(data[3:]), zone, fold=fold)


def _no_bytes(arguments: tuple[Any, ...], _: MakeSet) -> bytes:
    if arguments:
        raise ValueError("no pickle of bytes has arguments")
    return b""


def _empty_dict(arguments: tuple[Any, ...], _: MakeSet) -> dict[Any, Any]:
    if arguments:
        raise ValueError("items are set by a separate opcode")
    return {}


NUMPY_TYPES = {
    "f2": ("float16", "e"), "f4": ("float32", "f"), "f8": ("float64", "d"), "b1": ("bool", "?"),
    "i1": ("int8", "b"), "i2": ("int16", "h"), "i4": ("int32", "i"), "i8": ("int64", "q"),
    "u1": ("uint8", "B"), "u2": ("uint16", "H"), "u4": ("uint32", "I"), "u8": ("uint64", "Q"),
}  # fmt: skip
"""Name and struct format by numpy's type code."""


def _numpy_scalar(arguments: tuple[Any, ...], _: MakeSet) -> NumpyScalar:
    kind, data = arguments
    name, form = NUMPY_TYPES[kind.arguments[0]]
    order = ">" if kind.state and kind.state[1] == ">" else "<"
    (value,) = struct.unpack(order + form, _packed(data, struct.calcsize(order + form)))
    return NumpyScalar(name, value)


_MAKERS: dict[str, Callable[[tuple[Any, ...], MakeSet], Any]] = {
    "builtins.set": lambda arguments, make_set: make_set(*arguments),
    "builtins.frozenset": lambda arguments, make_set: frozenset(make_set(*arguments)),
    "builtins.bytes": _no_bytes,
    "builtins.bytearray": _bytearray,
    "builtins.complex": lambda arguments, _: complex(*arguments),
    "_codecs.encode": _bytes,
    "collections.OrderedDict": _empty_dict,
    "datetime.datetime": _datetime,
    "datetime.date": _date,
    "datetime.time": _time,
    "datetime.timedelta": lambda arguments, _: timedelta(*arguments),
    "datetime.timezone": lambda arguments, _: timezone(*arguments),
    "decimal.Decimal": lambda arguments, _: Decimal(*arguments),
    "numpy.core.multiarray.scalar": _numpy_scalar,
    "numpy._core.multiarray.scalar": _numpy_scalar,
}


def foreign_names(value: Any) -> list[str]:
    """Return the names of what a value contains that stands for an import, without duplicates."""
    found: dict[str, None] = {}
    seen: set[int] = set()
    stack = [value]
    while stack:
        one = stack.pop()
        if isinstance(one, Named | Built):
            found[one.name] = None
        elif isinstance(one, _CONTAINERS) and id(one) not in seen:
            seen.add(id(one))
            stack.extend(_children(one))
    return list(found)


_CONTAINERS = (list, tuple, dict, set, frozenset)


def _children(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        yield from value
        yield from value.values()
    else:
        yield from value


def measure(value: Any, most: int) -> int:
    """Return about how many bytes a value takes written out, shared objects at every use.

    Raises:
        TooMuchError: it is more than `most`, or the value contains itself.
    """
    sizes: dict[int, int] = {}
    unfinished: set[int] = set()
    stack = [(value, _children(value))] if isinstance(value, _CONTAINERS) else []
    while stack:
        current, children = stack[-1]
        unfinished.add(id(current))
        for child in children:
            if not isinstance(child, _CONTAINERS) or id(child) in sizes:
                continue
            if id(child) in unfinished:
                raise TooMuchError("its value contains itself")
            stack.append((child, _children(child)))
            break
        else:
            total = 2 + sum(_size(child, sizes) for child in _children(current))
            if total > most:
                raise TooMuchError("its value is too large")
            sizes[id(current)] = total
            unfinished.remove(id(current))
            stack.pop()
    return _size(value, sizes)


def _size(value: Any, sizes: dict[int, int]) -> int:
    if isinstance(value, _CONTAINERS):
        return sizes[id(value)]
    return 8 + len(value) if isinstance(value, str | bytes | bytearray) else 8
