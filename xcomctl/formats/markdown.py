"""A Markdown table, for job summaries and comments."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from xcomctl.formats.cells import RIGHT, Cells

if TYPE_CHECKING:
    from xcomctl.formats import Destination, Layout, Row, Writer

_BATCH = 500
_ACTIVE = re.compile(r"[\\`*_{}\[\]<>()#+!|~&$@:-]")
"""Characters with a meaning in some Markdown: links, HTML, mentions, tables."""


_ENTITY_BY_CHAR = {"<": "&lt;", ">": "&gt;", "&": "&amp;"}


def writer(name: str, layout: Layout, destination: Destination) -> Writer:
    """Return a writer of `markdown`."""
    return Markdown(layout, destination)


class Markdown:
    """Writes a pipe table, a batch of rows at a time."""

    def __init__(self, layout: Layout, destination: Destination) -> None:
        self._layout = layout
        self._out = destination.out
        self._columns = layout.people_columns()
        self._cells = Cells(self._columns)
        self._batch: list[Row] = []
        self._written = self._opened = False

    def row(self, row: Row) -> None:
        self._batch.append(row)
        streams = self._layout.digest is None and not self._layout.fold
        if len(self._batch) >= _BATCH and streams:
            self._flush()

    def end(self) -> None:
        if self._layout.digest is not None:
            self._batch = list(self._layout.digest(self._batch))
        self._write_opening()
        closing = "\n\n".join(map(inert, self._layout.closing()))
        if self._layout.fold:
            self._write_folded(closing)
            return
        if self._batch:
            self._flush()
        if closing:
            self._out.write(("\n" if self._written else "") + closing + "\n")

    def _write_folded(self, closing: str) -> None:
        """Write the closing lines, the first rows, and the others in a block that can be opened.

        https://docs.github.com/en/get-started/writing-on-github/working-with-advanced-formatting/organizing-information-with-collapsed-sections
        """
        self._out.write(f"{closing}\n" if closing else "")
        fold, rows = self._layout.fold, self._batch
        # One row more is shorter than the block around it.
        parts = (rows[:fold], rows[fold:]) if len(rows) > fold + 1 else (rows, [])
        for part, folded in zip(parts, (False, True), strict=True):
            if part:
                self._out.write(
                    f"\n<details><summary>{len(part):,} more</summary>\n\n" if folded else "\n"
                )
                self._batch, self._written = list(part), False
                self._flush()
                self._out.write("\n</details>\n" if folded else "")

    def _write_opening(self) -> None:
        """Write the lines above the rows, once."""
        for line in [] if self._opened else self._layout.opening():
            self._out.write(f"{inert(line)}\n\n")
        self._opened = True

    def _flush(self) -> None:
        self._write_opening()
        rows, self._batch = self._batch, []
        if not self._written and self._layout.header:
            headings = [inert(column.heading) for column in self._columns]
            rules = ["---:" if column.kind in RIGHT else "---" for column in self._columns]
            self._out.write(f"| {' | '.join(headings)} |\n| {' | '.join(rules)} |\n")
        self._written = True
        for line in self._cells.by_row(rows):
            self._out.write(f"| {' | '.join(map(inert, line))} |\n")


def inert(text: str) -> str:
    """Return the text escaped, so that Markdown shows it literally."""
    # Within a word `_`, `:` and `-` have no meaning, and read better without a backslash.
    return re.sub(r"(?<=\w)\\([_:-])(?=\w)", r"\1", _ACTIVE.sub(_escaped, text))


def _escaped(match: re.Match[str]) -> str:
    return _ENTITY_BY_CHAR.get(match[0], f"\\{match[0]}")
