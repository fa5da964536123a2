"""Writes the records of an export or an undo file back into a database, or says why not."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, Protocol

import sqlalchemy as sa

from xcomctl.db.write.statements import KEY_LENGTH, Place, Statements
from xcomctl.db.write.transaction import transaction
from xcomctl.exchange.entries import absence_line, undo_line
from xcomctl.model import UNMAPPED, Encoding, Size, XComEntry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from contextlib import AbstractContextManager
    from datetime import datetime

    from xcomctl.db.backends.base import Element
    from xcomctl.db.read.store import Store
    from xcomctl.db.schema import Schema
    from xcomctl.db.write.transaction import Ending
    from xcomctl.exchange.records import Record
    from xcomctl.model import Facts, Limit, Raw, XComRef

Outcome = Literal["added", "replaced", "unchanged", "removed"]

_RUNS_HELD = 64
"""Runs whose entries are kept in memory; the records of an export come run by run."""


class MisfitError(Exception):
    """A record that does not fit this database, and why."""


@dataclass(slots=True)
class _Run:
    """A run of this database, and what it has."""

    pointer: object
    """What its rows point to it by."""
    run_id: str | None
    instances: frozenset[tuple[str, int]] | None
    """task_id and map_index; None where rows need no task instance."""
    entries: dict[tuple[str, int, str | None], list[XComEntry]]
    """By task_id, map_index and key."""


class RowTarget(Protocol):
    """Where records are written: a database (`RestoreTarget`), or a stand-in in a test.

    Methods raise DatabaseError where the database cannot be read, and RefusedError where it does
    not accept a value.
    """

    @property
    def schema(self) -> Schema:
        """Return the traits of the xcom table."""

    def facts(self) -> Facts:
        """Return product, version and generation."""

    def limits(self) -> list[Limit]:
        """Return the limits on a value, the one in force first."""

    def transaction(self, ending: Ending) -> AbstractContextManager[None]:
        """Commit everything inside the block, or nothing."""

    def run_of(self, ref: XComRef) -> tuple[object, str] | None:
        """Return what rows point to the run by, and its id; None where there is no such run."""

    def bound_date(self, date: datetime) -> object:
        """Return the date of a run that does not exist, as rows point to one."""

    def instances_of(self, dag_id: str, run_id: str) -> frozenset[tuple[str, int]] | None:
        """Return task_id and map_index of a run's task instances; None where none are kept."""

    def entries_of(self, dag_id: str, pointer: object) -> list[XComEntry]:
        """Return the entries of a run, without their values; 1.10's duplicates newest first."""

    def read(self, entry: XComEntry) -> Raw:
        """Return the whole value of an entry as it is stored."""

    def insert(
        self,
        place: Place,
        raw: Raw,
        timestamp: datetime,
        others: Iterable[tuple[str, object]] = (),
    ) -> None:
        """Insert a row, inside a transaction."""

    def delete(self, entry: XComEntry) -> None:
        """Delete a row, inside a transaction."""


class RestoreTarget:
    """An open metadata database as `Restore` sees it. Implements `RowTarget`."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._table = store.table
        self._backend = store.table.backend
        self._statements = Statements(store)
        self.schema = store.schema
        self.facts = store.facts
        self.limits = store.limits
        self.entries_of = store.entries.of_run
        self.read = store.entries.read
        self.insert = self._statements.insert
        self.delete = self._statements.delete

    def transaction(self, ending: Ending) -> AbstractContextManager[None]:
        """Commit everything inside the block, or nothing."""
        return transaction(self._table, ending)

    def run_of(self, ref: XComRef) -> tuple[object, str] | None:
        """Return what rows point to the run by, and its id; None where there is no such run."""
        if not self._table.joined:
            return None
        run = self._table.run.c
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
        statement = statement.order_by(run.id.desc()).limit(1)
        with self._table.explained():
            found = self._table.connection.execute(statement).first()
        return None if found is None else (found[0], str(found[1]))

    def bound_date(self, date: datetime) -> object:
        """Return the date of a run that does not exist, as rows point to one."""
        return self._backend.bound_moment(date)

    def instances_of(self, dag_id: str, run_id: str) -> frozenset[tuple[str, int]] | None:
        """Return task_id and map_index of a run's task instances; None where none are kept."""
        columns = self._table.columns["task_instance"]
        if "run_id" not in columns or "map_index" not in columns:
            return None
        instance, same = self._table.named("task_instance"), self._backend.same
        statement = sa.select(instance.c.task_id, instance.c.map_index).where(
            same(instance.c.dag_id, dag_id), same(instance.c.run_id, run_id)
        )
        with self._table.explained():
            rows = self._table.connection.execute(statement).all()
        return frozenset((str(row[0]), int(row[1])) for row in rows)


class Restore:
    """Writes record by record; without `write` it only says what would happen."""

    def __init__(
        self,
        target: RowTarget,
        dags: Mapping[str, str],
        *,
        write: bool,
        replace_: bool,
        keep: Callable[[bytes], None] | None = None,
    ) -> None:
        """`keep` is given, line by line, what an undo file has to hold."""
        self._target = target
        self._keep = keep
        self._dags = dags
        self._write = write
        self._replace = replace_
        self._sqlite = target.facts().backend == "sqlite"
        self._limit = target.limits()[0]
        self._runs: OrderedDict[tuple[object, ...], _Run] = OrderedDict()
        self._undone: set[int] = set()
        """Hashes of the names that an undo file has restored, which it may name again."""

    def apply(self, record: Record) -> Outcome:
        """Write one record, and return what that did.

        Raises:
            MisfitError: it does not fit, or is there with another value and `replace_` is off.
            DatabaseError, RefusedError: the database did not do it.
        """
        dag_id = self._dags.get(record.ref.dag_id, record.ref.dag_id)
        record = replace(record, ref=replace(record.ref, dag_id=dag_id))
        run = self._run(record)
        ref = replace(record.ref, run_id=run.run_id)
        name = (ref.task_id, ref.map_index, ref.key)
        there = run.entries.get(name, [])
        if record.undo is not None and self._is_undone(record, ref, run):
            return "unchanged"
        if record.undo == "remove":
            return self._remove(there, record, run, name)
        if run.instances is not None and name[:2] not in run.instances:
            index = "" if ref.map_index == UNMAPPED else f" with map_index {ref.map_index}"
            raise MisfitError(f'there is no task instance of "{ref.task_id}"{index} in the run')
        if there and not there[0].row:
            raise MisfitError("the file contains it twice")
        raw = self._fitting(record)
        same = [one for one in there if one.timestamp == record.timestamp]
        if any(self._target.read(one) == raw for one in same):
            return "unchanged"
        if there and not self._replace:
            raise MisfitError("it already exists, with another value or time")
        place = Place(ref, run.pointer)
        outcome: Outcome = "replaced" if there else "added"
        if self._write:
            assert record.timestamp is not None, "what fits has one"
            if there:
                self._take_away(there[0])
            elif self._keep:
                self._keep(absence_line(ref))
            self._target.insert(place, raw, record.timestamp, record.others)
        if self._target.schema.generation.name == "1.10":
            # Rows of one name may be many there, and each is a record of its own.
            run.entries[name] = there[1:]
        else:
            run.entries[name] = [XComEntry(ref, None, record.timestamp, Encoding.UNKNOWN, ())]
        return outcome

    def _is_undone(self, record: Record, ref: XComRef, run: _Run) -> bool:
        """Return whether an earlier line of an undo file was about this XCom; remember it.

        The first one counts: a command that went on after an interruption can have written the
        same line again, or a later state of the same XCom.
        """
        name = hash((run.pointer, ref.dag_id, ref.task_id, ref.map_index, ref.key, record.row_id))
        if name in self._undone:
            return True
        self._undone.add(name)
        return False

    def _remove(
        self,
        there: list[XComEntry],
        record: Record,
        run: _Run,
        name: tuple[str, int, str | None],
    ) -> Outcome:
        if not there:
            return "unchanged"
        if not self._replace:
            raise MisfitError("it did not exist when the undo file was written, and now it does")
        if self._write:
            self._take_away(there[0])
        run.entries[name] = there[1:]
        return "removed"

    def _take_away(self, entry: XComEntry) -> None:
        if self._keep:
            raw, storage = self._target.read(entry), self._target.schema.storage
            self._keep(undo_line(entry, raw, storage))
        self._target.delete(entry)

    # --- does it fit? -------------------------------------------------------------------------

    def _fitting(self, record: Record) -> Raw:
        """Return the value as it is stored here."""
        schema = self._target.schema
        ref = record.ref
        if record.timestamp is None:
            raise MisfitError("it has no timestamp")
        if ref.key is None and schema.generation.name != "1.10":
            raise MisfitError("it has no key")
        if ref.map_index != UNMAPPED and not schema.mapped:
            raise MisfitError("it is of a mapped task, which this Airflow does not support")
        if not self._sqlite and len(ref.key or "") > KEY_LENGTH:
            raise MisfitError(f"its key has more than {KEY_LENGTH} characters")
        if self._sqlite and schema.storage == "json" and record.encoding == "pickle":
            raise MisfitError("its value is a pickle, which Airflow 3 does not read")
        try:
            raw = record.raw(schema.storage, sqlite=self._sqlite)
        except ValueError as error:
            raise MisfitError(str(error)) from None
        size = Size(len(record.data or b""))
        counted = schema.storage == "bytes" or self._target.facts().backend != "postgresql"
        if counted and size > self._limit.size:
            raise MisfitError(
                f"its {size} exceed the limit of {self._limit.size}: {self._limit.source}"
            )
        return raw

    def _run(self, record: Record) -> _Run:
        ref = record.ref
        date = None if ref.run_id else ref.logical_date
        name = (ref.dag_id, ref.run_id, date, record.dag_run_id)
        found = self._runs.get(name)
        if found is None:
            found = self._load(record)
            self._runs[name] = found
            if len(self._runs) > _RUNS_HELD:
                self._runs.popitem(last=False)
        self._runs.move_to_end(name)
        return found

    def _load(self, record: Record) -> _Run:
        target, ref = self._target, record.ref
        mapped = target.schema.mapped
        if ref.run_id is None and ref.logical_date is None:
            raise MisfitError("it does not name a run")
        orphan = mapped and record.dag_run_id is not None
        known = None if orphan else target.run_of(ref)
        if known is not None:
            pointer, run_id = known
        elif not mapped and ref.run_id is None and ref.logical_date is not None:
            # As old Airflows leave it: nothing but its date names the run.
            pointer, run_id = target.bound_date(ref.logical_date), None
        elif orphan:
            pointer, run_id = record.dag_run_id, ref.run_id
        else:
            raise MisfitError(f'there is no run "{ref.run}" of the DAG "{ref.dag_id}"')
        entries: dict[tuple[str, int, str | None], list[XComEntry]] = {}
        for entry in target.entries_of(ref.dag_id, pointer):
            one = entry.ref
            entries.setdefault((one.task_id, one.map_index, one.key), []).append(entry)
        # Only SQLite takes a row that has no task instance.
        free = not mapped or (orphan and self._sqlite)
        instances = None if free else target.instances_of(ref.dag_id, run_id or "")
        return _Run(pointer, run_id, instances, entries)
