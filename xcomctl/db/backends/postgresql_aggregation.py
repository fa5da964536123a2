"""How PostgreSQL aggregates sizes, and samples large values for pickles."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

if TYPE_CHECKING:
    from collections.abc import Sequence

    Element = sa.ColumnElement[Any]

_MOST_PACKED = 50_000_000
"""Rows whose sizes, 200 MB, the server may hold for us."""
_ROOM = "64MB"
"""What it may hold them in before it writes them to its disk."""
IN_ROW = 2000
"""Values up to this size lie in the row itself, where their first byte costs nothing; a larger
one's is a look-up in the TOAST table, three times the cost of a whole scan of sizes.

https://www.postgresql.org/docs/current/storage-toast.html
"""


class PostgreSQLAggregation:
    """Aggregates in the server, which scans with several processes."""

    def __init__(self, connection: sa.Connection, xcom: str) -> None:
        """Aggregate the table of this name, quoted where it needs to be."""
        self._connection = connection
        self._xcom = xcom

    def packs(self) -> bool:
        if float(about_table(self._connection, self._xcom, "reltuples") or 0) > _MOST_PACKED:
            return False
        # For this transaction: with the usual 4 MB a million rows go through the server's disk,
        # which takes half as long again.
        room = sa.func.set_config("work_mem", _ROOM, True)
        has = sa.func.pg_size_bytes(sa.func.current_setting("work_mem"))
        self._connection.execute(sa.select(room).where(has < sa.func.pg_size_bytes(_ROOM)))
        return True

    def packed(self, size: Element) -> Element:
        # Half the time of percentile_disc, which sorts every row.
        return sa.func.string_agg(sa.func.int4send(size), sa.literal_column("''::bytea"))

    def packed_numbers(self, number: Element) -> Element:
        return sa.func.string_agg(sa.func.int8send(number), sa.literal_column("''::bytea"))

    def percentiles(self, size: Element, shares: Sequence[float]) -> Element:
        wanted: Element = sa.literal_column(f"ARRAY[{', '.join(map(str, shares))}]")
        return sa.func.percentile_disc(wanted).within_group(size)


class PostgreSQLSampling:
    """Names large values by their rows' addresses."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

    def sampled(self, value: Element) -> Element:
        large = sa.func.octet_length(value) > IN_ROW
        return sa.func.max(sa.literal_column("x.ctid")).filter(large)

    def any_pickle(self, table: sa.FromClause, rows: Sequence[Any]) -> bool:
        # One text for all of them: a parameter each takes longer to write than to look up.
        listed = "{" + ",".join(f'"{one}"' for one in rows) + "}"
        named = sa.text("x.ctid = ANY(CAST(:listed AS tid[]))").bindparams(listed=listed)
        found = sa.select(sa.literal(1)).select_from(table)
        found = found.where(named, begins_like_pickle(table.c.value)).limit(1)
        return self._connection.scalar(found) == 1


def about_table(connection: sa.Connection, name: str, column: str) -> Any:
    """Return what the catalogue says of a table, None if there is none of that name."""
    relation = sa.table("pg_class", sa.column("oid"), sa.column(column), schema="pg_catalog")
    is_it = relation.c.oid == sa.func.to_regclass(name)
    return connection.scalar(sa.select(relation.c[column]).where(is_it))


def begins_like_pickle(value: Element) -> Element:
    """Return whether the first byte is that of a pickle of protocol 2 and above."""
    return sa.func.substring(value, 1, 1) == sa.literal_column("'\\x80'::bytea")
