"""Ctrl-C and libpq, which waits for the server whatever happens here."""

from __future__ import annotations

import contextlib
import signal
import socket
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlalchemy as sa


def cancel_on_signal(connection: sa.Connection) -> None:
    """Let Ctrl-C end a statement.

    libpq goes on waiting for the server when a signal comes, and Python's handler has to wait
    for libpq; so a thread that hears of the signal asks the server to cancel.
    """
    driver = connection.connection.driver_connection
    if driver is None or threading.current_thread() is not threading.main_thread():
        return
    heard, told = socket.socketpair()
    told.setblocking(False)
    signal.set_wakeup_fd(told.fileno(), warn_on_full_buffer=False)

    def wait(_keeps_open: socket.socket) -> None:
        while heard.recv(1):
            with contextlib.suppress(Exception):
                driver.cancel()

    threading.Thread(target=wait, args=(told,), daemon=True).start()
