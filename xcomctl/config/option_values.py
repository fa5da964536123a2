"""Parse the values of a database URL's options; each function raises ValueError with what it takes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from xcomctl.config.settings_file import read_bytes
from xcomctl.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

TRUE = ("true", "yes", "on", "1", "t", "y")
FALSE = ("false", "no", "off", "0", "f", "n")
"""What SQLAlchemy reads as a bool."""

_SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_A_YEAR_S = 31_536_000
_T = TypeVar("_T")


def parsed(name: str, parse: Callable[[str], _T], value: str, place: str = "the URL") -> _T:
    """Return the parsed value of the option `name`.

    Raises:
        UsageError: it is invalid. The value is not shown.
    """
    try:
        return parse(value)
    except ValueError as expected:
        raise UsageError(
            f'invalid value for the option "{name}" of {place}', hint=f"Valid values: {expected}."
        ) from None


def boolean(text: str) -> bool:
    """Parse a bool as SQLAlchemy does."""
    lower = text.strip().lower()
    if lower not in (*TRUE, *FALSE):
        raise ValueError("true or false")
    return lower in TRUE


def seconds(text: str) -> float | None:
    """Parse a timeout; None for 0, which means the default to every driver."""
    try:
        number = float(text)
    except ValueError:
        number = -1
    if not 0 <= number <= _A_YEAR_S:
        raise ValueError(f"a number of seconds from 0 to {_A_YEAR_S}")
    return number or None


def whole_seconds(text: str) -> int | None:
    """Parse a timeout for a driver that counts whole seconds; None for 0."""
    number = seconds(text)
    return None if number is None else max(1, round(number))


def positive(text: str) -> int:
    """Parse a whole number above 0."""
    if not re.fullmatch(r"[0-9]{1,12}", text) or int(text) == 0:
        raise ValueError("a whole number above 0")
    return int(text)


def port(text: str) -> int:
    """Parse a TCP port."""
    if not re.fullmatch(r"\s*[0-9]{1,9}\s*", text) or not 1 <= int(text) <= 65_535:
        raise ValueError("a port number from 1 to 65535")
    return int(text)


def ports(text: str) -> str:
    """Parse libpq's list of ports, one for each host, where an empty one means the default."""
    for one in filter(None, text.split(",")):
        port(one)
    return text


def ssl_mode(text: str) -> str:
    """Parse libpq's `sslmode` or asyncpg's `ssl`."""
    mode = text.strip().lower()
    if mode in TRUE:
        return "require"
    if mode in FALSE:
        return "disable"
    if mode not in _SSL_MODES:
        raise ValueError(", ".join(_SSL_MODES))
    return mode


def ssl_negotiation(text: str) -> str:
    """Parse asyncpg's `direct_tls` to libpq's `sslnegotiation`."""
    return "direct" if boolean(text) else "postgres"


def file_content(text: str) -> bytes:
    """Return the content of the file that an option names."""
    try:
        return read_bytes(Path(text).expanduser())
    except (OSError, RuntimeError, ValueError):
        raise ValueError("the path of a file that can be read") from None
