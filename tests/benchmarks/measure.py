"""Runs programs in turn and says what each took; knows nothing of databases."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

PROJECT = Path(__file__).resolve().parents[2]
_TIMED = Path(__file__).with_name("timed.py")


@dataclass(frozen=True, slots=True)
class Command:
    """A program to measure."""

    arguments: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    """What is set besides this process's own."""
    output: Path | None = None
    """The file that it writes, or that takes its stdout; removed before each run."""
    stdout: bool = True
    """Whether its stdout goes to `output`; otherwise it writes the file itself."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What a program took: one run, or the medians of several."""

    wall_s: float
    cpu_s: float
    """User and system time of the program itself, not of a server that it asks."""
    peak_bytes: int
    """The most memory that it held (its resident set)."""
    server_s: float = 0.0
    """User and system time of the server meanwhile, where it runs on this machine."""


class FailedError(Exception):
    """A program did not end with 0, or wrote nothing; the text is the first line of its stderr."""


def race(
    commands: Mapping[str, Command],
    runs: int,
    *,
    warm: bool = True,
    meter: Callable[[], float] | None = None,
) -> dict[str, Sample]:
    """Return the medians of each, run in turn: A B C, A B C, after a first round for the caches.

    Raises:
        FailedError: one of them did not end with 0.
    """
    samples: dict[str, list[Sample]] = {name: [] for name in commands}
    for number in range(-1 if warm else 0, runs):
        for name, command in commands.items():
            try:
                sample = run(command, meter=meter)
            except FailedError as error:
                raise FailedError(f"{name}: {error}") from None
            if number >= 0:
                samples[name].append(sample)
    return {name: _medians(some) for name, some in samples.items()}


def run(command: Command, *, meter: Callable[[], float] | None = None) -> Sample:
    """Return what one run took; `meter` returns the CPU seconds that the server has used.

    Raises:
        FailedError: it did not end with 0.
    """
    if command.output is not None:
        command.output.unlink(missing_ok=True)
        # What the one before wrote may still be on its way to the disk.
        os.sync()
    stdout = command.output if command.output is not None and command.stdout else os.devnull
    environment = {**os.environ, "PYTHONPATH": str(PROJECT), **command.environment}
    # Without them a Python program would compile its modules anew each time.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    before = meter() if meter else 0.0
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(_TIMED), str(stdout), *command.arguments],
        capture_output=True, text=True, errors="replace", env=environment, check=False,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    if meter:
        # A server process that has just lost its client counts once it has ended.
        time.sleep(0.2)
    server_s = meter() - before if meter else 0.0
    wrote = True
    if command.output is not None:
        wrote = command.output.exists() and command.output.stat().st_size > 0
        command.output.unlink(missing_ok=True)
    if done.returncode:  # it could not even be started
        raise FailedError((done.stderr.strip().splitlines() or ["no reason given"])[-1])
    report = json.loads(done.stdout)
    if report.pop("code"):
        raise FailedError((done.stderr.strip().splitlines() or ["no reason given"])[0])
    if not wrote:
        raise FailedError("wrote nothing")
    return Sample(**report, server_s=server_s)


def _medians(samples: list[Sample]) -> Sample:
    return Sample(
        statistics.median(sample.wall_s for sample in samples),
        statistics.median(sample.cpu_s for sample in samples),
        int(statistics.median(sample.peak_bytes for sample in samples)),
        statistics.median(sample.server_s for sample in samples),
    )


def server_meter(port: int) -> Callable[[], float] | None:
    """Return what tells the CPU seconds of the server that listens on a port, None if it is not here.

    Of all its processes, those that have ended included.
    """
    pid = _listener(port)
    if pid is None:
        return None

    def used_s() -> float:
        ticks = sum(_times(pid)[1])
        for process in _processes():
            parent, times = _times(process)
            ticks += sum(times[:2]) if parent == pid else 0
        return ticks / os.sysconf("SC_CLK_TCK")

    return used_s


def _times(pid: int) -> tuple[int, list[int]]:
    """Return the parent of a process, and its user and system ticks and its ended children's."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0, [0]
    return int(fields[1]), [*map(int, fields[11:15])]


def _listener(port: int) -> int | None:
    """Return the process that listens on a TCP port of this machine."""
    listens, found = "0A", set()
    for name in ("tcp", "tcp6"):
        try:
            lines = Path(f"/proc/net/{name}").read_text().splitlines()[1:]
        except OSError:
            continue
        for fields in map(str.split, lines):
            if fields[3] == listens and int(fields[1].rpartition(":")[2], 16) == port:
                found.add(f"socket:[{fields[9]}]")
    for process in sorted(_processes()):
        try:
            files = [str(one.readlink()) for one in Path(f"/proc/{process}/fd").iterdir()]
        except OSError:
            continue
        if found.intersection(files):
            return process
    return None


def _processes() -> list[int]:
    folder = Path("/proc")
    if not folder.exists():
        return []
    return [int(one.name) for one in folder.iterdir() if one.name.isdigit()]
