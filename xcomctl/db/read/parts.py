"""Parts of the xcom table that can be read apart: ranges of its leading key."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from xcomctl.db.backends.storage import optional
from xcomctl.model import KeyRange

if TYPE_CHECKING:
    from xcomctl.db.backends.base import Element
    from xcomctl.db.read.rows import Rows


_STEPS = 64
"""The last part may be larger than the others by about this part of the table."""


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
        """Return the column of which parts are ranges: `dag_run_id`."""
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


def _settled(first: int, last: int, keys: int) -> int:
    """Return a key near the last of so many that stays the same while some are added."""
    step = max(keys // _STEPS, 1)
    return max(first, last - last % (1 << step.bit_length() - 1))


def _alone(aggregate: Element) -> Element:
    """Return an aggregate as a query of its own: SQLite finds one of two along the index only so."""
    return sa.select(aggregate).scalar_subquery()
