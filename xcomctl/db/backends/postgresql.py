"""PostgreSQL through psycopg2: bytea in Airflow 1 and 2, jsonb in Airflow 3."""

from __future__ import annotations

import contextlib
import functools
from typing import TYPE_CHECKING, Any, ClassVar

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, array

from xcomctl.db.backends import postgresql_ids, postgresql_storage
from xcomctl.db.backends.base import (
    MAX_SNIFFED,
    Backend,
    Element,
    MovedError,
)
from xcomctl.db.backends.globs import glob_within
from xcomctl.db.backends.postgresql_aggregation import (
    IN_ROW,
    PostgreSQLAggregation,
    PostgreSQLSampling,
    about_table,
    begins_like_pickle,
)
from xcomctl.db.backends.postgresql_any_bytes import holds_any_bytes
from xcomctl.db.backends.postgresql_bulk import PostgreSQLBulk
from xcomctl.db.backends.postgresql_copy import CopiedRows
from xcomctl.db.backends.postgresql_errors import diagnose, diagnose_connecting
from xcomctl.db.backends.postgresql_policies import hidden_rows
from xcomctl.db.backends.postgresql_watch import WatchedConnection
from xcomctl.db.backends.searching import PostgreSQLSearching
from xcomctl.db.backends.shared_state import SharedState
from xcomctl.db.backends.sql_script import SqlScript
from xcomctl.db.backends.sqlite import skip_scan
from xcomctl.db.backends.streaming import Page
from xcomctl.db.schema import Column
from xcomctl.errors import UsageError
from xcomctl.model import Limit
from xcomctl.sizes.limits import MAX_BYTEA, MAX_JSONB, MAX_READABLE_BYTEA

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from xcomctl.config.drivers import Options
    from xcomctl.config.urls import Url
    from xcomctl.db.backends.aggregation import Aggregation, PickleSampling
    from xcomctl.db.backends.diagnosis import Diagnosis
    from xcomctl.db.backends.storage import StorageFacts
    from xcomctl.db.schema import Schema
    from xcomctl.model import Raw, RowSink, Size, Storage

_SLICE_BYTES = 6 * 1024 * 1024
"""The answer is text, two digits a byte, of which libpq and psycopg2 hold three copies."""

_A_DAY_S = 86_400
_KEEPALIVES = {
    "keepalives_idle": 20,
    "keepalives_interval": 10,
    "keepalives_count": 4,
    "tcp_user_timeout": 60_000,
}
"""After a minute without a sign of life from the server's machine the connection is lost.

https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-KEEPALIVES
"""


class PostgreSQL(Backend):
    """A PostgreSQL server, or a pooler in front of one."""

    name: ClassVar[str] = "postgresql"
    driver: ClassVar[str] = "postgresql+psycopg2"
    reclaiming: ClassVar[str] = (
        "the rows' space, large values' too, is reused after autovacuum; the files "
        "keep their size until VACUUM FULL, which locks the table, or pg_repack"
    )
    paged_values: ClassVar[Page] = Page(64, inline_bytes=256 * 1024)
    json_array: ClassVar[str] = "json_build_array"

    _driver: WatchedConnection | None = None

    def connect_args(self, url: Url, options: Options) -> dict[str, Any]:
        import psycopg2
        from psycopg2.extensions import make_dsn

        for name, value in options.arguments.items():
            try:
                make_dsn(**{name: str(value)})
            except psycopg2.ProgrammingError:
                raise UsageError(
                    f'the installed libpq does not support the option "{name}" of the URL',
                    hint="Leave it out, or install a newer psycopg2-binary.",
                ) from None
        return {
            "connect_timeout": max(2, round(self.target.connect_timeout_s)),
            "application_name": "xcomctl",
            **options.arguments,
            "client_encoding": "utf8",
        }

    def engine(self) -> sa.Engine:
        # The transaction is opened with BEGIN READ ONLY: no session state that a transaction
        # pooler could lose or leak.
        engine = super().engine()
        sa.event.listen(engine, "do_connect", self._watch)
        return engine.execution_options(postgresql_readonly=not self.writes)

    def _watch(self, _dialect: object, _record: object, _given: object, named: Any) -> None:
        """Add to the driver's arguments what bounds its waiting."""
        for name, value in _KEEPALIVES.items():
            named.setdefault(name, value)
        bounds = [one for one in (self.target.timeout_s, self.lock_timeout_s) if one]
        named["connection_factory"] = functools.partial(
            WatchedConnection,
            look_after_s=min(bounds) / 2 if bounds else None,
            cut_after_s=self.target.timeout_s,
            connect=self._second_connection,
        )

    @contextlib.contextmanager
    def _second_connection(self) -> Iterator[Any]:
        raw = super().engine().raw_connection()
        try:
            yield raw
        finally:
            raw.close()

    def use(self, connection: sa.Connection) -> None:
        driver = connection.connection.driver_connection
        assert isinstance(driver, WatchedConnection)
        self._driver = driver
        self.any_bytes = holds_any_bytes(driver)
        super().use(connection)

    def guard(self, connection: sa.Connection) -> None:
        if self._driver:
            self._driver.watch.cancel_on_signal()
        self._set_for_transaction(connection)

    def prepare(self, connection: sa.Connection) -> None:
        self.guard(connection)

    def begin(self) -> None:
        self._set_for_transaction(self.connection)

    def _set_for_transaction(self, connection: sa.Connection) -> None:
        told = connection.execute(
            sa.text(
                "SELECT pg_backend_pid(), set_config('statement_timeout', :timeout, true),"
                " set_config('lock_timeout', :lock, true), set_config('TimeZone', 'UTC', true)"
            ),
            {
                "timeout": str(int((self.target.timeout_s or 0) * 1000)),
                "lock": str(int(self.lock_timeout_s * 1000)),
            },
        )
        if self._driver:
            self._driver.backend_pid = told.one()[0]

    def shared_state(self) -> SharedState:
        """Return how others read the snapshot that the server exports.

        https://www.postgresql.org/docs/current/functions-admin.html#FUNCTIONS-SNAPSHOT-SYNCHRONIZATION
        """
        return SharedState(self._export_snapshot, lambda _, name: self._import_snapshot(name))

    def _export_snapshot(self) -> str:
        self._begin_repeatable()
        self._set_for_transaction(self.connection)
        return str(self.connection.scalar(sa.text("SELECT pg_export_snapshot()")))

    def _import_snapshot(self, name: str) -> bool:
        self._begin_repeatable()
        literal = self.script().literal(name)
        self.connection.exec_driver_sql(f"SET TRANSACTION SNAPSHOT {literal}")
        self._set_for_transaction(self.connection)
        return True

    def _begin_repeatable(self) -> None:
        # Before the first query, which would take a snapshot of its own.
        self.connection.rollback()
        self.connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")

    def script(self) -> SqlScript:
        return PostgreSQLScript(self.connection.dialect, self.target.schema)

    def stored(self, raw: Raw, storage: Storage) -> Element:
        if storage == "json" and raw is not None:
            return sa.cast(sa.literal(raw, sa.Text), JSONB)
        return super().stored(raw, storage)

    def is_one_of(
        self, columns: list[Element], rows: list[tuple[object, ...]]
    ) -> sa.ColumnElement[bool]:
        if len(columns) == 1:
            return super().is_one_of(columns, rows)
        # A list of tuples becomes as many ORs, each planned on its own: 50 times slower.
        names = [f"c{number}" for number in range(len(columns))]
        wanted = sa.values(*map(sa.column, names), name="wanted").data(rows)
        return sa.tuple_(*columns).in_(sa.select(*(wanted.c[name] for name in names)))

    def bulk(self) -> PostgreSQLBulk:
        return PostgreSQLBulk(self)

    def product(self) -> str:
        return f"PostgreSQL {self.server_version()}"

    def server_version(self) -> str:
        version: str = self.connection.scalar(sa.text("SHOW server_version")) or ""
        return version.partition(" ")[0]

    def columns(self, table: str) -> Mapping[str, Column]:
        # information_schema hides what the role may not read, and that is worth an error of
        # its own; to_regclass follows the search path.
        schema = self.schema_name()
        rows = self.connection.execute(
            sa.text(
                # Collations are deterministic before release 12, which has that column first.
                "SELECT attname, format_type(atttypid, NULL) AS type, attnotnull, atthasdef,"
                " CASE WHEN c.oid <> 100 THEN format('%I.%I', n.nspname, c.collname) END AS collation,"
                " coalesce(to_jsonb(c) ->> 'collisdeterministic', 'true') = 'true' AS exact"
                " FROM pg_catalog.pg_attribute"
                " LEFT JOIN pg_catalog.pg_collation c ON c.oid = attcollation"
                " LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.collnamespace"
                " WHERE attrelid = to_regclass(:name) AND attnum > 0 AND NOT attisdropped"
            ),
            {"name": f"{_quoted(schema)}.{_quoted(table)}" if schema else _quoted(table)},
        )
        return {
            row.attname: Column(
                row.attname,
                row.type,
                not row.attnotnull,
                row.atthasdef,
                collation=row.collation,
                exact=row.exact,
            )
            for row in rows
        }

    def storage_facts(self, *, exact: bool) -> StorageFacts:
        return postgresql_storage.storage_facts(self.connection, self._xcom)

    def hidden_rows(self, table: str) -> str | None:
        return hidden_rows(self.connection, table, self.script().quoted(table))

    def raw(self, value: Element, storage: Storage) -> Element:
        return sa.cast(value, sa.Text) if storage == "json" else value

    def piece(self, value: Element, storage: Storage, start: int, length: int) -> Element:
        return sa.func.substring(self.raw(value, storage), start, length)

    def slices(
        self, table: sa.FromClause, is_row: list[Element], storage: Storage
    ) -> Iterator[Raw]:
        if storage == "json":
            # Every slice would make the whole text again, and who may not write cannot keep it.
            yield from super().slices(table, is_row, storage)
            return
        if about_table(self.connection, self._xcom, "relkind") not in ("r", "p"):
            # Rows of a view have no version.
            yield from super().slices(table, is_row, storage)
            return
        value = table.c.value
        # Each statement sees what is committed by then; xmin tells one version of the row from
        # another.
        version = sa.cast(sa.literal_column(f"{_quoted(_name(table))}.xmin"), sa.Text)
        size = sa.func.octet_length(value)
        start, first = 1, None
        while True:
            piece = sa.func.substring(value, start, _SLICE_BYTES)
            statement = sa.select(version, size, piece).select_from(table).where(*is_row)
            found = self.connection.execute(statement).first()
            if found is None or (first is not None and found[0] != first):
                raise MovedError
            first, whole = found[0], found[1]
            if whole is None:
                return
            slice_ = self.fetched(found[2])
            del found
            yield slice_
            del slice_
            start += _SLICE_BYTES
            if start > whole:
                return

    def largest_answer(self, storage: Storage) -> Size | None:
        # The text of a jsonb may be longer or shorter than it is; only trying tells.
        return MAX_READABLE_BYTEA if storage == "bytes" else None

    def size(self, value: Element, storage: Storage) -> Element:
        if storage == "bytes":
            return sa.func.octet_length(value)
        return sa.func.pg_column_size(_document(value))

    def nulls_last(self, size: Element, descending: bool) -> list[Element]:
        return [(size.desc() if descending else size.asc()).nulls_last()]

    def text_size(self, value: Element, storage: Storage) -> Element:
        return sa.func.octet_length(self.raw(value, storage))

    def stored_size(self, value: Element, storage: Storage) -> Element:
        return sa.func.pg_column_size(value)

    def streamed_value(self, value: Element, storage: Storage) -> Element:
        return _document(value) if storage == "json" else value

    def stream_into(self, statement: sa.Select[Any], storage: Storage, sink: RowSink) -> None:
        columns = statement.selected_columns
        size: Element = sa.literal_column("0")
        whole: Element = columns.whole
        if storage == "json":
            # OFFSET keeps the two parts apart, so that a document is fetched and unpacked once
            # for both its size and its text.
            inner = statement.offset(0).subquery("d")
            columns, whole = inner.c, sa.cast(inner.c.whole, sa.Text)
            statement = sa.select(inner)
            size = sa.func.coalesce(sa.func.pg_column_size(inner.c.whole), size)
        # Names come as two arrays, whose bytes as such are known from other rows.
        statement = statement.with_only_columns(
            *(columns[name] for name in ("map_index", "dag_run_id", "orphan", "timestamp")),
            size,
            _texts(columns.dag_id, columns.task_id, columns.key),
            _texts(columns.run_id, columns.logical_date, columns.others),
            whole,
        )
        sql, parameters = self.driver_sql(statement)
        driver: Any = self._driver
        with self.explained(), driver.cursor() as cursor:
            # COPY takes no parameters; the one more makes the driver read "%%" in any case.
            query = cursor.mogrify(sql, {**parameters, "_": None})
            # Without any bound, a COPY of ours could run for ever where this process is killed.
            self._set_timeout(cursor, _A_DAY_S)
            rows = CopiedRows(sink)
            cursor.copy_expert(b"COPY (" + query + b") TO STDOUT (FORMAT binary)", rows)
            self._set_timeout(cursor, self.target.timeout_s or 0)

    @staticmethod
    def _set_timeout(cursor: Any, seconds: float) -> None:
        milliseconds = str(int(seconds * 1000))
        cursor.execute("SELECT set_config('statement_timeout', %s, true)", (milliseconds,))

    def aggregation(self) -> Aggregation:
        return PostgreSQLAggregation(self.connection, self._xcom)

    def pickle_sampling(self) -> PickleSampling | None:
        version = self.connection.dialect.server_version_info or (0,)
        if version < (14,) or about_table(self.connection, self._xcom, "relkind") != "r":
            # It has no max() of row addresses, or a view has none.
            return None
        return PostgreSQLSampling(self.connection)

    @property
    def _xcom(self) -> str:
        name, schema = "xcom_v2" if "xcom_v2" in self.tables else "xcom", self.schema_name()
        return f"{_quoted(schema)}.{name}" if schema else name

    def may_be_pickle(self, value: Element, *, in_row: bool = False) -> Element:
        # get_byte reads a small value where it lies, and would fetch the whole of a large one. The
        # lengths are asked for one after the other, so that most values answer after two.
        size = sa.func.octet_length(value)
        first = sa.func.get_byte(value, 0) == 0x80
        last = sa.func.get_byte(value, size - 1) == ord(".")
        small = sa.and_(size > 1, last)
        return sa.case(
            (size > IN_ROW, sa.false() if in_row else begins_like_pickle(value)),
            (size > MAX_SNIFFED, first),
            (size > 0, sa.or_(first, small)),
            else_=sa.false(),
        )

    def searching(self) -> PostgreSQLSearching:
        return PostgreSQLSearching(self.raw, self._holds)

    def same(self, column: Element, text: str) -> Element:
        if not self._holds(text):
            return sa.false()
        return postgresql_ids.exact(column, self.described(column)) == text

    def same_column(self, left: Element, right: Element, *, exact: bool = True) -> Element:
        first, second = self.described(left), self.described(right)
        return postgresql_ids.same_column(left, right, first, second)

    def exact(self, column: Element) -> Element:
        return postgresql_ids.exact(column, self.described(column))

    def like(self, column: Element, glob: str) -> Element:
        possible = glob_within(glob, self._holds)
        if possible is None:
            return sa.false()
        return postgresql_ids.like(self.exact(column), possible)

    def _holds(self, text: str) -> bool:
        driver: Any = self.connection.connection.driver_connection
        encoding = driver.info.parameter_status("server_encoding")
        return postgresql_ids.holds(text, encoding or "UTF8")

    def size_ties(self, key: list[Element]) -> list[Element]:
        # Several processes scan, and what they send comes as it comes.
        return key

    def distinct(self, table: sa.FromClause, column: str, *conditions: Element) -> sa.Select[Any]:
        return skip_scan(table, column, *conditions)

    def along_key(self, statement: sa.Select[Any], table: sa.FromClause) -> sa.Select[Any]:
        # For this transaction: the first row of a sort comes when all are read, and written out
        # to the server's disk.
        self.connection.execute(sa.text("SELECT set_config('enable_sort', 'off', true)"))
        return statement

    def limits(self, schema: Schema) -> list[Limit]:
        column = f'column "xcom.value" is {schema.value_type}'
        if schema.storage == "json":
            return [
                Limit(
                    "jsonb",
                    MAX_JSONB,
                    f"{column}: 28 bits for a string and for the sum of a container's elements",
                    "refused: it is too large for jsonb",
                ),
                Limit("field", MAX_BYTEA, "a field holds 1 GiB at most", "refused"),
            ]
        return [
            Limit(
                "bytea_readable",
                MAX_READABLE_BYTEA,
                f"{column}, which the server sends as text of two digits a byte",
                "stored, but cannot be read back as text",
            ),
            Limit("field", MAX_BYTEA, "a field holds 1 GiB at most", "refused"),
        ]

    @property
    def blockers(self) -> str:
        return self._driver.watch.blockers if self._driver else ""

    def diagnose(self, cause: BaseException) -> Diagnosis:
        driver = self._driver
        return diagnose(
            cause,
            writing=self.writes,
            closed=driver is None or driver.closed != 0,
            silent_s=driver.watch.silent_s if driver else None,
        )

    def diagnose_connecting(self, cause: BaseException) -> Diagnosis:
        return diagnose_connecting(cause)

    @staticmethod
    def _first_line(error: object) -> str:
        return Backend._first_line(error).removeprefix("ERROR:").strip()


def _texts(*columns: Element) -> Element:
    return sa.cast(array([sa.cast(one, sa.Text) for one in columns]), ARRAY(sa.Text))


def _document(value: Element) -> Element:
    """Return a jsonb value as an expression: unpacked, where the column's may be compressed.

    An empty path leads to the whole document.
    """
    return value.op("#>")(sa.literal_column("'{}'"))


class PostgreSQLScript(SqlScript):
    """PostgreSQL's."""

    preamble = ("SET client_encoding TO 'UTF8'",)

    def literal(self, value: str | bytes) -> str:
        if isinstance(value, bytes):
            return f"'\\x{value.hex()}'::bytea"
        return postgresql_ids.escape_literal(value)


def _name(table: sa.FromClause) -> str:
    """Return the alias, or the name, by which a statement knows the table."""
    return str(getattr(table, "name", "xcom"))


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
