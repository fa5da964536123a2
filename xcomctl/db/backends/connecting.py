"""Connects to a database."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import sqlalchemy as sa

from xcomctl.errors import DatabaseError, XcomctlError

if TYPE_CHECKING:
    from xcomctl.db.backends.base import Backend


def connect(backend: Backend) -> sa.Connection:
    """Return a new connection, which may still write.

    Raises:
        UsageError: the URL is malformed, or an option of it.
        DatabaseError: no server answers, or it refuses.
    """
    # A server that dies, or Ctrl-C, is reported once; SQLAlchemy would log a traceback besides.
    logging.getLogger("sqlalchemy").addHandler(logging.NullHandler())
    try:
        return backend.engine().connect()
    except sa.exc.DBAPIError as error:
        raise backend.explain(error, connecting=True) from None
    except XcomctlError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever a driver makes of an odd option
        raise DatabaseError(
            f'could not connect to "{backend.target.shown}"',
            detail=backend.said(error),
            hint=f"The URL comes from {backend.target.origin}.",
        ) from None
