"""Which parts of the xcom table a look at its new rows reads: those where they are, and a slice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

if TYPE_CHECKING:
    from datetime import datetime

    from xcomctl.db.backends.base import Element
    from xcomctl.db.read.rows import Rows
    from xcomctl.db.read.versions import Versions

SLICE_ROWS: Final = 20_000
"""Rows of the rest of the table that are looked at each time."""
_MOVE_EVERY: Final = 20
"""Number of looks after which the recent area moves on."""
_MOST_RUNS: Final = 500
"""Unfinished old runs that are looked at each time."""
_MORE_LOOKS: Final = 12
"""Looks at a run after it has finished, for what is committed late."""
_UNFINISHED: Final = ("running", "queued", "restarting")


class Areas:
    """The recent area at the end of the table's key, unfinished older runs, and the rest in slices.

    The key begins with the run, so that its end is where new runs push. A table with few rows is
    one recent area.
    """

    def __init__(self) -> None:
        self._floor: Any = None
        """The leading key where the recent area begins; None where it is the whole table."""
        self._runs: dict[int, int] = {}
        """Runs below the floor that are looked at, and how many times more."""
        self._known_runs: frozenset[int] = frozenset()
        """Those that were unfinished at the start."""
        self._slice_from: Any = None
        """Where the next slice begins; None at the start of the table."""
        self._slice_end: Any = None
        self._looks = 0
        self.cycle_ended = False
        """Whether every row has had its turn once more."""

    def begin(self, rows: Rows, versions: Versions) -> list[Element]:
        """Return the areas whose rows must all be known at the start."""
        self._floor = _key_at(rows, versions, versions.recent_rows)
        self._find_runs(rows, versions)
        self._known_runs = frozenset(self._runs)
        return [self._recent(versions), *self._of_runs(rows)]

    @property
    def are_whole(self) -> bool:
        """Return whether they are the whole table each time."""
        return self._floor is None

    def is_known(self, leading: Any) -> bool:
        """Return whether every row with this leading key was known when it was looked at last."""
        return self._floor is None or leading >= self._floor or leading in self._known_runs

    def next(self, rows: Rows, versions: Versions, horizon: datetime) -> list[Element]:
        """Return the areas to read now, the recent one first. Outside the known ones, rows before the horizon are old."""
        self._looks += 1
        self.cycle_ended = self._floor is None or versions.in_order
        if self.cycle_ended:
            return [self._recent(versions)]
        self._find_runs(rows, versions)
        backend = rows.table.backend
        moment = backend.moment(rows.table.x.c.timestamp)
        fresh = moment >= backend.bound_moment(horizon)
        rest = sa.and_(self._slice(rows, versions), fresh)
        return [self._recent(versions), *self._of_runs(rows), rest]

    def move(self, rows: Rows, versions: Versions) -> None:
        """Take note that the areas were read, and let the recent one begin further on at times."""
        self._slice_from = self._slice_end
        if versions.in_order or self._looks % _MOVE_EVERY == 0:
            floor = _key_at(rows, versions, versions.recent_rows)
            if floor is not None:
                self._floor = floor if self._floor is None else max(floor, self._floor)

    def _recent(self, versions: Versions) -> Element:
        if self._floor is None or versions.leading is None:
            return sa.true()
        recent: Element = versions.leading >= self._floor
        return recent

    def _of_runs(self, rows: Rows) -> list[Element]:
        return [rows.table.x.c.dag_run_id.in_(list(self._runs))] if self._runs else []

    def _find_runs(self, rows: Rows, versions: Versions) -> None:
        """Look for unfinished runs whose rows are before the recent area."""
        table, run = rows.table, rows.table.run.c
        if self._floor is None or versions.in_order or "state" not in run or not table.joined:
            return
        if not table.schema.mapped:
            return
        statement = sa.select(run.id).where(run.state.in_(_UNFINISHED), run.id < self._floor)
        statement = statement.order_by(run.id.desc()).limit(_MOST_RUNS)
        kept = {number: left - 1 for number, left in self._runs.items() if left > 1}
        unfinished = table.connection.execute(statement).scalars()
        self._runs = kept | dict.fromkeys(unfinished, _MORE_LOOKS)

    def _slice(self, rows: Rows, versions: Versions) -> Element:
        """Return the next slice, of at least one run."""
        leading = versions.leading
        assert leading is not None  # otherwise the table is one area
        rest: Element = leading < self._floor
        if self._slice_from is not None:
            rest = sa.and_(rest, leading >= self._slice_from)
        ends = sa.select(leading).select_from(rows.table.x).where(rest)
        ends = ends.order_by(leading).limit(1).offset(SLICE_ROWS)
        end = rows.table.connection.scalar(ends)
        if end is None:
            self._slice_end, self.cycle_ended = None, True
            return rest
        if end == self._slice_from:
            end += 1
        self._slice_end = end
        return sa.and_(rest, leading < end)


def _key_at(rows: Rows, versions: Versions, place: int) -> Any:
    """Return the leading key of the row at a place from the end, None where there are fewer."""
    if versions.leading is None:
        return None
    statement = sa.select(versions.leading).select_from(rows.table.x)
    statement = statement.order_by(versions.leading.desc()).limit(1).offset(place)
    return rows.table.connection.scalar(statement)
