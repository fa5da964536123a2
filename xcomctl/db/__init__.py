"""The metadata database. The only package that imports SQLAlchemy and drivers."""

from __future__ import annotations

import gc
from contextlib import contextmanager
from typing import TYPE_CHECKING

from xcomctl.config import urls
from xcomctl.errors import RefusedError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from xcomctl.config.target import Target
    from xcomctl.db.backends.base import Backend
    from xcomctl.db.read.store import Store


def _backend(target: Target, lock_timeout_s: float | None = None) -> Backend:
    backend = _connected(target, lock_timeout_s)
    if not gc.isenabled():
        # What was imported stays, so it need not be looked through; rows are no garbage, either.
        gc.freeze()
        gc.set_threshold(50_000)
        gc.enable()
    return backend


def _connected(target: Target, lock_timeout_s: float | None) -> Backend:
    from xcomctl.db.backends.connecting import connect

    name = urls.backend_of(target.url)
    # Each driver costs its import, so only the one that is needed is loaded.
    if name == "sqlite":
        from xcomctl.db.backends.sqlite import SQLite
        from xcomctl.db.backends.sqlite_parts import PartedSQLite

        kind = PartedSQLite if lock_timeout_s is None else SQLite
        backend: Backend = kind(target, lock_timeout_s)
    elif name == "postgresql":
        from xcomctl.db.backends.postgresql import PostgreSQL

        backend = PostgreSQL(target, lock_timeout_s)
    else:
        from xcomctl.db.backends.mysql import MariaDB, MySQL

        backend = MySQL(target, lock_timeout_s)
        connection = connect(backend)
        # Both products answer to mysql://; the server's own word decides.
        if getattr(connection.dialect, "is_mariadb", False):
            backend = MariaDB(target, lock_timeout_s)
        backend.use(connection)
        return backend
    backend.use(connect(backend))
    return backend


@contextmanager
def open_store(target: Target, *, all_attempts: bool = False) -> Iterator[Store]:
    """Open a metadata database for reading only, and close it at the end.

    With `all_attempts`, XComs that Airflow 3.4 does not read are read, too: those of earlier
    attempts, and those that a newer one replaced. In older Airflows there are none.

    Raises:
        UsageError: the url is malformed or of a product that Airflow does not use.
        DatabaseError: it cannot be reached, refuses, or is not Airflow's.
    """
    with _opened(target, None, all_attempts=all_attempts) as store:
        yield store


@contextmanager
def open_for_writing(
    target: Target, *, lock_timeout_s: float | None, all_attempts: bool = False
) -> Iterator[Store]:
    """Open a metadata database for `Push`, `Delete` or `Restore`, and close it at the end.

    `all_attempts` as in `open_store`. With a lock timeout of None it is opened for reading only: plans can be made, and nothing
    can be written.

    Raises:
        UsageError, DatabaseError: as `open_store`.
        RefusedError: the table has a column that must be filled and that no known Airflow has.
    """
    with _opened(target, lock_timeout_s, all_attempts=all_attempts) as store:
        required = store.schema.unknown_required
        if required and lock_timeout_s is not None:
            name = required[0] if store.schema.split else f"xcom.{required[0]}"
            raise RefusedError(
                f'cannot write: unknown required column "{name}"',
                hint="Reading is safe. A newer xcomctl may know this layout.",
            )
        yield store


@contextmanager
def _opened(
    target: Target, lock_timeout_s: float | None, *, all_attempts: bool = False
) -> Iterator[Store]:
    from xcomctl.db.read.store import Store

    backend = _backend(target, lock_timeout_s)
    try:
        store = Store(backend, all_attempts=all_attempts)
    except BaseException:
        backend.close()
        raise
    try:
        yield store
    finally:
        store.close()
