"""An undo file: what a change overwrites or deletes, on disk before the change is made.

While the command that writes it is unfinished, FILE.unfinished beside it says which command that
is, so that the same command can go on with the file.
"""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xcomctl.cli.console import output_errors
from xcomctl.errors import RefusedError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

SCHEMA = "xcomctl.undo/1"


class UndoFile:
    """An open undo file. Implements `db.write.undo.UndoLog`."""

    def __init__(self, path: Path, asked: Mapping[str, object]) -> None:
        """Open the file: a new one, an empty one, or one that the same command left unfinished.

        `asked` identifies the command.

        Raises:
            RefusedError: the file belongs to another command, or another process is writing it.
            OutputError: it cannot be opened.
        """
        self.path = path
        self._unfinished = Path(f"{path}.unfinished")
        self._asked: dict[str, Any] = json.loads(json.dumps(asked))
        with output_errors(path):
            self._file, self._created = _open(path)
            try:
                self._lock()
                self._size = self._take_over() if os.fstat(self._file).st_size else 0
            except BaseException:
                os.close(self._file)
                raise
        self.found = self._size
        """Bytes that the unfinished command had written before."""
        self._open = True
        self._settled = self._size

    def write(self, lines: Iterable[bytes]) -> None:
        """Add lines, and return when they are on disk.

        Raises:
            OutputError: they could not be written; the file holds what it held before.
        """
        if self._size == 0:
            self._mark_unfinished()
        added = 0
        with output_errors(self.path):
            try:
                for line in lines:
                    view = memoryview(line)
                    while view:
                        written = os.write(self._file, view)
                        added += written
                        view = view[written:]
                os.fsync(self._file)
            except BaseException:
                # Half a line would be in the way of an import.
                self._cut(self._size)
                raise
        self._size += added

    def committed(self) -> None:
        """Keep the lines: what they undo was committed."""
        self._settled = self._size

    def rolled_back(self) -> None:
        """Drop the lines since the last commit, so that a retry does not write them twice."""
        if self._size > self._settled:
            self._cut(self._settled)
            self._size = self._settled

    def finish(self) -> None:
        """Say that the command has done all of its work, and close the file."""
        self._close(finished=True)

    def close(self) -> None:
        """Close the file, which the same command can go on with. An empty one is removed."""
        self._close(finished=False)

    def _close(self, *, finished: bool) -> None:
        if not self._open:
            return
        self._open = False
        with contextlib.suppress(OSError):
            if finished or not self._size:
                self._unfinished.unlink(missing_ok=True)
            if self._created and not self._size:
                self.path.unlink()
        with contextlib.suppress(OSError):
            os.close(self._file)

    def _lock(self) -> None:
        try:
            import fcntl
        except ImportError:  # pragma: no cover - Windows
            return
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RefusedError(
                f'another process is writing the undo file "{self.path}"',
                hint="Wait until it has finished, or use another file.",
            ) from None
        except OSError:
            # A file system without locks.
            return

    def _take_over(self) -> int:
        """Return the size of the file, without a line that was not finished.

        Raises:
            RefusedError: it is complete, or of another command.
        """
        asked = self._unfinished_command()
        if asked is None:
            raise RefusedError(
                f'the undo file "{self.path}" already exists',
                detail="Its contents may be needed.",
                hint="Use another file.",
            )
        # An older release did not write options that it did not have.
        both = asked.keys() | self._asked.keys()
        names = [name for name in both if asked.get(name) != self._asked.get(name)]
        if names:
            raise RefusedError(
                f'the undo file "{self.path}" belongs to another command, which did not finish',
                detail=f"Different: {', '.join(sorted(names))}.",
                hint="Run that command again to resume it, or use another file.",
            )
        size = os.fstat(self._file).st_size
        # Whatever was being written when the process died undoes a change that was not made.
        whole = _end_of_last_line(self._file, size)
        if whole < size:
            os.ftruncate(self._file, whole)
        os.lseek(self._file, whole, os.SEEK_SET)
        return whole

    def _unfinished_command(self) -> dict[str, Any] | None:
        try:
            state = json.loads(self._unfinished.read_text(encoding="utf-8"))
            if state["schema"] != SCHEMA:
                return None
            asked: dict[str, Any] = state["asked"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return asked if isinstance(asked, dict) else None

    def _mark_unfinished(self) -> None:
        text = json.dumps({"schema": SCHEMA, "asked": self._asked})
        with output_errors(self._unfinished):
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
            descriptor = os.open(self._unfinished, flags, 0o600)
            try:
                with os.fdopen(descriptor, "w", encoding="utf-8") as out:
                    out.write(f"{text}\n")
                    out.flush()
                    os.fsync(out.fileno())
            except BaseException:
                with contextlib.suppress(OSError):
                    self._unfinished.unlink()
                raise

    def _cut(self, size: int) -> None:
        with contextlib.suppress(OSError):
            os.ftruncate(self._file, size)
            os.lseek(self._file, size, os.SEEK_SET)


@contextlib.contextmanager
def undo_file(path: str | None, asked: Mapping[str, object]) -> Iterator[UndoFile | None]:
    """Open an undo file for the block, None without a path. It is finished if the block is.

    Raises:
        RefusedError, OutputError: as `UndoFile`.
    """
    if path is None:
        yield None
        return
    undo = UndoFile(Path(path), asked)
    try:
        yield undo
    except BaseException:
        undo.close()
        raise
    undo.finish()


def _open(path: Path) -> tuple[int, bool]:
    """Open a regular file to read and write; return its descriptor and whether it is new.

    A new one is readable by its owner only, because it holds values.

    Raises:
        RefusedError: it is not a regular file.
        OSError: it cannot be opened.
    """
    with contextlib.suppress(FileExistsError):
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600), True
    if not path.is_file():
        raise RefusedError(
            f'the undo file "{path}" exists and is not a regular file', hint="Use another file."
        )
    return os.open(path, os.O_RDWR), False


def _end_of_last_line(file: int, size: int) -> int:
    """Return the offset behind the last line end, 0 where there is none."""
    at = size
    while at:
        start = max(0, at - 65_536)
        os.lseek(file, start, os.SEEK_SET)
        block = b""
        while len(block) < at - start and (piece := os.read(file, at - start - len(block))):
            block += piece
        if (found := block.rfind(b"\n")) >= 0:
            return start + found + 1
        at = start
    return 0
