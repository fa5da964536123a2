"""What a database says of its own storage: sizes of tables, estimated rows, replication."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

import sqlalchemy as sa

if TYPE_CHECKING:
    from collections.abc import Callable

STATE_STORES: Final = ("task_state_store", "asset_state_store")
"""Airflow 3.3's state stores."""

XCOM_TABLES: Final = ("xcom", "xcom_v1", "xcom_v2")
"""The table of XComs, and the two that replace it in Airflow 3.4."""

_ARCHIVES: Final = ("_xcom_archive", "_airflow_deleted__xcom", "_airflow_moved__")
"""How the names begin of tables with archived XComs: of the upgrade to Airflow 3, of
`airflow db clean`, and of upgrades within Airflow 2."""

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class TableStorage:
    """A table's size on disk. What the database does not say is None."""

    name: str
    rows: int | None = None
    """An estimate from the database's statistics, or counted where that is cheap."""
    table_bytes: int | None = None
    """Rows, without what PostgreSQL moves out of line."""
    index_bytes: int | None = None
    """Indexes; without the primary key in MySQL, where rows are stored in it."""
    toast_bytes: int | None = None
    """Values out of line, with their index (PostgreSQL only)."""
    total_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class StorageFacts:
    """Sizes of the tables that hold XComs or states, and how the server is replicated."""

    tables: tuple[TableStorage, ...] = ()
    """Those of XComs, archived XComs and state stores, those that exist, by name."""
    file_bytes: int | None = None
    """Size of the whole database file (SQLite only)."""
    free_bytes: int | None = None
    """Part of the file that new rows will use again (SQLite only)."""
    replica: bool | None = None
    """Whether the server is a read replica; None where the role may not ask."""
    lag_s: float | None = None
    """Seconds that a replica is behind."""


def is_archive(table: str) -> bool:
    """Return whether a table of this name holds archived XComs."""
    return table.startswith(_ARCHIVES) and "xcom" in table


def is_relevant(table: str) -> bool:
    """Return whether `StorageFacts.tables` includes a table of this name."""
    return table in XCOM_TABLES or table in STATE_STORES or is_archive(table)


def optional(connection: sa.Connection, ask: Callable[[], Answer]) -> Answer | None:
    """Return what `ask` returns, None where the server refuses, has no such feature or is too slow.

    Raises:
        sqlalchemy.exc.DBAPIError: the connection was lost.
    """
    # An error would end PostgreSQL's transaction.
    is_postgresql = connection.dialect.name == "postgresql"
    try:
        with connection.begin_nested() if is_postgresql else contextlib.nullcontext():
            return ask()
    except sa.exc.DBAPIError as error:
        if error.connection_invalidated:
            raise
        return None
    except (ValueError, OverflowError):
        # A time that Python cannot hold.
        return None
