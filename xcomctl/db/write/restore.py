"""Writes the records of an export or an undo file back into a database, or says why not."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

from xcomctl.db.write.statements import KEY_LENGTH, NewRow
from xcomctl.model import UNMAPPED, Encoding, Size, XComEntry, XComRef

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractContextManager

    from xcomctl.db.schema import Schema
    from xcomctl.db.write.transaction import Ending
    from xcomctl.exchange.records import Record
    from xcomctl.model import Facts, Limit, Raw

Outcome = Literal["added", "replaced", "unchanged", "removed"]

_RUNS_HELD = 1024
"""Number of runs whose written rows are remembered. The records of an export come run by run."""

Name = tuple[str, int, str | None]
"""task_id, map_index and key: an XCom of a run."""


class MisfitError(Exception):
    """A record that does not fit this database, and why."""


@dataclass(slots=True)
class Spot:
    """Where a record goes in this database, and the rows that exist there."""

    pointer: object
    """What the rows of its run point to the run by."""
    run_id: str | None
    has_instance: bool
    """Whether its task instance exists, or none is needed."""
    entries: Sequence[XComEntry]
    """The rows of its name; 1.10's duplicates newest first."""


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

    def spots(self, records: Sequence[Record]) -> list[Spot | None]:
        """Return where each record goes; None where this database does not have its run."""

    def values(self, entries: Sequence[XComEntry]) -> Mapping[tuple[object, ...], Raw]:
        """Return whole values by `entry.row`; those that are many or large may be missing."""

    def read(self, entry: XComEntry) -> Raw:
        """Return the whole value of an entry as it is stored."""

    def lines_to_restore(self, entries: Sequence[XComEntry]) -> Sequence[bytes]:
        """Return the lines of an undo file that bring these rows back."""

    def line_to_remove(self, row: NewRow) -> bytes:
        """Return the line of an undo file that takes this new row away again."""

    def delete(self, entries: Sequence[XComEntry]) -> None:
        """Delete rows, inside a transaction."""

    def insert(self, rows: Sequence[NewRow]) -> None:
        """Insert rows, inside a transaction."""


class _Written(NamedTuple):
    """What a page of records changes."""

    taken: list[XComEntry]
    added: list[NewRow]
    absent: list[NewRow]
    """Added rows whose names had none before."""


class Restore:
    """Writes records page by page; without `write` it only says what would happen."""

    def __init__(
        self,
        target: RowTarget,
        dags: Mapping[str, str],
        *,
        write: bool,
        replace_: bool,
        keep: Callable[[bytes], None] | None = None,
    ) -> None:
        """`keep` is given what an undo file has to hold, before anything is changed."""
        self._target = target
        self._keep = keep
        self._dags = dags
        self._write = write
        self._replace = replace_
        facts = target.facts()
        self._sqlite = facts.backend == "sqlite"
        self._limit = target.limits()[0]
        self._counts_bytes = target.schema.storage == "bytes" or facts.backend != "postgresql"
        self._has_duplicates = target.schema.generation.name == "1.10"
        self._runs: OrderedDict[tuple[str, object], dict[Name, Sequence[XComEntry]]] = OrderedDict()
        """By run, the rows of names that an earlier record was about."""
        self._undone: set[int] = set()
        """Hashes of the names that an undo file has restored, which it may name again."""
        self._values: Mapping[tuple[object, ...], Raw] = {}

    def apply(self, records: Sequence[Record]) -> list[Outcome | MisfitError]:
        """Write a page of records, and return what became of each.

        A MisfitError: it does not fit, or exists with another value and `replace_` is off.

        Raises:
            DatabaseError, RefusedError: the database did not do it.
        """
        if self._dags:
            records = [self._renamed(record) for record in records]
        spots = self._target.spots(records)
        self._values = self._read_what_may_be_equal(records, spots)
        written = _Written([], [], [])
        outcomes: list[Outcome | MisfitError] = []
        for record, spot in zip(records, spots, strict=True):
            try:
                outcomes.append(self._apply(record, spot, written))
            except MisfitError as misfit:
                outcomes.append(misfit)
        if self._write:
            self._change(written)
        return outcomes

    def _renamed(self, record: Record) -> Record:
        dag_id = self._dags.get(record.ref.dag_id, record.ref.dag_id)
        return record._replace(ref=replace(record.ref, dag_id=dag_id))

    def _read_what_may_be_equal(
        self, records: Sequence[Record], spots: Sequence[Spot | None]
    ) -> Mapping[tuple[object, ...], Raw]:
        same_time = [
            entry
            for record, spot in zip(records, spots, strict=True)
            if spot is not None and spot.entries
            for entry in spot.entries
            if entry.timestamp == record.timestamp
        ]
        return self._target.values(same_time) if same_time else {}

    def _apply(self, record: Record, spot: Spot | None, written: _Written) -> Outcome:
        """Determine the outcome of one record, and what it takes."""
        ref = record.ref
        if spot is None:
            if ref.run_id is None and ref.logical_date is None:
                raise MisfitError("it does not name a run")
            raise MisfitError(f'there is no run "{ref.run}" of the DAG "{ref.dag_id}"')
        if ref.run_id != spot.run_id:
            ref = replace(ref, run_id=spot.run_id)
        run = self._run(ref.dag_id, spot.pointer)
        name = (ref.task_id, ref.map_index, ref.key)
        there = run.get(name, spot.entries)
        if record.undo is not None and self._is_undone(record, ref, spot.pointer):
            return "unchanged"
        if record.undo == "remove":
            return self._remove(there, run, name, written)
        if not spot.has_instance:
            index = "" if ref.map_index == UNMAPPED else f" with map_index {ref.map_index}"
            raise MisfitError(f'there is no task instance of "{ref.task_id}"{index} in the run')
        if there and not there[0].row:
            raise MisfitError("the file contains it twice")
        raw = self._fitting(record)
        if there:
            same = [one for one in there if one.timestamp == record.timestamp]
            if any(self._value(one) == raw for one in same):
                return "unchanged"
            if not self._replace:
                raise MisfitError("it already exists, with another value or time")
            written.taken.append(there[0])
        assert record.timestamp is not None, "what fits has one"
        row = NewRow(record.line, ref, spot.pointer, raw, record.timestamp, record.others)
        written.added.append(row)
        if not there:
            written.absent.append(row)
        # Rows of one name may be many in 1.10, and each is a record of its own.
        run[name] = there[1:] if self._has_duplicates else _WRITTEN
        return "replaced" if there else "added"

    def _run(self, dag_id: str, pointer: object) -> dict[Name, Sequence[XComEntry]]:
        """Return what was written in this run."""
        named = (dag_id, pointer)
        found = self._runs.get(named)
        if found is None:
            found = self._runs[named] = {}
            if len(self._runs) > _RUNS_HELD:
                self._runs.popitem(last=False)
        else:
            self._runs.move_to_end(named)
        return found

    def _value(self, entry: XComEntry) -> Raw:
        if entry.row in self._values:
            return self._values[entry.row]
        return self._target.read(entry)

    def _is_undone(self, record: Record, ref: XComRef, pointer: object) -> bool:
        """Return whether an earlier line of an undo file was about this XCom; remember it.

        The first one counts: a command that went on after an interruption can have written the
        same line again, or a later state of the same XCom.
        """
        name = hash((pointer, ref.dag_id, ref.task_id, ref.map_index, ref.key, record.row_id))
        if name in self._undone:
            return True
        self._undone.add(name)
        return False

    def _remove(
        self,
        there: Sequence[XComEntry],
        run: dict[Name, Sequence[XComEntry]],
        name: Name,
        written: _Written,
    ) -> Outcome:
        if not there:
            return "unchanged"
        if not there[0].row:
            raise MisfitError("the file contains it twice")
        if not self._replace:
            raise MisfitError("it did not exist when the undo file was written, and now it does")
        written.taken.append(there[0])
        run[name] = there[1:]
        return "removed"

    def _change(self, written: _Written) -> None:
        """Keep what an undo file needs, and change the rows."""
        taken, added, absent = written
        if self._keep:
            for line in self._target.lines_to_restore(taken) if taken else ():
                self._keep(line)
            for row in absent:
                self._keep(self._target.line_to_remove(row))
        if taken:
            self._target.delete(taken)
        if added:
            self._target.insert(added)

    # --- does it fit? -------------------------------------------------------------------------

    def _fitting(self, record: Record) -> Raw:
        """Return the value as it is stored here."""
        schema = self._target.schema
        ref = record.ref
        if record.timestamp is None:
            raise MisfitError("it has no timestamp")
        if ref.key is None and not self._has_duplicates:
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
        size = len(record.data or b"")
        if self._counts_bytes and size > self._limit.size:
            raise MisfitError(
                f"its {Size(size)} exceed the limit of {self._limit.size}: {self._limit.source}"
            )
        return raw


_WRITTEN = (XComEntry(XComRef("", "", None, None), None, None, Encoding.UNKNOWN, ()),)
"""Stands for a row that was written a moment ago."""
