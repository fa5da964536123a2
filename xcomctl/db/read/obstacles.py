"""What stops an upgrade to Airflow 3.4, or a downgrade from it, whatever the values are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from xcomctl.model import Selection

if TYPE_CHECKING:
    from collections.abc import Iterator

    from xcomctl.db.backends.base import Element
    from xcomctl.db.read.store import Store

_NAMES: Final = ("dag_id", "task_id", "run_id", "map_index")
_FOREIGN_KEYS: Final = (
    ("xcom", "xcom_task_instance_fkey", None),
    ("rendered_task_instance_fields", "rtif_ti_fkey", None),
    ("task_instance_history", "task_instance_history_ti_fkey", "CASCADE"),
)
"""The foreign keys to task_instance that the upgrade redirects, and what each does ON UPDATE.

https://github.com/apache/airflow/blob/3.4.0b2/airflow-core/src/airflow/migrations/versions/0142_3_4_0_unify_task_attempt_ownership.py
"""
_IS_VALID: Final = sa.text(
    "SELECT convalidated FROM pg_constraint WHERE conrelid = to_regclass(:table) AND conname = :name"
)


class Obstacles:
    """Looks at the tables of an open metadata database.

    Every method raises DatabaseError where they cannot be read.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._table = store.table
        self._backend = store.table.backend

    def upgrade(self) -> list[str]:
        """Return why the upgrade of an Airflow 3 database to 3.4 stops."""
        with self._table.explained():
            return [*self._refused_keys()]

    def _refused_keys(self) -> Iterator[str]:
        schema, connection = self._backend.target.schema, self._table.connection
        inspector = sa.inspect(connection)
        for table, name, on_update in _FOREIGN_KEYS:
            if not self._backend.columns(table):
                continue
            keys = inspector.get_foreign_keys(table, schema=schema)
            key: Any = next((one for one in keys if one["name"] == name), None)
            if key is None:
                yield f'the foreign key "{table}.{name}" is missing'
            elif (
                key["referred_table"] != "task_instance"
                or key["constrained_columns"] != [*_NAMES]
                or key["referred_columns"] != [*_NAMES]
                or key["options"].get("ondelete") != "CASCADE"
                or key["options"].get("onupdate") != on_update
            ):
                yield f'the foreign key "{table}.{name}" is not the one that Airflow created'
            elif self._backend.name == "postgresql":
                quoted = self._backend.script().quoted(table)
                if not connection.scalar(_IS_VALID, {"table": quoted, "name": name}):
                    yield f'the foreign key "{table}.{name}" is not validated'

    def downgrade(self) -> list[str]:
        """Return why a downgrade from 3.4 stops: half way, with tables that no Airflow reads."""
        with self._table.explained():
            return [*self._colliding(), *self._without_current()]

    def lost_by_downgrade(self) -> int:
        """Return how many XComs a downgrade from 3.4 deletes: all that Airflow does not read.

        Needs a store that was opened with all attempts.
        """
        return self._store.entries.count(Selection(current=False))

    def _colliding(self) -> Iterator[str]:
        """Yield a reason if instances in different regions would have one name."""
        t, region = (
            self._table.named("task_instance").alias("t"),
            self._table.named("dynamic_region").alias("d"),
        )
        has_region = sa.exists().where(region.c.dag_id == t.c.dag_id, region.c.run_id == t.c.run_id)
        name = [t.c[one] for one in ("dag_id", "task_id", "run_id", "region_index")]
        conditions: tuple[tuple[list[Element], Element], ...] = (
            ([*name], t.c.working_set.is_not(None)),
            ([*name, t.c.try_number], sa.true()),
        )
        for by, where in conditions:
            several = sa.select(sa.func.count().label("number")).select_from(t)
            several = several.where(has_region, where).group_by(*by)
            found = several.having(sa.func.count() > 1).subquery("s")
            count = self._table.connection.scalar(sa.select(sa.func.count()).select_from(found))
            if count:
                yield f"{count:,} task instances in loops or regions have one name and map_index"
                return

    def _without_current(self) -> Iterator[str]:
        """Yield a reason if archived attempts have no current one."""
        t, current = (self._table.named("task_instance").alias(one) for one in ("t", "c"))
        same = (
            current.c[one] == t.c[one] for one in ("dag_id", "task_id", "run_id", "region_index")
        )
        has_current = sa.exists().where(*same, current.c.working_set.is_not(None))
        statement = sa.select(sa.func.count()).select_from(t)
        count = self._table.connection.scalar(
            statement.where(t.c.working_set.is_(None), ~has_current)
        )
        if count:
            yield f"{count:,} archived attempts have no current attempt at the same map_index"
