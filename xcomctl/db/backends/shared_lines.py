"""Lines that worker processes write and this process joins, through memory that both have.

The memory is bounded, however many lines a part has: a worker waits until there is room again.
"""

from __future__ import annotations

import mmap
from collections import deque
from itertools import cycle
from typing import TYPE_CHECKING, Any, Final

from xcomctl.db.backends.workers import AHEAD

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from xcomctl.db.backends.workers import Channel
    from xcomctl.model import LineSink

SLOT_BYTES: Final = 1024 * 1024
"""Small enough to be still in the processor's cache when it is read."""
SLOTS: Final = 4
"""For each worker."""


def make_slots(count: int) -> list[list[mmap.mmap]]:
    """Return shared memory for `count` workers, by worker. Call it before starting them."""
    return [[mmap.mmap(-1, SLOT_BYTES) for _ in range(SLOTS)] for _ in range(count)]


def write_lines(
    channel: Channel,
    slots: Sequence[mmap.mmap],
    sink: LineSink,
    write_part: Callable[[Any], object],
) -> None:
    """Write the lines of every part that `join_lines` sends; in a worker.

    `write_part` writes the rows of one into the sink.
    """
    out = _Slots(channel, slots)
    sink.divert(out.write)
    while True:
        write_part(out.next_part())
        sink.flush()
        out.end_part(*sink.counted())


def join_lines(
    channels: Sequence[Channel],
    slots: Sequence[Sequence[mmap.mmap]],
    parts: Iterable[object],
    sink: LineSink,
    took: Callable[[int], object] = lambda _: None,
) -> None:
    """Send the parts to the workers in turn, and write their lines in the order of the parts.

    `took` is called with the bytes of each.
    """
    pending: deque[int] = deque()
    for number, part in zip(cycle(range(len(channels))), parts):
        if len(pending) == AHEAD * len(channels):
            first = pending.popleft()
            took(_copy_part(channels[first], slots[first], sink))
        channels[number].send((part,))
        pending.append(number)
    for number in pending:
        took(_copy_part(channels[number], slots[number], sink))


def _copy_part(channel: Channel, slots: Sequence[mmap.mmap], sink: LineSink) -> int:
    """Write the lines of a part, and return their bytes."""
    whole = 0
    while True:
        at, length, counts = channel.receive()
        assert isinstance(length, int)
        sink.write(memoryview(slots[at])[:length])
        # There is room again.
        channel.send(None)
        whole += length
        if counts is not None:
            sink.count(*counts)
            return whole


class _Slots:
    """A worker's end: fills one slot after the other."""

    def __init__(self, channel: Channel, slots: Sequence[mmap.mmap]) -> None:
        self._channel = channel
        self._slots = slots
        self._at = 0
        self._used = 0
        self._free = len(slots)
        self._parts: deque[Any] = deque()

    def next_part(self) -> Any:
        """Wait for a part."""
        while not self._parts:
            self._receive()
        return self._parts.popleft()

    def write(self, data: bytes | memoryview) -> None:
        """Write into the slots."""
        rest = memoryview(data)
        while rest:
            if self._used == SLOT_BYTES:
                self._hand_over(None)
            end = min(self._used + len(rest), SLOT_BYTES)
            piece, rest = rest[: end - self._used], rest[end - self._used :]
            self._slots[self._at][self._used : end] = piece
            self._used = end

    def end_part(self, rows: int, size: int) -> None:
        """Hand over what was written of a part, and its counts."""
        self._hand_over((rows, size))

    def _hand_over(self, counts: tuple[int, int] | None) -> None:
        self._channel.send((self._at, self._used, counts))
        self._at, self._used = (self._at + 1) % len(self._slots), 0
        self._free -= 1
        while not self._free:
            self._receive()

    def _receive(self) -> None:
        message = self._channel.receive()
        if message is None:
            self._free += 1
        else:
            self._parts.append(message[0])
