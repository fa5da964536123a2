"""SQL conditions on rows of the xcom table: from filters, from exact names, from a primary key."""

from __future__ import annotations

import fnmatch
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from xcomctl.config.target import parse_iso
from xcomctl.model import UNMAPPED, is_glob, runs_back

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from xcomctl.db.backends.base import Element
    from xcomctl.db.read.table import Table
    from xcomctl.model import KeyRange, Selection, XComEntry


_FEW_NAMES = 100


class Conditions:
    """Builds WHERE conditions for one open table."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._backend = table.backend
        self._newest_runs: dict[tuple[tuple[str, ...], str], Mapping[str, Any]] = {}

    def where(self, selection: Selection, *, along_key: bool = False) -> list[Element]:
        """Return the conditions of a selection, to be joined by AND.

        With `along_key`, written so that no index on dag_id is used for them.
        """
        x, backend = self._table.x.c, self._backend
        conditions: list[Element] = [*self.in_part(selection.part)]
        if selection.dag_ids:
            dag_id = backend.without_index(x.dag_id) if along_key else x.dag_id
            conditions.append(self.any_of(dag_id, selection.dag_ids))
            if any(map(is_glob, selection.dag_ids)):
                conditions.append(dag_id.in_(self.dags_like(selection.dag_ids)))
        if selection.run_ids:
            conditions.append(self._any_run(selection))
        if selection.task_ids:
            conditions.append(self.any_of(x.task_id, selection.task_ids))
        if selection.keys:
            conditions.append(self.any_of(x.key, selection.keys))
        conditions += self._of_instances(selection)
        if selection.since:
            moment = backend.bound_moment(selection.since)
            conditions.append(backend.moment(x.timestamp) >= moment)
        if selection.until:
            moment = backend.bound_moment(selection.until)
            conditions.append(backend.moment(x.timestamp) <= moment)
        # Last, because they may read whole values.
        return [*conditions, *self._of_values(selection)]

    def in_part(self, part: KeyRange | None) -> Iterator[Element]:
        """Yield the conditions on the leading key."""
        leading = self._table.x.c[self._table.schema.generation.identity[0]]
        if part is not None and part.start is not None:
            yield leading >= self._backend.bound_key(part.start)
        if part is not None and part.end is not None:
            yield leading < self._backend.bound_key(part.end)

    def _of_values(self, selection: Selection) -> Iterator[Element]:
        """Yield the conditions on values, the cheapest first."""
        value, backend, schema = self._table.x.c.value, self._backend, self._table.schema
        if selection.min_size is not None:
            yield backend.at_least(value, schema.storage, selection.min_size)
        if selection.max_size is not None:
            yield backend.size(value, schema.storage) <= int(selection.max_size)
        if selection.contains is not None:
            searching, kind = backend.searching(), schema.value_type
            yield searching.holds(value, schema.storage, kind, selection.contains)

    def _of_instances(self, selection: Selection) -> Iterator[Element]:
        """Yield the conditions for map indexes and for regions."""
        x, schema = self._table.x.c, self._table.schema
        if selection.map_indexes:
            if schema.mapped:
                yield x.map_index.in_(selection.map_indexes)
            elif UNMAPPED not in selection.map_indexes:
                yield sa.false()
        if selection.current is not None and schema.split:
            yield x.is_current == int(selection.current)
        elif selection.current is False:
            yield sa.false()
        if selection.regions and not schema.split:
            yield sa.false()
        elif selection.regions:
            yield sa.or_(
                *(
                    sa.and_(self._backend.same(x.region_id, region), x.region_index == index)
                    for region, index in selection.regions
                )
            )

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
        if self._table.schema.split and self._table.joined:
            return self._dag_ids_of_runs()
        statement = self._table.distinct("dag_id")
        return [str(one) for one in self._table.connection.execute(statement).scalars()]

    def _dag_ids_of_runs(self) -> list[str]:
        """Return the dag_ids of runs that have an XCom: in Airflow 3.4 no index has just these."""
        table, one = self._table, sa.select(sa.literal(1)).select_from(self._table.x)
        statement = self._backend.distinct(table.run, "dag_id")
        dag_ids = [str(found) for found in table.connection.execute(statement).scalars()]

        def has_some(dag_id: str) -> bool:
            of_dag = one.where(self._backend.same(table.x.c.dag_id, dag_id))
            return table.connection.execute(of_dag.limit(1)).first() is not None

        return [dag_id for dag_id in dag_ids if has_some(dag_id)]

    def of_first_runs(self, many: int, descending: bool, start: object = None) -> Element | None:
        """Return whether a row is of one of the first runs by id, from `start` on.

        None if there are at most `many` runs.
        """
        run = self._table.run.c.id
        runs = sa.select(run).order_by(run.desc() if descending else run.asc()).limit(many)
        if start is not None:
            runs = runs.where(run <= start if descending else run >= start)
        found = self._table.connection.execute(runs).scalars().all()
        return self._table.x.c.dag_run_id.in_(found) if len(found) == many else None

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

    def newest_runs(self, dag_ids: Sequence[str], text: str) -> Mapping[str, Any]:
        """Return the run of each DAG that `latest` or `latest~N` stands for, by its dag_id.

        As the dag_run_id or execution_date of its rows. A run that has this text as its id comes
        first. The answer stays the same while the database is open, although new runs start.
        """
        asked = (tuple(dag_ids), text)
        if asked not in self._newest_runs:
            self._newest_runs[asked] = self._find_newest_runs(dag_ids, text)
        return self._newest_runs[asked]

    def _find_newest_runs(self, dag_ids: Sequence[str], text: str) -> dict[str, Any]:
        table = self._table
        runs = table.run.c if table.joined else table.x.c
        name = (
            "execution_date" if not table.schema.mapped else "id" if table.joined else "dag_run_id"
        )
        key: Element = runs[name]
        of_dags: Element = runs.dag_id.in_(dag_ids)
        if len(dag_ids) < _FEW_NAMES:
            # What was typed may be a text that the driver refuses to send.
            of_dags = sa.or_(sa.false(), *(self._backend.same(runs.dag_id, one) for one in dag_ids))
        found: dict[str, Any] = {}
        back = runs_back(text)
        if back:
            for dag_id in dag_ids:
                keys = sa.select(key).distinct().where(self._backend.same(runs.dag_id, dag_id))
                last = keys.order_by(key.desc()).limit(1).offset(back)
                row = table.connection.execute(last).first()
                found |= {} if row is None else {dag_id: row[0]}
        else:
            newest = sa.select(sa.func.max(runs.dag_id), sa.func.max(key)).where(of_dags)
            found = self._by_dag(newest.group_by(self._backend.exact(runs.dag_id)))
        if table.joined:
            named = self._backend.same(runs.run_id, text)
            found |= self._by_dag(sa.select(runs.dag_id, key).where(of_dags, named))
        return {dag_id: one for dag_id, one in found.items() if dag_id in dag_ids}

    def _by_dag(self, statement: sa.Select[Any]) -> dict[str, Any]:
        rows = self._table.connection.execute(statement)
        return {self._backend.text_of(dag_id) or "": key for dag_id, key in rows}

    def _of_newest_runs(self, dag_ids: Sequence[str], text: str) -> Element:
        """Return whether a row belongs to the newest run of its DAG, or the newest but N."""
        table, x = self._table, self._table.x.c
        if not dag_ids:
            names = self.dag_ids()
        else:
            names = self.dags_like(dag_ids) if any(map(is_glob, dag_ids)) else list(dag_ids)
        keys = self.newest_runs(names, text)
        if not table.schema.mapped:
            same = self._backend.same
            pairs = (
                sa.and_(same(x.dag_id, dag_id), x.execution_date == date)
                for dag_id, date in keys.items()
            )
            return sa.or_(sa.false(), *pairs)
        of_runs: Element = x.dag_run_id.in_(list(keys.values()))
        if not table.joined:
            return of_runs
        # A row with a wrong dag_run_id belongs to no run.
        run = table.named("dag_run").alias("newest")
        same_dag = self._backend.same_column(run.c.dag_id, x.dag_id)
        is_its_run = (run.c.id == x.dag_run_id, same_dag, run.c.run_id == x.run_id)
        return sa.and_(of_runs, sa.exists().where(*is_its_run))

    def _any_run(self, selection: Selection) -> Element:
        """Return whether a row belongs to one of the selected runs."""
        newest = [text for text in selection.run_ids if runs_back(text) is not None]
        named = [text for text in selection.run_ids if text not in newest]
        conditions = [self._of_newest_runs(selection.dag_ids, text) for text in newest]
        if named:
            conditions.append(self._any_named_run(named))
        return sa.or_(*conditions)

    def _any_named_run(self, run_ids: Sequence[str]) -> Element:
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
