"""What there is of each group of entries: counted by the database, or while its rows come."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from xcomctl.db.backends.times import to_moment
from xcomctl.db.read.table import HEAD_BYTES, Table
from xcomctl.model import Selection, XComEntry, format_time
from xcomctl.sizes.statistics import (
    SHARES,
    Summary,
    Survey,
    gather_counts,
    gather_days,
    summarize_packed,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import date

    from xcomctl.db.backends.base import Element


_SAMPLES_AT_ONCE = 5_000
"""Rows whose first bytes one statement looks at."""


class Sums(Table):
    """Sizes summed up by dag, task, key, run or day."""

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
            for at in range(0, len(samples), _SAMPLES_AT_ONCE):
                some = samples[at : at + _SAMPLES_AT_ONCE]
                found = found or self._backend.sampled_pickles(self._x, some)
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

    def _grouped(
        self, selection: Selection, by: Sequence[str], days: bool, percentiles: bool, pickles: bool
    ) -> Iterator[tuple[tuple[str | None, ...], Summary]]:
        """Group in the server."""
        backend, size = self._backend, self._size()
        day = sa.cast(self._x.c.timestamp, sa.Date)
        names: list[Element] = [day if name == "day" else self._x.c[name] for name in by]
        by_day: dict[tuple[Any, ...], dict[date, int]] = {}
        if days:
            largest = self._over(selection, *names, day, sa.func.max(size))
            for row in self._connection.execute(largest.group_by(*names, day)):
                *name, one_day, most = row
                if one_day is not None and most is not None:
                    by_day.setdefault(tuple(name), {})[one_day] = most
        value = self._x.c.value
        sample = backend.sampled(value) if pickles else None
        mark = backend.may_be_pickle(value, in_row=sample is not None)
        marked = sa.func.count().filter(mark) if pickles else sa.literal(0)
        rows_of = self._over(selection, *(one.label(f"c{at}") for at, one in enumerate(names)))
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
        width, has_day = len(by), "day" in by
        # Not streamed: PostgreSQL lets no other processes help a cursor.
        for row in self._connection.execute(statement):
            texts = named = row[:width]
            largest_by_day = by_day.get(named, {}) if days else {}
            if has_day:
                texts = tuple(
                    one.isoformat() if hasattr(one, "isoformat") else one for one in named
                )
            if packs:
                rows, sizes = row[width:]
                yield texts, summarize_packed(sizes, rows, largest_by_day)
                continue
            rows, marks, sampled, count, total, most, *shares = row[width:]
            # There is no array of percentiles where nothing has a size.
            told = tuple(shares[0] or (None,) * len(SHARES)) if shares else ()
            total = int(total)
            yield texts, Summary(rows, count, total, most, told, largest_by_day, marks, sampled)

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
        statement = self._over(selection, *labelled, of_runs="run_id" in by)
        sums: Iterable[tuple[Any, Summary]]
        if len(facts) == 1 and percentiles:
            sums = backend.summaries(statement, width, whole=not selection.narrows)
        else:
            rows: Iterator[Any] = itertools.chain.from_iterable(backend.batches(statement))
            if len(facts) > 3:
                rows = self._with_days(rows, by, days)
            sums = gather_days(rows, width) if days or percentiles else gather_counts(rows, width)
        for name, summary in sums:
            yield tuple(backend.text_of(part) for part in name), summary

    def _with_days(
        self, rows: Iterable[Any], by: Sequence[str], days: bool
    ) -> Iterator[tuple[Any, ...]]:
        """Yield the rows with days and with dates for runs that are gone among their names, and
        behind their facts the day, where `days` is asked for."""
        text_of = self._backend.text_of
        at_day = by.index("day") if "day" in by else None
        at_run = by.index("run_id") if "run_id" in by and not self.schema.mapped else None
        for row in rows:
            *facts, stamp, run_date = row
            moment = to_moment(text_of(stamp) if isinstance(stamp, bytes) else stamp)
            day = moment.date() if moment else None
            if at_day is not None:
                facts[at_day] = day.isoformat() if day else None
            if at_run is not None and facts[at_run] is None:
                date = text_of(run_date) if isinstance(run_date, bytes) else run_date
                facts[at_run] = format_time(to_moment(date))
            yield (*facts, day if days else None)
