"""The open connection and what its xcom table turned out to be: shared by everything in `db`."""

from __future__ import annotations

import contextlib
import dataclasses
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from xcomctl.db import schema as schemas
from xcomctl.db.read import split
from xcomctl.errors import DatabaseError
from xcomctl.exchange.entries import FIELDS
from xcomctl.exchange.others import OtherColumn

if TYPE_CHECKING:
    from collections.abc import Iterator

    from xcomctl.db.backends.base import Backend, Element
    from xcomctl.model import Selection


OTHER_TABLES = ("dag_run", "task_instance", "dag", "alembic_version", "_xcom_archive")
"""Tables of Airflow that are read besides `xcom`, each only where it exists."""


_NAMED_COLUMNS = frozenset().union(*(one.columns for one in schemas.GENERATIONS)) - {
    *split.OTHERS,
    *split.ATTEMPT,
}
_FIELDS_OF_FILES = {*FIELDS, "orphan", "stored_as", "value_base64", "undo"}


class Table:
    """The xcom table of an open metadata database, and the tables beside it.

    Holds the connection. `x` is `xcom` and `run` is `dag_run`, each under an alias for reading;
    `xcom` has no alias, for statements that write. Where XComs are in two tables, as from Airflow
    3.4 on, `x` is both as one (see `split`).
    """

    def __init__(self, backend: Backend, *, all_attempts: bool = False) -> None:
        """Read the catalogue. With `all_attempts`, `x` has the XComs of earlier attempts, too.

        Raises:
            DatabaseError: there is no xcom table, or not one of Airflow's.
        """
        self.backend = backend
        self.connection = backend.connection
        with self.explained():
            columns = {name: backend.columns(name) for name in ("xcom", *OTHER_TABLES)}
            if not columns["xcom"] and (newer := backend.columns("xcom_v2")):
                columns |= {name: backend.columns(name) for name in split.TABLES}
                columns["xcom_v2"] = newer
                columns["xcom"] = split.described(columns)
        if not columns["xcom"]:
            there = [name for name in OTHER_TABLES if columns[name]]
            raise DatabaseError(
                f'could not find the table "xcom" in "{backend.target.shown}"',
                detail=f"It has these Airflow tables: {', '.join(there)}."
                if there
                else "It has no Airflow tables.",
                hint="Check the url, and --schema where Airflow sets sql_alchemy_schema.",
            )
        backend.tables = columns
        self.columns = columns
        self.others = tuple(
            OtherColumn.of_type(name, column.type)
            for name, column in columns["xcom"].items()
            if name not in _NAMED_COLUMNS and name not in _FIELDS_OF_FILES
        )
        """Columns of xcom that are no part of an XCom's name, value or time."""
        """The columns of each table by its name, empty where there is no such table."""
        heads = self._heads() if columns["alembic_version"] else ()
        tables = frozenset(name for name in OTHER_TABLES if columns[name])
        self.schema = schemas.detect(columns["xcom"], columns["dag_run"], tables, heads)
        self.xcom = self.named("xcom")
        self.x: sa.FromClause = self.xcom.alias("x")
        self.xcom_tables: tuple[str, ...] = ("xcom",)
        """The tables that hold XComs."""
        self.sources: tuple[str, ...] = self.xcom_tables
        """Those, and the tables without which their rows have no name."""
        if self.schema.split:
            # SQLite, which keeps no statistics, would begin with the index on working_set.
            likely = sa.func.likely if backend.name == "sqlite" else lambda condition: condition
            self.x = split.source(columns, self.named, all_attempts=all_attempts, likely=likely)
            required = split.unknown_required(columns)
            self.schema = dataclasses.replace(self.schema, unknown_required=required)
            self.xcom_tables, self.sources = split.XCOM_TABLES, split.TABLES
        self.run = self.named("dag_run").alias("r")
        self.joined = "dag_run" in tables and self.schema.run_date is not None
        """Whether rows can be joined with their runs."""
        self._open: list[sa.CursorResult[Any]] = []

    def named(self, name: str, *, like: str | None = None) -> sa.TableClause:
        """Return a table of Airflow's schema by its name, with the columns of `like` or its own."""
        columns = self.columns[like or name]
        return self.clause(name, *columns)

    def clause(self, name: str, *columns: str) -> sa.TableClause:
        """Return a table of Airflow's schema with these columns."""
        return sa.table(name, *map(sa.column, columns), schema=self.backend.target.schema)

    def copy(self, name: str) -> sa.FromClause:
        """Return the same rows as `x` under another alias."""
        element = getattr(self.x, "element", None)
        if isinstance(element, sa.CompoundSelect):
            return element.subquery(name)
        return self.xcom.alias(name)

    def is_whole(self, selection: Selection) -> bool:
        """Return whether a selection is read along the table itself, no row left out by an index."""
        return not (selection.narrows or self.schema.split)

    def is_one_of(self, columns: list[Element], rows: list[tuple[object, ...]]) -> Element:
        """Return whether a row's primary key is one of these, found along the index."""
        if not (self.schema.split and self.backend.name == "mariadb"):
            return self.backend.is_one_of(columns, rows)
        # MariaDB 10.11 finds no row where a list of tuples is pushed down into a UNION.
        pairs = (zip(columns, row, strict=True) for row in rows)
        return sa.or_(*(sa.and_(*(one == value for one, value in pair)) for pair in pairs))

    def distinct(self, column: str, *conditions: Element) -> sa.Select[Any]:
        """Return the query for the distinct values of an indexed id column, where not NULL."""
        if self.schema.split:
            return sa.select(self.x.c[column]).where(*conditions).distinct()
        return self.backend.distinct(self.x, column, *conditions)

    def _heads(self) -> tuple[str, ...]:
        """Return the rows of `alembic_version`; none where the role may not read it."""
        # A role may read xcom and not this; then the columns alone tell the release.
        if self.backend.name == "postgresql" and not self.may_read("alembic_version"):
            return ()
        version = self.clause("alembic_version", "version_num").c.version_num
        try:
            rows = self.connection.execute(sa.select(version)).scalars().all()
        except sa.exc.DBAPIError:
            return ()
        return tuple(str(head) for head in rows)

    def may_read(self, table: str) -> bool:
        """Return whether the role may SELECT from a table (PostgreSQL)."""
        # Asked first, because a refused SELECT would end PostgreSQL's transaction.
        schema = self.backend.target.schema
        name = f'"{schema}"."{table}"' if schema else f'"{table}"'
        statement = sa.text("SELECT has_table_privilege(:name, 'SELECT')")
        return bool(self.connection.scalar(statement, {"name": name}))

    @contextlib.contextmanager
    def explained(self) -> Iterator[None]:
        """Turn a driver's error inside the block into one of ours, with a reason and a hint."""
        with self.backend.explained():
            yield

    def stream(self, statement: sa.Select[Any], rows: int) -> Iterator[sa.Row[Any]]:
        """Yield the rows of a statement, fetching this many at a time and holding no more."""
        result = self.connection.execute(
            statement, execution_options={"stream_results": True, "max_row_buffer": rows}
        )
        self._open.append(result)
        try:
            while batch := result.fetchmany(rows):
                yield from batch
        finally:
            result.close()
            self._open.remove(result)

    @property
    def streams(self) -> int:
        """Return how many results are still being read."""
        return len(self._open)

    def close(self) -> None:
        """Close results that are still being read, and the connection."""
        if self._open:
            self.backend.abandon()
        for result in self._open:
            result.close()
        self.backend.close()
