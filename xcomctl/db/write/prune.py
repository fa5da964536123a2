"""Carries out a prune: the plan is kept on disk, and removed from the table batch by batch."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from datetime import datetime
from typing import IO, TYPE_CHECKING

from xcomctl.db.write.delete import Victim
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

    def add(self, victim: Victim) -> None:
        """Count one more."""
        self.rows += 1
        self.size += victim.size or 0
        if victim.stored_size is not None:
            self.stored_size = (self.stored_size or 0) + victim.stored_size


@dataclass(slots=True)
class Totals:
    """What adds up, in all and by DAG and task."""

    all: Sum = field(default_factory=Sum)
    by_task: dict[tuple[str, str], Sum] = field(default_factory=dict)

    def add(self, victim: Victim) -> None:
        """Count one more."""
        self.all.add(victim)
        self.by_task.setdefault((victim.dag_id, victim.task_id), Sum()).add(victim)


class Plan:
    """The rows that are to go, in a file: a prune holds no more than a batch of them in memory."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file
        self.totals = Totals()
        self.active = Sum()
        """What would go, and is left because its run is active."""

    def add(self, victims: Iterable[Victim], *, active_too: bool) -> None:
        """Take what the database found."""
        for victim in victims:
            if victim.active and not active_too:
                self.active.add(victim)
                continue
            self.totals.add(victim)
            self._file.write(json.dumps(_told(victim)) + "\n")

    def victims(self) -> Iterator[Victim]:
        """Yield what is to go."""
        self._file.seek(0)
        for line in self._file:
            yield _read(json.loads(line))


def _told(victim: Victim) -> list[object]:
    row = [{"t": one.isoformat()} if isinstance(one, datetime) else one for one in victim.row]
    moment = victim.timestamp
    return [
        row,
        moment.isoformat() if moment else None,
        victim.dag_id,
        victim.task_id,
        victim.size,
        victim.stored_size,
    ]


def _read(told: list[object]) -> Victim:
    row, moment, dag_id, task_id, size, stored = told
    assert isinstance(row, list)
    return Victim(
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
        victims = self.plan.victims()
        waiting: list[Victim] = []
        worked = 0.0
        while True:
            batch, waiting = _batch(victims, waiting, most)
            if not batch:
                return
            started = time.monotonic()
            for victim in self._removed(batch):
                self.done.add(victim)
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

    def _removed(self, batch: list[Victim]) -> list[Victim]:
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
    victims: Iterator[Victim], waiting: list[Victim], most: int
) -> tuple[list[Victim], list[Victim]]:
    """Return the next rows, few and small enough for one transaction, and the one that is next."""
    batch = waiting
    size = sum(int(victim.size or 0) for victim in batch)
    while len(batch) < most:
        victim = next(victims, None)
        if victim is None:
            break
        size += victim.size or 0
        if batch and size > _BATCH_BYTES:
            return batch, [victim]
        batch.append(victim)
    return batch, []
