"""What a driver's error means: its kind, the reason in a few words, and what to try."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from xcomctl.errors import DatabaseError, LockedError, RefusedError, UsageError

if TYPE_CHECKING:
    from xcomctl.config.target import Target
    from xcomctl.errors import XcomctlError

Kind = Literal["other", "exists", "no parent", "value", "locked", "timeout", "lost", "option"]
"""What went wrong.

- `exists`: a row with that primary key exists.
- `no parent`: the row's task instance does not exist.
- `value`: the value or the key does not fit its column.
- `locked`: another session holds what was to be read or changed.
- `timeout`: the statement took longer than its bound.
- `lost`: the connection is gone, and nobody knows what the server did last.
- `option`: an option of the URL has a value that makes no sense.
"""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What an error means."""

    reason: str = ""
    """Completes "could not read the database: …"; empty where the error speaks for itself."""
    hint: str = ""
    kind: Kind = "other"

    def about(self, name: str) -> Diagnosis:
        """Return the diagnosis with a name put where its texts say `{0}`."""
        return replace(self, reason=self.reason.format(name), hint=self.hint.format(name))


UNREADABLE_ANSWER = Diagnosis(
    "the server's answer cannot be understood",
    "Check that nothing on the way, such as a proxy, changes it. Try again.",
)
READ_ONLY_VIEW = Diagnosis(
    "xcom is a view that cannot be written to",
    "Write to the table that it shows: name its database in the URL, or its schema with --schema.",
)
NOT_UTF8 = Diagnosis(
    "the server sent a text that is not UTF-8",
    "Filters that leave its row out avoid it. A PostgreSQL database in SQL_ASCII accepts any bytes.",
)


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What a statement or a connection was about when it failed."""

    target: Target
    connecting: bool
    writing: bool
    lock_timeout_s: float
    blockers: str = ""
    """Who was seen to block the statement, in sentences."""


def to_error(found: Diagnosis, said: str, at: Circumstances) -> XcomctlError:
    """Return the error to raise for a diagnosis. `said` is what the driver says."""
    verb = "connect to" if at.connecting else "write" if at.writing else "read"
    message = f'could not {verb} "{at.target.shown}"'
    if found.kind == "value" and at.writing:
        return RefusedError(
            "the database does not accept the value",
            detail=said,
            hint='Nothing was changed. "xcomctl limits" shows what fits.',
        )
    if found.kind == "option":
        return UsageError(
            f'invalid option in the url "{at.target.shown}"',
            detail=said,
            hint=f"The URL comes from {at.target.origin}.",
        )
    if found.kind == "locked" or (found.kind == "timeout" and at.blockers):
        return _locked(found, message, said, at)
    if found.kind == "timeout":
        found = Diagnosis(
            f"a statement took longer than {at.target.timeout_s or 0:g} s",
            "Narrow the filters, or raise --timeout (0 = none).",
        )
    if found.reason:
        message = f"{message}: {found.reason}"
    hint = found.hint or (
        f"The URL comes from {at.target.origin}."
        if at.connecting
        else 'The detail is the database\'s own message. "xcomctl info" shows what it runs.'
    )
    return DatabaseError(message, detail=said, hint=hint)


def _locked(found: Diagnosis, message: str, said: str, at: Circumstances) -> LockedError:
    bound, option = at.lock_timeout_s, "--lock-timeout"
    if not at.writing or found.kind == "timeout":
        bound, option = at.target.timeout_s or 0, "--timeout"
    for_long = f" for {bound:g} s" if bound else ""
    return LockedError(
        f"{message}: {found.reason or f'another session held the table or the row{for_long}'}",
        detail=f"{said.rstrip('.')}. {at.blockers}" if at.blockers else said,
        hint=found.hint
        or f"{'Nothing was changed. ' if at.writing else ''}"
        f"Try again when that session has ended its transaction, or raise {option}.",
    )
