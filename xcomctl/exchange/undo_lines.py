"""Lines of an undo file, written as fast as those of an export."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from xcomctl.exchange.lines import JsonLines

if TYPE_CHECKING:
    from collections.abc import Sequence

    from xcomctl.exchange.others import OtherColumn
    from xcomctl.model import Storage

_START = b'{"undo": "restore", '


class UndoLines:
    """Writes rows as lines that restore them: those of an export with one more member in front.

    A `RowSink`. The database is asked for nothing else, so all lines are held in memory.
    """

    def __init__(self, storage: Storage, *, strict: bool, others: Sequence[OtherColumn]) -> None:
        self.pages: list[bytes] = []
        """The lines, many in one element."""
        keep = lambda data: self.pages.append(bytes(data))  # noqa: E731
        self._lines = JsonLines(keep, storage, strict=strict, others=others)
        self.write_row = self._lines.write_row
        self.flush = self._lines.flush

    @property
    def rows(self) -> int:
        """Return how many rows were written."""
        return self._lines.rows

    def encode_name(self, name: str, text: str | None) -> Any:
        """Return a name as `write_row` takes it."""
        encoded = self._lines.encode_name(name, text)
        return _START + encoded[1:] if name == "dag_id" else encoded
