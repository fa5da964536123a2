"""A large value of MySQL, taken from the packets as they come."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymysql.err import DataError, Error, InternalError

from xcomctl.db.backends import mysql_values
from xcomctl.db.backends.base import MovedError

PACKET = 16
END = b"\xfe\0\0\2\0"
ERROR = (
    b"\xff"
    + (1153).to_bytes(2, "little")
    + b"#08S01Got a packet bigger than 'max_allowed_packet' bytes"
)


class Driver:
    """A driver that has sent a query, and what the server answers: payloads, cut into packets."""

    def __init__(self, *payloads: bytes, longest: int = PACKET) -> None:
        packets: list[bytes] = []
        for payload in payloads:
            cut = [payload[at : at + longest] for at in range(0, len(payload) + 1, longest)]
            packets += cut
        self._next_seq_id = 3
        self._stream = b"".join(
            len(packet).to_bytes(3, "little") + bytes([(3 + number) % 256]) + packet
            for number, packet in enumerate(packets)
        )
        self.closed = False
        self.result = self._result = type("Result", (), {"unbuffered_active": True})()

    def _read_bytes(self, count: int) -> bytes:
        if count > len(self._stream):
            raise Error("Lost connection")
        data, self._stream = self._stream[:count], self._stream[count:]
        return data

    def cursor(self, kind: object) -> Any:
        return self

    def execute(self, sql: str, parameters: object) -> None:
        assert (sql, parameters) == ("SELECT", ())

    def close(self) -> None:
        """Close the cursor at the end, the connection before it."""
        self.closed = True

    @property
    def left(self) -> bytes:
        return self._stream


def packed(value: bytes | None) -> bytes:
    """Return a row of one field."""
    if value is None:
        return b"\xfb"
    length = len(value)
    if length < 251:
        return bytes([length]) + value
    return b"\xfd" + length.to_bytes(3, "little") + value


@pytest.fixture(autouse=True)
def short_packets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let packets be as long as a test can count."""
    monkeypatch.setattr(mysql_values, "_LONGEST_PACKET", PACKET)


def read(driver: Driver) -> tuple[bytes, bool]:
    """Return the value, and whether the server could send it."""
    pieces = []
    reading = mysql_values.read_pieces(driver, "SELECT", ())
    try:
        while True:
            pieces.append(next(reading))
    except StopIteration as end:
        return b"".join(pieces), end.value


@given(st.integers(0, 70) | st.integers(240, 300), st.integers(1, 40))
def test_a_value_is_whole_wherever_packets_end(length: int, piece: int) -> None:
    """Of every length, also where the last packet is empty; what follows is left to the driver."""
    value = bytes(number % 256 for number in range(length))
    whole = mysql_values._PIECE_BYTES
    mysql_values._PIECE_BYTES = piece
    try:
        driver = Driver(packed(value), END)
        assert read(driver) == (value, True)
    finally:
        mysql_values._PIECE_BYTES = whole
    assert driver.left[4:] == END


def test_null_and_no_row_and_too_much() -> None:
    """NULL has no bytes; an error in place of a row says whether slices may help."""
    assert read(Driver(packed(None), END)) == (b"", True)
    with pytest.raises(MovedError):
        read(Driver(END, longest=PACKET))
    assert read(Driver(ERROR, longest=200)) == (b"", False)
    with pytest.raises(DataError):
        read(Driver(b"\xff" + (1406).to_bytes(2, "little") + b"#22001no", longest=200))


@pytest.mark.parametrize("length", [5, 40, 300])
def test_a_broken_answer_is_an_error(length: int) -> None:
    """Cut off, longer than it says, or in another order: never a part of a value as the whole."""
    whole = packed(bytes(length))
    for answer in (whole[:-1], whole + b"x"):
        driver = Driver(answer, END)
        with pytest.raises(Error):
            read(driver)
        assert driver.closed
    driver = Driver(whole, END)
    driver._next_seq_id = 9
    with pytest.raises(InternalError):
        read(driver)
