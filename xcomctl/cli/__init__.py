"""The command line: the list of commands, and the only place that catches errors."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from xcomctl import __version__
from xcomctl.cli.commands import ALIASES, COMMANDS, COMPLETION_VARIABLE, load
from xcomctl.cli.console import Console
from xcomctl.cli.help import HelpfulCommand, HelpfulGroup
from xcomctl.cli.usage import usage_error, without_passwords
from xcomctl.errors import DatabaseError, Interrupted, UsageError, XcomctlError
from xcomctl.text import is_utf8

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType

EXIT_BUG = 70

_UsageProblem: type[Exception] = typer.BadParameter.__mro__[1]
"""click's base class of usage errors, of which typer exports only a subclass."""

console = Console()


def _version(asked: bool) -> None:
    if asked:
        console.text(f"xcomctl {__version__}\n")
        raise typer.Exit


def _root(
    version: Annotated[
        bool | None,
        typer.Option(
            "--version", "-V", callback=_version, is_eager=True, help="Print the version."
        ),
    ] = None,
    install_completion: Annotated[
        str | None,
        typer.Option(
            "--install-completion",
            metavar="[bash|zsh|fish]",
            help="Install completion. [default: for the current shell]",
        ),
    ] = None,
    show_completion: Annotated[
        str | None,
        typer.Option(
            "--show-completion",
            metavar="[bash|zsh|fish]",
            help="Print the completion script. [default: for the current shell]",
        ),
    ] = None,
) -> None:
    """Inspect, audit and size-check Airflow XComs, straight in the metadata database."""


def build_app(first: str | None = None) -> typer.Typer:
    """Return the application with the command `first` complete, and the others by name only.

    Importing all commands would double the time that a short one takes.
    """
    app = typer.Typer(
        name="xcomctl",
        cls=HelpfulGroup,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_root)
    for shown, name in ({name: name for name in COMMANDS} | ALIASES).items():
        if shown == first:
            from xcomctl.cli.spread import spread

            command = spread(load(name).command)
        else:
            command = _placeholder
        settings = app.command(
            shown, cls=HelpfulCommand, help=COMMANDS[name], hidden=shown in ALIASES
        )
        settings(command)
    return app


def click_group(first: str | None = None) -> Any:
    """Return click's group of all commands, of which `first` is complete."""
    from typer.main import get_command

    return get_command(build_app(first))


def _placeholder() -> None:
    """Stand for a command that is not the one to run."""


def main(arguments: Sequence[str]) -> int:
    """Run a command line and return its exit code."""
    if COMPLETION_VARIABLE in os.environ:
        from xcomctl.cli.completion import answer

        return answer(os.environ[COMPLETION_VARIABLE], arguments, click_group)
    received = _catch_signals()
    try:
        code = _flushed(_run(arguments, received))
    except Interrupted as interrupt:
        # While an error was being printed.
        code = interrupt.exit_code
    for stream in (sys.stdout, sys.stderr):
        _drop_unwritable(stream)
    _default_signals()
    return code


def _run(arguments: Sequence[str], received: list[int]) -> int:
    """Run a command line, print its errors, and return its exit code.

    `received` holds the signals that came.
    """
    try:
        return _run_command(arguments)
    except XcomctlError as error:
        if received:
            # An exception raised within a driver's callback is lost, and what it stopped fails.
            return _interrupted(128 + received[0], None)
        console.error(error)
        return error.exit_code
    except Interrupted as interrupt:
        return _interrupted(interrupt.exit_code, interrupt.note)
    except SystemExit as exit_:
        # click ends the process itself where the reader of its help has gone.
        return 141 if exit_.code == 1 else int(exit_.code or 0)
    except typer.Abort:
        return 130
    except _UsageProblem as problem:
        console.error(usage_error(problem, arguments, click_group))
        return UsageError.exit_code
    except BrokenPipeError:
        return 141
    except Exception as unexpected:  # noqa: BLE001 - the last resort, which reports it
        if "_XCOMCTL_COMPLETE" in os.environ:
            # A shell shows whatever completion prints.
            return 1
        expected = _surroundings_error(unexpected, arguments)
        if expected is None:
            return _report_bug(unexpected)
        console.error(expected)
        return expected.exit_code


def _run_command(arguments: Sequence[str]) -> int:
    option, equals, shell = (arguments[0] if arguments else "").partition("=")
    if option in ("--install-completion", "--show-completion"):
        # Their value may be left out, which typer does not allow.
        return _completion(option, [shell] if equals else arguments[1:])
    # No other option of the program takes a value, so the first word is the command.
    first = next((word for word in arguments if not word.startswith("-")), None)
    if first == "edit":
        at = arguments.index("edit")
        arguments = [*arguments[:at], "push", "--replace", *arguments[at + 1 :]]
        first = "push"
    arguments = _with_options_repeated(arguments, "--from")
    app = build_app(first)
    # Not list(): that name is the command's module here, once it is imported.
    code: Any = app(args=[*arguments] or ["--help"], prog_name="xcomctl", standalone_mode=False)
    return code if isinstance(code, int) else 0


def _with_options_repeated(arguments: Sequence[str], option: str) -> list[str]:
    """Return the arguments with an option in front of each of several values: `--from a b`.

    A shell makes several of `--from *.json.gz`. An HTML file is no value, but what `report` writes.
    """
    found: list[str] = []
    within = False
    for at, word in enumerate(arguments):
        is_value = within and not word.startswith("-") and not word.endswith((".html", ".htm"))
        if is_value and arguments[at - 1] != option:
            found.append(option)
        found.append(word)
        within = word == option or is_value
    return found


def _completion(option: str, shells: Sequence[str]) -> int:
    """Print or install the completion script of a shell."""
    from pathlib import Path

    from xcomctl.cli.shells import find

    if len(shells) > 1:
        raise UsageError(
            f"{option} takes the name of one shell", hint=f"Use {option} bash, zsh or fish."
        )
    shell = find(shells[0] if shells else None)
    if option == "--show-completion":
        console.text(shell.script)
    else:
        path = shell.install(Path.home())
        console.paragraph(f"installed {path}; open a new {shell.name} to use it")
    return 0


def _interrupted(code: int, note: str | None) -> int:
    console.warn(f"interrupted: {note}" if note else "interrupted")
    return code


def _flushed(code: int) -> int:
    """Write what stdout still holds, and return the exit code, another one where that fails."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        return code or 141
    except OSError as error:
        if code in (0, 1):
            console.error(_stdout_error(error))
            return DatabaseError.exit_code
    return code


def _stdout_error(error: OSError) -> XcomctlError:
    return DatabaseError("could not write to stdout", detail=error.strerror or str(error))


def _surroundings_error(unexpected: Exception, arguments: Sequence[str]) -> XcomctlError | None:
    """Return the error to print for a failure of the system or its input; None for a bug."""
    if isinstance(unexpected, MemoryError):
        return DatabaseError("not enough memory", hint="Narrow the filters, or add memory.")
    if isinstance(unexpected, OSError):
        reason = unexpected.strerror or type(unexpected).__name__
        if unexpected.filename is None:
            # click prints the help itself.
            return _stdout_error(unexpected)
        name = os.fsdecode(unexpected.filename)
        return DatabaseError(f'could not access "{name}"', detail=reason)
    if isinstance(unexpected, UnicodeError):
        odd = next((one for one in arguments if not is_utf8(one)), None)
        if odd is not None:
            shown = without_passwords(odd, arguments)
            return UsageError(f'the argument "{shown}" is not UTF-8')
    return None


def _report_bug(bug: Exception) -> int:
    text = console.without_secrets(str(bug))
    console.error(
        XcomctlError(
            f"unexpected error: {type(bug).__name__}",
            detail=text.splitlines()[0] if text else None,
            hint="This is a bug in xcomctl. Please report it with the output of --verbose.",
        )
    )
    if console.verbose:
        _trace(bug)
    return EXIT_BUG


def _trace(error: BaseException) -> None:
    """Print a traceback; what the exceptions say is not ours, and may quote a password."""
    import traceback

    earlier = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if earlier is not None:
        _trace(earlier)
    console.trace("Traceback (most recent call last):")
    console.trace("".join(traceback.format_tb(error.__traceback__)))
    console.trace(console.without_secrets("".join(traceback.format_exception_only(error))))


def _catch_signals() -> list[int]:
    """Raise Interrupted on the signals that end a program; return the list of those that came."""
    received: list[int] = []

    def interrupt(signum: int, _frame: FrameType | None) -> None:
        received.append(signum)
        # A second one ends the process, also while the first is handled.
        signal.signal(signum, signal.SIG_DFL)
        raise Interrupted(signum)

    for number in _signals():
        # nohup and a shell's background jobs ignore signals on purpose.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, interrupt)
    return received


def _default_signals() -> None:
    """Let signals end the process, which has only to exit."""
    for number in _signals():
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)


def _signals() -> list[signal.Signals]:
    return [
        getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
    ]


def _drop_unwritable(stream: TextIO) -> None:
    """Drop what cannot be written, of which the interpreter would complain when it ends."""
    try:
        stream.flush()
    except (OSError, ValueError):
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
