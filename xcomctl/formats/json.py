"""JSON as one streamed document, and JSON Lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xcomctl.values.strictjson import dumps

if TYPE_CHECKING:
    from xcomctl.formats import Destination, Layout, Row, Writer


def writer(name: str, layout: Layout, destination: Destination) -> Writer:
    """Return a writer of `json` or `jsonl`."""
    return JsonLines(layout, destination) if name == "jsonl" else JsonDocument(layout, destination)


class JsonLines:
    """Writes an object per row, one a line, each with every field."""

    def __init__(self, layout: Layout, destination: Destination) -> None:
        self._names = [column.name for column in layout.machine_columns()]
        self._out = destination.out

    def row(self, row: Row) -> None:
        self._out.write(dumps({name: row.get(name) for name in self._names}) + "\n")

    def end(self) -> None:
        pass


class JsonDocument:
    """Writes the result as one object, its rows one a line."""

    def __init__(self, layout: Layout, destination: Destination) -> None:
        self._layout = layout
        self._names = [column.name for column in layout.machine_columns()]
        self._out = destination.out
        self._rows = 0

    def row(self, row: Row) -> None:
        if not self._layout.rows_name:
            self._start({name: row.get(name) for name in self._names})
            return
        self._start(self._layout.before()) if not self._rows else self._out.write(",")
        self._rows += 1
        self._out.write("\n    " + dumps({name: row.get(name) for name in self._names}))

    def _start(self, fields: Row) -> None:
        self._out.write(f'{{\n  "schema": {dumps(self._layout.schema)}')
        for name, value in fields.items():
            self._out.write(f",\n  {dumps(name)}: {dumps(value)}")
        if self._layout.rows_name:
            self._out.write(f",\n  {dumps(self._layout.rows_name)}: [")

    def end(self) -> None:
        if self._layout.rows_name:
            if not self._rows:
                self._start(self._layout.before())
            self._out.write("\n  ]" if self._rows else "]")
        for name, value in self._layout.after().items():
            self._out.write(f",\n  {dumps(name)}: {dumps(value)}")
        self._out.write("\n}\n")
