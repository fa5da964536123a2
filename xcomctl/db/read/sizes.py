"""Sizes of groups of XComs: aggregated by the database, or here while its rows arrive."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from xcomctl.db.backends.times import to_moment
from xcomctl.model import format_time
from xcomctl.sizes.statistics import (
    SHARES,
    Summary,
    Survey,
    gather_counts,
    gather_days,
    summarize,
    summarize_packed,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import date

    from xcomctl.db.backends.aggregation import Aggregation
    from xcomctl.db.backends.base import Element
    from xcomctl.db.read.rows import Rows
    from xcomctl.model import Selection, XComEntry


_SAMPLES_AT_ONCE = 5_000
"""Rows whose first bytes one statement looks at."""


class Sizes:
    """Sizes of XComs by dag, task, key, run or day. Implements `statistics.SizeSource`.

    Every method raises DatabaseError where the connection is lost, a statement times out or the
    table may not be read.
    """

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._table = rows.table
        self._backend = rows.table.backend
        self._schema = rows.table.schema

    @property
    def groups_in_server(self) -> bool:
        """Return whether the database groups faster than it sends its rows."""
        return self._backend.aggregation() is not None

    def by_group(
        self,
        selection: Selection,
        by: Sequence[str],
        *,
        days: bool = False,
        percentiles: bool = False,
        pickles: bool = False,
    ) -> Iterator[tuple[tuple[str | None, ...], Summary]]:
        """Yield the names and the sizes of each group of the selected XComs, in no order.

        `by` names what makes a group: `dag_id`, `task_id`, `key`, `run_id` or `day` (UTC).
        `days` fills `largest_by_day`, `percentiles` fills `percentiles`, and `pickles` fills
        `marked` and `sample`.
        """
        # A run that is gone is named by its date, which only `format_time` writes so.
        gone_runs = "run_id" in by and not self._schema.mapped
        with self._table.explained():
            aggregation = self._backend.aggregation()
            if aggregation is not None and not gone_runs:
                yield from self._grouped(aggregation, selection, by, days, percentiles, pickles)
            else:
                yield from self._gathered(selection, by, days, percentiles, pickles)

    def survey(self, selection: Selection, *, pickles: bool) -> Survey:
        """Return the sizes of each dag, task and key, and whether there may be pickles.

        Reads no value; for pickles, if asked for, first bytes only.
        """
        # A column that holds nothing but JSON holds no pickle.
        pickles = pickles and (self._schema.storage == "bytes" or self._backend.name == "sqlite")
        groups: dict[tuple[str, str, str | None], Summary] = {}
        samples: list[str | int] = []
        names = ("dag_id", "task_id", "key")
        for (dag_id, task_id, key), summary in self.by_group(selection, names, pickles=pickles):
            groups[str(dag_id), str(task_id), key] = summary
            if summary.sample is not None:
                samples.append(summary.sample)
        found = any(one.marked for one in groups.values())
        with self._table.explained():
            sampling = self._backend.pickle_sampling() if samples and not found else None
            if sampling is not None:
                found = any(
                    sampling.any_pickle(self._table.x, samples[at : at + _SAMPLES_AT_ONCE])
                    for at in range(0, len(samples), _SAMPLES_AT_ONCE)
                )
        return Survey(groups, found, sampled=bool(samples) and not found)

    def candidates(
        self, selection: Selection, *, at_least: int, pickles: bool
    ) -> Iterator[XComEntry]:
        """Yield the selected XComs of at least that size and, on request, those that may be pickles."""
        reasons = [self._backend.at_least(self._table.x.c.value, self._schema.storage, at_least)]
        if pickles:
            reasons.append(self._backend.may_be_pickle(self._table.x.c.value))
        with self._table.explained():
            query = self._rows.select(selection).where(sa.or_(*reasons))
            entry = self._rows.entry
            for row in self._table.stream(query, self._backend.paged.rows):
                yield entry(row)

    def _grouped(
        self,
        aggregation: Aggregation,
        selection: Selection,
        by: Sequence[str],
        days: bool,
        percentiles: bool,
        pickles: bool,
    ) -> Iterator[tuple[tuple[str | None, ...], Summary]]:
        """Aggregate in the server."""
        backend, size, value = self._backend, self._rows.size(), self._table.x.c.value
        day = sa.cast(self._table.x.c.timestamp, sa.Date)
        names: list[Element] = [day if name == "day" else self._table.x.c[name] for name in by]
        by_day = self._largest_by_day(selection, names) if days else {}
        sampling = backend.pickle_sampling() if pickles else None
        mark = backend.may_be_pickle(value, in_row=sampling is not None)
        marked = sa.func.count().filter(mark) if pickles else sa.literal(0)
        rows_of = self._rows.over(selection, *(one.label(f"c{at}") for at, one in enumerate(names)))
        sample = sa.null() if sampling is None else sampling.sampled(value)
        values: list[Element] = [sa.func.count(), marked, sample]
        packs = percentiles and not pickles and aggregation.packs()
        if packs:
            # OFFSET keeps the sizes apart from what is made of them: rows that are nothing but
            # names and a size are grouped by hashing, whole ones by sorting.
            sized = rows_of.add_columns(size.label("size")).offset(0).subquery("s")
            names = [sized.c[f"c{at}"] for at in range(len(by))]
            packed = aggregation.packed(sized.c.size)
            statement = sa.select(*names, sa.func.count(), packed).group_by(*names)
        else:
            values += [sa.func.count(value), sa.func.coalesce(sa.func.sum(size), 0)]
            values += [sa.func.max(size)]
            values += [aggregation.percentiles(size, SHARES)] if percentiles else []
            statement = rows_of.add_columns(*values).group_by(*names)
        width, has_day = len(by), "day" in by
        # Not streamed: PostgreSQL lets no other processes help a cursor.
        for row in self._table.connection.execute(statement):
            texts = named = row[:width]
            largest_by_day = by_day.get(named, {}) if days else {}
            if has_day:
                texts = tuple(
                    one.isoformat() if hasattr(one, "isoformat") else one for one in named
                )
            if packs:
                rows, sizes = row[width:]
                yield texts, summarize_packed(sizes, rows, largest_by_day)
            else:
                yield texts, _summary(row[width:], largest_by_day)

    def _largest_by_day(
        self, selection: Selection, names: list[Element]
    ) -> dict[tuple[Any, ...], dict[date, int]]:
        """Return the largest size of each day in each group."""
        day = sa.cast(self._table.x.c.timestamp, sa.Date)
        largest = self._rows.over(selection, *names, day, sa.func.max(self._rows.size()))
        by_day: dict[tuple[Any, ...], dict[date, int]] = {}
        for row in self._table.connection.execute(largest.group_by(*names, day)):
            *name, one_day, most = row
            if one_day is not None and most is not None:
                by_day.setdefault(tuple(name), {})[one_day] = most
        return by_day

    def _gathered(
        self, selection: Selection, by: Sequence[str], days: bool, percentiles: bool, pickles: bool
    ) -> Iterator[tuple[tuple[str | None, ...], Summary]]:
        """Aggregate here, while the rows arrive."""
        x, run, backend = self._table.x.c, self._table.run.c, self._backend
        mapped, width = self._schema.mapped, len(by)
        dated = days or "day" in by
        special: dict[str, Element] = {"day": sa.null()}
        if not mapped:
            special["run_id"] = run.run_id if self._table.joined else sa.null()
        names = [special[one] if one in special else x[one] for one in by]
        sampling = backend.pickle_sampling() if pickles else None
        mark = backend.may_be_pickle(x.value, in_row=sampling is not None)
        facts: list[Element] = [self._rows.size()]
        if pickles:
            sample = sa.null() if sampling is None else sampling.sampled(x.value)
            facts += [sa.case((mark, 1)), sample]
        if dated or ("run_id" in by and not mapped):
            facts += [sa.null()] * (3 - len(facts))
            facts += [x.timestamp if dated else sa.null()]
            facts += [sa.null() if mapped else x.execution_date]
        labelled = (one.label(f"c{at}") for at, one in enumerate((*names, *facts)))
        statement = self._rows.over(selection, *labelled, of_runs="run_id" in by)
        groups: Iterable[tuple[Any, Summary]]
        if len(facts) == 1 and percentiles:
            sizes = backend.gathered(statement, width, whole=self._table.is_whole(selection))
            groups = ((name, summarize(some)) for name, some in sizes.items())
        else:
            rows: Iterator[Any] = itertools.chain.from_iterable(backend.batches(statement))
            if len(facts) > 3:
                rows = self._with_days(rows, by, days)
            groups = gather_days(rows, width) if days or percentiles else gather_counts(rows, width)
        for name, summary in groups:
            yield tuple(backend.text_of(part) for part in name), summary

    def _with_days(
        self, rows: Iterable[Any], by: Sequence[str], days: bool
    ) -> Iterator[tuple[Any, ...]]:
        """Yield the rows with `day` and the dates of missing runs filled in among their names.

        With `days`, the day is added at the end of each row, otherwise None.
        """
        text_of = self._backend.text_of
        at_day = by.index("day") if "day" in by else None
        at_run = by.index("run_id") if "run_id" in by and not self._schema.mapped else None
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


def _summary(values: Sequence[Any], largest_by_day: Mapping[date, int]) -> Summary:
    """Return the summary of a group that the server aggregated."""
    rows, marked, sample, measured, total, largest, *shares = values
    # The array of percentiles is NULL where nothing has a size.
    percentiles = tuple(shares[0] or (None,) * len(SHARES)) if shares else ()
    return Summary(rows, measured, int(total), largest, percentiles, largest_by_day, marked, sample)
