"""YAML: the JSON document in block style, with every text in double quotes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, TextIO

from xcomctl.values.strictjson import dumps

if TYPE_CHECKING:
    from xcomctl.formats import Destination, Layout, Row, Writer


def writer(name: str, layout: Layout, destination: Destination) -> Writer:
    """Return a writer of `yaml`."""
    return Yaml(layout, destination)


class Yaml:
    """Writes the result as one document. JSON scalars are YAML scalars."""

    def __init__(self, layout: Layout, destination: Destination) -> None:
        self._layout = layout
        self._names = [column.name for column in layout.machine_columns()]
        self._out = destination.out
        self._rows = 0

    def row(self, row: Row) -> None:
        if not self._layout.rows_name:
            self._start({name: row.get(name) for name in self._names})
            return
        if not self._rows:
            self._start(self._layout.before())
            self._out.write(f"{self._layout.rows_name}:\n")
        self._rows += 1
        lead = "  - "
        for name in self._names:
            self._out.write(lead)
            _write(self._out, name, row.get(name), 4)
            lead = "    "

    def _start(self, fields: Row) -> None:
        _write(self._out, "schema", self._layout.schema, 0)
        for name, value in fields.items():
            _write(self._out, name, value, 0)

    def end(self) -> None:
        if self._layout.rows_name and not self._rows:
            self._start(self._layout.before())
            self._out.write(f"{self._layout.rows_name}: []\n")
        for name, value in self._layout.after().items():
            _write(self._out, name, value, 0)


def _write(out: TextIO, name: str, value: object, indent: int) -> None:
    """Write `name: value`. The first line is already indented."""
    key = name if name.isidentifier() else dumps(name)
    if isinstance(value, Mapping) and value:
        out.write(f"{key}:\n")
        for inner, content in value.items():
            out.write(" " * (indent + 2))
            _write(out, str(inner), content, indent + 2)
    else:
        # Lists in flow style are one line in a diff.
        out.write(f"{key}: {dumps(value)}\n")
