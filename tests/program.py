"""The program as a process of its own, forked from one that has loaded its libraries.

Most of a short run is the loading of libraries, which is tested where it matters; here it would
be paid some thousands of times. Nothing of xcomctl is loaded beforehand.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import json
import multiprocessing
import os
import shlex
import struct
import subprocess
import sys
import termios
import threading
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

LIBRARIES = [
    "typer", "rich.console", "rich.table", "sqlalchemy", "sqlalchemy.dialects.sqlite",
    "sqlalchemy.dialects.postgresql", "sqlalchemy.dialects.mysql", "psycopg2", "pymysql",
    "msgspec", "pydantic",
]  # fmt: skip

_READ_BY_THE_INTERPRETER = ("PYTHON", "LC_", "LANG")
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload([*LIBRARIES, __name__])


@dataclass(frozen=True)
class Done:
    """What a run of the program left."""

    code: int
    stdout: bytes
    stderr: bytes

    @property
    def out(self) -> str:
        return self.stdout.decode("utf-8")

    @property
    def err(self) -> str:
        return self.stderr.decode("utf-8")

    def json(self) -> Any:
        """Return stdout as JSON, of a run that must have succeeded."""
        assert self.code == 0, self.err
        return json.loads(self.stdout)


def execute(
    arguments: list[str], *, env: Mapping[str, str], stdin: bytes, cwd: Path, timeout: float
) -> Done:
    """Run the program to its end.

    Raises:
        subprocess.TimeoutExpired: it took longer than `timeout` seconds, and was killed.
    """
    # An interpreter that runs already would not heed what is different of these.
    if any(
        os.environ.get(name) != env.get(name)
        for name in {*os.environ, *env}
        if name.startswith(_READ_BY_THE_INTERPRETER)
    ):
        return _executed_anew(arguments, env=env, stdin=stdin, cwd=cwd, timeout=timeout)
    theirs: list[Connection] = []
    ours: list[Connection] = []
    for reads in (True, False, False):
        reader, writer = _context.Pipe(duplex=False)
        theirs.append(reader if reads else writer)
        ours.append(writer if reads else reader)
    process = _context.Process(target=_be_program, args=(arguments, dict(env), str(cwd), theirs))
    process.start()
    for end in theirs:
        end.close()
    left: list[bytes] = [b"", b""]

    def receive(which: int) -> None:
        with open(ours[which + 1].fileno(), "rb", closefd=False) as file:
            left[which] = file.read()

    threads = [threading.Thread(target=receive, args=(which,), daemon=True) for which in (0, 1)]
    threads.append(threading.Thread(target=_send, args=(ours[0], stdin), daemon=True))
    for thread in threads:
        thread.start()
    end_s = time.monotonic() + timeout
    process.join(timeout)
    if process.exitcode is None:
        process.kill()
        process.join()
        raise subprocess.TimeoutExpired(arguments, timeout)
    for thread in threads:
        thread.join(max(0, end_s - time.monotonic()) + 1)
    for end in ours[1:]:
        end.close()
    return Done(process.exitcode, *left)


def at_terminal(
    *commands: Sequence[str],
    width: int,
    env: Mapping[str, str],
    cwd: Path,
    stdout: Path | None = None,
    prepare: Callable[[], None] | None = None,
    timeout: float = 120,
) -> str:
    """Return what a terminal of that width shows of the program run with each of the arguments.

    Prompts and exit codes other than 0 stand between several runs.

    Args:
        stdout: a file that stdout goes to instead.
        prepare: a function of a module that is called in the process first.

    Raises:
        subprocess.TimeoutExpired: they took longer than `timeout` seconds, and were killed.
    """
    main, end = os.openpty()
    fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("HHHH", 50, width, 0, 0))
    streams = [Connection(os.dup(end)) for _ in range(3)]
    if stdout is not None:
        streams[1] = Connection(os.open(stdout, os.O_WRONLY | os.O_CREAT | os.O_TRUNC))
    os.close(end)
    process = _context.Process(
        target=_be_session, args=(commands, dict(env), str(cwd), streams, prepare)
    )
    process.start()
    for stream in streams:
        stream.close()
    shown = bytearray()

    def receive() -> None:
        # Linux reports the end of a terminal as an error.
        with contextlib.suppress(OSError):
            while data := os.read(main, 65_536):
                shown.extend(data)

    thread = threading.Thread(target=receive, daemon=True)
    thread.start()
    process.join(timeout)
    if process.exitcode is None:
        process.kill()
        process.join()
        raise subprocess.TimeoutExpired(["xcomctl"], timeout)
    thread.join(5)
    os.close(main)
    return shown.decode("utf-8").replace("\r\n", "\n")


def _send(to: Connection, data: bytes) -> None:
    try:
        with open(to.fileno(), "wb", closefd=False) as file:
            file.write(data)
    except BrokenPipeError:
        pass
    finally:
        to.close()


def _be_program(
    arguments: Sequence[str], env: Mapping[str, str], cwd: str, streams: list[Connection]
) -> None:
    _take_over(env, cwd, streams)
    _run(arguments)


def _be_session(
    commands: Sequence[Sequence[str]],
    env: Mapping[str, str],
    cwd: str,
    streams: list[Connection],
    prepare: Callable[[], None] | None,
) -> None:
    _take_over(env, cwd, streams)
    if prepare is not None:
        prepare()
    if len(commands) == 1:
        _run(commands[0])
    for arguments in commands:
        print(f"$ {shlex.join(['xcomctl', *arguments])}", flush=True)
        try:
            _run(arguments)
        except SystemExit as end:
            print(f"(exit code {end.code})\n" if end.code else "", flush=True)


def _take_over(env: Mapping[str, str], cwd: str, streams: list[Connection]) -> None:
    """Become a process with these variables, this folder and these streams."""
    os.environ.clear()
    os.environ.update(env)
    time.tzset()
    os.chdir(cwd)
    encoding, errors = sys.stdout.encoding, sys.stdout.errors
    for number, stream in enumerate(streams):
        os.dup2(stream.fileno(), number)
        stream.close()
    sys.stdin = io.TextIOWrapper(io.BufferedReader(io.FileIO(0, closefd=False)), encoding, errors)
    out, err = (io.BufferedWriter(io.FileIO(fd, "w", closefd=False)) for fd in (1, 2))
    sys.stdout = io.TextIOWrapper(out, encoding, errors)
    sys.stderr = io.TextIOWrapper(err, encoding, "backslashreplace", line_buffering=True)


def _run(arguments: Sequence[str]) -> None:
    """Run the program; raises SystemExit."""
    sys.argv = ["xcomctl", *arguments]
    from xcomctl.__main__ import main

    main()


def _executed_anew(
    arguments: list[str], *, env: Mapping[str, str], stdin: bytes, cwd: Path, timeout: float
) -> Done:
    done = subprocess.run(
        [sys.executable, "-m", "xcomctl", *arguments],
        input=stdin, capture_output=True, env=env, cwd=cwd, timeout=timeout, check=False,
    )  # fmt: skip
    return Done(done.returncode, done.stdout, done.stderr)
