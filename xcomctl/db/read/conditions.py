"""SQL conditions on rows of the xcom table: from filters, from exact names, from a primary key."""

from __future__ import annotations

import fnmatch
from typing import TYPE_CHECKING

import sqlalchemy as sa

from xcomctl.config.target import parse_iso
from xcomctl.model import UNMAPPED, is_glob

if TYPE_CHECKING:
    from collections.abc import Sequence

    from xcomctl.db.backends.base import Element
    from xcomctl.db.read.table import Table
    from xcomctl.model import Selection, XComEntry


class Conditions:
    """Builds WHERE conditions for one open table."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._backend = table.backend

    def where(self, selection: Selection, *, along_key: bool = False) -> list[Element]:
        """Return the conditions of a selection, to be joined by AND.

        With `along_key`, written so that no index on dag_id is used for them.
        """
        x, backend, schema = self._table.x.c, self._backend, self._table.schema
        conditions: list[Element] = []
        if selection.dag_ids:
            dag_id = backend.without_index(x.dag_id) if along_key else x.dag_id
            conditions.append(self.any_of(dag_id, selection.dag_ids))
            if any(map(is_glob, selection.dag_ids)):
                conditions.append(dag_id.in_(self.dags_like(selection.dag_ids)))
        if selection.run_ids:
            conditions.append(self._any_run(selection.run_ids))
        if selection.task_ids:
            conditions.append(self.any_of(x.task_id, selection.task_ids))
        if selection.keys:
            conditions.append(self.any_of(x.key, selection.keys))
        if selection.map_indexes:
            if schema.mapped:
                conditions.append(x.map_index.in_(selection.map_indexes))
            elif UNMAPPED not in selection.map_indexes:
                conditions.append(sa.false())
        if selection.since:
            moment = backend.bound_moment(selection.since)
            conditions.append(backend.moment(x.timestamp) >= moment)
        if selection.until:
            moment = backend.bound_moment(selection.until)
            conditions.append(backend.moment(x.timestamp) <= moment)
        if selection.min_size is not None:
            conditions.append(backend.at_least(x.value, schema.storage, selection.min_size))
        if selection.max_size is not None:
            size = backend.size(x.value, schema.storage)
            conditions.append(size <= int(selection.max_size))
        return conditions

    def named(self, dag_id: str, task_id: str, key: str | None) -> list[Element]:
        """Return the conditions for exact names; any key where `key` is None."""
        x, same = self._table.x.c, self._backend.same
        conditions = [same(x.dag_id, dag_id), same(x.task_id, task_id)]
        return conditions if key is None else [*conditions, same(x.key, key)]

    def of_run(self, run_id: str) -> Element:
        """Return whether a row belongs to the run: by its id, never a glob, or of old its date.

        Needs the join with dag_run where rows carry no run_id.
        """
        x, table = self._table.x.c, self._table
        if table.schema.mapped:
            return self._backend.same(x.run_id, run_id)
        moment = parse_iso(run_id)
        by_id = self._backend.same(table.run.c.run_id, run_id) if table.joined else sa.false()
        if moment is None:
            return by_id
        date = self._backend.moment(x.execution_date)
        return sa.or_(by_id, date == self._backend.bound_moment(moment))

    def is_run(self, run_id: str) -> Element:
        """Return whether a row of dag_run is the run: by its id or, of old, its date."""
        run = self._table.run.c
        by_id = self._backend.same(run.run_id, run_id)
        moment = parse_iso(run_id)
        if moment is None or self._table.schema.mapped:
            return by_id
        date = self._backend.moment(run.execution_date)
        return sa.or_(by_id, date == self._backend.bound_moment(moment))

    def is_row(self, entry: XComEntry, table: sa.FromClause | None = None) -> list[Element]:
        """Return the conditions for the primary key of one entry, in `x` or in `table`."""
        conditions: list[Element] = []
        identity = self._table.schema.generation.identity
        for name, value in zip(identity, entry.row, strict=True):
            column = (self._table.x if table is None else table).c[name]
            if isinstance(value, str) and name != "execution_date":
                conditions.append(self._backend.same(column, value))
            else:
                conditions.append(column.is_(None) if value is None else column == value)
        return conditions

    def dag_ids(self) -> list[str]:
        """Return the dag_ids that have an XCom, read from the index."""
        statement = self._backend.distinct(self._table.x, "dag_id")
        return [str(one) for one in self._table.connection.execute(statement).scalars()]

    def dags_like(self, patterns: Sequence[str]) -> list[str]:
        """Return the dag_ids that can match one of the patterns, read from the index.

        A superset: a database that folds case or ignores trailing spaces lists one of several
        names that it considers equal, and its IN finds them all.
        """
        lower = [pattern.lower() for pattern in patterns]

        def may_match(dag_id: str, pattern: str) -> bool:
            bare = dag_id.rstrip(" ")
            variants = (bare + " " * spaces for spaces in range(len(pattern) + 1))
            return dag_id == pattern or any(fnmatch.fnmatchcase(one, pattern) for one in variants)

        return [
            dag_id
            for dag_id in self.dag_ids()
            if any(may_match(dag_id.lower(), pattern) for pattern in lower)
        ]

    def any_of(self, column: Element, texts: Sequence[str]) -> Element:
        """Return whether a column is one of the texts, or matches one of the globs among them."""
        return sa.or_(
            *(
                self._backend.like(column, text)
                if is_glob(text)
                else self._backend.same(column, text)
                for text in texts
            )
        )

    def _any_run(self, run_ids: Sequence[str]) -> Element:
        """Return whether a row belongs to one of the runs, given by id, glob or, of old, date."""
        table, x = self._table, self._table.x.c
        if table.schema.mapped:
            return self.any_of(x.run_id, run_ids)
        conditions: list[Element] = []
        if table.joined:
            conditions.append(self.any_of(table.run.c.run_id, run_ids))
        for text in run_ids:
            moment = parse_iso(text)
            if moment is not None:
                date = self._backend.moment(x.execution_date)
                conditions.append(date == self._backend.bound_moment(moment))
        return sa.or_(sa.false(), *conditions)
