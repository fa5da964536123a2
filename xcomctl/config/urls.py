"""Read database URLs as SQLAlchemy does, and say what they mean for the drivers that we use.

Nothing here opens a database or needs the database library.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, unquote

from xcomctl.config import drivers, redact
from xcomctl.errors import UsageError
from xcomctl.text import nearest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from xcomctl.config.drivers import Backend, Options

_URL = re.compile(
    r"(?P<name>[\w+]+)://"
    r"(?:(?P<username>[^:/]*)(?::(?P<password>[^@]*))?@)?"
    r"(?:(?:\[(?P<ipv6host>[^/?]+)\]|(?P<ipv4host>[^/:?]+))?(?::(?P<port>[^/?]*))?)?"
    r"(?:/(?P<database>[^?]*))?"
    r"(?:\?(?P<query>.*))?"
)
"""SQLAlchemy's own pattern, so that Airflow's URLs mean the same here.

https://github.com/sqlalchemy/sqlalchemy/blob/rel_2_0_44/lib/sqlalchemy/engine/url.py
"""
_BACKENDS: dict[str, Backend] = {
    "sqlite": "sqlite",
    "postgresql": "postgresql",
    "postgres": "postgresql",
    "mysql": "mysql",
    "mariadb": "mysql",
}
_FORM = (
    "It has the form postgresql://user:password@host:5432/database, with special characters"
    " percent-encoded (%40 for @, %25 for %)."
)


@dataclass(frozen=True, slots=True)
class Url:
    """A database URL, its parts decoded."""

    backend: Backend
    driver: str
    """The team's driver, which ours replaces: `psycopg`, `mysqldb`."""
    username: str | None = None
    password: str | None = None
    host: str | None = None
    port: int | None = None
    database: str | None = None
    query: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Option → its values, of which there is more than one where it is repeated."""

    def options(self) -> Options:
        """Return the query as arguments of our driver.

        Raises:
            UsageError: an option is unknown or cannot be honoured.
        """
        return drivers.read_options(self.backend, self.driver, self.query)


def parse(text: str) -> Url:
    """Return a URL, or the path of a SQLite file, as its parts.

    Raises:
        UsageError: it is neither, its product or driver is unknown, or a part is malformed.
    """
    match = _URL.match(text)
    if match is None:
        if redact.is_path(text):
            return Url("sqlite", "pysqlite", database=text)
        raise UsageError(
            f'cannot read the url "{redact.shown(text)}"',
            detail="It is neither a SQLAlchemy URL nor the path of a SQLite file.",
            hint=_FORM,
        )
    backend, driver = _product(match["name"])
    host = match["ipv4host"] or match["ipv6host"]
    database = match["database"]
    if backend == "sqlite":
        if host or match["username"] is not None or not _is_file(database or ""):
            raise _malformed(
                text, "A SQLite URL names a file.", "Write sqlite:////path/of/airflow.db."
            )
        port = None
    else:
        if "@" in (host or "") or ("@" in (database or "") and "/" in (database or "")):
            raise _malformed(
                text,
                "Its password holds an @ that is not percent-encoded.",
                "Write %40 for each @ in it (and %25 for %).",
            )
        port = _port(text, match["port"])
    _check_characters(text, match)
    query: dict[str, tuple[str, ...]] = {}
    for name, value in parse_qsl(match["query"] or ""):
        query[name] = (*query.get(name, ()), value)
    return Url(
        backend,
        driver,
        username=_decoded(match["username"]),
        password=_decoded(match["password"]),
        host=host,
        port=port,
        database=database,
        query=query,
    )


def _product(scheme: str) -> tuple[Backend, str]:
    name, _, driver = scheme.lower().partition("+")
    backend = _BACKENDS.get(name)
    if backend is None:
        raise UsageError(
            f'cannot read a metadata database on "{name}"',
            detail="xcomctl supports SQLite, PostgreSQL, MySQL and MariaDB.",
            hint="Give a URL such as postgresql://user@host/airflow, or the path of a SQLite file.",
        )
    known = drivers.DRIVERS[backend]
    if driver and driver not in known:
        near = nearest(driver, known)
        raise UsageError(
            f'unknown driver "{driver}" for {name}',
            detail=f"Known drivers: {', '.join(known)}.",
            hint=f'Did you mean "{name}+{near}"?' if near else f"Leave it out: {name}://…",
        )
    return backend, driver or known[0]


def _is_file(database: str) -> bool:
    return database in ("", ":memory:") or redact.is_path(database.removeprefix("file:"))


def _port(text: str, port: str | None) -> int | None:
    if not port:
        return None
    # SQLAlchemy takes whatever int() does, such as " 5432" and "5_432".
    if re.fullmatch(r"\s*[0-9]{1,9}\s*", port) and 1 <= int(port) <= 65_535:
        return int(port)
    raise _malformed(text, "Its port is not a number from 1 to 65535.", _FORM)


def _check_characters(text: str, match: re.Match[str]) -> None:
    """Refuse what no driver can send: a NUL, or what is not valid Unicode."""
    for part in match.groupdict("").values():
        decoded = unquote(part)
        if "\0" in decoded or decoded.encode("utf-8", "replace").decode() != decoded:
            raise _malformed(text, "It has a character that no database takes.", _FORM)


def _malformed(text: str, detail: str, hint: str) -> UsageError:
    return UsageError(f'cannot read the url "{redact.shown(text)}"', detail=detail, hint=hint)


def _decoded(part: str | None) -> str | None:
    return None if part is None else unquote(part)


def backend_of(text: str) -> Backend:
    """Return the family of products that a URL is written for, "sqlite" for a path.

    Raises:
        UsageError: as `parse`.
    """
    return parse(text).backend


def sqlite_path(text: str) -> Path:
    """Return the file that a SQLite URL or a path names.

    Raises:
        UsageError: it names no file, such as an in-memory database.
    """
    url = parse(text)
    path = url.database or ""
    if path.startswith("file:"):
        path = unquote(path.removeprefix("file:"))
        path = re.sub(r"^//(localhost)?(?=/)", "", path)
    if path in ("", ":memory:") or "memory" in url.query.get("mode", ()):
        raise UsageError(
            "cannot read a SQLite database in memory",
            detail="It exists only in the process that opened it.",
            hint="Give the path of a file: --url airflow.db",
        )
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise UsageError(f'cannot find the home directory in "{path}"') from None
