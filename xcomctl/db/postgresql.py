"""PostgreSQL through psycopg2: bytea in Airflow 1 and 2, jsonb in Airflow 3."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, ClassVar

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from xcomctl.db.backend import (
    Backend,
    Element,
    MovedError,
    Objection,
    Page,
    glob_to_like,
    glob_to_regex,
)
from xcomctl.db.schema import Column
from xcomctl.db.sqlite import skip_scan
from xcomctl.limits import MAX_BYTEA, MAX_JSONB, MAX_READABLE_BYTEA
from xcomctl.model import Limit

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from xcomctl.db.schema import Schema
    from xcomctl.errors import XcomctlError
    from xcomctl.model import Raw, Size, Storage

_NO_TEXT = ("string buffer", "invalid memory alloc request size", "out of memory")
"""What PostgreSQL says of a jsonb whose text would take more than 1 GiB."""

_SLICE_BYTES = 6 * 1024 * 1024
"""The answer is text, two digits a byte, of which libpq and psycopg2 hold three copies."""


class PostgreSQL(Backend):
    """A PostgreSQL server, or a pooler in front of one."""

    name: ClassVar[str] = "postgresql"
    reclaiming: ClassVar[str] = (
        "the rows' space, large values' too, is used again once autovacuum has passed; the files "
        "keep their size until VACUUM FULL, which locks the table, or pg_repack"
    )
    paged_values: ClassVar[Page] = Page(64, inline_bytes=256 * 1024)

    def connect_args(self, url: sa.URL) -> dict[str, Any]:
        given = set(url.query)
        args: dict[str, Any] = {}
        if "connect_timeout" not in given:
            args["connect_timeout"] = max(2, round(self.target.connect_timeout_s))
        if "client_encoding" not in given:
            args["client_encoding"] = "utf8"
        if "application_name" not in given:
            args["application_name"] = "xcomctl"
        return args

    def engine(self) -> sa.Engine:
        # The transaction is opened with BEGIN READ ONLY: no session state that a transaction
        # pooler could lose or leak.
        return super().engine().execution_options(postgresql_readonly=not self.writes)

    def guard(self, connection: sa.Connection) -> None:
        _cancel_on_signal(connection)
        self._set_for_transaction(connection)

    def prepare(self, connection: sa.Connection) -> None:
        self.guard(connection)

    def begin(self) -> None:
        self._set_for_transaction(self.connection)

    def _set_for_transaction(self, connection: sa.Connection) -> None:
        connection.execute(
            sa.text(
                "SELECT set_config('statement_timeout', :timeout, true),"
                " set_config('lock_timeout', :lock, true), set_config('TimeZone', 'UTC', true)"
            ),
            {
                "timeout": str(int((self.target.timeout_s or 0) * 1000)),
                "lock": str(int(self.lock_timeout_s * 1000)),
            },
        )

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

    def objection(self, cause: BaseException) -> Objection | None:
        code = str(getattr(cause, "pgcode", None) or "")
        if code in ("23505", "23503", "55P03", "40P01"):
            known: dict[str, Objection] = {"23505": "exists", "23503": "no parent"}
            return known.get(code, "locked")
        # Data exceptions, and limits of the program: too long for a jsonb, for one.
        return "value" if code.startswith(("22", "54")) else None

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
                "SELECT attname, format_type(atttypid, NULL) AS type, attnotnull, atthasdef"
                " FROM pg_catalog.pg_attribute"
                " WHERE attrelid = to_regclass(:name) AND attnum > 0 AND NOT attisdropped"
            ),
            {"name": f"{_quoted(schema)}.{_quoted(table)}" if schema else _quoted(table)},
        )
        return {
            row.attname: Column(row.attname, row.type, not row.attnotnull, row.atthasdef)
            for row in rows
        }

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
        # An empty path returns the whole document as an expression: not the compressed datum
        # on disk, whose size pg_column_size(value) would tell.
        whole = value.op("#>")(sa.literal_column("'{}'"))
        return sa.func.pg_column_size(whole)

    def text_size(self, value: Element, storage: Storage) -> Element:
        return sa.func.octet_length(self.raw(value, storage))

    def stored_size(self, value: Element, storage: Storage) -> Element:
        return sa.func.pg_column_size(value)

    def same(self, column: Element, text: str) -> Element:
        # No text of PostgreSQL's holds a NUL, and the driver refuses to send one.
        return sa.false() if "\0" in text else column == text

    def like(self, column: Element, glob: str) -> Element:
        if "\0" in glob:
            return sa.false()
        pattern = glob_to_like(glob)
        if pattern is not None:
            return column.like(pattern, escape="\\")
        return column.op("~")(f"^(?:{glob_to_regex(glob)})$")

    def distinct(self, table: sa.FromClause, column: str) -> sa.Select[Any]:
        return skip_scan(table, column)

    def limits(self, schema: Schema) -> list[Limit]:
        column = f'column "xcom.value" is {schema.value_type}'
        if schema.storage == "json":
            return [
                Limit(
                    "jsonb",
                    MAX_JSONB,
                    f"{column}: 28 bits for a string and for the sum of a container's elements",
                    "refused: the value is too large for jsonb",
                ),
                Limit("field", MAX_BYTEA, "a field holds 1 GiB at most", "refused"),
            ]
        return [
            Limit(
                "bytea_readable",
                MAX_READABLE_BYTEA,
                f"{column}, which the server sends as text of two digits a byte",
                "can be stored, and not read back as text",
            ),
            Limit("field", MAX_BYTEA, "a field holds 1 GiB at most", "refused"),
        ]

    def explain(self, error: sa.exc.DBAPIError, *, connecting: bool = False) -> XcomctlError:
        explained = super().explain(error, connecting=connecting)
        if not connecting and explained.detail:
            explained.detail = explained.detail.removeprefix("ERROR:").strip()
        return explained

    def diagnose(self, cause: BaseException, *, connecting: bool) -> tuple[str | None, str | None]:
        code = getattr(cause, "pgcode", None)
        text = str(cause)
        if code == "57014":
            return self.timed_out()
        if code == "42501" and self.writes:
            return (
                "the role may not write Airflow's tables",
                "GRANT SELECT, INSERT, UPDATE, DELETE ON xcom TO the role.",
            )
        if code == "42501":
            return (
                "the role may not read a table of Airflow's",
                "GRANT SELECT ON xcom, dag_run, task_instance, dag, alembic_version TO the role.",
            )
        if code in ("54000", "53200", "XX000") and any(one in text for one in _NO_TEXT):
            return (
                "the server holds a value that it cannot say as text",
                "It can be read in parts only, with SQL such as value -> 'key'; \"xcomctl list "
                '--sort -size" shows it, and "xcomctl delete" removes it.',
            )
        if "password authentication failed" in text or "no password supplied" in text:
            return "access denied", None
        if "does not exist" in text and connecting:
            return "no such database or role", None
        if "Connection refused" in text or "could not translate host name" in text:
            return "no server answers there", None
        if "timeout expired" in text:
            return "the server did not answer in time", "Raise --connect-timeout."
        if "server closed the connection" in text or "terminating connection" in text:
            return "the server closed the connection", None
        return None, None


def _cancel_on_signal(connection: sa.Connection) -> None:
    """Let Ctrl-C end a statement.

    libpq goes on waiting for the server when a signal comes, and Python's handler has to wait
    for libpq; so a thread that hears of the signal asks the server to cancel.
    """
    import signal
    import socket
    import threading

    driver = connection.connection.driver_connection
    if driver is None or threading.current_thread() is not threading.main_thread():
        return
    heard, told = socket.socketpair()
    told.setblocking(False)
    signal.set_wakeup_fd(told.fileno(), warn_on_full_buffer=False)

    def wait(_keeps_open: socket.socket) -> None:
        while heard.recv(1):
            with contextlib.suppress(Exception):
                driver.cancel()

    threading.Thread(target=wait, args=(told,), daemon=True).start()


def _name(table: sa.FromClause) -> str:
    """Return the alias, or the name, by which a statement knows the table."""
    return str(getattr(table, "name", "xcom"))


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
