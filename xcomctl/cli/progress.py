"""What a command that takes a while shows of it: a line that is kept up to date by a thread.

The commands only say what they do and where their counters are, so that rows cost nothing more.
"""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING, Final, TypeVar

from xcomctl.formats.width import cell_width, shorten_end
from xcomctl.model import Size
from xcomctl.text import visible

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

FIRST_AFTER_S: Final = 1.0
"""Shorter commands show nothing."""

EVERY_S: Final = 0.25

_AT_LEAST_S: Final = 0.5
"""Time that a rate takes to be worth showing."""

_T = TypeVar("_T")


class Progress:
    """What is being done, and how far it is.

    Off a terminal `show` is None, and nothing is shown.
    """

    def __init__(self, what: str, show: Callable[[str], None] | None, width: Callable[[], int]):
        """Start to show it, with `show` at most some times a second."""
        self._show = show
        self._width = width
        self._counted = 0
        self.begin(what)
        self._ticker = None if show is None else _Ticker(self._tick)

    @property
    def is_shown(self) -> bool:
        """Return whether anybody sees it, so that totals are worth a query."""
        return self._show is not None

    def begin(
        self,
        what: str,
        counted: Callable[[], tuple[int, int]] = lambda: (0, 0),
        *,
        rows: int | None = None,
        size: int | None = None,
        about: bool = False,
    ) -> None:
        """Start the next part of the work.

        Args:
            what: what is being done, such as `export: writing XComs`.
            counted: returns the rows and the bytes that are done. Called from another thread.
            rows: how many rows there will be, where that is known; `about` marks an estimate.
            size: the same of bytes.
        """
        self._part = _Part(what, counted, rows, size, about)

    def counting(
        self, what: str, items: Iterable[_T], *, rows: int | None = None, about: bool = False
    ) -> Iterable[_T]:
        """Start a part of the work that is done when these items are, and return them."""
        if self._show is None:
            return items
        self._counted = 0
        self.begin(what, lambda: (self._counted, 0), rows=rows, about=about)
        return self._counting(items)

    def _counting(self, items: Iterable[_T]) -> Iterator[_T]:
        for item in items:
            self._counted += 1
            yield item

    def end(self) -> None:
        """Show nothing any more, and remove what is shown."""
        if self._show is not None and self._ticker is not None:
            self._ticker.end()
            self._ticker = None
            self._show("")

    def _tick(self) -> None:
        if self._show is not None:
            self._show(self._part.line(time.monotonic(), self._width() - 1))


class _Part:
    """A part of the work: what is being done, how much of it, and since when."""

    def __init__(
        self,
        what: str,
        counted: Callable[[], tuple[int, int]],
        rows: int | None,
        size: int | None,
        about: bool,
    ) -> None:
        self._what = what
        self._counted = counted
        self._rows = rows
        self._size = size
        self._about = "about " if about else ""
        self._started = time.monotonic()
        self._before = counted()
        """What a command that is resumed had done before."""

    def line(self, now: float, width: int) -> str:
        """Return the line, without the parts that do not fit."""
        rows, size = self._counted()
        spent = now - self._started
        # The parts, and in which order they go when room is short.
        parts: list[tuple[int, str]] = []
        if self._size is not None:
            parts.append((2, f"{Size(size)} of {Size(self._size)}"))
        elif rows:
            total = f" of {self._about}{self._rows:,}" if self._rows else ""
            parts.append((2, f"{rows:,}{total} XComs"))
            if size:
                parts.append((0, str(Size(size))))
        done = _share(size, self._size) if self._size is not None else _share(rows, self._rows)
        if done is not None:
            parts.append((4, f"{min(99, int(100 * done))}%"))
        new_rows, new_size = rows - self._before[0], size - self._before[1]
        if spent >= _AT_LEAST_S and new_size:
            parts.append((1, f"{Size(int(new_size / spent))}/s"))
        elif spent >= _AT_LEAST_S and new_rows:
            parts.append((1, f"{int(new_rows / spent):,}/s"))
        todo, new = (
            (self._rows - rows if self._rows else None, new_rows)
            if self._size is None
            else (self._size - size, new_size)
        )
        if todo is not None and todo > 0 and new > 0:
            parts.append((3, f"{_duration(spent / new * todo)} left"))
        else:
            parts.append((3, _duration(spent)))
        return _fit(visible(self._what), parts, width)


def _share(done: int, total: int | None) -> float | None:
    return done / total if total and done else None


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {seconds:02} s" if minutes else f"{seconds} s"


def _fit(what: str, parts: list[tuple[int, str]], width: int) -> str:
    while True:
        line = f"{what} … {', '.join(text for _, text in parts)}"
        if cell_width(line) <= width or len(parts) == 1:
            return shorten_end(line, width)
        parts = [part for part in parts if part[0] != min(rank for rank, _ in parts)]


class _Ticker:
    """Calls a function now and then, in a thread that is not there while this process forks."""

    def __init__(self, tick: Callable[[], None]) -> None:
        self._tick = tick
        self._ended = threading.Event()
        self._wait_s = FIRST_AFTER_S
        self._thread: threading.Thread | None = None
        _hold_at_forks(self)
        self.start()

    def start(self) -> None:
        """Start the thread."""
        self._ended.clear()
        self._thread = _PausedThread(target=self._run, daemon=True)
        self._thread.start()

    def pause(self) -> None:
        """End the thread, and wait for it."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()

    def end(self) -> None:
        """End the thread for good."""
        _running.discard(self)
        self._ended.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(1)

    def _run(self) -> None:
        while not self._ended.wait(self._wait_s):
            self._wait_s = EVERY_S
            self._tick()


class _PausedThread(threading.Thread):
    """A thread that is not there while this process forks, so that it may fork all the same."""

    pauses_at_forks = True


_running: set[_Ticker] = set()
_registered: list[bool] = []


def _hold_at_forks(ticker: _Ticker) -> None:
    _running.add(ticker)
    # Not on Windows, where nothing forks. What is registered stays.
    if not _registered and hasattr(os, "register_at_fork"):
        _registered.append(True)
        os.register_at_fork(
            before=_pause_all, after_in_parent=_start_all, after_in_child=_running.clear
        )


def _pause_all() -> None:
    for one in _running:
        one.pause()


def _start_all() -> None:
    for one in _running:
        one.start()
