"""Kills commands at random moments and checks that nothing is lost or doubled: not part of the tests.

`python -m tests.kill_campaign KILLS SEED [URL] [--only NAME ...]` kills each of push, delete, import
and export that many times, by default on a SQLite file of its own; URL names an empty database.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import random
import signal
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa

from tests.conftest import clean_environment
from tests.metadata import Metadata
from tests.program import LIBRARIES

if TYPE_CHECKING:
    from collections.abc import Sequence

    Rows = list[tuple[object, ...]]

CHANGES = {
    "push": ["push", "dag", "task_1", '"new"', "--run-id", "run_1", "--replace", "--yes", "--undo-file", "undo"],
    "delete": ["delete", "-d", "dag", "--yes", "--undo-file", "undo", "--batch-size", "5"],
    "import": ["import", "saved", "--replace", "--yes", "--undo-file", "undo", "--batch-size", "5"],
}  # fmt: skip
EXPORT = ["export", "--resume", "-o", "jsonl=out"]
ROWS = 60
_TRIES = 40
"""How often a command is run again, every half second, while a server holds a dead session's locks."""


class CampaignError(Exception):
    """Something was lost or doubled, or a command did not go on."""


@dataclass(frozen=True)
class Campaign:
    """One database, and a folder in which the program runs."""

    home: Path
    metadata: Metadata
    chance: random.Random
    begun: Rows

    def change(self, name: str, kills: int) -> int:
        """Kill a change at work this many times; return how often it was done before the kill."""
        arguments = CHANGES[name]
        began = time.monotonic()
        self.run(*arguments)
        takes_s = time.monotonic() - began
        done = self.contents()
        self.undo(name)
        killed = missed = 0
        while killed < kills:
            met = self.kill(*arguments, within_s=takes_s)
            killed, missed = killed + met, missed + (not met)
            # The same command goes on, or finds nothing left to do.
            if (self.home / "undo.unfinished").exists() or self.contents() != done:
                self.run(*arguments)
            if self.contents() != done:
                raise CampaignError(f"{name}: the same command did not complete it")
            self.undo(name)
        return missed

    def export(self, kills: int) -> int:
        """Kill an export many times, with the same command going on after each; as `change`."""
        self.run("export", "-o", "jsonl=whole")
        whole = sorted((self.home / "whole").read_bytes().splitlines())
        began = time.monotonic()
        self.run(*EXPORT)
        takes_s = time.monotonic() - began
        killed = missed = 0
        while killed < kills:
            (self.home / "out").unlink()
            met = self.kill(*EXPORT, within_s=takes_s)
            killed, missed = killed + met, missed + (not met)
            self.run(*EXPORT)
            if sorted((self.home / "out").read_bytes().splitlines()) != whole:
                raise CampaignError("export: the file is not that of an export in one go")
            if left := [path.name for path in self.home.iterdir() if "partial" in path.name]:
                raise CampaignError(f"export: {left} are left")
        return missed

    def undo(self, name: str) -> None:
        """Take a change back, and compare."""
        if (self.home / "undo").exists():
            self.run("import", "undo", "--replace", "--yes")
        if self.rows() != self.begun:
            raise CampaignError(f"{name}: its undo file does not restore the table")
        for left in ("undo", "undo.unfinished"):
            (self.home / left).unlink(missing_ok=True)

    def rows(self) -> Rows:
        """Return every column of every row."""
        return rows_of(self.metadata)

    def contents(self) -> Rows:
        """Return which task has which value; a push sets the time anew."""
        with self.metadata.engine.begin() as connection:
            found = connection.execute(sa.text("SELECT task_id, value FROM xcom"))
            return sorted((row[0], bytes(row[1])) for row in found)

    def kill(self, *arguments: str, within_s: float) -> bool:
        """Start the program and kill it within a time; return whether it was still at work."""
        pid = self._start(arguments)
        time.sleep(self.chance.uniform(0, within_s))
        os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        return os.WIFSIGNALED(status)

    def run(self, *arguments: str) -> None:
        """Run the program to its end.

        Raises:
            CampaignError: it fails.
        """
        for _ in range(_TRIES):
            _, status = os.waitpid(self._start(arguments), 0)
            code = os.waitstatus_to_exitcode(status)
            if code != 3:
                break
            time.sleep(0.5)
        if code:
            said = (self.home / "stderr").read_text()
            raise CampaignError(f"{' '.join(arguments)}: exit code {code}\n{said}")

    def _start(self, arguments: Sequence[str]) -> int:
        """Start the program, forked from this process, which has its libraries loaded."""
        pid = os.fork()
        if pid == 0:
            try:
                _be_program([*arguments, "--url", self.metadata.url], self.home)
            finally:
                os._exit(99)
        return pid


def _be_program(arguments: list[str], home: Path) -> None:
    """Run the program. Does not return."""
    os.chdir(home)
    os.environ.clear()
    os.environ.update(clean_environment(home))
    for number, name in enumerate(("/dev/null", "stdout", "stderr")):
        os.dup2(os.open(name, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600), number)
    from xcomctl.cli import main, partial_file

    # After every row, so that most kills meet one of these moments.
    partial_file._SAVE_EVERY_S = 0
    code = main(arguments)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def rows_of(metadata: Metadata) -> Rows:
    """Return every column of every row of xcom."""
    with metadata.engine.begin() as connection:
        found = connection.execute(sa.text("SELECT * FROM xcom"))
        return sorted(
            tuple(bytes(one) if isinstance(one, memoryview) else one for one in row)
            for row in found
        )


def fill(metadata: Metadata, home: Path) -> None:
    """Make the rows, and a file that import replaces all of them by."""
    for number in range(ROWS):
        metadata.instance("dag", f"task_{number}", "run_1")
        metadata.add(b'"%d"' % number, task_id=f"task_{number}")
    Campaign(home, metadata, random.Random(0), []).run("export", "-o", "jsonl=exported")
    lines = (home / "exported").read_bytes()
    (home / "saved").write_bytes(lines.replace(b'"value": "', b'"value": "x'))


def main() -> None:
    """Run the campaign, and print how many kills met each command at work."""
    parser = argparse.ArgumentParser(prog="python -m tests.kill_campaign")
    parser.add_argument("kills", type=int)
    parser.add_argument("seed", type=int)
    parser.add_argument("url", nargs="?")
    parser.add_argument("--only", nargs="+", choices=[*CHANGES, "export"])
    asked = parser.parse_args()
    for library in (*LIBRARIES, "xcomctl.cli", "xcomctl.cli.options", "xcomctl.db"):
        with contextlib.suppress(ImportError):
            importlib.import_module(library)
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        metadata = Metadata(asked.url or str(home / "a.db"), with_instances=True)
        fill(metadata, home)
        campaign = Campaign(home, metadata, random.Random(asked.seed), rows_of(metadata))
        for name in asked.only or [*CHANGES, "export"]:
            if name == "export":
                missed = campaign.export(asked.kills)
            else:
                missed = campaign.change(name, asked.kills)
            print(
                f"{metadata.backend} {name}: killed at work {asked.kills} times, and {missed} times"
                " too late; nothing lost, nothing doubled",
                flush=True,
            )


if __name__ == "__main__":
    main()
