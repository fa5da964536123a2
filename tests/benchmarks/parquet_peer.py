"""Other ways from PostgreSQL to Parquet: `python -m tests.benchmarks.parquet_peer NAME URL FILE`.

Each is measured where it is installed; xcomctl depends on none of them.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

_NAMES = "dag_run_id, task_id, map_index, key, dag_id, run_id, timestamp"
QUERY = f"SELECT {_NAMES}, CAST(value AS text) AS value FROM xcom"


def _connectorx(url: str, path: str) -> None:
    parquet = importlib.import_module("pyarrow.parquet")
    table: Any = importlib.import_module("connectorx").read_sql(url, QUERY, return_type="arrow")
    parquet.write_table(table, path)


def _adbc(url: str, path: str) -> None:
    parquet = importlib.import_module("pyarrow.parquet")
    dbapi: Any = importlib.import_module("adbc_driver_postgresql.dbapi")
    with dbapi.connect(url) as connection, connection.cursor() as cursor:
        cursor.execute(QUERY)
        reader = cursor.fetch_record_batch()
        with parquet.ParquetWriter(path, reader.schema) as writer:
            for batch in reader:
                writer.write_batch(batch)


def _duckdb(url: str, path: str) -> None:
    # Without its extension it is not there; nothing is downloaded.
    settings = {"autoinstall_known_extensions": "false"}
    connection: Any = importlib.import_module("duckdb").connect(config=settings)
    connection.execute("LOAD postgres")
    connection.execute(f"ATTACH '{url}' AS db (TYPE postgres, READ_ONLY)")
    connection.execute(f"COPY (SELECT * FROM db.public.xcom) TO '{path}' (FORMAT parquet)")


def main(name: str, url: str, path: str) -> None:
    """Write every row into a file, the way of one library."""
    try:
        {"connectorx": _connectorx, "adbc": _adbc, "duckdb": _duckdb}[name](url, path)
    except Exception as error:  # noqa: BLE001 - whatever keeps a peer from it is told in its line
        sys.exit(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main(*sys.argv[1:])
