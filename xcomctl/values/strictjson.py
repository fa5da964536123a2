"""JSON text as the standard has it: checked quickly, and written so that a terminal obeys none of it."""

from __future__ import annotations

import json
import sys
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING

from xcomctl.text import UNSAFE, json_escaped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MAX_DIGITS = 1_000_000
"""Integers of more digits take minutes to read, and no Airflow can."""


def is_strict(data: bytes) -> bool:
    """Return whether the bytes are JSON text in UTF-8, without Python's NaN and Infinity."""
    try:
        return is_json_text(data) and (data.isascii() or bool(data.decode("utf-8")))
    except UnicodeDecodeError:
        return False


def is_json_text(data: bytes) -> bool:
    """Return whether the bytes are strict JSON, if what they hold beyond ASCII is UTF-8."""
    global _skim
    if _skim is None:
        # Only what reads values by the million needs it.
        import msgspec

        _skim = msgspec.json.Decoder(msgspec.Raw).decode
    try:
        # It looks at every token and builds nothing, but does not look into texts for UTF-8.
        _skim(data)
    except (ValueError, RecursionError):
        # It refuses half a surrogate pair and deep nesting, which are JSON all the same.
        return _is_strict_by_the_book(data)
    return True


_skim: Callable[[bytes], object] | None = None


def _is_strict_by_the_book(data: bytes) -> bool:
    try:
        text = data.decode("utf-8")
        with deep():
            json.loads(text, parse_constant=refuse, parse_int=len, parse_float=len)
    except (ValueError, RecursionError):
        return False
    return True


def refuse(token: str) -> None:
    """Refuse NaN and Infinity, as json.loads's parse_constant."""
    raise ValueError(token)


@cache
def _encoder(indent: int | None) -> json.JSONEncoder:
    return json.JSONEncoder(ensure_ascii=False, allow_nan=False, indent=indent)


def dumps(value: object, *, indent: int | None = None) -> str:
    """Return strict JSON text in which no character is one that a terminal would obey.

    `value` is what `to_json` returns. Other characters stay as they are, not escaped.
    """
    encode = _encoder(indent).encode
    try:
        text = encode(value)
    except (ValueError, RecursionError):
        # Few values need Python's limits moved, which takes as long as writing them.
        with long_numbers(), deep():
            text = encode(value)
    if text.isascii() and "\x7f" not in text:
        return text
    lines = text.split("\n") if indent is not None else [text]
    return "\n".join(UNSAFE.sub(json_escaped, line) for line in lines)


@contextmanager
def long_numbers() -> Iterator[None]:
    """Let integers of more than 4,300 digits be read and written."""
    before = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(MAX_DIGITS)
    try:
        yield
    finally:
        sys.set_int_max_str_digits(before)


@contextmanager
def deep() -> Iterator[None]:
    """Allow deeper nesting than Python does; what is deeper still raises RecursionError."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(max(before, 5_000))
    try:
        yield
    finally:
        sys.setrecursionlimit(before)
