"""What a listing asks for: the contract between `list` and the ways to list."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from xcomctl.formats import Layout, Row
    from xcomctl.model import Selection, Size, XComEntry


class Query(Protocol):
    """What to list, in which order, and how an entry looks. `list.Query` is one."""

    @property
    def selection(self) -> Selection:
        """Return the filters."""

    @property
    def sort(self) -> str:
        """Return what entries are sorted by: `run`, `size`, `timestamp` or `dag_id`."""

    @property
    def descending(self) -> bool:
        """Return whether the largest comes first."""

    @property
    def limit(self) -> int:
        """Return how many entries to show; 0 for all."""

    @property
    def layout(self) -> Layout:
        """Return the columns."""

    @property
    def as_(self) -> str | None:
        """Return the backend whose limit is meant, None for the database's own."""

    def shows(self, name: str) -> bool:
        """Return whether a column is shown that costs extra work."""

    def details(self) -> tuple[bool, bool, int | None]:
        """Return what is read of each entry: the length of its text, what is stored, its head."""

    def row(self, entry: XComEntry, limit: Size) -> Row:
        """Return an entry as a row; `limit` is in force."""
