"""Watches the driver's calls from another thread: who blocks a slow one, and whether it ever ends."""

from __future__ import annotations

import contextlib
import select
import signal
import socket
import threading
import time
from time import monotonic
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

GRACE_S = 2.0
"""How long after its own timeout, or after a cancel, the server may take to answer."""
_TICK_S = 0.2
_LOOK_EVERY_S = 0.1, 2.0
"""The shortest and the longest time between two looks at who blocks a call."""


class Progress(Protocol):
    """A call that receives its result bit by bit, such as PostgreSQL's COPY."""

    busy: bool
    """Whether this process works on what it received; otherwise it waits for the server."""
    turns: int
    """How many bits were received."""


class Watched(Protocol):
    """A connection to a server. All is called from other threads than the driver's."""

    def cancel(self) -> None:
        """Ask the server to end the statement."""

    def cut(self) -> None:
        """Close the connection's socket, so that the driver's call fails."""

    def find_blockers(self) -> Iterator[str]:
        """Yield as often as asked who blocks the statement, in sentences; "" if nobody known."""


class Watch:
    """Watches the calls of one connection."""

    def __init__(
        self, watched: Watched, *, look_after_s: float | None, cut_after_s: float | None
    ) -> None:
        """Start to watch.

        A call that takes longer than `look_after_s` is looked at: `blockers` holds what was
        found. One that takes longer than `cut_after_s` is cut off; one with progress is cancelled
        when it makes none for so long, and cut off if that does not end it.
        """
        self._watched = watched
        self._look_after_s = look_after_s
        self._cut_after_s = cut_after_s
        self._number = 0
        """Of the call in progress; even between calls."""
        self._progress: Progress | None = None
        self.blockers = ""
        self.silent_s: float | None = None
        """How long the server had been silent when the connection was cut."""
        self._ended = False
        self._signals, self._signalled = socket.socketpair()
        threading.Thread(target=self._run, daemon=True).start()

    @contextlib.contextmanager
    def call(self, progress: Progress | None = None) -> Iterator[None]:
        """Watch a call of the driver."""
        self._progress = progress
        self.begin()
        try:
            yield
        finally:
            self.end()
            self._progress = None

    def begin(self) -> None:
        """Take note that a call begins."""
        self._number |= 1

    def end(self) -> None:
        """Take note that the call has ended."""
        self._number += self._number & 1

    def cancel_on_signal(self) -> None:
        """Cancel the call in progress when a signal such as Ctrl-C comes.

        libpq goes on waiting for the server then, and Python's own handler has to wait for libpq.
        """
        if threading.current_thread() is threading.main_thread():
            self._signalled.setblocking(False)
            signal.set_wakeup_fd(self._signalled.fileno(), warn_on_full_buffer=False)

    def stop(self) -> None:
        """Watch no longer."""
        self._ended = True
        if threading.current_thread() is threading.main_thread():
            # A descriptor of that number may soon be another file's.
            woken = signal.set_wakeup_fd(-1)
            if woken not in (-1, self._signalled.fileno()):
                signal.set_wakeup_fd(woken, warn_on_full_buffer=False)

    def _run(self) -> None:
        seen, since = None, monotonic()
        looking, cancelled_at, signal_at = False, 0.0, 0.0
        while not self._ended:
            if self._heard():
                signal_at = monotonic()
            turn, now = self._turn(), monotonic()
            if turn is None or turn != seen:
                seen, since, looking, cancelled_at = turn, now, False, 0.0
            if turn is None:
                continue
            # Where the signal came a moment before the call, Python's handler waits, too.
            signalled = now - signal_at < 2 * _TICK_S
            stalled = self._progress is not None and _is_over(now - since, self._cut_after_s)
            if not cancelled_at and (signalled or stalled):
                cancelled_at, signal_at = now, 0.0
                _run_aside(self._watched.cancel)
            elif self._is_lost(since, cancelled_at):
                self.silent_s = now - since
                with contextlib.suppress(Exception):
                    self._watched.cut()
                return
            elif not looking and _is_over(now - since, self._look_after_s):
                looking = True
                _run_aside(lambda: self._look(self._number))

    def _heard(self) -> bool:
        """Wait a moment, and return whether a signal came."""
        heard = bool(select.select([self._signals], [], [], _TICK_S)[0])
        if heard:
            self._signals.recv(64)
        return heard

    def _turn(self) -> tuple[int, int] | None:
        """Return what changes with every answer of the server, None while it is not its turn."""
        number, progress = self._number, self._progress
        if number % 2 == 0 or (progress and progress.busy):
            return None
        return number, progress.turns if progress else 0

    def _is_lost(self, since: float, cancelled_at: float) -> bool:
        if cancelled_at:
            return monotonic() - cancelled_at > GRACE_S
        return _is_over(monotonic() - since - GRACE_S, self._cut_after_s)

    def _look(self, number: int) -> None:
        shortest, longest = _LOOK_EVERY_S
        for found in self._watched.find_blockers():
            self.blockers = found
            time.sleep(min(max((self._look_after_s or 0) / 5, shortest), longest))
            if self._number != number or self._ended:
                return


def _is_over(seconds: float, bound_s: float | None) -> bool:
    return bound_s is not None and seconds > bound_s


def _run_aside(work: Callable[[], object]) -> None:
    """Do what may fail or take long, such as opening a connection, in a thread of its own."""

    def run() -> None:
        with contextlib.suppress(Exception):
            work()

    threading.Thread(target=run, daemon=True).start()
