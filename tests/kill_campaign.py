"""Kills changes at random moments and checks that nothing is lost or doubled: not part of the tests.

`python -m tests.kill_campaign 50 SEED [URL]` kills each of push, delete and import 50 times, by
default on a SQLite file of its own; URL names an empty database.
"""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.conftest import clean_environment
from tests.metadata import Metadata

COMMAND = [sys.executable, "-m", "xcomctl"]
CHANGES = {
    "push": ["push", "dag", "task_1", '"new"', "--replace", "--yes", "--undo-file", "undo"],
    "delete": ["delete", "-d", "dag", "--yes", "--undo-file", "undo", "--batch-size", "5"],
    "import": ["import", "saved", "--replace", "--yes", "--undo-file", "undo", "--batch-size", "5"],
}
ROWS = 60


def main() -> None:
    """Run the campaign, and print how many kills met a change at work."""
    kills, seed = int(sys.argv[1]), int(sys.argv[2])
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        metadata = Metadata(sys.argv[3] if len(sys.argv) > 3 else str(home / "a.db"), with_instances=True)  # fmt: skip
        for number in range(ROWS):
            metadata.instance("dag", f"task_{number}", "run_1")
            metadata.add(b'"%d"' % number, task_id=f"task_{number}")
        (home / "saved").write_bytes(
            b"".join(line.replace(b'"value": "', b'"value": "x') for line in export(home, metadata))
        )
        before = sorted(export(home, metadata))
        for name, change in CHANGES.items():
            killed = sum(one(home, metadata, change, before, chance) for _ in range(kills))
            print(
                f"{name}: {killed} of {kills} kills met it at work; nothing lost, nothing doubled"
            )


def one(home: Path, metadata: Metadata, change: list[str], before: list[bytes], chance: random.Random) -> bool:  # fmt: skip
    """Kill a change once, let the same command go on, undo it, and compare."""
    process = start(home, metadata, *change)
    time.sleep(chance.uniform(0.1, 1.2))
    process.send_signal(signal.SIGKILL)
    killed = process.wait() == -signal.SIGKILL
    if killed:
        run(home, metadata, *change)
    run(home, metadata, "import", "undo", "--replace", "--yes")
    assert sorted(export(home, metadata)) == before
    for name in ("undo", "undo.unfinished"):
        (home / name).unlink(missing_ok=True)
    return killed


def start(home: Path, metadata: Metadata, *arguments: str) -> subprocess.Popen[bytes]:
    """Start the program."""
    return subprocess.Popen(
        [*COMMAND, *arguments, "--url", metadata.url], cwd=home, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env=clean_environment(home) | {"PYTHONPATH": str(Path.cwd())},
    )  # fmt: skip


def run(home: Path, metadata: Metadata, *arguments: str) -> bytes:
    """Return what the program writes; where a server still holds locks, try again."""
    for _ in range(20):
        process = start(home, metadata, *arguments)
        out, said = process.communicate()
        if process.returncode != 3:
            break
        time.sleep(0.5)
    assert process.returncode == 0, said.decode()
    return out


def export(home: Path, metadata: Metadata) -> list[bytes]:
    """Return the lines of an export."""
    return run(home, metadata, "export", "-q").splitlines(keepends=True)


if __name__ == "__main__":
    main()
