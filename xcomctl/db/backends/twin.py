"""A second process of this program that does half of the work, and what connects the two."""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import signal
import struct
import sys
import threading
import traceback
from typing import TYPE_CHECKING, Any, BinaryIO, NoReturn

from xcomctl.errors import DatabaseError, XcomctlError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_HEAD = struct.Struct("<cQ")
_PIECE, _TAKEN, _END, _FAILURE, _CRASH = b"p", b"t", b"e", b"f", b"c"
_AHEAD_BYTES = 4 * 1024 * 1024
"""What a process may have sent that the other has not taken yet."""


def worth_it() -> bool:
    """Return whether a second process can be made here, and would run beside this one."""
    # Elsewhere a fork is not safe, or there is none; nor is it beside other threads.
    if not sys.platform.startswith("linux") or threading.active_count() > 1:
        return False
    return len(os.sched_getaffinity(0)) > 1


def to_json(value: object) -> object:
    """Return what SQLite holds in a form that JSON has: bytes as a list of one text."""
    return [value.decode("latin-1")] if isinstance(value, bytes) else value


def from_json(told: Any) -> Any:
    """Return what `to_json` was given."""
    return told[0].encode("latin-1") if isinstance(told, list) else told


class Link:
    """One end of what connects this process with its twin.

    What is sent lies in memory that both share until the other has taken it; pipes tell of it.
    Who sends waits when that memory is full, so each sends only what the other will read.
    """

    def __init__(self, reads: BinaryIO, writes: int, inbox: mmap.mmap, outbox: mmap.mmap) -> None:
        self._reads = reads
        self._writes = writes
        self._inbox = memoryview(inbox)
        self._outbox = outbox
        self._in_at = self._out_at = 0
        self._room = len(outbox)
        self._taken = 0
        """Bytes of the inbox of which the other does not know yet that they are free again."""

    def send(self, data: bytes | memoryview) -> None:
        """Send some bytes of a part."""
        view = memoryview(data)
        while view:
            while not self._room:
                self._next()
            size = min(len(view), self._room, len(self._outbox) - self._out_at)
            self._outbox[self._out_at : self._out_at + size] = view[:size]
            self._out_at = (self._out_at + size) % len(self._outbox)
            self._room -= size
            self._tell(_PIECE, size)
            view = view[size:]

    def end(self, facts: object = None) -> None:
        """Say that a part is all sent, with what JSON holds of facts about it."""
        self._say(_END, json.dumps(facts).encode())

    def fail(self, error: XcomctlError) -> None:
        """Say that there will be no more, and why."""
        self._say(_FAILURE, json.dumps([error.message, error.detail, error.hint]).encode())

    def crash(self, told: str) -> None:
        """Say that there will be no more, because of a bug."""
        self._say(_CRASH, told.encode("utf-8", "backslashreplace"))

    def part(self, take: Callable[[memoryview], object] = len) -> Any:
        """Hand over the pieces of the next part as they come, and return the facts about it.

        A piece is gone when `take` returns.

        Raises:
            DatabaseError: the other process failed, or has gone.
            RuntimeError: it has a bug.
        """
        while True:
            kind, told = self._next()
            if kind == _END:
                return json.loads(told)
            if kind == _PIECE:
                take(self._inbox[self._in_at : self._in_at + told])
                self._in_at = (self._in_at + told) % len(self._inbox)
                self._taken += told
                # Seldom enough that neither pipe is ever full of it.
                if self._taken * 4 >= len(self._inbox):
                    self._tell(_TAKEN, self._taken)
                    self._taken = 0

    def _next(self) -> tuple[bytes, Any]:
        """Wait for what the other process says next, and return it."""
        head = self._reads.read(_HEAD.size)
        if len(head) == _HEAD.size:
            kind, number = _HEAD.unpack(head)
            if kind == _TAKEN:
                self._room += number
            if kind in {_TAKEN, _PIECE}:
                return kind, number
            data = self._reads.read(number)
            if len(data) == number:
                if kind == _FAILURE:
                    message, detail, hint = json.loads(data)
                    raise DatabaseError(message, detail=detail, hint=hint)
                if kind == _CRASH:
                    raise RuntimeError(data.decode())
                return kind, data
        raise DatabaseError(
            "the process that read half of the table has gone",
            hint="Was it killed, for want of memory? Try again.",
        )

    def _tell(self, kind: bytes, number: int) -> None:
        self._write(_HEAD.pack(kind, number))

    def _say(self, kind: bytes, data: bytes) -> None:
        self._write(_HEAD.pack(kind, len(data)) + data)

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._writes, view) :]


class _LinkToTwin(Link):
    def _write(self, data: bytes) -> None:
        # Why the twin has gone is what its last part says.
        with contextlib.suppress(BrokenPipeError):
            super()._write(data)


@contextlib.contextmanager
def twin(work: Callable[[Link], object]) -> Iterator[Link | None]:
    """Do some work in a second process, which ends with it or with this one.

    It is a copy of this process as it is now, with nothing open that may not be shared. None
    where the system allows no second process.
    """
    with contextlib.ExitStack() as left:
        try:
            replies, reply = _pipe(left)
            order, orders = _pipe(left)
            here, there = mmap.mmap(-1, _AHEAD_BYTES), mmap.mmap(-1, _AHEAD_BYTES)
            # What a signal raises must not take the twin out of here.
            blocked = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
            left.callback(signal.pthread_sigmask, signal.SIG_SETMASK, blocked)
            pid = os.fork()
        except OSError:
            pid = None
        if pid == 0:
            _be_twin(work, order, reply, there, here, blocked, (replies, orders))
        if pid is not None:
            left.pop_all()
    if pid is None:
        yield None
        return
    try:
        os.close(reply)
        os.close(order)
        with os.fdopen(replies, "rb") as reads, os.fdopen(orders, "wb", 0):
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
            yield _LinkToTwin(reads, orders, here, there)
    finally:
        # It only reads; so it may end anywhere.
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _pipe(left: contextlib.ExitStack) -> tuple[int, int]:
    ends = os.pipe()
    for end in ends:
        left.callback(os.close, end)
    return ends


def _be_twin(
    work: Callable[[Link], object],
    order: int,
    reply: int,
    inbox: mmap.mmap,
    outbox: mmap.mmap,
    blocked: set[int | signal.Signals],
    others: tuple[int, ...],
) -> NoReturn:
    code = 1
    try:
        # Ctrl-C is for the process that the user started; when that goes, the pipe breaks.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        for one in (signal.SIGTERM, signal.SIGHUP):
            # Under nohup it stays ignored.
            if signal.getsignal(one) is not signal.SIG_IGN:
                signal.signal(one, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        for end in others:
            os.close(end)
        with os.fdopen(order, "rb") as reads:
            link = Link(reads, reply, inbox, outbox)
            try:
                work(link)
            except XcomctlError as error:
                link.fail(error)
            except Exception:  # noqa: BLE001 - whatever it is, the other process reports it
                link.crash(traceback.format_exc())
        code = 0
    finally:
        # Nothing of what the other process has in its buffers is to be written twice.
        os._exit(code)
