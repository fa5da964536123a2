"""Sizes, estimated rows and replication, from the catalogues of MySQL and MariaDB.

https://dev.mysql.com/doc/refman/8.4/en/information-schema-tables-table.html
"""

from __future__ import annotations

import re
from typing import Any, Final

import sqlalchemy as sa

from xcomctl.db.backends.storage import StorageFacts, TableStorage, is_relevant, optional

_TABLES: Final = r"""
SELECT table_name, table_rows, data_length, index_length
  FROM information_schema.tables
 WHERE table_schema = coalesce(:place, database()) AND table_type = 'BASE TABLE'
   AND (table_name IN ('xcom', 'xcom_v1', 'xcom_v2', 'task_state_store', 'asset_state_store')
        OR table_name LIKE '|_airflow|_%' ESCAPE '|' OR table_name LIKE '|_xcom|_%' ESCAPE '|')
 ORDER BY table_name
"""
_FIRST_WITH_REPLICA: Final = (8, 0, 22)
"""The MySQL from which on the statement is not SHOW SLAVE STATUS, as it still is in MariaDB."""


def storage_facts(connection: sa.Connection, schema: str | None) -> StorageFacts:
    """Return sizes and replication; `schema` is None where the url names the database."""
    is_mysql = not getattr(connection.dialect, "is_mariadb", False)
    if is_mysql:
        # Otherwise MySQL answers with figures that may be a day old.
        fresh = "SET SESSION information_schema_stats_expiry = 0"
        optional(connection, lambda: connection.exec_driver_sql(fresh))
    tables = optional(connection, lambda: _tables(connection, schema))
    status = optional(connection, lambda: _replication(connection, is_mysql=is_mysql))
    if status is None:
        return StorageFacts(tables or ())
    lag = next((value for name, value in status.items() if name.startswith("Seconds_Behind")), None)
    return StorageFacts(
        tables or (), replica=bool(status), lag_s=None if lag is None else float(lag)
    )


def _tables(connection: sa.Connection, schema: str | None) -> tuple[TableStorage, ...]:
    rows = connection.execute(sa.text(_TABLES), {"place": schema})
    return tuple(
        TableStorage(
            name=str(name),
            rows=_number(count),
            table_bytes=_number(data),
            index_bytes=_number(indexes),
            total_bytes=None if data is None else int(data) + int(indexes or 0),
        )
        for name, count, data, indexes in rows
        if is_relevant(str(name))
    )


def _replication(connection: sa.Connection, *, is_mysql: bool) -> dict[str, Any]:
    """Return what the server says of its replication, nothing where it is no replica."""
    version = re.match(r"(\d+)\.(\d+)\.(\d+)", connection.scalar(sa.text("SELECT version()")) or "")
    numbers = tuple(map(int, version.groups())) if version else ()
    word = "REPLICA" if is_mysql and numbers >= _FIRST_WITH_REPLICA else "SLAVE"
    row = connection.exec_driver_sql(f"SHOW {word} STATUS").mappings().first()
    return {str(name): value for name, value in row.items()} if row else {}


def _number(value: Any) -> int | None:
    return None if value is None else int(value)
