"""Entries in an order, a page at a time, without their values."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

import sqlalchemy as sa

from xcomctl.db.backends.base import MovedError
from xcomctl.db.read.table import HEAD_BYTES, Table
from xcomctl.model import Selection, Size, XComEntry
from xcomctl.values import decode

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from xcomctl.db.backends.base import Element


SortKey = Literal["run", "size", "timestamp", "dag_id"]

_MOST_AT_ONCE = 10_000
"""Entries whose keys are sorted first; more are sorted as a whole, and streamed."""

_KEYS_AT_ONCE = 500

_FEW = 5_000
"""Rows that are sorted in no time, however they are found."""

_MANY = 100_000
"""Rows to pass over before the first one that is wanted."""

_EVERYTHING = 2**63 - 1
"""A LIMIT that keeps MySQL from merging a derived table into the query around it."""


def without(base: sa.Select[Any], *names: str) -> sa.Select[Any]:
    """Return a query of entries with NULL for what is told otherwise."""
    kept = [one for one in base.selected_columns if one.name not in names]
    return base.with_only_columns(*kept, *(sa.null().label(name) for name in names))


class Listing(Table):
    """Entries by filters: all as they come, or the first ones in an order."""

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
        """Yield the selected entries without their values, as the database sends them.

        Unsorted where `sort` is None. `heads` is how many bytes of each value to bring along;
        by default what telling its encoding takes. Sorted by run, only those behind a `position`.

        Raises:
            DatabaseError: the connection was lost, timed out or may not read the table.
        """
        with self._explained():
            if sort is not None and limit is not None and limit <= _MOST_AT_ONCE:
                keys = self._first_keys(selection, sort, descending, limit, after)
                yield from self._entries(keys, sort, text=text, stored=stored, heads=heads)
                return
            statement = self._scan(selection, sort, descending, limit, text, stored, heads, after)
            for row in self._stream(statement, self._backend.paged.rows):
                yield self._entry(row)

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
        named = zip(self._run_order, place, strict=True)
        return [self._read_key(name, value) for name, value in named]

    def _first_keys(
        self,
        selection: Selection,
        sort: SortKey,
        descending: bool,
        limit: int,
        after: Sequence[object] | None,
    ) -> dict[tuple[Any, ...], int | None]:
        """Return the primary keys of the first entries in an order, behind a `position`.

        With their sizes, where it is the order of those. Nothing else goes through the sort but
        what is sorted by.
        """
        x, size = self._x.c, self._size().label("size")
        identity = self.schema.generation.identity
        by: dict[str, list[str]] = {"timestamp": ["timestamp"], "dag_id": ["dag_id", "task_id"]}
        names = dict.fromkeys([*identity, *by.get(sort, ())])
        if sort == "run" and not self.schema.mapped:
            names["execution_date"] = None
        columns: list[Element] = [x[name] for name in names]
        order = self._order(sort, descending, None)
        if sort == "size":
            columns.append(size)
            # By its label: told once, and not once more for the sort. Equal ones come in the order
            # of the scan, which is that of the key; long keys would be most of the sort's work.
            ties = [] if self._backend.scans_in_order else order[-len(identity) :]
            order = [*self._backend.nulls_last(size, descending), *ties]
        old_runs = not self.schema.mapped and selection.run_ids
        keys = sa.select(*columns).select_from(self._from() if old_runs else self._x)
        hidden = sort == "run" and self._is_quicker_along_the_key(selection)
        keys = keys.where(*self._where(selection, along_key=hidden))
        if after is not None:
            place = [x[name] for name in self._run_order]
            keys = keys.where(self._backend.beyond(place, after, descending=descending))
        bounded = selection.min_size is not None or selection.max_size is not None
        separate = self._backend.needs_separate_sort(self.schema.storage) and bounded
        if separate or (sort == "size" and self._backend.measures_first):
            measured = keys.limit(_EVERYTHING).subquery("m")
            keys, order = sa.select(*measured.c), self._order(sort, descending, measured.c)
            if sort == "size":
                order = self._backend.nulls_last(measured.c.size, descending)
        # Not streamed: PostgreSQL lets no other processes help a cursor.
        statement = keys.order_by(*order).limit(limit)
        if sort != "size":
            rows = self._connection.execute(statement)
            return {tuple(row[: len(identity)]): None for row in rows}
        whole = not selection.narrows
        sized = self._backend.first_by_size(statement, limit, descending, whole=whole)
        return {tuple(row[: len(identity)]): row[-1] for row in sized}

    def _entries(
        self,
        keys: Mapping[tuple[Any, ...], int | None],
        sort: SortKey,
        *,
        text: bool,
        stored: bool,
        heads: int | None,
    ) -> Iterator[XComEntry]:
        """Yield the entries of primary keys, in their order; those that are gone are left out."""
        base = self._base(Selection(), text=text, stored=stored, heads=heads or HEAD_BYTES)
        peeks = sort == "size" and self._backend.peeks and heads is None
        if sort == "size":
            base = without(base, "size", *(["head"] if peeks else []))
        columns: list[Element] = [self._x.c[name] for name in self.schema.generation.identity]
        for at in range(0, len(keys), _KEYS_AT_ONCE):
            some = list(itertools.islice(keys, at, at + _KEYS_AT_ONCE))
            rows = self._connection.execute(base.where(self._backend.is_one_of(columns, some)))
            found = {}
            for row in rows.all():
                key = tuple(row._mapping[name] for name in self.schema.generation.identity)
                found[key] = self._entry(row, keys.get(key))
            for key in some:
                if key in found:
                    yield from self._peeked(found[key]) if peeks else [found[key]]

    def _peeked(self, entry: XComEntry) -> Iterator[XComEntry]:
        """Yield the entry with what its value tells; nothing where it was deleted meanwhile."""
        storage = self.schema.storage
        with contextlib.suppress(MovedError):
            number, head = self._backend.peek(self._x, self._is_row(entry), storage, HEAD_BYTES)
            size = None if number is None else Size(number)
            encoding = decode.sniff(head, size, storage)
            yield dataclasses.replace(entry, size=size, head=head, encoding=encoding)

    def _is_quicker_along_the_key(self, selection: Selection) -> bool:
        """Return whether walking from the newest run on meets enough entries of these DAGs soon.

        Asked of a database without statistics only. Whatever the answer, the same is found.
        """
        if not (self._backend.needs_hints and self.schema.mapped and selection.dag_ids):
            return False
        x, run = self._x.c, self._run.c
        of_dags = self._where(Selection(dag_ids=selection.dag_ids))
        some = sa.select(sa.literal(1)).select_from(self._x).where(*of_dags).limit(_FEW)
        count = sa.select(sa.func.count()).select_from(some.subquery())
        if (self._connection.scalar(count) or 0) < _FEW or not self._joined:
            return False
        dag_ids = self._dags_like(selection.dag_ids)
        newest = sa.select(sa.func.max(run.id)).select_from(self._run)
        last = self._connection.scalar(newest.where(run.dag_id.in_(dag_ids)))
        newer = sa.select(sa.literal(1)).select_from(self._x).where(x.dag_run_id > last)
        above = sa.select(sa.func.count()).select_from(newer.limit(_MANY).subquery())
        return last is not None and (self._connection.scalar(above) or 0) < _MANY

    def _scan(
        self,
        selection: Selection,
        sort: SortKey | None,
        descending: bool,
        limit: int | None,
        text: bool,
        stored: bool,
        heads: int | None,
        after: Sequence[object] | None,
    ) -> sa.Select[Any]:
        base = self._base(selection, text=text, stored=stored, heads=heads or HEAD_BYTES)
        if after is not None:
            key = [self._x.c[name] for name in self._run_order]
            base = base.where(self._backend.beyond(key, after, descending=descending))
        if sort is None:
            return base if limit is None else base.limit(limit)
        if self._backend.needs_separate_sort(self.schema.storage):
            if self._sorts_by_key(sort) and selection == Selection():
                # Read along the primary key, nothing is sorted at all.
                base = base.with_hint(self._x, "FORCE INDEX (PRIMARY)", "mysql")
            else:
                # Measure first, sort the measures: the values stay out of the sort.
                derived = base.limit(_EVERYTHING).subquery("d")
                base = sa.select(*derived.c)
                ordered = base.order_by(*self._order(sort, descending, derived.c))
                return ordered if limit is None else ordered.limit(limit)
        ordered = base.order_by(*self._order(sort, descending, None))
        return ordered if limit is None else ordered.limit(limit)

    def _read_key(self, name: str, value: object) -> object:
        anything = self._backend.name == "sqlite"
        if name in ("dag_run_id", "map_index", "id"):
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

    def _sorts_by_key(self, sort: SortKey) -> bool:
        return sort == "run" and self.schema.mapped

    def _order(self, sort: SortKey, descending: bool, columns: Any) -> list[Element]:
        """Return the order: the sort key, then the identity, so that it is always the same."""
        x: Any = self._x.c if columns is None else columns
        identity: list[Any] = [x[name] for name in self.schema.generation.identity]
        keys: list[Any]
        if sort == "size":
            measured = self._size() if columns is None else columns.size
            return [*self._backend.nulls_last(measured, descending), *identity]
        if sort == "timestamp":
            keys = [x.timestamp, *identity]
        elif sort == "dag_id":
            keys = [x.dag_id, x.task_id, *identity]
        else:
            keys = [x[name] for name in self._run_order]
        return [key.desc() if descending else key.asc() for key in keys]
