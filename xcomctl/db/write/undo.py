"""What a change writes down before it happens, so that `import` can undo it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from xcomctl.db.write.transaction import Ending
from xcomctl.exchange.entries import absence_line, undo_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

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


def lines_to_restore(rows: Iterable[Current], storage: Storage) -> Iterable[bytes]:
    """Yield the lines that restore these rows."""
    return (undo_line(one.entry, one.raw, storage) for one in rows)


def lines_to_remove(ref: XComRef) -> Iterable[bytes]:
    """Yield the line that removes an XCom which did not exist before."""
    return [absence_line(ref)]


def ending(undo: UndoLog | None, then: Callable[[], object]) -> Ending:
    """Return the ending of a transaction: settle the undo log, then report the commit."""
    if undo is None:
        return Ending(committed=then)

    def committed() -> None:
        undo.committed()
        then()

    return Ending(committed, undo.rolled_back)
