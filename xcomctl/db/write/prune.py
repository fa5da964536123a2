"""A planned deletion: the plan is kept on disk and carried out batch by batch."""

from __future__ import annotations

import itertools
import json
import time
from dataclasses import dataclass, field
from datetime import datetime
from typing import IO, TYPE_CHECKING

from xcomctl.db.write.delete import RowToDelete
from xcomctl.errors import LockedError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from xcomctl.db.write.delete import BatchDeleter
    from xcomctl.db.write.undo import UndoLog

_BATCH_BYTES = 16 * 2**20
"""Of values in one batch: with an undo file they are read before they go."""
_ATTEMPTS = 3
_PAGE_ROWS = 500
"""Rows of a plan that are written down at once."""


@dataclass(slots=True)
class Sum:
    """Number and bytes of some rows."""

    rows: int = 0
    size: int = 0
    stored_size: int | None = None

    def add(self, row: RowToDelete) -> None:
        """Count one more."""
        self.rows += 1
        self.size += row.size or 0
        if row.stored_size is not None:
            self.stored_size = (self.stored_size or 0) + row.stored_size


@dataclass(slots=True)
class Totals:
    """Number and bytes of rows, in all and by DAG and task."""

    all: Sum = field(default_factory=Sum)
    by_task: dict[tuple[str, str], Sum] = field(default_factory=dict)

    def add(self, row: RowToDelete) -> None:
        """Count one more."""
        self.all.add(row)
        self.by_task.setdefault((row.dag_id, row.task_id), Sum()).add(row)


class Plan:
    """The rows to delete, in a file: no more than a batch of them is held in memory."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file
        self.totals = Totals()
        self.active = Sum()
        """Rows that match and are left because their run is active."""

    def add(self, rows: Iterable[RowToDelete], *, active_too: bool) -> None:
        """Write down the rows that the database found, but those of active runs."""
        page: list[RowToDelete] = []
        for row in rows:
            if row.active and not active_too:
                self.active.add(row)
                continue
            self.totals.add(row)
            page.append(row)
            if len(page) == _PAGE_ROWS:
                self._write(page)
        self._write(page)

    def _write(self, page: list[RowToDelete]) -> None:
        self._file.write(f"{json.dumps(page, default=_to_json)}\n")
        page.clear()

    def rows_to_delete(self) -> Iterator[RowToDelete]:
        """Yield the rows to delete, from the start."""
        self._file.seek(0)
        for line in self._file:
            for key, *others in json.loads(line, object_hook=_from_json):
                yield RowToDelete(tuple(key), *others)


def _to_json(value: object) -> dict[str, str]:
    """Return a part of a key that JSON has no form for: a time, or a name that is a blob."""
    if isinstance(value, datetime):
        return {"time": value.isoformat()}
    assert isinstance(value, bytes), type(value)
    return {"hex": value.hex()}


def _from_json(value: dict[str, str]) -> object:
    if "time" in value:
        return datetime.fromisoformat(value["time"])
    return bytes.fromhex(value["hex"])


@dataclass(slots=True)
class Prune:
    """Deletes the rows of a plan."""

    deleter: BatchDeleter
    plan: Plan
    batch_size: int
    pause_s: float
    lock_timeout_s: float
    active_too: bool
    undo: UndoLog | None
    done: Totals = field(default_factory=Totals)
    """What was deleted so far."""
    left: int = 0
    """Rows that had changed, or whose run had become active, since the plan was made."""

    def run(self) -> None:
        """Delete every row of the plan.

        Raises:
            DatabaseError: the database stopped; what was deleted until then is in `done`.
        """
        most = self.batch_size
        rows = self.plan.rows_to_delete()
        waiting: list[RowToDelete] = []
        worked = 0.0
        while True:
            batch, waiting = _batch(rows, waiting, most)
            if not batch:
                return
            started = time.monotonic()
            self._delete(batch)
            spent = time.monotonic() - started
            if spent > self.lock_timeout_s / 2 and most > 1:
                # Others wait for our locks as long as a batch takes.
                most = max(1, most // 2)
            worked += spent
            rest = self.pause_s
            if worked > 2 * self.deleter.breather_s:
                rest, worked = max(rest, self.deleter.breather_s), 0.0
            if rest:
                time.sleep(rest)

    def _delete(self, batch: list[RowToDelete]) -> None:
        """Delete a batch, after a short rest once more where another session holds its rows."""

        def count(deleted: list[RowToDelete]) -> None:
            for row in deleted:
                self.done.add(row)
            self.left += len(batch) - len(deleted)

        for attempt in itertools.count(1):
            try:
                self.deleter.delete(
                    batch, active_too=self.active_too, undo=self.undo, deleted=count
                )
            except LockedError:
                if attempt == _ATTEMPTS:
                    raise
                time.sleep(self.pause_s + 0.1 * attempt)
            else:
                return


def _batch(
    rows: Iterator[RowToDelete], waiting: list[RowToDelete], most: int
) -> tuple[list[RowToDelete], list[RowToDelete]]:
    """Return the next rows, few and small enough for one transaction, and the one that is next."""
    batch = waiting
    size = sum(int(row.size or 0) for row in batch)
    while len(batch) < most:
        row = next(rows, None)
        if row is None:
            break
        size += row.size or 0
        if batch and size > _BATCH_BYTES:
            return batch, [row]
        batch.append(row)
    return batch, []
