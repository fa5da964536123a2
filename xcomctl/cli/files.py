"""Output files: renamed into place when complete, unless they are streams or devices.

A regular file is written under a temporary name beside its target. What is one of this process's
own streams (`/dev/stdout`, `/proc/self/fd/3`, the file that a shell redirected stdout to), a pipe
or a device is written to and never replaced.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import re
import stat
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol, Self, TextIO

from xcomctl.errors import DatabaseError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

TEMPORARY_SUFFIX = ".xcomctl-tmp"
_SYNC_EVERY = 128 * 1024 * 1024
"""Bytes after which a file that is being written is synced in the background."""
_MOST_LINKS = 40
"""Symbolic links that are followed, as many as Linux does."""
_LOCK_TRIES = 20
_DESCRIPTORS = re.compile(r"/proc/(\d+)(?:/task/\d+)?/fd|/dev/fd")


class OutputFile(Protocol):
    """A file that is being written. A failure is an OSError that names the file."""

    binary: BinaryIO

    def prepare(self) -> None:
        """Flush everything, for a regular file down to the disk."""

    def commit(self) -> None:
        """Close the file, under its own name from now on. Called after `prepare`."""

    def discard(self) -> None:
        """Close the file and remove what was written, as far as that is possible."""


class OutputFiles:
    """Files that are written together: all of them are complete at the end of the block.

    When the block fails, those that are regular files are as they were before.
    """

    def __init__(self) -> None:
        self._files: list[OutputFile] = []
        self._texts: list[io.TextIOWrapper] = []

    def open(self, path: str | Path, *, private: bool = False) -> BinaryIO:
        """Open a file for bytes. A new one that is private is readable by its owner only.

        Raises:
            OSError: it cannot be opened; it names the path.
        """
        file = open_output(path, private=private)
        self._files.append(file)
        return file.binary

    def open_text(self, path: str | Path, *, private: bool = False) -> TextIO:
        """Open a file for UTF-8 text with `\\n` as line end. See `open`."""
        binary = self.open(path, private=private)
        text = io.TextIOWrapper(binary, encoding="utf-8", errors="backslashreplace", newline="\n")
        self._texts.append(text)
        return text

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        committed = 0
        try:
            if error is None:
                for text in self._texts:
                    text.flush()
                for file in self._files:
                    file.prepare()
                for file in self._files:
                    file.commit()
                    committed += 1
        finally:
            for text in self._texts:
                with contextlib.suppress(OSError, ValueError):
                    text.detach()
            for file in self._files[committed:]:
                file.discard()


def open_output(path: str | Path, *, private: bool = False) -> OutputFile:
    """Open a file to write. See `OutputFiles.open`."""
    text = str(path)
    try:
        descriptor = own_descriptor(text)
        if descriptor is not None:
            return StreamFile(os.dup(descriptor), text)
        found = _status(text)
        if found is None or stat.S_ISREG(found.st_mode):
            if _is_foreign_descriptor(text):
                return StreamFile(os.open(text, os.O_WRONLY | os.O_APPEND), text)
            return AtomicFile(text, found, private=private)
        return StreamFile(os.open(text, os.O_WRONLY), text)
    except OSError as error:
        # Not that of the temporary file, nor of a link on the way.
        error.filename, error.filename2 = text, None
        raise
    except ValueError as error:
        # A NUL character, or one that no file name can hold.
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), text) from error


def identity(path: str) -> object:
    """Return what two paths of the same output file have in common; None for devices.

    Standard output is 1, another descriptor of this process its number.
    """
    try:
        descriptor = own_descriptor(path)
        if descriptor is not None:
            return descriptor
        found = _status(path)
        if found is None:
            return os.path.realpath(path)
    except (OSError, ValueError):
        # Opening it will say what is wrong.
        return path
    return None if stat.S_ISCHR(found.st_mode) else (found.st_dev, found.st_ino)


def own_descriptor(path: str) -> int | None:
    """Return the descriptor of this process that a path leads to, None where it does not.

    Raises:
        OSError: it leads to a descriptor that is not open, or that this program opened itself.
    """
    place = _descriptor_place(path)
    if place is not None:
        folder, number = place
        match = _DESCRIPTORS.fullmatch(folder)
        if match and match[1] in (None, str(os.getpid())):
            if number > 2 and not os.get_inheritable(number):
                # Not from whoever started us: it may be the database.
                raise OSError(errno.EBADF, os.strerror(errno.EBADF))
            os.fstat(number)
            return number
        return None
    found = _status(path)
    if found is None or not stat.S_ISREG(found.st_mode):
        return None
    for number in (1, 2):
        # A shell's redirection of stdout to this very file.
        with contextlib.suppress(OSError):
            if os.path.samestat(found, os.fstat(number)):
                return number
    return None


def _is_foreign_descriptor(path: str) -> bool:
    """Return whether a path leads to another process's descriptor."""
    return _descriptor_place(path) is not None


def _descriptor_place(path: str) -> tuple[str, int] | None:
    """Return the folder and the number of the descriptor that a path leads to.

    The kernel's links in /proc are not followed: each one's target is a file by another name.
    """
    place = Path(path)
    for _ in range(_MOST_LINKS):
        folder, name = os.path.realpath(place.parent), place.name
        if _DESCRIPTORS.fullmatch(folder):
            return (folder, int(name)) if name.isascii() and name.isdigit() else None
        place = Path(folder, name)
        if not place.is_symlink():
            return None
        place = Path(folder, place.readlink())
    return None


def _status(path: str) -> os.stat_result | None:
    try:
        return Path(path).stat()
    except FileNotFoundError:
        return None


class StreamFile:
    """A stream, pipe or device. What was written to it stays written."""

    def __init__(self, descriptor: int, path: str) -> None:
        self._raw = _NamedFile(descriptor, path)
        self.binary: BinaryIO = io.BufferedWriter(self._raw)

    def prepare(self) -> None:
        self.binary.flush()

    def commit(self) -> None:
        self.binary.close()

    def discard(self) -> None:
        _close_without_writing(self.binary, self._raw)


class AtomicFile:
    """A regular file that appears under its name when it is complete and on disk.

    Temporary files that killed processes left for the same target are removed.
    """

    def __init__(self, path: str, found: os.stat_result | None, *, private: bool) -> None:
        self._target = Path(os.path.realpath(path))
        if found is not None:
            self._mode = found.st_mode & 0o777
        else:
            self._mode = 0o600 if private else new_mode()
        # A name may have 255 bytes, and a character up to four.
        prefix = f".{self._target.name[:40]}."
        _remove_abandoned(self._target.parent, prefix)
        descriptor, self._temporary = _locked_temporary(self._target.parent, prefix)
        self._raw = SyncingFile(descriptor, path)
        self.binary: BinaryIO = io.BufferedWriter(self._raw)

    def prepare(self) -> None:
        self.binary.flush()
        self._raw.sync()

    def commit(self) -> None:
        self._temporary.chmod(self._mode)
        self._temporary.replace(self._target)
        self.binary.close()

    def discard(self) -> None:
        _close_without_writing(self.binary, self._raw)
        with contextlib.suppress(OSError):
            self._temporary.unlink()


def _close_without_writing(buffered: BinaryIO, raw: io.FileIO) -> None:
    with contextlib.suppress(OSError, ValueError):
        raw.close()
    # It would write what it still holds.
    with contextlib.suppress(OSError, ValueError):
        buffered.close()


def _locked_temporary(folder: Path, prefix: str) -> tuple[int, Path]:
    while True:
        descriptor, name = tempfile.mkstemp(TEMPORARY_SUFFIX, prefix, folder)
        for _ in range(_LOCK_TRIES):
            # Only a process that takes it for an abandoned one holds the lock, and not for long.
            # Not a wait without end: some network file systems cannot lock at all.
            if _lock(descriptor):
                break
            time.sleep(0.01)
        if os.fstat(descriptor).st_nlink:
            return descriptor, Path(name)
        # It was removed before it was locked.
        os.close(descriptor)


def _remove_abandoned(folder: Path, prefix: str) -> None:
    """Remove the temporary files of this prefix that no process holds locked."""
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            if not (path.name.startswith(prefix) and path.name.endswith(TEMPORARY_SUFFIX)):
                continue
            with contextlib.suppress(OSError):
                descriptor = os.open(path, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0))
                try:
                    if _lock(descriptor):
                        path.unlink()
                finally:
                    os.close(descriptor)


def _lock(descriptor: int) -> bool:
    """Lock an open file for as long as it is open, and return whether that worked."""
    try:
        import fcntl
    except ImportError:  # pragma: no cover - Windows
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


@contextlib.contextmanager
def temporary_text(errors: str) -> Iterator[TextIO]:
    """Open a temporary text file to write and read again. `errors` says how to encode surrogates.

    Raises:
        DatabaseError: there is no place for it, or no room.
    """
    with (
        temporary_errors(),
        tempfile.TemporaryFile("w+", encoding="utf-8", errors=errors, newline="\n") as file,
    ):
        yield file


@contextlib.contextmanager
def temporary_errors() -> Iterator[None]:
    """Raise the errors of a temporary file as ours."""
    try:
        yield
    except OSError as error:
        raise DatabaseError(
            "could not write a temporary file",
            detail=f"{error.strerror or type(error).__name__}.",
            hint="Free some space, or set TMPDIR to a directory that has some.",
        ) from None


def new_mode() -> int:
    """Return the mode that the umask leaves to a new file."""
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


class _NamedFile(io.FileIO):
    """A file to write whose errors name the path that the user gave."""

    def __init__(self, descriptor: int, path: str) -> None:
        super().__init__(descriptor, "w")
        self._path = path

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            error.filename = self._path
            raise


class SyncingFile(_NamedFile):
    """A file that is synced in the background while it grows, so that its end is not slow."""

    def __init__(self, descriptor: int, path: str) -> None:
        super().__init__(descriptor, path)
        self._unsynced = 0
        self._due = threading.Event()
        self._ending = False
        self._failure: OSError | None = None
        self._thread: threading.Thread | None = None

    def write(self, data: Any, /) -> int:
        written = super().write(data)
        self._unsynced += written
        if self._unsynced >= _SYNC_EVERY:
            self._unsynced = 0
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, daemon=True)
                self._thread.start()
            self._due.set()
        return written

    def sync(self) -> None:
        """Return when everything is on disk.

        Raises:
            OSError: some of it is not, also where only a sync in the background failed.
        """
        self._end()
        try:
            if self._failure is not None:
                # The kernel reports a failure once.
                raise self._failure
            os.fsync(self.fileno())
        except OSError as error:
            error.filename = self._path
            raise

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
        # Not every system has fdatasync, which leaves out the file's times.
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
