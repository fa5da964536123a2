"""Carries out a prune: the plan is kept on disk, and removed from the table batch by batch."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from datetime import datetime
from typing import IO, TYPE_CHECKING

from xcomctl.db.write.delete import RowToDelete
from xcomctl.errors import LockedError
from xcomctl.model import Size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from xcomctl.db.write.delete import Pruner
    from xcomctl.db.write.push import Current

_BATCH_BYTES = 16 * 2**20
"""Of values in one batch: with an undo file they are read before they go."""
_ATTEMPTS = 3


@dataclass(slots=True)
class Sum:
    """What adds up of some rows."""

    rows: int = 0
    size: int = 0
    stored_size: int | None = None

    def add(self, candidate: RowToDelete) -> None:
        """Count one more."""
        self.rows += 1
        self.size += candidate.size or 0
        if candidate.stored_size is not None:
            self.stored_size = (self.stored_size or 0) + candidate.stored_size


@dataclass(slots=True)
class Totals:
    """What adds up, in all and by DAG and task."""

    all: Sum = field(default_factory=Sum)
    by_task: dict[tuple[str, str], Sum] = field(default_factory=dict)

    def add(self, candidate: RowToDelete) -> None:
        """Count one more."""
        self.all.add(candidate)
        self.by_task.setdefault((candidate.dag_id, candidate.task_id), Sum()).add(candidate)


class Plan:
    """The rows that are to go, in a file: a prune holds no more than a batch of them in memory."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file
        self.totals = Totals()
        self.active = Sum()
        """What would go, and is left because its run is active."""

    def add(self, candidates: Iterable[RowToDelete], *, active_too: bool) -> None:
        """Take what the database found."""
        for candidate in candidates:
            if candidate.active and not active_too:
                self.active.add(candidate)
                continue
            self.totals.add(candidate)
            self._file.write(json.dumps(_told(candidate)) + "\n")

    def rows_to_delete(self) -> Iterator[RowToDelete]:
        """Yield what is to go."""
        self._file.seek(0)
        for line in self._file:
            yield _read(json.loads(line))


def _told(candidate: RowToDelete) -> list[object]:
    row = [{"t": one.isoformat()} if isinstance(one, datetime) else one for one in candidate.row]
    moment = candidate.timestamp
    return [
        row,
        moment.isoformat() if moment else None,
        candidate.dag_id,
        candidate.task_id,
        candidate.size,
        candidate.stored_size,
    ]


def _read(told: list[object]) -> RowToDelete:
    row, moment, dag_id, task_id, size, stored = told
    assert isinstance(row, list)
    return RowToDelete(
        tuple(datetime.fromisoformat(one["t"]) if isinstance(one, dict) else one for one in row),
        datetime.fromisoformat(str(moment)) if moment else None,
        str(dag_id),
        str(task_id),
        Size(size) if isinstance(size, int) else None,
        Size(stored) if isinstance(stored, int) else None,
        active=False,
    )


@dataclass(slots=True)
class Prune:
    """A prune at work."""

    pruner: Pruner
    plan: Plan
    batch_size: int
    pause_s: float
    lock_timeout_s: float
    active_too: bool
    keep: Callable[[list[Current]], None] | None
    said: Callable[[Totals], None]
    """Told after each batch how far it is."""
    done: Totals = field(default_factory=Totals)
    left: int = 0
    """Rows that had changed, or whose run had become active, since the plan was made."""

    def run(self) -> None:
        """Remove everything that the plan says.

        Raises:
            DatabaseError: the database stopped; what was removed until then is in `done`.
        """
        most = self.batch_size
        candidates = self.plan.rows_to_delete()
        waiting: list[RowToDelete] = []
        worked = 0.0
        while True:
            batch, waiting = _batch(candidates, waiting, most)
            if not batch:
                return
            started = time.monotonic()
            for candidate in self._removed(batch):
                self.done.add(candidate)
            spent = time.monotonic() - started
            self.said(self.done)
            if spent > self.lock_timeout_s / 2 and most > 1:
                # Others wait for our locks as long as a batch takes.
                most = max(1, most // 2)
            worked += spent
            rest = self.pause_s
            if worked > 2 * self.pruner.breather_s:
                rest, worked = max(rest, self.pruner.breather_s), 0.0
            if rest:
                time.sleep(rest)

    def _removed(self, batch: list[RowToDelete]) -> list[RowToDelete]:
        attempts = 1
        while True:
            try:
                removed = self.pruner.remove(batch, active_too=self.active_too, keep=self.keep)
            except LockedError:
                if attempts == _ATTEMPTS:
                    raise
                time.sleep(self.pause_s + 0.1 * attempts)
                attempts += 1
            else:
                self.left += len(batch) - len(removed)
                return removed


def _batch(
    candidates: Iterator[RowToDelete], waiting: list[RowToDelete], most: int
) -> tuple[list[RowToDelete], list[RowToDelete]]:
    """Return the next rows, few and small enough for one transaction, and the one that is next."""
    batch = waiting
    size = sum(int(candidate.size or 0) for candidate in batch)
    while len(batch) < most:
        candidate = next(candidates, None)
        if candidate is None:
            break
        size += candidate.size or 0
        if batch and size > _BATCH_BYTES:
            return batch, [candidate]
        batch.append(candidate)
    return batch, []
