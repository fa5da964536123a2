"""One transaction that changes the metadata database: all of it is committed, or nothing."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import sqlalchemy as sa

from xcomctl.errors import DatabaseError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from xcomctl.db.read.table import Table


@contextlib.contextmanager
def transaction(table: Table) -> Iterator[None]:
    """Commit everything that the block does, or nothing.

    Raises:
        DatabaseError: the database did not do it, or the connection was lost.
        RefusedError: the database does not accept a value.
    """
    connection = table.connection
    with table.explained():
        connection.rollback()
        table.backend.begin()
        try:
            yield
        except BaseException:
            with contextlib.suppress(sa.exc.DBAPIError):
                connection.rollback()
            raise
        try:
            connection.commit()
        except sa.exc.DBAPIError as error:
            if not error.connection_invalidated:
                raise
            raise DatabaseError(
                "the connection was lost while the change was being committed",
                detail="Whether it was made is not known here.",
                hint='"xcomctl pull" or "xcomctl list" tell.',
            ) from None
