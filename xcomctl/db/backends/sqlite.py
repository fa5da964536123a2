"""SQLite: a file, opened so that nothing can be written or created."""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
import time
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import quote

import sqlalchemy as sa

from xcomctl.config import urls
from xcomctl.db.backends import sqlite_storage
from xcomctl.db.backends.base import Backend, Element, MovedError
from xcomctl.db.backends.diagnosis import READ_ONLY_VIEW
from xcomctl.db.backends.searching import SQLiteSearching
from xcomctl.db.backends.sqlite_bulk import SQLiteBulk, has_rowid
from xcomctl.db.backends.sqlite_errors import diagnose, holds_something
from xcomctl.db.backends.sqlite_sampling import IN_ROW, SQLiteSampling
from xcomctl.db.backends.sqlite_text import AnyTextConnection
from xcomctl.db.backends.streaming import Memo, name_memos, reads_times
from xcomctl.db.backends.times import Times, iso, no_time
from xcomctl.db.backends.views import why_rows_are_hidden
from xcomctl.db.schema import Column
from xcomctl.errors import DatabaseError, RefusedError
from xcomctl.model import Limit, Size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from xcomctl.db.backends.aggregation import PickleSampling
    from xcomctl.db.backends.diagnosis import Diagnosis
    from xcomctl.db.backends.storage import StorageFacts
    from xcomctl.db.schema import Schema
    from xcomctl.model import Raw, RowSink, Storage

_OPCODES_BETWEEN_CHECKS = 20_000
_VALUES_AT_ONCE = 64
_SLICE_BYTES = 8 * 1024 * 1024


class SQLite(Backend):
    """A SQLite file."""

    name: ClassVar[str] = "sqlite"
    # One writer at a time, and no queue: who waits looks again every 100 ms.
    breather_s: ClassVar[float] = 0.12
    peeks: ClassVar[bool] = True
    reclaiming: ClassVar[str] = (
        "the file keeps its size and the free pages are reused; VACUUM gives them back, "
        "and needs as much free disk for a copy"
    )

    def engine(self) -> sa.Engine:
        path = urls.sqlite_path(self.target.url)
        mode = self._check_file(path)
        if self.writes:
            # Still not "rwc": a mistyped path must create nothing.
            mode = "mode=rw"
        self._deadline = float("inf")

        def connect() -> sqlite3.Connection:
            # mode=ro is what keeps us from writing: it never creates a file either.
            connection = sqlite3.connect(
                f"file:{quote(str(path.absolute()))}?{mode}",
                uri=True,
                timeout=self.lock_timeout_s if self.writes else self.target.connect_timeout_s,
                isolation_level=None,
                factory=AnyTextConnection,
            )
            connection.text_factory = _text
            # Also what lets Ctrl-C end a long statement, so it is there without a timeout, too.
            connection.set_progress_handler(self._is_over, _OPCODES_BETWEEN_CHECKS)
            return connection

        engine = sa.create_engine("sqlite://", creator=connect, poolclass=sa.pool.NullPool)
        if self.target.timeout_s:
            sa.event.listen(engine, "before_cursor_execute", self._start_clock)
        return engine

    def _is_over(self) -> bool:
        """Return whether the statement is to end here."""
        return time.monotonic() > self._deadline

    def _ask(self, sql: str, *parameters: object) -> Any:
        """Return the first row of a statement that is the driver's alone, in its own time."""
        with self.explained():
            self._start_clock()
            return self._driver().execute(sql, parameters).fetchone()

    def _start_clock(self, *_: object) -> None:
        self._deadline = time.monotonic() + (self.target.timeout_s or float("inf"))

    def _check_file(self, path: Path) -> str:
        """Return the options to open the file with.

        Raises:
            DatabaseError: there is no SQLite database.
        """
        reason = None
        try:
            if not path.exists():
                reason = "the file does not exist"
            elif path.is_dir():
                reason = "it is a directory"
            else:
                with path.open("rb") as file:
                    start = file.read(20)
                if start[:16] not in (b"", b"SQLite format 3\x00"):
                    reason = "it is not a SQLite database"
                elif (
                    start[18:20] == b"\x02\x02"
                    and not os.access(path.parent, os.W_OK)
                    and not holds_something(path.with_name(f"{path.name}-wal"))
                ):
                    # Reading a WAL database takes two files beside it, which nobody can make
                    # here; so nobody is writing either.
                    return "mode=ro&immutable=1"
        except OSError as error:
            reason = (error.strerror or "it cannot be read").lower()
        if reason:
            raise DatabaseError(
                f'could not open "{path}": {reason}',
                hint=f"The path comes from {self.target.origin}.",
            )
        return "mode=ro"

    def guard(self, connection: sa.Connection) -> None:
        connection.exec_driver_sql("PRAGMA query_only = ON")

    def prepare(self, connection: sa.Connection) -> None:
        # Foreign keys stay off, as they are here by default: the writer looks for the task
        # instance itself, and an undo file may hold rows that had none.
        if self._view_definition("xcom") is not None and not self._has_trigger("xcom"):
            # It would say so with the code of any other mistake in SQL.
            raise RefusedError(
                f'could not write "{self.target.shown}": {READ_ONLY_VIEW.reason}',
                hint=READ_ONLY_VIEW.hint,
            )

    def begin(self) -> None:
        # At once: a transaction that begins by reading cannot become one that writes when
        # another session has written meanwhile.
        self.connection.exec_driver_sql("BEGIN IMMEDIATE")

    def locked(self, statement: sa.Select[Any]) -> sa.Select[Any]:
        return statement

    def is_one_of(
        self, columns: list[Element], rows: list[tuple[object, ...]]
    ) -> sa.ColumnElement[bool]:
        # A list of tuples alone would be looked for in every row of the table. Names that are no
        # UTF-8 cannot stand in it, nor can a blob or a number where others are texts.
        kinds = [None if any(map(_is_broken, row)) else tuple(map(type, row)) for row in rows]
        kind = next(filter(None, kinds), None)
        plain = [row for row, its in zip(rows, kinds, strict=True) if its and its == kind]
        found = [super().is_one_of(columns, plain)] if plain else []
        if len(columns) > 1 and plain:
            found = [sa.and_(columns[0].in_(list({row[0]: None for row in plain})), *found)]
        for row, its in zip(rows, kinds, strict=True):
            if its is None or its != kind:
                pairs = zip(columns, map(self.bound_key, row), strict=True)
                found.append(sa.and_(*(column == value for column, value in pairs)))
        return sa.or_(*found)

    def bulk(self) -> SQLiteBulk:
        return SQLiteBulk(self)

    def server_version(self) -> str:
        return sqlite3.sqlite_version

    def product(self) -> str:
        return f"SQLite {sqlite3.sqlite_version}"

    def columns(self, table: str) -> Mapping[str, Column]:
        rows = self.connection.execute(
            sa.text('SELECT name, type, "notnull", dflt_value, pk FROM pragma_table_info(:name)'),
            {"name": table},
        ).all()
        # An INTEGER PRIMARY KEY fills itself; so does no other key.
        alone = sum(1 for row in rows if row.pk) == 1
        return {
            row.name: Column(
                row.name,
                str(row.type).lower().partition("(")[0],
                not row.notnull,
                row.dflt_value is not None or (alone and row.pk == 1),
            )
            for row in rows
        }

    def storage_facts(self, *, exact: bool) -> StorageFacts:
        return sqlite_storage.storage_facts(self.connection, exact=exact)

    def hidden_rows(self, table: str) -> str | None:
        return why_rows_are_hidden(table, self._view_definition)

    def _view_definition(self, name: str) -> str | None:
        statement = sa.text(
            f"SELECT sql FROM {self._catalogue} WHERE name = :name AND type = 'view'"
        )
        found = self.connection.scalar(statement, {"name": name})
        # What is behind AS is the query.
        return None if found is None else re.split(r"(?i)\bAS\b", str(found), maxsplit=1)[-1]

    def _has_trigger(self, name: str) -> bool:
        """Return whether there is one that may write to a view's table instead."""
        found = f"SELECT 1 FROM {self._catalogue} WHERE tbl_name = :name AND type = 'trigger'"
        return self.connection.scalar(sa.text(found), {"name": name}) is not None

    @property
    def _catalogue(self) -> str:
        """Return the name of the catalogue, quoted for a `sa.text`."""
        name = self.script().quoted("sqlite_master")
        return name.replace(":", "\\:")

    def piece(self, value: Element, storage: Storage, start: int, length: int) -> Element:
        # substr() would turn a number into text, and the number is what Airflow reads.
        number = sa.func.typeof(value).in_(("integer", "real"))
        return sa.case((number, value), else_=sa.func.substr(value, start, length))

    def slices(
        self, table: sa.FromClause, is_row: list[Element], storage: Storage
    ) -> Iterator[Raw]:
        """Read through a handle on the value, which costs no more than the slices.

        Writers wait meanwhile, unless the database has a write-ahead log.
        """
        with self._handle(table, is_row) as (_, blob):
            if blob is None:
                yield from super().slices(table, is_row, storage)
                return
            while piece := blob.read(_SLICE_BYTES):
                yield piece

    def peek(
        self, table: sa.FromClause, is_row: list[Element], storage: Storage, length: int
    ) -> tuple[int | None, Raw]:
        with self._handle(table, is_row) as (kind, blob):
            if blob is None:
                return super().peek(table, is_row, storage, length)
            head = blob.read(length)
            return len(blob), head.decode("utf-8", "surrogateescape") if kind == "text" else head

    @contextlib.contextmanager
    def _handle(
        self, table: sa.FromClause, is_row: list[Element]
    ) -> Iterator[tuple[str, sqlite3.Blob | None]]:
        """Open a handle on the value of a row, with its storage class; None where there cannot be.

        Raises:
            MovedError: there is no such row, or this connection has changed it meanwhile.
        """
        driver = self._driver()
        begins = not driver.in_transaction
        if begins:
            # The row that was found has to be the one that the handle is opened on.
            self.connection.exec_driver_sql("BEGIN")
        try:
            kind, rowid = self._kind_and_rowid(table, is_row)
            if rowid is None:
                yield kind, None
                return
            schema = self.target.schema or "main"
            with driver.blobopen("xcom", "value", rowid, readonly=True, name=schema) as blob:
                yield kind, blob
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode == sqlite3.SQLITE_ABORT:
                raise MovedError from None
            raise sa.exc.OperationalError("blobopen", None, error) from None
        finally:
            if begins and driver.in_transaction:
                driver.execute("COMMIT")

    def _kind_and_rowid(
        self, table: sa.FromClause, is_row: list[Element]
    ) -> tuple[str, int | None]:
        kind = sa.func.typeof(table.c.value)
        statement = sa.select(kind, sa.literal_column("rowid")).select_from(table).where(*is_row)
        try:
            found = self.connection.execute(statement).first()
        except sa.exc.OperationalError:
            # A table WITHOUT ROWID.
            return "", None
        if found is None:
            raise MovedError
        if found[0] == "text":
            # Of a database in UTF-16 the handle would give just that.
            encoding = self.connection.exec_driver_sql("PRAGMA encoding").scalar()
            return found[0], found[1] if encoding == "UTF-8" else None
        return found[0], found[1] if found[0] == "blob" else None

    def _driver(self) -> sqlite3.Connection:
        raw = self.connection.connection.driver_connection
        if not isinstance(raw, sqlite3.Connection):  # pragma: no cover - it is ours
            raise TypeError
        return raw

    def size(self, value: Element, storage: Storage) -> Element:
        if sqlite3.sqlite_version_info >= (3, 43):
            return sa.func.octet_length(value)
        # length() of a BLOB reads its header only; of text it counts characters. A CASE of the type
        # costs half as much as one of a comparison.
        whole = sa.func.length(sa.cast(value, sa.LargeBinary))
        return sa.case({"blob": sa.func.length(value)}, value=sa.func.typeof(value), else_=whole)

    def searching(self) -> SQLiteSearching:
        return SQLiteSearching(self.raw)

    def pickle_sampling(self) -> PickleSampling | None:
        if not has_rowid(self.connection, "xcom"):
            return None
        return SQLiteSampling(self._driver(), self.schema_name() or "main")

    def may_be_pickle(self, value: Element, *, in_row: bool = False) -> Element:
        # Both are told by the row's header; anything else reads the value to its end.
        cheap = [sa.func.typeof(value) == "blob"]
        if in_row:
            cheap.append(sa.func.length(value) <= IN_ROW)
        return sa.and_(*cheap, super().may_be_pickle(value))

    def streamed_besides(self, value: Element, storage: Storage) -> dict[str, Element]:
        # Texts come as bytes, too.
        return {"is_blob": sa.func.typeof(value) == "blob"}

    def stream_into(self, statement: sa.Select[Any], storage: Storage, sink: RowSink) -> None:
        sql, parameters = self.driver_sql(statement)
        self._streaming(storage, sink)(sql, parameters)

    def _streaming(self, storage: Storage, sink: RowSink) -> Callable[[str, Any], None]:
        """Return what hands over the rows of a statement, and keeps what it knows of names."""
        dags, tasks, runs, keys, others = name_memos(sink, self.text_of)
        dates = Memo(lambda date: sink.encode_name("logical_date", iso(self.text_of(date))))
        kinds = ("text", None) if storage == "bytes" else (None, "blob")
        write_row, time = sink.write_row, Times().read if reads_times(sink) else no_time

        def stream_into(sql: str, parameters: Any) -> None:
            for rows in self._batches(sql, parameters, _VALUES_AT_ONCE):
                for index, run, orphan, stamp, date, run_id, dag, task, key, other, raw, is_blob in rows:  # fmt: skip
                    size: int | None
                    if type(raw) is bytes:
                        size, kind = len(raw), kinds[is_blob]
                    else:
                        size, kind = self._number(raw)
                    write_row((
                        dags[dag], tasks[task], runs[run_id], index, keys[key], time(stamp), dates[date],
                        size, run, orphan != 0, others[other], kind, raw,
                    ))  # fmt: skip

        return stream_into

    def _number(self, raw: float | None) -> tuple[int | None, str | None]:
        """Return the size of a number, or NULL, and its storage class."""
        if raw is None:
            return None, None
        size = self._ask("SELECT length(CAST(? AS BLOB))", raw)[0]
        return size, "real" if isinstance(raw, float) else "integer"

    def batches(self, statement: sa.Select[Any]) -> Iterator[Sequence[Sequence[Any]]]:
        return self._batches(*self.driver_sql(statement), self.paged.rows)

    def _batches(self, sql: str, parameters: Any, at_once: int) -> Iterator[list[tuple[Any, ...]]]:
        """Yield rows as the driver has them, with texts as bytes.

        Anything else makes a call or a copy for each text, and values are text in Airflow 3.
        `timeout_s` bounds the wait for the next rows.
        """
        connection = self._driver()
        texts = connection.text_factory
        connection.text_factory = bytes
        cursor = connection.cursor()
        try:
            with self.explained():
                self._start_clock()
                cursor.execute(sql, parameters)
                while rows := cursor.fetchmany(at_once):
                    yield rows
                    self._start_clock()
        finally:
            # Ctrl-C may have closed the file before.
            with contextlib.suppress(sqlite3.ProgrammingError):
                cursor.close()
            connection.text_factory = texts

    def text_of(self, value: Any) -> str | None:
        return _text(value) if isinstance(value, bytes) else value

    def same(self, column: Element, text: str) -> Element:
        # Airflow's columns compare bytes by default, and others are made to.
        return column == _binary(self.bound_key(text))

    def same_column(self, left: Element, right: Element, *, exact: bool = True) -> Element:
        return left == _binary(right)

    def exact(self, column: Element) -> Element:
        return _binary(column)

    def like(self, column: Element, glob: str) -> Element:
        # SQLite's GLOB is the shell's, but for the sign of a negated class.
        return column.op("GLOB")(glob.replace("[!", "[^"))

    def moment(self, column: Element) -> Element:
        return sa.func.replace(column, "T", " ")

    def bound_moment(self, moment: datetime) -> str:
        return moment.strftime("%Y-%m-%d %H:%M:%S.%f")

    def has_statistics(self) -> bool:
        return False

    def without_index(self, column: Element) -> Element:
        # What the sign is for: https://www.sqlite.org/optoverview.html#uplus
        return sa.literal_column("+x.dag_id") if column.name == "dag_id" else column

    def distinct(self, table: sa.FromClause, column: str, *conditions: Element) -> sa.Select[Any]:
        return skip_scan(table, column, *conditions)

    def bound_key(self, value: object) -> Element:
        if isinstance(value, str) and not value.isascii():
            # What is no UTF-8 goes back as the bytes that it came as.
            try:
                data = value.encode("utf-8", "surrogateescape")
            except UnicodeEncodeError:
                data = value.encode("utf-8", "surrogatepass")
            return sa.cast(sa.literal(data, sa.LargeBinary), sa.Text)
        return super().bound_key(value)

    def limits(self, schema: Schema) -> list[Limit]:
        length = self._driver().getlimit(sqlite3.SQLITE_LIMIT_LENGTH)
        return [
            Limit(
                "sqlite_max_length",
                Size(length),
                "SQLITE_MAX_LENGTH of this SQLite library, which counts the whole row",
                'refused with "string or blob too big"',
            )
        ]

    def diagnose(self, cause: BaseException) -> Diagnosis:
        return diagnose(cause, urls.sqlite_path(self.target.url), writing=self.writes)

    def diagnose_connecting(self, cause: BaseException) -> Diagnosis:
        return self.diagnose(cause)


def _is_broken(value: object) -> bool:
    """Return whether it is a blob, or a text that came from bytes that were no UTF-8."""
    if isinstance(value, bytes):
        return True
    if not isinstance(value, str) or value.isascii():
        return False
    return any("\ud800" <= char <= "\udfff" for char in value)


def _text(data: bytes) -> str:
    """Return a text; what is not UTF-8 must neither fail nor be lost."""
    return data.decode("utf-8", "surrogateescape")


def _binary(text: Element) -> Element:
    return sa.collate(text, "BINARY")


def skip_scan(table: sa.FromClause, column: str, *conditions: Element) -> sa.Select[Any]:
    """Return the query that hops from one distinct value of an index to the next."""
    value = table.c[column]
    least = sa.select(sa.func.min(value).label("v")).where(*conditions)
    hop = least.cte("hop", recursive=True)
    following = least.where(value > hop.c.v).correlate(hop).scalar_subquery()
    hop = hop.union_all(sa.select(following).where(hop.c.v.is_not(None)))
    return sa.select(hop.c.v).where(hop.c.v.is_not(None))
