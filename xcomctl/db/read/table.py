"""What every question to the xcom table shares: its columns, its runs, its filters, its rows."""

from __future__ import annotations

import contextlib
import fnmatch
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from xcomctl.config.target import parse_iso
from xcomctl.db import schema as schemas
from xcomctl.db.backends.base import MAX_SNIFFED
from xcomctl.db.backends.times import to_moment
from xcomctl.errors import DatabaseError
from xcomctl.model import (
    UNMAPPED,
    Encoding,
    Facts,
    Limit,
    Selection,
    Size,
    XComEntry,
    XComRef,
    is_glob,
)
from xcomctl.values import decode

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from xcomctl.db.backends.base import Backend, Element


HEAD_BYTES = MAX_SNIFFED
"""Enough to tell every encoding, and all of a small value."""

_OTHER_TABLES = ("dag_run", "task_instance", "dag", "alembic_version", "_xcom_archive")


class Table:
    """An open metadata DB, and what its xcom table turned out to be."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._connection = backend.connection
        with self._explained():
            columns = {name: backend.columns(name) for name in ("xcom", *_OTHER_TABLES)}
        if not columns["xcom"]:
            there = [name for name in _OTHER_TABLES if columns[name]]
            raise DatabaseError(
                f'could not find the table "xcom" in "{backend.target.shown}"',
                detail=f"Of Airflow's tables, {', '.join(there)} are there."
                if there
                else "None of Airflow's tables are there.",
                hint="Check the url, and --schema where Airflow sets sql_alchemy_schema.",
            )
        heads = self._heads() if columns["alembic_version"] else ()
        tables = frozenset(name for name in _OTHER_TABLES if columns[name])
        self.schema = schemas.detect(columns["xcom"], columns["dag_run"], tables, heads)
        self._x = self._table("xcom", columns["xcom"]).alias("x")
        self._run = self._table("dag_run", columns["dag_run"]).alias("r")
        self._joined = "dag_run" in tables and self.schema.run_date is not None
        self._columns = columns
        self._open: list[sa.CursorResult[Any]] = []

    def _table(self, name: str, columns: Mapping[str, schemas.Column]) -> sa.TableClause:
        schema = self._backend.target.schema
        return sa.table(name, *(sa.column(column) for column in columns), schema=schema)

    def _heads(self) -> tuple[str, ...]:
        table = self._table("alembic_version", {"version_num": schemas.Column("", "")})
        # A role may read xcom and not this; then the columns alone tell.
        if self._backend.name == "postgresql" and not self._may_read("alembic_version"):
            return ()
        try:
            rows = self._connection.execute(sa.select(table.c.version_num)).scalars().all()
        except sa.exc.DBAPIError:
            return ()
        return tuple(str(head) for head in rows)

    def _may_read(self, table: str) -> bool:
        # Asked first, because a refused SELECT would end PostgreSQL's transaction.
        schema = self._backend.target.schema
        name = f'"{schema}"."{table}"' if schema else f'"{table}"'
        statement = sa.text("SELECT has_table_privilege(:name, 'SELECT')")
        return bool(self._connection.scalar(statement, {"name": name}))

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sa.exc.DBAPIError as error:
            raise self._backend.explain(error) from None

    # --- facts --------------------------------------------------------------------------------

    def facts(self) -> Facts:
        """Return what is known of this metadata DB."""
        with self._explained():
            version, product = self._backend.server_version(), self._backend.product()
        return Facts(
            backend=self._backend.name,
            product=product,
            server_version=version,
            airflow=self.schema.airflow,
            generation=self.schema.generation.name,
            column_type=self.schema.value_type,
            storage=self.schema.storage,
            heads=self.schema.heads,
        )

    def limits(self) -> list[Limit]:
        """Return the limits that the live database puts on a value, the one in force first."""
        with self._explained():
            return self._backend.limits(self.schema)

    def warnings(self) -> list[str]:
        """Return what an operator should know about how this server handles values."""
        with self._explained():
            return self._backend.warnings(self.schema)

    def readable(self) -> dict[str, bool]:
        """Return, of each table of Airflow's that xcomctl asks, whether it is there to read."""
        found: dict[str, bool] = {}
        for name in ("xcom", *_OTHER_TABLES[:4]):
            there = bool(self._columns[name])
            if there and self._backend.name == "postgresql":
                there = self._may_read(name)
            found[name] = there
        return found

    def files(self, dag_ids: set[str]) -> dict[str, tuple[str | None, str | None]]:
        """Return the file that defines each DAG: its path, and that within its DAG bundle.

        Each None where the database does not know it.
        """
        columns = self._columns["dag"]
        if not dag_ids or "fileloc" not in columns or not self.readable()["dag"]:
            return {}
        dag = self._table("dag", columns)
        relative = dag.c.relative_fileloc if "relative_fileloc" in columns else sa.null()
        # All of them: a few thousand short rows, where an IN of as many names would be slower.
        statement = sa.select(dag.c.dag_id, dag.c.fileloc, relative.label("relative"))
        with self._explained():
            rows = self._connection.execute(statement).all()
        return {
            row.dag_id: (row.fileloc or None, row.relative or None)
            for row in rows
            if row.dag_id in dag_ids
        }

    @property
    def context(self) -> decode.Context:
        """Return how the Airflow that owns this database reads a stored value."""
        return decode.Context(
            reader=self.schema.reader,
            storage=self.schema.storage,
            null_fails=self.schema.null_fails,
        )

    # --- rows ---------------------------------------------------------------------------------

    def count(self, selection: Selection) -> int:
        """Return how many entries are selected."""
        with self._explained():
            statement = self._over(selection, sa.func.count())
            return int(self._connection.scalar(statement) or 0)

    def dag_ids(self) -> list[str]:
        """Return the dag_ids that have an XCom."""
        with self._explained():
            statement = self._backend.distinct(self._x, "dag_id")
            return [str(one) for one in self._connection.execute(statement).scalars()]

    def _over(
        self, selection: Selection, *columns: Element, of_runs: bool = False
    ) -> sa.Select[Any]:
        """Return the query for columns of the selected rows, joined with runs where that needs it."""
        joined = not self.schema.mapped and (of_runs or bool(selection.run_ids))
        rows = sa.select(*columns).select_from(self._from() if joined else self._x)
        return rows.where(*self._where(selection))

    def _stream(self, statement: sa.Select[Any], rows: int) -> Iterator[sa.Row[Any]]:
        result = self._connection.execute(
            statement, execution_options={"stream_results": True, "max_row_buffer": rows}
        )
        self._open.append(result)
        try:
            while batch := result.fetchmany(rows):
                yield from batch
        finally:
            result.close()
            self._open.remove(result)

    def close(self) -> None:
        """End what is still being read, and the connection."""
        for result in self._open:
            result.close()
        self._backend.close()

    def _base(
        self, selection: Selection, *, text: bool, stored: bool, heads: int
    ) -> sa.Select[Any]:
        x, run = self._x.c, self._run.c
        value, storage = x.value, self.schema.storage
        columns: list[Any] = [x[name] for name in self.schema.generation.identity]
        columns += [x[name] for name in ("dag_id", "task_id", "key") if x[name] not in columns]
        if self.schema.mapped:
            columns += [x.run_id]
            date: Element = run[self.schema.run_date or ""] if self._joined else sa.null()
        else:
            columns += [(run.run_id if self._joined else sa.null()).label("run_id")]
            date = x.execution_date
        columns += [
            date.label("execution_date"),
            x.timestamp,
            self._size().label("size"),
            self._backend.head(value, storage, heads).label("head")
            if self._needs_head(heads)
            else sa.case((value.is_(None), 1), else_=0).label("head"),
            (self._backend.text_size(value, storage) if text else sa.null()).label("text_size"),
            (self._backend.stored_size(value, storage) if stored else sa.null()).label(
                "stored_size"
            ),
        ]
        unique = {column.name: column for column in reversed(columns)}
        statement = sa.select(*reversed(unique.values())).select_from(self._from())
        for condition in self._where(selection):
            statement = statement.where(condition)
        return statement

    def _orphan(self) -> sa.Label[Any]:
        """Return whether the row's run or task instance is not there, which Airflow never meets."""
        if not (self._joined and self.schema.mapped):
            return sa.literal(0).label("orphan")
        lost: Element = self._run.c.id.is_(None)
        columns = self._columns["task_instance"]
        if self._backend.name == "sqlite" and columns:
            # Elsewhere a foreign key sees to it.
            x, instance = self._x.c, self._table("task_instance", columns).alias("t")
            names = ("dag_id", "task_id", "run_id", "map_index")
            there = sa.exists().where(*(instance.c[name] == x[name] for name in names))
            lost = sa.or_(lost, sa.not_(there))
        return sa.case((lost, 1), else_=0).label("orphan")

    def _needs_head(self, heads: int) -> bool:
        # A JSON column holds JSON, but for SQLite's, which holds anything.
        return (
            self.schema.storage == "bytes" or self._backend.name == "sqlite" or heads > HEAD_BYTES
        )

    def _size(self) -> Element:
        return self._backend.size(self._x.c.value, self.schema.storage)

    def _from(self) -> sa.FromClause:
        """Return xcom with its runs; rows without one stay."""
        if not self._joined:
            return self._x
        x, run = self._x.c, self._run.c
        same_dag = self._backend.same_column(run.dag_id, x.dag_id)
        if self.schema.mapped:
            # A wrong dag_run_id is accepted everywhere; such a row has no run then.
            on = sa.and_(run.id == x.dag_run_id, same_dag, run.run_id == x.run_id)
        else:
            on = sa.and_(same_dag, run.execution_date == x.execution_date)
        return sa.outerjoin(self._x, self._run, on)

    def _where(self, selection: Selection, *, along_key: bool = False) -> list[Element]:
        """Return the conditions; with `along_key` such that no index on DAGs is used for them."""
        x, backend = self._x.c, self._backend
        conditions: list[Element] = []
        if selection.dag_ids:
            dag_id = backend.without_index(x.dag_id) if along_key else x.dag_id
            conditions.append(self._any_of(dag_id, selection.dag_ids))
            if any(map(is_glob, selection.dag_ids)):
                conditions.append(dag_id.in_(self._dags_like(selection.dag_ids)))
        if selection.run_ids:
            conditions.append(self._any_run(selection.run_ids))
        if selection.task_ids:
            conditions.append(self._any_of(x.task_id, selection.task_ids))
        if selection.keys:
            conditions.append(self._any_of(x.key, selection.keys))
        if selection.map_indexes:
            if self.schema.mapped:
                conditions.append(x.map_index.in_(selection.map_indexes))
            elif UNMAPPED not in selection.map_indexes:
                conditions.append(sa.false())
        if selection.since:
            moment = backend.bound_moment(selection.since)
            conditions.append(backend.moment(x.timestamp) >= moment)
        if selection.until:
            moment = backend.bound_moment(selection.until)
            conditions.append(backend.moment(x.timestamp) <= moment)
        if selection.min_size is not None:
            conditions.append(backend.at_least(x.value, self.schema.storage, selection.min_size))
        if selection.max_size is not None:
            conditions.append(self._size() <= int(selection.max_size))
        return conditions

    def _any_of(self, column: Element, texts: Sequence[str]) -> Element:
        return sa.or_(
            *(
                self._backend.like(column, text)
                if is_glob(text)
                else self._backend.same(column, text)
                for text in texts
            )
        )

    def _any_run(self, run_ids: Sequence[str]) -> Element:
        """Return whether the row is of one of the runs, named by id or, of old, by date."""
        if self.schema.mapped:
            return self._any_of(self._x.c.run_id, run_ids)
        conditions: list[Element] = []
        if self._joined:
            conditions.append(self._any_of(self._run.c.run_id, run_ids))
        for text in run_ids:
            moment = parse_iso(text)
            if moment is not None:
                date = self._backend.moment(self._x.c.execution_date)
                conditions.append(date == self._backend.bound_moment(moment))
        return sa.or_(sa.false(), *conditions)

    def _dags_like(self, patterns: Sequence[str]) -> list[str]:
        """Return the dag_ids that can match, found along the index.

        A superset: a database that folds case or ignores trailing spaces lists one of several
        spellings, and its IN finds them all.
        """
        lower = [pattern.lower() for pattern in patterns]

        def may_match(dag_id: str, pattern: str) -> bool:
            bare = dag_id.rstrip(" ")
            spellings = (bare + " " * spaces for spaces in range(len(pattern) + 1))
            return dag_id == pattern or any(fnmatch.fnmatchcase(one, pattern) for one in spellings)

        return [
            dag_id
            for dag_id in self.dag_ids()
            if any(may_match(dag_id.lower(), pattern) for pattern in lower)
        ]

    def _entry(self, row: sa.Row[Any], size: int | None = None) -> XComEntry:
        """Return the entry of a row of `_base`, whose size may be known already."""
        number = row.size if size is None else size
        size = None if number is None else Size(number)
        head = self._backend.fetched(row.head)
        if head is None and size == 0:
            # SQLite's substr() of an empty blob is NULL.
            head = b""
        if self._head_is_flag(row):
            encoding = Encoding.NULL if head == 1 else Encoding.JSON
            head = None
        else:
            encoding = decode.sniff(head, size, self.schema.storage)
        logical_date = to_moment(row.execution_date)
        named, text_of = row._mapping, self._backend.text_of
        identity = tuple([named[name] for name in self.schema.generation.identity])
        position = identity
        if not self.schema.mapped:
            position = tuple([named[name] for name in self._run_order])
        return XComEntry(
            ref=XComRef(
                text_of(row.dag_id) or "",
                text_of(row.task_id) or "",
                text_of(row.run_id),
                text_of(row.key),
                row.map_index if self.schema.mapped else UNMAPPED,
                logical_date,
            ),
            size=size,
            timestamp=to_moment(row.timestamp),
            encoding=encoding,
            row=identity,
            text_size=None if row.text_size is None else Size(row.text_size),
            stored_size=None if row.stored_size is None else Size(row.stored_size),
            head=head,
            # Asked first, because it costs much to be told that there is no such column.
            orphan="orphan" in named and bool(named["orphan"]),
            position=position,
        )

    def _is_row(self, entry: XComEntry, table: sa.FromClause | None = None) -> list[Element]:
        """Return the conditions that name the row of an entry."""
        conditions: list[Element] = []
        for name, value in zip(self.schema.generation.identity, entry.row, strict=True):
            column = (self._x if table is None else table).c[name]
            if isinstance(value, str) and name != "execution_date":
                conditions.append(self._backend.same(column, value))
            else:
                conditions.append(column.is_(None) if value is None else column == value)
        return conditions

    def _head_is_flag(self, row: sa.Row[Any]) -> bool:
        return (
            self.schema.storage == "json"
            and self._backend.name != "sqlite"
            and isinstance(row.head, int)
        )

    @property
    def _run_order(self) -> tuple[str, ...]:
        """Return the columns by which rows are sorted by run."""
        identity = self.schema.generation.identity
        if self.schema.mapped:
            return identity
        return ("execution_date", *(name for name in identity if name != "execution_date"))

    def _named(self, dag_id: str, task_id: str, key: str | None) -> list[Element]:
        x, same = self._x.c, self._backend.same
        conditions = [same(x.dag_id, dag_id), same(x.task_id, task_id)]
        return conditions if key is None else [*conditions, same(x.key, key)]

    def _one_run(self, run_id: str) -> Element:
        """Return whether the row is of the run, taken as an id, never as a glob."""
        if self.schema.mapped:
            return self._backend.same(self._x.c.run_id, run_id)
        moment = parse_iso(run_id)
        by_id = self._backend.same(self._run.c.run_id, run_id) if self._joined else sa.false()
        if moment is None:
            return by_id
        date = self._backend.moment(self._x.c.execution_date)
        return sa.or_(by_id, date == self._backend.bound_moment(moment))
