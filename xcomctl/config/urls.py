"""Database URLs as text: what may be shown of one, and the spelling that our drivers take.

Nothing here opens anything or needs the database library.
"""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote, urlencode

from xcomctl.errors import UsageError

HIDDEN = "***"

_PARTS = re.compile(r"^(?P<scheme>[A-Za-z][\w+.-]*)://(?P<rest>.*)$", re.DOTALL)
_LOGIN = re.compile(r"(?P<user>[^:/@?]*(?::[^@]*)?)@", re.DOTALL)
_MISTYPED = re.compile(
    r"^(?P<scheme>(?:[A-Za-z][\w+.-]*:?/{1,2})?)(?P<user>[^:/@]*):(?P<password>.+)@(?P<address>[^@]*)$",
    re.DOTALL,
)
"""A url that lacks some of its `://` and holds a password all the same."""
_SECRET_OPTION = re.compile(r"pass(word|wd|phrase)?$|secret|token", re.IGNORECASE)

_DRIVER_BY_BACKEND = {
    "sqlite": "sqlite",
    "postgresql": "postgresql+psycopg2",
    "mysql": "mysql+pymysql",
    "mariadb": "mysql+pymysql",
}
_BACKEND_BY_ALIAS = {"postgres": "postgresql"}

_SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_ASYNCPG_ONLY = (
    "async_fallback",
    "prepared_statement_cache_size",
    "prepared_statement_name_func",
    "statement_cache_size",
    "command_timeout",
)
"""Options of asyncpg's that libpq would refuse, and that say nothing about where to connect."""
_MYSQLCLIENT_ONLY = ("use_unicode", "async_fallback", "auth_plugin", "consume_results")


def _split(url: str) -> tuple[str, str, str, str] | None:
    """Return scheme, user information, address and query; None where it is no URL."""
    match = _PARTS.match(url)
    if not match:
        return None
    user = ""
    rest = match["rest"]
    login = _LOGIN.match(rest)
    if login:
        user, rest = login["user"], rest[login.end() :]
        # An `@` in front of the options means that the password holds one, not encoded.
        more, at, _ = rest.partition("?")[0].rpartition("@")
        if at:
            user, rest = f"{user}@{more}", rest[len(more) + 1 :]
    address, _, query = rest.partition("?")
    return match["scheme"], user, address, query


def backend_of(url: str) -> str:
    """Return the name of the database product that a url is spelled for, "sqlite" for a path.

    Raises:
        UsageError: Airflow, or xcomctl, does not know that product.
    """
    parts = _split(url)
    if parts is None:
        if _MISTYPED.match(url) and not Path(url).exists():
            raise UsageError(
                f'cannot read the url "{hide_password(url)}"',
                detail='It has no "://" behind the name of a database.',
                hint="It has the form postgresql://user:password@host:5432/database.",
            )
        return "sqlite"
    name = parts[0].partition("+")[0].lower()
    name = _BACKEND_BY_ALIAS.get(name, name)
    if name not in _DRIVER_BY_BACKEND:
        raise UsageError(
            f'cannot read a metadata DB on "{name}"',
            detail="xcomctl knows SQLite, PostgreSQL, MySQL and MariaDB.",
            hint="Give a url such as postgresql://user@host/airflow, or the path of a SQLite file.",
        )
    return name


def sqlite_path(url: str) -> Path:
    """Return the file that a SQLite url or a path names.

    Raises:
        UsageError: the url names no file, such as an in-memory database.
    """
    match = _PARTS.match(url)
    if match is None:
        return Path(url).expanduser()
    path = match["rest"].partition("?")[0]
    path = path.removeprefix("/") if path.startswith("/") else ""
    if path.startswith("file:"):
        path = unquote(path.removeprefix("file:"))
        path = re.sub(r"^//(localhost)?(?=/)", "", path)
    if path in ("", ":memory:"):
        raise UsageError(
            "cannot read a SQLite database in memory",
            detail="It lives and dies with the process that opened it.",
            hint="Give the path of a file: --url airflow.db",
        )
    return Path(path).expanduser()


def with_our_driver(url: str) -> str:
    """Return the url with the driver that xcomctl ships, for the same database.

    The options that only the other drivers take are translated or left out.

    Raises:
        UsageError: an unknown product, or an `@` in the password that is not percent-encoded.
    """
    backend = backend_of(url)
    parts = _split(url)
    if parts is None:
        return url
    _, user, address, query = parts
    if "@" in user:
        raise UsageError(
            f'cannot read the url "{hide_password(url)}"',
            detail="Its user or password holds an @ that is not percent-encoded.",
            hint="Write %40 for each @ in it (and %25 for %).",
        )
    options = parse_qsl(query, keep_blank_values=True)
    if backend == "postgresql":
        options = [_libpq_option(name, value) for name, value in options]
        options = [(name, value) for name, value in options if name not in _ASYNCPG_ONLY]
    elif backend in ("mysql", "mariadb"):
        options = [pair for pair in options if pair[0] not in _MYSQLCLIENT_ONLY]
        options = [pair for name, value in options for pair in _pymysql_options(name, value)]
    text = f"{_DRIVER_BY_BACKEND[backend]}://{user}{'@' if user else ''}{address}"
    return f"{text}?{urlencode(options, quote_via=quote, safe='/:')}" if options else text


def _libpq_option(name: str, value: str) -> tuple[str, str]:
    if name == "ssl":
        return "sslmode", value if value in _SSL_MODES else "require"
    return name, value


def _pymysql_options(name: str, value: str) -> list[tuple[str, str]]:
    if name in ("ssl_mode", "ssl-mode"):
        mode = value.upper()
        if mode in ("DISABLED", "PREFERRED"):
            return [("ssl_disabled", "true")] if mode == "DISABLED" else []
        # PyMySQL starts TLS as soon as it is told anything about it.
        return [("ssl_check_hostname", "true" if mode == "VERIFY_IDENTITY" else "false")]
    if name == "ssl" and value.lower() in ("true", "1"):
        return [("ssl_check_hostname", "false")]
    if name == "ssl_disabled" and value.lower() not in ("true", "1"):
        # Any text is true to PyMySQL, and encrypting where the server can is what it does anyway.
        return []
    return [(name, value)]


def hide_password(url: str) -> str:
    """Return the url as it may be shown: no password, also where the url is malformed."""
    parts = _split(url)
    if parts is None:
        return _MISTYPED.sub(rf"\g<scheme>\g<user>:{HIDDEN}@\g<address>", url)
    scheme, user, address, query = parts
    name, colon, _ = user.partition(":")
    shown = f"{name}:{HIDDEN}" if colon else name
    options = "&".join(
        f"{option}={HIDDEN}" if _SECRET_OPTION.search(option) else f"{option}{equals}{value}"
        for option, equals, value in (pair.partition("=") for pair in query.split("&"))
    )
    return f"{scheme}://{shown}{'@' if user else ''}{address}{'?' if query else ''}{options}"


def secrets_of(url: str) -> frozenset[str]:
    """Return every text in the url that must never be printed, as written and as decoded."""
    parts = _split(url)
    if parts is None:
        mistyped = _MISTYPED.match(url)
        return frozenset({mistyped["password"]} if mistyped else ())
    _, user, address, query = parts
    name, _, password = user.partition(":")
    found = {password, *password.split("@")}
    for pair in query.split("&"):
        option, _, value = pair.partition("=")
        if _SECRET_OPTION.search(option):
            found.add(value)
    found |= {unquote(secret) for secret in found}
    # A password that is also the user's or the database's name hides nothing when blotted out.
    public = {name, unquote(name), address.rpartition("/")[2], ""}
    return frozenset(found - public)
