"""The open metadata DB: every statement that asks it something; each reads only, and streams.

Lists are in `listing`, sums in `sums`, what is near a name in `near`; here are values.
"""

from __future__ import annotations

import itertools
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from xcomctl.db.backends.base import STREAMED, MovedError
from xcomctl.db.read.entries import Listing, without
from xcomctl.db.read.sizes import Sums
from xcomctl.db.read.suggest import Near
from xcomctl.db.read.table import HEAD_BYTES
from xcomctl.errors import DatabaseError
from xcomctl.model import UNMAPPED, Encoding, Raw, Selection, Size, XComEntry
from xcomctl.values import decode

if TYPE_CHECKING:
    from collections.abc import Iterator

    from xcomctl.db.backends.base import Element
    from xcomctl.model import RowSink


PLAIN_BYTES = 8 * 1024 * 1024
"""Values up to this size are read by one plain statement."""

_PIECE_CHARS = 2 * 1024 * 1024
_PIECE_BYTES = 12 * 1024 * 1024
"""A little more than any backend's slice."""


class Store(Listing, Sums, Near):
    """An open metadata DB: everything that can be asked of it."""

    def scan_values(
        self, selection: Selection, *, text: bool = False
    ) -> Iterator[tuple[XComEntry, Raw]]:
        """Yield the selected entries with their whole values, unsorted, one by one.

        Raises:
            DatabaseError: as `scan`.
        """
        page = self._backend.paged_values
        value, storage = self._x.c.value, self.schema.storage
        whole: Element = self._backend.raw(value, storage)
        if page.inline_bytes is not None:
            small = self._backend.stored_size(value, storage) <= page.inline_bytes // 4
            size = self._backend.size(value, storage)
            if storage == "bytes":
                small = size <= page.inline_bytes
            whole = sa.case((small, whole))
        with self._explained():
            base = self._base(selection, text=text, stored=False, heads=HEAD_BYTES)
            base = base.add_columns(whole.label("whole"), self._orphan())
            for row in self._stream(base, page.rows):
                entry = self._entry(row)
                raw = self._backend.fetched(row.whole)
                if raw is None and entry.encoding is not Encoding.NULL:
                    raw = self.read(entry)
                yield entry, raw

    @property
    def holds_strict_json(self) -> bool:
        """Return whether the database itself sees to it that every value is strict JSON."""
        return self.schema.value_type in ("json", "jsonb") and self._backend.name != "sqlite"

    def stream_into(
        self,
        selection: Selection,
        sink: RowSink,
        *,
        ordered: bool = False,
        after: tuple[int, str, int, str] | None = None,
    ) -> None:
        """Hand over the selected rows with their whole values, at the driver's speed.

        Unsorted or, of Airflow 2.3 and newer, in the order of the primary key, from behind one.

        Raises:
            DatabaseError: as `scan`.
        """
        x, run, backend = self._x.c, self._run.c, self._backend
        storage = self.schema.storage
        mapped = self.schema.mapped
        date: Element = sa.null() if mapped else x.execution_date
        orphan, rows = self._orphan().element, self._from()
        if mapped and self._joined:
            date = run[self.schema.run_date or ""]
            with self._explained():
                if not selection.narrows and backend.knows_runs(self._run, date):
                    date, orphan, rows = sa.null(), sa.literal(0), self._x
        number = sa.Integer
        columns: dict[str, Element] = {
            "map_index": sa.cast(x.map_index if mapped else UNMAPPED, number),
            "dag_run_id": sa.cast(x.dag_run_id if mapped else 0, number),
            "orphan": sa.cast(orphan, number),
            "timestamp": backend.streamed_time(x.timestamp),
            "logical_date": backend.streamed_time(date),
            "run_id": x.run_id if mapped else run.run_id if self._joined else sa.null(),
            "dag_id": x.dag_id,
            "task_id": x.task_id,
            "key": x.key,
            "whole": backend.streamed_value(x.value, storage),
        }
        wanted = {name: columns[name] for name in STREAMED}
        wanted |= backend.streamed_besides(x.value, storage)
        statement: sa.Select[Any] = sa.select(
            *(column.label(name) for name, column in wanted.items())
        )
        statement = statement.select_from(rows).where(*self._where(selection))
        with self._explained():
            if ordered:
                key = [x[name] for name in self.schema.generation.identity]
                statement = backend.along_key(statement.order_by(*key), self._x)
                if after is not None:
                    statement = statement.where(backend.beyond(key, after))
            stream_into = (
                backend.stream_into if ordered or selection.narrows else backend.stream_all_into
            )
            stream_into(statement, storage, sink)

    def duplicates(self, selection: Selection) -> Iterator[list[XComEntry]]:
        """Yield the entries that share a name and a run, the one that Airflow reads first.

        Only Airflow 1.10 lets them; what is equal is decided by the database, as it will be for
        the primary key that later releases make.
        """
        if self.schema.generation.name != "1.10":
            return
        names = ("dag_id", "task_id", "key", "execution_date")
        other = self._table("xcom", self._columns["xcom"]).alias("y")
        groups = (
            sa.select(*(other.c[name] for name in names))
            .group_by(*(other.c[name] for name in names))
            .having(sa.func.count() > 1)
            .subquery("d")
        )
        first = sa.select(sa.func.min(other.c.id)).where(
            *(other.c[name] == self._x.c[name] for name in names)
        )
        label = first.correlate(self._x).scalar_subquery().label("first_id")
        with self._explained():
            base = self._base(selection, text=False, stored=False, heads=HEAD_BYTES)
            same = sa.and_(*(groups.c[name] == self._x.c[name] for name in names))
            # EXISTS, because the statement's FROM is already made.
            found = base.add_columns(label).where(sa.exists().where(same))
            rows = sorted(self._connection.execute(found).all(), key=lambda row: row.first_id)
        for _, group in itertools.groupby(rows, key=lambda row: row.first_id):
            entries = sorted(map(self._entry, group), key=lambda entry: entry.row[:1])
            entries.sort(key=pushed, reverse=True)
            yield entries

    def move_statements(self, entry: XComEntry, table: str) -> tuple[str, str]:
        """Return the SQL that copies a row into another table and that deletes it, for people."""
        other = self._table(table, self._columns["xcom"])
        xcom = self._table("xcom", self._columns["xcom"])
        is_row = self._is_row(entry, xcom)
        names = list(self._columns["xcom"])
        copied = sa.select(*(xcom.c[name] for name in names)).where(*is_row)
        statements = (other.insert().from_select(names, copied), sa.delete(xcom).where(*is_row))
        first, second = (" ".join(self._backend.sql_text(one).split("\n")) for one in statements)
        return first, second

    def copy_table_statement(self, table: str) -> str:
        """Return the SQL that makes an empty table of xcom's columns."""
        return self._backend.copy_table_text("xcom", table)

    def find(
        self,
        dag_id: str,
        task_id: str,
        key: str,
        *,
        run_id: str | None = None,
        map_index: int | None = UNMAPPED,
    ) -> list[XComEntry]:
        """Return the entries of one name in its newest run that has it (or in `run_id`).

        In map_index order; more than one with `map_index` None, or 1.10's duplicates, the newest
        first. Empty where there is none.
        """
        conditions = self._named(dag_id, task_id, key)
        if map_index is not None:
            if self.schema.mapped:
                conditions.append(self._x.c.map_index == map_index)
            elif map_index != UNMAPPED:
                return []
        with self._explained():
            if run_id is not None:
                conditions.append(self._one_run(run_id))
            else:
                newest = self._newest(conditions)
                if newest is None:
                    return []
                conditions.append(newest)
            base = self._base(Selection(), text=False, stored=False, heads=HEAD_BYTES)
            peeks = self._backend.peeks and map_index is not None
            if peeks:
                base = without(base, "size", "head")
            rows = self._connection.execute(base.where(*conditions)).all()
            entries = [self._entry(row) for row in rows]
            if peeks:
                entries = [one for entry in entries for one in self._peeked(entry)]
        # Of two pushed in the same moment Airflow, which sorts by that alone, reads the first.
        entries.sort(
            key=lambda entry: entry.row[:1] if self.schema.generation.name == "1.10" else ()
        )
        entries.sort(key=pushed, reverse=True)
        entries.sort(key=lambda entry: entry.ref.map_index)
        return entries

    def _newest(self, conditions: list[Element]) -> Element | None:
        """Return the condition that names the newest run among the rows, None without rows."""
        by = self._x.c.dag_run_id if self.schema.mapped else self._x.c.execution_date
        statement = sa.select(by).where(*conditions).order_by(by.desc()).limit(1)
        if self.schema.mapped and self._joined:
            # Rows of no run count only where there are no others.
            real = statement.select_from(self._from()).where(self._run.c.id.is_not(None))
            found = self._connection.execute(real).first()
            if found is not None:
                return _equals(by, found[0])
        found = self._connection.execute(statement).first()
        return None if found is None else _equals(by, found[0])

    def read(self, entry: XComEntry) -> Raw:
        """Return the whole value of an entry as it is stored.

        Raises:
            DatabaseError: it cannot be read, or is gone.
        """
        storage = self.schema.storage
        value = self._backend.raw(self._x.c.value, storage)
        statement = sa.select(value).select_from(self._x).where(*self._is_row(entry))
        if entry.size is not None and entry.size > PLAIN_BYTES:
            most = self._backend.largest_answer(storage)
            if most is not None and entry.size > most:
                raise DatabaseError(
                    f'cannot read "{entry.ref}" in one piece: {Size(entry.size).exactly()}'
                    f" exceed the {most.exactly()} of one answer",
                    hint='"xcomctl pull -o raw --file FILE" reads it piece by piece.',
                )
        with self._explained():
            found = self._connection.execute(statement).first()
        if found is None:
            raise DatabaseError(
                f'could not read "{entry.ref}"', detail="It was deleted a moment ago."
            )
        return self._backend.fetched(found[0])

    def read_pieces(self, entry: XComEntry) -> Iterator[bytes]:
        """Yield the whole value of an entry as it is stored, text as UTF-8, in pieces of some MB.

        A large value is not held, except a jsonb, whose text PostgreSQL says in one piece only.
        Nothing where it is SQL NULL.

        Raises:
            DatabaseError: it cannot be read, is gone, or was changed meanwhile.
        """
        if entry.size is None or entry.size <= PLAIN_BYTES:
            yield from _pieces(self.read(entry))
            return
        try:
            with self._explained():
                slices = self._backend.slices(self._x, self._is_row(entry), self.schema.storage)
                for raw in slices:
                    yield from _pieces(raw)
        except MovedError:
            raise self.moved(entry) from None

    @staticmethod
    def moved(entry: XComEntry) -> DatabaseError:
        """Return the error that says that what was read are parts of two values."""
        return DatabaseError(
            f'could not read "{entry.ref}": it was changed while it was read',
            detail="Another session replaced or deleted it.",
            hint="Pull it again.",
        )


def _pieces(raw: Raw) -> Iterator[bytes]:
    """Yield the bytes of what the database handed over."""
    if raw is None:
        return
    whole = raw if isinstance(raw, bytes | str) else str(raw)
    step = _PIECE_CHARS if isinstance(whole, str) else _PIECE_BYTES
    for start in range(0, len(whole), step):
        yield decode.to_bytes(whole[start : start + step])


def _equals(column: Element, value: object) -> Element:
    return column == value


def pushed(entry: XComEntry) -> datetime:
    return entry.timestamp or datetime.min.replace(tzinfo=UTC)
