"""Every statement that asks the xcom table something; each opens read-only and streams."""

from __future__ import annotations

import contextlib
import dataclasses
import fnmatch
import itertools
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

import sqlalchemy as sa

from xcomctl import codec
from xcomctl.db import schema as schemas
from xcomctl.db.backend import MAX_SNIFFED, POURED, MovedError, to_moment
from xcomctl.errors import DatabaseError
from xcomctl.model import (
    UNMAPPED,
    Encoding,
    Facts,
    Limit,
    Raw,
    Selection,
    Size,
    StoredRow,
    XComEntry,
    XComRef,
    format_time,
    is_glob,
)
from xcomctl.settings import parse_iso
from xcomctl.stats import SHARES, Summary, Survey, gather_counts, gather_sizes, unpacked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from datetime import date

    from xcomctl.db.backend import Backend, Element

SortKey = Literal["run", "size", "timestamp", "dag_id"]

HEAD_BYTES = MAX_SNIFFED
"""Enough to tell every encoding, and all of a small value."""

PLAIN_BYTES = 8 * 1024 * 1024
"""Values up to this size are read by one plain statement."""
_PIECE_CHARS = 2 * 1024 * 1024
_PIECE_BYTES = 12 * 1024 * 1024
"""A little more than any backend's slice."""

_OTHER_TABLES = ("dag_run", "task_instance", "dag", "alembic_version", "_xcom_archive")
_MOST_AT_ONCE = 10_000
"""Entries whose keys are sorted first; more are sorted as a whole, and streamed."""
_KEYS_AT_ONCE = 500
_FEW = 5_000
"""Rows that are sorted in no time, however they are found."""
_MANY = 100_000
"""Rows to pass over before the first one that is wanted."""
_EVERYTHING = 2**63 - 1
"""A LIMIT that keeps MySQL from merging a derived table into the query around it."""


class Store:
    """An open metadata DB, and what its xcom table turned out to be."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._connection = backend.connection
        with self._explained():
            columns = {name: backend.columns(name) for name in ("xcom", *_OTHER_TABLES)}
        if not columns["xcom"]:
            there = [name for name in _OTHER_TABLES if columns[name]]
            raise DatabaseError(
                f'could not find the table "xcom" in "{backend.target.shown}"',
                detail=f"Of Airflow's tables, {', '.join(there)} are there."
                if there
                else "None of Airflow's tables are there.",
                hint="Check the url, and --schema where Airflow sets sql_alchemy_schema.",
            )
        heads = self._heads() if columns["alembic_version"] else ()
        tables = frozenset(name for name in _OTHER_TABLES if columns[name])
        self.schema = schemas.detect(columns["xcom"], columns["dag_run"], tables, heads)
        self._x = self._table("xcom", columns["xcom"]).alias("x")
        self._run = self._table("dag_run", columns["dag_run"]).alias("r")
        self._joined = "dag_run" in tables and self.schema.run_date is not None
        self._columns = columns
        self._open: list[sa.CursorResult[Any]] = []

    def _table(self, name: str, columns: Mapping[str, schemas.Column]) -> sa.TableClause:
        schema = self._backend.target.schema
        return sa.table(name, *(sa.column(column) for column in columns), schema=schema)

    def _heads(self) -> tuple[str, ...]:
        table = self._table("alembic_version", {"version_num": schemas.Column("", "")})
        # A role may read xcom and not this; then the columns alone tell.
        if self._backend.name == "postgresql" and not self._may_read("alembic_version"):
            return ()
        try:
            rows = self._connection.execute(sa.select(table.c.version_num)).scalars().all()
        except sa.exc.DBAPIError:
            return ()
        return tuple(str(head) for head in rows)

    def _may_read(self, table: str) -> bool:
        # Asked first, because a refused SELECT would end PostgreSQL's transaction.
        schema = self._backend.target.schema
        name = f'"{schema}"."{table}"' if schema else f'"{table}"'
        statement = sa.text("SELECT has_table_privilege(:name, 'SELECT')")
        return bool(self._connection.scalar(statement, {"name": name}))

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sa.exc.DBAPIError as error:
            raise self._backend.explain(error) from None

    # --- facts --------------------------------------------------------------------------------

    def facts(self) -> Facts:
        """Return what is known of this metadata DB."""
        with self._explained():
            version, product = self._backend.server_version(), self._backend.product()
        return Facts(
            backend=self._backend.name,
            product=product,
            server_version=version,
            airflow=self.schema.airflow,
            generation=self.schema.generation.name,
            column_type=self.schema.value_type,
            storage=self.schema.storage,
            heads=self.schema.heads,
        )

    def limits(self) -> list[Limit]:
        """Return the limits that the live database puts on a value, the one in force first."""
        with self._explained():
            return self._backend.limits(self.schema)

    def warnings(self) -> list[str]:
        """Return what an operator should know about how this server handles values."""
        with self._explained():
            return self._backend.warnings(self.schema)

    def readable(self) -> dict[str, bool]:
        """Return, of each table of Airflow's that xcomctl asks, whether it is there to read."""
        found: dict[str, bool] = {}
        for name in ("xcom", *_OTHER_TABLES[:4]):
            there = bool(self._columns[name])
            if there and self._backend.name == "postgresql":
                there = self._may_read(name)
            found[name] = there
        return found

    def files(self, dag_ids: set[str]) -> dict[str, tuple[str | None, str | None]]:
        """Return the file that defines each DAG: its path, and that within its DAG bundle.

        Each None where the database does not know it.
        """
        columns = self._columns["dag"]
        if not dag_ids or "fileloc" not in columns or not self.readable()["dag"]:
            return {}
        dag = self._table("dag", columns)
        relative = dag.c.relative_fileloc if "relative_fileloc" in columns else sa.null()
        # All of them: a few thousand short rows, where an IN of as many names would be slower.
        statement = sa.select(dag.c.dag_id, dag.c.fileloc, relative.label("relative"))
        with self._explained():
            rows = self._connection.execute(statement).all()
        return {
            row.dag_id: (row.fileloc or None, row.relative or None)
            for row in rows
            if row.dag_id in dag_ids
        }

    @property
    def context(self) -> codec.Context:
        """Return how the Airflow that owns this database reads a stored value."""
        return codec.Context(
            reader=self.schema.reader,
            storage=self.schema.storage,
            null_fails=self.schema.null_fails,
        )

    # --- many ---------------------------------------------------------------------------------

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
                yield from self._entries(keys, text=text, stored=stored, heads=heads)
                return
            statement = self._scan(selection, sort, descending, limit, text, stored, heads, after)
            for row in self._stream(statement, self._backend.paged.rows):
                yield self._entry(row)

    def _first_keys(
        self,
        selection: Selection,
        sort: SortKey,
        descending: bool,
        limit: int,
        after: Sequence[object] | None,
    ) -> list[tuple[Any, ...]]:
        """Return the primary keys of the first entries in an order, behind a `position`.

        Nothing else goes through the sort but what is sorted by.
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
        sized = selection.min_size is not None or selection.max_size is not None
        if self._backend.needs_separate_sort(self.schema.storage) and (sort == "size" or sized):
            measured = keys.limit(_EVERYTHING).subquery("m")
            keys, order = sa.select(*measured.c), self._order(sort, descending, measured.c)
            if sort == "size":
                order = self._backend.nulls_last(measured.c.size, descending)
        # Not streamed: PostgreSQL lets no other processes help a cursor.
        rows = self._connection.execute(keys.order_by(*order).limit(limit))
        return [tuple(row[: len(identity)]) for row in rows]

    def _entries(
        self, keys: Sequence[tuple[Any, ...]], *, text: bool, stored: bool, heads: int | None
    ) -> Iterator[XComEntry]:
        """Yield the entries of primary keys, in their order; those that are gone are left out."""
        base = self._base(Selection(), text=text, stored=stored, heads=heads or HEAD_BYTES)
        columns: list[Element] = [self._x.c[name] for name in self.schema.generation.identity]
        for at in range(0, len(keys), _KEYS_AT_ONCE):
            some = list(keys[at : at + _KEYS_AT_ONCE])
            rows = self._connection.execute(base.where(self._backend.is_one_of(columns, some)))
            found = {entry.row: entry for entry in map(self._entry, rows)}
            yield from (found[key] for key in some if key in found)

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

    def pour(
        self,
        selection: Selection,
        take: Callable[[StoredRow], object],
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
        date: Element = sa.null()
        if mapped and self._joined:
            date = run[self.schema.run_date or ""]
        elif not mapped:
            date = x.execution_date
        number = sa.Integer
        columns: dict[str, Element] = {
            "map_index": sa.cast(x.map_index if mapped else UNMAPPED, number),
            "dag_run_id": sa.cast(x.dag_run_id if mapped else 0, number),
            "orphan": sa.cast(self._orphan().element, number),
            "timestamp": backend.poured_time(x.timestamp),
            "logical_date": backend.poured_time(date),
            "run_id": x.run_id if mapped else run.run_id if self._joined else sa.null(),
            "dag_id": x.dag_id,
            "task_id": x.task_id,
            "key": x.key,
            "whole": backend.poured_value(x.value, storage),
        }
        wanted = {name: columns[name] for name in POURED}
        wanted |= backend.poured_besides(x.value, storage)
        statement: sa.Select[Any] = sa.select(
            *(column.label(name) for name, column in wanted.items())
        )
        statement = statement.select_from(self._from()).where(*self._where(selection))
        with self._explained():
            if ordered:
                key = [x[name] for name in self.schema.generation.identity]
                statement = backend.along_key(statement.order_by(*key), self._x)
                if after is not None:
                    statement = statement.where(backend.beyond(key, after))
            backend.pour(statement, storage, take)

    @property
    def groups_in_server(self) -> bool:
        """Return whether the database groups faster than it sends its rows."""
        return self._backend.groups

    def summaries(
        self,
        selection: Selection,
        by: Sequence[str],
        *,
        days: bool = False,
        percentiles: bool = False,
        pickles: bool = False,
    ) -> Iterator[tuple[tuple[str | None, ...], Summary]]:
        """Yield what is there of each group of the selected entries, in no order.

        `by` names what makes a group: `dag_id`, `task_id`, `key`, `run_id` or `day`, in UTC.
        `days` adds the largest size of each day, `pickles` counts the rows that may be some.

        Raises:
            DatabaseError: as `scan`.
        """
        # A run that is gone is named by its date, which only `format_time` writes so.
        gone_runs = "run_id" in by and not self.schema.mapped
        with self._explained():
            if self.groups_in_server and not gone_runs:
                yield from self._grouped(selection, by, days, percentiles, pickles)
            else:
                yield from self._gathered(selection, by, days, percentiles, pickles)

    def _grouped(
        self, selection: Selection, by: Sequence[str], days: bool, percentiles: bool, pickles: bool
    ) -> Iterator[tuple[tuple[str | None, ...], Summary]]:
        """Group in the server."""
        backend, size = self._backend, self._size()
        day = sa.cast(self._x.c.timestamp, sa.Date)
        names: list[Element] = [day if name == "day" else self._x.c[name] for name in by]
        by_day: dict[tuple[Any, ...], dict[date, int]] = {}
        if days:
            largest = self._over(selection, by, *names, day, sa.func.max(size))
            for row in self._connection.execute(largest.group_by(*names, day)):
                *name, one_day, most = row
                if one_day is not None and most is not None:
                    by_day.setdefault(tuple(name), {})[one_day] = most
        value = self._x.c.value
        sample = backend.sampled(value) if pickles else None
        mark = backend.may_be_pickle(value, in_row=sample is not None)
        marked = sa.func.count().filter(mark) if pickles else sa.literal(0)
        rows_of = self._over(selection, by, *(one.label(f"c{at}") for at, one in enumerate(names)))
        values: list[Element] = [sa.func.count(), marked, sa.null() if sample is None else sample]
        packs = percentiles and not pickles and backend.packs()
        if packs:
            # OFFSET keeps the sizes apart from what is made of them: rows that are nothing but
            # names and a size are grouped by hashing, whole ones by sorting.
            sized = rows_of.add_columns(size.label("size")).offset(0).subquery("s")
            names = [sized.c[f"c{at}"] for at in range(len(by))]
            packed = backend.packed(sized.c.size)
            statement = sa.select(*names, sa.func.count(), packed).group_by(*names)
        else:
            values += [sa.func.count(value), sa.func.coalesce(sa.func.sum(size), 0)]
            values += [sa.func.max(size)]
            values += [backend.percentiles(size, SHARES)] if percentiles else []
            statement = rows_of.add_columns(*values).group_by(*names)
        # Not streamed: PostgreSQL lets no other processes help a cursor.
        for row in self._connection.execute(statement):
            named: tuple[Any, ...] = row[: len(by)]
            largest_by_day = by_day.get(tuple(named), {})
            texts = tuple(one.isoformat() if hasattr(one, "isoformat") else one for one in named)
            if packs:
                rows, sizes = row[len(by) :]
                yield texts, unpacked(sizes, rows, largest_by_day)
                continue
            rows, marks, sampled, count, total, most, *shares = row[len(by) :]
            # There is no array of percentiles where nothing has a size.
            told = tuple(shares[0] or (None,) * len(SHARES)) if shares else ()
            facts = (rows, count, int(total), most, told, largest_by_day, marks, sampled)
            yield texts, Summary(*facts)

    def _gathered(
        self, selection: Selection, by: Sequence[str], days: bool, percentiles: bool, pickles: bool
    ) -> Iterator[tuple[tuple[str | None, ...], Summary]]:
        """Group here, while the rows come."""
        x, run, backend = self._x.c, self._run.c, self._backend
        mapped, width = self.schema.mapped, len(by)
        dated = days or "day" in by
        special: dict[str, Element] = {"day": sa.null()}
        if not mapped:
            special["run_id"] = run.run_id if self._joined else sa.null()
        names = [special[one] if one in special else x[one] for one in by]
        sample = backend.sampled(x.value) if pickles else None
        mark = backend.may_be_pickle(x.value, in_row=sample is not None)
        facts: list[Element] = [self._size()]
        if pickles:
            facts += [sa.case((mark, 1)), sa.null() if sample is None else sample]
        if dated or ("run_id" in by and not mapped):
            facts += [sa.null()] * (3 - len(facts))
            facts += [x.timestamp if dated else sa.null()]
            facts += [sa.null() if mapped else x.execution_date]
        labelled = (one.label(f"c{at}") for at, one in enumerate((*names, *facts)))
        batches = backend.batches(self._over(selection, by, *labelled))
        rows: Iterator[Any] = itertools.chain.from_iterable(batches)
        if len(facts) > 3:
            rows = self._with_days(rows, by, days)
        gather = gather_sizes if percentiles or days else gather_counts
        for name, summary in gather(rows, width):
            yield tuple(backend.text_of(part) for part in name), summary

    def _with_days(
        self, rows: Iterable[Any], by: Sequence[str], days: bool
    ) -> Iterator[tuple[Any, ...]]:
        """Yield the rows with days and with dates for runs that are gone among their names, and
        where `days` is asked for, the day behind their facts."""
        text_of = self._backend.text_of
        at_day = by.index("day") if "day" in by else None
        at_run = by.index("run_id") if "run_id" in by and not self.schema.mapped else None
        for row in rows:
            *facts, stamp, run_date = row
            moment = to_moment(stamp.decode() if isinstance(stamp, bytes) else stamp)
            day = moment.date() if moment else None
            if at_day is not None:
                facts[at_day] = day.isoformat() if day else None
            if at_run is not None and facts[at_run] is None:
                date = text_of(run_date) if isinstance(run_date, bytes) else run_date
                facts[at_run] = format_time(to_moment(date))
            yield (*facts, day) if days else tuple(facts)

    def _over(self, selection: Selection, by: Sequence[str], *columns: Element) -> sa.Select[Any]:
        """Return the query for columns of the selected rows, with their runs where it takes them."""
        old_runs = not self.schema.mapped and ("run_id" in by or bool(selection.run_ids))
        rows = sa.select(*columns).select_from(self._from() if old_runs else self._x)
        return rows.where(*self._where(selection))

    def survey(self, selection: Selection, *, pickles: bool) -> Survey:
        """Return what is there of each dag, task and key, without looking at any value but,
        where pickles are asked for, at first bytes.

        Raises:
            DatabaseError: as `scan`.
        """
        # A column that holds nothing but JSON holds no pickle.
        pickles = pickles and (self.schema.storage == "bytes" or self._backend.name == "sqlite")
        groups: dict[tuple[str, str, str | None], Summary] = {}
        samples: list[str | int] = []
        names = ("dag_id", "task_id", "key")
        for (dag_id, task_id, key), summary in self.summaries(selection, names, pickles=pickles):
            groups[str(dag_id), str(task_id), key] = summary
            if summary.sample is not None:
                samples.append(summary.sample)
        found = any(one.marked for one in groups.values())
        with self._explained():
            for at in range(0, len(samples), 1000):
                found = found or self._backend.sampled_pickles(self._x, samples[at : at + 1000])
        return Survey(groups, found, sampled=bool(samples) and not found)

    def scan_doubtful(
        self, selection: Selection, *, at_least: int, pickles: bool
    ) -> Iterator[XComEntry]:
        """Yield the selected entries that are so large or, if asked for, may be pickles.

        Raises:
            DatabaseError: as `scan`.
        """
        doubts = [self._backend.at_least(self._x.c.value, self.schema.storage, at_least)]
        if pickles:
            doubts.append(self._backend.may_be_pickle(self._x.c.value))
        with self._explained():
            base = self._base(selection, text=False, stored=False, heads=HEAD_BYTES)
            for row in self._stream(base.where(sa.or_(*doubts)), self._backend.paged.rows):
                yield self._entry(row)

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

    def count(self, selection: Selection) -> int:
        """Return how many entries are selected."""
        with self._explained():
            statement = sa.select(sa.func.count()).select_from(self._from())
            for condition in self._where(selection):
                statement = statement.where(condition)
            return int(self._connection.scalar(statement) or 0)

    def _stream(self, statement: sa.Select[Any], rows: int) -> Iterator[sa.Row[Any]]:
        result = self._connection.execute(
            statement, execution_options={"stream_results": True, "max_row_buffer": rows}
        )
        self._open.append(result)
        try:
            while batch := result.fetchmany(rows):
                yield from batch
        finally:
            result.close()
            self._open.remove(result)

    def close(self) -> None:
        """End what is still being read, and the connection."""
        for result in self._open:
            result.close()
        self._backend.close()

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

    @property
    def _run_order(self) -> tuple[str, ...]:
        """Return the columns by which rows are sorted by run."""
        identity = self.schema.generation.identity
        if self.schema.mapped:
            return identity
        return ("execution_date", *(name for name in identity if name != "execution_date"))

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

    def _base(
        self, selection: Selection, *, text: bool, stored: bool, heads: int
    ) -> sa.Select[Any]:
        x, run = self._x.c, self._run.c
        value, storage = x.value, self.schema.storage
        columns: list[Any] = [x[name] for name in self.schema.generation.identity]
        columns += [x[name] for name in ("dag_id", "task_id", "key") if x[name] not in columns]
        if self.schema.mapped:
            columns += [x.run_id]
            date: Element = run[self.schema.run_date or ""] if self._joined else sa.null()
        else:
            columns += [(run.run_id if self._joined else sa.null()).label("run_id")]
            date = x.execution_date
        columns += [
            date.label("execution_date"),
            x.timestamp,
            self._size().label("size"),
            self._backend.head(value, storage, heads).label("head")
            if self._needs_head(heads)
            else sa.case((value.is_(None), 1), else_=0).label("head"),
            (self._backend.text_size(value, storage) if text else sa.null()).label("text_size"),
            (self._backend.stored_size(value, storage) if stored else sa.null()).label(
                "stored_size"
            ),
        ]
        unique = {column.name: column for column in reversed(columns)}
        statement = sa.select(*reversed(unique.values())).select_from(self._from())
        for condition in self._where(selection):
            statement = statement.where(condition)
        return statement

    def _orphan(self) -> sa.Label[Any]:
        """Return whether the row's run or task instance is not there, which Airflow never meets."""
        if not (self._joined and self.schema.mapped):
            return sa.literal(0).label("orphan")
        lost: Element = self._run.c.id.is_(None)
        columns = self._columns["task_instance"]
        if self._backend.name == "sqlite" and columns:
            # Elsewhere a foreign key sees to it.
            x, instance = self._x.c, self._table("task_instance", columns).alias("t")
            names = ("dag_id", "task_id", "run_id", "map_index")
            there = sa.exists().where(*(instance.c[name] == x[name] for name in names))
            lost = sa.or_(lost, sa.not_(there))
        return sa.case((lost, 1), else_=0).label("orphan")

    def _needs_head(self, heads: int) -> bool:
        # A JSON column holds JSON, but for SQLite's, which holds anything.
        return (
            self.schema.storage == "bytes" or self._backend.name == "sqlite" or heads > HEAD_BYTES
        )

    def _size(self) -> Element:
        return self._backend.size(self._x.c.value, self.schema.storage)

    def _from(self) -> sa.FromClause:
        """Return xcom with its runs; rows without one stay."""
        if not self._joined:
            return self._x
        x, run = self._x.c, self._run.c
        same_dag = self._backend.same_column(run.dag_id, x.dag_id)
        if self.schema.mapped:
            # A wrong dag_run_id is accepted everywhere; such a row has no run then.
            on = sa.and_(run.id == x.dag_run_id, same_dag, run.run_id == x.run_id)
        else:
            on = sa.and_(same_dag, run.execution_date == x.execution_date)
        return sa.outerjoin(self._x, self._run, on)

    def _where(self, selection: Selection, *, along_key: bool = False) -> list[Element]:
        """Return the conditions; with `along_key` such that no index on DAGs is used for them."""
        x, backend = self._x.c, self._backend
        conditions: list[Element] = []
        if selection.dag_ids:
            dag_id = backend.without_index(x.dag_id) if along_key else x.dag_id
            conditions.append(self._any_of(dag_id, selection.dag_ids))
            if any(map(is_glob, selection.dag_ids)):
                conditions.append(dag_id.in_(self._dags_like(selection.dag_ids)))
        if selection.run_ids:
            conditions.append(self._any_run(selection.run_ids))
        if selection.task_ids:
            conditions.append(self._any_of(x.task_id, selection.task_ids))
        if selection.keys:
            conditions.append(self._any_of(x.key, selection.keys))
        if selection.map_indexes:
            if self.schema.mapped:
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
            conditions.append(backend.at_least(x.value, self.schema.storage, selection.min_size))
        if selection.max_size is not None:
            conditions.append(self._size() <= int(selection.max_size))
        return conditions

    def _any_of(self, column: Element, texts: Sequence[str]) -> Element:
        return sa.or_(
            *(
                self._backend.like(column, text)
                if is_glob(text)
                else self._backend.same(column, text)
                for text in texts
            )
        )

    def _any_run(self, run_ids: Sequence[str]) -> Element:
        """Return whether the row is of one of the runs, named by id or, of old, by date."""
        if self.schema.mapped:
            return self._any_of(self._x.c.run_id, run_ids)
        conditions: list[Element] = []
        if self._joined:
            conditions.append(self._any_of(self._run.c.run_id, run_ids))
        for text in run_ids:
            moment = parse_iso(text)
            if moment is not None:
                date = self._backend.moment(self._x.c.execution_date)
                conditions.append(date == self._backend.bound_moment(moment))
        return sa.or_(sa.false(), *conditions)

    def _dags_like(self, patterns: Sequence[str]) -> list[str]:
        """Return the dag_ids that can match, found along the index.

        A superset: a database that folds case or ignores trailing spaces lists one of several
        spellings, and its IN finds them all.
        """
        lower = [pattern.lower() for pattern in patterns]

        def may_match(dag_id: str, pattern: str) -> bool:
            bare = dag_id.rstrip(" ")
            spellings = (bare + " " * spaces for spaces in range(len(pattern) + 1))
            return dag_id == pattern or any(fnmatch.fnmatchcase(one, pattern) for one in spellings)

        return [
            dag_id
            for dag_id in self.dag_ids()
            if any(may_match(dag_id.lower(), pattern) for pattern in lower)
        ]

    def dag_ids(self) -> list[str]:
        """Return the dag_ids that have an XCom."""
        with self._explained():
            statement = self._backend.distinct(self._x, "dag_id")
            return [str(one) for one in self._connection.execute(statement).scalars()]

    def _entry(self, row: sa.Row[Any]) -> XComEntry:
        size = None if row.size is None else Size(row.size)
        head = self._backend.fetched(row.head)
        if head is None and size == 0:
            # SQLite's substr() of an empty blob is NULL.
            head = b""
        if self._head_is_flag(row):
            encoding = Encoding.NULL if head == 1 else Encoding.JSON
            head = None
        else:
            encoding = codec.sniff(head, size, self.schema.storage)
        logical_date = to_moment(row.execution_date)
        named = row._mapping
        return XComEntry(
            ref=XComRef(
                row.dag_id,
                row.task_id,
                row.run_id,
                row.key,
                row.map_index if self.schema.mapped else UNMAPPED,
                logical_date,
            ),
            size=size,
            timestamp=to_moment(row.timestamp),
            encoding=encoding,
            row=tuple(named[name] for name in self.schema.generation.identity),
            text_size=None if row.text_size is None else Size(row.text_size),
            stored_size=None if row.stored_size is None else Size(row.stored_size),
            head=head,
            orphan=bool(named.get("orphan")),
            position=tuple(named[name] for name in self._run_order),
        )

    def _head_is_flag(self, row: sa.Row[Any]) -> bool:
        return (
            self.schema.storage == "json"
            and self._backend.name != "sqlite"
            and isinstance(row.head, int)
        )

    # --- one ----------------------------------------------------------------------------------

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
                kept = [one for one in base.selected_columns if one.name not in ("size", "head")]
                unread = sa.null().label("size"), sa.null().label("head")
                base = base.with_only_columns(*kept, *unread)
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

    def _peeked(self, entry: XComEntry) -> Iterator[XComEntry]:
        """Yield the entry with what its value tells; nothing where it was deleted meanwhile."""
        storage = self.schema.storage
        with contextlib.suppress(MovedError):
            number, head = self._backend.peek(self._x, self._is_row(entry), storage, HEAD_BYTES)
            size = None if number is None else Size(number)
            encoding = codec.sniff(head, size, storage)
            yield dataclasses.replace(entry, size=size, head=head, encoding=encoding)

    def _named(self, dag_id: str, task_id: str, key: str | None) -> list[Element]:
        x, same = self._x.c, self._backend.same
        conditions = [same(x.dag_id, dag_id), same(x.task_id, task_id)]
        return conditions if key is None else [*conditions, same(x.key, key)]

    def _one_run(self, run_id: str) -> Element:
        """Return whether the row is of the run, taken as an id, never as a glob."""
        if self.schema.mapped:
            return self._backend.same(self._x.c.run_id, run_id)
        moment = parse_iso(run_id)
        by_id = self._backend.same(self._run.c.run_id, run_id) if self._joined else sa.false()
        if moment is None:
            return by_id
        date = self._backend.moment(self._x.c.execution_date)
        return sa.or_(by_id, date == self._backend.bound_moment(moment))

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

    def _is_row(self, entry: XComEntry, table: sa.FromClause | None = None) -> list[Element]:
        conditions: list[Element] = []
        for name, value in zip(self.schema.generation.identity, entry.row, strict=True):
            column = (self._x if table is None else table).c[name]
            if isinstance(value, str) and name != "execution_date":
                conditions.append(self._backend.same(column, value))
            else:
                conditions.append(column.is_(None) if value is None else column == value)
        return conditions

    # --- what is near -------------------------------------------------------------------------

    def newer_run_without(self, entry: XComEntry) -> str | None:
        """Return the newest run of the DAG where it is newer than the entry's, else None."""
        if not self._joined:
            return None
        run = self._run.c
        order = run.id if self.schema.mapped else run.execution_date
        mine = entry.row[0] if self.schema.mapped else self._date_of(entry)
        statement = (
            sa.select(run.run_id)
            .where(self._backend.same(run.dag_id, entry.ref.dag_id), order > mine)
            .order_by(order.desc())
            .limit(1)
        )
        with self._explained():
            found = self._connection.execute(statement).first()
        return None if found is None else str(found[0])

    def has_its_run(self, entry: XComEntry) -> bool:
        """Return whether the run that the row points to is the run that it names.

        Airflow does not find a row where it is not, and returns None.
        """
        if not (self._joined and self.schema.mapped):
            return True
        run, same = self._run.c, self._backend.same
        ref = entry.ref
        statement = sa.select(run.id).where(
            run.id == entry.row[0], same(run.dag_id, ref.dag_id), same(run.run_id, ref.run_id or "")
        )
        with self._explained():
            return self._connection.execute(statement).first() is not None

    def _date_of(self, entry: XComEntry) -> Any:
        date = entry.ref.logical_date
        return self._backend.bound_moment(date) if date else None

    def names(
        self,
        column: Literal["task_id", "key", "run_id", "map_index"],
        dag_id: str,
        task_id: str | None = None,
        key: str | None = None,
        run_id: str | None = None,
        most: int = 1000,
    ) -> list[str]:
        """Return the names (or indexes, as text) under which XComs are there, sorted.

        What a mistyped name may have meant; at most so many.
        """
        x = self._x.c
        if column == "map_index" and not self.schema.mapped:
            return []
        wanted: Element = x[column] if column in x else sa.null()
        if column == "run_id" and not self.schema.mapped:
            wanted = self._run.c.run_id if self._joined else sa.null()
        conditions = [self._backend.same(x.dag_id, dag_id)]
        if task_id is not None:
            conditions.append(self._backend.same(x.task_id, task_id))
        if key is not None:
            conditions.append(self._backend.same(x.key, key))
        if run_id is not None:
            conditions.append(self._one_run(run_id))
        statement = sa.select(wanted.label("name")).select_from(self._from()).where(*conditions)
        with self._explained():
            found = self._connection.execute(statement.distinct().limit(most)).scalars().all()
        return [str(one) for one in sorted(one for one in found if one is not None)]

    def has_run(self, dag_id: str, run_id: str) -> bool:
        """Return whether dag_run knows the run."""
        if not self._joined:
            return False
        run = self._run.c
        same = self._backend.same
        named = self._run_named(run_id)
        statement = sa.select(run.id).where(same(run.dag_id, dag_id), named).limit(1)
        with self._explained():
            return self._connection.execute(statement).first() is not None

    def _run_named(self, run_id: str) -> Element:
        """Return whether a row of dag_run is the run: by its id or, of old, its date."""
        run = self._run.c
        named = self._backend.same(run.run_id, run_id)
        moment = parse_iso(run_id)
        if moment is None or self.schema.mapped:
            return named
        date = self._backend.moment(run.execution_date)
        return sa.or_(named, date == self._backend.bound_moment(moment))


def _pieces(raw: Raw) -> Iterator[bytes]:
    """Yield the bytes of what the database handed over."""
    if raw is None:
        return
    whole = raw if isinstance(raw, bytes | str) else str(raw)
    step = _PIECE_CHARS if isinstance(whole, str) else _PIECE_BYTES
    for start in range(0, len(whole), step):
        yield codec.to_bytes(whole[start : start + step])


def _equals(column: Element, value: object) -> Element:
    return column == value


def pushed(entry: XComEntry) -> datetime:
    return entry.timestamp or datetime.min.replace(tzinfo=UTC)
