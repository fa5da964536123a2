"""The contract of a database product, with defaults in standard SQL."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Final

import sqlalchemy as sa

from xcomctl.config import urls
from xcomctl.db.backends.bulk import Bulk
from xcomctl.db.backends.diagnosis import Circumstances, to_error
from xcomctl.db.backends.engine import UnreadableAnswerError, cause_of, make_engine
from xcomctl.db.backends.searching import Searching
from xcomctl.db.backends.shared_state import SharedState, begin_together
from xcomctl.db.backends.sql_script import SqlScript, with_parameters
from xcomctl.db.backends.storage import StorageFacts
from xcomctl.db.backends.streaming import Page, write_rows
from xcomctl.sizes.statistics import gather_sizes

if TYPE_CHECKING:
    from array import array
    from collections.abc import Iterator, Mapping, Sequence

    from xcomctl.config.drivers import Options
    from xcomctl.config.target import Target
    from xcomctl.config.urls import Url
    from xcomctl.db.backends.aggregation import Aggregation, PickleSampling
    from xcomctl.db.backends.diagnosis import Diagnosis
    from xcomctl.db.schema import Column, Schema
    from xcomctl.errors import XcomctlError
    from xcomctl.model import Limit, Raw, RowSink, Size, Storage
    from xcomctl.sizes.statistics import Name

Element = sa.ColumnElement[Any]

MAX_SNIFFED: Final = 64
"""The first bytes by which an encoding is told; of a pickle of protocol 0 or 1 they must be all."""


class MovedError(Exception):
    """The row was changed or deleted while its value was read slice by slice."""


class Backend(ABC):
    """A database product: what a new one must override, and what it may.

    **Must**: `name` and `driver`; `guard` and `prepare`, so that a connection cannot write, or
    writes strictly; `columns` and `hidden_rows`; `like`; `diagnose` and `diagnose_connecting`.

    **Should**, to be exact: `size` where a value's stored bytes are not its `octet_length`;
    `same`, `same_column` and `exact` where two texts that differ can be equal; `limits`;
    `bound_moment` where a time is bound in another way; `stored` where a value is cast on its
    way in; `abandon` where a query keeps running after its client is gone.

    **May**, to be fast, once measured: everything else. Each method says what has to come back.

    A product that speaks another's dialect is a subclass of that one, such as
    `class CockroachDB(PostgreSQL)` with `name` and `driver`.

    Choose it in `db.__init__`, and name its URL scheme in `config.urls`. The tests run on it once
    `tests.servers` can start it; `tests/db/test_contract.py` runs on the defaults alone.
    """

    name: ClassVar[str]
    """As in `-o json`: `postgresql`."""
    driver: ClassVar[str]
    """SQLAlchemy's name of our driver: `postgresql+psycopg2`."""
    reclaiming: ClassVar[str] = ""
    """What becomes of the space of deleted rows, in a sentence for the user."""
    breather_s: ClassVar[float] = 0.0
    """How long a series of writes pauses now and then. Set it if waiting writers do not queue."""
    peeks: ClassVar[bool] = False
    """Set it if a SELECT of a value's size or head reads the whole value, and `peek` does not."""
    paged: ClassVar[Page] = Page(1000)
    """How rows without values are fetched. Set it to what is fastest within some MB."""
    paged_values: ClassVar[Page] = Page(16)
    """How rows with whole values are fetched. Set it to what is fastest within some MB."""
    json_array: ClassVar[str] = "json_array"
    """The function that makes a JSON array of texts."""

    def __init__(self, target: Target, lock_timeout_s: float | None = None) -> None:
        self.target = target
        self.lock_timeout_s = lock_timeout_s or 0.0
        self.writes = lock_timeout_s is not None
        """Whether the connection may write, which it cannot without a lock timeout."""
        self.any_bytes = False
        """Whether the texts of the database may be no valid text in any encoding."""
        self.connection: sa.Connection
        self.tables: Mapping[str, Mapping[str, Column]] = {}
        """The columns of Airflow's tables by name, once the catalogue was read."""

    # --- connecting ---------------------------------------------------------------------------

    def use(self, connection: sa.Connection) -> None:
        """Guard the connection and ask everything of it from now on."""
        self.connection = connection
        with self.explained():
            if self.writes:
                self.prepare(connection)
            else:
                self.guard(connection)

    def engine(self) -> sa.Engine:
        """Return an engine for the target, which opens nothing yet."""
        url = urls.parse(self.target.url)
        return make_engine(self.driver, url, self.connect_args(url, url.options()))

    def connect_args(self, url: Url, options: Options) -> dict[str, Any]:
        """Return the driver's arguments besides the URL's own parts."""
        return dict(options.arguments)

    @abstractmethod
    def guard(self, connection: sa.Connection) -> None:
        """Make the open connection unable to write, bounded in time, and speak UTC and UTF-8."""

    @abstractmethod
    def prepare(self, connection: sa.Connection) -> None:
        """Make the open connection fit to write: strict, bounded in time, UTC and UTF-8."""

    def begin(self) -> None:
        """Begin the transaction in which something is written."""
        self.connection.exec_driver_sql("START TRANSACTION")

    def abandon(self) -> None:  # noqa: B027 - a product whose cursors just close has nothing to do
        """End the statement in progress, of which nobody will read the rows that are left."""

    def close(self) -> None:
        """End the transaction, if any, and the connection."""
        # Of a server that is gone the reason why was told already; it has ended the transaction.
        with contextlib.suppress(sa.exc.DBAPIError):
            self.connection.close()

    # --- asking the catalogue -----------------------------------------------------------------

    def server_version(self) -> str:
        """Return the server's version: `15.18`."""
        info = self.connection.dialect.server_version_info or ()
        return ".".join(str(part) for part in info)

    def product(self) -> str:
        """Return the product for people: `PostgreSQL 15.18`."""
        return f"{self.name} {self.server_version()}"

    def schema_name(self) -> str | None:
        """Return the database schema in which Airflow's tables are looked for."""
        return self.target.schema

    @abstractmethod
    def columns(self, table: str) -> Mapping[str, Column]:
        """Return the columns of a table of Airflow's by name, none if there is no such table."""

    def described(self, column: Element) -> Column | None:
        """Return what the catalogue says of a column of a table, or of a query that is xcom's."""
        table = getattr(column, "table", None)
        name = getattr(getattr(table, "element", table), "name", "xcom")
        return self.tables.get(name, {}).get(getattr(column, "name", ""))

    @abstractmethod
    def hidden_rows(self, table: str) -> str | None:
        """Return why a table of Airflow's may show only some of its rows, None if it shows all."""

    def storage_facts(self, *, exact: bool) -> StorageFacts:
        """Return the sizes of tables with XComs or states, and replication, from the catalogue.

        What the product does not know or the role may not ask is None, not an error. `exact`
        allows to read every page of a large file for it.
        """
        return StorageFacts()

    # --- expressions --------------------------------------------------------------------------

    def raw(self, value: Element, storage: Storage) -> Element:
        """Return the value as the database holds it, which `fetched` makes a `Raw`."""
        return value

    def fetched(self, value: Any) -> Raw:
        """Return what the driver handed over as bytes, text or a number."""
        return bytes(value) if isinstance(value, memoryview | bytearray) else value

    def head(self, value: Element, storage: Storage, length: int) -> Element:
        """Return the first bytes (characters, of text) of the value."""
        return self.piece(value, storage, 1, length)

    def piece(self, value: Element, storage: Storage, start: int, length: int) -> Element:
        """Return `length` bytes (characters, of text) of the value from `start`, from one."""
        return sa.func.substr(self.raw(value, storage), start, length)

    def slices(
        self, table: sa.FromClause, is_row: list[Element], storage: Storage
    ) -> Iterator[Raw]:
        """Yield the stored value of one row, in slices where the database has a good way.

        Nothing where it is NULL. Never parts of two values.

        Raises:
            MovedError: the row is gone, or has another value now.
        """
        value = self.raw(table.c.value, storage)
        found = self.connection.execute(sa.select(value).select_from(table).where(*is_row)).first()
        if found is None:
            raise MovedError
        yield self.fetched(found[0])

    def peek(
        self, table: sa.FromClause, is_row: list[Element], storage: Storage, length: int
    ) -> tuple[int | None, Raw]:
        """Return size and first bytes of one value, without holding it.

        Raises:
            MovedError: the row is gone.
        """
        value = table.c.value
        columns = self.size(value, storage), self.head(value, storage, length)
        found = self.connection.execute(sa.select(*columns).select_from(table).where(*is_row))
        row = found.first()
        if row is None:
            raise MovedError
        return row[0], self.fetched(row[1])

    def largest_answer(self, storage: Storage) -> Size | None:
        """Return the largest value that a plain statement can read, None where all can be."""
        return None

    def size(self, value: Element, storage: Storage) -> Element:
        """Return the bytes that the database holds and counts against its limit."""
        return sa.func.octet_length(value)

    def at_least(self, value: Element, storage: Storage, size: int) -> Element:
        """Return whether the value has at least `size` bytes."""
        return self.size(value, storage) >= int(size)

    def searching(self) -> Searching:
        """Return what finds a text in values."""
        return Searching(self.raw)

    def nulls_last(self, size: Element, descending: bool) -> list[Element]:
        """Return the order by a size that has what has none last, whichever way."""
        if descending:  # A NULL is less than everything.
            return [size.desc()]
        return [sa.case((size.is_(None), 1), else_=0), size.asc()]

    def text_size(self, value: Element, storage: Storage) -> Element:
        """Return the length of the value as JSON text."""
        return self.size(value, storage)

    def stored_size(self, value: Element, storage: Storage) -> Element:
        """Return what lies on disk; NULL where the database does not tell."""
        return sa.null()

    def aggregation(self) -> Aggregation | None:
        """Return how the server aggregates sizes, None if sending it every row is faster."""
        return None

    def pickle_sampling(self) -> PickleSampling | None:
        """Return how to look at one large value of each group only, None to look at all."""
        return None

    def may_be_pickle(self, value: Element, *, in_row: bool = False) -> Element:
        """Return whether the first byte, or the size and the last one, are a pickle's.

        With `in_row` values whose first byte is costly to read are left out (see `pickle_sampling`).
        No JSON begins so or ends so; what is small enough ends at its last byte.
        """
        size = self.size(value, "bytes")
        first = sa.func.substr(value, 1, 1) == sa.literal(b"\x80", sa.LargeBinary)
        last = sa.func.substr(value, size, 1) == sa.literal(b".", sa.LargeBinary)
        return sa.or_(first, sa.and_(size.between(2, MAX_SNIFFED), last))

    def same(self, column: Element, text: str) -> Element:
        """Return whether the column is exactly this text: case and trailing spaces count."""
        return column == text

    @abstractmethod
    def like(self, column: Element, glob: str) -> Element:
        """Return whether the column matches a shell glob, case counting."""

    def same_column(self, left: Element, right: Element, *, exact: bool = True) -> Element:
        """Return whether two id columns are equal, found along an index of the left one.

        With `exact` case and trailing spaces count, whatever their collations say.
        """
        return left == right

    def exact(self, column: Element) -> Element:
        """Return an id column such that only equal texts are grouped together."""
        return column

    def moment(self, column: Element) -> Element:
        """Return a timestamp column in a form that compares with `bound_moment`."""
        return column

    def bound_moment(self, moment: Any) -> Any:
        """Return a UTC time as the driver takes it."""
        return moment

    def without_index(self, column: Element) -> Element:
        """Return a column such that no index on it is used."""
        return column

    def distinct(self, table: sa.FromClause, column: str, *conditions: Element) -> sa.Select[Any]:
        """Return the query for the distinct values of an indexed id column, where not NULL."""
        return sa.select(table.c[column]).where(*conditions).distinct()

    def needs_separate_sort(self, storage: Storage) -> bool:
        """Return whether rows cannot be sorted while their values are touched."""
        return False

    def sorts_sizes_apart(self) -> bool:
        """Return whether a sort by size is faster over a derived table of keys and sizes."""
        return False

    def size_ties(self, key: list[Element]) -> list[Element]:
        """Return the order of rows of one size, given the primary key as an order.

        Nothing if a scan meets rows in the key's order every time: long keys would be most of
        the sort's work.
        """
        return []

    def has_statistics(self) -> bool:
        """Return whether the planner estimates how many rows a condition selects."""
        return True

    # --- every row ----------------------------------------------------------------------------

    def batches(self, statement: sa.Select[Any]) -> Iterator[Sequence[Sequence[Any]]]:
        """Yield the rows of a statement, many at a time; texts as `text_of` takes them."""
        result = self.connection.execute(
            statement, execution_options={"stream_results": True, "max_row_buffer": self.paged.rows}
        )
        with result:
            while rows := result.fetchmany(self.paged.rows):
                yield rows

    def gathered(
        self, statement: sa.Select[Any], width: int, *, whole: bool
    ) -> Mapping[Name, array[int]]:
        """Return the sizes in each group: a row is `width` names and a size in bytes.

        -1 stands for NULL; pass names to `text_of` to read them. `whole` means that the statement
        reads the whole table, not a range of an index.
        """
        return gather_sizes(self.batches(statement), width)

    def first_by_size(
        self, statement: sa.Select[Any], limit: int, descending: bool, *, whole: bool
    ) -> Sequence[Sequence[Any]]:
        """Return the rows of a statement that are sorted by their last column, a size.

        `whole` says that none are left out along an index.
        """
        return self.connection.execute(statement).all()

    def text_of(self, value: Any) -> str | None:
        """Return a text that came in one of the `batches`."""
        return None if value is None else str(value)

    def beyond(
        self, columns: Sequence[Element], place: Sequence[object], *, descending: bool = False
    ) -> Element:
        """Return whether a row comes behind a place in the order of these columns."""
        here, there = sa.tuple_(*columns), sa.tuple_(*map(self.bound_key, place))
        return here < there if descending else here > there

    def bound_key(self, value: object) -> Element:
        """Return a part of a primary key as it is bound."""
        return sa.literal(value)

    def along_key(self, statement: sa.Select[Any], table: sa.FromClause) -> sa.Select[Any]:
        """Return a query in the order of the primary key so that its values are not sorted."""
        return statement

    # --- every value --------------------------------------------------------------------------

    def stream_into(self, statement: sa.Select[Any], storage: Storage, sink: RowSink) -> None:
        """Hand over every row of a statement of `STREAMED` columns, as fast as the driver can.

        `timeout_s` bounds the wait for the next row, not the whole, which may well take an hour.
        """
        result = self.connection.execute(
            statement,
            execution_options={"stream_results": True, "max_row_buffer": self.paged_values.rows},
        )
        with result:
            write_rows(result, sink)

    def knows_runs(self, runs: sa.FromClause, date: Element) -> bool:
        """Return whether `stream_into` looks runs up by itself, so that its statement need not join them.

        `date` is the run's. What it knows of them is as of now.
        """
        return False

    def shared_state(self) -> SharedState:
        """Return how several connections read one state of the database."""
        return begin_together(lambda: None)

    def stream_all_into(self, statement: sa.Select[Any], storage: Storage, sink: RowSink) -> None:
        """Hand over every row as `stream_into` does, where none is left out along an index."""
        self.stream_into(statement, storage, sink)

    def streamed_besides(self, value: Element, storage: Storage) -> dict[str, Element]:
        """Return what this backend's `stream_into` wants of a value behind the `STREAMED` columns."""
        return {}

    def streamed_value(self, value: Element, storage: Storage) -> Element:
        """Return a value as `stream_into` takes it."""
        return self.raw(value, storage)

    def streamed_time(self, moment: Element) -> Element:
        """Return a time as `stream_into` takes it."""
        return moment

    def driver_sql(self, statement: sa.ClauseElement) -> tuple[str, Any]:
        """Return a statement and its parameters as the driver itself takes them."""
        return with_parameters(statement, self.connection.dialect)

    # --- writing ------------------------------------------------------------------------------

    def stored(self, raw: Raw, storage: Storage) -> Element:
        """Return a value as it is bound, so that the column holds exactly this."""
        if isinstance(raw, bytes):
            return sa.literal(raw, sa.LargeBinary)
        return sa.null() if raw is None else sa.literal(raw)

    def locked(self, statement: sa.Select[Any]) -> sa.Select[Any]:
        """Return the query so that nobody changes its rows before the transaction ends."""
        return statement.with_for_update()

    def is_one_of(
        self, columns: list[Element], rows: list[tuple[object, ...]]
    ) -> sa.ColumnElement[bool]:
        """Return whether a row's primary key is one of these, found along the index."""
        if len(columns) == 1:
            return columns[0].in_([row[0] for row in rows])
        return sa.tuple_(*columns).in_(rows)

    def bulk(self) -> Bulk:
        """Return what reads and writes rows by the thousand."""
        return Bulk(self)

    def script(self) -> SqlScript:
        """Return what writes statements as text, for people to run."""
        return SqlScript(self.connection.dialect, self.target.schema)

    def limits(self, schema: Schema) -> list[Limit]:
        """Return the limits of the value column, the one in force first."""
        return []

    def warnings(self, schema: Schema) -> list[str]:
        """Return what an operator should know about this server's handling of values."""
        return []

    # --- errors -------------------------------------------------------------------------------

    @contextlib.contextmanager
    def explained(self) -> Iterator[None]:
        """Turn what the driver and its answers cause inside the block into an error of ours."""
        try:
            yield
        except Exception as error:
            cause = cause_of(error, self.connection.dialect.loaded_dbapi)
            if cause is None:
                raise
            raise self.explain(sa.exc.DBAPIError("", None, cause)) from None

    def explain(self, error: sa.exc.DBAPIError, *, connecting: bool = False) -> XcomctlError:
        """Return the error to raise for a driver's error: what it means, and what to try."""
        cause = error.orig if error.orig is not None else error
        writing = self.writes and not connecting
        at = Circumstances(self.target, connecting, writing, self.lock_timeout_s, self.blockers)
        diagnose = self.diagnose_connecting if connecting else self.diagnose
        found = cause.found if isinstance(cause, UnreadableAnswerError) else diagnose(cause)
        return to_error(found, self.said(cause), at)

    @property
    def blockers(self) -> str:
        """Return who blocked the last statement that took long, in sentences; "" if unknown."""
        return ""

    @abstractmethod
    def diagnose(self, cause: BaseException) -> Diagnosis:
        """Return what the driver's error of a statement means, by its code, never by its text."""

    @abstractmethod
    def diagnose_connecting(self, cause: BaseException) -> Diagnosis:
        """Return what the driver's error means that kept us from connecting."""

    def said(self, error: object) -> str:
        """Return the first line of what the driver or the server says, without the password."""
        return self.target.hide_secrets(self._first_line(error))

    @staticmethod
    def _first_line(error: object) -> str:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        return lines[0] if lines else type(error).__name__
