"""Keeps Ctrl-C and SIGTERM away from a COMMIT, so that its outcome is known."""

from __future__ import annotations

import contextlib
import signal
import threading
from typing import TYPE_CHECKING, Any

from xcomctl.errors import Interrupted, LockedError, XcomctlError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")


@contextlib.contextmanager
def held() -> Iterator[None]:
    """Run the block to its end although a signal arrives, and handle the signal afterwards.

    A second signal is handled at once, so that a block that hangs can be left. Ignored signals
    stay ignored. An error of the block goes first, except that of a lock, which is worth a retry.
    Outside the main thread, where Python handles no signals, this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers: dict[int, Any] = {}
    pending: list[int] = []

    def restore() -> None:
        while handlers:
            signal.signal(*handlers.popitem())

    def hold(signum: int, frame: FrameType | None) -> None:
        if pending:
            handler = handlers[signum]
            restore()
            handler(signum, frame)
        pending.append(signum)

    for name in _NAMES:
        number = getattr(signal, name, None)
        if number is not None and callable(signal.getsignal(number)):
            handlers[number] = signal.signal(number, hold)
    # PostgreSQL's backend cancels its statement when this tells of a signal.
    wakeup = signal.set_wakeup_fd(-1)
    try:
        yield
    except LockedError:
        restore()
        _handle(pending)
        raise
    except (XcomctlError, Interrupted):
        restore()
        raise
    finally:
        # The connection may have been closed meanwhile, and its descriptor with it.
        with contextlib.suppress(OSError, ValueError):
            signal.set_wakeup_fd(wakeup, warn_on_full_buffer=False)
        restore()
    _handle(pending)


def _handle(pending: list[int]) -> None:
    """Let the handler of a signal that was held do its work."""
    for signum in pending[:1]:
        handler: Any = signal.getsignal(signum)
        handler(signum, None)
