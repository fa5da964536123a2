"""Stored rows collected into pages of about a megabyte, for work that looks at many values at once.

`db.read.pages` reads them from a database at the speed of an export.
"""

from __future__ import annotations

from bisect import bisect_right
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from xcomctl.model import Raw, StoredRow, XComEntry

PAGE_BYTES = 1024 * 1024
"""A page is complete once its rows take this many bytes. A larger value gets a separate page."""
_ABOUT_HEAD_BYTES = 64


class Page:
    """Some rows with their whole values, in the order in which they were read.

    `rows` are `model.StoredRow`s with names and dates as plain text. `entry` and `raw` make of an
    index what `Entries.values` yields for the row: its `XComEntry`, and its value as the driver
    returns it, which is a `str` where the database holds text.
    """

    def __init__(
        self,
        rows: Sequence[StoredRow],
        entry: Callable[[int], XComEntry],
        raw: Callable[[int], Raw],
    ) -> None:
        self.rows = rows
        self.entry = entry
        self.raw = raw

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def values(self) -> list[bytes | None]:
        """The stored bytes of each row's value (of a text its UTF-8); None for NULL and numbers."""
        return [row[-1] if type(row[-1]) is bytes else None for row in self.rows]

    @cached_property
    def text(self) -> bytes:
        r"""All values, each after a line end. NULL and numbers are empty.

        Values may contain line ends, too. No match of a pattern that cannot contain one spans
        two values.
        """
        return b"\n".join([b"", *(value or b"" for value in self.values)])

    @cached_property
    def _starts(self) -> list[int]:
        starts, at = [], 1
        for value in self.values:
            starts.append(at)
            at += 1 + (0 if value is None else len(value))
        return starts

    def holders(self, places: Iterable[int]) -> set[int]:
        """Return the indexes of the rows in whose values these places of `text` are.

        A line end belongs to the value in front of it.
        """
        return {max(bisect_right(self._starts, place) - 1, 0) for place in places}


class PageSink:
    """Collects rows into pages, and hands over each one when it is full: a `model.RowSink`."""

    def __init__(
        self, take: Callable[[list[StoredRow]], object], *, reads_times: bool = True
    ) -> None:
        self._take = take
        self.reads_times = reads_times
        """Whether the rows need their timestamps."""
        self._rows: list[StoredRow] = []
        self._held_bytes = 0

    def encode_name(self, name: str, text: str | None) -> str | None:
        """Return a name, or logical_date, as it is."""
        return text

    def write_row(self, row: StoredRow) -> None:
        """Add a row to the page."""
        raw = row[-1]
        length = len(raw) if type(raw) is bytes else 0
        if length >= PAGE_BYTES:
            self.flush()
            self._take([row])
            return
        self._rows.append(row)
        self._held_bytes += length + _ABOUT_HEAD_BYTES
        if self._held_bytes >= PAGE_BYTES:
            self.flush()

    def flush(self) -> None:
        """Hand over the rows that are held, if there are any."""
        if self._rows:
            rows, self._rows = self._rows, []
            self._held_bytes = 0
            self._take(rows)
