"""The only writer: results to stdout or files, everything else to stderr.

Files are written whole or not at all; passwords are blotted out of whatever is said.
"""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING, TextIO

from xcomctl.errors import ClosedPipeError, DatabaseError, RefusedError, UsageError, XcomctlError
from xcomctl.text import nearest, visible

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from xcomctl.formats import Layout, Paper, Row
    from xcomctl.model import Write

HIDDEN = "***"


class OutputError(DatabaseError):
    """What was to be written could not be, so the command did not finish."""


class Console:
    """Where a command speaks. One for each run of the program."""

    def __init__(self) -> None:
        self.quiet = False
        self.verbose = False
        self._color = "auto"
        self._progress = True
        self._progressing = False
        self._secrets: set[str] = set()

    def configure(
        self, *, color: str | None, quiet: bool, verbose: bool, progress: bool = True
    ) -> None:
        """Take the options that decide how much is said, and in which colours."""
        if color is not None and color not in ("auto", "always", "never"):
            raise UsageError(f'unknown --color "{color}"', hint="It is auto, always or never.")
        self._color = color or "auto"
        self.quiet = quiet
        self.verbose = verbose
        self._progress = progress and not quiet

    def hide(self, secrets: Iterable[str]) -> None:
        """Never print any of these texts."""
        self._secrets.update(secret for secret in secrets if secret)

    def clean(self, text: str) -> str:
        """Return the text without any known secret."""
        for secret in sorted(self._secrets, key=len, reverse=True):
            text = text.replace(secret, HIDDEN)
        return text

    # --- stderr -------------------------------------------------------------------------------

    def note(self, text: str) -> None:
        """Say something that is not the result."""
        if not self.quiet:
            self._say(f"xcomctl: note: {visible(text)}")

    def warn(self, text: str) -> None:
        """Say something that the user should not miss."""
        self._say(f"xcomctl: warning: {visible(text)}")

    def detail(self, text: str) -> None:
        """Say something that only --verbose asks for."""
        if self.verbose:
            self._say(f"xcomctl: {visible(text)}")

    def error(self, error: XcomctlError) -> None:
        """Say what failed, why, and what to try."""
        if isinstance(error, ClosedPipeError):
            return
        self._say(f"xcomctl: error: {visible(error.message)}")
        if error.detail:
            self._say(f"xcomctl: detail: {visible(error.detail)}")
        if error.hint:
            self._say(f"xcomctl: hint: {visible(error.hint)}")

    @property
    def shows_progress(self) -> bool:
        """Return whether somebody watches stderr, and stdout is not in its way."""
        return self._progress and sys.stderr.isatty() and not self.terminal

    def progress(self, text: str) -> None:
        """Show how far it is, over what was shown before; an empty text clears it."""
        if not text and not self._progressing:
            return
        self._progressing = bool(text)
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(f"\r\x1b[K{visible(text)}")
            sys.stderr.flush()

    def trace(self, text: str) -> None:
        """Print a traceback, line by line."""
        for line in text.splitlines():
            self._say(visible(line))

    def _say(self, line: str) -> None:
        self.progress("")
        # There is nowhere left to complain where stderr is closed or full.
        with contextlib.suppress(OSError, ValueError):
            print(self.clean(line), file=sys.stderr, flush=True)  # noqa: T201

    # --- stdout and files ---------------------------------------------------------------------

    def write(
        self,
        layout: Layout,
        rows: Iterable[Row],
        outputs: Sequence[tuple[str, str | None]],
        *,
        suppressed: bool = False,
    ) -> None:
        """Write the rows, as they come, in every format that was asked for.

        Rows that do not count only where a format has a way to say so, unless `suppressed`.

        Raises:
            OutputError: a file or stdout could not be written.
            ClosedPipeError: nobody reads stdout any more.
        """
        from pathlib import Path

        from xcomctl.cli.files import whole_file
        from xcomctl.formats import FORMATS, SUPPRESSED, WITH_SUPPRESSED, Paper, writer

        with _reporting(), contextlib.ExitStack() as stack:
            writers = []
            told = []
            for name, path in outputs:
                paper = (
                    self._paper()
                    if path is None
                    else Paper(stack.enter_context(whole_file(Path(path))))
                )
                one = writer(name, layout, paper)
                writers.append(one)
                if name in WITH_SUPPRESSED or (suppressed and name in FORMATS):
                    told.append(one)
            for row in rows:
                for one in told if row.get("state") in SUPPRESSED else writers:
                    one.row(row)
            for one in writers:
                one.end()
            sys.stdout.flush()

    def text(self, text: str) -> None:
        """Write a text to stdout."""
        with _reporting():
            out = self._stdout()
            out.write(text)
            out.flush()

    def data(self, pieces: Iterable[bytes]) -> None:
        """Write bytes to stdout, untouched."""
        with _reporting():
            for piece in pieces:
                sys.stdout.buffer.write(piece)
            sys.stdout.buffer.flush()

    @contextlib.contextmanager
    def sink(self, path: Path | None) -> Iterator[Write]:
        """Open a file, or stdout for None, for bytes: a file is whole or not there at all."""
        from xcomctl.cli.files import whole_binary_file

        with _reporting(), contextlib.ExitStack() as stack:
            out = (
                sys.stdout.buffer if path is None else stack.enter_context(whole_binary_file(path))
            )
            yield out.write
            out.flush()

    def save(self, path: Path, pieces: Iterable[bytes]) -> None:
        """Write bytes to a file, whole or not at all."""
        from xcomctl.cli.files import whole_binary_file

        with _reporting(), whole_binary_file(path) as out:
            for piece in pieces:
                out.write(piece)

    def journal(self, path: Path) -> Journal:
        """Return a new file for what is about to be lost; nothing is ever written over.

        Raises:
            RefusedError: there is such a file already.
            OutputError: it cannot be made.
        """
        return Journal(path)

    def confirmed(self, question: str) -> bool:
        """Return whether somebody at the terminal says yes; without a terminal nobody does."""
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            return False
        import typer

        return typer.confirm(visible(self.clean(question)), err=True)

    @property
    def terminal(self) -> bool:
        """Return whether stdout is a terminal."""
        return sys.stdout.isatty()

    def _stdout(self) -> TextIO:
        if not self.terminal and hasattr(sys.stdout, "reconfigure"):
            # What a program reads is UTF-8 wherever it runs, with one kind of line end.
            sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace", newline="\n")
        return sys.stdout

    def _paper(self) -> Paper:
        terminal = self.terminal
        width = None
        if terminal:
            import shutil

            width = shutil.get_terminal_size().columns
        from xcomctl.formats import Paper

        return Paper(self._stdout(), terminal=terminal, color=self._colored(terminal), width=width)

    def _colored(self, terminal: bool) -> bool:
        if self._color != "auto":
            return self._color == "always"
        if os.environ.get("NO_COLOR"):
            return False
        if os.environ.get("FORCE_COLOR"):
            return True
        return terminal and os.environ.get("TERM") != "dumb"


class Journal:
    """A file that holds, safely on disk, what it was told, whatever happens afterwards."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._empty = True
        with _reporting():
            try:
                # For its owner only: it holds values.
                handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            except FileExistsError:
                raise RefusedError(
                    f'the undo file "{path}" is there already',
                    detail="What it holds may be needed.",
                    hint="Name another one.",
                ) from None
            self._out = os.fdopen(handle, "wb")

    def write(self, pieces: Iterable[bytes]) -> None:
        """Add to the file, and return when it is on disk."""
        with _reporting():
            for piece in pieces:
                self._empty = False
                self._out.write(piece)
            self._out.flush()
            os.fsync(self._out.fileno())

    def close(self) -> None:
        """End the file; an empty one is taken away."""
        self._out.close()
        if self._empty:
            with contextlib.suppress(OSError):
                self.path.unlink()


@contextlib.contextmanager
def _reporting() -> Iterator[None]:
    """Turn what the operating system says of our output into our errors."""
    try:
        yield
    except BrokenPipeError:
        raise ClosedPipeError("nobody reads the output any more") from None
    except OSError as error:
        name = f' "{error.filename}"' if error.filename else ""
        raise OutputError(
            f"could not write the output{name}",
            detail=error.strerror or type(error).__name__,
            hint="Nothing half-written is left behind.",
        ) from None


def parse_outputs(
    given: Sequence[str] | None, formats: Mapping[str, str] | None = None
) -> list[tuple[str, str | None]]:
    """Return format and file of each `-o FORMAT[=FILE]`; of the given formats, else of all tables.

    No file is stdout, as is `-`.

    Raises:
        UsageError: an unknown format, an empty file name, or two without a file.
    """
    from xcomctl.formats import FORMATS

    known = formats or FORMATS
    outputs: list[tuple[str, str | None]] = []
    for text in given or ["table"]:
        name, equals, path = text.partition("=")
        if name not in known:
            near = nearest(name, known)
            raise UsageError(
                f'unknown output format "{name}"',
                hint=f'Did you mean "{near}"?' if near else f"There are {', '.join(known)}.",
            )
        if equals and not path:
            raise UsageError(f'"-o {text}" names no file', hint=f"Say -o {name}=FILE or -o {name}.")
        outputs.append((name, path if equals and path != "-" else None))
    if sum(path is None for _, path in outputs) > 1:
        raise UsageError(
            "two outputs want stdout",
            hint="Give all but one a file: -o table -o json=report.json",
        )
    files = [path for _, path in outputs if path]
    if len(set(files)) < len(files):
        raise UsageError("two outputs want the same file")
    return outputs
