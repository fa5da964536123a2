"""Rows as MySQL sends them: bytes, which PyMySQL would make texts and numbers of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pymysql.connections import MySQLResult
from pymysql.cursors import SSCursor

if TYPE_CHECKING:
    from collections.abc import Generator

_TAKES_APART = "_read_row_from_packet"
"""The driver's method that makes Python objects of a row."""
CAN_READ_RAW = hasattr(MySQLResult, _TAKES_APART)
_NULL = 251
_WIDTHS = {252: 2, 253: 3, 254: 8}
"""How many bytes of a length follow such a byte."""


def raw_rows(driver: Any, sql: str, parameters: Any) -> Generator[list[Any]]:
    """Yield rows as they come, each field the bytes that the server sent or None.

    The driver's connection is closed where not all are read: closing its cursor would first read
    all that are left.
    """
    cursor = driver.cursor(SSCursor)
    try:
        cursor.execute(sql, parameters)
        # The driver would make texts and numbers of them, with three calls for each: half of the
        # time that its reading takes.
        setattr(cursor._result, _TAKES_APART, take_apart)
        yield from iter(cursor.fetchone, None)
    except BaseException:
        if cursor._result is not None:
            cursor._result.unbuffered_active = False
        driver.close()
        raise
    cursor.close()


def take_apart(packet: Any) -> list[bytes | None]:
    """Return the fields of a row as the server sent them, each behind its length:

    https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_com_query_response_text_resultset_row.html
    """
    data: bytes = packet.get_all_data()
    fields: list[bytes | None] = []
    at, end = 0, len(data)
    while at < end:
        length = data[at]
        at += 1
        if length == _NULL:
            fields.append(None)
            continue
        if length > _NULL:
            width = _WIDTHS[length]
            length = int.from_bytes(data[at : at + width], "little")
            at += width
        fields.append(data[at : at + length])
        at += length
    return fields
