"""The open metadata database: what is known of it, and the parts that answer questions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from xcomctl.db.read.day_sizes import DaySizes
from xcomctl.db.read.entries import Entries
from xcomctl.db.read.identity import database_id, database_name
from xcomctl.db.read.pages import Pages
from xcomctl.db.read.parts import Parts
from xcomctl.db.read.quarantine import Quarantine
from xcomctl.db.read.rows import Rows
from xcomctl.db.read.sizes import Sizes
from xcomctl.db.read.suggest import Suggest
from xcomctl.db.read.table import OTHER_TABLES, Table
from xcomctl.db.read.visibility import Visibility
from xcomctl.model import Facts
from xcomctl.values.context import Context

if TYPE_CHECKING:
    from xcomctl.db.backends.base import Backend
    from xcomctl.db.schema import Schema
    from xcomctl.exchange.others import OtherColumn
    from xcomctl.model import Limit


_REWRITTEN = (("postgresql", "jsonb"), ("mysql", "json"))
"""Backends and types whose JSON the database writes anew."""


class Store:
    """An open metadata database.

    `entries` lists and reads XComs, `pages` reads their values in bulk, `sizes` aggregates them,
    `day_sizes` does so by day, `parts` plans how to read the table in parts, `suggest` knows which
    names and runs exist, `visibility` knows what a listing does not show, `quarantine` writes SQL
    for rows that an upgrade trips over.
    """

    def __init__(self, backend: Backend, *, all_attempts: bool = False) -> None:
        """Read the catalogue. With `all_attempts`, XComs of earlier attempts exist, too.

        Raises:
            DatabaseError: there is no xcom table, or not one of Airflow's.
        """
        self.table = Table(backend, all_attempts=all_attempts)
        self.rows = Rows(self.table)
        self.entries = Entries(self.rows)
        self.pages = Pages(self.rows, self.entries)
        self.sizes = Sizes(self.rows)
        self.parts = Parts(self.rows)
        self.day_sizes = DaySizes(self.rows)
        self.suggest = Suggest(self.rows)
        self.visibility = Visibility(self.rows, self.suggest)
        self.quarantine = Quarantine(self.rows)

    @property
    def schema(self) -> Schema:
        """Return the traits of the xcom table."""
        return self.table.schema

    @property
    def context(self) -> Context:
        """Return how the Airflow that owns this database reads a stored value."""
        return Context(
            reader=self.schema.reader,
            storage=self.schema.storage,
            null_fails=self.schema.null_fails,
            release=self.schema.release,
        )

    @property
    def others(self) -> tuple[OtherColumn, ...]:
        """Return the columns of xcom that are no part of an XCom's name, value or time."""
        return self.table.others

    @property
    def holds_strict_json(self) -> bool:
        """Return whether the database itself ensures that every value is strict JSON on one line."""
        backend = self.table.backend
        # PostgreSQL keeps the text of a json as it came, line ends included, and SQLite anything.
        is_rewritten = (backend.name, self.schema.value_type) in _REWRITTEN
        return is_rewritten and not backend.any_bytes

    def facts(self) -> Facts:
        """Return product, version and generation of this metadata database."""
        backend = self.table.backend
        with self.table.explained():
            version, product = backend.server_version(), backend.product()
        return Facts(
            backend=backend.name,
            product=product,
            server_version=version,
            airflow=self.schema.airflow,
            generation=self.schema.generation.name,
            column_type=self.schema.value_type,
            storage=self.schema.storage,
            heads=self.schema.heads,
        )

    def identity(self) -> tuple[str, str]:
        """Return the database's name, and an identifier that no other database has."""
        return database_name(self.table), database_id(self.table)

    def limits(self) -> list[Limit]:
        """Return the limits that the live database puts on a value, the one in force first."""
        with self.table.explained():
            return self.table.backend.limits(self.schema)

    def warnings(self) -> list[str]:
        """Return what an operator should know about how this server handles values."""
        with self.table.explained():
            return self.table.backend.warnings(self.schema)

    def readable(self) -> dict[str, bool]:
        """Return for each table of Airflow's that xcomctl reads whether it exists and may be read."""
        found: dict[str, bool] = {}
        for name in (*self.table.sources, *OTHER_TABLES[:4]):
            there = bool(self.table.columns[name])
            if there and self.table.backend.name == "postgresql":
                there = self.table.may_read(name)
            found[name] = there
        return found

    def files(self, dag_ids: set[str]) -> dict[str, tuple[str | None, str | None]]:
        """Return the file that defines each DAG: its path, and the path within its DAG bundle.

        Each None where the database does not know it.
        """
        columns = self.table.columns["dag"]
        if not dag_ids or "fileloc" not in columns or not self.readable()["dag"]:
            return {}
        dag = self.table.named("dag")
        relative = dag.c.relative_fileloc if "relative_fileloc" in columns else sa.null()
        # All of them: a few thousand short rows, where an IN of as many names would be slower.
        statement = sa.select(dag.c.dag_id, dag.c.fileloc, relative.label("relative"))
        with self.table.explained():
            rows = self.table.connection.execute(statement).all()
        return {
            row.dag_id: (row.fileloc or None, row.relative or None)
            for row in rows
            if row.dag_id in dag_ids
        }

    def close(self) -> None:
        """End what is still being read, and close the connection."""
        self.table.close()
