"""Files that are whole or not there at all."""

from __future__ import annotations

import contextlib
import io
import os
import stat
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TextIO

if TYPE_CHECKING:
    from collections.abc import Iterator

_SETTLED_AT_ONCE = 128 * 1024 * 1024


@contextlib.contextmanager
def whole_binary_file(path: Path) -> Iterator[BinaryIO]:
    """Open a file that appears under its name only when it is complete and on disk."""
    if path.exists() and not stat.S_ISREG(path.stat().st_mode):
        # A pipe or a device has no other name to be moved from.
        with path.open("wb") as device:
            yield device
        return
    target = path.resolve()
    try:
        handle, temporary = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    except OSError as error:
        # The name that the user gave, not that of the temporary file.
        error.filename = str(path)
        raise
    try:
        with SettlingFile(handle) as file, io.BufferedWriter(file) as out:
            yield out
            out.flush()
            file.settle()
        Path(temporary).chmod(target.stat().st_mode & 0o777 if target.exists() else new_mode())
        Path(temporary).replace(target)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(temporary).unlink()
        raise


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[TextIO]:
    """Open a text file that appears under its name only when it is complete and on disk."""
    with whole_binary_file(path) as binary:
        text = io.TextIOWrapper(binary, encoding="utf-8", errors="backslashreplace", newline="\n")
        yield text
        text.flush()
        text.detach()


def new_mode() -> int:
    """Return the mode of a file made the ordinary way."""
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


class SettlingFile(io.FileIO):
    """A file to write that goes to disk while it grows, so that its end need not wait for it.

    A thread of its own does so, which has only to wait for the disk.
    """

    def __init__(self, fileno: int) -> None:
        super().__init__(fileno, "w")
        self._unsettled = 0
        self._due = threading.Event()
        self._ending = False
        self._failure: OSError | None = None
        self._thread: threading.Thread | None = None

    def write(self, data: Any, /) -> int:
        written = super().write(data)
        self._unsettled += written
        if self._unsettled >= _SETTLED_AT_ONCE:
            self._unsettled = 0
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, daemon=True)
                self._thread.start()
            self._due.set()
        return written

    def settle(self) -> None:
        """Return when everything is on disk.

        Raises:
            OSError: it is not, whenever that turned out.
        """
        self._end()
        if self._failure is not None:
            # The system tells of a failure once.
            raise self._failure
        os.fsync(self.fileno())

    def close(self) -> None:
        self._end()
        super().close()

    def _end(self) -> None:
        if self._thread is not None:
            self._ending = True
            self._due.set()
            self._thread.join()
            self._thread = None

    def _work(self) -> None:
        # Not everywhere is there one that leaves the file's times alone.
        sync = getattr(os, "fdatasync", os.fsync)
        while self._failure is None:
            self._due.wait()
            self._due.clear()
            if self._ending:
                return
            try:
                sync(self.fileno())
            except OSError as error:
                self._failure = error
