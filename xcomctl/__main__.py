"""The program's entry: standard streams, early interrupts, `--version`, and the exit code."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Run xcomctl with the arguments of this process, and exit with its code."""
    try:
        _open_standard_streams()
        if sys.argv[1:] in (["--version"], ["-V"]):
            # Scripts ask for it in loops, and importing typer takes ten times as long.
            _print_version()
        code = _run(sys.argv[1:])
    except KeyboardInterrupt:
        _exit_interrupted()
    sys.exit(code)


def _run(arguments: list[str]) -> int:
    import gc

    # Imports leave no garbage, and looking for it takes a tenth of their time. `db` enables it
    # once a database is open.
    gc.disable()
    _exit_on_interrupt()
    from xcomctl.cli import main as run

    code = run(arguments)
    # Objects end with the process; the interpreter would search them twice for garbage.
    gc.freeze()
    return code


def _open_standard_streams() -> None:
    """Open those of stdin, stdout and stderr that the parent process left closed.

    Otherwise the next file or socket that is opened would be stdout. Reading and writing them
    still fails: stdin is opened to write, the others to read.
    """
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        if getattr(sys, name) is not None:
            _make_blocking(number)
            continue
        opened = os.open(os.devnull, os.O_WRONLY if mode == "r" else os.O_RDONLY)
        if opened != number:
            os.dup2(opened, number)
            os.close(opened)
        stream = open(number, mode, closefd=False, encoding="utf-8")  # noqa: SIM115
        setattr(sys, name, stream)


def _make_blocking(number: int) -> None:
    """Let writes to a full pipe wait. Some parents leave it so that they fail."""
    try:
        if not os.get_blocking(number):
            os.set_blocking(number, True)
    except (OSError, AttributeError):  # AttributeError: Windows before Python 3.12
        pass


def _print_version() -> None:
    from xcomctl import __version__

    try:
        print(f"xcomctl {__version__}", flush=True)  # noqa: T201
    except BrokenPipeError:
        os._exit(141)
    except OSError as error:
        print(f"xcomctl: error: could not write to stdout: {error.strerror}", file=sys.stderr)  # noqa: T201
        # Not sys.exit(), which would write what is left to stdout and complain.
        os._exit(3)
    sys.exit(0)


def _exit_on_interrupt() -> None:
    """End at once on Ctrl-C during the imports, where an exception may be lost or printed."""
    import signal

    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, lambda _signum, _frame: _exit_interrupted())


def _exit_interrupted() -> None:
    try:
        os.write(2, b"xcomctl: warning: interrupted\n")
    finally:
        os._exit(130)


if __name__ == "__main__":
    main()
