"""The opcodes of a pickle, read one after the other; nothing is loaded or run.

https://github.com/python/cpython/blob/main/Lib/pickletools.py describes every opcode.
"""

from __future__ import annotations

import codecs
import struct
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_LINE = -1
"""The argument is a line of text."""
_LENGTH_BYTES = {-2: 1, -3: 4, -4: 4, -5: 8}
"""Bytes that hold the argument's length, by pickletools' code for it."""
_MAX_DIGITS = 100_000


class PickleError(ValueError):
    """The bytes are not a valid pickle."""


class Long(NamedTuple):
    """A long argument that was skipped."""

    size: int
    """In bytes."""


class _Kind(NamedTuple):
    name: str
    fixed: int
    """Bytes of an argument of fixed length."""
    length_bytes: int
    lines: int
    decode: Callable[[bytes], object] | None


def opcodes(data: bytes, *, keep: int) -> Iterator[tuple[str, object, int]]:
    """Yield the name, argument and position of each opcode, up to STOP.

    Arguments of more than `keep` bytes are not decoded: a `Long` stands for them.

    Raises:
        PickleError: an unknown opcode, a broken argument, or no STOP before the end.
    """
    kinds, position, end = _kinds(), 0, len(data)
    while position < end:
        kind = kinds.get(data[position])
        if kind is None:
            raise PickleError(f"unknown opcode 0x{data[position]:02x} at {position}")
        start = position + 1
        if kind.decode is None:
            yield kind.name, None, position
            if kind.name == "STOP":
                return
            position = start
            continue
        start, stop, after = _argument(data, kind, start)
        if after > end:
            raise PickleError(f"the argument of {kind.name} at {position} is cut off")
        if stop - start > keep:
            yield kind.name, Long(stop - start), position
        else:
            try:
                argument = kind.decode(data[start:stop])
            except (ValueError, struct.error, IndexError) as error:
                raise PickleError(
                    f"the argument of {kind.name} at {position} is not valid"
                ) from error
            yield kind.name, argument, position
        position = after
    raise PickleError("the pickle has no end")


def _argument(data: bytes, kind: _Kind, start: int) -> tuple[int, int, int]:
    """Return where an argument begins and ends, and where the next opcode begins."""
    if kind.lines:
        after = start
        for _ in range(kind.lines):
            after = data.find(b"\n", after) + 1
            if not after:
                raise PickleError(f"the argument of {kind.name} at {start - 1} is cut off")
        return start, after - 1, after
    if kind.length_bytes:
        first = start + kind.length_bytes
        stop = first + int.from_bytes(data[start:first], "little")
        return first, stop, stop
    return start, start + kind.fixed, start + kind.fixed


@cache
def _kinds() -> dict[int, _Kind]:
    import pickletools

    found: dict[int, _Kind] = {}
    for one in pickletools.opcodes:
        size = one.arg.n if one.arg else 0
        lines = 0 if size != _LINE else 2 if one.name in ("GLOBAL", "INST") else 1
        decode = _DECODERS[one.arg.name] if one.arg else None
        length_bytes = _LENGTH_BYTES.get(size, 0)
        found[ord(one.code)] = _Kind(one.name, max(size, 0), length_bytes, lines, decode)
    return found


def _unsigned(data: bytes) -> int:
    return int.from_bytes(data, "little")


def _signed(data: bytes) -> int:
    return int.from_bytes(data, "little", signed=True)


def _float(data: bytes) -> float:
    number: float = struct.unpack(">d", data)[0]
    return number


def _decimal(line: bytes) -> int | bool:
    if line in (b"00", b"01"):
        return line == b"01"
    if len(line) > _MAX_DIGITS:
        raise ValueError("too many digits")
    return int(line)


def _long(line: bytes) -> int:
    return int(_decimal(line.removesuffix(b"L")))


def _quoted(line: bytes) -> bytes:
    """Return the bytes of a Python 2 string literal."""
    if len(line) < 2 or line[:1] != line[-1:] or line[:1] not in b"'\"":
        raise ValueError("not a string literal")
    text, _ = codecs.escape_decode(line[1:-1])
    return bytes(text)


def _utf8(data: bytes) -> str:
    return data.decode("utf-8", "surrogatepass")


def _pair(lines: bytes) -> str:
    return ".".join(one.decode("utf-8") for one in lines.split(b"\n"))


_DECODERS: dict[str, Callable[[bytes], object]] = {
    **dict.fromkeys(("uint1", "uint2", "uint4", "uint8"), _unsigned),
    **dict.fromkeys(("int4", "long1", "long4"), _signed),
    **dict.fromkeys(("string1", "string4", "bytes1", "bytes4", "bytes8"), bytes),
    **dict.fromkeys(("unicodestring1", "unicodestring4", "unicodestring8"), _utf8),
    "bytearray8": bytearray,
    "float8": _float,
    "decimalnl_short": _decimal,
    "decimalnl_long": _long,
    "floatnl": float,
    "stringnl": _quoted,
    "stringnl_noescape": bytes,
    "stringnl_noescape_pair": _pair,
    "unicodestringnl": lambda line: line.decode("raw-unicode-escape"),
}
