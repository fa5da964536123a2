"""`xcomctl export`: entries with their values, streamed."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from xcomctl.cli.console import parse_outputs
from xcomctl.cli.options import Connection, Filters, Manners
from xcomctl.errors import UsageError
from xcomctl.model import Size

if TYPE_CHECKING:
    from xcomctl.cli.console import Console
    from xcomctl.transfer import Lines

FORMATS = {"jsonl": "transfer", "csv": "transfer", "parquet": "arrow"}
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
            help="jsonl, csv or parquet; without a file to stdout. [default: jsonl]",
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
    selection = filters.selection()
    form = _form(name, to_terminal=path is None and console.terminal)
    target, _ = connection.resolve(console)

    from xcomctl.db import open_store

    with (
        open_store(target) as store,
        console.sink(Path(path) if path else None) as write,
        form(write, store.schema.storage, strict=store.holds_strict_json) as lines,
    ):
        if console.shows_progress:
            lines.watch = _Progress(console, lines, store.count(selection)).show
        store.pour(selection, lines.take)
    console.progress("")
    noun = "XCom" if lines.rows == 1 else "XComs"
    console.note(f"exported {lines.rows:,} {noun} of {Size(lines.bytes)}")


def _form(name: str, *, to_terminal: bool) -> type[Lines]:
    """Return what writes a format.

    Raises:
        UsageError: it takes pyarrow, which is not there, or is nothing for a terminal.
    """
    if name == "parquet":
        from xcomctl import arrow

        if to_terminal:
            raise UsageError(
                "cannot write Parquet to a terminal", hint="Say -o parquet=FILE, or pipe it."
            )
        arrow.need_pyarrow()
        return arrow.ParquetRows
    from xcomctl import transfer

    return transfer.CsvLines if name == "csv" else transfer.JsonLines


class _Progress:
    """Says now and then how far it is, how fast, and how long it will take."""

    def __init__(self, console: Console, lines: Lines, expected: int) -> None:
        self._console = console
        self._lines = lines
        self._expected = expected
        self._started = self._said = time.monotonic()

    def show(self) -> None:
        now = time.monotonic()
        if now - self._said < _SAY_EVERY_S:
            return
        self._said = now
        spent, lines = now - self._started, self._lines
        left = spent / max(1, lines.rows) * max(0, self._expected - lines.rows)
        self._console.progress(
            f"{lines.rows:,} of {self._expected:,} XComs, {Size(lines.bytes)}, "
            f"{Size(int(lines.bytes / spent))} a second, {left:.0f} s left"
        )
