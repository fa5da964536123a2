"""Tables for people: aligned plain text, fitted to the width of a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xcomctl.formats.cells import Cells

if TYPE_CHECKING:
    from collections.abc import Sequence

    from xcomctl.formats import Column, Destination, Layout, Row, Writer

_BATCH = 500
"""Rows that are aligned together. Later batches are streamed."""

_RIGHT = ("number", "size", "exact", "percent")


def writer(name: str, layout: Layout, destination: Destination) -> Writer:
    """Return a writer of `table`."""
    return Table(layout, destination)


class Table:
    """Writes rows under a header, a batch at a time."""

    def __init__(self, layout: Layout, destination: Destination) -> None:
        self._layout = layout
        self._paper = destination
        self._columns = layout.people_columns()
        self._cells = Cells(self._columns)
        self._batch: list[Row] = []
        self._widths = [0] * len(self._columns)
        self._header = layout.header

    def row(self, row: Row) -> None:
        self._batch.append(row)
        if len(self._batch) >= _BATCH:
            self._flush()

    def end(self) -> None:
        # An empty table has no header either.
        if self._batch:
            self._flush()
        for line in self._layout.closing():
            self._paper.out.write(f"{line}\n")

    def _flush(self) -> None:
        rows, self._batch = self._batch, []
        texts = self._cells.texts(rows)
        if self._paper.terminal or self._paper.color:
            self._write_fitted(rows, texts)
        else:
            self._write_plain(texts)
        self._header = False

    def _write_plain(self, texts: list[list[str]]) -> None:
        lines = [[column.heading for column in self._columns], *texts] if self._header else texts
        self._widths = [
            max(width, *(cell_width(line[index]) for line in lines))
            for index, width in enumerate(self._widths)
        ]
        for line in lines:
            cells = [
                _pad(text, width, right=column.kind in _RIGHT)
                for text, width, column in zip(line, self._widths, self._columns, strict=True)
            ]
            self._paper.out.write("  ".join(cells).rstrip() + "\n")

    def _write_fitted(self, rows: Sequence[Row], texts: list[list[str]]) -> None:
        from rich.console import Console
        from rich.table import Table as RichTable
        from rich.text import Text

        table = RichTable(
            box=None, pad_edge=False, show_header=self._header, header_style="bold", padding=(0, 1)
        )
        for column in self._columns:
            right = column.kind in _RIGHT
            table.add_column(
                Text(column.heading),
                justify="right" if right else "left",
                overflow="fold",
                no_wrap=right or column.kind == "time",
            )
        for row, line in zip(rows, texts, strict=True):
            table.add_row(
                *(
                    Text(text, style=_style(row, column))
                    for text, column in zip(line, self._columns, strict=True)
                )
            )
        console = Console(
            file=self._paper.out,
            width=self._paper.width or 10_000,
            force_terminal=self._paper.color,
            no_color=not self._paper.color,
            color_system="standard" if self._paper.color else None,
            highlight=False,
            markup=False,
            emoji=False,
            legacy_windows=False,
        )
        console.print(table)


def _style(row: Row, column: Column) -> str:
    if column.name == "severity":
        return {"error": "bold red", "warning": "yellow", "note": "cyan"}.get(
            str(row.get("severity")), ""
        )
    percent = row.get(column.name) if column.kind == "percent" else None
    if isinstance(percent, int | float):
        return "bold red" if percent > 100 else "yellow" if percent >= 80 else ""
    return ""


def cell_width(text: str) -> int:
    """Return how many columns of a terminal the text occupies."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def _pad(text: str, width: int, *, right: bool) -> str:
    space = " " * (width - cell_width(text))
    return space + text if right else text + space
