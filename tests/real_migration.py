"""Runs a real Airflow's own XCom migration on one value after the other; for that Airflow's Python.

`real_migration.py URL` reads a JSON object of base64 values from stdin, and writes what became of
each: `{"name": ["stops", "the error"] | ["archived", null] | ["kept", "the value as text"]}`.
"""

import base64
import importlib
import json
import pkgutil
import sys
from typing import Any

import alembic.context
import sqlalchemy as sa
from airflow.migrations import versions
from alembic.migration import MigrationContext
from alembic.operations import Operations

CREATE = """CREATE TABLE xcom (dag_run_id INTEGER NOT NULL, task_id VARCHAR(250) NOT NULL,
 map_index INTEGER DEFAULT -1 NOT NULL, "key" VARCHAR(512) NOT NULL, dag_id VARCHAR(250) NOT NULL,
 run_id VARCHAR(250) NOT NULL, value BYTEA, timestamp TIMESTAMPTZ DEFAULT now() NOT NULL,
 PRIMARY KEY (dag_run_id, task_id, map_index, "key"))"""
INSERT = """INSERT INTO xcom (dag_run_id, task_id, map_index, "key", dag_id, run_id, value)
 VALUES (1, 'task', -1, 'key', 'dag', 'run', :value)"""


def revision() -> Any:
    """Return the module of the migration."""
    names = [one.name for one in pkgutil.iter_modules(versions.__path__)]
    (name,) = (one for one in names if one.endswith("remove_pickled_data_from_xcom_table"))
    return importlib.import_module(f"airflow.migrations.versions.{name}")


def outcome(engine: sa.Engine, module: Any, value: bytes) -> tuple[str, str | None]:
    """Return what becomes of one value; the database is left as it was."""
    with engine.connect() as connection:
        # What the migration asks of the environment that runs it.
        vars(alembic.context).update(get_bind=lambda: connection, is_offline_mode=lambda: False)
        connection.execute(sa.text(CREATE))
        connection.execute(sa.text(INSERT), {"value": value})
        try:
            with Operations.context(MigrationContext.configure(connection)):
                module.upgrade()
            found = connection.execute(sa.text("SELECT value::text FROM xcom")).fetchall()
        except sa.exc.DBAPIError as error:
            return "stops", str(error.orig).splitlines()[0]
        return ("kept", found[0][0]) if found else ("archived", None)


def main() -> None:
    engine = sa.create_engine(sys.argv[1])
    module = revision()
    values = json.load(sys.stdin)
    json.dump(
        {name: outcome(engine, module, base64.b64decode(text)) for name, text in values.items()},
        sys.stdout,
    )


if __name__ == "__main__":
    main()
