"""CSV and TSV: bare rows under a header, for spreadsheets and cut(1)."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

from xcomctl.codec import dumps
from xcomctl.text import visible

if TYPE_CHECKING:
    from xcomctl.formats import Layout, Paper, Row, Writer


def writer(name: str, layout: Layout, paper: Paper) -> Writer:
    """Return a writer of `csv` or `tsv`."""
    return Delimited(layout, paper, "\t" if name == "tsv" else ",")


class Delimited:
    """A line for each row. Line ends and tabs within a field are written out, as `\\n`."""

    def __init__(self, layout: Layout, paper: Paper, delimiter: str) -> None:
        self._names = [column.name for column in layout.machine_columns()]
        quoting = csv.QUOTE_NONE if delimiter == "\t" else csv.QUOTE_MINIMAL
        quotechar = None if delimiter == "\t" else '"'
        self._csv = csv.writer(
            paper.out,
            delimiter=delimiter,
            quoting=quoting,  # type: ignore[arg-type]
            quotechar=quotechar,
            lineterminator="\n",
        )
        if layout.header:
            self._csv.writerow(self._names)

    def row(self, row: Row) -> None:
        self._csv.writerow([_field(row.get(name)) for name in self._names])

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
