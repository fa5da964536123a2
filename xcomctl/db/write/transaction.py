"""One transaction that changes the metadata database: all of it is committed, or nothing."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa

from xcomctl.db.write.interrupts import held
from xcomctl.errors import Interrupted, UnknownOutcomeError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from xcomctl.db.read.table import Table


def _nothing() -> None:
    """Do nothing."""


@dataclass(frozen=True, slots=True)
class Ending:
    """What to do when a transaction ends."""

    committed: Callable[[], object] = _nothing
    """Called once the change is committed. No signal interrupts it."""
    rolled_back: Callable[[], object] = _nothing
    """Called once it is certain that nothing was changed."""


@contextlib.contextmanager
def transaction(table: Table, ending: Ending | None = None) -> Iterator[None]:
    """Commit everything that the block does, or nothing.

    Ctrl-C and SIGTERM wait for a COMMIT that has begun. If a second one cuts it short, the
    Interrupted says that its outcome is unknown.

    Raises:
        UnknownOutcomeError: the connection was lost during COMMIT.
        DatabaseError: the database did not do it; nothing was changed.
        RefusedError: the database does not accept a value; nothing was changed.
    """
    ending = ending or Ending()
    with table.explained():
        table.connection.rollback()
        table.backend.begin()
        try:
            yield
        except BaseException:
            _roll_back(table)
            ending.rolled_back()
            raise
        with held():
            _commit(table, ending)
            ending.committed()


def _commit(table: Table, ending: Ending) -> None:
    try:
        table.connection.commit()
    except sa.exc.DBAPIError as error:
        cause = error.orig if error.orig is not None else error
        if error.connection_invalidated or table.backend.diagnose(cause).kind == "lost":
            raise UnknownOutcomeError(
                "the connection was lost while the change was being committed",
                detail="It is unknown whether the change was made.",
                hint='"xcomctl pull" or "xcomctl list" shows what is stored now.',
            ) from None
        # A lock, a full disk or a check at the end: the database refuses to commit.
        _roll_back(table)
        ending.rolled_back()
        raise table.backend.explain(error) from None
    except Interrupted as interrupt:
        interrupt.note = "it is unknown whether the change was made"
        raise


def _roll_back(table: Table) -> None:
    """Roll back, also where SQLAlchemy takes a failed COMMIT for the end of the transaction."""
    with contextlib.suppress(sa.exc.DBAPIError):
        table.connection.rollback()
    if table.connection.invalidated:
        return
    with contextlib.suppress(Exception):
        driver = table.connection.connection.dbapi_connection
        if driver is not None:
            driver.rollback()
