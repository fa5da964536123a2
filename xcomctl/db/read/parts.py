"""Parts of the xcom table that can be read apart: ranges of its leading key."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from xcomctl.db.backends.storage import optional
from xcomctl.model import KeyRange

if TYPE_CHECKING:
    from collections.abc import Iterator

    from xcomctl.db.backends.base import Element
    from xcomctl.db.read.rows import Rows
    from xcomctl.db.read.table import Table


_STEPS = 64
"""The last part may be larger than the others by about this part of the table."""


_FIRST_ROWS, _MOST_ROWS = 500, 100_000
_PART_BYTES = 2 * 1024 * 1024


class Parts:
    """Plans the parts of one open table.

    A row never changes its part, so parts can be read one after the other, or by several
    machines, and every row that was there all the time is in exactly one of them, provided that
    all use the same plan. `Selection(part=...)` reads a part, in every query.
    """

    def __init__(self, rows: Rows) -> None:
        self._table = rows.table
        self._conditions = rows.conditions

    @property
    def key(self) -> str:
        """Return the column that parts divide: `dag_run_id`."""
        return self._table.schema.generation.identity[0]

    def plan(self, count: int) -> tuple[KeyRange, ...]:
        """Return `count` ranges in the order of the key, together the whole table.

        Each has about as many runs (of Airflow 1.10, ids; of 2.0 to 2.2, DAGs). Some are empty
        where there are too few. New runs belong to the last range and rarely change the plan;
        runs that are deleted do.
        """
        with self._table.explained():
            bounds = self._bounds(count)
        starts = [None, *bounds]
        return tuple(map(KeyRange, starts, [*bounds, None]))

    def small(self, within: KeyRange | None) -> SmallParts:
        """Return small ranges in the order of the key, together the whole table or a part of it."""
        return SmallParts(self._table, self._table.x.c[self.key], within or KeyRange())

    def _bounds(self, count: int) -> list[Any]:
        """Return the `count - 1` keys where the second range and the following begin."""
        if self.key == "dag_id":
            dag_ids = self._ordered_dag_ids()
            if not dag_ids:
                return [""] * (count - 1)
            # The last ranges are empty if there are too few.
            places = (len(dag_ids) * at // count for at in range(1, count))
            return [dag_ids[place] for place in places]
        leading = self._table.x.c[self.key]
        first, last = self._table.connection.execute(
            sa.select(_alone(sa.func.min(leading)), _alone(sa.func.max(leading)))
        ).one()
        if not (isinstance(first, int) and isinstance(last, int)):
            # No rows, or what only SQLite would take for a key.
            first = last = 0
        if self.key == "dag_run_id" and self._table.joined:
            found = self._run_bounds(count, first, last)
            if found is not None:
                return found
        last = _settled(first, last, last - first)
        return [first + (last - first + 1) * at // count for at in range(1, count)]

    def _run_bounds(self, count: int, first: int, last: int) -> list[int] | None:
        """Return bounds with as many runs between them, None where runs cannot be read.

        The runs that a clean-up left are few and far between, so equal ranges of ids would not do.
        """
        number, connection = self._table.run.c.id, self._table.connection

        def count_runs(last: int) -> int:
            counted = sa.select(sa.func.count()).where(number.between(first, last))
            return optional(connection, lambda: int(connection.scalar(counted) or 0)) or 0

        last = _settled(first, last, count_runs(last))
        runs = count_runs(last)
        if runs < count:
            return None
        ids = sa.select(number).where(number <= last).order_by(number)
        places = [runs * at // count for at in range(1, count)]
        bounds: list[int] = []
        at, here = 0, first
        for place in places:
            following = ids.where(number >= here).offset(place - at).limit(1)
            # None where runs were deleted meanwhile.
            here, at = connection.scalar(following) or last + 1, place
            bounds.append(here)
        return bounds

    def _ordered_dag_ids(self) -> list[str]:
        """Return the dag_ids that have an XCom, in the order of the database."""
        x = self._table.x.c
        distinct = sa.select(x.dag_id).distinct().order_by(x.dag_id)
        text_of = self._table.backend.text_of
        return [text_of(one) or "" for one in self._table.connection.execute(distinct).scalars()]


class SmallParts:
    """Ranges of about as many bytes, found one after the other while rows are read."""

    def __init__(self, table: Table, leading: Element, within: KeyRange) -> None:
        self._table = table
        self._leading = leading
        self._within = within
        self._rows = _FIRST_ROWS

    def took(self, size: int) -> None:
        """Note how many bytes a range was, to make the following ones larger or smaller."""
        rows = self._rows * _PART_BYTES // max(size, 1)
        self._rows = min(max(rows, self._rows // 4, 1), self._rows * 2, _MOST_ROWS)

    def __iter__(self) -> Iterator[KeyRange]:
        start, end = self._within.start, self._within.end
        while (following := self._following(start, end)) is not None:
            yield KeyRange(start, following)
            start = following
        yield KeyRange(start, end)

    def _following(self, start: int | str | None, end: int | str | None) -> Any:
        """Return the first key behind the next rows, None if they are the last."""
        bound = self._table.backend.bound_key
        keys = sa.select(self._leading).order_by(self._leading).limit(1)
        if end is not None:
            keys = keys.where(self._leading < bound(end))
        here = keys if start is None else keys.where(self._leading >= bound(start))
        found = self._ask(here.offset(self._rows))
        first = self._ask(here) if start is None else start
        if found is not None and found == first:
            # More rows of one key than that.
            found = self._ask(keys.where(self._leading > bound(first)))
        return found

    def _ask(self, statement: sa.Select[Any]) -> Any:
        with self._table.explained():
            found = self._table.connection.scalar(statement)
        return self._table.backend.text_of(found) if isinstance(found, str | bytes) else found


def _settled(first: int, last: int, keys: int) -> int:
    """Return a key near the last of `keys` keys, rounded so that it rarely moves as rows are added."""
    step = max(keys // _STEPS, 1)
    return max(first, last - last % (1 << step.bit_length() - 1))


def _alone(aggregate: Element) -> Element:
    """Return an aggregate as a query of its own: SQLite finds one of two along the index only so."""
    return sa.select(aggregate).scalar_subquery()
