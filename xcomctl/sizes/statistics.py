"""Size statistics of groups of XComs: counts, sums, percentiles and the largest value of each day."""

from __future__ import annotations

import math
import sys
from array import array
from bisect import bisect_left
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import date

    from xcomctl.model import Selection, XComEntry


def percentile(ordered: Sequence[int], share: float) -> int | None:
    """Return the smallest of the ascending numbers with at least `share` of them at or below it.

    The same as SQL's percentile_disc: always one of the numbers; None of an empty sequence.
    """
    if not ordered:
        return None
    return ordered[max(0, math.ceil(share * len(ordered) - 1e-9) - 1)]


SHARES = (0.5, 0.95, 0.99)
"""The percentiles reported for a group."""


@dataclass(slots=True)
class Summary:
    """Size statistics of one group of rows, in bytes.

    Not frozen: creating a frozen dataclass takes four times as long, and there may be a million.
    """

    rows: int
    measured: int
    """Rows whose value is not NULL."""
    total: int
    largest: int | None
    percentiles: tuple[int | None, ...] = ()
    """At `SHARES`, if they were requested."""
    largest_by_day: Mapping[date, int] = field(default_factory=dict)
    """The largest value of each day, if it was requested."""
    marked: int = 0
    """Rows that may be pickles, if it was requested."""
    sample: str | int | None = None
    """Names one row whose first byte was not checked."""


@dataclass(frozen=True, slots=True)
class Survey:
    """Size statistics per dag_id, task_id and key."""

    groups: Mapping[tuple[str, str, str | None], Summary]
    may_hold_pickles: bool
    sampled: bool
    """Whether only one large value of each group was checked for a pickle."""


class SizeSource(Protocol):
    """What aggregates the sizes of XComs: `db.read.sizes.Sizes`, or a stand-in in a test.

    Every method raises DatabaseError where the database cannot be read.
    """

    @property
    def groups_in_server(self) -> bool:
        """Return whether grouping is faster than sending the rows."""

    def by_group(
        self,
        selection: Selection,
        by: Sequence[str],
        *,
        days: bool = False,
        percentiles: bool = False,
        pickles: bool = False,
    ) -> Iterator[tuple[tuple[str | None, ...], Summary]]:
        """Yield the names and the sizes of each group, in no order.

        `by` holds names among dag_id, task_id, key, run_id and day.
        """

    def survey(self, selection: Selection, *, pickles: bool) -> Survey:
        """Return the sizes of each dag, task and key, and whether there may be pickles."""

    def candidates(
        self, selection: Selection, *, at_least: int, pickles: bool
    ) -> Iterator[XComEntry]:
        """Yield the XComs of at least that size and, on request, those that may be pickles."""


Name = tuple[Any, ...]


def gather_counts(rows: Iterable[Name], width: int) -> Iterator[tuple[Name, Summary]]:
    """Yield each group's name and counts, without percentiles. Holds only the counts in memory.

    A row is `width` names and a size, optionally followed by whether it may be a pickle and by
    what names it as a sample.
    """
    groups: dict[Name, list[Any]] = {}
    for row in rows:
        # A list, not an object: a million method calls take half a second.
        size = row[width]
        group = groups.get(row[:width])
        if group is None:
            group = groups[row[:width]] = [0, 0, 0, None, 0, None]
        group[0] += 1
        if size is not None:
            group[1] += 1
            group[2] += size
            if group[3] is None or size > group[3]:
                group[3] = size
        if len(row) > width + 1:
            if row[width + 1]:
                group[4] += 1
            if row[width + 2] is not None:
                group[5] = row[width + 2]
    for name, (count, measured, total, largest, marked, sample) in groups.items():
        yield name, Summary(count, measured, total, largest, marked=marked, sample=sample)


def gather_sizes(batches: Iterable[Sequence[Sequence[Any]]], width: int) -> dict[Name, array[int]]:
    """Return the sizes of each group of rows, 8 bytes per row; -1 stands for NULL.

    A row is `width` names and a size. Rows come in batches.
    """
    sizes: dict[Name, array[int]] = {}
    if width == 3:
        # The usual width, unrolled: a million slices take a tenth of a second.
        for rows in batches:
            for one, two, three, size in rows:
                try:
                    sizes[one, two, three].append(size)
                except (KeyError, TypeError):
                    group = sizes.setdefault((one, two, three), array("q"))
                    group.append(-1 if size is None else size)
        return sizes
    for rows in batches:
        for *name, size in rows:
            group = sizes.setdefault(tuple(name), array("q"))
            group.append(-1 if size is None else size)
    return sizes


def gather_days(rows: Iterable[Name], width: int) -> Iterator[tuple[Name, Summary]]:
    """Yield each group's name and statistics with percentiles. Holds 8 bytes per row in memory.

    A row is `width` names, a size, and last its day.
    """
    sizes: dict[Name, array[int]] = {}
    by_day: dict[Name, dict[date, int]] = {}
    for row in rows:
        name, size, day = row[:width], row[width], row[-1]
        sizes.setdefault(name, array("q")).append(-1 if size is None else size)
        if day is not None and size is not None:
            largest = by_day.setdefault(name, {})
            if size >= largest.get(day, 0):
                largest[day] = size
    for name, numbers in sizes.items():
        yield name, summarize(numbers, by_day.get(name, {}))


def summarize(sizes: Iterable[int], largest_by_day: Mapping[date, int] | None = None) -> Summary:
    """Return the statistics of these sizes; -1 stands for NULL."""
    ordered = sorted(sizes)
    rows = len(ordered)
    if rows and ordered[0] < 0:
        del ordered[: bisect_left(ordered, 0)]
    percentiles = tuple([percentile(ordered, share) for share in SHARES])
    largest = ordered[-1] if ordered else None
    by_day = largest_by_day or {}
    return Summary(rows, len(ordered), sum(ordered), largest, percentiles, by_day)


def summarize_packed(
    sizes: bytes | memoryview | None, rows: int, by_day: Mapping[date, int]
) -> Summary:
    """Return the statistics of `rows` rows with these sizes.

    `sizes` holds 4 bytes per value that is not NULL, big-endian.
    """
    numbers = array("I", bytes(sizes or b""))
    if sys.byteorder == "little":
        numbers.byteswap()
    return replace(summarize(numbers, by_day), rows=rows)
