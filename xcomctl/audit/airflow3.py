"""What the migration to Airflow 3 does to a stored value: stops at it, archives or alters it.

Airflow 3.0 turns the value column into JSON, and what that migration does first to what is no
JSON differs between its releases and between databases. Here is a model of it, made by running
the migrations of every release from 3.0.0 to 3.3.2 on SQLite, PostgreSQL 15, MySQL 9.7 and
MariaDB 10.11, and held to the real one by `tests/test_preflight.py`. No database is seen here.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from enum import Enum, IntEnum
from typing import TYPE_CHECKING, Any

from xcomctl.audit import rules
from xcomctl.errors import UsageError
from xcomctl.model import Size
from xcomctl.sizes.limits import MAX_JSONB
from xcomctl.values import decode, strictjson

if TYPE_CHECKING:
    from xcomctl.audit.rules import Rule
    from xcomctl.model import Raw

NEWEST = "3.3.2"
"""The newest release whose migration is known here."""

_MAX_ELEMENTS = 16_777_216
"""Of a jsonb array."""
_MAX_DEPTH = {"mysql": 100, "mariadb": 31, "sqlite": 2000}
"""Of nested arrays and objects; PostgreSQL's bound is its stack."""
_NUMERIC_DIGITS, _NUMERIC_SCALE = 131_072, 16_383
"""Digits before and after the point of PostgreSQL's numeric, which jsonb numbers are."""
_WALK_FROM = 12 * 2**20
"""A text below this cannot outgrow jsonb: written-out floats take 21 times their text."""


class Outcome(Enum):
    """What becomes of an XCom, the gravest first."""

    STOPS = "stops"
    """The migration fails there, and nothing is migrated."""
    LOST = "lost"
    ARCHIVED = "archived"
    ALTERED = "altered"

    @property
    def severity(self) -> rules.Severity:
        """Return an error where the upgrade or the value is lost."""
        grave = self in (Outcome.STOPS, Outcome.LOST)
        return rules.Severity.ERROR if grave else rules.Severity.WARNING


class _Step(IntEnum):
    """What a release does to NaN and Infinity before it converts the column."""

    NOTHING = 0
    NAN_ANYWHERE = 1
    """Each NaN, in texts too, becomes a string."""
    NAN_IN_PLACE = 2
    """A NaN between delimiters becomes a string."""
    ALL_QUOTED = 3
    """NaN and Infinity between delimiters become strings."""
    ALL_NULL = 4
    """They become null where the value is no JSON, and NUL escapes are dropped."""


_STEP_FROM = (
    ((3, 3, 2), _Step.ALL_NULL),
    ((3, 1, 8), _Step.ALL_QUOTED),
    ((3, 1, 3), _Step.NAN_IN_PLACE),
    ((3, 1, 0), _Step.NAN_ANYWHERE),
    ((3, 0, 0), _Step.NOTHING),
)


@dataclass(frozen=True, slots=True)
class Migration:
    """The migration of one release on one database product."""

    backend: str
    release: tuple[int, int, int]

    @property
    def step(self) -> _Step:
        """Return what it does to values that are no JSON."""
        return next(step for first, step in _STEP_FROM if self.release >= first)

    @property
    def passes(self) -> int:
        """Return how often it writes every value; the newest writes only those it must twice."""
        return 2 if _Step.NOTHING < self.step < _Step.ALL_NULL else 1

    @property
    def fails_anyway(self) -> bool:
        """Return whether it cannot succeed, whatever is stored.

        MariaDB's REGEXP_REPLACE takes three arguments, and these releases give it six.
        """
        return self.backend == "mariadb" and self.step >= _Step.NAN_IN_PLACE


def parse_release(text: str) -> tuple[int, int, int]:
    """Return the release of Airflow 3 that is named: `3.1.8`, or `3.1` for its newest.

    Raises:
        UsageError: it is none.
    """
    match = re.fullmatch(r"v?3\.(\d{1,3})(?:\.(\d{1,3}))?", text.strip())
    if not match:
        raise UsageError(
            f'"{text}" is no release of Airflow 3', hint=f"Give one such as --to {NEWEST}."
        )
    minor, patch = int(match[1]), match[2]
    return 3, minor, int(patch) if patch is not None else 999


@dataclass(frozen=True, slots=True)
class Problem:
    """What happens to one value, and why."""

    rule: Rule
    outcome: Outcome
    reason: str

    @property
    def better_moved(self) -> bool:
        """Return whether the row is to be out of the way before the upgrade."""
        if self.rule is rules.AIRFLOW3_LOST:
            return False
        return self.rule is rules.AIRFLOW3_DANGLING or self.outcome in (Outcome.STOPS, Outcome.LOST)


# --- one value --------------------------------------------------------------------------------


def judge(raw: Raw, migration: Migration) -> list[Problem]:
    """Return what the migration does to a stored value; empty where a task reads the same."""
    if raw is None or isinstance(raw, int | float):
        return []
    data = decode.to_bytes(raw)
    if data[:1] == b"\x80":
        return [
            Problem(rules.AIRFLOW3_PICKLE, Outcome.ARCHIVED, "moved to the table _xcom_archive")
        ]
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        return [_no_text(data, error, migration)]
    if not text:
        return [Problem(rules.AIRFLOW3_INVALID, Outcome.STOPS, "the value is empty")]
    changed, altered = _sanitised(text, migration)
    found = _examine(changed, migration.backend)
    if found.stops is not None:
        return [_stop(found.stops, text, changed, data)]
    return altered + found.altered


def _no_text(data: bytes, error: UnicodeDecodeError, migration: Migration) -> Problem:
    if decode.check(data, "bytes").health is decode.Health.PICKLED:
        return _old_pickle()
    reason = f"byte 0x{data[error.start]:02x} at {error.start} is no UTF-8"
    if migration.backend == "mysql":
        # CAST AS CHAR gives NULL there, with a warning that nobody sees.
        return Problem(rules.AIRFLOW3_ENCODING, Outcome.LOST, f"{reason}: it becomes SQL NULL")
    return Problem(rules.AIRFLOW3_ENCODING, Outcome.STOPS, reason)


def _old_pickle() -> Problem:
    reason = "a pickle of protocol 0 or 1, which is taken for JSON"
    return Problem(rules.AIRFLOW3_PICKLE, Outcome.STOPS, reason)


def _stop(problem: Problem, text: str, changed: str, data: bytes) -> Problem:
    """Return why the migration stops, in terms of what is stored now."""
    if problem.rule is not rules.AIRFLOW3_INVALID:
        return problem
    if decode.check(data, "bytes").health is decode.Health.PICKLED:
        return _old_pickle()
    if _lenient(text):
        reason = (
            "the migration changes these letters inside a text, and leaves no JSON"
            if _examine(text, "mariadb").stops is None
            else "NaN or Infinity, which this release does not replace"
            if changed == text
            else "NaN or Infinity, of which this release leaves no JSON"
        )
        return Problem(rules.AIRFLOW3_NAN, Outcome.STOPS, reason)
    if len(data) == 65_535:
        reason = f"{problem.reason}; 65,535 bytes is what a MySQL BLOB holds, so one cut it"
        return Problem(problem.rule, Outcome.STOPS, reason)
    return problem


def _lenient(text: str) -> bool:
    """Return whether Airflow 2 reads the text, which takes NaN and Infinity for JSON."""
    return decode.check(text.encode("utf-8"), "bytes").health in (
        decode.Health.VALID,
        decode.Health.DOUBLE,
    )


# --- what the migration changes first ---------------------------------------------------------

_NAN_PG = re.compile(r"([:,\[]\s*)NaN(\s*[,}\]])")
# Its `\\]` loses the backslash on the way, so that the class ends there.
_NAN_MYSQL = re.compile(r"(:|,|\[)[ ]*NaN[ ]*([,}]\])")
_ALL_PG = re.compile(r"([:,\[]\s*|^)(NaN|-?Infinity)(?=\s*[,}\]]|\Z)")
_ALL_MYSQL = re.compile(r"(:|,|\[|^)[ ]*(NaN|-?Infinity)(?=[ ]*[,}\]]|\Z)")
_NULL_MYSQL = re.compile(r"([:,\[][ ]*|^)(NaN|-?Infinity)(?=[ ]*[,}\]]|\Z)")


def _sanitised(text: str, migration: Migration) -> tuple[str, list[Problem]]:
    """Return the text as it is when the column is converted, and what a task reads differently."""
    altered: list[Problem] = []
    if migration.step is _Step.ALL_NULL and "\\u0000" in text:
        # As the migration does it: backslash pairs are put aside in a character of their own.
        stripped = text.replace("\\\\", "\x01").replace("\\u0000", "").replace("\x01", "\\\\")
        if stripped != text:
            reason = "the NUL character is dropped"
            altered.append(Problem(rules.AIRFLOW3_NUL, Outcome.ALTERED, reason))
            text = stripped
    if "NaN" not in text and "Infinity" not in text:
        return text, altered
    changed, into = _without_nan(text, migration)
    if changed != text:
        reason = f"NaN or Infinity become {into}"
        altered.append(Problem(rules.AIRFLOW3_NAN, Outcome.ALTERED, reason))
    return changed, altered


def _without_nan(text: str, migration: Migration) -> tuple[str, str]:
    step, backend = migration.step, migration.backend
    if step is _Step.NOTHING:
        return text, ""
    if step is _Step.NAN_ANYWHERE or (step is _Step.NAN_IN_PLACE and backend == "sqlite"):
        return text.replace("NaN", '"nan"'), "strings"
    if step is _Step.NAN_IN_PLACE:
        if backend == "postgresql":
            return _NAN_PG.sub(r'\1"nan"\2', text), "strings"
        # MySQL names a group $1: what is put in has the digits 1 and 2 around it.
        return _NAN_MYSQL.sub('1"nan"2', text), "strings"
    if step is _Step.ALL_QUOTED:
        if backend == "postgresql":
            return _ALL_PG.sub(r'\1"\2"', text), "strings"
        if backend == "sqlite":
            quoted = text.replace("NaN", '"NaN"').replace("Infinity", '"Infinity"')
            return quoted.replace('-"Infinity"', '"-Infinity"'), "strings"
        return _ALL_MYSQL.sub(r'\1"\2"', text), "strings"
    if _examine(text, backend).stops is None:
        return text, ""
    if backend == "sqlite":
        for token in ("-Infinity", "Infinity", "NaN"):
            text = text.replace(token, "null")
        return text, "null"
    pattern = _ALL_PG if backend == "postgresql" else _NULL_MYSQL
    return pattern.sub(r"\1null", text), "null"


# --- what the new column makes of it ----------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Found:
    stops: Problem | None
    altered: list[Problem]


class _Reading:
    """Collects what matters of a JSON text while it is parsed."""

    def __init__(self, backend: str) -> None:
        self.backend = backend
        self.stops: Problem | None = None
        self.altered: dict[Rule, Problem] = {}

    def constant(self, token: str) -> None:
        raise ValueError(f"{token} is no JSON")

    def pairs(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        value = dict(pairs)
        if len(value) < len(pairs) and self.backend in ("postgresql", "mysql"):
            reason = "of a key that is there twice, the first value is dropped"
            self._alters(rules.AIRFLOW3_DUPLICATE_KEY, reason)
        return value

    def integer(self, token: str) -> str:
        digits = len(token.lstrip("-"))
        if self.backend == "postgresql":
            if digits > _NUMERIC_DIGITS:
                self._stops(f"a number has {digits:,} digits, and jsonb holds {_NUMERIC_DIGITS:,}")
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
        """Look at a value that is nothing but a number, which SQLite makes one of its own."""
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


def _examine(text: str, backend: str) -> _Found:
    """Return what the database makes of a text that becomes JSON there."""
    deepest = _MAX_DEPTH.get(backend)
    depth = _depth(text)
    if deepest is not None and depth > deepest:
        reason = f"nested {depth:,} deep, and {backend} takes {deepest:,}"
        return _Found(Problem(rules.AIRFLOW3_TOO_LARGE, Outcome.STOPS, reason), [])
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
        return _Found(None, list(reading.altered.values()))
    except ValueError as error:
        reason = decode.problem(error)
        return _Found(Problem(rules.AIRFLOW3_INVALID, Outcome.STOPS, reason), [])
    stops = _escapes(text, backend) or reading.stops
    if stops is None and backend == "postgresql":
        stops = _too_large(text, value)
    if backend == "sqlite" and re.match(r"\s*-?\d", text):
        reading.scalar(text.strip())
    return _Found(stops, list(reading.altered.values()))


_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|.)", re.DOTALL)


def _escapes(text: str, backend: str) -> Problem | None:
    """Return what is wrong with the escapes of valid JSON, None where the database takes them."""
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
        reason = "half of a surrogate pair is no character"
        return Problem(rules.AIRFLOW3_SURROGATE, Outcome.STOPS, reason)
    if nul and backend == "postgresql":
        reason = "jsonb holds no NUL character, and this release does not drop it"
        return Problem(rules.AIRFLOW3_NUL, Outcome.STOPS, reason)
    return None


_STRUCTURE = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{}]', re.DOTALL)


def _depth(text: str) -> int:
    """Return how deeply arrays and objects are nested."""
    if text.count("[") + text.count("{") <= min(_MAX_DEPTH.values()):
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
    """Return a problem where the binary form outgrows jsonb."""
    if len(text) < _WALK_FROM and not re.search(r"[eE]\+?\d{3}", text):
        return None
    reasons: list[str] = []
    with strictjson.deep():
        _binary_size(value, reasons)
    return Problem(rules.AIRFLOW3_TOO_LARGE, Outcome.STOPS, reasons[0]) if reasons else None


def _binary_size(value: object, reasons: list[str]) -> int:
    """Return about how many bytes a value takes in jsonb, and note what is beyond its bounds."""
    if isinstance(value, dict | list):
        parts = [*value, *value.values()] if isinstance(value, dict) else value
        size = sum(_binary_size(one, reasons) for one in parts)
        if isinstance(value, list) and len(value) > _MAX_ELEMENTS:
            reasons.append(
                f"an array of {len(value):,} elements, and jsonb holds {_MAX_ELEMENTS:,}"
            )
        if size > MAX_JSONB:
            reasons.append(f"about {Size(size)} in binary form, and jsonb holds {MAX_JSONB}")
        return size + 4 + 4 * len(parts)
    if isinstance(value, str):
        # Numbers come as their tokens, whose digits take half a byte each, written out.
        size = _number_size(value) if re.fullmatch(r"-?\d[\d.eE+-]*", value) else 0
        size = max(size, len(value.encode("utf-8", "surrogatepass")))
        if size > MAX_JSONB:
            reasons.append(f"a string of {Size(size)}, and jsonb holds {MAX_JSONB}")
        return size
    return 0


def _number_size(token: str) -> int:
    try:
        number = Decimal(token)
    except InvalidOperation:
        return 0
    return 8 + max(abs(number.adjusted()), len(token)) // 2
