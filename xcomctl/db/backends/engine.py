"""SQLAlchemy's engine for a URL."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.pool import NullPool

if TYPE_CHECKING:
    from collections.abc import Mapping

    from xcomctl.config.urls import Url


def make_engine(driver: str, url: Url, arguments: Mapping[str, Any]) -> sa.Engine:
    """Return an engine that opens one connection at a time, and none yet."""
    address = sa.URL.create(
        driver,
        username=url.username,
        password=url.password,
        host=url.host,
        port=url.port,
        database=url.database,
    )
    engine = sa.create_engine(address, poolclass=NullPool, connect_args=dict(arguments))
    sa.event.listen(engine, "handle_error", _wrap_driver_bug)
    return engine


class DriverBugError(Exception):
    """A driver raised what it should not, such as a TypeError of its own."""


def driver_bug(error: BaseException) -> DriverBugError | None:
    """Return what to raise for an error that a driver does not mean to raise; None for others."""
    if not isinstance(error, _BUGS) or isinstance(error, UnicodeEncodeError):
        return None
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    module = "" if place is None else str(place.tb_frame.f_globals.get("__name__"))
    if module.partition(".")[0] not in _DRIVERS and module != _CALLER_OF_C_DRIVERS:
        return None
    return DriverBugError(f"{type(error).__name__}: {error}")


def _wrap_driver_bug(context: sa.engine.ExceptionContext) -> None:
    bug = driver_bug(context.original_exception)
    if bug is not None:
        raise sa.exc.InterfaceError(context.statement, None, bug)


_BUGS = (
    AssertionError,
    AttributeError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
)
_DRIVERS = ("psycopg2", "pymysql")
_CALLER_OF_C_DRIVERS = "sqlalchemy.engine.default"
