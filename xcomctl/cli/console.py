"""The only writer: results to stdout or files, everything else to stderr.

Files are written whole or not at all.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import sys
import threading
from typing import TYPE_CHECKING, BinaryIO, Final, TextIO

from xcomctl.errors import ClosedPipeError, DatabaseError, RefusedError, UsageError, XcomctlError
from xcomctl.text import styled, suggestion, visible

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from xcomctl.cli.files import OutputFiles
    from xcomctl.cli.progress import Progress
    from xcomctl.formats import Destination, Layout, Row
    from xcomctl.model import Write

    Outputs = Sequence[tuple[str, str | None]]
    """Format and file of each output; the file is None for stdout."""

_STYLES = {"bold": 1, "command": 35}
"""SGR codes that are readable on light and dark backgrounds."""


class OutputError(DatabaseError):
    """The output could not be written, so the command did not finish."""


class Console:
    """Writes what a command prints. One per run of the program."""

    def __init__(self) -> None:
        self.quiet = False
        self.verbose = False
        self._color = "auto"
        self._progress = True
        self._progressing = False
        self._work: Progress | None = None
        self._lock = threading.RLock()
        """Held while stderr is written to: the progress line has a thread of its own."""
        self._connections: list[str] = []
        self._inputs: list[str] = []

    def configure(
        self, *, color: str | None, quiet: bool, verbose: bool, progress: bool = True
    ) -> None:
        """Apply the options on how much is printed, and in which colours.

        Raises:
            UsageError: `color` is none of auto, always and never.
        """
        if color is not None and color not in ("auto", "always", "never"):
            raise UsageError(
                f'unknown --color "{color}"', hint="Valid values: auto, always, never."
            )
        self._color = color or "auto"
        self.quiet = quiet
        self.verbose = verbose
        self._progress = progress and not quiet

    def protect(self, path: str | Path | None) -> None:
        """Refuse to write over this file, which the command reads."""
        if path is not None:
            self._inputs.append(str(path))

    @contextlib.contextmanager
    def _output_files(self, paths: Iterable[str | Path | None]) -> Iterator[OutputFiles | None]:
        """Open what writes the files among these outputs, None without one."""
        named = [str(path) for path in paths if path is not None]
        if not named:
            # Loading what writes files takes longer than writing a table.
            yield None
            return
        from xcomctl.cli.files import OutputFiles, identity

        inputs = set(map(identity, self._inputs))
        for path in named:
            if identity(path) in inputs:
                raise RefusedError(
                    f'the output would replace "{path}", which this command reads',
                    hint="Use another file.",
                )
        with OutputFiles() as files:
            yield files

    def hide(self, connections: Iterable[str]) -> None:
        """Remember connection texts whose passwords `without_secrets` hides."""
        self._connections += connections

    def without_secrets(self, message: str) -> str:
        """Return a message that is not ours, such as an unforeseen exception's, without passwords."""
        from xcomctl.config import redact

        secrets = {os.environ.get("PGPASSWORD", "")}
        secrets.update(*map(redact.secrets_of, self._connections))
        return redact.hide(message, secrets)

    # --- stderr -------------------------------------------------------------------------------

    def note(self, text: str) -> None:
        """Print a note, which --quiet suppresses."""
        if not self.quiet:
            self._print(visible(text), label="note")

    def warn(self, text: str) -> None:
        """Print a warning."""
        self._print(visible(text), label="warning")

    def detail(self, text: str) -> None:
        """Print what only --verbose asks for."""
        if self.verbose:
            self._print(f"xcomctl: {visible(text)}")

    def error(self, error: XcomctlError) -> None:
        """Print an error's message, detail and hint."""
        if isinstance(error, ClosedPipeError):
            return
        self._print(visible(error.message), label="error")
        if error.detail:
            self._print(visible(error.detail), label="detail")
        if error.hint:
            self._print(visible(error.hint), label="hint")

    @property
    def shows_progress(self) -> bool:
        """Return whether stderr is a terminal that can show a line anew."""
        return self._progress and sys.stderr.isatty() and os.environ.get("TERM") != "dumb"

    @contextlib.contextmanager
    def working(self, what: str) -> Iterator[Progress]:
        """Show at a terminal what is being done, until this block ends or stdout needs the place.

        See `Progress.begin` for the parts of the work.
        """
        from xcomctl.cli.progress import Progress

        show = self._show_progress if self.shows_progress else None
        self._work = work = Progress(what, show, lambda: _terminal_width(sys.stderr))
        try:
            yield work
        finally:
            self._end_work()

    def _end_work(self) -> None:
        if self._work is not None:
            self._work.end()
            self._work = None

    def _show_progress(self, text: str) -> None:
        """Replace the progress line. An empty text removes it."""
        with self._lock:
            if not text and not self._progressing:
                return
            self._progressing = bool(text)
            with contextlib.suppress(OSError, ValueError):
                sys.stderr.write(f"\r\x1b[K{text}")
                sys.stderr.flush()

    def trace(self, text: str) -> None:
        """Print a traceback, line by line."""
        for line in text.splitlines():
            self._print(visible(line), wrapped=False)

    def _print(self, text: str, *, label: str = "", wrapped: bool = True) -> None:
        """Print a text to stderr, behind the program's name and a label if it has one."""
        line = f"xcomctl: {label}: {text}" if label else text
        # A closed or full stderr leaves nowhere to report it.
        with self._lock, contextlib.suppress(OSError, ValueError):
            self._show_progress("")
            lines = [line]
            if wrapped and sys.stderr.isatty():
                lines = _wrapped(line, _terminal_width(sys.stderr))
                if label and self._colored(terminal=True):
                    lines[0] = lines[0].replace(f"{label}:", f"{styled(label, label)}:", 1)
            print(*lines, sep="\n", file=sys.stderr, flush=True)  # noqa: T201

    # --- stdout and files ---------------------------------------------------------------------

    def write(
        self,
        layout: Layout,
        rows: Iterable[Row],
        outputs: Outputs,
        *,
        suppressed: bool = False,
        private: bool = False,
    ) -> None:
        """Write the rows, as they come, in every format that was asked for.

        Args:
            suppressed: whether findings that do not count are also written in formats that
                cannot mark them.
            private: whether new files are readable by their owner only, because rows hold values.

        Raises:
            OutputError: a file or stdout could not be written.
            ClosedPipeError: the reader of stdout has gone.
        """
        from xcomctl import formats
        from xcomctl.formats import Destination

        with output_errors(), self._output_files(path for _, path in outputs) as files:
            writers = []
            with_suppressed = []
            for name, path in outputs:
                destination = (
                    self._destination()
                    if path is None or files is None
                    else Destination(files.open_text(path, private=private))
                )
                one = formats.writer(name, layout, destination)
                writers.append(one)
                if name in formats.WITH_SUPPRESSED or (
                    suppressed and name in formats.WITH_SUPPRESSED_ON_REQUEST
                ):
                    with_suppressed.append(one)
            shared = self.terminal and any(path is None for _, path in outputs)
            for row in rows:
                if shared:
                    self._end_work()
                    shared = False
                for one in with_suppressed if row.get("state") in formats.SUPPRESSED else writers:
                    one.row(row)
                if layout.live:
                    sys.stdout.flush()
            if shared:
                self._end_work()
            warnings = [one.end() for one in writers]
            sys.stdout.flush()
        for warning in filter(None, warnings):
            self.warn(warning)

    def text(self, text: str) -> None:
        """Write a text to stdout."""
        with output_errors():
            out = self._stdout()
            out.write(text)
            out.flush()

    def styled(self, text: str, style: str) -> str:
        """Return a text for stdout in bold or a colour (`bold`, `command`) where colours are wanted."""
        if not self._colored(self.terminal):
            return text
        return f"\x1b[{_STYLES[style]}m{text}\x1b[0m"

    def paragraph(self, text: str, *, indent: str = "", style: str = "") -> None:
        """Write a text to stdout, wrapped at words at a terminal."""
        from xcomctl.formats.width import wrap

        width = _terminal_width(sys.stdout) - len(indent) if self.terminal else 10_000
        lines = wrap(visible(text), width)
        self.text(
            "".join(f"{indent}{self.styled(one, style) if style else one}\n" for one in lines)
        )

    def page(self, markdown: str, width: int) -> None:
        """Write a page of the reference to stdout."""
        from xcomctl.formats.page import render

        self.text(render(markdown, width, color=self._colored(self.terminal)))

    def command_line(self, line: str) -> None:
        """Write a command to copy to stdout, behind a prompt; it is never broken within a word."""
        from xcomctl.formats.width import wrap_command

        width = _terminal_width(sys.stdout) if self.terminal else len(line) + 2
        lines = wrap_command(visible(line), width, prompt="$ ")
        self.text("".join(f"{self.styled(one, 'command')}\n" for one in lines))

    def data(self, pieces: Iterable[bytes]) -> None:
        """Write bytes to stdout, unchanged."""
        with output_errors():
            write = self._stdout_bytes()
            for piece in pieces:
                write(piece)
            sys.stdout.buffer.flush()

    @contextlib.contextmanager
    def sink(self, path: Path | None, *, private: bool = False) -> Iterator[Write]:
        """Open a file, or stdout for None, for bytes. See `OutputFiles.open`."""
        with output_errors(), self._output_files([path]) as files:
            if path is None or files is None:
                yield self._stdout_bytes()
                sys.stdout.buffer.flush()
            else:
                out = files.open(path, private=private)
                yield out.write
                out.flush()

    def save(self, path: Path, pieces: Iterable[bytes], *, private: bool = False) -> None:
        """Write bytes to a file. See `OutputFiles.open`."""
        with self.sink(path, private=private) as write:
            for piece in pieces:
                write(piece)

    def confirmed(self, question: str) -> bool:
        """Return whether someone at the terminal says yes; False without a terminal."""
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            return False
        import typer

        try:
            return typer.confirm(visible(question), err=True)
        except typer.Abort:
            # The end of the input.
            return False

    @property
    def terminal(self) -> bool:
        """Return whether stdout is a terminal."""
        return sys.stdout.isatty()

    def _stdout_bytes(self) -> Write:
        """Return what writes bytes to stdout; at a terminal the progress line makes way for them."""
        out: BinaryIO = sys.stdout.buffer
        if not self.terminal:
            return out.write

        def write(data: bytes | memoryview) -> object:
            self._end_work()
            return out.write(data)

        return write

    def _stdout(self) -> TextIO:
        if not hasattr(sys.stdout, "reconfigure"):
            return sys.stdout
        if self.terminal:
            sys.stdout.reconfigure(errors="backslashreplace")
        else:
            # Programs get UTF-8 and one kind of line end, whatever the locale and system.
            sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace", newline="\n")
        return sys.stdout

    def _destination(self) -> Destination:
        from xcomctl.formats import Destination

        terminal = self.terminal
        width = _terminal_width(sys.stdout) if terminal else None
        return Destination(
            self._stdout(), terminal=terminal, color=self._colored(terminal), width=width
        )

    def _colored(self, terminal: bool) -> bool:
        if self._color != "auto":
            return self._color == "always"
        if os.environ.get("NO_COLOR"):
            return False
        if os.environ.get("FORCE_COLOR"):
            return True
        return terminal and os.environ.get("TERM") != "dumb"


_COMMAND_AT_END: Final = re.compile(r"(.*[:?]) (xcomctl .*[^.\s])", re.DOTALL)


def _wrapped(line: str, width: int) -> list[str]:
    """Return a message in lines for a terminal, a command to copy at its end on lines of its own."""
    from xcomctl.formats.width import cell_width, wrap, wrap_command

    match = _COMMAND_AT_END.fullmatch(line) if cell_width(line) > width else None
    if match is None:
        return wrap(line, width, indent="  ")
    return [*wrap(match[1], width, indent="  "), *wrap_command(match[2], width, prompt="    ")]


def _terminal_width(stream: TextIO) -> int:
    """Return the columns of the terminal that a stream writes to; 80 where it does not tell."""
    with contextlib.suppress(ValueError):
        if (columns := int(os.environ.get("COLUMNS", ""))) > 0:
            return columns
    with contextlib.suppress(OSError, ValueError):
        return os.get_terminal_size(stream.fileno()).columns or 80
    return 80


@contextlib.contextmanager
def output_errors(path: Path | None = None) -> Iterator[None]:
    """Raise the errors of writing the output, to a path or several places, as ours."""
    try:
        yield
    except BrokenPipeError:
        raise ClosedPipeError("the reader of the output has gone") from None
    except OSError as error:
        name = path or error.filename
        raise OutputError(
            f'could not write "{name}"' if name else "could not write to stdout",
            detail=error.strerror or type(error).__name__,
            hint=_HINT_BY_ERRNO.get(error.errno or 0, "Use another file, or fix this one."),
        ) from None


_HINT_BY_ERRNO = {
    errno.ENOSPC: "Free some space, or write elsewhere.",
    errno.EDQUOT: "Free some space, or write elsewhere.",
    errno.EFBIG: "Raise the limit on the size of files, or write elsewhere.",
    errno.ENOENT: "Create the directory first, or use another file.",
    errno.EBADF: "Start xcomctl with stdout open, or give every output a file: -o json=FILE.",
}


def parse_outputs(given: Sequence[str] | None, formats: Mapping[str, str] | None = None) -> Outputs:
    """Return format and file of each `-o FORMAT[=FILE]`, the file None for stdout.

    Args:
        given: the options as typed; None for the default, a table.
        formats: the formats to choose from, by default those that every listing has.

    Raises:
        UsageError: an unknown format, an empty file name, or two outputs to one place.
    """
    from xcomctl.formats import FORMATS

    known = formats or FORMATS
    outputs: list[tuple[str, str | None]] = []
    for text in given or ["table"]:
        name, equals, path = text.partition("=")
        if name not in known:
            raise UsageError(f'unknown output format "{name}"', hint=suggestion(name, known))
        if equals and not path:
            raise UsageError(
                f'"-o {text}" lacks a file name', hint=f"Use -o {name}=FILE or -o {name}."
            )
        outputs.append((name, path if equals and path != "-" else None))
    if len(outputs) > 1:
        refuse_same_place([path or "-" for _, path in outputs])
    return outputs


def refuse_same_place(paths: Iterable[str | Path | None]) -> None:
    """Refuse to write to one place twice. `-` is stdout; None is left out.

    Raises:
        UsageError: two paths name the same file, or both name stdout.
    """
    from xcomctl.cli.files import identity

    seen: dict[object, str] = {}
    for path in map(str, filter(None, paths)):
        place = 1 if path == "-" else identity(path)
        if place is not None and place in seen:
            if place == 1:
                raise UsageError(
                    "two outputs would go to stdout",
                    hint="Give all but one a file: -o table -o json=report.json",
                )
            both = " and ".join(f'"{one}"' for one in dict.fromkeys((seen[place], path)))
            raise UsageError(
                f"two outputs would write the same file, {both}", hint="Use another file."
            )
        seen[place] = path
