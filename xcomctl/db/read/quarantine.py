"""What `preflight` asks besides values: rows that share a name, and SQL that moves rows away."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import sqlalchemy as sa

from xcomctl.db.read.entries import pushed_at

if TYPE_CHECKING:
    from collections.abc import Iterator

    from xcomctl.db.read.rows import Rows
    from xcomctl.model import Selection, XComEntry


class Quarantine:
    """Rows that an upgrade trips over, and the SQL (for people to run) that moves them away."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._table = rows.table
        self._backend = rows.table.backend

    def duplicates(self, selection: Selection) -> Iterator[list[XComEntry]]:
        """Yield the entries that share a name and a run, the one that Airflow reads first.

        Only Airflow 1.10 lets them exist. The database decides which names are equal, as it will
        for the primary key that later releases create.
        """
        if self._table.schema.generation.name != "1.10":
            return
        names = ("dag_id", "task_id", "key", "execution_date")
        x, other = self._table.x, self._table.named("xcom").alias("y")
        groups = (
            sa.select(*(other.c[name] for name in names))
            .group_by(*(other.c[name] for name in names))
            .having(sa.func.count() > 1)
            .subquery("d")
        )
        first = sa.select(sa.func.min(other.c.id)).where(
            *(other.c[name] == x.c[name] for name in names)
        )
        label = first.correlate(x).scalar_subquery().label("first_id")
        with self._table.explained():
            query = self._rows.select(selection)
            same = sa.and_(*(groups.c[name] == x.c[name] for name in names))
            # EXISTS, because the statement's FROM is already made.
            found = query.add_columns(label).where(sa.exists().where(same))
            rows = sorted(self._table.connection.execute(found).all(), key=lambda row: row.first_id)
        for _, group in itertools.groupby(rows, key=lambda row: row.first_id):
            entries = sorted(map(self._rows.entry, group), key=lambda entry: entry.row[:1])
            entries.sort(key=pushed_at, reverse=True)
            yield entries

    def move_statements(self, entry: XComEntry, table: str) -> tuple[str, str]:
        """Return two SQL statements, one line each: copy a row into a table, and delete it."""
        xcom, other = self._table.xcom, self._table.named(table, like="xcom")
        is_row = self._rows.conditions.is_row(entry, xcom)
        names = list(self._table.columns["xcom"])
        copied = sa.select(*(xcom.c[name] for name in names)).where(*is_row)
        statements = (other.insert().from_select(names, copied), sa.delete(xcom).where(*is_row))
        first, second = map(self._backend.script().statement, statements)
        return first, second

    def opening_statements(self, table: str) -> list[str]:
        """Return the SQL before those: it creates a table like xcom and begins a transaction."""
        script = self._backend.script()
        return [*script.preamble, script.copy_table("xcom", table), script.begin]
