"""What SQLite's errors mean, by extended result code."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

from xcomctl.db.backends.diagnosis import Diagnosis

if TYPE_CHECKING:
    from pathlib import Path

_CANNOT_READ_LOG = Diagnosis(
    'its write-ahead log "{0}-wal" cannot be used in a directory that cannot be written',
    'Copy "{0}" and "{0}-wal" to a directory that can be written, and read the copy.',
)
_CANNOT_WRITE = Diagnosis(
    "the file or its directory cannot be written",
    "Check their permissions, and whether the file system is mounted read-only.",
)
_DAMAGED = Diagnosis(
    "it is not a valid SQLite database",
    'Restore a backup. "sqlite3 {0} .recover" saves what can still be read.',
)
_EXISTS = Diagnosis(kind="exists")
_LOCKED = Diagnosis(kind="locked")
_DIAGNOSES = {
    sqlite3.SQLITE_BUSY: _LOCKED,
    sqlite3.SQLITE_LOCKED: _LOCKED,
    sqlite3.SQLITE_INTERRUPT: Diagnosis(kind="timeout"),
    sqlite3.SQLITE_NOMEM: Diagnosis("not enough memory", "Narrow the filters, or add memory."),
    sqlite3.SQLITE_READONLY: _CANNOT_WRITE,
    sqlite3.SQLITE_READONLY_ROLLBACK: Diagnosis(
        'a writer has crashed, and its rollback journal "{0}-journal" has to be applied first',
        "Let a process that may write the file open it: Airflow, or"
        ' sqlite3 "{0}" "SELECT 1 FROM xcom". Never delete the journal.',
    ),
    sqlite3.SQLITE_READONLY_RECOVERY: _CANNOT_READ_LOG,
    sqlite3.SQLITE_READONLY_CANTLOCK: _CANNOT_READ_LOG,
    sqlite3.SQLITE_READONLY_CANTINIT: _CANNOT_READ_LOG,
    sqlite3.SQLITE_READONLY_DBMOVED: Diagnosis(
        "the file was moved or replaced meanwhile", "Run the command again."
    ),
    sqlite3.SQLITE_IOERR: Diagnosis(
        "the system could not read or write the file",
        "Check the disk, the network file system and the system's log.",
    ),
    sqlite3.SQLITE_CORRUPT: _DAMAGED,
    sqlite3.SQLITE_NOTADB: _DAMAGED,
    sqlite3.SQLITE_FULL: Diagnosis("the disk is full", "Free some space. Nothing was changed."),
    sqlite3.SQLITE_TOOBIG: Diagnosis(kind="value"),
    sqlite3.SQLITE_MISMATCH: Diagnosis(kind="value"),
    sqlite3.SQLITE_CONSTRAINT_UNIQUE: _EXISTS,
    sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY: _EXISTS,
    sqlite3.SQLITE_CONSTRAINT_ROWID: _EXISTS,
    sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY: Diagnosis(kind="no parent"),
}
"""By extended result code or, where that is not listed, by its primary one.

https://www.sqlite.org/rescode.html
"""


def diagnose(cause: BaseException, path: Path, *, writing: bool) -> Diagnosis:
    """Return what the error of a statement on a file means."""
    if isinstance(cause, UnicodeEncodeError):
        return Diagnosis(kind="value")
    code = getattr(cause, "sqlite_errorcode", None) or 0
    primary = code & 0xFF
    if primary == sqlite3.SQLITE_CANTOPEN:
        return _diagnose_unopened(path)
    if primary in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED) and not writing:
        return Diagnosis(
            "another process has locked the file",
            "Try again, or raise --connect-timeout.",
            "locked",
        )
    found = _DIAGNOSES.get(code) or _DIAGNOSES.get(primary) or Diagnosis()
    return found.about(path.name)


def _diagnose_unopened(path: Path) -> Diagnosis:
    if holds_something(path.with_name(f"{path.name}-wal")):
        return _CANNOT_READ_LOG.about(path.name)
    return Diagnosis(
        "the file cannot be opened",
        "Check that this user may read the file and enter its directory.",
    )


def holds_something(path: Path) -> bool:
    try:
        return path.stat().st_size > 0
    except OSError:
        return False
