"""One large value of MySQL or MariaDB, read in pieces as the server sends it."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from pymysql.connections import Connection
from pymysql.cursors import SSCursor
from pymysql.err import Error, InternalError
from pymysql.protocol import MysqlPacket

from xcomctl.db.backends import mysql_ids
from xcomctl.db.backends.base import MovedError
from xcomctl.db.backends.mysql_rows import NULL, WIDTHS

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from xcomctl.db.backends.base import Element
    from xcomctl.model import Raw, Storage

_TOO_LARGE = (1153, 1301)
"""Errors for an answer larger than `max_allowed_packet`."""
_CAN_READ = all(hasattr(Connection, name) for name in ("_read_bytes", "_read_packet"))
_HEADER_BYTES = 4
_LONGEST_PACKET = 0xFFFFFF
_SHORT_BYTES = 9
"""Less than that, and a packet that begins like a long value is the end of the rows."""
_PIECE_BYTES = 1024 * 1024
_SLICE_BYTES = 10 * 1024 * 1024
"""The server reads the whole value for each slice, so few are better; within one packet of 16 MB."""


def read_pieces(driver: Any, sql: str, parameters: Any) -> Generator[bytes, None, bool]:
    """Yield the value that a query finds, nothing of NULL; return False if the server cannot send it.

    Raises:
        MovedError: there is no such row.
        pymysql.Error: the connection was lost, or the server refused for another reason.
    """
    if not _CAN_READ:
        return False
    begun = False
    with contextlib.closing(value_pieces(driver, sql, parameters)) as pieces:
        try:
            for piece in pieces:
                begun = True
                if piece is not None:
                    yield piece
        except Error as error:
            if begun or not error.args or error.args[0] not in _TOO_LARGE:
                raise
            return False
    if not begun:
        raise MovedError
    return True


def read_slices(
    connection: sa.Connection,
    table: sa.FromClause,
    is_row: list[Element],
    storage: Storage,
    packet: int,
) -> Iterator[Raw]:
    """Yield the value of a row in slices. The server reads the whole value for each slice.

    They are of one value, because all are of one transaction's view.

    Raises:
        MovedError: there is no such row.
    """
    value: Element = table.c.value
    if storage == "json":
        # As bytes, because finding the millionth character means counting. MySQL's JSON is made
        # text again for every slice (0.15 s for 36 MB), which is still the only way to what
        # exceeds the largest packet.
        value = mysql_ids.binary(value)
    step = max(1024, min(_SLICE_BYTES, packet // 2))
    start = 1
    while True:
        piece = sa.func.substring(value, start, step)
        statement = sa.select(piece).select_from(table).where(*is_row)
        found = connection.execute(statement).first()
        if found is None:
            raise MovedError
        slice_ = found[0]
        del found
        if slice_ is None:
            return
        size = len(slice_)
        yield slice_
        del slice_
        start += step
        if size < step:
            return


def value_pieces(driver: Any, sql: str, parameters: Any) -> Generator[bytes | None]:
    """Yield the one field of a query's first row in pieces, as the server sends it; None for NULL.

    Nothing where there is no row. The driver itself would hold all of it, three times. Closing
    the generator reads the rest; after an error or an interruption the connection is closed.

    Raises:
        pymysql.Error: the server refused, or the connection was lost.
    """
    cursor = driver.cursor(SSCursor)
    length = 0
    try:
        cursor.execute(sql, parameters)
        payload = _Payload(driver)
        first = payload.read(1)
        if first == b"\xfb":
            yield None
        elif first == b"\xff" or (first == b"\xfe" and payload.is_short):
            # An error or the end, in a packet as the driver knows it.
            rest = MysqlPacket(first + payload.read(_PIECE_BYTES), "utf8mb4")
            cursor._result.unbuffered_active = False
            rest.raise_for_error() if first == b"\xff" else None
            return
        else:
            length = first[0]
            if length > NULL:
                length = int.from_bytes(payload.read(WIDTHS[length]), "little")
            if not length:
                yield b""
            while length:
                piece = payload.read(min(length, _PIECE_BYTES))
                length -= len(piece)
                yield piece
        payload.end()
    except GeneratorExit:
        with contextlib.suppress(Error):
            _skip(payload, length, cursor)
        raise
    except BaseException:
        if cursor._result is not None:
            if not cursor._result.unbuffered_active:
                # All was read.
                raise
            cursor._result.unbuffered_active = False
        driver.close()
        raise
    cursor.close()


def _skip(payload: _Payload, length: int, cursor: SSCursor) -> None:
    """Read the rest of a value and of its result, so that the connection can be used again."""
    while length:
        length -= len(payload.read(min(length, _PIECE_BYTES)))
    payload.end()
    cursor.close()


class _Payload:
    """What the server sends next, in packets of up to 16 MB:

    https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_basic_packets.html
    """

    def __init__(self, driver: Any) -> None:
        self._driver = driver
        self._left = 0
        self._is_last = False
        self._next_packet()
        self.is_short = self._left < _SHORT_BYTES and self._is_last

    def _next_packet(self) -> None:
        driver = self._driver
        header = driver._read_bytes(_HEADER_BYTES)
        self._left = int.from_bytes(header[:3], "little")
        self._is_last = self._left < _LONGEST_PACKET
        if header[3] != driver._next_seq_id:
            raise InternalError(f"packet {header[3]} came instead of {driver._next_seq_id}")
        driver._next_seq_id = (driver._next_seq_id + 1) % 256

    def read(self, most: int) -> bytes:
        """Return the next bytes, as many as that or all that are left of a packet.

        Raises:
            pymysql.Error: there are no more.
        """
        if not self._left and not self._is_last:
            self._next_packet()
        data: bytes = self._driver._read_bytes(min(most, self._left))
        self._left -= len(data)
        if not data and most:
            raise InternalError("a row ended within a value")
        return data

    def end(self) -> None:
        """Make sure that nothing is left.

        Raises:
            pymysql.Error: something is.
        """
        if not self._left and not self._is_last:
            self._next_packet()
        if self._left:
            raise InternalError("a row continues after its value")
