"""Tables for people: a row is one line, fitted to the width of a terminal."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final, TextIO

from xcomctl.formats.cells import ABSENT, RIGHT, Cells
from xcomctl.formats.fit import GAP, Need, fit
from xcomctl.formats.width import (
    ELLIPSIS,
    cell_width,
    pad,
    shorten_column,
    shorten_end,
    shorten_runs,
    shorten_start,
    widest,
    wrap,
)
from xcomctl.text import styled, visible

if TYPE_CHECKING:
    from collections.abc import Sequence

    from xcomctl.formats import Column, Destination, Kind, Layout, Row, Writer

_BATCH: Final = 500
"""Rows that are aligned together. Later batches are streamed."""

_WIDEST: Final[dict[Kind, int]] = {"id": 64, "run": 64, "text": 200}
"""The widths at which cells are cut, wherever the table goes."""

_CARDS_BELOW: Final = 60
"""Columns of a terminal below which an entry takes several lines."""

_FEWEST_IN_CARD: Final = 4
"""Narrower tables, such as names and values, stay tables."""

_LONG: Final = frozenset({"id", "run", "text", "word"})
"""Kinds that have a line of their own on a card."""


def writer(name: str, layout: Layout, destination: Destination) -> Writer:
    """Return a writer of `table` or `plain`."""
    return Plain(layout, destination) if name == "plain" else Table(layout, destination)


class Plain:
    """Writes aligned columns, as Airflow's `-o plain` does: no cell is cut, no line is added."""

    def __init__(self, layout: Layout, destination: Destination) -> None:
        self._layout = layout
        self._out = destination.out
        self._columns = layout.people_columns()
        self._cells = Cells(self._columns)
        self._rows: list[Row] = []
        self._widths = [0] * len(self._columns)
        self._header = layout.header

    def row(self, row: Row) -> None:
        self._rows.append(row)
        if len(self._rows) >= (1 if self._layout.live else _BATCH) and not self._layout.digest:
            self._flush()

    def end(self) -> None:
        if self._layout.digest is not None:
            self._rows = list(self._layout.digest(self._rows))
        self._flush()

    def _flush(self) -> None:
        rows, self._rows = self._rows, []
        if not rows:
            return
        texts = self._cells.by_column(rows)
        if self._header:
            texts = [[one.heading, *cells] for one, cells in zip(self._columns, texts, strict=True)]
            self._header = False
        for index, (column, cells) in enumerate(zip(self._columns, texts, strict=True)):
            # A wider cell is still whole, but does not push the other rows apart.
            most = min(widest(cells), _WIDEST.get(column.kind, 200))
            self._widths[index] = width = max(self._widths[index], most)
            texts[index] = [pad(cell, width, right=column.kind in RIGHT) for cell in cells]
        for line in zip(*texts, strict=True):
            self._out.write((" " * GAP).join(line).rstrip() + "\n")


class Table:
    """Writes rows under a header, a batch at a time, and cards where there is no room for rows."""

    def __init__(self, layout: Layout, destination: Destination) -> None:
        self._layout = layout
        self._destination = destination
        self._group_by = "" if layout.chosen else layout.group_by
        self._cells = Cells([one for one in layout.people_columns() if one.name != self._group_by])
        self._rows: list[Row] = []
        self._needs = [
            Need(one, cell_width(one.heading) if layout.header else 0, usual=True, absent=True)
            for one in self._cells.columns
        ]
        # Terminals of old have no ellipsis, and would show an escape of six characters.
        self._ellipsis = ELLIPSIS if _can_encode(ELLIPSIS, destination.out) else "~"
        self._shown: list[str] = []
        self._group: object = None
        self._opened = False
        self._cut = False
        """Whether a text was shortened or dropped."""

    def row(self, row: Row) -> None:
        self._rows.append(row)
        if len(self._rows) >= (1 if self._layout.live else _BATCH) and not self._layout.digest:
            self._flush()

    def end(self) -> None:
        if self._layout.digest is not None:
            self._rows = list(self._layout.digest(self._rows))
        self._flush()
        legend = self._layout.legend() if self._cut and not self._layout.chosen else ()
        if legend:
            self._write("")
            for line in legend:
                for part in wrap(visible(line), self._destination.width or 10_000, indent=" " * 4):
                    self._write(part, indented=False)
        closing = self._layout.closing()
        if closing and self._shown:
            self._write("")
        for line in closing:
            for part in wrap(visible(line), self._destination.width or 10_000):
                self._write(self._verdict(part), indented=False)

    def _write_opening(self) -> None:
        """Write the lines above the rows, once."""
        opening = [] if self._opened else self._layout.opening()
        self._opened = True
        for line in opening:
            for part in wrap(visible(line), self._destination.width or 10_000):
                self._write(part, indented=False)
        if opening:
            self._write("")

    def _write(self, line: str, *, indented: bool = True) -> None:
        indent = self._indent if indented else ""
        text = f"{indent}{line}".rstrip()
        self._destination.out.write(text.replace(ELLIPSIS, self._ellipsis) + "\n")

    @property
    def _indent(self) -> str:
        return " " * GAP if self._group_by else ""

    @property
    def _room(self) -> int:
        """Return the columns that a line may have behind the indent."""
        return (self._destination.width or 10_000) - len(self._indent)

    def _flush(self) -> None:
        rows, self._rows = self._rows, []
        self._write_opening()
        # An empty table has no header either.
        if not rows:
            return
        columns = self._cells.columns
        texts = [
            _shortened(column, cells, _WIDEST.get(column.kind))
            for column, cells in zip(columns, self._cells.by_column(rows), strict=True)
        ]
        self._needs = [
            Need(
                need.column,
                max(need.width, widest(cells)),
                usual=need.usual and all(_is_usual(row, need.column) for row in rows),
                absent=need.absent and all(row.get(need.column.name) is None for row in rows),
            )
            for need, cells in zip(self._needs, texts, strict=True)
        ]
        widths = self._widths(texts)
        if widths is None:
            self._write_cards(rows, texts)
        else:
            self._write_rows(rows, texts, widths)

    def _widths(self, texts: Sequence[Sequence[str]]) -> dict[str, int] | None:
        """Return the widths of the columns that are shown, by name; None for cards."""
        terminal = self._destination.width
        if terminal is None:
            return {one.column.name: one.width for one in self._needs}
        droppable = not self._layout.chosen
        needs = [one for one in self._needs if not (droppable and one.absent and one.column.drop)]
        natural = {one.column.name: one.width for one in needs}
        if sum(natural.values()) + GAP * (len(natural) - 1) <= self._room:
            return natural
        if terminal < _CARDS_BELOW and len(natural) >= _FEWEST_IN_CARD:
            return None
        widths = self._fitted(needs, texts)
        if widths is None or not droppable or self._layout.legend is tuple:
            return widths
        # What the legend says need not be cut here.
        if all(widths.get(one.column.name) == one.width for one in needs if _is_text(one)):
            return widths
        return self._fitted([one for one in needs if not _is_text(one)], texts)

    def _fitted(
        self, needs: Sequence[Need], texts: Sequence[Sequence[str]]
    ) -> dict[str, int] | None:
        """Return the widths of the columns that fit the terminal, by name; None for none."""
        droppable = not self._layout.chosen
        widths = fit(needs, self._room, droppable=droppable)
        if widths is None:
            return None
        # Runs are cut behind a date, which may leave room for others.
        cut = {
            one.name: widest(_shortened(one, cells, widths[one.name]))
            for one, cells in zip(self._cells.columns, texts, strict=True)
            if one.kind == "run" and one.name in widths
        }
        needs = [replace(one, width=cut.get(one.column.name, one.width)) for one in needs]
        return fit(needs, self._room, droppable=droppable)

    def _write_rows(
        self, rows: Sequence[Row], texts: Sequence[Sequence[str]], widths: dict[str, int]
    ) -> None:
        shown = [
            (column, widths[column.name], _shortened(column, cells, widths[column.name]))
            for column, cells in zip(self._cells.columns, texts, strict=True)
            if column.name in widths
        ]
        whole = {column.name: list(cells) for column, _, cells in shown}
        self._cut = self._cut or any(
            column.kind == "text" and list(cells) != whole.get(column.name)
            for column, cells in zip(self._cells.columns, texts, strict=True)
        )
        changed = list(widths) != self._shown
        self._shown = list(widths)
        if self._layout.header and changed:
            cells = [
                pad(shorten_end(column.heading, width), width, right=column.kind in RIGHT)
                for column, width, _ in shown
            ]
            self._write(self._styled((" " * GAP).join(cells).rstrip(), "heading"))
        for index, row in enumerate(rows):
            self._write_group(row)
            line = (
                self._styled(
                    pad(cells[index], width, right=column.kind in RIGHT), _style(row, column)
                )
                for column, width, cells in shown
            )
            self._write((" " * GAP).join(line))

    def _write_cards(self, rows: Sequence[Row], texts: Sequence[Sequence[str]]) -> None:
        """Write each row as a few lines: texts below each other, then the short columns."""
        for index, row in enumerate(rows):
            if self._shown:
                self._write("")
            self._shown = ["card"]
            self._write_group(row)
            card = [
                (column, cells[index])
                for column, cells in zip(self._cells.columns, texts, strict=True)
                if cells[index] != ABSENT and column.kind != "bar" and not _is_usual(row, column)
            ]
            self._write_long(row, [one for one in card if one[0].kind in _LONG])
            self._write_short(row, [one for one in card if one[0].kind not in _LONG])

    def _write_long(self, row: Row, card: Sequence[tuple[Column, str]]) -> None:
        label = widest(column.heading for column, _ in card)
        room = max(self._room - label - GAP, 10)
        for column, text in card:
            lines = wrap(text, room) if column.kind == "text" else _shortened(column, [text], room)
            heading = self._styled(pad(column.heading, label), "heading")
            for line in lines:
                self._write(f"{heading}  {self._styled(line, _style(row, column))}")
                heading = " " * label

    def _write_short(self, row: Row, card: Sequence[tuple[Column, str]]) -> None:
        line, taken = "", 0
        for column, text in card:
            width = cell_width(column.heading) + 1 + cell_width(text)
            if line and taken + GAP + width > self._room:
                self._write(line)
                line, taken = "", 0
            heading = self._styled(column.heading, "heading")
            line += " " * GAP * bool(line) + f"{heading} {self._styled(text, _style(row, column))}"
            taken += GAP * bool(taken) + width
        if line:
            self._write(line)

    def _write_group(self, row: Row) -> None:
        """Write the heading of the row's group where it is another one than before."""
        if not self._group_by or row.get(self._group_by) == self._group:
            return
        if self._group is not None and self._shown != ["card"]:
            self._write("")
        self._group = row.get(self._group_by)
        column = next(one for one in self._layout.columns if one.name == self._group_by)
        text = next(iter(Cells([column]).by_column([row])[0]))
        room = min(self._destination.width or 200, 200)
        heading = self._styled(_shortened(column, [text], room)[0], "heading")
        self._write(heading, indented=False)

    def _styled(self, text: str, style: str) -> str:
        return styled(text, style) if self._destination.color else text

    def _verdict(self, line: str) -> str:
        """Return a closing line with its first word in colour if it is a verdict."""
        word, colon, rest = line.partition(":")
        return f"{self._styled(word, word)}{colon}{rest}" if word in ("passed", "failed") else line


def _shortened(column: Column, texts: Sequence[str], width: int | None) -> Sequence[str]:
    if width is None:
        return texts
    if column.kind == "run":
        return shorten_runs(texts, width)
    if column.kind == "id":
        return shorten_column(texts, width)
    if column.kind == "word":
        # Names of rules differ in their last word.
        return [shorten_start(text, width) for text in texts]
    return [shorten_end(text, width) for text in texts]


def _is_text(need: Need) -> bool:
    return need.column.kind == "text"


def _can_encode(text: str, out: TextIO) -> bool:
    try:
        text.encode(out.encoding or "utf-8")
    except UnicodeError:
        return False
    return True


def _is_usual(row: Row, column: Column) -> bool:
    """Return whether the row tells nothing in a column that may be dropped."""
    droppable = column.usual is not None or column.drop > 0
    return droppable and row.get(column.name) in (column.usual, None)


def _style(row: Row, column: Column) -> str:
    value = row.get(column.name)
    if column.name == "severity":
        return str(value)
    if column.kind == "percent" and isinstance(value, int | float):
        return "error" if value > 100 else "warning" if value >= 80 else ""
    return ""
