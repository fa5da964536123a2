"""Real database servers for the tests: started on free loopback ports, ended with the session.

Or given: `XCOMCTL_TEST_POSTGRES_URL`, `XCOMCTL_TEST_MARIADB_URL`, `XCOMCTL_TEST_MYSQL_URL`
name accounts that may create databases.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

if TYPE_CHECKING:
    from collections.abc import Iterator

PASSWORD = "s3rver-p4ssword"
START_S = 90


class ServerMissingError(Exception):
    """There is no such server on this machine; the text says what to install."""


def mysql_root() -> Path:
    """Return the directory of a Debian sid with MySQL, where one was made."""
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(os.environ.get("XCOMCTL_TEST_MYSQL_ROOT") or f"{cache}/xcomctl/mysql-sid")


class Server:
    """A running server and an account on it that may do everything."""

    backend = ""
    dialect = ""

    def __init__(
        self, url: sa.URL, process: subprocess.Popen[bytes] | None, folder: Path | None
    ) -> None:
        self.url = url
        self.process = process
        self.folder = folder

    def create_database(self, name: str | None = None) -> str:
        """Return the URL of a new, empty database."""
        name = name or f"x{uuid.uuid4().hex[:12]}"
        suffix = "" if self.backend == "postgresql" else " CHARACTER SET utf8mb4"
        self.execute(f"CREATE DATABASE {name}{suffix}")
        return self.url.set(database=name).render_as_string(hide_password=False)

    def execute(self, statement: str, database: str | None = None) -> list[Any]:
        """Run a statement outside a transaction and return its rows, if it has any."""
        engine = sa.create_engine(
            self.url.set(database=database) if database else self.url,
            poolclass=sa.pool.NullPool,
            isolation_level="AUTOCOMMIT",
        )
        with engine.connect() as connection:
            result = connection.exec_driver_sql(statement)
            return list(result.all()) if result.returns_rows else []

    @contextlib.contextmanager
    def variable(self, name: str, value: str) -> Iterator[None]:
        """Set a global variable of MySQL's or MariaDB's for a while."""
        before = self.execute(f"SELECT @@global.{name}")[0][0]
        self.execute(f"SET GLOBAL {name} = {value}")
        try:
            yield
        finally:
            kept = before if isinstance(before, int) else f"'{before}'"
            self.execute(f"SET GLOBAL {name} = {kept}")

    def stop(self) -> None:
        """End the server, where it is ours, and remove its files."""
        if self.process is not None:
            self.process.terminate()
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)


def free_port() -> int:
    """Return a port on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait(server: Server, log: Path) -> None:
    end = time.monotonic() + START_S
    while True:
        try:
            server.execute("SELECT 1")
            return
        except sa.exc.DBAPIError:
            ended = server.process is not None and server.process.poll() is not None
            if ended or time.monotonic() > end:
                tail = log.read_text(errors="replace")[-2000:] if log.exists() else ""
                server.stop()
                raise RuntimeError(f"{server.backend} did not start:\n{tail}") from None
            time.sleep(0.1)


class PostgresServer(Server):
    """PostgreSQL, which refuses to run as root."""

    backend = "postgresql"

    @classmethod
    def start(cls) -> PostgresServer:
        initdb = cls._program("initdb")
        folder = Path(tempfile.mkdtemp(prefix="xcomctl-pg-"))
        user = None
        if os.geteuid() == 0:
            user = next(name for name in ("postgres", "nobody") if _known(name))
            os.chown(folder, pwd.getpwnam(user).pw_uid, -1)
        secret = folder / "password"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)
        data, log, port = folder / "data", folder / "log", free_port()
        subprocess.run(
            [initdb, "-D", data, "-U", "tester", "-A", "scram-sha-256", "--pwfile", secret,
             "-E", "UTF8", "--locale", "C.UTF-8", "--no-sync"],
            check=True, capture_output=True, user=user, cwd=folder,
        )  # fmt: skip
        with log.open("wb") as out:
            process = subprocess.Popen(
                [cls._program("postgres"), "-D", data, "-p", str(port), "-k", folder,
                 "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off",
                 "-c", "synchronous_commit=off", "-c", "full_page_writes=off"],
                stdout=out, stderr=out, user=user, cwd=folder,
            )  # fmt: skip
        url = sa.URL.create(
            "postgresql+psycopg2", "tester", PASSWORD, "127.0.0.1", port, "postgres"
        )
        server = cls(url, process, folder)
        _wait(server, log)
        return server

    def start_standby(self) -> PostgresServer:
        """Start a server that follows this one, and can only be read."""
        folder = Path(tempfile.mkdtemp(prefix="xcomctl-pg-"))
        user = None
        if os.geteuid() == 0:
            user = next(name for name in ("postgres", "nobody") if _known(name))
            os.chown(folder, pwd.getpwnam(user).pw_uid, -1)
        port, log = free_port(), folder / "log"
        subprocess.run(
            [self._program("pg_basebackup"), "-h", str(self.url.host), "-p", str(self.url.port),
             "-U", str(self.url.username), "-D", folder / "data", "-R", "-X", "stream", "-c", "fast"],
            check=True, capture_output=True, user=user, cwd=folder,
            env={**os.environ, "PGPASSWORD": str(self.url.password)},
        )  # fmt: skip
        with log.open("wb") as out:
            process = subprocess.Popen(
                [self._program("postgres"), "-D", folder / "data", "-p", str(port), "-k", folder,
                 "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off",
                 "-c", "max_standby_streaming_delay=1s"],
                stdout=out, stderr=out, user=user, cwd=folder,
            )  # fmt: skip
        server = PostgresServer(self.url.set(port=port), process, folder)
        _wait(server, log)
        return server

    @staticmethod
    def _program(name: str) -> str:
        found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
        path = str(found[-1]) if found else shutil.which(name)
        if not path:
            raise ServerMissingError("PostgreSQL is not installed (Debian: postgresql)")
        return path


class MySQLServer(Server):
    """MySQL's own: from PATH, or from a Debian sid in a directory, which takes root."""

    backend = "mysql"

    @classmethod
    def start(cls) -> MySQLServer:
        root = mysql_root()
        program = shutil.which("mysqld")
        if program and "MariaDB" not in _output([program, "--version"]):
            return cls._start([program], Path(tempfile.mkdtemp(prefix="xcomctl-mysql-")), None)
        if not (root / "usr/sbin/mysqld").exists():
            raise ServerMissingError(
                "MySQL is not installed (Debian sid: mysql-server-core, see .ci/run)"
            )
        if os.geteuid() != 0:
            raise ServerMissingError(f"the MySQL in {root} takes root, for chroot")
        inside = Path(tempfile.mkdtemp(prefix="xcomctl-mysql-", dir=root / "tmp"))
        return cls._start(["chroot", str(root), "mysqld"], inside, root)

    @classmethod
    def _start(cls, command: list[str], folder: Path, root: Path | None) -> MySQLServer:
        seen = Path("/") / folder.relative_to(root) if root else folder
        port, log = free_port(), folder / "log"
        options = ["--no-defaults", f"--datadir={seen}/data", "--secure-file-priv=NULL"]
        if os.geteuid() == 0:
            options.append("--user=root")
        initialize = [*command, *options, "--initialize-insecure"]
        subprocess.run(initialize, check=True, capture_output=True, cwd=folder)
        with log.open("wb") as out:
            process = subprocess.Popen(
                [*command, *options, "--mysqlx=OFF", "--bind-address=127.0.0.1", f"--port={port}",
                 f"--socket={seen}/s", f"--pid-file={seen}/pid", "--skip-log-bin",
                 "--innodb-flush-log-at-trx-commit=0", "--innodb-buffer-pool-size=64M"],
                stdout=out, stderr=out, cwd=folder,
            )  # fmt: skip
        server: MySQLServer = cls._ready(port, process, folder, log)
        return server

    @classmethod
    def _ready(
        cls, port: int, process: subprocess.Popen[bytes], folder: Path, log: Path
    ) -> Any:  # a server of the class it is called on
        url = sa.URL.create(
            "mysql+pymysql", "root", "", "127.0.0.1", port, query={"charset": "utf8mb4"}
        )
        server = cls(url, process, folder)
        _wait(server, log)
        for statement in (
            f"CREATE USER 'tester'@'%%' IDENTIFIED BY '{PASSWORD}'",
            "GRANT ALL ON *.* TO 'tester'@'%%' WITH GRANT OPTION",
        ):
            server.execute(statement)
        server.url = url.set(username="tester", password=PASSWORD)
        return server


class MariaDBServer(MySQLServer):
    """MariaDB."""

    backend = "mariadb"

    @classmethod
    def start(cls) -> MariaDBServer:
        program, install = shutil.which("mariadbd"), shutil.which("mariadb-install-db")
        if not program or not install:
            raise ServerMissingError("MariaDB is not installed (Debian: mariadb-server)")
        folder = Path(tempfile.mkdtemp(prefix="xcomctl-mariadb-"))
        data, log, port = folder / "data", folder / "log", free_port()
        root = ["--user=root"] if os.geteuid() == 0 else []
        subprocess.run(
            [install, "--no-defaults", *root, f"--datadir={data}", "--skip-test-db",
             "--auth-root-authentication-method=normal"],
            check=True, capture_output=True, cwd=folder,
        )  # fmt: skip
        with log.open("wb") as out:
            process = subprocess.Popen(
                [program, "--no-defaults", *root, f"--datadir={data}", "--bind-address=127.0.0.1",
                 f"--port={port}", f"--socket={folder}/s", f"--pid-file={folder}/pid",
                 "--skip-log-bin", "--innodb-flush-log-at-trx-commit=0",
                 "--innodb-buffer-pool-size=64M"],
                stdout=out, stderr=out, cwd=folder,
            )  # fmt: skip
        server: MariaDBServer = cls._ready(port, process, folder, log)
        return server


def _known(user: str) -> bool:
    try:
        pwd.getpwnam(user)
    except KeyError:
        return False
    return True


def _output(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


KINDS: dict[str, tuple[type[Server], str]] = {
    "postgresql": (PostgresServer, "XCOMCTL_TEST_POSTGRES_URL"),
    "mariadb": (MariaDBServer, "XCOMCTL_TEST_MARIADB_URL"),
    "mysql": (MySQLServer, "XCOMCTL_TEST_MYSQL_URL"),
}


def start(backend: str) -> Server:
    """Return a server of the kind: the given one, or one that is started now.

    Raises:
        ServerMissingError: there is none on this machine.
    """
    kind, variable = KINDS[backend]
    given = os.environ.get(variable)
    if given:
        return kind(sa.make_url(given), None, None)
    return start_own(backend)


def start_own(backend: str) -> Server:
    """Return a server of the kind that is started now.

    Raises:
        ServerMissingError: there is none on this machine.
    """
    kind, _ = KINDS[backend]
    server: Server = kind.start()  # type: ignore[attr-defined]
    return server
