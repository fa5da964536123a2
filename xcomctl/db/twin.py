"""A second process of this program that does half of the work, and the pipes to and from it."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import struct
import sys
import threading
import traceback
from collections import deque
from typing import TYPE_CHECKING, Any, BinaryIO, NoReturn

from xcomctl.errors import DatabaseError, XcomctlError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_HEAD = struct.Struct("<cQ")
_PIECE, _END, _FAILURE, _CRASH = b"p", b"e", b"f", b"c"
_PIECE_BYTES = 1024 * 1024
_AHEAD_BYTES = 4 * 1024 * 1024
"""What the twin may have made that nobody has read yet."""


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
    """One end of the pipes between this process and its twin, one each way.

    Who sends waits when the pipe is full, so each sends only what the other will read.
    """

    def __init__(self, reads: BinaryIO, writes: int) -> None:
        self._reads = reads
        self._writes = writes

    def send(self, data: bytes) -> None:
        """Send some bytes of a part."""
        view = memoryview(data)
        for at in range(0, len(view), _PIECE_BYTES):
            self._frame(_PIECE, view[at : at + _PIECE_BYTES])

    def end(self, facts: object = None) -> None:
        """Say that a part is all sent, with what JSON holds of facts about it."""
        self._frame(_END, json.dumps(facts).encode())

    def fail(self, error: XcomctlError) -> None:
        """Say that there will be no more, and why."""
        self._frame(_FAILURE, json.dumps([error.message, error.detail, error.hint]).encode())

    def crash(self, told: str) -> None:
        """Say that there will be no more, because of a bug."""
        self._frame(_CRASH, told.encode("utf-8", "backslashreplace"))

    def part(self, take: Callable[[bytes], object] = len) -> Any:
        """Hand over the pieces of the next part as they come, and return the facts about it.

        Raises:
            DatabaseError: the other process failed, or has gone.
            RuntimeError: it has a bug.
        """
        while True:
            head = self._reads.read(_HEAD.size)
            if len(head) < _HEAD.size:
                break
            kind, length = _HEAD.unpack(head)
            data = self._reads.read(length)
            if len(data) < length:
                break
            if kind == _END:
                return json.loads(data)
            if kind == _FAILURE:
                message, detail, hint = json.loads(data)
                raise DatabaseError(message, detail=detail, hint=hint)
            if kind == _CRASH:
                raise RuntimeError(data.decode())
            take(data)
        raise DatabaseError(
            "the process that read half of the table has gone",
            hint="Was it killed, for want of memory? Try again.",
        )

    def _frame(self, kind: bytes, data: bytes | memoryview) -> None:
        for part in (_HEAD.pack(kind, len(data)), data):
            view = memoryview(part)
            while view:
                view = view[os.write(self._writes, view) :]


class _LinkFromTwin(Link):
    """The twin's end: what the pipe does not hold yet waits here, while the twin goes on."""

    def __init__(self, reads: BinaryIO, writes: int) -> None:
        super().__init__(reads, writes)
        os.set_blocking(writes, False)
        self._pipe = select.poll()
        self._pipe.register(writes, select.POLLOUT)
        self._unsent: deque[memoryview] = deque()
        self._unsent_bytes = 0

    def part(self, take: Callable[[bytes], object] = len) -> Any:
        self.flush()
        return super().part(take)

    def flush(self) -> None:
        """Wait until all is in the pipe."""
        self._write(0)

    def _frame(self, kind: bytes, data: bytes | memoryview) -> None:
        for part in (_HEAD.pack(kind, len(data)), data):
            self._unsent.append(memoryview(part))
            self._unsent_bytes += len(part)
        self._write(_AHEAD_BYTES)

    def _write(self, most: int) -> None:
        """Write what the pipe takes, and wait while more than so many bytes are left."""
        while self._unsent and self._pipe.poll(None if self._unsent_bytes > most else 0):
            view = self._unsent[0]
            written = os.write(self._writes, view)
            self._unsent_bytes -= written
            if written < len(view):
                self._unsent[0] = view[written:]
            else:
                self._unsent.popleft()


class _LinkToTwin(Link):
    def _frame(self, kind: bytes, data: bytes | memoryview) -> None:
        # Why the twin has gone is what its last part says.
        with contextlib.suppress(BrokenPipeError):
            super()._frame(kind, data)


@contextlib.contextmanager
def twin(work: Callable[[Link], object]) -> Iterator[Link | None]:
    """Do some work in a second process, which ends with it or with this one.

    It is a copy of this process as it is now, with nothing open that may not be shared. None
    where the system allows no second process.
    """
    import fcntl

    with contextlib.ExitStack() as left:
        try:
            replies, reply = _pipe(left)
            order, orders = _pipe(left)
            # What a signal raises must not take the twin out of here.
            blocked = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
            left.callback(signal.pthread_sigmask, signal.SIG_SETMASK, blocked)
            pid = os.fork()
        except OSError:
            pid = None
        if pid == 0:
            _be_twin(work, order, reply, blocked, (replies, orders))
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
            for pipe in (replies, orders):
                with contextlib.suppress(OSError):
                    fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIECE_BYTES)
            yield _LinkToTwin(reads, orders)
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
            link = _LinkFromTwin(reads, reply)
            try:
                work(link)
            except XcomctlError as error:
                link.fail(error)
            except Exception:  # noqa: BLE001 - whatever it is, the other process reports it
                link.crash(traceback.format_exc())
            link.flush()
        code = 0
    finally:
        # Nothing of what the other process has in its buffers is to be written twice.
        os._exit(code)
