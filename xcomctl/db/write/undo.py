"""What a change writes down before it happens, so that `import` can undo it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from xcomctl.db.write.transaction import Ending
from xcomctl.errors import DatabaseError
from xcomctl.exchange.entries import absence_line, undo_line
from xcomctl.exchange.undo_lines import UndoLines
from xcomctl.model import Selection

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    import sqlalchemy as sa

    from xcomctl.db.backends.base import Element
    from xcomctl.db.read.store import Store
    from xcomctl.db.write.statements import Current
    from xcomctl.model import Storage, XComRef


class UndoLog(Protocol):
    """Keeps the lines of an undo file. `cli.undo_file.UndoFile` keeps them on disk."""

    def write(self, lines: Iterable[bytes]) -> None:
        """Add lines, and return when they are safe. Called within a transaction."""

    def committed(self) -> None:
        """Keep the lines: what they undo was committed."""

    def rolled_back(self) -> None:
        """Drop the lines since the last commit: nothing was changed."""


class RowsToRestore:
    """Reads rows of an open metadata database as lines of an undo file."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._table = store.table
        self._bulk = store.table.backend.bulk()

    def lines(self, keys: Sequence[tuple[object, ...]]) -> list[bytes]:
        """Return the lines that restore the rows of these primary keys, many in one element.

        Raises:
            DatabaseError: not every row can be read.
        """
        x = self._table.x.c
        columns: list[Element] = [x[name] for name in self._table.schema.generation.identity]
        narrowed = lambda query: self._bulk.only(query, columns, keys)  # noqa: E731
        if self._table.schema.generation.name == "1.10":
            # Rows have a number of their own, which no export has.
            lines = self._lines_of_entries(narrowed)
            found = len(lines)
        else:
            table = self._table
            sink = UndoLines(
                table.schema.storage, strict=self._store.holds_strict_json, others=table.others
            )
            self._store.entries.stream_few_into(narrowed, sink)
            sink.flush()
            lines, found = sink.pages, sink.rows
        if found != len(keys):
            raise DatabaseError(
                f"could read {found} of {len(keys)} rows for the undo file",
                hint="None of them was changed.",
            )
        return lines

    def _lines_of_entries(
        self, narrowed: Callable[[sa.Select[Any]], sa.Select[Any]]
    ) -> list[bytes]:
        backend, storage = self._table.backend, self._table.schema.storage
        raw = backend.raw(self._table.x.c.value, storage).label("whole")
        rows = self._store.rows
        query = rows.select(Selection(), orphans=True, others=True).add_columns(raw)
        found = self._table.connection.execute(
            narrowed(query), execution_options={"compiled_cache": None}
        )
        return [
            undo_line(rows.full_entry(row), backend.fetched(row.whole), storage) for row in found
        ]


def lines_to_restore(rows: Iterable[Current], storage: Storage) -> Iterable[bytes]:
    """Yield the lines that restore these rows."""
    return (undo_line(one.entry, one.raw, storage) for one in rows)


def lines_to_remove(ref: XComRef, others: Mapping[str, object] | None = None) -> Iterable[bytes]:
    """Yield the line that removes an XCom which did not exist before."""
    return [absence_line(ref, others)]


def ending(undo: UndoLog | None, then: Callable[[], object]) -> Ending:
    """Return the ending of a transaction: settle the undo log, then report the commit."""
    if undo is None:
        return Ending(committed=then)

    def committed() -> None:
        undo.committed()
        then()

    return Ending(committed, undo.rolled_back)
