"""MySQL and MariaDB through PyMySQL: BLOB, LONGBLOB from Airflow 2.9 on, JSON in Airflow 3."""

from __future__ import annotations

import contextlib
import math
from typing import TYPE_CHECKING, Any, ClassVar

import sqlalchemy as sa

from xcomctl.config import urls
from xcomctl.db.backends import mysql_ids, mysql_storage, mysql_values
from xcomctl.db.backends.base import (
    Backend,
    Element,
)
from xcomctl.db.backends.mysql_bulk import MariaDBBulk, MySQLBulk
from xcomctl.db.backends.mysql_catalogue import read_columns, view_definition
from xcomctl.db.backends.mysql_errors import diagnose, diagnose_connecting
from xcomctl.db.backends.mysql_rows import (
    CAN_READ_RAW,
    KnownRuns,
    known_runs,
    raw_rows,
    write_raw_rows,
)
from xcomctl.db.backends.mysql_sessions import Session
from xcomctl.db.backends.mysql_tls import connect_with_tls, connect_without_tls, tls_context
from xcomctl.db.backends.searching import MySQLSearching
from xcomctl.db.backends.shared_state import SharedState, begin_together
from xcomctl.db.backends.sql_script import MySQLScript, SqlScript
from xcomctl.db.backends.streaming import Page
from xcomctl.db.backends.views import why_rows_are_hidden
from xcomctl.db.backends.watch import GRACE_S, Watch
from xcomctl.model import Limit, Size
from xcomctl.sizes.limits import CAPACITY_BY_TYPE
from xcomctl.text import is_utf8

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping, Sequence
    from datetime import datetime

    from xcomctl.config.drivers import Options
    from xcomctl.config.target import Target
    from xcomctl.config.urls import Url
    from xcomctl.db.backends.diagnosis import Diagnosis
    from xcomctl.db.backends.storage import StorageFacts
    from xcomctl.db.schema import Column, Schema
    from xcomctl.model import Raw, RowSink, Storage

_A_DAY_S = 86_400
JSON_TEXT_PER_STORED = 6
"""How many times as long as its binary, at most, the text of a JSON is, but for the next."""
JSON_TEXT_BEYOND_STORED = 4
"""Bytes of text more than that: `OCTET_LENGTH(value) <= 6 * JSON_STORAGE_SIZE(value) + 4`.

So a value with N bytes of text has at least about N / 6 bytes stored, and checking the stored size
is 2.4 times as fast. MySQL only, whose JSON is binary; see tests/db/test_mysql_json_bound.py.
"""
_UTF8_PASSWORDS = ("mysqldb", "mysqlconnector", "mariadbconnector")
"""The drivers that send a password in UTF-8; the others send Latin-1."""
_SHORTLY_S = 3
"""Timeout of the second connection, which only cancels statements and finds blocking sessions."""
_STRICT_MODES = ("STRICT_TRANS_TABLES", "STRICT_ALL_TABLES", "TRADITIONAL")

_MOST_RUNS = 50_000
"""Runs that take up some 15 MB here."""


class MySQL(Backend):
    """A MySQL server. MariaDB, which answers to the same protocol, is a `MariaDB`."""

    name: ClassVar[str] = "mysql"
    driver: ClassVar[str] = "mysql+pymysql"
    label: ClassVar[str] = "MySQL"
    reclaiming: ClassVar[str] = (
        "InnoDB reuses the pages after purge; the table's file keeps its size until "
        "OPTIMIZE TABLE xcom, which rebuilds it"
    )
    paged_values: ClassVar[Page] = Page(4)

    def __init__(self, target: Target, lock_timeout_s: float | None = None) -> None:
        super().__init__(target, lock_timeout_s)
        self._known_runs: KnownRuns | None = None
        """By id, what they are called and their date, where `stream_into` is to look them up."""
        self._session: Session | None = None
        self._watch: Watch | None = None
        self._unanswered = False
        """Whether the server may be running a statement of which nobody reads the answer."""

    def connect_args(self, url: Url, options: Options) -> dict[str, Any]:
        args: dict[str, Any] = {"connect_timeout": max(1, round(self.target.connect_timeout_s))}
        in_url = {"user": url.username, "password": url.password, "host": url.host}
        in_url |= {"port": str(url.port or ""), "database": url.database}
        args |= {name: value for name, value in options.defaults.items() if not in_url.get(name)}
        args |= options.arguments
        # utf8 is three bytes a character here: an emoji would come back as a question mark.
        args["charset"] = "utf8mb4"
        password = args.get("password") or url.password
        if password and (url.driver in _UTF8_PASSWORDS or not _is_latin1(password)):
            # PyMySQL would send it in Latin-1.
            args["password"] = password.encode()
        for name, bound_s in self._network_bounds_s(options).items():
            # A server that accepts the connection may never say a word.
            args[name] = min(args["connect_timeout"], bound_s or math.inf)
        tls = options.tls
        if tls is not None:
            args |= {"ssl_disabled": True} if tls.disabled else {"ssl": tls_context(tls)}
        return args

    def _network_bounds_s(self, options: Options) -> dict[str, float | None]:
        """Return how long a statement may wait for the network, by PyMySQL's names."""
        # The server's own timeout comes first; this one is for where it has none (`stream_into`).
        bound_s = self.target.timeout_s + GRACE_S if self.target.timeout_s else None
        given = options.arguments
        return {name: given.get(name, bound_s) for name in ("read_timeout", "write_timeout")}

    def engine(self) -> sa.Engine:
        engine = super().engine()
        sa.event.listen(engine, "handle_error", _let_go)
        tls = urls.parse(self.target.url).options().tls
        if tls is not None and not tls.disabled:
            connect = connect_with_tls if tls.required else connect_without_tls
            sa.event.listen(engine, "do_connect", connect)
        return engine

    def use(self, connection: sa.Connection) -> None:
        driver: Any = connection.connection.driver_connection
        for name, bound_s in self._network_bounds_s(urls.parse(self.target.url).options()).items():
            # PyMySQL has no public word for it.
            setattr(driver, f"_{name}", bound_s)
        self._session = Session(self.name, driver.thread_id(), self._second_connection)
        bounds = [one for one in (self.target.timeout_s, self.lock_timeout_s) if one]
        if bounds:
            self._watch = Watch(self._session, look_after_s=min(bounds) / 2, cut_after_s=None)
        sa.event.listen(connection, "before_cursor_execute", self._begin_statement)
        sa.event.listen(connection, "after_cursor_execute", self._end_statement)
        sa.event.listen(connection.engine, "handle_error", self._end_failed_statement)
        super().use(connection)

    def _begin_statement(self, *_: object) -> None:
        self._unanswered = True
        if self._watch:
            self._watch.begin()

    def _end_statement(self, *_: object) -> None:
        self._unanswered = False
        if self._watch:
            self._watch.end()

    def _end_failed_statement(self, context: sa.engine.ExceptionContext) -> None:
        self._end_statement()
        self._unanswered = context.is_disconnect

    @contextlib.contextmanager
    def _second_connection(self) -> Iterator[Any]:
        engine = self.engine()
        sa.event.listen(engine, "do_connect", _wait_shortly, insert=True)
        raw = engine.raw_connection()
        try:
            yield raw
        finally:
            raw.close()

    def abandon(self) -> None:
        if self._session:
            with contextlib.suppress(Exception):
                self._session.cancel()

    def close(self) -> None:
        if self._watch:
            self._watch.stop()
        if self._unanswered:
            self._unanswered = False
            self.abandon()
        super().close()

    def guard(self, connection: sa.Connection) -> None:
        for statement in (
            # What several statements read of one value has to be one value.
            "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ",
            "SET SESSION TRANSACTION READ ONLY",
            "START TRANSACTION READ ONLY",
            "SET time_zone = '+00:00'",
            self.timeout_statement(self.target.timeout_s or 0),
        ):
            connection.exec_driver_sql(statement)

    def prepare(self, connection: sa.Connection) -> None:
        for statement in (
            "SET time_zone = '+00:00'",
            # What is too large is refused, whatever the server is told: never cut.
            "SET SESSION sql_mode = CONCAT(@@sql_mode, ',STRICT_ALL_TABLES')",
            # Point look-ups then lock the rows they find and no gaps, in which others insert.
            "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
            f"SET SESSION innodb_lock_wait_timeout = {max(1, round(self.lock_timeout_s))}",
            # Of tables: while another session alters, locks or backs up one.
            f"SET SESSION lock_wait_timeout = {max(1, round(self.lock_timeout_s))}",
            self.timeout_statement(self.target.timeout_s or 0),
        ):
            connection.exec_driver_sql(statement)

    def slices(
        self, table: sa.FromClause, is_row: list[Element], storage: Storage
    ) -> Iterator[Raw]:
        """Read as it comes; in slices what exceeds the largest packet."""
        statement = sa.select(table.c.value).select_from(table).where(*is_row)
        sql, parameters = self.driver_sql(statement)
        driver: Any = self.connection.connection.driver_connection
        self._bound_whole_answers(_A_DAY_S)
        self._unanswered = True
        try:
            with self.explained():
                is_read = yield from mysql_values.read_pieces(driver, sql, parameters)
        except GeneratorExit:
            self._end_whole_answer()
            raise
        self._end_whole_answer()
        if not is_read:
            packet = self.largest_answer(storage)
            yield from mysql_values.read_slices(self.connection, table, is_row, storage, packet)

    def _end_whole_answer(self) -> None:
        self._unanswered = False
        self._bound_whole_answers(self.target.timeout_s or 0)

    def largest_answer(self, storage: Storage) -> Size:
        packet = self.connection.scalar(sa.text("SELECT @@session.max_allowed_packet"))
        return Size(int(packet or 0))

    def stored(self, raw: Raw, storage: Storage) -> Element:
        if storage == "json" and isinstance(raw, bytes):
            raw = raw.decode("utf-8")
        return super().stored(raw, storage)

    def streamed_time(self, moment: Element) -> Element:
        # Its text needs no regular expression to be read.
        return sa.cast(moment, sa.CHAR)

    def stream_into(self, statement: sa.Select[Any], storage: Storage, sink: RowSink) -> None:
        self._bound_whole_answers(_A_DAY_S)
        if not CAN_READ_RAW:
            super().stream_into(statement, storage, sink)
            return
        known, self._known_runs = self._known_runs, None
        sql, parameters = self.driver_sql(statement)
        with self.explained(), contextlib.closing(self._fields(sql, parameters)) as rows:
            write_raw_rows(rows, sink, known)
        self._bound_whole_answers(self.target.timeout_s or 0)

    def shared_state(self) -> SharedState:
        # No server shares its view between connections: these begin at once, not with a query.
        begin = "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY"
        return begin_together(lambda: self.connection.exec_driver_sql(begin))

    def knows_runs(self, runs: sa.FromClause, date: Element) -> bool:
        # A join costs the server a fifteenth of an export. The transaction sees one state.
        self._known_runs = None
        if not CAN_READ_RAW:
            return False
        c = runs.c
        count = sa.select(c.id).select_from(runs).limit(_MOST_RUNS + 1).subquery()
        number = self.connection.scalar(sa.select(sa.func.count()).select_from(count)) or 0
        if number > _MOST_RUNS or not self._has_airflows_collation():
            return False
        statement = sa.select(c.id, c.dag_id, c.run_id, self.streamed_time(date)).select_from(runs)
        with self.explained():
            rows = self._fields(*self.driver_sql(statement))
            self._known_runs = known_runs(rows)
        return True

    def _has_airflows_collation(self) -> bool:
        """Return whether run_ids are equal where nothing but trailing spaces differs."""
        c = sa.table(
            "columns",
            *map(sa.column, ("table_schema", "table_name", "column_name", "collation_name")),
            schema="information_schema",
        ).c
        statement = sa.select(c.collation_name).where(
            c.table_schema == (self.schema_name() or sa.func.database()),
            c.table_name.in_(("xcom", "dag_run")),
            c.column_name == "run_id",
        )
        found = {str(name) for name in self.connection.execute(statement).scalars()}
        return bool(found) and found <= {"utf8mb3_bin", "utf8_bin", "utf8mb4_bin"}

    def _fields(self, sql: str, parameters: Any) -> Generator[list[Any]]:
        """Yield rows as they come, each field the bytes that the server sent or None."""
        try:
            yield from raw_rows(self.connection.connection.driver_connection, sql, parameters)
        except BaseException:
            self._unanswered = True
            raise

    def _bound_whole_answers(self, seconds: float) -> None:
        """Bound the time for a statement with all of its rows, which are sent while they are read."""
        # Without any bound, a query of ours could run for ever where this process is killed.
        self.connection.exec_driver_sql(self.timeout_statement(seconds))
        if seconds == _A_DAY_S:
            self.connection.exec_driver_sql(f"SET SESSION net_write_timeout = {_A_DAY_S}")

    def timeout_statement(self, seconds: float) -> str:
        """Return the statement that bounds the others; set inside the transaction, so that a
        pooler keeps it on the same server connection."""
        return f"SET SESSION max_execution_time = {int(seconds * 1000)}"

    def server_version(self) -> str:
        version: str = self.connection.scalar(sa.text("SELECT version()")) or ""
        return version.partition("-")[0]

    def product(self) -> str:
        return f"{self.label} {self.server_version()}"

    def storage_facts(self, *, exact: bool) -> StorageFacts:
        return mysql_storage.storage_facts(self.connection, self.schema_name())

    def _variable(self, name: str) -> Any:
        # What a new session of Airflow's starts from; ours may have been told otherwise.
        return self.connection.scalar(sa.text(f"SELECT @@global.{name}"))

    def at_least(self, value: Element, storage: Storage, size: int) -> Element:
        large = super().at_least(value, storage, size)
        fewest = -(-(int(size) - JSON_TEXT_BEYOND_STORED) // JSON_TEXT_PER_STORED)
        if storage == "json" and fewest > 0:
            # Told first and more quickly, so that few texts are made.
            return sa.and_(sa.func.json_storage_size(value) >= fewest, large)
        return large

    def searching(self) -> MySQLSearching:
        return MySQLSearching(self.raw)

    def stored_size(self, value: Element, storage: Storage) -> Element:
        return sa.func.json_storage_size(value) if storage == "json" else sa.null()

    def bulk(self) -> MySQLBulk:
        return MariaDBBulk(self) if self.name == "mariadb" else MySQLBulk(self)

    def script(self) -> SqlScript:
        has_key = self._has_primary_key()
        return MySQLScript(self.connection.dialect, self.target.schema, has_primary_key=has_key)

    def _has_primary_key(self) -> bool:
        """Return whether xcom has one: a view has none."""
        return any(column.primary for column in self.tables.get("xcom", {}).values())

    def same(self, column: Element, text: str) -> Element:
        if not is_utf8(text):
            # The driver refuses to send it, and no column can hold it.
            return sa.false()
        return mysql_ids.same(column, text, self.described(column))

    def same_column(self, left: Element, right: Element, *, exact: bool = True) -> Element:
        first, second = self.described(left), self.described(right)
        return mysql_ids.same_column(left, right, first, second, exact=exact)

    def exact(self, column: Element) -> Element:
        return mysql_ids.binary(column)

    def like(self, column: Element, glob: str) -> Element:
        if not is_utf8(glob):
            return sa.false()
        return mysql_ids.like(column, glob)

    def bound_moment(self, moment: datetime) -> datetime:
        return moment.replace(tzinfo=None)

    def columns(self, table: str) -> Mapping[str, Column]:
        return read_columns(self.connection, table, self.schema_name())

    def hidden_rows(self, table: str) -> str | None:
        # Of a table the server hides no rows; a view can.
        schema = self.schema_name()
        return why_rows_are_hidden(
            table, lambda name: view_definition(self.connection, name, schema)
        )

    def sorts_sizes_apart(self) -> bool:
        return True

    def needs_separate_sort(self, storage: Storage) -> bool:
        # Error 1038, out of sort memory, as soon as one JSON value outgrows the sort buffer: seen
        # on 9.7 with a value of 1 MB.
        return storage == "json"

    def beyond(
        self, columns: Sequence[Element], place: Sequence[object], *, descending: bool = False
    ) -> Element:
        # Its comparison of rows finds no range of an index: a scan from the start.
        # https://dev.mysql.com/doc/refman/8.4/en/row-constructor-optimization.html
        bound = [*map(self.bound_key, place)]
        either: list[Element] = []
        for at, (column, value) in enumerate(zip(columns, bound, strict=True)):
            equal = (columns[before] == bound[before] for before in range(at))
            either.append(sa.and_(*equal, column < value if descending else column > value))
        first = columns[0] <= bound[0] if descending else columns[0] >= bound[0]
        return sa.and_(first, sa.or_(*either))

    def along_key(self, statement: sa.Select[Any], table: sa.FromClause) -> sa.Select[Any]:
        if not self._has_primary_key():
            return statement
        for dialect in ("mysql", "mariadb"):
            statement = statement.with_hint(table, "FORCE INDEX (PRIMARY)", dialect)
        return statement

    def limits(self, schema: Schema) -> list[Limit]:
        capacity = CAPACITY_BY_TYPE.get(schema.value_type, CAPACITY_BY_TYPE["longblob"])
        column = Limit(
            schema.value_type,
            capacity,
            f'column "xcom.value" is {schema.value_type}',
            "refused with error 1406" if self._strict() else "cut silently to this size",
        )
        packet = Limit(
            "max_allowed_packet",
            Size(int(self._variable("max_allowed_packet"))),
            "variable max_allowed_packet of this server",
            "refused with error 1153 or 2006",
        )
        return sorted((column, packet), key=lambda limit: limit.size)

    def _strict(self) -> bool:
        modes = str(self._variable("sql_mode") or "").upper().split(",")
        return any(mode in modes for mode in _STRICT_MODES)

    def warnings(self, schema: Schema) -> list[str]:
        found = []
        if not self._strict():
            found.append(
                "sql_mode is not strict: this server cuts a value that is too large for its column, "
                "silently, and the task that reads it fails"
            )
        tls = urls.parse(self.target.url).options().tls
        driver: Any = self.connection.connection.driver_connection
        if tls is not None and not tls.disabled and not getattr(driver, "_secure", True):
            found.append("the connection is not encrypted: this server does not support TLS")
        return found

    def diagnose(self, cause: BaseException) -> Diagnosis:
        return diagnose(cause, writing=self.writes)

    def diagnose_connecting(self, cause: BaseException) -> Diagnosis:
        return diagnose_connecting(cause)

    @property
    def blockers(self) -> str:
        return self._watch.blockers if self._watch else ""

    @staticmethod
    def _first_line(error: object) -> str:
        args: list[object] = [*getattr(error, "args", ())]
        if len(args) > 1 and isinstance(args[0], int):
            return f"{args[1]} (error {args[0]})"
        return Backend._first_line(error)


def _is_latin1(text: str) -> bool:
    return all(ord(char) < 256 for char in text)


def _wait_shortly(_dialect: object, _record: object, _given: object, named: Any) -> None:
    for name in ("connect_timeout", "read_timeout", "write_timeout"):
        named[name] = _SHORTLY_S


def _let_go(context: sa.engine.ExceptionContext) -> None:
    """Keep a cursor whose server is gone from reading the rest of its rows when it is closed."""
    execution = context.execution_context
    if context.is_disconnect and execution is not None:
        cursor: Any = execution.cursor
        # PyMySQL has no public word for it: its result reads on from a socket that is gone.
        result = cursor._result
        if result is not None:
            result.unbuffered_active = False
        cursor.connection = None


class MariaDB(MySQL):
    """A MariaDB server, whatever the url's scheme says."""

    name: ClassVar[str] = "mariadb"
    label: ClassVar[str] = "MariaDB"

    def timeout_statement(self, seconds: float) -> str:
        return f"SET SESSION max_statement_time = {seconds:g}"

    def at_least(self, value: Element, storage: Storage, size: int) -> Element:
        # Its JSON is text, of which the size is the length.
        return Backend.at_least(self, value, storage, size)

    def stored_size(self, value: Element, storage: Storage) -> Element:
        return sa.null()

    def needs_separate_sort(self, storage: Storage) -> bool:
        return False
