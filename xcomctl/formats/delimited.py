"""CSV and TSV: rows under a header."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

from xcomctl.text import visible
from xcomctl.values.strictjson import dumps

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from xcomctl.formats import Destination, Layout, Row, Writer


def writer(name: str, layout: Layout, destination: Destination) -> Writer:
    """Return a writer of `csv` or `tsv`."""
    return Delimited(layout, destination, "\t" if name == "tsv" else ",")


class Delimited:
    """Writes a line per row. Line ends and tabs within a field are escaped, as `\\n`.

    A text that a spreadsheet would run as a formula gets an apostrophe in front, unless
    `Layout.raw_cells` is set. https://owasp.org/www-community/attacks/CSV_Injection
    """

    def __init__(self, layout: Layout, destination: Destination, delimiter: str) -> None:
        self._names = [column.name for column in layout.machine_columns()]
        self._write: Callable[[Sequence[str | int | float]], object]
        if delimiter == "\t":
            # Fields hold no tab, so nothing is quoted, which cut(1) and awk would not understand.
            self._write = lambda fields: destination.out.write("\t".join(map(str, fields)) + "\n")
        else:
            self._write = csv.writer(destination.out, lineterminator="\n").writerow
        self._raw = layout.raw_cells
        if layout.header:
            self._write(self._names)

    def row(self, row: Row) -> None:
        self._write([self._field(row.get(name)) for name in self._names])

    def end(self) -> None:
        pass

    def _field(self, value: object) -> str | int | float:
        if value is None:
            return ""
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, int):
            # csv calls str(), which for a Size is the rounded text.
            return int(value)
        if isinstance(value, float):
            return value
        text = visible(value if isinstance(value, str) else dumps(value))
        return text if self._raw or not text.startswith(_FORMULA_STARTS) else f"'{text}"


_FORMULA_STARTS = ("=", "+", "-", "@", "＝", "＋", "－", "＠")
