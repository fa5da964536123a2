"""Entries in an order: the first ones by their keys, or all of them through the server's sort."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from xcomctl.db.backends.base import MovedError
from xcomctl.db.read.rows import HEAD_BYTES
from xcomctl.model import Selection, Size
from xcomctl.values.sniff import sniff

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from xcomctl.db.backends.base import Element
    from xcomctl.db.read.rows import Rows
    from xcomctl.model import SortKey, XComEntry


MAX_SORTED_KEYS = 10_000
"""Up to this many entries are sorted by key alone and fetched afterwards."""

_KEYS_AT_ONCE = 500

_FEW = 5_000
"""Rows that are sorted in no time, however they are found."""

_MANY = 100_000
"""Rows to pass over before the first one that is wanted."""

_RUNS = (20, 500)
"""Number of runs to search for the first entries before searching all of them."""

_EVERYTHING = 2**63 - 1
"""A LIMIT that keeps MySQL from merging a derived table into the query around it."""


@dataclasses.dataclass(frozen=True, slots=True)
class Order:
    """What entries are sorted by, and which of them are wanted."""

    by: SortKey | None
    """None: no order, as the database finds them."""
    descending: bool = False
    limit: int | None = None
    after: Sequence[object] | None = None
    """A position in the order of runs; only entries behind it are wanted."""


@dataclasses.dataclass(frozen=True, slots=True)
class Details:
    """What is read of each entry besides its name and size."""

    text: bool = False
    stored: bool = False
    heads: int | None = None
    """Bytes of each value; None for as many as recognising its encoding takes."""


def without(query: sa.Select[Any], *names: str) -> sa.Select[Any]:
    """Return a query of entries with NULL for columns that are found out another way."""
    kept = [one for one in query.selected_columns if one.name not in names]
    return query.with_only_columns(*kept, *(sa.null().label(name) for name in names))


class Sorting:
    """Reads entries in an order, with as little as possible going through the sort."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._table = rows.table
        self._backend = rows.table.backend
        self._schema = rows.table.schema

    def first(self, selection: Selection, order: Order, details: Details) -> Iterator[XComEntry]:
        """Yield the first entries in an order with a limit of at most `MAX_SORTED_KEYS`.

        Only keys go through the sort. Entries deleted in between are left out.
        """
        keys = self._first_keys(selection, order)
        yield from self._entries(keys, order, details)

    def statement(self, selection: Selection, order: Order, details: Details) -> sa.Select[Any]:
        """Return the query for all entries in an order, to be streamed."""
        query = self._rows.select(
            selection,
            text=details.text,
            stored=details.stored,
            heads=details.heads or HEAD_BYTES,
        )
        if order.after is not None:
            key = [self._table.x.c[name] for name in self._rows.run_order]
            query = query.where(self._backend.beyond(key, order.after, descending=order.descending))
        if order.by is None:
            return query.limit(order.limit)
        if self._backend.needs_separate_sort(self._schema.storage):
            if order.by == "run" and self._schema.mapped and selection == Selection():
                # Read along the primary key, nothing is sorted at all.
                query = self._backend.along_key(query, self._table.x)
            else:
                # Measure first, sort the measures: the values stay out of the sort.
                derived = query.limit(_EVERYTHING).subquery("d")
                query = sa.select(*derived.c)
                return query.order_by(*self._order_by(order, derived.c)).limit(order.limit)
        return query.order_by(*self._order_by(order, None)).limit(order.limit)

    def peeked(self, entry: XComEntry) -> Iterator[XComEntry]:
        """Yield the entry with the size and encoding of its value; nothing if it was deleted."""
        storage, is_row = self._schema.storage, self._rows.conditions.is_row(entry)
        with contextlib.suppress(MovedError):
            number, head = self._backend.peek(self._table.x, is_row, storage, HEAD_BYTES)
            size = None if number is None else Size(number)
            encoding = sniff(head, size, storage)
            yield dataclasses.replace(entry, size=size, head=head, encoding=encoding)

    def _first_keys(self, selection: Selection, order: Order) -> dict[tuple[Any, ...], int | None]:
        """Return the primary keys of the first entries in an order, each with its size.

        The size is None unless it is what they are sorted by.
        """
        identity = self._schema.generation.identity
        statement = self._keys(selection, order)
        if (
            order.by == "run"
            and self._schema.split
            and not (selection.dag_ids or selection.run_ids)
        ):
            found = self._keys_of_few_runs(statement, order)
            if found is not None:
                return dict.fromkeys(found)
        # Not streamed: PostgreSQL lets no other processes help a cursor.
        if order.by != "size":
            rows = self._table.connection.execute(statement)
            return {tuple(row[: len(identity)]): None for row in rows}
        assert order.limit is not None
        whole = self._table.is_whole(selection)
        sized = self._backend.first_by_size(statement, order.limit, order.descending, whole=whole)
        return {tuple(row[: len(identity)]): row[-1] for row in sized}

    def _keys_of_few_runs(
        self, statement: sa.Select[Any], order: Order
    ) -> list[tuple[Any, ...]] | None:
        """Return the first keys if the first runs have as many, None if they have not.

        No index of Airflow 3.4 has XComs in the order of runs, so that all would be sorted.
        """
        start = None if order.after is None else order.after[0]
        for many in _RUNS:
            of_runs = self._rows.conditions.of_first_runs(many, order.descending, start)
            if of_runs is None:
                return None
            found = self._table.connection.execute(statement.where(of_runs)).all()
            if len(found) == order.limit:
                return [tuple(row) for row in found]
        return None

    def _keys(self, selection: Selection, order: Order) -> sa.Select[Any]:
        """Return the query for the first keys: nothing else goes through the sort but its own."""
        x, size = self._table.x.c, self._rows.size().label("size")
        identity = self._schema.generation.identity
        by: dict[str, list[str]] = {"timestamp": ["timestamp"], "dag_id": ["dag_id", "task_id"]}
        names = dict.fromkeys([*identity, *by.get(order.by or "", ())])
        if order.by == "run" and not self._schema.mapped:
            names["execution_date"] = None
        columns: list[Element] = [x[name] for name in names]
        order_by = self._order_by(order, None)
        if order.by == "size":
            columns.append(size)
            # By its label: measured once, and not once more for the sort. Equal ones come in the
            # order of the scan, which is the key's; long keys would be most of the sort's work.
            ties = self._backend.size_ties(order_by[-len(identity) :])
            order_by = [*self._backend.nulls_last(size, order.descending), *ties]
        old_runs = not self._schema.mapped and selection.run_ids
        keys = sa.select(*columns).select_from(self._rows.source() if old_runs else self._table.x)
        hidden = order.by == "run" and self._is_quicker_along_the_key(selection)
        keys = keys.where(*self._rows.conditions.where(selection, along_key=hidden))
        if order.after is not None:
            place = [x[name] for name in self._rows.run_order]
            keys = keys.where(self._backend.beyond(place, order.after, descending=order.descending))
        separate = self._backend.needs_separate_sort(self._schema.storage)
        separate = separate and selection.touches_values
        if separate or (order.by == "size" and self._backend.sorts_sizes_apart()):
            measured = keys.limit(_EVERYTHING).subquery("m")
            keys, order_by = sa.select(*measured.c), self._order_by(order, measured.c)
            if order.by == "size":
                order_by = self._backend.nulls_last(measured.c.size, order.descending)
        return keys.order_by(*order_by).limit(order.limit)

    def _entries(
        self, keys: Mapping[tuple[Any, ...], int | None], order: Order, details: Details
    ) -> Iterator[XComEntry]:
        """Yield the entries of primary keys, in their order; those that are gone are left out."""
        query = self._rows.select(
            Selection(),
            text=details.text,
            stored=details.stored,
            heads=details.heads or HEAD_BYTES,
        )
        by_size = order.by == "size"
        peeks = by_size and self._backend.peeks and details.heads is None
        if by_size:
            query = without(query, "size", *(["head"] if peeks else []))
        identity = self._schema.generation.identity
        columns: list[Element] = [self._table.x.c[name] for name in identity]
        for at in range(0, len(keys), _KEYS_AT_ONCE):
            some = list(itertools.islice(keys, at, at + _KEYS_AT_ONCE))
            is_one = self._table.is_one_of(columns, some)
            rows = self._table.connection.execute(query.where(is_one))
            found = {}
            for row in rows.all():
                key = tuple(row._mapping[name] for name in identity)
                found[key] = self._rows.entry(row, keys.get(key))
            for key in some:
                if key in found:
                    yield from self.peeked(found[key]) if peeks else [found[key]]

    def _is_quicker_along_the_key(self, selection: Selection) -> bool:
        """Return whether walking from the newest run on meets enough entries of these DAGs soon.

        Asked of a database without statistics only. Whatever the answer, the result is the same.
        """
        if not (self._schema.mapped and selection.dag_ids) or self._backend.has_statistics():
            return False
        if self._schema.split:
            return False
        table, conditions = self._table, self._rows.conditions
        x, run = table.x.c, table.run.c
        of_dags = conditions.where(Selection(dag_ids=selection.dag_ids))
        some = sa.select(sa.literal(1)).select_from(table.x).where(*of_dags).limit(_FEW)
        count = sa.select(sa.func.count()).select_from(some.subquery())
        if (table.connection.scalar(count) or 0) < _FEW or not table.joined:
            return False
        dag_ids = conditions.dags_like(selection.dag_ids)
        newest = sa.select(sa.func.max(run.id)).select_from(table.run)
        last = table.connection.scalar(newest.where(run.dag_id.in_(dag_ids)))
        newer = sa.select(sa.literal(1)).select_from(table.x).where(x.dag_run_id > last)
        above = sa.select(sa.func.count()).select_from(newer.limit(_MANY).subquery())
        return last is not None and (table.connection.scalar(above) or 0) < _MANY

    def _order_by(self, order: Order, columns: Any) -> list[Element]:
        """Return the sort key, then the primary key, so that the order is always the same.

        Of `columns`, or of the table where they are None.
        """
        x: Any = self._table.x.c if columns is None else columns
        identity: list[Any] = [x[name] for name in self._schema.generation.identity]
        keys: list[Any]
        if order.by == "size":
            measured = self._rows.size() if columns is None else columns.size
            return [*self._backend.nulls_last(measured, order.descending), *identity]
        if order.by == "timestamp":
            keys = [x.timestamp, *identity]
        elif order.by == "dag_id":
            keys = [x.dag_id, x.task_id, *identity]
        else:
            keys = [x[name] for name in self._rows.run_order]
        return [key.desc() if order.descending else key.asc() for key in keys]
