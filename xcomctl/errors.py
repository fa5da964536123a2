"""The errors that xcomctl raises on purpose. Each class carries its exit code.

An error has three parts: the message (one lowercase line: what failed, and for what), the
detail (the fact behind it) and the hint (a command or option to try). `cli.main` prints them.
"""

from __future__ import annotations


class XcomctlError(Exception):
    """An expected failure, with its message in three parts."""

    exit_code = 70

    def __init__(self, message: str, *, detail: str | None = None, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.detail = detail
        self.hint = hint


class UsageError(XcomctlError):
    """An invalid command line or configuration."""

    exit_code = 2


class DatabaseError(XcomctlError):
    """The metadata database is unreachable, refused, timed out or is not Airflow's."""

    exit_code = 3


class LockedError(DatabaseError):
    """Another session held the table or a row for longer than the lock timeout."""


class UnknownOutcomeError(DatabaseError):
    """The connection was lost during COMMIT, so nobody knows here whether the change was made."""


class NotFoundError(XcomctlError):
    """The named XCom, run or task instance does not exist."""

    exit_code = 4


class RefusedError(XcomctlError):
    """The request is possible and was refused for safety."""

    exit_code = 5


class ClosedPipeError(XcomctlError):
    """The reader of stdout has gone. Nothing is printed about it."""

    exit_code = 141


class Interrupted(BaseException):
    """Ctrl-C, SIGTERM or SIGHUP.

    It does not derive from KeyboardInterrupt, which typer would turn into exit code 1.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.exit_code = 128 + signum
        self.note: str | None = None
        """What the user should know about the moment of the interrupt."""
