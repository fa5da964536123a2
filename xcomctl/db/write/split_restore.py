"""A metadata database of Airflow 3.4 as `Restore` sees it: each row goes back to its attempt and table."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa

from xcomctl.db.read import split
from xcomctl.db.write.restore import Spot
from xcomctl.db.write.split_push import new_id
from xcomctl.db.write.split_rows import SplitRows
from xcomctl.db.write.transaction import transaction
from xcomctl.errors import RefusedError
from xcomctl.exchange.entries import absence_line
from xcomctl.model import Selection

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from contextlib import AbstractContextManager

    from xcomctl.db.backends.base import Element
    from xcomctl.db.read.store import Store
    from xcomctl.db.write.statements import NewRow
    from xcomctl.db.write.transaction import Ending
    from xcomctl.exchange.records import Record
    from xcomctl.model import Raw, XComEntry


_COORDINATES = ("try_number", "region_id", "region_index")
_EVERYTHING = Selection()


class _Attempt:
    """An attempt of a task, and the XComs that it has in either table."""

    def __init__(
        self,
        run: object,
        instance: object,
        map_index: int,
        region_id: str,
        region_index: int,
        try_number: int,
        current: int,
        legacy_index: int | None,
    ) -> None:
        self.run = run
        self.instance = instance
        self.map_index = map_index
        self.coordinates = (str(try_number), region_id, str(region_index))
        self.current = bool(current)
        self.legacy_index = legacy_index
        self.entries: list[XComEntry] = []


class Pointer(NamedTuple):
    """Where rows of one attempt go."""

    run: object
    instance: object
    """task_instance.id, as the driver has it."""
    store: str
    legacy_index: int | None
    """Their map_index in xcom_v1; None where xcom_v1 cannot hold any."""
    coordinates: tuple[str, str, str]
    """try_number, region_id and region_index."""


class SplitTarget:
    """An open metadata database, opened with all attempts. Implements `RowTarget`."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._table = store.table
        self._backend = store.table.backend
        self._both = SplitRows(store)
        self._attempts: dict[tuple[str, str, str], list[_Attempt]] = {}
        """The attempts of a task in a run, with their entries by key."""
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
        self._attempts.clear()
        with self._table.explained():
            return [self._spot(record) for record in records]

    def _spot(self, record: Record) -> Spot | None:
        ref, others = record.ref, dict(record.others)
        if ref.run_id is None or not self._store.suggest.has_run(ref.dag_id, ref.run_id):
            return None
        attempts = self._of_task(ref.dag_id, ref.run_id, ref.task_id)
        if "region_id" in others:
            wanted = tuple(str(others.get(name)) for name in _COORDINATES)
            fitting = [one for one in attempts if one.coordinates == wanted]
        else:
            # Of an older Airflow: it belongs to the current attempt.
            fitting = [one for one in attempts if one.current and one.map_index == ref.map_index]
        if len(fitting) != 1:
            return Spot(None, ref.run_id, has_instance=False, entries=())
        (attempt,) = fitting
        there = {
            one.attempt.store: one
            for one in attempt.entries
            if one.ref.key == ref.key and one.attempt is not None
        }
        store = str(others.get("store") or ("xcom_v1" if [*there] == ["xcom_v1"] else "xcom_v2"))
        if store == "xcom_v1" and attempt.legacy_index is None:
            store = "xcom_v2"
        pointer = Pointer(
            attempt.run, attempt.instance, store, attempt.legacy_index, attempt.coordinates
        )
        entries = [there[store]] if store in there else []
        return Spot(pointer, ref.run_id, has_instance=True, entries=entries)

    def _of_task(self, dag_id: str, run_id: str, task_id: str) -> list[_Attempt]:
        """Return the attempts of a task in a run, with their XComs."""
        name = (dag_id, run_id, task_id)
        if name in self._attempts:
            return self._attempts[name]
        table, same = self._table, self._backend.same
        instance = table.named("task_instance").alias("t")
        region, run = table.named("dynamic_region").alias("d"), table.run
        owner = table.named("legacy_task_data_owner").alias("o")
        index, region_id, _ = split.coordinates(table.columns, instance, region)
        t = instance.c
        of_run = sa.and_(t.dag_id == run.c.dag_id, t.run_id == run.c.run_id)
        joined = sa.outerjoin(sa.join(run, instance, of_run), region, region.c.id == t.region_id)
        joined = sa.outerjoin(joined, owner, owner.c.task_instance_id == t.id)
        columns: list[Element] = [
            *(run.c.id, t.id, index, region_id, t.region_index, t.try_number),
            sa.case((t.working_set.is_(sa.true()), 1), else_=0),
            owner.c.map_index,
        ]
        statement = (
            sa.select(*(one.label(f"c{at}") for at, one in enumerate(columns)))
            .select_from(joined)
            .where(same(t.dag_id, dag_id), same(t.run_id, run_id), same(t.task_id, task_id))
        )
        rows_of_task: Any = table.connection.execute(statement)
        found = [_Attempt(*row) for row in rows_of_task]
        by_attempt = {one.coordinates: one for one in found}
        x, rows = table.x.c, self._store.rows
        query = rows.select(_EVERYTHING, others=True).where(
            same(x.dag_id, dag_id), same(x.run_id, run_id), same(x.task_id, task_id)
        )
        for row in table.connection.execute(query):
            entry = rows.full_entry(row)
            assert entry.attempt is not None
            at = entry.attempt
            where = (str(at.try_number), at.region_id, str(at.region_index))
            if where in by_attempt:
                by_attempt[where].entries.append(entry)
        self._attempts[name] = found
        return found

    # --- values and rows ----------------------------------------------------------------------

    def values(self, entries: Sequence[XComEntry]) -> Mapping[tuple[object, ...], Raw]:
        """Return whole values by `entry.row`; those that are many or large may be missing."""
        return {}

    def lines_to_restore(self, entries: Sequence[XComEntry]) -> Sequence[bytes]:
        """Return the lines of an undo file that bring these rows back."""
        found = self._both.find([entry.row for entry in entries])
        return [*self._both.lines_to_restore(found.values())]

    def line_to_remove(self, row: NewRow) -> bytes:
        """Return the line of an undo file that takes this new row away again."""
        pointer = row.pointer
        assert isinstance(pointer, Pointer)
        try_number, region_id, region_index = pointer.coordinates
        where = {
            "try_number": int(try_number),
            "region_id": region_id,
            "region_index": int(region_index),
            "store": pointer.store,
        }
        return absence_line(row.ref, where)

    def delete(self, entries: Sequence[XComEntry]) -> None:
        """Delete rows, inside a transaction."""
        found = self._both.find([entry.row for entry in entries])
        self._both.delete([found[entry.row] for entry in entries if entry.row in found])

    def insert(self, rows: Sequence[NewRow]) -> None:
        """Insert rows, inside a transaction.

        Raises:
            RefusedError: the database does not accept a row; the message names its line.
        """
        taken = self._taken_ids(rows)
        for row in rows:
            try:
                self._insert(row, taken)
            except sa.exc.DBAPIError as error:
                explained = self._backend.explain(error)
                if isinstance(explained, RefusedError):
                    explained.message = f"line {row.line}: {explained.message}"
                raise explained from None

    def _insert(self, row: NewRow, taken: set[str]) -> None:
        pointer, others = row.pointer, dict(row.others)
        assert isinstance(pointer, Pointer)
        known = {one.name: one for one in self._table.others}
        given: dict[str, object] = {
            "key": row.ref.key,
            "value": self._backend.stored(row.raw, self.schema.storage),
            "timestamp": self._backend.bound_moment(row.timestamp or datetime.now(UTC)),
            **{
                name: known[name].read(others[name])
                for name in split.OTHERS
                if name in others and name in known
            },
        }
        if pointer.store == "xcom_v2":
            kind = self._table.columns["xcom_v2"]["id"].type
            xcom_id = str(others.get("xcom_id") or "")
            if not xcom_id or xcom_id in taken:
                xcom_id = new_id()
            taken.add(xcom_id)
            given |= {
                "id": split.bound_uuid(xcom_id, kind),
                "task_instance_id": pointer.instance,
            }
        else:
            given |= {name: getattr(row.ref, name) for name in ("dag_id", "task_id", "run_id")}
            given |= {"dag_run_id": pointer.run, "map_index": pointer.legacy_index}
        table = self._table.named(pointer.store)
        self._table.connection.execute(sa.insert(table).values(given))

    def _taken_ids(self, rows: Sequence[NewRow]) -> set[str]:
        """Return which ids of these rows other rows have: a copy of a row gets its own."""
        kind = self._table.columns["xcom_v2"]["id"].type
        wanted = [str(one) for row in rows if (one := dict(row.others).get("xcom_id"))]
        xcom = self._table.named("xcom_v2").c
        taken: set[str] = set()
        for at in range(0, len(wanted), 500):
            some = [split.bound_uuid(one, kind) for one in wanted[at : at + 500]]
            found = self._table.connection.execute(sa.select(xcom.id).where(xcom.id.in_(some)))
            digits = {str(one).replace("-", "") for one in found.scalars()}
            taken |= {one for one in wanted[at : at + 500] if one.replace("-", "") in digits}
        return taken
