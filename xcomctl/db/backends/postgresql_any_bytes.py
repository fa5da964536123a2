"""Texts of a PostgreSQL database in SQL_ASCII: any bytes. Those that are not UTF-8 are kept.

With any other client encoding the server refuses to send such a text:
https://www.postgresql.org/docs/current/multibyte.html#MULTIBYTE-SETTING
"""

from __future__ import annotations

import codecs
from typing import TYPE_CHECKING, Any, Final

from psycopg2 import extensions

if TYPE_CHECKING:
    from psycopg2.extensions import connection as Connection  # noqa: N812 - a class in lower case

_CODEC: Final = "xcomctl_any_bytes"


def holds_any_bytes(connection: Connection) -> bool:
    """Return whether the database takes any bytes for a text."""
    return connection.info.parameter_status("server_encoding") == "SQL_ASCII"


def accept_any_bytes(connection: Connection) -> None:
    """Let a connection pass on texts as they are, as UTF-8 with surrogates for other bytes."""
    codecs.register(_find)
    extensions.encodings |= {"SQL_ASCII": _CODEC, "SQLASCII": _CODEC}
    connection.set_client_encoding("SQL_ASCII")


def _encode(text: str, _errors: str = "") -> tuple[bytes, int]:
    return codecs.utf_8_encode(text, "surrogateescape")


def _decode(data: Any, _errors: str = "") -> tuple[str, int]:
    return codecs.utf_8_decode(data, "surrogateescape", True)


def _find(name: str) -> codecs.CodecInfo | None:
    return codecs.CodecInfo(_encode, _decode, name=_CODEC) if name == _CODEC else None
