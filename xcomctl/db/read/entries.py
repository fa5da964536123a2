"""XComs and their values: listed, found by name, read and streamed."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from xcomctl.db.backends.base import MovedError
from xcomctl.db.backends.storage import optional
from xcomctl.db.backends.streaming import STREAMED
from xcomctl.db.read.sorting import MAX_SORTED_KEYS, Details, Order, Sorting, without
from xcomctl.errors import DatabaseError
from xcomctl.model import UNMAPPED, Encoding, KeyRange, Raw, Selection, Size, XComEntry
from xcomctl.values.sniff import to_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from xcomctl.db.backends.base import Element
    from xcomctl.db.read.rows import Rows
    from xcomctl.model import RowSink, SortKey


_NUMBERS = ("dag_run_id", "map_index", "id", "region_index", "try_number")
"""Columns of a primary key that are numbers."""

_ROWID_SPAN = "SELECT (SELECT max(rowid) FROM xcom) - (SELECT min(rowid) FROM xcom) + 1"
_COUNTED_SPAN = 1_000_000
"""Up to this number of rows, SQLite counts exactly in some hundredths of a second."""

_MOST_SPAN = 1_000_000_000
"""Beyond it rows were numbered with holes, not one after the other."""

PLAIN_BYTES = 8 * 1024 * 1024
"""Values up to this size are read by one plain statement."""

_PIECE_CHARS = 2 * 1024 * 1024
_PIECE_BYTES = 12 * 1024 * 1024
"""A little more than any backend's slice."""


class Entries:
    """The XComs of an open metadata database. Implements `contracts.EntrySource`.

    Every method raises DatabaseError where the connection is lost, a statement times out or the
    table may not be read.
    """

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._sorting = Sorting(rows)
        self._table = rows.table
        self._backend = rows.table.backend
        self._schema = rows.table.schema

    # --- listing ------------------------------------------------------------------------------

    def scan(
        self,
        selection: Selection,
        *,
        sort: SortKey | None = None,
        descending: bool = False,
        limit: int | None = None,
        text: bool = False,
        stored: bool = False,
        heads: int | None = None,
        after: Sequence[object] | None = None,
    ) -> Iterator[XComEntry]:
        """Yield the selected XComs without their values, as the database sends them.

        Unsorted where `sort` is None. `text` fills `entry.text_size`, `stored` fills
        `entry.stored_size`, `heads` is how many bytes of each value `entry.head` holds (by
        default as many as recognising its encoding takes). Sorted by run, `after` is a position
        (see `position`) and only entries behind it are yielded.
        """
        order = Order(sort, descending, limit, after)
        details = Details(text, stored, heads)
        with self._table.explained():
            if sort is not None and limit is not None and limit <= MAX_SORTED_KEYS:
                yield from self._sorting.first(selection, order, details)
                return
            statement = self._sorting.statement(selection, order, details)
            entry = self._rows.entry
            for row in self._table.stream(statement, self._backend.paged.rows):
                yield entry(row)

    def count(self, selection: Selection) -> int:
        """Return how many XComs are selected."""
        with self._table.explained():
            statement = self._rows.over(selection, sa.func.count())
            return int(self._table.connection.scalar(statement) or 0)

    def estimate(self, selection: Selection) -> int | None:
        """Return about how many XComs are selected; None where that takes counting them."""
        if selection != Selection():
            return None
        connection, backend = self._table.connection, self._backend
        with self._table.explained():
            if backend.name == "sqlite":
                span = optional(connection, lambda: connection.scalar(sa.text(_ROWID_SPAN)))
                if span is None or span > _MOST_SPAN:
                    return None
                return self.count(selection) if span <= _COUNTED_SPAN else int(span)
            facts = optional(connection, lambda: backend.storage_facts(exact=False))
        tables = facts.tables if facts is not None else ()
        found = [one.rows for one in tables if one.name in self._table.xcom_tables]
        return None if not found or None in found else sum(one or 0 for one in found)

    def position(self, entry: XComEntry) -> list[int | float | str | None]:
        """Return where an entry stands in the order of runs, as JSON holds it."""
        return [
            one.isoformat() if isinstance(one, datetime) else one  # type: ignore[misc]
            for one in entry.position
        ]

    def read_position(self, place: Sequence[object]) -> list[object]:
        """Return what `position` gave, as `scan` takes it.

        Raises:
            ValueError: it is no position in such a table.
        """
        named = zip(self._rows.run_order, place, strict=True)
        return [self._read_key(name, value) for name, value in named]

    def _read_key(self, name: str, value: object) -> object:
        anything = self._backend.name == "sqlite"
        if name in _NUMBERS:
            if type(value) is not int or not -(2**63) <= value < 2**63:
                raise ValueError(name)
        elif name == "execution_date" and anything and isinstance(value, int | float):
            return value
        elif not isinstance(value, str):
            raise ValueError(name)
        elif name == "execution_date" and not anything:
            return datetime.fromisoformat(value)
        elif not anything and b"\0" in value.encode("utf-8"):
            # No name in a server holds it, and a driver would refuse to send it.
            raise ValueError(name)
        return value

    # --- by name ------------------------------------------------------------------------------

    def find(
        self,
        dag_id: str,
        task_id: str,
        key: str,
        *,
        run_id: str | None = None,
        map_index: int | None = UNMAPPED,
        region: tuple[str, int] | None = None,
        try_number: int | None = None,
    ) -> list[XComEntry]:
        """Return the entries of one name in its newest run that has it, or in `run_id`.

        In map_index order, all of them where `map_index` is None. Airflow 1.10 can have several
        rows of one name: the newest first. So can loops in Airflow 3.4: by region, all of them
        unless `region` is given. Empty where nothing has the name. `try_number` asks for an
        attempt, which takes a store with all attempts.
        """
        conditions = self._rows.conditions.named(dag_id, task_id, key)
        if region is not None:
            conditions += self._rows.conditions.where(Selection(regions=(region,)))
        if try_number is not None and self._schema.split:
            conditions.append(self._table.x.c.try_number == try_number)
        if map_index is not None:
            if self._schema.mapped:
                conditions.append(self._table.x.c.map_index == map_index)
            elif map_index != UNMAPPED:
                return []
        with self._table.explained():
            if run_id is not None:
                conditions.append(self._rows.conditions.of_run(run_id))
            else:
                newest = self._newest(conditions)
                if newest is None:
                    return []
                conditions.append(newest)
            query = self._rows.select(Selection(), others=True)
            peeks = self._backend.peeks and map_index is not None
            if peeks:
                query = without(query, "size", "head")
            rows = self._table.connection.execute(query.where(*conditions)).all()
            entries = [self._rows.full_entry(row) for row in rows]
            if peeks:
                entries = [one for entry in entries for one in self._sorting.peeked(entry)]
        # Of two pushed in the same moment Airflow, which sorts by that alone, reads the first.
        entries.sort(
            key=lambda entry: entry.row[:1] if self._schema.generation.name == "1.10" else ()
        )
        entries.sort(key=pushed_at, reverse=True)
        entries.sort(key=lambda entry: (entry.ref.map_index, entry.ref.region or ""))
        return replaced_left_out(entries)

    def at(self, rows: Sequence[tuple[object, ...]]) -> list[XComEntry]:
        """Return the entries with these primary keys, in any order; only those that exist."""
        if not rows:
            return []
        key: list[Element] = [self._table.x.c[name] for name in self._schema.generation.identity]
        query = self._rows.select(Selection()).where(self._backend.is_one_of(key, [*rows]))
        with self._table.explained():
            return [*map(self._rows.entry, self._table.connection.execute(query))]

    def of_run(self, dag_id: str, pointer: object) -> list[XComEntry]:
        """Return the entries of a run by what its rows point to it, orphans marked.

        The newest of 1.10's duplicates first.
        """
        x = self._table.x.c
        by = x.dag_run_id if self._schema.mapped else x.execution_date
        query = self._rows.select(Selection(), orphans=True, others=True)
        statement = query.where(self._backend.same(x.dag_id, dag_id), by == pointer)
        with self._table.explained():
            rows = self._table.connection.execute(statement).all()
        return sorted(map(self._rows.full_entry, rows), key=pushed_at, reverse=True)

    def _newest(self, conditions: list[Element]) -> Element | None:
        """Return the condition that names the newest run among the rows, None without rows."""
        table = self._table
        by = table.x.c.dag_run_id if self._schema.mapped else table.x.c.execution_date
        statement = sa.select(by).where(*conditions).order_by(by.desc()).limit(1)
        if self._schema.mapped and table.joined:
            # Rows of no run count only where there are no others.
            real = statement.select_from(self._rows.source()).where(table.run.c.id.is_not(None))
            found = table.connection.execute(real).first()
            if found is not None:
                return _equals(by, found[0])
        found = table.connection.execute(statement).first()
        return None if found is None else _equals(by, found[0])

    # --- values -------------------------------------------------------------------------------

    def values(
        self, selection: Selection, *, text: bool = False
    ) -> Iterator[tuple[XComEntry, Raw]]:
        """Yield the selected XComs with their whole values, unsorted, one by one."""
        page = self._backend.paged_values
        value, storage = self._table.x.c.value, self._schema.storage
        whole: Element = self._backend.raw(value, storage)
        if page.inline_bytes is not None:
            small = self._backend.stored_size(value, storage) <= page.inline_bytes // 4
            size = self._backend.size(value, storage)
            if storage == "bytes":
                small = size <= page.inline_bytes
            whole = sa.case((small, whole))
        with self._table.explained():
            query = self._rows.select(selection, text=text)
            query = query.add_columns(whole.label("whole"), self._rows.orphan())
            for row in self._table.stream(query, page.rows):
                entry = self._rows.entry(row)
                raw = self._backend.fetched(row.whole)
                if raw is None and entry.encoding is not Encoding.NULL:
                    raw = self.read(entry)
                yield entry, raw

    def read(self, entry: XComEntry) -> Raw:
        """Return the whole value of an entry as it is stored.

        Raises:
            DatabaseError: it cannot be read, or is gone.
        """
        storage = self._schema.storage
        value = self._backend.raw(self._table.x.c.value, storage)
        is_row = self._rows.conditions.is_row(entry)
        statement = sa.select(value).select_from(self._table.x).where(*is_row)
        if entry.size is not None and entry.size > PLAIN_BYTES:
            most = self._backend.largest_answer(storage)
            if most is not None and entry.size > most:
                raise DatabaseError(
                    f'cannot read "{entry.ref}" in one piece: {Size(entry.size).exactly()}'
                    f" exceed the {most.exactly()} of one answer",
                    hint='"xcomctl pull -o raw --file FILE" reads it piece by piece.',
                )
        with self._table.explained():
            found = self._table.connection.execute(statement).first()
        if found is None:
            raise DatabaseError(
                f'could not read "{entry.ref}"', detail="It was deleted a moment ago."
            )
        return self._backend.fetched(found[0])

    def read_pieces(self, entry: XComEntry) -> Iterator[bytes]:
        """Yield the whole value of an entry as it is stored, text as UTF-8, in pieces of some MB.

        A large value is never held whole, except a jsonb, whose text PostgreSQL gives in one
        piece only. Yields nothing where it is SQL NULL.

        Raises:
            DatabaseError: it cannot be read, is gone, or was changed meanwhile.
        """
        if entry.size is None or entry.size <= PLAIN_BYTES:
            yield from _pieces(self.read(entry))
            return
        is_row = self._rows.conditions.is_row(entry)
        try:
            with self._table.explained():
                slices = self._backend.slices(self._table.x, is_row, self._schema.storage)
                for raw in slices:
                    yield from _pieces(raw)
        except MovedError:
            raise changed_while_read(entry) from None

    def stream_into(
        self,
        selection: Selection,
        sink: RowSink,
        *,
        ordered: bool = False,
        after: tuple[int, str, int, str] | None = None,
    ) -> None:
        """Write the selected rows with their whole values into a sink, at the driver's speed.

        Unsorted; with `ordered` (Airflow 2.3 and newer) in the order of the primary key, from
        behind the key `after`.
        """
        identity, backend = self._schema.generation.identity, self._backend
        with self._table.explained():
            statement = self._streamed(selection, narrow=selection.narrows)
            if ordered:
                key = [self._table.x.c[name] for name in identity]
                statement = backend.along_key(statement.order_by(*key), self._table.x)
                if after is not None:
                    statement = statement.where(backend.beyond(key, after))
            narrow = ordered or not self._table.is_whole(selection)
            stream_into = backend.stream_into if narrow else backend.stream_all_into
            stream_into(statement, self._schema.storage, sink)

    def stream_few_into(
        self, narrowed: Callable[[sa.Select[Any]], sa.Select[Any]], sink: RowSink
    ) -> None:
        """Write the rows that `narrowed` leaves of a query into a sink, as `stream_into` does."""
        with self._table.explained():
            statement = narrowed(self._streamed(Selection(), narrow=True))
            self._backend.stream_into(statement, self._schema.storage, sink)

    def part_writer(self, selection: Selection, sink: RowSink) -> Callable[[KeyRange], None]:
        """Return what writes the selected rows of a part into a sink, in the order of their key.

        The part replaces that of the selection.
        """
        backend, x = self._backend, self._table.x
        key = [x.c[name] for name in self._schema.generation.identity]
        with self._table.explained():
            statement = self._streamed(replace(selection, part=None), narrow=True)
            statement = backend.along_key(statement.order_by(*key), x)

        def write(part: KeyRange) -> None:
            with self._table.explained():
                within = statement.where(*self._rows.conditions.in_part(part))
                backend.stream_into(within, self._schema.storage, sink)

        return write

    def _streamed(self, selection: Selection, *, narrow: bool) -> sa.Select[Any]:
        """Return the query whose rows `Backend.stream_into` writes."""
        table, backend, schema = self._table, self._backend, self._schema
        x, run, mapped, joined = table.x.c, table.run.c, schema.mapped, table.joined
        date: Element = sa.null() if mapped else x.execution_date
        orphan, rows = self._rows.orphan().element, self._rows.source()
        if mapped and joined:
            date = run[schema.run_date or ""]
            if not narrow and backend.knows_runs(table.run, date):
                date, orphan, rows = sa.null(), sa.literal(0), table.x
        number = sa.Integer
        columns: dict[str, Element] = {
            "map_index": sa.cast(x.map_index if mapped else UNMAPPED, number),
            "dag_run_id": sa.cast(x.dag_run_id if mapped else 0, number),
            "orphan": sa.cast(orphan, number),
            "timestamp": backend.streamed_time(x.timestamp),
            "logical_date": backend.streamed_time(date),
            "run_id": x.run_id if mapped else run.run_id if joined else sa.null(),
            "dag_id": x.dag_id,
            "task_id": x.task_id,
            "key": x.key,
            "others": self._others(),
            "whole": backend.streamed_value(x.value, schema.storage),
        }
        wanted = {name: columns[name] for name in STREAMED}
        wanted |= backend.streamed_besides(x.value, schema.storage)
        statement = sa.select(*(column.label(name) for name, column in wanted.items()))
        return statement.select_from(rows).where(*self._rows.conditions.where(selection))

    def _others(self) -> Element:
        """Return the further columns in one, as `exchange.others.read` takes them."""
        columns = [self._table.x.c[one.name] for one in self._table.others]
        if len(columns) < 2:
            return columns[0] if columns else sa.null()
        array: Element = getattr(sa.func, self._backend.json_array)(
            *(sa.cast(column, sa.String) for column in columns)
        )
        return array


def changed_while_read(entry: XComEntry) -> DatabaseError:
    """Return the error for a value of which parts of two versions were read."""
    return DatabaseError(
        f'could not read "{entry.ref}": it was changed while it was read',
        detail="Another session replaced or deleted it.",
        hint="Pull it again.",
    )


def replaced_left_out(entries: Sequence[XComEntry]) -> list[XComEntry]:
    """Return the entries without those of xcom_v1 that a row of xcom_v2 replaces."""
    newer = {(one.ref, one.attempt.try_number) for one in entries if _is_newer(one) and one.attempt}
    return [
        one
        for one in entries
        if one.attempt is None or _is_newer(one) or (one.ref, one.attempt.try_number) not in newer
    ]


def _is_newer(entry: XComEntry) -> bool:
    return entry.attempt is not None and entry.attempt.store == "xcom_v2"


def pushed_at(entry: XComEntry) -> datetime:
    """Return when the XCom was pushed; long ago where that is unknown. For sorting."""
    return entry.timestamp or datetime.min.replace(tzinfo=UTC)


def _pieces(raw: Raw) -> Iterator[bytes]:
    """Yield the bytes of what the database handed over."""
    if raw is None:
        return
    whole = raw if isinstance(raw, bytes | str) else str(raw)
    step = _PIECE_CHARS if isinstance(whole, str) else _PIECE_BYTES
    for start in range(0, len(whole), step):
        yield to_bytes(whole[start : start + step])


def _equals(column: Element, value: object) -> Element:
    return column == value
