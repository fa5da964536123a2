"""Worker processes on this machine, each of which works on some parts of a table.

A *part* is a range of the table's key. Workers are forked, so they start at once and know all
that this process knows; what they find comes back through a `Channel`.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import traceback
from collections import deque
from itertools import cycle
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, Any, NamedTuple

from xcomctl.errors import DatabaseError, XcomctlError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from multiprocessing.connection import Connection
    from multiprocessing.context import ForkProcess


class Part(NamedTuple):
    """A range of the table's key: the first and the last one, both included."""

    first: int
    last: int


AHEAD = 2
"""Parts that a worker may have been given and whose results were not taken yet."""

_SIGNALS = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}


def spare_processors() -> int:
    """Return how many workers would run side by side here; 0 where none can be started safely."""
    # A fork is safe on Linux only, and not beside other threads.
    others = [one for one in threading.enumerate() if not getattr(one, "pauses_at_forks", False)]
    if not sys.platform.startswith("linux") or len(others) > 1:
        return 0
    return len(os.sched_getaffinity(0))


class Channel:
    """One end of the connection between this process and a worker."""

    def __init__(self, connection: Connection, parent: int | None = None) -> None:
        self._connection = connection
        self._watched: list[Any] = [connection] if parent is None else [connection, parent]

    def send(self, message: object) -> None:
        """Send a message: numbers, texts, bytes, arrays, and tuples, lists and dicts of them."""
        # Why a worker has gone is what `receive` reports.
        with contextlib.suppress(BrokenPipeError):
            self._connection.send(message)

    def receive(self) -> Any:
        """Wait for the next message.

        Raises:
            DatabaseError: the other process has failed with this error, or has gone.
            RuntimeError: the other process has met a bug.
        """
        try:
            # A worker that is told nothing still notices that this process was killed.
            if self._connection not in wait(self._watched):
                raise EOFError
            message = self._connection.recv()
        except (EOFError, ConnectionResetError):
            raise DatabaseError(
                "a worker process ended unexpectedly",
                hint="The system may have killed it for lack of memory. Try again.",
            ) from None
        if isinstance(message, Exception):
            raise message
        return message


@contextlib.contextmanager
def workers(count: int, work: Callable[[Channel, int], object]) -> Iterator[Sequence[Channel]]:
    """Run `work` in that number of processes, which end with this block or this process.

    It is called with its channel to this process and its number, from 0. Nothing that may not
    be shared with another process, such as an open database, may be open. Yields no channels
    where the system allows no such process.
    """
    context = multiprocessing.get_context("fork")
    processes: list[ForkProcess] = []
    channels: list[Channel] = []
    try:
        try:
            for number in range(count):
                here, there = context.Pipe()
                process = context.Process(target=_run, args=(work, here, there, number))
                with _signals_blocked():
                    process.start()
                    processes.append(process)
                there.close()
                channels.append(Channel(here))
        except OSError:
            channels.clear()
        yield channels
    finally:
        # They only read, so they may end anywhere.
        for process in processes:
            process.kill()
            process.join()
            process.close()


def in_order(channels: Sequence[Channel], parts: Iterable[Part]) -> Iterator[Any]:
    """Send the parts to the workers in turn, and yield their answers in the order of the parts.

    A worker gets a part when the caller is done with its answer of `AHEAD` parts before.
    """
    pending: deque[Channel] = deque()
    for channel, part in zip(cycle(channels), parts):
        if len(pending) == AHEAD * len(channels):
            yield pending.popleft().receive()
        channel.send(part)
        pending.append(channel)
    for channel in pending:
        yield channel.receive()


def _run(
    work: Callable[[Channel, int], object], here: Connection, there: Connection, number: int
) -> None:
    """Work in the new process, and send what goes wrong."""
    # Ctrl-C is for the process that the user started.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for one in (signal.SIGTERM, signal.SIGHUP):
        # Under nohup it stays ignored.
        if signal.getsignal(one) is not signal.SIG_IGN:
            signal.signal(one, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    here.close()
    parent = multiprocessing.parent_process()
    channel = Channel(there, None if parent is None else parent.sentinel)
    try:
        work(channel, number)
    except XcomctlError as error:
        channel.send(error)
    except Exception:  # noqa: BLE001 - whatever it is, the other process reports it
        channel.send(RuntimeError(traceback.format_exc()))


@contextlib.contextmanager
def _signals_blocked() -> Iterator[None]:
    """Keep what a signal's handler raises out of a new process."""
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
