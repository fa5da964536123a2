"""How a result is written: one noun, many papers. A format decides nothing.

A `Writer` is told the rows one after the other, so that several formats can be written in one
pass over a stream, and ends with one newline.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Literal, Protocol, TextIO, cast

if TYPE_CHECKING:
    from collections.abc import Sequence

Kind = Literal["text", "number", "size", "exact", "time", "percent"]
Row = Mapping[str, object]
"""Field by name: None, bool, int, float, str, and lists or mappings of those."""


@dataclass(frozen=True, slots=True)
class Column:
    """A field of the rows."""

    name: str
    kind: Kind = "text"
    machine: bool = True
    """Whether machine formats carry it unless asked otherwise."""
    people: bool = True
    """Whether formats for people carry it unless asked otherwise."""
    title: str = ""

    @property
    def heading(self) -> str:
        """Return what stands above the column for people."""
        return self.title or self.name


def _nothing() -> Row:
    return {}


@dataclass(frozen=True, slots=True)
class Layout:
    """The shape of a result: what a document says around its rows."""

    schema: str
    """`xcomctl.list/1`"""
    rows_name: str
    columns: tuple[Column, ...]
    before: Callable[[], Row] = _nothing
    """Fields of the document in front of its rows."""
    after: Callable[[], Row] = _nothing
    """Fields behind them, asked for when all rows are written."""
    closing: Callable[[], Sequence[str]] = tuple
    """Lines for people below the rows."""
    chosen: tuple[str, ...] = ()
    """The columns that the user named; empty for the format's own choice."""
    header: bool = True
    context: Mapping[str, object] = field(default_factory=dict)
    """What only some formats tell: the rules' texts, the program's version, measurements."""

    def machine_columns(self) -> tuple[Column, ...]:
        """Return the columns for machines."""
        return self._chosen() or tuple(one for one in self.columns if one.machine)

    def people_columns(self) -> tuple[Column, ...]:
        """Return the columns for people."""
        return self._chosen() or tuple(one for one in self.columns if one.people)

    def _chosen(self) -> tuple[Column, ...]:
        by_name = {column.name: column for column in self.columns}
        return tuple(by_name[name] for name in self.chosen)


@dataclass(frozen=True, slots=True)
class Paper:
    """What a format writes on."""

    out: TextIO
    terminal: bool = False
    color: bool = False
    width: int | None = None
    """Columns of the terminal; None where nothing is to be cut or folded."""


class Writer(Protocol):
    """A format at work."""

    def row(self, row: Row) -> None:
        """Write one row."""

    def end(self) -> None:
        """Write what comes after the last row."""


FORMATS = {
    "table": "table",
    "json": "json",
    "jsonl": "json",
    "csv": "delimited",
    "tsv": "delimited",
    "yaml": "yaml",
    "markdown": "markdown",
}
"""Format name → the module that writes it, loaded when it is used."""

AUDIT_FORMATS = FORMATS | {
    "sarif": "sarif",
    "junit": "junit",
    "github": "github",
    "gitlab": "gitlab",
    "openmetrics": "openmetrics",
}
"""Those for findings, in the words of those who read them."""

SUPPRESSED = ("ignored", "known")
"""The `state` of rows that are told only where a format has a way to, and never count."""

WITH_SUPPRESSED = frozenset({"sarif", "junit"})
"""Formats that have a way of their own to tell of findings that do not count."""


def writer(name: str, layout: Layout, paper: Paper) -> Writer:
    """Return a writer of the named format."""
    module = import_module(f"xcomctl.formats.{AUDIT_FORMATS[name]}")
    make = cast("Callable[[str, Layout, Paper], Writer]", module.writer)
    return make(name, layout, paper)
