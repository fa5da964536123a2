"""Sizes of every DAG, task and key by day, for a snapshot."""

from __future__ import annotations

import sys
from array import array
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from xcomctl.db.backends.days import DayNumber
from xcomctl.sizes.snapshot import SIZE_BITS, GroupSizes, fold

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from xcomctl.db.read.rows import Rows
    from xcomctl.model import Selection
    from xcomctl.sizes.snapshot import GroupName


class DaySizes:
    """Sizes of XComs by dag, task, key and day."""

    def __init__(self, rows: Rows) -> None:
        """Aggregate the rows of an open table."""
        self._rows = rows
        self._table = rows.table
        self._backend = rows.table.backend

    def by_group(self, selection: Selection) -> Iterator[tuple[GroupName, GroupSizes]]:
        """Yield the sizes of each group of the selected XComs, in no order.

        Every row becomes one number of eight bytes, its day and its size, so that any database
        can send it as it sends a size; they are put together here.

        Raises:
            DatabaseError: the connection is lost, a statement times out, or the table may not be read.
        """
        x, text_of = self._table.x.c, self._backend.text_of
        names = [x.dag_id, x.task_id, x.key]
        size = sa.func.coalesce(self._rows.size() + 1, 0)
        number = DayNumber(x.timestamp) * sa.literal_column(str(1 << SIZE_BITS)) + size
        with self._table.explained():
            aggregation = self._backend.aggregation()
            found: Iterable[tuple[Any, array[int]]]
            if aggregation is not None and aggregation.packs():
                packed = aggregation.packed_numbers(number)
                rows = self._rows.over(selection, *names, packed).group_by(*names)
                result = self._table.connection.execute(rows)
                found = ((name, unpack(numbers)) for *name, numbers in result)
            else:
                labelled = (one.label(f"c{at}") for at, one in enumerate((*names, number)))
                statement = self._rows.over(selection, *labelled)
                whole = self._table.is_whole(selection)
                found = self._backend.gathered(statement, 3, whole=whole).items()
            for name, numbers in found:
                dag_id, task_id, key = map(text_of, name)
                yield (dag_id or "", task_id or "", key), fold(numbers)


def unpack(numbers: bytes | memoryview) -> array[int]:
    """Return numbers of eight bytes, most significant first."""
    found = array("q", bytes(numbers))
    if sys.byteorder == "little":
        found.byteswap()
    return found
