"""What tells one metadata database from another, whatever address it was reached by."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import sqlalchemy as sa

from xcomctl.config import urls

if TYPE_CHECKING:
    from collections.abc import Iterator

    from xcomctl.db.read.table import Table


def database_id(table: Table) -> str:
    """Return an identifier of the open database, from which neither host nor path can be read."""
    with table.explained():
        parts = "\0".join(map(str, _parts(table)))
    return hashlib.sha256(parts.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def database_name(table: Table) -> str:
    """Return the name of the open database: a SQLite file's without its ending."""
    target = table.backend.target
    if table.backend.name == "sqlite":
        return urls.sqlite_path(target.url).stem
    with table.explained():
        current = "current_database()" if table.backend.name == "postgresql" else "database()"
        return str(table.connection.scalar(sa.text(f"SELECT {current}")))


def _parts(table: Table) -> Iterator[object]:
    """Yield what identifies the server, the database and the schema."""
    backend, ask = table.backend, table.connection.scalar
    yield backend.name
    yield backend.target.schema or ""
    if backend.name == "sqlite":
        yield urls.sqlite_path(backend.target.url).resolve()
        return
    yield database_name(table)
    if backend.name == "postgresql":
        # A standby has the identifier of its primary.
        yield ask(sa.text("SELECT oid FROM pg_database WHERE datname = current_database()"))
        control = "pg_catalog.pg_control_system()"
        if ask(sa.text(f"SELECT has_function_privilege('{control}', 'execute')")):
            yield ask(sa.text(f"SELECT system_identifier FROM {control}"))
    elif backend.name == "mysql":
        yield ask(sa.text("SELECT @@server_uuid"))
    else:
        yield ask(sa.text("SELECT @@hostname"))
        yield ask(sa.text("SELECT @@port"))
