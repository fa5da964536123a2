"""Hide passwords: in connection texts that are shown, and in other programs' messages.

A connection text is whatever a user gives as a database: a URL, a path, and by mistake a JDBC
string, a `key=value` DSN or a whole command line. `shown` returns it with only the parts that
are known to be public; everything else becomes `***`. xcomctl's own words are never changed, so
a password that is also an ordinary word gives nothing away.
"""

from __future__ import annotations

import re
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, quote_plus, unquote, unquote_plus

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

HIDDEN = "***"

_SECRET_WORD = r"(?:pass(?!file)|pwd|secret|token|credential|api[_-]?key)"
_SECRET_NAME = re.compile(rf"{_SECRET_WORD}|^(?:p|pw|pin|auth)$", re.IGNORECASE)
"""The name of an option whose value is a password or as good as one."""

_SCHEME_WORDS = "postgres|postgresql|mysql|mariadb|sqlite|jdbc|odbc|oracle|mssql|sqlserver"
_URL = re.compile(
    rf"(?P<scheme>(?:(?:{_SCHEME_WORDS}|thin|loadbalance|replication|aws-wrapper|p6spy):){{0,3}}"
    r"[A-Za-z][\w+.-]*)://(?P<rest>.*)",
    re.DOTALL,
)
_REST = re.compile(
    r"(?:(?P<user>[^:/]*)(?::(?P<password>[^@]*))?@)?(?P<address>[^?]*)(?:\?(?P<query>.*))?",
    re.DOTALL,
)
"""What follows `://`, taken apart as SQLAlchemy does (see `config.urls`)."""
_ADDRESS = re.compile(
    r"(?P<host>\[[^]/]*\]?|[^:/?\[]*)(?::(?P<port>[^/?]*))?(?P<path>/[^?]*)?(?:\?(?P<query>.*))?",
    re.DOTALL,
)
_PUBLIC_HOST = re.compile(r"\[[0-9A-Fa-f:.%\w]*\]?|[\w.,%*-]*")
_PUBLIC_PORT = re.compile(r"(?:\d{1,4}|[1-5]\d{4}|6[0-5]\d{3})(?:,[\w.-]+(?::\d{1,5})?)*")
_PUBLIC_PATH = re.compile(r"(?:[^@=?;&\s:]|(?<=^/)[A-Za-z]:(?=[\\/])|file:|:memory:| )*")
_PUBLIC_VALUE = re.compile(r"[\w./,~+%*\\-]*")

_PAIR = re.compile(r"(?:(?<=^)|(?<=[;&?,/\\\s]))\s{0,60}(?P<name>[A-Za-z][\w.%-]*(?: (?:id|name|source|catalog|sec\w*))?)\s*=\s*", re.IGNORECASE)  # fmt: skip
"""The name of a `key=value` DSN, or of an option in a query, with its equals sign."""
_PUBLIC_NAMES = frozenset({
    "host", "hostaddr", "server", "data source", "address", "addr", "user", "uid", "user id",
    "username", "user name", "dbname", "database", "databasename", "initial catalog",
})  # fmt: skip
_COMMAND_LINE = re.compile(r"(?:^|\s)-")
_MARKS = frozenset("@=;:{}\"'<>|&?")


# --- connection texts -------------------------------------------------------------------------


def shown(text: str) -> str:
    """Return a connection text as it may be shown, in whatever form it is given.

    A path is shown as it is. Of anything else the scheme, user, host, port, database and the
    known options are shown if they look like ones.
    """
    text = text.strip()
    if is_path(text):
        return text
    masked = _mask_pairs(text)
    if url := _URL.fullmatch(masked):
        return f"{url['scheme']}://{_shown_rest(url['rest'], is_file=_is_sqlite(url['scheme']))}"
    decoded = unquote(text)
    if decoded != text and (_URL.fullmatch(decoded) or "@" not in text):
        return shown(decoded)
    return _shown_malformed(masked)


def shown_name(text: str) -> str:
    """Return a name that a user gave, which may be a connection text by mistake."""
    plain = re.fullmatch(r"[\w .()-]*", text) and not _COMMAND_LINE.search(text)
    return text if plain else shown(text)


def is_connection(text: str) -> bool:
    """Return whether a text may be a connection text with a password in it."""
    # Also a whole command line, or a line of PostgreSQL's password file.
    other = re.compile(r"://|\s--?p|^[^:]*:(?:\d+|\*):[^:]*:[^:]*:")
    forms = {text, unquote(text)}
    return any(other.search(form) or hide(form) != form or secrets_of(form) for form in forms)


def is_path(text: str) -> bool:
    """Return whether a text that is not a URL names a file: one that exists, or looks like one."""
    if _URL.fullmatch(text):
        return False
    try:
        if Path(text).expanduser().exists():
            return True
    except (OSError, ValueError, RuntimeError):
        pass
    for form in {text, unquote(text)}:
        before, at, _ = form.rpartition("@")
        if "://" in form or (at and ":" in before) or _has_secret_pair(form):
            return False
    if re.match(rf"(?:{_SCHEME_WORDS})(?:\+\w+)?[:/]", text, re.IGNORECASE):
        return False
    if re.match(r"//.*:", text):
        return False
    if re.match(r"[/\\~.]|[A-Za-z]:[\\/]", text):
        return True
    if _MARKS.intersection(text + unquote(text)) or _COMMAND_LINE.search(text):
        return False
    return not re.search(r"\s", text) or bool(re.search(r"[/\\]|\.\w+$", text))


def _is_sqlite(scheme: str) -> bool:
    return scheme.lower().partition("+")[0] == "sqlite"


def _shown_rest(rest: str, *, is_file: bool) -> str:
    """Return what follows `://`, without the password wherever it may be."""
    parts = _REST.match(rest)
    assert parts is not None
    user, address, query = parts["user"], parts["address"], parts["query"]
    if "@" in (query or ""):
        # Either an option's value, or the rest of a password with "?" and "@" in it.
        known = _name(user if user is not None else rest)
        return f"{known}:{HIDDEN}@{HIDDEN}"
    if "@" in address and not (is_file and ":" not in address):
        # A password with a raw "@": it ends at the last one.
        head, _, address = rest.rpartition("@")
        return f"{_login(head)}@{_shown_address(address)}"
    tail = _shown_address(address + ("" if query is None else f"?{query}"), is_file=is_file)
    if user is None:
        return tail
    password = "" if parts["password"] is None else f":{HIDDEN}"
    return f"{_name(user)}{password}@{tail}"


def _login(head: str) -> str:
    """Return what stands in front of an `@`: the user, then `***`."""
    slashes = re.match(r"/*", head)
    assert slashes is not None
    user, mark, _ = re.sub(r"/", ":", head[slashes.end() :]).partition(":")
    return f"{slashes[0]}{_name(user)}{':' if mark else ''}{HIDDEN if mark else ''}"


def _name(user: str) -> str:
    """Return the user's name; what follows an encoded colon in it may be the password."""
    name = re.split(r":|%3a|/", user, maxsplit=1, flags=re.IGNORECASE)[0]
    name = name if re.fullmatch(r"[\w.@%+$*-]*", name) else HIDDEN
    return name if name in (user, HIDDEN) or not user else f"{name}:{HIDDEN}"


def _shown_address(address: str, *, is_file: bool = False) -> str:
    """Return host, port, database and options, each only if it looks like one."""
    parts = _ADDRESS.fullmatch(address)
    if parts is None:
        return HIDDEN
    host = parts["host"]
    if not _PUBLIC_HOST.fullmatch(host) or (host[:1] != "[" and _MARKS.intersection(unquote(host))):
        host = HIDDEN
    port, path, query = parts["port"], parts["path"], parts["query"]
    if port is not None:
        host += f":{port if not port or _PUBLIC_PORT.fullmatch(port) else HIDDEN}"
    if path is not None:
        decoded = unquote(path)
        public = all(map(_PUBLIC_PATH.fullmatch, (path, decoded)))
        host += path if public or (is_file and is_path(path[1:])) else f"/{HIDDEN}"
    return host if query is None else f"{host}?{_shown_query(query)}"


def _shown_query(query: str) -> str:
    pairs = []
    for pair in query.split("&"):
        name, equals, value = pair.partition("=")
        known = unquote_plus(name).lower()
        if not equals or not re.fullmatch(r"[\w.-]+", known):
            pairs.append(HIDDEN)
            continue
        pairs.append(f"{name}={value if _is_public(known, value) else HIDDEN}")
    return "&".join(pairs)


def _is_public(name: str, value: str) -> bool:
    decoded = unquote_plus(value)
    if _SECRET_NAME.search(name) or not all(map(_PUBLIC_VALUE.fullmatch, (value, decoded))):
        return False
    from xcomctl.config.drivers import is_valid

    return name in _PUBLIC_NAMES or is_valid(name, decoded)


def _mask_pairs(text: str) -> str:
    """Return the text with the value of every `password=` (`Pwd=`, …) hidden.

    A value ends where the next `name=` begins, as a password may hold any character.
    """
    pieces: list[str] = []
    at = 0
    for name, start, end in _pairs(text):
        if _SECRET_NAME.search(name):
            pieces += text[at:start], HIDDEN
            at = end
    return "".join(pieces) + text[at:]


def _pairs(text: str) -> Iterator[tuple[str, int, int]]:
    """Yield the name of each `name=value` in the text, and where its value starts and ends."""
    found = [*_PAIR.finditer(text)]
    for pair, following in zip_longest(found, found[1:]):
        # One separator stands in front of the next name.
        end = following.start("name") - 1 if following else len(text)
        yield unquote_plus(pair["name"]), pair.end(), max(pair.end(), end)


def _has_secret_pair(text: str) -> bool:
    return any(_SECRET_NAME.search(name) for name, _, _ in _pairs(text))


def _shown_malformed(text: str) -> str:
    """Return what is neither a URL nor a path, with only what is surely public."""
    pairs = [*_pairs(text)]
    if pairs and _PAIR.match(text):
        pieces: list[str] = []
        position = 0
        for name, start, end in pairs:
            value = text[start:end]
            pieces += text[position:start], value if _is_public(name.lower(), value) else HIDDEN
            position = end
        return "".join(pieces) + text[position:]
    scheme = re.match(rf"(?:{_SCHEME_WORDS})(?:\+\w+)?(?::?/{{1,3}}|:)", text, re.IGNORECASE)
    prefix = scheme[0] if scheme else ""
    head, at, address = text[len(prefix) :].rpartition("@")
    if at and not pairs and not _COMMAND_LINE.search(text) and not re.search(r"\s", head[:1]):
        return f"{prefix}{_login(head)}@{_shown_address(address)}"
    return f"{prefix}{HIDDEN}"


# --- other programs' messages -----------------------------------------------------------------

# Bounded, because a text may be as long as a command line, and each place in it can begin a name.
_QUOTED_PAIR = re.compile(
    rf"""(?P<name>[\w-]{{0,60}}{_SECRET_WORD}[\w-]{{0,60}}['"]?\s*(?:=|(?<=['"])\s*:)\s*)"""
    r"""(?P<value>"[^"]*"|'[^']*'|[^\s&;,)}'"]+)""",
    re.IGNORECASE,
)
_QUOTED_URL = re.compile(r"(?P<scheme>[A-Za-z][\w+.-]{0,60}:?/{1,3})(?P<login>[^\s/:]*:\S*)@")


def hide(message: str, secrets: Iterable[str] = ()) -> str:
    """Return another program's message without passwords.

    Hides the given secrets, and whatever stands where a password does (`password=`,
    `://user:…@`). A secret that is an ordinary word is hidden only where the message quotes it.
    """
    for secret in sorted(_spellings(secrets), key=len, reverse=True):
        pattern = re.escape(secret)
        if re.fullmatch(r"[a-z]+|[A-Z]+|[A-Z][a-z]+|\d{1,6}", secret) or len(secret) < 4:
            pattern = rf"""(?<=["'=`:]){pattern}(?=["'`@]|$)"""
        message = re.sub(pattern, HIDDEN, message)
    message = _QUOTED_PAIR.sub(rf"\g<name>{HIDDEN}", message)
    return _QUOTED_URL.sub(_hidden_login, message)


def _hidden_login(match: re.Match[str]) -> str:
    return f"{match['scheme']}{_login(match['login'])}@"


def _spellings(secrets: Iterable[str]) -> set[str]:
    """Return every way in which a message may write the secrets."""
    found: set[str] = set()
    for secret in secrets:
        for one in (secret, unquote(secret), unquote_plus(secret)):
            escaped = repr(one)[1:-1]
            found |= {one, quote(one), quote(one, safe=""), quote_plus(one), escaped}
            found.add(escaped.replace("'", "\\'"))
    return found - {""}


def secrets_of(text: str) -> frozenset[str]:
    """Return the passwords in a connection text, as written there.

    What is also the user's, the host's or the database's name is left out: it is public.
    """
    text = text.strip()
    found: set[str] = set()
    public: set[str] = set()
    url = _URL.fullmatch(text)
    if url and (parts := _REST.match(url["rest"])):
        head, at, address = url["rest"].rpartition("@")
        if parts["password"]:
            found |= {parts["password"], *parts["password"].split("@")}
        if at and ":" in head:
            # With a raw "@" in it, the password goes on to the last one.
            found.add(head.partition(":")[2])
        place = _ADDRESS.match(address if at else parts["address"])
        public = {parts["user"] or "", *(place.groupdict("").values() if place else ())}
        public |= {name.strip("/") for name in public}
    elif not is_path(text) and "@" in text:
        found.add(text.rpartition("@")[0].rpartition(":")[2])
    found |= {text[start:end] for name, start, end in _pairs(text) if _SECRET_NAME.search(name)}
    public |= {unquote(name) for name in public}
    return frozenset(
        one for one in found if one and one not in public and unquote(one) not in public
    )
