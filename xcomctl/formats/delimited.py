"""CSV and TSV: bare rows under a header, for spreadsheets and cut(1)."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

from xcomctl.text import visible
from xcomctl.values.strictjson import dumps

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from xcomctl.formats import Layout, Paper, Row, Writer


def writer(name: str, layout: Layout, paper: Paper) -> Writer:
    """Return a writer of `csv` or `tsv`."""
    return Delimited(layout, paper, "\t" if name == "tsv" else ",")


class Delimited:
    """A line for each row. Line ends and tabs within a field are written out, as `\\n`."""

    def __init__(self, layout: Layout, paper: Paper, delimiter: str) -> None:
        self._names = [column.name for column in layout.machine_columns()]
        self._write: Callable[[Sequence[str | int | float]], object]
        if delimiter == "\t":
            # No tab is left in a field, so nothing is ever quoted: what cut(1) and awk expect.
            self._write = lambda fields: paper.out.write("\t".join(map(str, fields)) + "\n")
        else:
            self._write = csv.writer(paper.out, lineterminator="\n").writerow
        if layout.header:
            self._write(self._names)

    def row(self, row: Row) -> None:
        self._write([_field(row.get(name)) for name in self._names])

    def end(self) -> None:
        pass


def _field(value: object) -> str | int | float:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        # The writer calls str(), which for a Size is the text for people.
        return int(value)
    if isinstance(value, float):
        return value
    return visible(value if isinstance(value, str) else dumps(value))
