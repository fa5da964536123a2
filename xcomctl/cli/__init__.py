"""The command line: which commands there are, and the only place that catches errors."""

from __future__ import annotations

import os
import re
import signal
import sys
from importlib import import_module
from keyword import iskeyword
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xcomctl import __version__
from xcomctl.cli.console import Console
from xcomctl.errors import Interrupted, UsageError, XcomctlError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType

COMMANDS = {
    "list": "List the XCom entries that match the filters.",
    "pull": "Print one XCom's value, decoded.",
    "push": "Write one XCom, as Airflow would have.",
    "delete": "Show or remove what is old, large or left over.",
    "audit": "Judge sizes and health; the CI gate.",
    "preflight": "Name the XComs that an upgrade to Airflow 3 breaks.",
    "top": "Show who fills the table.",
    "export": "Write entries with their values, streamed.",
    "import": "Read entries with their values back.",
    "limits": "Show the limit in force, here and elsewhere.",
    "info": "Show which metadata DB was found, and how.",
    "config": "Check, show or start the configuration.",
    "demo": "Build a demo metadata DB, and show round.",
}
"""Command → what it does, in the order of the help."""
ALIASES = {"get": "pull", "stats": "top", "add": "push", "edit": "push"}
"""Hidden names for those who come from elsewhere."""

EXIT_BUG = 70

_UsageProblem: type[Exception] = typer.BadParameter.__mro__[1]
"""The library's base of usage errors, of which it exports only one subclass."""

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
) -> None:
    """Inspect, audit and size-check Airflow's XComs, straight in the metadata DB."""


def build_app(first: str | None = None) -> typer.Typer:
    """Return the application as far as a command line that starts with `first` needs it.

    Reading a command's options takes longer than its own `--help`, so of the others only the
    names are there.
    """
    app = typer.Typer(
        name="xcomctl",
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_root)
    completing = "_XCOMCTL_COMPLETE" in os.environ
    for shown, name in ({name: name for name in COMMANDS} | ALIASES).items():
        if completing or shown == first:
            from xcomctl.cli.options import spread

            # "import" is a word of Python's, which no module can be named.
            module = f"{name}_" if iskeyword(name) else name
            command = spread(import_module(f"xcomctl.cli.{module}").command)
        else:
            command = _unread
        app.command(shown, help=COMMANDS[name], hidden=shown in ALIASES)(command)
    return app


def _unread() -> None:
    """Stand for a command that the command line does not name first."""


def main(arguments: Sequence[str]) -> int:
    """Run a command line and return its exit code."""
    received = _catch_signals()
    try:
        # The root has no option that takes a value, so the first word is the command.
        first = next((word for word in arguments if not word.startswith("-")), None)
        if first == "edit":
            at = arguments.index("edit")
            arguments = [*arguments[:at], "push", "--replace", *arguments[at + 1 :]]
            first = "push"
        app = build_app(first)
        # Not list(): that name is the command's module here, once it is imported.
        code: Any = app(args=[*arguments] or ["--help"], prog_name="xcomctl", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except XcomctlError as error:
        if received:
            # Within a driver's callback an exception is lost, and what it stopped is reported.
            console.warn("interrupted")
            code = 128 + received[0]
        else:
            console.error(error)
            code = error.exit_code
    except Interrupted as interrupt:
        console.warn("interrupted")
        code = interrupt.exit_code
    except SystemExit as exit_:
        # The library ends the process itself where a pipe closes under its help.
        code = 141 if exit_.code == 1 else exit_.code
    except typer.Abort:
        code = 130
    except _UsageProblem as problem:
        console.error(_usage_error(problem))
        code = UsageError.exit_code
    except BrokenPipeError:
        code = 141
    except Exception as bug:  # noqa: BLE001 - the last line: whatever it is, it is told properly
        code = _report_bug(bug)
    if code == 141:
        _silence_stdout()
    return int(code or 0)


def _usage_error(problem: Exception) -> UsageError:
    text: str = problem.format_message() if hasattr(problem, "format_message") else str(problem)
    context = getattr(problem, "ctx", None)
    path: str = context.command_path if context is not None else "xcomctl"
    message = text.strip().rstrip(".")
    if re.match(r"No such option: -[\d.]", message):
        hint = f'A negative number goes behind "--", after the options: {path} … -- -1'
        return UsageError(message[:1].lower() + message[1:], hint=hint)
    return UsageError(
        message[:1].lower() + message[1:] if message else "no command was given",
        hint=f'"{path} --help" lists what there is.',
    )


def _report_bug(bug: Exception) -> int:
    import traceback

    console.error(
        XcomctlError(
            f"xcomctl failed in a way it did not foresee: {type(bug).__name__}",
            detail=str(bug).splitlines()[0] if str(bug) else None,
            hint="This is a bug in xcomctl. Please report it, with what --verbose prints.",
        )
    )
    if console.verbose:
        console.trace("".join(traceback.format_exception(bug)))
    return EXIT_BUG


def _catch_signals() -> list[int]:
    """Raise Interrupted on the signals that end a program; return those that came."""
    received: list[int] = []

    def interrupt(signum: int, _frame: FrameType | None) -> None:
        received.append(signum)
        # A second one must not find a handler that is still tidying up.
        signal.signal(signum, signal.SIG_DFL)
        raise Interrupted(signum)

    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        # nohup and background jobs ignore a signal on purpose.
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, interrupt)
    return received


def _silence_stdout() -> None:
    """Keep the interpreter from complaining, at its end, about a pipe that is closed."""
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
    except (OSError, ValueError):
        pass
