"""SQLAlchemy's engine for a URL."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.pool import NullPool

from xcomctl.db.backends.diagnosis import NOT_UTF8, UNREADABLE_ANSWER

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

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
    sa.event.listen(engine, "handle_error", _wrap)
    return engine


class UnreadableAnswerError(Exception):
    """An answer of the server that the driver, or what takes rows apart here, does not understand."""

    def __init__(self, error: BaseException) -> None:
        self.found = NOT_UTF8 if isinstance(error, UnicodeDecodeError) else UNREADABLE_ANSWER
        super().__init__(f"{type(error).__name__}: {error}")
        if isinstance(error, UnicodeDecodeError):
            start = error.object[:_SHOWN_BYTES].decode("utf-8", "backslashreplace")
            super().__init__(f'It begins with "{start}".')


def unreadable_answer(error: BaseException) -> UnreadableAnswerError | None:
    """Return what to raise for an error that an answer can cause; None for others, such as bugs.

    What tells them apart is who raised it: a driver, SQLAlchemy, or a module that only takes
    answers apart.
    """
    if not isinstance(error, Exception) or isinstance(error, _OTHERWISE_CAUSED):
        return None
    if _is_in(type(error).__module__, ("xcomctl",)):
        # It was raised on purpose.
        return None
    place, module = error.__traceback__, ""
    while place is not None:
        name = str(place.tb_frame.f_globals.get("__name__"))
        if name.partition(".")[0] not in sys.stdlib_module_names and not _is_in(name, _CALLED):
            module = name
        place = place.tb_next
    return UnreadableAnswerError(error) if _is_in(module, _READERS) else None


def cause_of(error: Exception, dbapi: Any) -> BaseException | None:
    """Return the error of a driver, whose module is `dbapi`, or of its answer; None for others."""
    if isinstance(error, sa.exc.DBAPIError):
        return error.orig or error
    return error if isinstance(error, dbapi.Error) else unreadable_answer(error)


def _is_in(module: str, packages: Sequence[str]) -> bool:
    return any(module == one or module.startswith(f"{one}.") for one in packages)


def _wrap(context: sa.engine.ExceptionContext) -> None:
    is_the_drivers = context.sqlalchemy_exception is not None
    found = None if is_the_drivers else unreadable_answer(context.original_exception)
    if found is not None:
        raise sa.exc.InterfaceError(context.statement, None, found)


_SHOWN_BYTES = 200
_OTHERWISE_CAUSED = (OSError, MemoryError, UnicodeEncodeError)
_READERS = (
    "psycopg2",
    "pymysql",
    "sqlalchemy.engine",
    "xcomctl.db.backends.mysql_rows",
    "xcomctl.db.backends.mysql_values",
    "xcomctl.db.backends.postgresql_copy",
    "xcomctl.db.backends.postgresql_watch",
    "xcomctl.db.backends.streaming",
    "xcomctl.db.read.day_sizes",
    "xcomctl.db.read.rows",
    "xcomctl.exchange.others",
    "xcomctl.sizes.statistics",
)
_CALLED = ("xcomctl.model", "xcomctl.values", "xcomctl.db.backends.times")
"""Modules that work on whatever they are given: who called them counts."""
