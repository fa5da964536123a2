"""What only some products can do for a summary of sizes, or need to do it fast."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    import sqlalchemy as sa

    Element = sa.ColumnElement[Any]


class Aggregation(Protocol):
    """How a server aggregates sizes, for a product where GROUP BY beats sending every row."""

    def packs(self) -> bool:
        """Return whether the server may hold every size at once, and make it ready to.

        Then `packed` is used instead of `percentiles`.
        """

    def packed(self, size: Element) -> Element:
        """Return the aggregate of a group's sizes, four bytes each, most significant first."""

    def packed_numbers(self, number: Element) -> Element:
        """Return the aggregate of a group's numbers, eight bytes each, most significant first."""

    def percentiles(self, size: Element, shares: Sequence[float]) -> Element:
        """Return the aggregate of a group's percentiles, each of them one of the sizes."""


class PickleSampling(Protocol):
    """One large value of each group, whose first byte is read later.

    For a product where that byte costs much more than the size, in all but small values.
    """

    def sampled(self, value: Element) -> Element:
        """Return the aggregate that names one row of a group whose value is large."""

    def any_pickle(self, table: sa.FromClause, rows: Sequence[Any]) -> bool:
        """Return whether one of the rows that `sampled` named begins like a pickle."""
