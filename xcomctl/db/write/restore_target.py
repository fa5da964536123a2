"""An open metadata database as `Restore` sees it: looked up and changed a page of rows at a time."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa

from xcomctl.db.write.restore import Spot
from xcomctl.db.write.statements import Statements
from xcomctl.db.write.transaction import transaction
from xcomctl.db.write.undo import RowsToRestore
from xcomctl.errors import DatabaseError
from xcomctl.exchange.entries import absence_line
from xcomctl.model import Selection

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from contextlib import AbstractContextManager

    from xcomctl.db.backends.base import Element
    from xcomctl.db.read.store import Store
    from xcomctl.db.write.restore import Name
    from xcomctl.db.write.statements import NewRow
    from xcomctl.db.write.transaction import Ending
    from xcomctl.exchange.records import Record
    from xcomctl.model import Raw, XComEntry, XComRef

_VALUES_BYTES = 16 * 1024 * 1024
"""Of values that are read at once, to be compared."""

_RUNS_HELD = 64
"""Runs whose entries are kept in memory; the records of an export come run by run."""

Instance = tuple[str, str, str, int]
"""dag_id, run_id, task_id and map_index of a task instance."""


class RestoreTarget:
    """An open metadata database. Implements `RowTarget`."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._table = store.table
        self._backend = store.table.backend
        self._bulk = store.table.backend.bulk()
        self._statements = Statements(store)
        self._to_restore = RowsToRestore(store)
        self._runs = _Runs(store)
        self.schema = store.schema
        self.facts = store.facts
        self.limits = store.limits
        self.read = store.entries.read

    def transaction(self, ending: Ending) -> AbstractContextManager[None]:
        """Commit everything inside the block, or nothing."""
        return transaction(self._table, ending)

    # --- where records go ---------------------------------------------------------------------

    def spots(self, records: Sequence[Record]) -> list[Spot | None]:
        """Return where each record goes; None where this database does not have its run."""
        found: list[Spot | None] = [None] * len(records)
        plain = [at for at, record in enumerate(records) if self._is_plain(record)]
        self._runs.look_up([records[at].ref for at in plain])
        with self._table.explained():
            self._place_plain(records, plain, found)
        for at in sorted({*range(len(records))} - {*plain}):
            found[at] = self._runs.spot(records[at])
        return found

    def _is_plain(self, record: Record) -> bool:
        """Return whether it can be looked up with others: by names that any database can compare."""
        ref = record.ref
        if not (self.schema.mapped and self._table.joined) or record.dag_run_id is not None:
            return False
        names = (ref.run_id, ref.key, ref.dag_id, ref.task_id)
        return all(name is not None and name.isascii() and "\0" not in name for name in names)

    def _place_plain(
        self, records: Sequence[Record], plain: Sequence[int], found: list[Spot | None]
    ) -> None:
        run_of = self._runs.of
        keys: dict[tuple[object, ...], list[XComEntry]] = {}
        instances: set[Instance] = set()
        for at in plain:
            ref = records[at].ref
            known = run_of.get((ref.dag_id, ref.run_id))
            if known is not None:
                keys[known[0], ref.task_id, ref.map_index, ref.key] = []
                instances.add((ref.dag_id, known[1], ref.task_id, ref.map_index))
        missing = self._missing_instances(instances)
        self._find_entries(keys)
        for at in plain:
            ref = records[at].ref
            known = run_of.get((ref.dag_id, ref.run_id))
            if known is None:
                continue
            pointer, run_id = known
            there = keys[pointer, ref.task_id, ref.map_index, ref.key]
            if there and there[0].ref.dag_id != ref.dag_id:
                there = []
            instance = (ref.dag_id, run_id, ref.task_id, ref.map_index)
            found[at] = Spot(pointer, run_id, instance not in missing, there)

    def _find_entries(self, keys: dict[tuple[object, ...], list[XComEntry]]) -> None:
        """Add to each primary key the entry that has it."""
        if not keys:
            return
        x = self._table.x
        columns: list[Element] = [x.c[name] for name in self.schema.generation.identity]
        count = sa.select(sa.func.count()).select_from(x)
        if not self._execute(self._bulk.only(count, columns, [*keys])).scalar():
            return
        rows = self._store.rows
        query = rows.select(Selection(), orphans=True, others=True)
        for row in self._execute(self._bulk.only(query, columns, [*keys])).all():
            entry = rows.full_entry(row)
            if entry.row in keys:
                keys[entry.row].append(entry)

    def _missing_instances(self, instances: set[Instance]) -> set[Instance]:
        """Return those task instances that do not exist; none where none are kept."""
        columns = self._table.columns["task_instance"]
        if not instances or "run_id" not in columns or "map_index" not in columns:
            return set()
        table = self._table.named("task_instance")
        names = [table.c[name] for name in ("dag_id", "run_id", "task_id", "map_index")]
        wanted = [*instances]
        count = sa.select(sa.func.count()).select_from(table)
        exactly = self._bulk.only_exactly(count, names, wanted)
        if exactly is not None and self._execute(exactly).scalar() == len(wanted):
            return set()
        text_of = self._backend.text_of
        rows: Any = self._execute(self._bulk.only(sa.select(*names), names, wanted))
        there = {
            (text_of(dag_id), text_of(run_id), text_of(task_id), index)
            for dag_id, run_id, task_id, index in rows
        }
        return {one for one in wanted if one not in there}

    def _execute(self, statement: sa.Executable) -> sa.CursorResult[Any]:
        """Execute a statement that is another one each time."""
        return self._table.connection.execute(statement, execution_options={"compiled_cache": None})

    # --- values and rows ----------------------------------------------------------------------

    def values(self, entries: Sequence[XComEntry]) -> Mapping[tuple[object, ...], Raw]:
        """Return whole values by `entry.row`; those that are many or large may be missing."""
        wanted: list[tuple[object, ...]] = []
        size = 0
        for entry in entries:
            size += entry.size or 0
            if size > _VALUES_BYTES:
                break
            wanted.append(entry.row)
        if not wanted:
            return {}
        x, width = self._table.x, len(self.schema.generation.identity)
        columns: list[Element] = [x.c[name] for name in self.schema.generation.identity]
        raw = self._backend.raw(x.c.value, self.schema.storage)
        statement = self._bulk.only(sa.select(*columns, raw), columns, wanted)
        with self._table.explained():
            rows = self._execute(statement).all()
        return {tuple(row[:width]): self._backend.fetched(row[width]) for row in rows}

    def lines_to_restore(self, entries: Sequence[XComEntry]) -> Sequence[bytes]:
        """Return the lines of an undo file that bring these rows back."""
        return self._to_restore.lines([entry.row for entry in entries])

    def line_to_remove(self, row: NewRow) -> bytes:
        """Return the line of an undo file that takes this new row away again."""
        return absence_line(row.ref)

    def delete(self, entries: Sequence[XComEntry]) -> None:
        """Delete rows, inside a transaction."""
        names = self.schema.generation.identity
        keys = [entry.row for entry in entries]
        count = self._bulk.delete(self._table.xcom, names, keys)
        if count != len(entries):
            raise DatabaseError(
                f"the database would delete {count} rows instead of {len(entries)}",
                hint="Nothing was changed.",
            )

    def insert(self, rows: Sequence[NewRow]) -> None:
        """Insert rows, inside a transaction."""
        self._statements.insert_all(rows)


class _Runs:
    """The runs that the records of a page belong to; single ones with all that they have."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._table = store.table
        self._backend = store.table.backend
        self._schema = store.schema
        self._bulk = store.table.backend.bulk()
        self.of: dict[tuple[str, str | None], tuple[object, str]] = {}
        """What rows point to a run by, and its id, by dag_id and run_id."""
        self._single: OrderedDict[tuple[object, ...], _Run | None] = OrderedDict()

    def look_up(self, refs: Iterable[XComRef]) -> None:
        """Find the runs of these names, all at once, and forget others."""
        self.of.clear()
        wanted = [*{(ref.dag_id, ref.run_id) for ref in refs}]
        if not wanted:
            return
        run = self._table.run
        statement = sa.select(run.c.dag_id, run.c.run_id, run.c.id)
        statement = self._bulk.only(statement, [run.c.dag_id, run.c.run_id], wanted)
        text_of = self._backend.text_of
        with self._table.explained():
            rows: Any = self._table.connection.execute(
                statement.order_by(run.c.id), execution_options={"compiled_cache": None}
            ).all()
        for dag_id, run_id, number in rows:
            self.of[text_of(dag_id) or "", text_of(run_id)] = (number, text_of(run_id) or "")

    def spot(self, record: Record) -> Spot | None:
        """Return where one record goes; None where its run does not exist."""
        ref = record.ref
        name = (ref.dag_id, ref.run_id, None if ref.run_id else ref.logical_date, record.dag_run_id)
        if name not in self._single:
            self._single[name] = self._load(record)
            if len(self._single) > _RUNS_HELD:
                self._single.popitem(last=False)
        self._single.move_to_end(name)
        run = self._single[name]
        if run is None:
            return None
        here = (ref.task_id, ref.map_index)
        return Spot(
            run.pointer,
            run.run_id,
            run.instances is None or here in run.instances,
            run.entries.get((*here, ref.key), ()),
        )

    def _load(self, record: Record) -> _Run | None:
        ref, mapped = record.ref, self._schema.mapped
        if ref.run_id is None and ref.logical_date is None:
            return None
        orphan = mapped and record.dag_run_id is not None
        known = None if orphan else self._find(ref)
        pointer: object
        run_id: str | None
        if known is not None:
            pointer, run_id = known
        elif not mapped and ref.run_id is None and ref.logical_date is not None:
            # As old Airflows leave it: nothing but its date names the run.
            pointer, run_id = self._backend.bound_moment(ref.logical_date), None
        elif orphan:
            pointer, run_id = record.dag_run_id, ref.run_id
        else:
            return None
        entries: dict[Name, list[XComEntry]] = {}
        for entry in self._store.entries.of_run(ref.dag_id, pointer):
            one = entry.ref
            entries.setdefault((one.task_id, one.map_index, one.key), []).append(entry)
        # Only SQLite takes a row that has no task instance.
        free = not mapped or (orphan and self._backend.name == "sqlite")
        instances = None if free else self._instances(ref.dag_id, run_id or "")
        return _Run(pointer, run_id, instances, entries)

    def _find(self, ref: XComRef) -> tuple[object, str] | None:
        """Return what rows point to the run by, and its id; None where there is no such run."""
        if not self._table.joined:
            return None
        run = self._table.run.c
        pointer = run.id if self._schema.mapped else run.execution_date
        if ref.run_id is not None:
            named: Element = self._backend.same(run.run_id, ref.run_id)
        elif ref.logical_date is not None:
            date = self._backend.moment(run[self._schema.run_date or ""])
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

    def _instances(self, dag_id: str, run_id: str) -> frozenset[tuple[str, int]] | None:
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


class _Run(NamedTuple):
    """A run of this database, and what it has."""

    pointer: object
    """What its rows point to it by."""
    run_id: str | None
    instances: frozenset[tuple[str, int]] | None
    """task_id and map_index; None where rows need no task instance."""
    entries: Mapping[Name, Sequence[XComEntry]]
