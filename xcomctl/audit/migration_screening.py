"""Which values of a page an upgrade may touch, found a megabyte at a time.

`airflow3.check_value` decides on each of these; every other value stays as it is, except for the
order of keys, which is decided here.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from xcomctl.audit.json_column import MAX_DEPTH, WALK_FROM, surely_fits_jsonb
from xcomctl.audit.key_order import loses_key_order
from xcomctl.audit.screening import not_utf8
from xcomctl.values.literals import Literals
from xcomctl.values.strictjson import is_usual_json

if TYPE_CHECKING:
    from collections.abc import Iterator

    from xcomctl.audit.airflow3 import Migration
    from xcomctl.exchange.pages import Page

_ENVELOPES = (b'"__classname__', b'"__type', b"\\u005", b"\\u006", b"\\u007")
"""One of these is in every text for which `envelopes.may_have_envelopes` is true."""
_MAY_HAVE_ENVELOPES: Final = Literals(_ENVELOPES)
_MAY_CHANGE: Final = Literals([b"NaN", b"Infinity", b"\\u0000", *_ENVELOPES])
_EXPONENTS: Final = Literals([b"%d%c" % (digit, e) for digit in range(10) for e in b"eE"])
_EXPONENT = re.compile(rb'(?:\A|[\[:,\s"])-?[\d.]+[eE]\Z')
_EXPONENT_ANYWHERE = re.compile(rb'[\[:,\s"]-?\d[\d.]*[eE]')
_SMALL = re.compile(rb"-\d\d?(?![\d.eE+-])")
"""The rest of a number that is not zero and has digits behind the point, but not many."""
_NOT_ZERO = re.compile(rb"[1-9]")
_BEFORE_EXPONENT = 40
"""Bytes before an exponent in which the number's start is looked for."""
_MINUS_ZERO = re.compile(rb"-0\.0*(?!\d)")
_LONG_INTEGER = re.compile(rb"\d{19}")
_ZERO_FOR_DIGIT = bytes.maketrans(b"123456789", b"000000000")
_SCALAR = re.compile(rb"\n[ \t\r\n]*-?(?:\d{19}|\d+[.eE])")
"""A value that is a single number, and that SQLite may not store as it is."""
_MAX_SCALE = 16_383
_EVERY = 1_000
_DIGITS = re.compile(rb"\d{8}")
"""Digits in a row when only every thousandth byte is left: half as many as a number that is too long
has, so that eight of them are together wherever the search begins."""
_NOT_MARKS = bytes(byte for byte in range(256) if byte not in b'[]{}"')


def screen(page: Page, migration: Migration) -> tuple[set[int], set[int]]:
    """Return the indexes of the values to be checked one by one, and of those that lose key order.

    For every other value `airflow3.check_value` returns no problem.
    """
    backend, text = migration.backend, page.text
    found = not_utf8(page)
    found.update(
        at for at, value in enumerate(page.values) if value is not None and not is_usual_json(value)
    )
    places = _MAY_CHANGE.ends(text)
    if backend == "sqlite":
        places += [match.end() for match in _SCALAR.finditer(text)]
    elif backend == "mysql":
        places += [*_exponents(text), *_long_integers(text)]
    elif backend == "postgresql":
        places += [*_exponents(text), *_minus_zeros(text)]
        found |= _large_for_jsonb(page)
    found |= page.holders(place - 1 for place in places)
    if backend in MAX_DEPTH:
        found |= _too_deep(page, MAX_DEPTH[backend], found)
    found = {at for at in found if page.values[at] is not None}
    reordered: set[int] = set()
    if backend in ("postgresql", "mysql") and b"{" in text:
        for at, value in enumerate(page.values):
            if value is None or at in found or b"{" not in value:
                continue
            loses = loses_key_order(value)
            if loses:
                reordered.add(at)
            elif loses is None:
                found.add(at)
    return found, reordered


def unreadable_suspects(page: Page) -> set[int]:
    """Return the indexes of the values that may have an envelope."""
    found = page.holders(end - 1 for end in _MAY_HAVE_ENVELOPES.ends(page.text))
    return {at for at in found if page.values[at] is not None}


def _exponents(text: bytes) -> Iterator[int]:
    """Yield a place in each number that has an exponent, and in strings that look like one.

    But for those of numbers such as 1.5e-05, which every column holds as they are.
    """
    ends = _EXPONENTS.ends(text)
    if len(ends) > len(text) // 200:
        # Hexadecimal digits are full of what looks like an exponent.
        found = ((match.end(), match[0]) for match in _EXPONENT_ANYWHERE.finditer(text))
    else:
        found = (
            (end, match[0])
            for end in ends
            if (match := _EXPONENT.search(text[max(0, end - _BEFORE_EXPONENT) : end]))
        )
    for end, number in found:
        if not (_SMALL.match(text, end) and _NOT_ZERO.search(number)):
            yield end


def _minus_zeros(text: bytes) -> Iterator[int]:
    """Yield a place in each -0.0, which jsonb holds without its sign."""
    for match in _MINUS_ZERO.finditer(text):
        if text[match.start() - 1] in b"[:, \t\r\n":
            yield match.end()


def _long_integers(text: bytes) -> Iterator[int]:
    """Yield a place in each run of 19 digits or more."""
    # Such a run has 6 digits in a row among every third byte, wherever it begins.
    sample = text[::3].translate(_ZERO_FOR_DIGIT)
    at = sample.find(b"000000")
    while at >= 0:
        begin = 3 * at
        if text[begin : begin + 16].isdigit():
            long = _LONG_INTEGER.search(text, max(0, begin - 18), begin + 34)
            if long:
                yield long.end()
        at = sample.find(b"000000", at + 1)


def _large_for_jsonb(page: Page) -> set[int]:
    """Return the indexes of the values with which jsonb may have trouble because of their length."""
    return {
        at
        for at, value in enumerate(page.values)
        if value is not None and len(value) > _MAX_SCALE and _may_exceed_jsonb(value)
    }


def _may_exceed_jsonb(value: bytes) -> bool:
    for match in _DIGITS.finditer(value[::_EVERY]):
        if value[match.start() * _EVERY : (match.end() - 1) * _EVERY].isdigit():
            return True
    if len(value) < WALK_FROM:
        return False
    return not surely_fits_jsonb(value, small_numbers=len(_EXPONENTS.ends(value)))


def _too_deep(page: Page, most: int, known: set[int]) -> set[int]:
    """Return the indexes of the values, other than the known ones, that may be nested too deeply."""
    others = {at: one for at, one in enumerate(page.values) if one is not None and at not in known}
    if _is_flat(b"".join(others.values()) if known else page.text, most):
        return set()
    return {
        at
        for at, value in others.items()
        if value.count(b"[") + value.count(b"{") > most and not _is_flat(value, most)
    }


def _is_flat(text: bytes, most: int) -> bool:
    """Return whether one or more JSON texts are certainly nested at most that deeply.

    Only brackets and quotes are left of them. If no string has a bracket in it, all quotes are then
    in pairs, and taking out empty pairs of brackets takes out the innermost levels.
    """
    if b"\\" in text:
        text = text.replace(b"\\\\", b"").replace(b'\\"', b"")
    marks = text.translate(None, _NOT_MARKS).replace(b'""', b"")
    if b'"' in marks:
        return False
    # Each time takes out one level, or two.
    for _ in range(min(most, 31) // 2):
        if not marks:
            return True
        marks = marks.replace(b"[]", b"").replace(b"{}", b"")
    return not marks
