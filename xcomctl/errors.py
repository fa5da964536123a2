"""Every way in which xcomctl can fail on purpose: each class carries its exit code.

Whoever raises writes the three parts: a lowercase primary line (what could not be done, to
what), the fact behind it, and a hint with the command or flag to try. `main()` prints them.
"""

from __future__ import annotations


class XcomctlError(Exception):
    """A failure that xcomctl foresaw, with its message in three parts."""

    exit_code = 70

    def __init__(self, message: str, *, detail: str | None = None, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.detail = detail
        self.hint = hint


class UsageError(XcomctlError):
    """The command line or the configuration asks for something that makes no sense."""

    exit_code = 2


class DatabaseError(XcomctlError):
    """The metadata DB could not be reached, refused, timed out or is not Airflow's."""

    exit_code = 3


class LockedError(DatabaseError):
    """Another session held the table or a row for longer than the lock timeout."""


class NotFoundError(XcomctlError):
    """There is no such XCom, run or task instance."""

    exit_code = 4


class RefusedError(XcomctlError):
    """It could be done, and was not, for safety."""

    exit_code = 5


class ClosedPipeError(XcomctlError):
    """Whoever read our stdout has gone; nothing is printed about it."""

    exit_code = 141


class Interrupted(BaseException):
    """Ctrl-C or SIGTERM.

    Not a KeyboardInterrupt, which the command-line library would turn into exit code 1.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.exit_code = 128 + signum
