"""What each backend's JSON column refuses or alters: depth, numbers, escapes, size.

Never sees a database; `tests/audit/test_preflight.py` compares this with real ones.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

from xcomctl.audit import rules
from xcomctl.audit.key_order import is_in_order
from xcomctl.audit.outcome import Outcome, Problem
from xcomctl.model import Size
from xcomctl.sizes.limits import MAX_JSONB
from xcomctl.values import strictjson
from xcomctl.values.health import describe_error

if TYPE_CHECKING:
    from xcomctl.audit.rule import Rule

_MAX_ELEMENTS = 16_777_216
"""Elements of a jsonb array."""
MAX_DEPTH = {"mysql": 100, "mariadb": 31, "sqlite": 2000}
"""Levels of nested arrays and objects; PostgreSQL is limited by its stack only."""
_NUMERIC_DIGITS, _NUMERIC_SCALE = 131_072, 16_383
"""Digits before and after the decimal point of PostgreSQL's numeric, the type of jsonb numbers.

https://www.postgresql.org/docs/current/datatype-numeric.html
"""
WALK_FROM = 12 * 2**20
"""Texts shorter than this always fit jsonb: a float takes at most 21 times its text."""

REORDERED = Problem(
    rules.AIRFLOW3_KEY_ORDER,
    Outcome.REORDERED,
    "the keys of objects are sorted by length, then by bytes",
)


@dataclass(frozen=True, slots=True)
class ColumnResult:
    """What a JSON column does to a text: why it refuses it, or else what it alters."""

    stops: Problem | None
    altered: list[Problem]


class _Reading:
    """Collects problems while a JSON text is parsed; its methods are hooks of `json.loads`."""

    def __init__(self, backend: str) -> None:
        self.backend = backend
        self.stops: Problem | None = None
        self.altered: dict[Rule, Problem] = {}
        self.reordered = False
        """Whether an object's keys are stored in another order."""

    def constant(self, token: str) -> None:
        raise ValueError(f"{token} is not JSON")

    def pairs(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        # Of a key that occurs twice the last value is kept, which is also the one that a task reads.
        value = dict(pairs)
        if not self.reordered and len(value) > 1 and self.backend in ("postgresql", "mysql"):
            self.reordered = not is_in_order(tuple(value))
        return value

    def integer(self, token: str) -> str:
        digits = len(token.lstrip("-"))
        if self.backend == "postgresql":
            if digits > _NUMERIC_DIGITS:
                self._stops(f"a number has {digits:,} digits; jsonb holds {_NUMERIC_DIGITS:,}")
        elif self.backend == "mysql" and digits > 18:
            if digits > 400 or abs(float(token)) == float("inf"):
                self._stops("a number is too large for a double")
            elif not -(2**63) <= int(token) < 2**64:
                self._alters(rules.AIRFLOW3_NUMBER, "an integer beyond 64 bits is rounded")
        return token

    def real(self, token: str) -> str:
        if self.backend == "postgresql":
            self._numeric(token)
        elif self.backend == "mysql" and abs(float(token)) == float("inf"):
            self._stops("a number is too large for a double")
        return token

    def _numeric(self, token: str) -> None:
        try:
            number = Decimal(token)
        except InvalidOperation:
            self._stops("a number is beyond what jsonb holds")
            return
        exponent = number.as_tuple().exponent
        scale = -exponent if isinstance(exponent, int) else 0
        if (number and number.adjusted() >= _NUMERIC_DIGITS) or scale > _NUMERIC_SCALE:
            self._stops("a number is beyond what jsonb holds")
        elif scale <= 0:
            self._alters(rules.AIRFLOW3_NUMBER, "a float comes back as an integer")
        elif not number and number.is_signed():
            self._alters(rules.AIRFLOW3_NUMBER, "-0.0 comes back as 0.0")

    def scalar(self, token: str) -> None:
        """Check a value that is a single number: SQLite's NUMERIC affinity converts it."""
        if "." not in token and "e" not in token.lower():
            if len(token) > 18 and not -(2**63) <= int(Decimal(token)) < 2**63:
                self._alters(rules.AIRFLOW3_NUMBER, "an integer beyond 64 bits is rounded")
            return
        number = float(token)
        if abs(number) == float("inf"):
            self._alters(rules.AIRFLOW3_NUMBER, "a number beyond a double becomes infinite")
        elif number.is_integer() and abs(number) < 2**63:
            self._alters(rules.AIRFLOW3_NUMBER, "a float comes back as an integer")

    def _stops(self, reason: str) -> None:
        self.stops = self.stops or Problem(rules.AIRFLOW3_NUMBER, Outcome.STOPS, reason)

    def _alters(self, rule: Rule, reason: str) -> None:
        self.altered.setdefault(rule, Problem(rule, Outcome.ALTERED, reason))


def examine(text: str, backend: str) -> ColumnResult:
    """Return what the backend's JSON column does to a text."""
    deepest = MAX_DEPTH.get(backend)
    depth = _depth(text)
    if deepest is not None and depth > deepest:
        reason = f"nested {depth:,} levels deep; {backend} takes {deepest:,}"
        return ColumnResult(Problem(rules.AIRFLOW3_TOO_LARGE, Outcome.STOPS, reason), [])
    reading = _Reading(backend)
    try:
        with strictjson.deep():
            value = json.loads(
                text,
                parse_int=reading.integer,
                parse_float=reading.real,
                parse_constant=reading.constant,
                object_pairs_hook=reading.pairs,
            )
    except RecursionError:
        return ColumnResult(None, list(reading.altered.values()))
    except ValueError as error:
        reason = describe_error(error)
        return ColumnResult(Problem(rules.AIRFLOW3_INVALID, Outcome.STOPS, reason), [])
    stops = _escapes(text, backend) or reading.stops
    if stops is None and backend == "postgresql":
        stops = _too_large(text, value)
    if backend == "sqlite" and re.match(r"\s*-?\d", text):
        reading.scalar(text.strip())
    altered = list(reading.altered.values())
    if reading.reordered:
        altered.append(REORDERED)
    return ColumnResult(stops, altered)


_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|.)", re.DOTALL)


def _escapes(text: str, backend: str) -> Problem | None:
    """Return the problem with the escapes in valid JSON, or None if the backend accepts them."""
    if backend == "sqlite" or "\\u" not in text:
        return None
    high_end = -1
    lone = nul = False
    for match in _ESCAPE.finditer(text):
        code = int(match[1], 16) if match[1] else -1
        low = 0xDC00 <= code <= 0xDFFF
        lone |= low != (high_end == match.start())
        high_end = match.end() if 0xD800 <= code <= 0xDBFF else -2
        lone |= high_end > 0 and text[high_end : high_end + 2] != "\\u"
        nul |= code == 0
    if lone:
        reason = "a lone surrogate is not valid Unicode"
        return Problem(rules.AIRFLOW3_SURROGATE, Outcome.STOPS, reason)
    if nul and backend == "postgresql":
        reason = "jsonb cannot store a NUL character, and this release does not drop it"
        return Problem(rules.AIRFLOW3_NUL, Outcome.STOPS, reason)
    return None


_STRUCTURE = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{}]', re.DOTALL)


def _depth(text: str) -> int:
    """Return how deeply arrays and objects are nested; 0 if certainly within every backend's limit."""
    if text.count("[") + text.count("{") <= min(MAX_DEPTH.values()):
        return 0
    depth = deepest = 0
    for match in _STRUCTURE.finditer(text):
        if match[0] in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif match[0] in "]}":
            depth -= 1
    return deepest


def _too_large(text: str, value: object) -> Problem | None:
    """Return a problem if the binary form exceeds jsonb's limits."""
    if len(text) < WALK_FROM and not re.search(r"[eE]\+?\d{3}", text):
        return None
    reasons: list[str] = []
    with strictjson.deep():
        _binary_size(value, reasons)
    return Problem(rules.AIRFLOW3_TOO_LARGE, Outcome.STOPS, reasons[0]) if reasons else None


def surely_fits_jsonb(text: bytes, *, small_numbers: int) -> bool:
    """Return whether a strict JSON text certainly fits, if its only exponents are like that of 1e-99.

    A value takes at most the bytes of its text and 16 more, 64 more if it has an exponent, and
    there are at most as many values and keys as there are these characters.
    """
    parts = 1 + sum(text.count(one) for one in (b",", b":", b"[", b"{"))
    size = len(text) + 16 * parts + 64 * small_numbers
    return parts <= _MAX_ELEMENTS and size <= MAX_JSONB


def _binary_size(value: object, reasons: list[str]) -> int:
    """Return the approximate size of a value in jsonb, in bytes; append to `reasons` what exceeds it."""
    if isinstance(value, dict | list):
        parts = [*value, *value.values()] if isinstance(value, dict) else value
        size = sum(_binary_size(one, reasons) for one in parts)
        if isinstance(value, list) and len(value) > _MAX_ELEMENTS:
            reasons.append(f"an array of {len(value):,} elements; jsonb holds {_MAX_ELEMENTS:,}")
        if size > MAX_JSONB:
            reasons.append(f"about {Size(size)} in binary form; jsonb holds {MAX_JSONB}")
        return size + 4 + 4 * len(parts)
    if isinstance(value, str):
        # Numbers come as their tokens. Their digits, written out, take half a byte each.
        size = _number_size(value) if re.fullmatch(r"-?\d[\d.eE+-]*", value) else 0
        size = max(size, len(value.encode("utf-8", "surrogatepass")))
        if size > MAX_JSONB:
            reasons.append(f"a string of {Size(size)}; jsonb holds {MAX_JSONB}")
        return size
    return 0


def _number_size(token: str) -> int:
    try:
        number = Decimal(token)
    except InvalidOperation:
        return 0
    return 8 + max(abs(number.adjusted()), len(token)) // 2
