"""Queries for rows of the xcom table, and the entries made of their results."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from xcomctl.db.backends.base import MAX_SNIFFED
from xcomctl.db.backends.times import to_moment
from xcomctl.db.read.conditions import Conditions
from xcomctl.model import UNMAPPED, Attempt, Encoding, Size, XComEntry, XComRef
from xcomctl.values.sniff import sniff

if TYPE_CHECKING:
    from xcomctl.db.backends.base import Element
    from xcomctl.db.read.table import Table
    from xcomctl.model import Selection

HEAD_BYTES = MAX_SNIFFED
"""Enough to recognise every encoding, and all of a small value."""


class Rows:
    """Builds queries for entries of one open table and reads their results."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self.conditions = Conditions(table)
        self._backend = table.backend
        self._schema = table.schema

    def select(
        self,
        selection: Selection,
        *,
        text: bool = False,
        stored: bool = False,
        heads: int = HEAD_BYTES,
        orphans: bool = False,
        others: bool = False,
    ) -> sa.Select[Any]:
        """Return the query for the selected entries, in no order; `entry` reads its rows.

        `text` adds the length as JSON text, `stored` the bytes on disk, `orphans` whether the
        run exists, `others` further columns, which `full_entry` reads. `heads` is how many bytes
        of each value come along.
        """
        x, run = self.table.x.c, self.table.run.c
        value, storage = x.value, self._schema.storage
        columns: list[Any] = [x[name] for name in self._schema.generation.identity]
        columns += [x[name] for name in ("dag_id", "task_id", "key") if x[name] not in columns]
        joined = self.table.joined
        if self._schema.mapped:
            columns += [x.run_id]
            date: Element = run[self._schema.run_date or ""] if joined else sa.null()
        else:
            columns += [(run.run_id if joined else sa.null()).label("run_id")]
            date = x.execution_date
        columns += [
            date.label("execution_date"),
            x.timestamp,
            self.size().label("size"),
            self._backend.head(value, storage, heads).label("head")
            if self._needs_head(heads)
            else sa.case((value.is_(None), 1), else_=0).label("head"),
            (self._backend.text_size(value, storage) if text else sa.null()).label("text_size"),
            (self._backend.stored_size(value, storage) if stored else sa.null()).label(
                "stored_size"
            ),
        ]
        if self._schema.split:
            columns += [x[name] for name in ("is_current", "in_loop")]
        if orphans:
            columns.append(self.orphan())
        if others:
            columns += [x[one.name].label(f"other_{one.name}") for one in self.table.others]
        unique = {column.name: column for column in reversed(columns)}
        statement = sa.select(*reversed(unique.values())).select_from(self.source())
        return statement.where(*self.conditions.where(selection))

    def over(
        self, selection: Selection, *columns: Element, of_runs: bool = False
    ) -> sa.Select[Any]:
        """Return the query for columns of the selected rows, joined with runs only if needed."""
        joined = not self._schema.mapped and (of_runs or bool(selection.run_ids))
        rows = sa.select(*columns).select_from(self.source() if joined else self.table.x)
        return rows.where(*self.conditions.where(selection))

    def source(self) -> sa.FromClause:
        """Return xcom joined with its runs; rows without a run stay."""
        table, backend = self.table, self._backend
        if not table.joined:
            return table.x
        x, run = table.x.c, table.run.c
        same_dag = backend.same_column(run.dag_id, x.dag_id)
        if self._schema.mapped:
            # A wrong dag_run_id is accepted everywhere; such a row has no run then.
            same_run = backend.same_column(run.run_id, x.run_id, exact=False)
            on = sa.and_(run.id == x.dag_run_id, same_dag, same_run)
        else:
            on = sa.and_(same_dag, run.execution_date == x.execution_date)
        return sa.outerjoin(table.x, table.run, on)

    def size(self) -> Element:
        """Return the expression for the bytes of a value."""
        return self._backend.size(self.table.x.c.value, self._schema.storage)

    def orphan(self) -> sa.Label[Any]:
        """Return whether the row's run or task instance is missing, so that Airflow ignores it."""
        table = self.table
        if not (table.joined and self._schema.mapped) or self._schema.split:
            return sa.literal(0).label("orphan")
        missing: Element = table.run.c.id.is_(None)
        if self._backend.name == "sqlite" and table.columns["task_instance"]:
            # Elsewhere a foreign key sees to it.
            x, instance = table.x.c, table.named("task_instance").alias("t")
            names = ("dag_id", "task_id", "run_id", "map_index")
            there = sa.exists().where(*(instance.c[name] == x[name] for name in names))
            missing = sa.or_(missing, sa.not_(there))
        return sa.case((missing, 1), else_=0).label("orphan")

    @property
    def run_order(self) -> tuple[str, ...]:
        """Return the columns by which rows are sorted by run."""
        identity = self._schema.generation.identity
        if self._schema.mapped:
            return identity
        return ("execution_date", *(name for name in identity if name != "execution_date"))

    def entry(self, row: sa.Row[Any], size: int | None = None) -> XComEntry:
        """Return the entry of a row of `select`; `size` where it is already known."""
        number = row.size if size is None else size
        size = None if number is None else Size(number)
        head = self._backend.fetched(row.head)
        if head is None and size == 0:
            # SQLite's substr() of an empty blob is NULL.
            head = b""
        if self._head_is_flag(row):
            encoding = Encoding.NULL if head == 1 else Encoding.JSON
            head = None
        else:
            encoding = sniff(head, size, self._schema.storage)
        logical_date = to_moment(row.execution_date)
        named, text_of = row._mapping, self._backend.text_of
        identity = tuple([named[name] for name in self._schema.generation.identity])
        position = identity
        if not self._schema.mapped:
            position = tuple([named[name] for name in self.run_order])
        attempt = _attempt(row) if self._schema.split else None
        return XComEntry(
            ref=XComRef(
                text_of(row.dag_id) or "",
                text_of(row.task_id) or "",
                text_of(row.run_id),
                text_of(row.key),
                row.map_index if self._schema.mapped else UNMAPPED,
                logical_date,
                f"{attempt.region_id}:{attempt.region_index}" if attempt and row.in_loop else None,
            ),
            size=size,
            timestamp=to_moment(row.timestamp),
            encoding=encoding,
            row=identity,
            text_size=None if row.text_size is None else Size(row.text_size),
            stored_size=None if row.stored_size is None else Size(row.stored_size),
            head=head,
            # `in` first: a missing column raises, which costs more than the question.
            orphan="orphan" in named and bool(named["orphan"]),
            position=position,
            attempt=attempt,
        )

    def full_entry(self, row: sa.Row[Any]) -> XComEntry:
        """Return the entry of a row of `select` with `others`."""
        entry, named = self.entry(row), row._mapping
        others = ((one.name, one.read(named[f"other_{one.name}"])) for one in self.table.others)
        return replace(entry, others=tuple(others))

    def _needs_head(self, heads: int) -> bool:
        # A JSON column holds JSON, but for SQLite's, which holds anything.
        return (
            self._schema.storage == "bytes" or self._backend.name == "sqlite" or heads > HEAD_BYTES
        )

    def _head_is_flag(self, row: sa.Row[Any]) -> bool:
        return (
            self._schema.storage == "json"
            and self._backend.name != "sqlite"
            and isinstance(row.head, int)
        )


def _attempt(row: sa.Row[Any]) -> Attempt:
    return Attempt(row.region_id, row.region_index, row.try_number, bool(row.is_current), row.store)
