"""Exact comparison of ids in PostgreSQL, whatever its encoding and the collations of columns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from psycopg2.extensions import encodings

from xcomctl.db.backends.globs import glob_to_like, glob_to_regex

if TYPE_CHECKING:
    from xcomctl.db.schema import Column

    Element = sa.ColumnElement[Any]

_TEXTS = ("character varying", "text")


def exact(column: Element, described: Column | None) -> Element:
    """Return an id column as a text that equals identical texts only."""
    if described is None or (described.exact and described.type in _TEXTS):
        return column
    # An index on the column is of no use then; citext and such collations are rare.
    return sa.cast(column, sa.Text).op("COLLATE")(sa.literal_column('"C"'))


def same_column(
    left: Element, right: Element, first: Column | None, second: Column | None
) -> Element:
    """Return whether two columns are exactly equal, found along an index of the left one."""
    plain = first and second and first.exact and second.exact
    if plain and first and second and first.collation != second.collation:
        # PostgreSQL refuses to choose between two collations.
        name = first.collation or 'pg_catalog."default"'
        return left == right.op("COLLATE")(sa.literal_column(name))
    return exact(left, first) == exact(right, second)


def like(column: Element, glob: str) -> Element:
    """Return whether an exact column matches a shell glob, case counting."""
    pattern = glob_to_like(glob)
    if pattern is not None:
        return column.like(pattern, escape="\\")
    return column.op("~")(f"^(?:{glob_to_regex(glob)})$")


def holds(text: str, encoding: str) -> bool:
    """Return whether an encoding, by PostgreSQL's name, has every character of a text.

    PostgreSQL calls sending another one an error, also where it is only compared.
    """
    if "\0" in text:
        return False
    # SQL_ASCII stores whatever bytes a client sends, and this client sends UTF-8.
    any_bytes = encoding == "SQL_ASCII"
    codec = "utf-8" if any_bytes else encodings.get(encoding)
    if codec is None:
        return text.isascii()
    try:
        text.encode(codec, "surrogateescape" if any_bytes else "strict")
    except UnicodeEncodeError:
        return False
    return True


def escape_literal(text: str) -> str:
    """Return a text as a literal on one line.

    https://www.postgresql.org/docs/current/sql-syntax-lexical.html#SQL-SYNTAX-STRINGS-ESCAPE
    """

    def escape(char: str) -> str:
        if char in "'\\":
            return char * 2
        if char.isprintable():
            return char
        code = ord(char)
        return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"

    return f"E'{''.join(map(escape, text))}'"
