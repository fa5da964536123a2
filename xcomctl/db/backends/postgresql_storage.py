"""Sizes, estimated rows and replication, from PostgreSQL's catalogue.

https://www.postgresql.org/docs/current/functions-admin.html#FUNCTIONS-ADMIN-DBSIZE
"""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from xcomctl.db.backends.storage import StorageFacts, TableStorage, is_relevant, optional

_TABLES: Final = r"""
SELECT c.relname, c.reltuples, c.relpages, pg_relation_size(c.oid) / current_setting('block_size')::int,
       pg_stat_get_live_tuples(c.oid), pg_indexes_size(c.oid),
       coalesce(pg_total_relation_size(nullif(c.reltoastrelid, 0)), 0), pg_total_relation_size(c.oid)
  FROM pg_catalog.pg_class AS c
 WHERE c.relkind = 'r'
   AND c.relnamespace = (SELECT relnamespace FROM pg_catalog.pg_class WHERE oid = to_regclass(:xcom))
   AND (c.relname IN ('xcom', 'xcom_v1', 'xcom_v2', 'task_state_store', 'asset_state_store')
        OR c.relname LIKE '\_airflow\_%' OR c.relname LIKE '\_xcom\_%')
 ORDER BY c.relname
"""
_LAG: Final = """
SELECT CASE WHEN pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn() THEN 0
            ELSE extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp()) END
"""
"""A replica that has replayed all it received is not behind, however old the last transaction is."""


def storage_facts(connection: sa.Connection, xcom: str) -> StorageFacts:
    """Return sizes and replication; `xcom` is the table's name as SQL has it."""
    tables = optional(connection, lambda: _tables(connection, xcom))
    replica = optional(connection, lambda: connection.scalar(sa.text("SELECT pg_is_in_recovery()")))
    # Aurora has pg_is_in_recovery, but none of the functions of the other.
    lag = optional(connection, lambda: connection.scalar(sa.text(_LAG))) if replica else None
    return StorageFacts(
        tables or (), replica=replica, lag_s=None if lag is None else max(float(lag), 0.0)
    )


def _tables(connection: sa.Connection, xcom: str) -> tuple[TableStorage, ...]:
    rows = connection.execute(sa.text(_TABLES), {"xcom": xcom})
    return tuple(
        TableStorage(
            name=name,
            rows=_estimate(float(tuples), int(pages), int(pages_now), int(live or 0)),
            table_bytes=total - indexes - toast,
            index_bytes=indexes,
            toast_bytes=toast,
            total_bytes=total,
        )
        for name, tuples, pages, pages_now, live, indexes, toast, total in rows
        if is_relevant(name)
    )


def _estimate(tuples: float, pages: int, pages_now: int, live: int) -> int | None:
    """Return the estimated rows as the planner has them: tuples of a page times pages of now.

    https://www.postgresql.org/docs/current/row-estimation-examples.html
    """
    if pages_now == 0:
        return 0
    if pages > 0 and tuples >= 0:
        return round(tuples * pages_now / pages)
    # Neither vacuumed nor analyzed yet.
    return live or None
