"""Strict JSON (RFC 8259): a fast check, and a writer whose output is safe for terminals."""

from __future__ import annotations

import json
import math
import sys
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING

from xcomctl.text import UNSAFE, json_escaped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MAX_DIGITS = 1_000_000
"""Integers with more digits take minutes to parse, and no Airflow reads them."""


def is_strict(data: bytes) -> bool:
    """Return whether the bytes are strict JSON in UTF-8, without NaN and Infinity."""
    try:
        return is_json_text(data) and (data.isascii() or bool(data.decode("utf-8")))
    except UnicodeDecodeError:
        return False


def is_json_text(data: bytes) -> bool:
    """Return whether the bytes are strict JSON, assuming that they are valid UTF-8."""
    # The fast check refuses lone surrogates and deep nesting, which are valid JSON.
    return is_usual_json(data) or _is_strict_for_json_module(data)


def is_usual_json(data: bytes) -> bool:
    """Return whether the bytes are strict JSON without lone surrogates and not nested too deeply.

    Assumes that they are valid UTF-8: every token is parsed, but strings are not checked for it.
    """
    global _skim
    if _skim is None:
        # Imported late: only commands that read many values need it.
        import msgspec

        _skim = msgspec.json.Decoder(msgspec.Raw).decode
    try:
        _skim(data)
    except (ValueError, RecursionError):
        return False
    return True


_skim: Callable[[bytes], object] | None = None


def _is_strict_for_json_module(data: bytes) -> bool:
    try:
        text = data.decode("utf-8")
        with deep():
            json.loads(text, parse_constant=refuse, parse_int=len, parse_float=len)
    except (ValueError, RecursionError):
        return False
    return True


def refuse(token: str) -> None:
    """Refuse NaN and Infinity: a `parse_constant` for json.loads."""
    raise ValueError(token)


def to_float(text: str) -> float:
    """Return a number, which must not be too large: a `parse_float` for json.loads."""
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"{text[:40]} is out of range for a float")
    return number


@cache
def _encoder(indent: int | None) -> json.JSONEncoder:
    return json.JSONEncoder(ensure_ascii=False, allow_nan=False, indent=indent)


def dumps(value: object, *, indent: int | None = None) -> str:
    """Return strict JSON text in which characters that a terminal interprets are escaped.

    `value` is what `to_json` returns. All other characters are written as they are.
    """
    encode = _encoder(indent).encode
    try:
        text = encode(value)
    except (ValueError, RecursionError):
        # Few values need higher limits, and raising them takes as long as writing a value.
        with long_numbers(), deep():
            text = encode(value)
    if text.isascii() and "\x7f" not in text:
        return text
    lines = text.split("\n") if indent is not None else [text]
    return "\n".join(UNSAFE.sub(json_escaped, line) for line in lines)


@contextmanager
def long_numbers() -> Iterator[None]:
    """Raise Python's limit of 4,300 digits for converting integers."""
    before = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(MAX_DIGITS)
    try:
        yield
    finally:
        sys.set_int_max_str_digits(before)


@contextmanager
def deep() -> Iterator[None]:
    """Raise Python's recursion limit; deeper nesting still raises RecursionError."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(max(before, 5_000))
    try:
        yield
    finally:
        sys.setrecursionlimit(before)
