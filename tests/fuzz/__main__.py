"""Run the search; the exit code is 1 if something was found."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import random
import resource
import shlex
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.conftest import clean_environment
from tests.fuzz import worlds
from tests.fuzz.runs import RunInput, random_run
from tests.program import LIBRARIES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

RUNS_PER_WORLD = 80
TIMEOUT_S = 60
FOLLOWING = ("--follow", "-f", "--until-match")
FOLLOWED_S = 5
FRESH_SHARE = 0.08
"""Share of runs in a new interpreter, which reads PYTHON* and locale variables."""
BAD_TEXTS = ("Traceback", "Exception ignored", "unexpected error: ", "Fatal Python error")
GOOD_CODES = frozenset({0, 1, 2, 3, 4, 5, 130, 141, 129, 143})


@dataclass(frozen=True)
class Outcome:
    """How a run ended: its exit code, negative for a signal, None for a timeout."""

    code: int | None
    stderr: str

    @property
    def is_bad(self) -> bool:
        return self.code not in GOOD_CODES or any(text in self.stderr for text in BAD_TEXTS)


def main() -> int:
    """Search until the time is over, and print what was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first world")
    parser.add_argument("--worlds", type=int, default=sys.maxsize, help="how many worlds to try")
    asked = parser.parse_args()
    for library in (*LIBRARIES, "xcomctl.cli", "xcomctl.cli.options", "xcomctl.db"):
        with contextlib.suppress(ImportError):
            importlib.import_module(library)
    end = time.monotonic() + asked.seconds
    codes: Counter[int | None] = Counter()
    found = 0
    world = asked.first
    while time.monotonic() < end and world < asked.first + asked.worlds:
        found += _try_world(asked.seed, world, codes, end)
        world += 1
    told = ", ".join(f"{code}: {number}" for code, number in codes.most_common())
    print(f"{codes.total()} runs in {world - asked.first} worlds, exit codes {told}; {found} bad")
    return 1 if found else 0


def _try_world(seed: int, world: int, codes: Counter[int | None], end: float) -> int:
    rng = random.Random(f"{seed}/{world}")
    found = 0
    with tempfile.TemporaryDirectory(prefix="xcomctl-fuzz-") as name:
        folder = Path(name) / "world"
        worlds.build(rng, folder)
        home = Path(name) / "home"
        home.mkdir()
        for number in range(RUNS_PER_WORLD):
            given = random_run(rng)
            # An interpreter does not start with a directory for a standard stream.
            fresh = rng.random() < FRESH_SHARE and "directory" not in given.descriptors
            outcome = execute(given, folder, home, fresh=fresh)
            codes[outcome.code] += 1
            if outcome.is_bad:
                found += 1
                _report(seed, world, number, given, outcome)
            if time.monotonic() > end + TIMEOUT_S:
                break
    return found


def _report(seed: int, world: int, number: int, given: RunInput, outcome: Outcome) -> None:
    print(f"\n--seed {seed} --first {world} --worlds 1, run {number}: exit {outcome.code}")
    command = shlex.join(["xcomctl", *given.arguments])[:2000]
    print("  " + command.encode("utf-8", "backslashreplace").decode())
    print(
        f"  environment {str(given.environment)[:1000].encode('utf-8', 'backslashreplace').decode()}"
    )
    print(f"  descriptors {given.descriptors}, limits {given.limits}, in {given.place}")
    lines = outcome.stderr.splitlines()
    for line in [*lines[:4], "…", *lines[-6:]] if len(lines) > 10 else lines:
        print(f"    {line[:300]}")
    sys.stdout.flush()


def execute(given: RunInput, folder: Path, home: Path, *, fresh: bool) -> Outcome:
    """Run the program once, and return how it ended."""
    with tempfile.TemporaryFile() as err:
        pid = os.fork()
        if pid == 0:
            _be_program(given, folder, home, err.fileno(), fresh=fresh)
        code = _wait(pid, follows=_waits_for_ever(given))
        err.seek(0)
        return Outcome(code, err.read().decode("utf-8", "backslashreplace"))


def _waits_for_ever(given: RunInput) -> bool:
    """Return whether only Ctrl-C ends the run: it follows new XComs, or a terminal is its input."""
    reads_terminal = "-" in given.arguments and given.descriptors[0] == "terminal"
    return reads_terminal or any(one in given.arguments for one in FOLLOWING)


def _wait(pid: int, *, follows: bool) -> int | None:
    """Return the exit code, None after a timeout; Ctrl-C ends what `follows`."""
    begin = time.monotonic()
    while (now := time.monotonic()) < begin + TIMEOUT_S:
        if follows and now > begin + FOLLOWED_S:
            os.kill(pid, signal.SIGINT)
            follows = False
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.003)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return None


def _be_program(given: RunInput, folder: Path, home: Path, err: int, *, fresh: bool) -> None:
    """Become the program. Does not return."""
    code = 99
    try:
        os.setsid()
        environment = {**clean_environment(home), **given.environment}
        for name in given.unset:
            environment.pop(name, None)
        _go(given.place, folder)
        _set_descriptors(given.descriptors, err)
        for limit, size in given.limits:
            resource.setrlimit(getattr(resource, limit), (size, size))
        if fresh:
            os.execve(
                sys.executable, [sys.executable, "-m", "xcomctl", *given.arguments], environment
            )
        code = _run(given.arguments, environment)
    except OSError as error:
        # Not the program's: a limit that leaves no room for the interpreter itself.
        os.write(err, f"not run: {error}\n".encode())
        code = 0
    finally:
        os._exit(code)


def _run(arguments: list[str], environment: Mapping[str, str]) -> int:
    os.environ.clear()
    os.environ.update(environment)
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        mode = "r" if number == 0 else "w"
        try:
            os.fstat(number)
            errors = "backslashreplace" if number == 2 else "strict"
            stream = open(number, mode, encoding="utf-8", errors=errors, closefd=False)  # noqa: SIM115
        except OSError:
            stream = None
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    sys.argv = ["xcomctl", *arguments]
    signal.signal(signal.SIGINT, signal.default_int_handler)
    from xcomctl.__main__ import main as program

    try:
        program()
    except SystemExit as exit_:
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (OSError, ValueError) as error:
                # The interpreter would end with 120.
                os.write(2, f"Exception ignored at exit: {error}\n".encode())
                return 120
        return exit_.code if isinstance(exit_.code, int) else 0
    except BaseException:  # noqa: BLE001 - whatever it is, it is the finding
        import traceback

        traceback.print_exc()
        return 1
    return 0


def _go(place: str, folder: Path) -> None:
    if place == "gone":
        gone = folder.parent / "gone"
        gone.mkdir(exist_ok=True)
        os.chdir(gone)
        shutil.rmtree(gone)
    else:
        os.chdir(folder if place == "world" else place)


def _set_descriptors(kinds: tuple[str, str, str], err: int) -> None:
    makers: dict[str, Callable[[], int]] = {
        "null": lambda: os.open("/dev/null", os.O_RDWR),
        "full": lambda: os.open("/dev/full", os.O_RDWR),
        "broken": _broken_pipe,
        "text": _text,
        "file": lambda: os.open("std.out", os.O_RDWR | os.O_CREAT),
        "readonly": lambda: os.open("/dev/null", os.O_RDONLY),
        "directory": lambda: os.open("/", os.O_RDONLY),
        "terminal": _terminal,
        "socket": lambda: socket.socketpair()[0].detach(),
        "seen": lambda: err,
    }
    for number, kind in enumerate(kinds):
        if kind == "closed":
            os.close(number)
        else:
            os.dup2(makers[kind](), number)


def _terminal() -> int:
    main, terminal = os.openpty()
    if os.fork() == 0:
        os.close(terminal)
        with contextlib.suppress(OSError):
            while os.read(main, 65536):
                pass
        os._exit(0)
    os.close(main)
    return terminal


def _broken_pipe() -> int:
    reader, writer = os.pipe()
    os.close(reader)
    return writer


def _text() -> int:
    reader, writer = os.pipe()
    os.write(
        writer,
        random.Random(os.getpid()).choice((b"", b"y\n", b'{"a": 1}\n', b"\xff\xfe", b"\n" * 50)),
    )
    os.close(writer)
    return reader


if __name__ == "__main__":
    sys.exit(main())
