"""Pushes one value: into a new row or over one that was seen, and reads it back before the end."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

import sqlalchemy as sa

from xcomctl.db.backends.times import to_moment
from xcomctl.db.write.instances import Instances
from xcomctl.db.write.statements import Statements
from xcomctl.db.write.transaction import transaction
from xcomctl.db.write.undo import ending, lines_to_remove, lines_to_restore
from xcomctl.errors import DatabaseError, NotFoundError, RefusedError
from xcomctl.model import Size
from xcomctl.values import encode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from xcomctl.db.read.store import Store
    from xcomctl.db.write.statements import Current, Place
    from xcomctl.db.write.undo import UndoLog
    from xcomctl.model import Raw, XComEntry, XComRef


class ValuePusher(Protocol):
    """What pushes one value. `Push` does it to a database."""

    def place(
        self, dag_id: str, task_id: str, key: str, run_id: str | None, map_index: int
    ) -> Place:
        """Return where the XCom goes; raise NotFoundError where there is no task instance."""

    def current(self, place: Place) -> list[Current]:
        """Return the stored rows, with their values."""

    def write(
        self,
        place: Place,
        encoded: encode.Encoded,
        expected: Current | None,
        *,
        accept: Callable[[Size], None],
        undo: UndoLog | None,
        pushed: Callable[[XComEntry], object],
    ) -> None:
        """Write a value over what was expected to be there, and call `pushed` once committed."""


class Push:
    """Writes single XComs into an open metadata database. Implements `ValuePusher`."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._table = store.table
        self._backend = store.table.backend
        self._schema = store.table.schema
        self._instances = Instances(store)
        self._statements = Statements(store)

    def place(
        self, dag_id: str, task_id: str, key: str, run_id: str | None, map_index: int
    ) -> Place:
        """Return where the XCom goes: in the run, or in the newest with that task instance.

        Raises:
            NotFoundError: there is no such run or task instance.
            DatabaseError: the tables cannot be read.
        """
        return self._instances.place(dag_id, task_id, key, run_id, map_index)

    def current(self, place: Place) -> list[Current]:
        """Return the stored rows, with their values; 1.10's duplicates newest first."""
        return self._statements.current(place)

    def pickles(self, most: int = 100) -> bool | None:
        """Return whether most of the newest XComs are pickles, None where there is no XCom.

        Single ones of the other kind come from scripts, or from before the setting changed.
        """
        x = self._table.x.c
        order = x.id if "id" in x else x.timestamp
        head = self._backend.head(x.value, self._schema.storage, 2)
        statement = sa.select(head).order_by(order.desc()).limit(most)
        with self._table.explained():
            found = self._table.connection.execute(statement).scalars()
            heads = [self._backend.fetched(one) for one in found]
        if not heads:
            return None
        pickled = sum(isinstance(one, bytes) and one[:1] == b"\x80" for one in heads)
        return 2 * pickled >= len(heads)

    def expected_length(self, place: Place) -> int | None:
        """Return how many tasks Airflow created downstream for the elements of this XCom.

        None where nothing is mapped over it, or where that is not known.
        """
        columns = self._backend.columns("task_map") if self._schema.mapped else {}
        if "length" not in columns:
            return None
        table = self._table.clause("task_map", *columns).c
        same, ref = self._backend.same, place.ref
        statement = sa.select(table.length).where(
            same(table.dag_id, ref.dag_id),
            same(table.task_id, ref.task_id),
            same(table.run_id, ref.run_id or ""),
            table.map_index == ref.map_index,
        )
        try:
            with self._table.explained():
                found = self._table.connection.scalar(statement)
        except DatabaseError:
            return None
        return None if found is None else int(found)

    def write(
        self,
        place: Place,
        encoded: encode.Encoded,
        expected: Current | None,
        *,
        accept: Callable[[Size], None],
        undo: UndoLog | None,
        pushed: Callable[[XComEntry], object],
    ) -> None:
        """Write one value over what was expected to be there.

        `accept` is given the size that the database measured, and `undo` what was there: each
        may still raise before anything is committed. `pushed` is given the new entry once it is
        committed; no signal comes between.

        Raises:
            RefusedError: another value is there than was expected, or the database would give
                back another than was written.
            NotFoundError: the task instance is gone.
            DatabaseError: the database did not do it.
        """
        written: Current

        with transaction(self._table, ending(undo, lambda: pushed(written.entry))):
            self._lock(place, expected)
            first, *others = self._forms(encoded)
            if expected is None:
                self._insert(place, first)
            else:
                self._update(expected.entry, first)
            written = self._written(place, expected)
            while not self._gives_back(written.raw, encoded):
                if not others:
                    raise self._altered(encoded, written.raw)
                self._update(written.entry, others.pop(0), timestamp=False)
                written = self._written(place, expected)
            accept(written.entry.size or Size(0))
            if undo is not None:
                undo.write(self._lines_to_undo(place, expected))

    def _lines_to_undo(self, place: Place, expected: Current | None) -> Iterable[bytes]:
        """Return the line of an undo file that brings back what was there, or nothing."""
        if expected is None:
            return lines_to_remove(place.ref)
        return lines_to_restore([expected], self._schema.storage)

    def _lock(self, place: Place, expected: Current | None) -> None:
        """Lock what is about to change, and make sure that it is what was seen."""
        ref, connection = place.ref, self._table.connection
        self.place(ref.dag_id, ref.task_id, ref.key or "", ref.run_id, ref.map_index)
        if self._schema.generation.name == "1.10":
            # No unique key keeps two rows of one name apart; the run's row does while it is held.
            run = self._table.run.c
            lock = sa.select(run.id).where(
                self._backend.same(run.dag_id, place.ref.dag_id), run.execution_date == place.run
            )
            connection.execute(self._backend.locked(lock)).all()
        if expected is None:
            if self.current(place):
                raise pushed_meanwhile(place.ref)
            return
        x = self._table.x.c
        raw = self._backend.raw(x.value, self._schema.storage)
        lock = sa.select(raw, x.timestamp).select_from(self._table.x)
        is_row = self._store.rows.conditions.is_row(expected.entry)
        row = connection.execute(self._backend.locked(lock.where(*is_row))).first()
        if row is None or self._backend.fetched(row[0]) != expected.raw:
            raise pushed_meanwhile(place.ref)
        if to_moment(row[1]) != expected.entry.timestamp:
            raise pushed_meanwhile(place.ref)

    def _forms(self, encoded: encode.Encoded) -> list[Raw]:
        """Return the forms in which a value can be stored, Airflow's own first."""
        if self._schema.storage == "bytes":
            return [encoded.data]
        if self._backend.name == "sqlite":
            # The column has NUMERIC affinity, which makes 10.0 an integer; bytes escape it, and
            # every Airflow 3 reads them.
            return [encoded.text, encoded.data]
        if self._backend.name == "postgresql":
            return [encoded.text, encode.floats_spelled_out(encoded.value)]
        return [encoded.text]

    def _gives_back(self, raw: Raw, encoded: encode.Encoded) -> bool:
        """Return whether what the database returns is the value that was sent."""
        if self._schema.storage == "bytes":
            return raw == encoded.data
        if isinstance(raw, str | bytes):
            raw_value: object = encode.parse(raw if isinstance(raw, str) else raw.decode())
        else:
            raw_value = raw
        return encode.same(encoded.value, raw_value)

    def _altered(self, encoded: encode.Encoded, raw: Raw) -> RefusedError:
        shown = raw.decode("utf-8", "replace") if isinstance(raw, bytes) else str(raw)
        return RefusedError(
            "cannot push this value: the database would change it",
            detail=f"Sent {encoded.text[:200]}, and read back {shown[:200]}.",
            hint="Nothing was changed. Strings are stored unchanged.",
        )

    def _insert(self, place: Place, raw: Raw) -> None:
        try:
            self._insert_row(place, raw)
        except sa.exc.DBAPIError as error:
            cause = error.orig if error.orig is not None else error
            kind = self._backend.diagnose(cause).kind
            if kind == "exists":
                raise pushed_meanwhile(place.ref, self._equal_key(place)) from None
            if kind == "no parent":
                raise NotFoundError(
                    f'the task instance of "{place.ref}" was deleted a moment ago'
                ) from None
            raise

    def _insert_row(self, place: Place, raw: Raw) -> None:
        self._statements.insert(place, raw, datetime.now(UTC), [("dag_result", False)])

    def _equal_key(self, place: Place) -> str | None:
        """Return the key that the database considers equal to this one although it differs."""
        ref = place.ref
        try:
            keys = self._store.suggest.names("key", ref.dag_id, ref.task_id, run_id=ref.run_id)
        except DatabaseError:
            return None
        bare = (ref.key or "").rstrip().casefold()
        return next(
            (key for key in keys if key != ref.key and key.rstrip().casefold() == bare), None
        )

    def _update(self, entry: XComEntry, raw: Raw, *, timestamp: bool = True) -> None:
        changed = self._statements.update(entry, raw, timestamp=timestamp)
        if changed != 1:
            raise RefusedError(
                f'could not replace "{entry.ref}": the database would change {changed} rows',
                hint="Nothing was changed.",
            )

    def _written(self, place: Place, expected: Current | None) -> Current:
        """Return the one row that was written, as another reader will find it."""
        found = self.current(place)
        if self._schema.generation.name == "1.10" and expected is not None:
            found = [one for one in found if one.entry.row == expected.entry.row]
        if len(found) != 1:
            raise DatabaseError(
                f'could not read "{place.ref}" back after it was written',
                detail=f"{len(found)} rows have this name.",
                hint="Nothing was changed.",
            )
        return found[0]


def pushed_meanwhile(ref: XComRef, equal_key: str | None = None) -> RefusedError:
    """Return the error for an XCom that another session wrote since it was looked at."""
    if equal_key is not None:
        return RefusedError(
            f'cannot write "{ref}": the database treats its key as "{equal_key}", which exists',
            detail="It compares without regard to trailing spaces or case, as this Airflow does "
            "when it deletes.",
            hint="Nothing was changed. Choose another key.",
        )
    return RefusedError(
        f'did not write "{ref}": another session changed it a moment ago',
        hint='Nothing was changed. "xcomctl pull" shows what is stored now.',
    )
