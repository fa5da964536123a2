"""Every statement that changes the xcom table, each in one transaction that is checked inside."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from xcomctl.db.backends.times import to_moment
from xcomctl.db.read.store import Store, pushed
from xcomctl.db.read.table import HEAD_BYTES
from xcomctl.errors import DatabaseError, NotFoundError, RefusedError
from xcomctl.model import UNMAPPED, Selection, Size, XComRef
from xcomctl.text import nearest
from xcomctl.values import encode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from xcomctl.db.backends.base import Backend, Element
    from xcomctl.model import Raw, XComEntry

KEY_LENGTH = 512


@dataclass(frozen=True, slots=True)
class Place:
    """Where an XCom is written: its name, and what the row points to its run by."""

    ref: XComRef
    run: object
    """dag_run_id, or the execution_date as the driver has it."""


@dataclass(frozen=True, slots=True)
class Current:
    """A row with its value, as it was when it was read."""

    entry: XComEntry
    raw: Raw


class Writer(Store):
    """An open metadata DB that may be written, unless it was opened for a plan only."""

    def __init__(self, backend: Backend) -> None:
        super().__init__(backend)
        self._xcom = self._table("xcom", self._columns["xcom"])
        required = self.schema.unknown_required
        if required and backend.writes:
            raise RefusedError(
                f'cannot write: no known Airflow has the column "xcom.{required[0]}", which '
                "must be filled",
                hint="Reading is safe. A newer xcomctl may know this layout.",
            )

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Do everything inside or nothing.

        Raises:
            DatabaseError: the database did not do it, or the connection was lost.
            RefusedError: the database does not take a value.
        """
        with self._explained():
            self._connection.rollback()
            self._backend.begin()
            try:
                yield
            except BaseException:
                with contextlib.suppress(sa.exc.DBAPIError):
                    self._connection.rollback()
                raise
            try:
                self._connection.commit()
            except sa.exc.DBAPIError as error:
                if not error.connection_invalidated:
                    raise
                raise DatabaseError(
                    "the connection was lost while the change was being committed",
                    detail="Whether it was made is not known here.",
                    hint='"xcomctl pull" or "xcomctl list" tell.',
                ) from None

    # --- where to -----------------------------------------------------------------------------

    def place(
        self, dag_id: str, task_id: str, key: str, run_id: str | None, map_index: int
    ) -> Place:
        """Return where the XCom goes: in the run, or in the newest with that task instance.

        Raises:
            NotFoundError: there is no such run or task instance.
        """
        found = self._task_instance(dag_id, task_id, run_id, map_index)
        if found is None:
            with self._explained():
                raise self._missing(dag_id, task_id, run_id, map_index)
        run, named = found
        return Place(XComRef(dag_id, task_id, named, key, map_index), run)

    def _task_instance(
        self, dag_id: str, task_id: str, run_id: str | None, map_index: int
    ) -> tuple[Any, str] | None:
        """Return what points to the run, and the run's id, of the newest task instance."""
        columns = self._columns["task_instance"]
        if not columns or not self._joined:
            raise DatabaseError(
                "cannot write: the tables task_instance and dag_run are not both there",
                detail="Airflow reads an XCom of theirs only.",
            )
        instance = self._table("task_instance", columns).alias("t")
        run, same = self._run.c, self._backend.same
        by = "run_id" if "run_id" in columns else "execution_date"
        pointer = run.id if self.schema.mapped else run.execution_date
        if map_index != UNMAPPED and "map_index" not in columns:
            return None
        matching = (
            self._backend.same_column(instance.c[by], run[by])
            if by == "run_id"
            else instance.c[by] == run[by]
        )
        conditions: list[Element] = [
            same(run.dag_id, dag_id),
            same(instance.c.dag_id, dag_id),
            same(instance.c.task_id, task_id),
        ]
        if run_id is not None:
            conditions.append(self._run_named(run_id))
        if "map_index" in columns:
            conditions.append(instance.c.map_index == map_index)
        statement = (
            sa.select(pointer, run.run_id)
            .select_from(sa.join(self._run, instance, matching))
            .where(*conditions)
            .order_by(pointer.desc())
            .limit(1)
        )
        with self._explained():
            row = self._connection.execute(statement).first()
        return None if row is None else (row[0], str(row[1]))

    def _missing(
        self, dag_id: str, task_id: str, run_id: str | None, map_index: int
    ) -> NotFoundError:
        """Return the error that names what is not there, and what is near."""
        named = f'"{dag_id}/{run_id}/{task_id}"' if run_id else f'"{dag_id}/{task_id}"'
        index = "" if map_index == UNMAPPED else f" with map_index {map_index}"
        message = f"there is no task instance {named}{index}"
        run = self._run.c
        if run_id is not None and not self.has_run(dag_id, run_id):
            runs = self._distinct(self._run, "run_id", self._backend.same(run.dag_id, dag_id))
            near = nearest(run_id, runs)
            return NotFoundError(
                f'there is no run "{run_id}" of the DAG "{dag_id}"',
                hint=f'Did you mean "{near}"?' if near else "--run-id takes the run's whole id.",
            )
        instance = self._table("task_instance", self._columns["task_instance"]).alias("t")
        of_dag = self._backend.same(instance.c.dag_id, dag_id)
        tasks = self._distinct(instance, "task_id", of_dag)
        if not tasks:
            dags = self._distinct(self._run, "dag_id")
            near = nearest(dag_id, dags)
            return NotFoundError(
                message,
                detail=f'No run of a DAG "{dag_id}" has any.',
                hint=f'Did you mean the DAG "{near}"?' if near else None,
            )
        if task_id not in tasks:
            grouped = [task for task in tasks if task.endswith(f".{task_id}")]
            near = grouped[0] if grouped else nearest(task_id, tasks)
            return NotFoundError(
                message,
                detail=f'The DAG has no task "{task_id}" in any run.',
                hint=f'Did you mean the task "{near}"?' if near else None,
            )
        if "map_index" in instance.c:
            conditions = [of_dag, self._backend.same(instance.c.task_id, task_id)]
            if run_id is not None:
                conditions.append(self._backend.same(instance.c.run_id, run_id))
            indexes = sorted(map(int, self._distinct(instance, "map_index", *conditions)))
            if indexes and map_index not in indexes:
                some = ", ".join(map(str, indexes[:12]))
                return NotFoundError(message, detail=f"There are map_index {some}.")
        return NotFoundError(
            message,
            detail="Airflow reads an XCom of a task instance only.",
            hint="A task instance is there once the scheduler has seen the run's task.",
        )

    def _distinct(self, table: sa.FromClause, column: str, *conditions: Element) -> list[str]:
        statement = sa.select(table.c[column]).where(*conditions).distinct().limit(1000)
        return [str(one) for one in self._connection.execute(statement).scalars()]

    def current(self, place: Place) -> list[Current]:
        """Return the rows that are there now, with their values; 1.10's duplicates newest first."""
        ref = place.ref
        found = self.find(
            ref.dag_id, ref.task_id, ref.key or "", run_id=ref.run_id, map_index=ref.map_index
        )
        if self.schema.mapped:
            # A row that points to another run is none of this one's.
            found = [entry for entry in found if entry.row[0] == place.run]
        return [Current(entry, self.read(entry)) for entry in found]

    def pickles(self, most: int = 100) -> bool | None:
        """Return whether most of the newest XComs are pickles, None where there is no XCom.

        Single ones of the other kind come from scripts, or from before the setting changed.
        """
        x = self._x.c
        order = x.id if "id" in x else x.timestamp
        head = self._backend.head(x.value, self.schema.storage, 2)
        statement = sa.select(head).order_by(order.desc()).limit(most)
        with self._explained():
            heads = [
                self._backend.fetched(one) for one in self._connection.execute(statement).scalars()
            ]
        if not heads:
            return None
        pickled = sum(isinstance(one, bytes) and one[:1] == b"\x80" for one in heads)
        return 2 * pickled >= len(heads)

    def expected_length(self, place: Place) -> int | None:
        """Return how many tasks a mapped task downstream was told to make of this XCom's value.

        None where nothing is mapped over it, or where that is not known.
        """
        columns = self._backend.columns("task_map") if self.schema.mapped else {}
        if "length" not in columns:
            return None
        table, same, ref = self._table("task_map", columns).c, self._backend.same, place.ref
        statement = sa.select(table.length).where(
            same(table.dag_id, ref.dag_id),
            same(table.task_id, ref.task_id),
            same(table.run_id, ref.run_id or ""),
            table.map_index == ref.map_index,
        )
        try:
            with self._explained():
                found = self._connection.scalar(statement)
        except DatabaseError:
            return None
        return None if found is None else int(found)

    # --- one ----------------------------------------------------------------------------------

    def write(
        self,
        place: Place,
        encoded: encode.Encoded,
        expected: Current | None,
        *,
        accept: Callable[[Size], None],
        keep: Callable[[], None],
    ) -> XComEntry:
        """Write one value over what was expected to be there, and return the new entry.

        `accept` is told the size that the database measured, and `keep` is called when all is
        well: each may still raise, before anything is committed.

        Raises:
            RefusedError: another value is there than was expected, or the database would give
                back another than was written.
            NotFoundError: the task instance is gone.
            DatabaseError: the database did not do it.
        """
        with self.transaction():
            self._take(place, expected)
            first, *others = self._forms(encoded)
            if expected is None:
                self._insert(place, first)
            else:
                self._update(expected.entry, first)
            (written,) = self._exactly(place, expected)
            while not self._gives_back(written.raw, encoded):
                if not others:
                    raise self._altered(encoded, written.raw)
                self._update(written.entry, others.pop(0), once_more=True)
                (written,) = self._exactly(place, expected)
            accept(written.entry.size or Size(0))
            keep()
        return written.entry

    def _take(self, place: Place, expected: Current | None) -> None:
        """Lock what is about to change, and make sure that it is what was seen."""
        ref = place.ref
        self.place(ref.dag_id, ref.task_id, ref.key or "", ref.run_id, ref.map_index)
        if self.schema.generation.name == "1.10":
            # No unique key keeps two rows of one name apart; the run's row does while it is held.
            run = self._run.c
            lock = sa.select(run.id).where(
                self._backend.same(run.dag_id, place.ref.dag_id), run.execution_date == place.run
            )
            self._connection.execute(self._backend.locked(lock)).all()
        if expected is None:
            if self.current(place):
                raise _pushed_meanwhile(place.ref)
            return
        x = self._x.c
        raw = self._backend.raw(x.value, self.schema.storage)
        lock = sa.select(raw, x.timestamp).select_from(self._x)
        row = self._connection.execute(
            self._backend.locked(lock.where(*self._is_row(expected.entry)))
        ).first()
        if row is None or self._backend.fetched(row[0]) != expected.raw:
            raise _pushed_meanwhile(place.ref)
        if to_moment(row[1]) != expected.entry.timestamp:
            raise _pushed_meanwhile(place.ref)

    def _forms(self, encoded: encode.Encoded) -> list[Raw]:
        """Return the forms in which a value can be stored, Airflow's own first."""
        if self.schema.storage == "bytes":
            return [encoded.data]
        if self._backend.name == "sqlite":
            # The column has NUMERIC affinity, which makes 10.0 an integer; bytes escape it, and
            # every Airflow 3 reads them.
            return [encoded.text, encoded.data]
        if self._backend.name == "postgresql":
            return [encoded.text, encode.floats_spelled_out(encoded.value)]
        return [encoded.text]

    def _gives_back(self, raw: Raw, encoded: encode.Encoded) -> bool:
        if self.schema.storage == "bytes":
            return raw == encoded.data
        if isinstance(raw, str | bytes):
            raw_value: object = encode.parse(raw if isinstance(raw, str) else raw.decode())
        else:
            raw_value = raw
        return encode.same(encoded.value, raw_value)

    def _altered(self, encoded: encode.Encoded, raw: Raw) -> RefusedError:
        shown = raw.decode("utf-8", "replace") if isinstance(raw, bytes) else str(raw)
        return RefusedError(
            "cannot push this value: the database would give another one back",
            detail=f"Sent {encoded.text[:200]}, and read back {shown[:200]}.",
            hint="Nothing was changed. A text comes back as it is, whatever it says.",
        )

    def _insert(self, place: Place, raw: Raw) -> None:
        try:
            self._connection.execute(self._insertion(place, raw, datetime.now(UTC), False))
        except sa.exc.DBAPIError as error:
            cause = error.orig if error.orig is not None else error
            objection = self._backend.objection(cause)
            if objection == "exists":
                raise _pushed_meanwhile(place.ref, self._twins(place)) from None
            if objection == "no parent":
                raise NotFoundError(
                    f'the task instance of "{place.ref}" was deleted a moment ago'
                ) from None
            raise

    def _insertion(
        self, place: Place, raw: Raw, timestamp: datetime, dag_result: bool | None
    ) -> sa.Insert:
        ref = place.ref
        given: dict[str, object] = {
            "dag_id": ref.dag_id,
            "task_id": ref.task_id,
            "key": ref.key,
            "value": self._backend.stored(raw, self.schema.storage),
            "timestamp": self._backend.bound_moment(timestamp),
        }
        if self.schema.mapped:
            given |= {"dag_run_id": place.run, "run_id": ref.run_id, "map_index": ref.map_index}
        else:
            given["execution_date"] = place.run
        if "dag_result" in self._xcom.c and dag_result is not None:
            given["dag_result"] = dag_result
        return sa.insert(self._xcom).values(given)

    def _twins(self, place: Place) -> str | None:
        """Return the key that the database takes for this one although it is another."""
        try:
            keys = self.names("key", place.ref.dag_id, place.ref.task_id, run_id=place.ref.run_id)
        except DatabaseError:
            return None
        bare = (place.ref.key or "").rstrip().casefold()
        return next(
            (key for key in keys if key != place.ref.key and key.rstrip().casefold() == bare), None
        )

    def _update(self, entry: XComEntry, raw: Raw, *, once_more: bool = False) -> None:
        values: dict[str, object] = {"value": self._backend.stored(raw, self.schema.storage)}
        if not once_more:
            values["timestamp"] = self._backend.bound_moment(datetime.now(UTC))
        statement = sa.update(self._xcom).where(*self._is_row(entry, self._xcom)).values(values)
        changed = self._connection.execute(statement).rowcount
        if changed != 1:
            raise RefusedError(
                f'could not replace "{entry.ref}": the database would change {changed} rows',
                hint="Nothing was changed.",
            )

    def _exactly(self, place: Place, expected: Current | None) -> list[Current]:
        """Return the one row that was written, as another reader will find it."""
        found = self.current(place)
        if self.schema.generation.name == "1.10" and expected is not None:
            found = [one for one in found if one.entry.row == expected.entry.row]
        if len(found) != 1:
            raise DatabaseError(
                f'could not read "{place.ref}" back after it was written',
                detail=f"{len(found)} rows have this name.",
                hint="Nothing was changed.",
            )
        return found

    # --- record by record ---------------------------------------------------------------------

    def run_of(self, ref: XComRef) -> tuple[object, str] | None:
        """Return what rows point to a run by, and its id; None where there is no such run."""
        if not self._joined:
            return None
        run = self._run.c
        pointer = run.id if self.schema.mapped else run.execution_date
        if ref.run_id is not None:
            named: Element = self._backend.same(run.run_id, ref.run_id)
        elif ref.logical_date is not None:
            date = self._backend.moment(run[self.schema.run_date or ""])
            named = date == self._backend.bound_moment(ref.logical_date)
        else:
            return None
        statement = sa.select(pointer, run.run_id).where(
            self._backend.same(run.dag_id, ref.dag_id), named
        )
        with self._explained():
            found = self._connection.execute(statement.order_by(run.id.desc()).limit(1)).first()
        return None if found is None else (found[0], str(found[1]))

    def bound_date(self, date: datetime) -> object:
        """Return the date of a run that is not there, as rows point to one."""
        return self._backend.bound_moment(date)

    def instances_of(self, dag_id: str, run_id: str) -> frozenset[tuple[str, int]] | None:
        """Return task_id and map_index of a run's task instances, None where none are kept."""
        columns = self._columns["task_instance"]
        if "run_id" not in columns or "map_index" not in columns:
            return None
        instance, same = self._table("task_instance", columns), self._backend.same
        statement = sa.select(instance.c.task_id, instance.c.map_index).where(
            same(instance.c.dag_id, dag_id), same(instance.c.run_id, run_id)
        )
        with self._explained():
            rows = self._connection.execute(statement).all()
        return frozenset((str(row[0]), int(row[1])) for row in rows)

    def entries_of(self, dag_id: str, pointer: object) -> list[XComEntry]:
        """Return the entries of a run, without their values; 1.10's duplicates newest first."""
        x = self._x.c
        by = x.dag_run_id if self.schema.mapped else x.execution_date
        base = self._base(Selection(), text=False, stored=False, heads=HEAD_BYTES)
        base = base.add_columns(self._orphan())
        statement = base.where(self._backend.same(x.dag_id, dag_id), by == pointer)
        with self._explained():
            rows = self._connection.execute(statement).all()
        return sorted(map(self._entry, rows), key=pushed, reverse=True)

    def insert(self, place: Place, raw: Raw, timestamp: datetime) -> None:
        """Add a row, inside a transaction."""
        self._connection.execute(self._insertion(place, raw, timestamp, None))

    def remove_entry(self, entry: XComEntry) -> None:
        """Take a row away, inside a transaction."""
        self._connection.execute(sa.delete(self._xcom).where(*self._is_row(entry, self._xcom)))


def _pushed_meanwhile(ref: XComRef, twin: str | None = None) -> RefusedError:
    if twin is not None:
        return RefusedError(
            f'cannot write "{ref}": the database takes its key for "{twin}", which is there',
            detail="It compares without regard to trailing spaces or case, as this Airflow does "
            "when it deletes.",
            hint="Nothing was changed. Choose another key.",
        )
    return RefusedError(
        f'did not write "{ref}": somebody else has changed it a moment ago',
        hint='Nothing was changed. "xcomctl pull" shows what is there now.',
    )
