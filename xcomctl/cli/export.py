"""`xcomctl export`: entries with their values, streamed."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from xcomctl.cli.console import parse_outputs
from xcomctl.cli.options import Connection, Filters, Manners
from xcomctl.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from xcomctl.cli.console import Console
    from xcomctl.model import Raw, XComEntry
    from xcomctl.transfer import Form

FORMATS = {"jsonl": "transfer", "csv": "transfer"}
_SAY_EVERY_S = 1.0


def command(
    connection: Connection,
    filters: Filters,
    manners: Manners,
    output: Annotated[
        list[str] | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FORMAT[=FILE]",
            help="jsonl or csv; without a file to stdout. [default: jsonl]",
        ),
    ] = None,
) -> None:
    """Write the entries that match the filters with their values, as they are stored."""
    from pathlib import Path

    from xcomctl.cli import console

    manners.apply(console)
    outputs = parse_outputs(output or ["jsonl"], FORMATS)
    if len(outputs) > 1:
        raise UsageError("export writes one format at a time", hint="Give one -o FORMAT[=FILE].")
    ((name, path),) = outputs
    form: Form = "csv" if name == "csv" else "jsonl"
    selection = filters.selection()
    target, _ = connection.resolve(console)

    from xcomctl import transfer
    from xcomctl.db import open_store

    with open_store(target) as store:
        watched = _Watched(console, store.count(selection) if console.shows_progress else None)
        entries = watched.passing(store.scan_values(selection))
        pieces = transfer.lines(entries, store.schema.storage, form)
        if path is None:
            console.data(pieces)
        else:
            console.save(Path(path), pieces)
    watched.end()


class _Watched:
    """Counts what passes, and says how far it is."""

    def __init__(self, console: Console, expected: int | None) -> None:
        self._console = console
        self._expected = expected
        self._started = self._said = time.monotonic()
        self.rows = self.bytes = 0

    def passing(self, entries: Iterable[tuple[XComEntry, Raw]]) -> Iterator[tuple[XComEntry, Raw]]:
        for one in entries:
            self.rows += 1
            self.bytes += one[0].size or 0
            yield one
            if self._expected is not None and time.monotonic() - self._said > _SAY_EVERY_S:
                self._say(self._expected)

    def _say(self, expected: int) -> None:
        from xcomctl.model import Size

        self._said = time.monotonic()
        spent = self._said - self._started
        left = spent / self.rows * max(0, expected - self.rows)
        self._console.progress(
            f"{self.rows:,} of {expected:,} XComs, {Size(self.bytes)}, "
            f"{Size(int(self.bytes / spent))} a second, {left:.0f} s left"
        )

    def end(self) -> None:
        from xcomctl.model import Size

        self._console.progress("")
        noun = "XCom" if self.rows == 1 else "XComs"
        self._console.note(f"exported {self.rows:,} {noun} of {Size(self.bytes)}")
