"""Exact comparison of ids in MySQL and MariaDB, whatever the collations of their columns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from xcomctl.db.backends.globs import glob_to_like, glob_to_regex

if TYPE_CHECKING:
    from xcomctl.db.schema import Column

    Element = sa.ColumnElement[Any]


def same(column: Element, text: str, described: Column | None) -> Element:
    """Return whether a column is exactly this text, found along an index where possible."""
    exact = binary(column) == binary(sa.literal(text))
    if not _holds(text, described.charset if described else None):
        # The plain comparison would be an error then, not a mismatch.
        return exact
    # The plain comparison, which folds case or ignores trailing spaces, finds the index.
    return sa.and_(column == text, exact)


def same_column(
    left: Element, right: Element, first: Column | None, second: Column | None, *, exact: bool
) -> Element:
    """Return whether two columns are equal, found along an index of the left one."""
    plain = left == right
    if first and second and first.charset and first.collation != second.collation:
        # MySQL refuses to compare some collations, and finds no index by others.
        there = _using(right, first.charset).op("COLLATE")(sa.literal_column(str(first.collation)))
        plain, exact = left == there, True
    return sa.and_(plain, binary(left) == binary(right)) if exact else plain


def like(column: Element, glob: str) -> Element:
    """Return whether a column matches a shell glob, case counting."""
    exact = _using(column, "utf8mb4").op("COLLATE")(sa.literal_column("utf8mb4_bin"))
    pattern = glob_to_like(glob)
    if pattern is not None:
        return exact.like(pattern, escape="\\")
    return exact.op("REGEXP")(f"(?s)^(?:{glob_to_regex(glob)})\\z")


def binary(text: Element) -> Element:
    """Return the UTF-8 bytes of a text."""
    return sa.cast(_using(text, "utf8mb4"), sa.LargeBinary)


def _using(text: Element, charset: str) -> Element:
    return sa.func.convert(text.op("USING", is_comparison=False)(sa.literal_column(charset)))


def _holds(text: str, charset: str | None) -> bool:
    """Return whether a column of a character set can be compared with a text along its index."""
    if charset == "utf8mb4" or text.isascii():
        return True
    return charset in ("utf8mb3", "utf8", "ucs2") and all(ord(char) <= 0xFFFF for char in text)
