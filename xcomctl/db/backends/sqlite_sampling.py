"""How SQLite's large values are sampled for pickles: by rowid, through handles on the blobs."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

if TYPE_CHECKING:
    from collections.abc import Sequence

    Element = sa.ColumnElement[Any]

IN_ROW = 2000
"""Blobs up to this size lie in the row's page (of 4096 bytes, the usual one), or near it."""


class SQLiteSampling:
    """Names large values by their rowids."""

    def __init__(self, driver: sqlite3.Connection, schema: str) -> None:
        self._driver = driver
        self._schema = schema

    def sampled(self, value: Element) -> Element:
        return sa.case((sa.func.length(value) > IN_ROW, sa.literal_column("x.rowid")))

    def any_pickle(self, table: sa.FromClause, rows: Sequence[Any]) -> bool:
        # substr() would load the whole of each value.
        return any(self._first_byte(rowid) == b"\x80" for rowid in rows)

    def _first_byte(self, rowid: int) -> bytes:
        try:
            with self._driver.blobopen(
                "xcom", "value", rowid, readonly=True, name=self._schema
            ) as blob:
                return blob.read(1)
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode == sqlite3.SQLITE_ERROR:
                # "no such rowid": deleted a moment ago.
                return b""
            raise sa.exc.OperationalError("blobopen", None, error) from None
