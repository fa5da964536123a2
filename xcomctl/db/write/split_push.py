"""Pushes one value in Airflow 3.4: into xcom_v2, for the current attempt, as Airflow does."""

from __future__ import annotations

import os
import time
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from xcomctl.db.read import split
from xcomctl.db.write.push import Push, pushed_meanwhile
from xcomctl.db.write.statements import Current, Place
from xcomctl.db.write.undo import lines_to_remove
from xcomctl.errors import DatabaseError, NotFoundError, UsageError
from xcomctl.model import UNMAPPED, XComRef

if TYPE_CHECKING:
    from collections.abc import Iterable

    from xcomctl.db.backends.base import Element
    from xcomctl.db.read.store import Store
    from xcomctl.model import Raw, XComEntry

_CHOICES = 12
"""Task instances of one name that an error lists."""


@dataclass(frozen=True, slots=True)
class Attempt(Place):
    """Where an XCom of Airflow 3.4 is written: in xcom_v2, for one attempt."""

    instance: str
    """Its task_instance.id, as the driver takes it."""
    region: tuple[str, int]
    try_number: int


class SplitPush(Push):
    """Writes single XComs of current attempts. A row of xcom_v1 stays, and is hidden by the new one."""

    def __init__(self, store: Store, region: tuple[str, int] | None = None) -> None:
        """Push into an open metadata database. `region` is needed for a task in a loop."""
        super().__init__(store)
        self._region = region
        self._xcom = self._table.named("xcom_v2")
        self._place: Attempt | None = None

    def place(
        self, dag_id: str, task_id: str, key: str, run_id: str | None, map_index: int
    ) -> Attempt:
        """Return the current attempt in the run, or in the newest that has one.

        Raises:
            NotFoundError: there is no such run or task instance.
            UsageError: the task is in a loop, and several instances are meant.
            DatabaseError: the tables cannot be read.
        """
        table = self._table
        instance = table.named("task_instance").alias("t")
        region, run = table.named("dynamic_region").alias("d"), table.run
        index, region_id, in_loop = split.coordinates(table.columns, instance, region)
        t, same = instance.c, self._backend.same
        of_run = sa.and_(t.dag_id == run.c.dag_id, t.run_id == run.c.run_id)
        joined = sa.join(run, instance, of_run)
        conditions: list[Element] = [
            same(run.c.dag_id, dag_id),
            same(t.task_id, task_id),
            t.working_set.is_(sa.true()),
            index.element == map_index,
        ]
        if run_id is not None:
            conditions.append(same(run.c.run_id, run_id))
        if self._region is not None:
            conditions += [
                region_id.element == self._region[0],
                t.region_index == self._region[1],
            ]
        columns = (run.c.id, run.c.run_id, t.id, region_id, t.region_index, t.try_number, in_loop)
        found = (
            sa.select(*(one.label(f"c{at}") for at, one in enumerate(columns)))
            .select_from(sa.outerjoin(joined, region, region.c.id == t.region_id))
            .where(*conditions)
            .order_by(run.c.id.desc(), t.region_index)
            .limit(1000)
        )
        with table.explained():
            rows = table.connection.execute(found).all()
        rows = [row for row in rows if row[0] == rows[0][0]]
        if not rows:
            raise self._missing(dag_id, task_id, run_id, map_index)
        if len(rows) > 1:
            raise _ambiguous(dag_id, task_id, rows)
        number, named, one, in_region, at, attempt, loops = rows[0]
        name = f"{in_region}:{at}" if loops else None
        ref = XComRef(dag_id, task_id, str(named), key, map_index, region=name)
        return Attempt(ref, number, str(one), (str(in_region), int(at)), int(attempt))

    def _missing(
        self, dag_id: str, task_id: str, run_id: str | None, map_index: int
    ) -> NotFoundError:
        named = f"{dag_id}/{run_id}/{task_id}" if run_id else f"{dag_id}/{task_id}"
        index = "" if map_index == UNMAPPED else f" with map_index {map_index}"
        if self._region is not None:
            index += f" in the region {self._region[0]}:{self._region[1]}"
        if run_id is not None and not self._store.suggest.has_run(dag_id, run_id):
            return NotFoundError(
                f'there is no run "{run_id}" of the DAG "{dag_id}"',
                hint="--run-id needs the full id of the run.",
            )
        return NotFoundError(
            f'there is no current task instance "{named}"{index}',
            detail="Airflow only reads XComs of existing task instances.",
        )

    def current(self, place: Place) -> list[Current]:
        """Return the row that Airflow reads, with its value; none if there is none."""
        assert isinstance(place, Attempt)
        ref, entries = place.ref, self._store.entries
        found = entries.find(
            ref.dag_id, ref.task_id, ref.key or "",
            run_id=ref.run_id, map_index=ref.map_index, region=place.region,
        )  # fmt: skip
        return [Current(one, entries.read(one)) for one in found if one.row[0] == place.run]

    def expected_length(self, place: Place) -> int | None:
        """Return how many tasks Airflow creates downstream for the elements of this XCom."""
        ref = place.ref
        assert isinstance(place, Attempt)
        found = self._store.entries.find(
            ref.dag_id, ref.task_id, ref.key or "",
            run_id=ref.run_id, map_index=ref.map_index, region=place.region,
        )  # fmt: skip
        return next((_length(one) for one in found), None)

    def _lock(self, place: Place, expected: Current | None) -> None:
        """Lock the attempt, and make sure that the XCom is what was seen."""
        assert isinstance(place, Attempt)
        self._place = place
        ref, connection = place.ref, self._table.connection
        if self.place(ref.dag_id, ref.task_id, ref.key or "", ref.run_id, ref.map_index) != place:
            raise NotFoundError(f'the task instance of "{ref}" was cleared a moment ago')
        instance = self._table.named("task_instance").c
        attempt = sa.select(instance.id).where(instance.id == place.instance)
        connection.execute(self._backend.locked(attempt)).all()
        row = sa.select(self._xcom.c.id).where(*self._is_row(place))
        connection.execute(self._backend.locked(row)).all()
        there = [(one.raw, one.entry.timestamp) for one in self.current(place)]
        seen = [] if expected is None else [(expected.raw, expected.entry.timestamp)]
        if there != seen:
            raise pushed_meanwhile(ref)

    def _insert_row(self, place: Place, raw: Raw) -> None:
        self._add(place, raw, None)

    def _add(self, place: Place, raw: Raw, mapped_length: int | None) -> None:
        assert isinstance(place, Attempt)
        kind = self._table.columns["xcom_v2"]["id"].type
        given = {
            "id": split.bound_uuid(new_id(), kind),
            "task_instance_id": place.instance,
            "key": place.ref.key,
            "value": self._backend.stored(raw, self._schema.storage),
            "timestamp": self._backend.bound_moment(datetime.now(UTC)),
            "dag_result": False,
            "mapped_length": mapped_length,
        }
        there = self._table.columns["xcom_v2"]
        given = {name: value for name, value in given.items() if name in there}
        self._table.connection.execute(sa.insert(self._xcom).values(given))

    def _update(self, entry: XComEntry, raw: Raw, *, timestamp: bool = True) -> None:
        assert self._place is not None, "_lock comes first"
        if entry.attempt is not None and entry.attempt.store == "xcom_v1":
            # Airflow never writes there: the new row hides the old one.
            self._add(self._place, raw, _length(entry))
            return
        values: dict[str, Any] = {"value": self._backend.stored(raw, self._schema.storage)}
        if timestamp:
            values["timestamp"] = self._backend.bound_moment(datetime.now(UTC))
            values["dag_result"] = False
        statement = sa.update(self._xcom).where(*self._is_row(self._place)).values(values)
        if self._table.connection.execute(statement).rowcount != 1:
            raise DatabaseError(
                f'could not replace "{entry.ref}": it was deleted a moment ago',
                hint="Nothing was changed.",
            )

    def _lines_to_undo(self, place: Place, expected: Current | None) -> Iterable[bytes]:
        assert isinstance(place, Attempt)
        attempt = None if expected is None else expected.entry.attempt
        if attempt is not None and attempt.store == "xcom_v2":
            return super()._lines_to_undo(place, expected)
        # Without the new row, a row of xcom_v1 is read again.
        where = {
            "try_number": place.try_number,
            "region_id": place.region[0],
            "region_index": place.region[1],
            "store": "xcom_v2",
        }
        return lines_to_remove(place.ref, where)

    def _is_row(self, place: Attempt) -> list[Element]:
        x = self._xcom.c
        return [
            x.task_instance_id == place.instance,
            self._backend.same(x.key, place.ref.key or ""),
        ]


def new_id() -> str:
    """Return a UUID of version 7, as Airflow gives to new rows: they begin with the time.

    https://www.rfc-editor.org/rfc/rfc9562#name-uuid-version-7
    """
    milliseconds, random = time.time_ns() // 1_000_000, int.from_bytes(os.urandom(10), "big")
    number = milliseconds << 80 | random
    number = number & ~(0xF << 76) | 0x7 << 76
    number = number & ~(0x3 << 62) | 0x2 << 62
    return str(uuid.UUID(int=number))


def _length(entry: XComEntry) -> int | None:
    """Return mapped_length, which only a list that a task is mapped over has."""
    length = dict(entry.others).get("mapped_length")
    return length if isinstance(length, int) else None


def _ambiguous(dag_id: str, task_id: str, rows: list[Any]) -> UsageError:
    choices = [f"{row[3]}:{row[4]}" for row in rows[:_CHOICES]]
    more = f" and {len(rows) - _CHOICES} more" if len(rows) > _CHOICES else ""
    return UsageError(
        f'the task "{dag_id}/{task_id}" is in a loop and has {len(rows)} task instances',
        detail=f"Their regions are {', '.join(choices)}{more}.",
        hint="Choose one with --region ID:INDEX.",
    )
