"""Sizes of tables in a SQLite file, and their rows.

https://www.sqlite.org/dbstat.html
"""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from xcomctl.db.backends.storage import StorageFacts, TableStorage, is_relevant, optional

MOST_READ: Final = 128 * 1024 * 1024
"""Bytes of a file whose pages are all read for the sizes of its tables; SQLite keeps no such sums."""

_PAGES: Final = """
SELECT m.type, sum(s.pgsize) FROM sqlite_master AS m CROSS JOIN dbstat AS s ON s.name = m.name
 WHERE m.tbl_name = :name GROUP BY m.type
"""
"""CROSS JOIN keeps the order: dbstat then reads the pages of these alone."""


def storage_facts(connection: sa.Connection, *, exact: bool) -> StorageFacts:
    """Return the sizes of the file and of its tables."""

    def pragma(name: str) -> int:
        return int(connection.scalar(sa.text(f"PRAGMA {name}")) or 0)

    page = pragma("page_size")
    file_bytes = page * pragma("page_count")
    names = connection.scalars(sa.text("SELECT name FROM sqlite_master WHERE type = 'table'"))
    relevant = sorted(name for name in map(str, names) if is_relevant(name))
    reads_all = exact or file_bytes <= MOST_READ
    return StorageFacts(
        tuple(_table(connection, name, reads_all=reads_all) for name in relevant),
        file_bytes=file_bytes,
        free_bytes=page * pragma("freelist_count"),
        replica=False,
    )


def _table(connection: sa.Connection, name: str, *, reads_all: bool) -> TableStorage:
    if not reads_all:
        return TableStorage(name, optional(connection, lambda: _estimate(connection, name)))
    table = sa.table(name)
    rows = optional(
        connection, lambda: connection.scalar(sa.select(sa.func.count()).select_from(table))
    )
    sizes = optional(connection, lambda: _sizes(connection, name))
    if not sizes:
        return TableStorage(name, rows)
    indexes = sizes.get("index", 0)
    of_table = sizes.get("table", 0)
    return TableStorage(name, rows, of_table, indexes, total_bytes=of_table + indexes)


def _sizes(connection: sa.Connection, name: str) -> dict[str, int]:
    """Return the bytes of the pages of a table, and of its indexes."""
    rows = connection.execute(sa.text(_PAGES), {"name": name})
    return {str(kind): int(size) for kind, size in rows}


def _estimate(connection: sa.Connection, name: str) -> int | None:
    """Return the rows that the last ANALYZE found, None where there was none."""
    found = connection.scalar(
        sa.text("SELECT stat FROM sqlite_stat1 WHERE tbl = :name LIMIT 1"), {"name": name}
    )
    return int(str(found).split()[0]) if found else None
