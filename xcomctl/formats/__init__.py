"""The output formats: what a result looks like (`Layout`), and who writes it (`Writer`).

A format writes the rows it is given and decides nothing. Rows arrive one after the other, so
that several formats can be written in one pass over a stream.

To add a format: one module with a function `writer(name, layout, destination)`, and its name in
`FORMATS` or `AUDIT_FORMATS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Final, Literal, Protocol, TextIO, cast

if TYPE_CHECKING:
    from collections.abc import Sequence

Kind = Literal[
    "id",
    "run",
    "text",
    "word",
    "time",
    "index",
    "number",
    "size",
    "limit",
    "delta",
    "percent",
    "bar",
]
"""How people see a value.

`id` and `run` are shortened in the middle and `text` at its end where room is short; a `word` is
shortened last, at its beginning. `size` is rounded to a unit, `delta` is one with a sign, `limit` is
written as documented and exactly, `index` is a number without separators, and `bar` is decoration.
"""
Part = Literal["title", "item", "fact", "text", "code", "command"]
"""What a paragraph is. Commands can be copied: they are not wrapped. A fact is a label,
padded to LABEL_WIDTH, and a text."""

LABEL_WIDTH: Final = 13
"""Columns of the label of a fact, with the gap behind it."""

Row = Mapping[str, object]
"""Values by field name: None, bool, int, float, str, and lists or mappings of those."""


@dataclass(frozen=True, slots=True)
class Column:
    """A field of the rows."""

    name: str
    kind: Kind = "text"
    machine: bool = True
    """Whether machine formats write it by default."""
    people: bool = True
    """Whether formats for people write it by default."""
    title: str = ""
    """The header for people, where it is not `name`. Accepted as a name by --columns."""
    aliases: tuple[str, ...] = ()
    """Other names that --columns accepts."""
    drop: int = 0
    """Columns with the highest number are dropped first on a narrow terminal; 0 stays.

    Those below 0 are dropped last, where the others do not fit at all.
    """
    usual: object = None
    """A value that tells nothing: a column that holds no other is dropped before the rest."""

    @property
    def heading(self) -> str:
        """Return the column's header for people."""
        return self.title or self.name


def _nothing() -> Row:
    return {}


@dataclass(frozen=True, slots=True)
class Layout:
    """The shape of a result: its columns, and what a document says around its rows."""

    schema: str
    """`xcomctl.list/1`"""
    rows_name: str
    """The field with the rows; empty where the document is its only row."""
    columns: tuple[Column, ...]
    before: Callable[[], Row] = _nothing
    """Returns the document's fields in front of the rows."""
    after: Callable[[], Row] = _nothing
    """Returns the document's fields behind the rows. Called once all rows are written."""
    opening: Callable[[], Sequence[str]] = tuple
    """Returns the lines above the rows of a table or in Markdown."""
    closing: Callable[[], Sequence[str]] = tuple
    """Returns the lines below the rows in formats for people."""
    legend: Callable[[], Sequence[str]] = tuple
    """Returns the lines that a table adds where it has no room for every `text` of its rows."""
    chosen: tuple[str, ...] = ()
    """The columns that the user named; empty for the format's default."""
    header: bool = True
    raw_cells: bool = False
    """Whether CSV and TSV leave cells unchanged that a spreadsheet would run as formulas."""
    digest: Callable[[Sequence[Row]], Sequence[Row]] | None = None
    """Returns the rows as people see them: sorted, folded. Called with all rows."""
    fold: int = 0
    """In Markdown, the rows in front of the fold: the rest, where it is longer, opens on a click.
    The closing lines then stand in front. 0 folds nothing."""
    live: bool = False
    """Whether rows come one by one, and are to be seen as they come."""
    group_by: str = ""
    """The column that a table for people shows as a heading above its rows."""
    prose: Callable[[Row], Sequence[tuple[Part, str]]] | None = None
    """Returns a row as a text in paragraphs, which people read instead of a table."""
    context: Mapping[str, object] = field(default_factory=dict)
    """What only some formats need: the rules' texts, the program's version, measurements."""

    def machine_columns(self) -> tuple[Column, ...]:
        """Return the columns of machine formats."""
        return self._chosen() or tuple(one for one in self.columns if one.machine)

    def people_columns(self) -> tuple[Column, ...]:
        """Return the columns of formats for people."""
        return self._chosen() or tuple(one for one in self.columns if one.people)

    def _chosen(self) -> tuple[Column, ...]:
        by_name = {column.name: column for column in self.columns}
        return tuple(by_name[name] for name in self.chosen)


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a format writes."""

    out: TextIO
    terminal: bool = False
    color: bool = False
    width: int | None = None
    """Columns of the terminal; None where lines may be of any length."""


class Writer(Protocol):
    """A format that is being written. The last thing it writes is a line end."""

    def row(self, row: Row) -> None:
        """Write one row, or keep it until `end`."""

    def end(self) -> str | None:
        """Write what follows the last row, and return a warning if rows were left out."""


FORMATS = {
    "table": "table",
    "plain": "table",
    "json": "json",
    "jsonl": "json",
    "csv": "delimited",
    "tsv": "delimited",
    "yaml": "yaml",
    "markdown": "markdown",
}
"""Format name → the module that writes it, imported on use."""

AUDIT_FORMATS = FORMATS | {
    "sarif": "sarif",
    "junit": "junit",
    "github": "github",
    "gitlab": "gitlab",
    "openmetrics": "openmetrics",
}
"""`FORMATS`, and those that only findings have."""

TOP_FORMATS = FORMATS | {"ncdu": "ncdu"}
"""`FORMATS`, and the one that only groups of XComs have."""

PEOPLE_FORMATS = frozenset({"table", "plain", "markdown"})
"""Formats that people read."""

SUPPRESSED = ("ignored", "known")
"""The `state` of findings that do not count."""

WITH_SUPPRESSED = frozenset({"junit"})
"""Formats that always mark suppressed findings as such."""

WITH_SUPPRESSED_ON_REQUEST = frozenset({*FORMATS, "sarif"})
"""Formats that write suppressed findings with --show-ignored.

Many readers of SARIF take a suppressed result for an open one.
"""


_MODULES = AUDIT_FORMATS | TOP_FORMATS


def writer(name: str, layout: Layout, destination: Destination) -> Writer:
    """Return a writer of the named format."""
    is_prose = layout.prose is not None and name in PEOPLE_FORMATS
    module = import_module(f"xcomctl.formats.{'prose' if is_prose else _MODULES[name]}")
    make = cast("Callable[[str, Layout, Destination], Writer]", module.writer)
    return make(name, layout, destination)
