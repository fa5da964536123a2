"""A file that is written over several runs of a command (`export --resume`).

While it is incomplete, FILE.partial holds its data and FILE.partial.json how much of that is safely
on disk. Both are removed when FILE is complete.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xcomctl.cli.console import OutputError
from xcomctl.config import urls
from xcomctl.errors import RefusedError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import BinaryIO

    from xcomctl.config.target import Target
    from xcomctl.exchange.lines import Lines
    from xcomctl.model import StoredRow

SCHEMA = "xcomctl.resume/1"
_SAVE_EVERY_S = 1.0
_MOST_SAMPLES = 32

Sample = tuple[int, str, int, str, str | None, int | None]
"""An exported row: dag_run_id, task_id, map_index and key, its timestamp and its size in bytes."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How much of a partial file is safely on disk."""

    bytes: int = 0
    rows: int = 0
    size_bytes: int = 0
    """The sum of the sizes of the rows' values."""
    last: tuple[int, str, int, str] | None = None
    """The primary key of the last row: dag_run_id, task_id, map_index, key."""
    since: str | None = None
    """--since and --until as absolute times, because `7d` moves between runs."""
    until: str | None = None
    samples: tuple[Sample, ...] = ()
    """Some of the rows, by which a later run notices that it reads another database."""


class Partial:
    """The partial file of one target, and its saved state."""

    def __init__(self, path: Path, asked: Mapping[str, object]) -> None:
        """Take the target and what identifies the command, which later runs must repeat.

        Raises:
            UsageError: the target is not a regular file.
        """
        if _exists(path) and not path.is_file():
            raise UsageError(
                f'--resume cannot write "{path}": it is not a regular file',
                hint="Use -o jsonl=FILE or -o csv=FILE.",
            )
        self.target = Path(os.path.realpath(path))
        self.path = Path(f"{self.target}.partial")
        self._state = Path(f"{self.path}.json")
        self._new_state = Path(f"{self._state}.new")
        self._asked: dict[str, Any] = json.loads(json.dumps(asked))
        self.start_again = (
            f'Remove "{self.path}" and "{self._state}" to start again, or use another file.'
        )
        """What to do with a partial file that cannot be resumed."""

    def also_asked(self, name: str, value: object) -> None:
        """Add what later runs must repeat, and what is known only once the database is open."""
        self._asked[name] = value

    def found(self) -> Progress | None:
        """Return how far an earlier run came, None without one.

        Raises:
            RefusedError: the partial file belongs to another command, or is damaged.
        """
        remove = self.start_again
        if not self._state.exists():
            if self.path.exists():
                raise RefusedError(
                    f'the file "{self.path}" already exists',
                    detail="Its progress file is missing, so it is unknown how much is complete.",
                    hint=f'Remove "{self.path}", or use another file.',
                )
            return None
        try:
            state = json.loads(self._state.read_text(encoding="utf-8"))
            if state.pop("schema") != SCHEMA:
                raise ValueError
            asked: dict[str, Any] = dict(state.pop("asked"))
            last = state.pop("last")
            samples = tuple(map(_sample, state.pop("samples", ())))
            last = None if last is None else tuple(last)
            progress = Progress(**state, last=last, samples=samples)
        except OSError as error:
            raise _unwritable(error) from None
        except (ValueError, KeyError, TypeError, AttributeError):
            raise RefusedError(f'cannot read "{self._state}"', hint=remove) from None
        # An option that is newer than the file was not given: it is None.
        both = asked.keys() | self._asked.keys()
        names = sorted(name for name in both if asked.get(name) != self._asked.get(name))
        if names:
            raise RefusedError(
                f'the partial export "{self.path}" belongs to another command',
                detail=f"Different: {', '.join(names)}.",
                hint=f"Run that command again to resume it. {remove}",
            )
        if not self.path.exists():
            return None
        if self.path.stat().st_size < progress.bytes:
            raise RefusedError(
                f'the partial export "{self.path}" is damaged',
                detail=f"{progress.bytes:,} bytes were written, but the file is shorter.",
                hint=remove,
            )
        return progress

    @contextlib.contextmanager
    def open(self, progress: Progress) -> Iterator[BinaryIO]:
        """Open the partial file for appending. At the end of the block it becomes the target.

        What is behind the safe part is cut off.

        Raises:
            OutputError: it cannot be written.
            RefusedError: another process is writing it.
        """
        try:
            if progress.last is None:
                # First, because a partial file without a state is refused.
                self.save(progress)
            # For its owner only, because it holds values.
            new = os.O_CREAT if progress.last is None else 0
            handle = os.open(self.path, os.O_RDWR | new, 0o600)
            with os.fdopen(handle, "r+b") as out:
                self._lock(out)
                out.truncate(progress.bytes)
                out.seek(progress.bytes)
                yield out
                out.flush()
                os.fsync(out.fileno())
            there = self.target.exists()
            self.path.chmod(self.target.stat().st_mode & 0o777 if there else 0o600)
            self.path.replace(self.target)
            for state in (self._state, self._new_state):
                state.unlink(missing_ok=True)
        except OSError as error:
            raise _unwritable(error) from None

    def _lock(self, out: BinaryIO) -> None:
        try:
            import fcntl
        except ImportError:  # pragma: no cover - Windows
            return
        try:
            fcntl.flock(out, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise RefusedError(
                f'another process is writing "{self.path}"',
                hint="Wait until it has finished, or stop it.",
            ) from None

    def save(self, progress: Progress) -> None:
        """Save how much of the partial file is safe, atomically."""
        new = self._new_state
        text = json.dumps({"schema": SCHEMA, "asked": self._asked, **asdict(progress)})
        try:
            handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(handle, "w", encoding="utf-8") as out:
                out.write(f"{text}\n")
                out.flush()
                os.fsync(out.fileno())
            new.replace(self._state)
        except OSError:
            with contextlib.suppress(OSError):
                new.unlink()
            raise


def _exists(path: Path) -> bool:
    try:
        path.stat()
    except FileNotFoundError:
        return False
    except (OSError, ValueError) as error:
        raise _unwritable(error) from None
    return True


class Saving:
    """A row sink that saves the progress about once a second. Rows come in key order."""

    def __init__(self, partial: Partial, out: BinaryIO, lines: Lines, began: Progress) -> None:
        self._partial = partial
        self._out = out
        self._lines = lines
        self._began = began
        self._samples = [*began.samples]
        self._due = time.monotonic() + _SAVE_EVERY_S

    def encode_name(self, name: str, text: str | None) -> Any:
        """Return a name as the lines take it."""
        return self._lines.encode_name(name, text)

    def write_row(self, row: StoredRow) -> None:
        """Write one row."""
        self._lines.write_row(row)
        if time.monotonic() < self._due:
            return
        lines, out = self._lines, self._out
        lines.flush()
        out.flush()
        os.fsync(out.fileno())
        _, task_id, _, index, key, stamp, _, size, run, *_ = row
        task_id, key = lines.decode_name("task_id", task_id), lines.decode_name("key", key)
        last = (run, task_id, index, key or "")
        began = self._began
        self._samples.append((*last, stamp, size))
        if len(self._samples) > _MOST_SAMPLES:
            # Those that are left stay spread over the whole.
            del self._samples[1::2]
        self._partial.save(
            Progress(
                out.tell(),
                lines.rows,
                lines.bytes,
                last,
                began.since,
                began.until,
                tuple(self._samples),
            )
        )
        self._due = time.monotonic() + _SAVE_EVERY_S


def _sample(given: Any) -> Sample:
    """Return a sample as it was saved.

    Raises:
        TypeError, ValueError: it is none.
    """
    run, task_id, index, key, stamp, size = given
    return int(run), str(task_id), int(index), str(key), stamp, size


def place_of(target: Target) -> dict[str, object]:
    """Return what names the metadata database, without a password, for a later run to repeat."""
    backend = urls.backend_of(target.url)
    place = (
        str(os.path.realpath(urls.sqlite_path(target.url))) if backend == "sqlite" else target.shown
    )
    return {"backend": backend, "url": place, "schema": target.schema}


def _unwritable(error: OSError | ValueError) -> OutputError:
    name = f' "{error.filename}"' if isinstance(error, OSError) and error.filename else ""
    reason = error.strerror if isinstance(error, OSError) else str(error)
    return OutputError(f"could not write the output{name}", detail=reason or type(error).__name__)
