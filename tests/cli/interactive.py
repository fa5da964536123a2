"""A shell at a pseudo-terminal, to which a test types."""

from __future__ import annotations

import contextlib
import os
import pty
import select
import signal
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.left_out import need_program

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

SHELLS = ("bash", "zsh", "fish")

_SHOW = {
    "bash": """show() { printf '%s\\0' "$@" > words; mv words shown; }""",
    "zsh": """show() { printf '%s\\0' "$@" > words; mv words shown; }""",
    "fish": """function show; printf '%s\\0' $argv > words; mv words shown; end""",
}
"""Leaves its arguments in a file."""
_STARTUP = {"bash": ".bashrc", "zsh": ".zshrc", "fish": ".config/fish/config.fish"}
_WAIT_S = 60


class Session:
    """An interactive shell, started in a directory of its own."""

    def __init__(self, terminal: int, directory: Path) -> None:
        self._terminal = terminal
        self._shown = directory / "shown"
        self.output = b""

    def words(self, typed: str) -> list[str]:
        """Return the words of a command line that is typed so, with tabs for completion."""
        # Ctrl-A leads to the start of the line, where a command that shows its arguments is put.
        os.write(self._terminal, f"{typed}\x01show \n".encode())
        end = time.monotonic() + _WAIT_S
        while not self._shown.exists():
            assert time.monotonic() < end, f"nothing came of {typed!r} but {self.output!r}"
            self._read()
        words = self._shown.read_bytes().decode().split("\0")[:-1]
        self._shown.unlink()
        return words

    def see(self, typed: str, wanted: str) -> None:
        """Type something, and wait until the terminal shows a text."""
        self.output = b""
        os.write(self._terminal, typed.encode())
        end = time.monotonic() + _WAIT_S
        while wanted.encode() not in self.output:
            assert time.monotonic() < end, f"no {wanted!r} in {self.output!r}"
            self._read()

    def _read(self) -> None:
        if select.select([self._terminal], [], [], 0.02)[0]:
            self.output += os.read(self._terminal, 65536)


def program(directory: Path) -> Path:
    """Return a directory with a program `xcomctl`, to be put into PATH."""
    bin_ = directory / "bin"
    bin_.mkdir()
    script = bin_ / "xcomctl"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m xcomctl "$@"\n', encoding="utf-8")
    script.chmod(0o755)
    return bin_


@contextmanager
def started(shell: str, home: Path, directory: Path, env: Mapping[str, str]) -> Iterator[Session]:
    """Start a shell with what its startup files in `home` say, and end it afterwards."""
    need_program(shell)
    startup = home / _STARTUP[shell]
    startup.parent.mkdir(parents=True, exist_ok=True)
    with startup.open("a", encoding="utf-8") as file:
        file.write(f"{_SHOW[shell]}\n")
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(directory)
        os.execvpe(shell, [shell, "-i"], {**env, "HOME": str(home), "TERM": "xterm"})
    try:
        session = Session(terminal, directory)
        assert session.words("ready") == ["ready"]
        yield session
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(terminal)
