"""The databases to measure on: found or built, and asked by their own clients."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa

from tests import servers
from tests.benchmarks import tables
from tests.benchmarks.measure import Command, server_meter
from xcomctl.cli.list import cursor_at

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

BACKENDS = ("sqlite", "postgresql", "mysql", "mariadb")
MYSQL_LIKE = ("mysql", "mariadb")
GENERATIONS = {"bytes": "2.3", "json": "3.0"}
MYSQL_ROWS = 300_000
"""InnoDB's rows take three times as long, so its tables stop here."""
PACKET = 268_435_456
"""What `max_allowed_packet` has to be for a value of 50 MB, sent as hex."""
LARGE_BYTES = {"sqlite": 500_000_000, "postgresql": 500_000_000, "mysql": 200_000_000, "mariadb": 200_000_000}  # fmt: skip
"""The one large value: on MySQL and MariaDB what goes through `PACKET`."""


class IncompleteError(Exception):
    """A database of the name is there, but has not the rows that it should have."""


@dataclass(frozen=True, slots=True)
class Database:
    """A metadata database with `rows` XComs."""

    backend: str
    storage: str
    rows: int
    url: sa.URL

    @property
    def environment(self) -> dict[str, str]:
        """Return what tells xcomctl where it is."""
        url = self.url
        if self.backend in MYSQL_LIKE and not any(name.startswith("ssl") for name in url.query):
            # As for the client: PyMySQL encrypts wherever the server can, from 1.2 on.
            url = url.update_query_dict({"ssl_disabled": "true"})
        return {"XCOMCTL_URL": url.render_as_string(hide_password=False)}

    @property
    def key(self) -> str:
        """Return the name of the column `key`, quoted."""
        return "`key`" if self.backend in MYSQL_LIKE else '"key"'

    @property
    def size(self) -> str:
        """Return the SQL of a value's size that the floors take."""
        if self.backend == "sqlite":
            if self.storage == "bytes":
                return "length(value)"
            new = sqlite3.sqlite_version_info >= (3, 43)
            return "octet_length(value)" if new else "length(CAST(value AS BLOB))"
        if self.backend == "postgresql" and self.storage == "json":
            return "pg_column_size(value #> '{}')"
        return "octet_length(value)"

    def cursor(self) -> str:
        """Return a cursor of `list`, from the newest run on, behind nine tenths of the rows."""
        return cursor_at([self.rows // tables.TASKS // 10, "", -1, ""])

    def client(self, statement: str, output: Path | None = None) -> Command:
        """Return the database's own client, running a statement."""
        if self.backend == "sqlite":
            return self._sqlite((), statement, output)
        password = str(self.url.password or "")
        host, user, name = str(self.url.host), str(self.url.username), str(self.url.database)
        if self.backend == "postgresql":
            port = str(self.url.port or 5432)
            bare = ("psql", "-X", "-q", "-A", "-t", "-h", host, "-p", port, "-U", user, "-d", name)
            return Command((*bare, "-c", statement), {"PGPASSWORD": password}, output)
        # Nobody encrypts here. Without TLS, caching_sha2_password lets one in once somebody has
        # been in: the building has.
        program = ("mariadb", "--no-defaults", "--skip-ssl")
        if not shutil.which("mariadb"):
            program = ("mysql", "--no-defaults", "--ssl-mode=DISABLED")
        port = str(self.url.port or 3306)
        where = ("--protocol=TCP", "-h", host, "-P", port, "-u", user, "-D", name)
        dump = ("--quick", "--batch", "--skip-column-names", f"--max-allowed-packet={4 * PACKET}")
        return Command((*program, *where, *dump, "-e", statement), {"MYSQL_PWD": password}, output)

    def dump(self, output: Path) -> Command:
        """Return the client writing every column of every row into a file."""
        names = ", ".join(self.key if name == "key" else name for name in tables.COLUMNS)
        statement = f"SELECT {names} FROM xcom"
        if self.backend == "postgresql":
            return self.client(f"COPY ({statement}) TO STDOUT", output)
        if self.backend == "sqlite":
            return self._sqlite(("-json",), statement, output)
        return self.client(statement, output)

    def scan(self) -> Command:
        """Return the client adding up the sizes."""
        return self.client(f"SELECT sum({self.size}) FROM xcom")

    def groups(self) -> Command:
        """Return the client grouping the sizes by DAG, task and key."""
        return self.client(self._groups(f"count(*), sum({self.size}), max({self.size})"))

    def percentiles(self) -> Command:
        """Return the client grouping with percentiles, which only PostgreSQL has so."""
        percentiles = f"percentile_disc(ARRAY[0.5, 0.95, 0.99]) WITHIN GROUP (ORDER BY {self.size})"
        return self.client(
            self._groups(f"count(*), sum({self.size}), max({self.size}), {percentiles}")
        )

    def sizes(self) -> Command:
        """Return the client printing the size of every row."""
        statement = f"SELECT dag_id, task_id, {self.key}, {self.size} FROM xcom"
        # psql holds a result whole, unless it is a COPY.
        return self.client(
            f"COPY ({statement}) TO STDOUT" if self.backend == "postgresql" else statement
        )

    def _groups(self, columns: str) -> str:
        return f"SELECT dag_id, task_id, {self.key}, {columns} FROM xcom GROUP BY 1, 2, 3"

    def _sqlite(self, options: tuple[str, ...], statement: str, output: Path | None) -> Command:
        path = str(self.url.database)
        return Command(("sqlite3", "-readonly", "-batch", *options, path, statement), output=output)


class Place:
    """Where the databases of one backend are: a server, or a directory of SQLite files."""

    def __init__(self, backend: str, data: Path, tell: Callable[[str], None]) -> None:
        """Find or start the server.

        Raises:
            ServerMissingError: there is none on this machine.
        """
        self.backend = backend
        self._data = data
        self._tell = tell
        self._built: list[str] = []
        self._server = None if backend == "sqlite" else servers.start(backend)
        if backend in MYSQL_LIKE:
            held = self._execute("SELECT @@global.max_allowed_packet")
            if int(str(held)) < PACKET:
                self._execute(f"SET GLOBAL max_allowed_packet = {PACKET}")

    def database(self, storage: str, rows: int) -> Database:
        """Return the database with `rows` XComs, and build it if it does not exist.

        Raises:
            IncompleteError: there is one of its name with other rows.
        """
        return self._database(
            f"{storage}_{rows}", storage, rows, lambda url: tables.build(url, GENERATIONS[storage], rows)
        )  # fmt: skip

    def written(self, storage: str, rows: int) -> Database:
        """Return a database of its own whose rows are deleted and restored.

        Raises:
            IncompleteError: there is one of its name with other rows.
        """
        name = f"{storage}_written_{rows}"
        return self._database(
            name, storage, rows, lambda url: tables.build(url, GENERATIONS[storage], rows)
        )

    def large(self) -> Database:
        """Return the database with one large value, built if it is not there yet.

        Raises:
            IncompleteError: there is one of its name without it.
        """
        size = LARGE_BYTES[self.backend]
        return self._database("large", "bytes", 1, lambda url: tables.build_large(url, size))

    def meter(self) -> Callable[[], float] | None:
        """Return what tells the CPU seconds of the server, None where none runs on this machine."""
        if self._server is None:
            return None
        ports = {"postgresql": 5432}
        return server_meter(self._server.url.port or ports.get(self.backend, 3306))

    def version(self) -> str:
        """Return the version of the server, or of the SQLite that Python has."""
        if self.backend == "sqlite":
            return sqlite3.sqlite_version
        asked = "SHOW server_version" if self.backend == "postgresql" else "SELECT version()"
        return str(self._execute(asked)).split()[0]

    def close(self, *, keep: bool) -> None:
        """End the server if it was started here, and drop what was built unless it is kept."""
        if self._server is None:
            return
        if not keep and self._server.process is None:
            for name in self._built:
                self._execute(f"DROP DATABASE {name}")
        self._server.stop()

    def _database(
        self, suffix: str, storage: str, rows: int, build: Callable[[str], None]
    ) -> Database:
        name = f"xcomctl_bench_{suffix}"
        if self._server is None:
            url = sa.URL.create("sqlite", database=str(self._data / f"{name}.db"))
            there = (self._data / f"{name}.db").exists()
        else:
            url = self._server.url.set(database=name)
            there = self._there(name)
        if not there:
            self._tell(f"building {name} on {self.backend}")
            self._build(name, build)
        elif (found := _rows(url)) != (rows, -(-rows // tables.TASKS)):
            raise IncompleteError(
                f"{name} holds {found[0]} rows of {found[1]} runs, not {rows}: drop it, or wait for who builds it"
            )
        return Database(self.backend, storage, rows, url)

    def _build(self, name: str, build: Callable[[str], None]) -> None:
        if self._server is not None:
            self._built.append(name)
            build(self._server.create_database(name))
            return
        partial = self._data / f"{name}.partial"
        partial.unlink(missing_ok=True)
        build(str(partial))
        partial.rename(self._data / f"{name}.db")

    def _there(self, name: str) -> bool:
        table, column = ("pg_database", "datname")
        if self.backend != "postgresql":
            table, column = ("information_schema.schemata", "schema_name")
        return bool(self._execute(f"SELECT count(*) FROM {table} WHERE {column} = '{name}'"))

    def _execute(self, statement: str) -> object:
        assert self._server is not None
        found = self._server.execute(statement)
        return found[0][0] if found else None


def _rows(url: sa.URL) -> tuple[int, int]:
    """Return how many rows and runs there are; the runs are written last."""
    engine = sa.create_engine(url, poolclass=sa.pool.NullPool)
    counts = [0, 0]
    with engine.connect() as connection, contextlib.suppress(sa.exc.DBAPIError):
        for index, table in enumerate(("xcom", "dag_run")):
            counts[index] = connection.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar_one()
    return counts[0], counts[1]


def count_rows(database: Database) -> int:
    """Return how many XComs there are."""
    return _rows(database.url)[0]
