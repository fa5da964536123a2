"""What the migration to Airflow 3 does to a stored value: stops at it, archives or alters it.

Airflow 3.0 turns the value column into JSON. What the migration first does to values that are not
JSON differs between releases and databases. This model comes from running the migrations of every
release from 3.0.0 to 3.3.2 on SQLite, PostgreSQL 15, MySQL 9.7 and MariaDB 10.11;
`tests/audit/test_preflight.py` compares it with the real one. Never sees a database.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

from xcomctl.audit import rules
from xcomctl.audit.json_column import examine
from xcomctl.audit.outcome import Outcome, Problem
from xcomctl.errors import UsageError
from xcomctl.values.context import Context
from xcomctl.values.envelopes import may_have_envelopes, pull_errors
from xcomctl.values.health import Health, check
from xcomctl.values.sniff import to_bytes
from xcomctl.values.strictjson import deep

if TYPE_CHECKING:
    from xcomctl.model import Raw
    from xcomctl.values.context import Release

NEWEST = "3.3.2"
"""The newest release that this model covers."""


class _Step(IntEnum):
    """What a release does to NaN and Infinity before it converts the column."""

    NOTHING = 0
    NAN_ANYWHERE = 1
    """Every NaN becomes a string, even the letters inside a string."""
    NAN_IN_PLACE = 2
    """A NaN between delimiters becomes a string."""
    ALL_QUOTED = 3
    """NaN and Infinity between delimiters become strings."""
    ALL_NULL = 4
    """If the value is not JSON they become null, and NUL escapes are dropped."""


_STEP_FROM = (
    ((3, 3, 2), _Step.ALL_NULL),
    ((3, 1, 8), _Step.ALL_QUOTED),
    ((3, 1, 3), _Step.NAN_IN_PLACE),
    ((3, 1, 0), _Step.NAN_ANYWHERE),
    ((3, 0, 0), _Step.NOTHING),
)


@dataclass(frozen=True, slots=True)
class Migration:
    """The migration of one release on one backend."""

    backend: str
    release: tuple[int, int, int]

    @property
    def step(self) -> _Step:
        """Return what it does to NaN and Infinity."""
        return next(step for first, step in _STEP_FROM if self.release >= first)

    @property
    def passes(self) -> int:
        """Return how many times it writes every value."""
        return 2 if _Step.NOTHING < self.step < _Step.ALL_NULL else 1

    @property
    def fails_anyway(self) -> bool:
        """Return whether it fails whatever is stored.

        These releases call REGEXP_REPLACE with six arguments; MariaDB's takes three.
        """
        return self.backend == "mariadb" and self.step >= _Step.NAN_IN_PLACE


def parse_release(text: str) -> tuple[int, int, int]:
    """Return the release of Airflow 3 named by `3.1.8`, or by `3.1` (patch 999, its newest).

    Raises:
        UsageError: the text is not a release of Airflow 3.
    """
    match = re.fullmatch(r"v?3\.(\d{1,3})(?:\.(\d{1,3}))?", text.strip())
    if not match:
        raise UsageError(
            f'"{text}" is not a release of Airflow 3', hint=f"Give one, such as --to {NEWEST}."
        )
    minor, patch = int(match[1]), match[2]
    return 3, minor, int(patch) if patch is not None else 999


def check_value(raw: Raw, migration: Migration) -> list[Problem]:
    """Return what the migration does to a stored value; empty if a task reads the same afterwards."""
    if raw is None or isinstance(raw, int | float):
        return []
    data = to_bytes(raw)
    if data[:1] == b"\x80":
        return [
            Problem(rules.AIRFLOW3_PICKLE, Outcome.ARCHIVED, "moved to the table _xcom_archive")
        ]
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        return [_not_text(data, error, migration)]
    if not text:
        return [Problem(rules.AIRFLOW3_INVALID, Outcome.STOPS, "the value is empty")]
    changed, altered = _sanitize(text, migration)
    found = examine(changed, migration.backend)
    if found.stops is not None:
        return [_stop(found.stops, text, changed, data)]
    return altered + _unreadable(changed, migration.release) + found.altered


def check_readable(raw: Raw, before: Release, after: Release) -> list[Problem]:
    """Return a problem if `xcom_pull` of one Airflow 3 reads a stored value, and a newer one does not."""
    if not isinstance(raw, bytes | str):
        return []
    text = to_bytes(raw).decode("utf-8", "replace")
    found = _unreadable(text, after)
    return found if found and not _unreadable(text, before) else []


def _unreadable(text: str, release: Release) -> list[Problem]:
    """Return a problem if the value is kept, and `xcom_pull` of the release cannot read it."""
    if not may_have_envelopes(text):
        return []
    context = Context(storage="json", release=release)
    try:
        with deep():
            errors = pull_errors(json.loads(text), context)
    except (ValueError, RecursionError):
        return []
    return [Problem(rules.AIRFLOW3_UNREADABLE, Outcome.UNREADABLE, one) for one in errors[:1]]


def _not_text(data: bytes, error: UnicodeDecodeError, migration: Migration) -> Problem:
    if check(data, "bytes").health is Health.PICKLED:
        return _old_pickle()
    reason = f"byte 0x{data[error.start]:02x} at {error.start} is not UTF-8"
    if migration.backend == "mysql":
        # CAST AS CHAR returns NULL, with a warning that nobody sees.
        return Problem(
            rules.AIRFLOW3_ENCODING, Outcome.LOST, f"{reason}; the value becomes SQL NULL"
        )
    return Problem(rules.AIRFLOW3_ENCODING, Outcome.STOPS, reason)


def _old_pickle() -> Problem:
    reason = "a pickle of protocol 0 or 1, which the migration treats as JSON"
    return Problem(rules.AIRFLOW3_PICKLE, Outcome.STOPS, reason)


def _stop(problem: Problem, text: str, changed: str, data: bytes) -> Problem:
    """Return why the migration stops, in terms of the value as it is stored now."""
    if problem.rule is not rules.AIRFLOW3_INVALID:
        return problem
    if check(data, "bytes").health is Health.PICKLED:
        return _old_pickle()
    if _lenient(text):
        reason = (
            "the migration changes the letters NaN inside a string, and the result is not JSON"
            if examine(text, "mariadb").stops is None
            else "NaN or Infinity, which this release does not replace"
            if changed == text
            else "NaN or Infinity, and what this release makes of it is not JSON"
        )
        return Problem(rules.AIRFLOW3_NAN, Outcome.STOPS, reason)
    if len(data) == 65_535:
        reason = (
            f"{problem.reason}; 65,535 bytes is the capacity of a MySQL BLOB, which truncated it"
        )
        return Problem(problem.rule, Outcome.STOPS, reason)
    return problem


def _lenient(text: str) -> bool:
    """Return whether Airflow 2 reads the text: it accepts NaN and Infinity."""
    return check(text.encode("utf-8"), "bytes").health in (
        Health.VALID,
        Health.DOUBLE,
    )


_NAN_PG = re.compile(r"([:,\[]\s*)NaN(\s*[,}\]])")
# In its `\\]` the backslash gets lost, so the character class ends there.
_NAN_MYSQL = re.compile(r"(:|,|\[)[ ]*NaN[ ]*([,}]\])")
_ALL_PG = re.compile(r"([:,\[]\s*|^)(NaN|-?Infinity)(?=\s*[,}\]]|\Z)")
_ALL_MYSQL = re.compile(r"(:|,|\[|^)[ ]*(NaN|-?Infinity)(?=[ ]*[,}\]]|\Z)")
_NULL_MYSQL = re.compile(r"([:,\[][ ]*|^)(NaN|-?Infinity)(?=[ ]*[,}\]]|\Z)")


def _sanitize(text: str, migration: Migration) -> tuple[str, list[Problem]]:
    """Return the text as the migration changes it before the conversion, and what that alters."""
    altered: list[Problem] = []
    if migration.step is _Step.ALL_NULL and "\\u0000" in text:
        # Same as the migration: pairs of backslashes are replaced by a placeholder first.
        stripped = text.replace("\\\\", "\x01").replace("\\u0000", "").replace("\x01", "\\\\")
        if stripped != text:
            reason = "the NUL character is dropped"
            altered.append(Problem(rules.AIRFLOW3_NUL, Outcome.ALTERED, reason))
            text = stripped
    if "NaN" not in text and "Infinity" not in text:
        return text, altered
    changed, into = _without_nan(text, migration)
    if changed != text:
        reason = f"NaN or Infinity becomes {into}"
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
        # MySQL refers to a group as $1, so the digits 1 and 2 are inserted literally.
        return _NAN_MYSQL.sub('1"nan"2', text), "strings"
    if step is _Step.ALL_QUOTED:
        if backend == "postgresql":
            return _ALL_PG.sub(r'\1"\2"', text), "strings"
        if backend == "sqlite":
            quoted = text.replace("NaN", '"NaN"').replace("Infinity", '"Infinity"')
            return quoted.replace('-"Infinity"', '"-Infinity"'), "strings"
        return _ALL_MYSQL.sub(r'\1"\2"', text), "strings"
    if examine(text, backend).stops is None:
        return text, ""
    if backend == "sqlite":
        for token in ("-Infinity", "Infinity", "NaN"):
            text = text.replace(token, "null")
        return text, "null"
    pattern = _ALL_PG if backend == "postgresql" else _NULL_MYSQL
    return pattern.sub(r"\1null", text), "null"
