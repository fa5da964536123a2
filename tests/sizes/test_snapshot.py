"""What a snapshot holds adds up exactly, however it is divided, written and read."""

from __future__ import annotations

import gzip
import io
import json
from collections import Counter
from datetime import date
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xcomctl.errors import RefusedError, UsageError
from xcomctl.model import KeyRange, Limit, Selection, Size
from xcomctl.sizes import histogram
from xcomctl.sizes.snapshot import (
    NO_DAY,
    SIZE_BITS,
    GroupSizes,
    PartOf,
    Snapshot,
    Source,
    add_up,
    fold,
    merge,
    select,
    summarize,
)
from xcomctl.sizes.snapshot_file import dump, load
from xcomctl.sizes.snapshot_schema import snapshot_schema
from xcomctl.sizes.statistics import SHARES, percentile

if TYPE_CHECKING:
    from collections.abc import Sequence

FIRST = date(2026, 1, 1).toordinal()
SOURCE = Source(
    "prod", "0" * 32, "mysql", "8.4.0", "2.8", "blob", (Limit("blob", Size(65_535), "BLOB"),)
)

rows = st.lists(
    st.tuples(
        st.integers(FIRST, FIRST + 5) | st.just(NO_DAY),
        st.none() | st.integers(0, 300) | st.integers(0, 2**40 - 1),
    ),
    max_size=40,
)
"""Day and size of XComs, the size None for SQL NULL."""


def packed(some: Sequence[tuple[int, int | None]]) -> list[int]:
    return [(day << SIZE_BITS) + (0 if size is None else size + 1) for day, size in some]


def snapshot(
    groups: dict[tuple[str, str, str | None], GroupSizes], part: PartOf | None = None, **more: Any
) -> Snapshot:
    given = {name: getattr(SOURCE, name) for name in SOURCE.__slots__} | more
    return Snapshot(Source(**given), groups, part)


def read(data: bytes) -> list[Snapshot]:
    return load(io.BytesIO(data), "a.gz")


# --- sums -------------------------------------------------------------------------------------


@given(rows)
def test_each_day_has_its_count_sum_largest_and_histogram(
    some: list[tuple[int, int | None]],
) -> None:
    """Worked out by hand, for each day of a group."""
    group = fold(packed(some))
    assert group.days == sorted({day for day, _ in some})
    for at, day in enumerate(group.days):
        sizes = [size for when, size in some if when == day and size is not None]
        counts = histogram.parse(group.histograms[at])
        nulls = sum(size is None for when, size in some if when == day)
        assert counts == Counter([size.bit_length() for size in sizes]) + Counter({-1: nulls})
        assert group.largest[at] == max(sizes, default=0)
        assert group.largest[at] + group.others[at] == sum(sizes)


@given(rows, st.lists(st.integers(0, 3), min_size=40, max_size=40))
def test_parts_add_up_to_the_whole(some: list[tuple[int, int | None]], part_of: list[int]) -> None:
    """Whatever part each XCom is in."""
    parts = [
        fold(packed([row for row, of in zip(some, part_of, strict=False) if of == part]))
        for part in range(4)
    ]
    assert add_up([one for one in parts if one.days] or [GroupSizes()]) == fold(packed(some))


@given(rows)
def test_percentiles_are_upper_bounds_within_a_factor_of_two(
    some: list[tuple[int, int | None]],
) -> None:
    """The bound of a percentile is not below the exact one, and less than twice as large."""
    ordered = sorted(size for _, size in some if size is not None)
    group = fold(packed(some))
    largest = ordered[-1] if ordered else None
    found = histogram.percentiles(group.histogram(), largest, SHARES)
    for bound, share in zip(found, SHARES, strict=True):
        exact = percentile(ordered, share)
        if exact is None or bound is None:
            assert bound is exact
        else:
            assert exact <= bound <= max(2 * exact - 1, 0)


def test_a_day_of_nothing_but_nulls_has_no_largest_value() -> None:
    """It is no point of a trend."""
    group = fold(packed([(FIRST, None), (FIRST + 1, 0)]))
    (found,) = summarize([snapshot({("d", "t", "k"): group})], ["dag_id"]).values()
    assert (found.rows, found.measured, found.largest) == (2, 1, 0)
    assert found.largest_by_day == {date.fromordinal(FIRST + 1): 0}


def test_selection_by_names_and_whole_days() -> None:
    """Globs as everywhere; a day counts if any moment of it is selected."""
    group = fold(packed([(FIRST, 1), (FIRST + 1, 2), (NO_DAY, 4)]))
    whole = snapshot({("etl", "t", "k"): group, ("etl[1]", "t", None): group})
    (found,) = select([whole], Selection(dag_ids=("etl*",), keys=("k",)))
    assert set(found.groups) == {("etl", "t", "k")}
    (found,) = select([whole], Selection(dag_ids=("etl[[]1]",)))
    assert set(found.groups) == {("etl[1]", "t", None)}
    from datetime import UTC, datetime

    late = datetime(2026, 1, 1, 23, 59, tzinfo=UTC)
    (found,) = select([whole], Selection(until=late))
    assert [one.total for one in found.groups.values()] == [1, 1]
    with pytest.raises(UsageError, match="--run-id cannot be applied"):
        select([whole], Selection(run_ids=("r",)))


# --- the file ---------------------------------------------------------------------------------

names = st.tuples(st.text(max_size=5), st.text(max_size=5), st.none() | st.text(max_size=5))


@given(st.dictionaries(names, rows.filter(bool), max_size=5))
def test_what_is_written_is_read(groups: dict[Any, list[tuple[int, int | None]]]) -> None:
    """Whatever the names are, and the same bytes whatever the order; it fits its schema."""
    folded = {name: fold(packed(some)) for name, some in groups.items()}
    part = PartOf(2, 3, KeyRange("a", None))
    one = snapshot(folded, part, filters={"dag_id": ["*"]}, rules=("xcom-secret",))
    data = b"".join(dump([one]))
    assert read(data) == [one]
    backwards = snapshot(
        dict(reversed(folded.items())), part, filters={"dag_id": ["*"]},
        rules=("xcom-secret",),
    )  # fmt: skip
    assert b"".join(dump([backwards])) == data
    jsonschema.validate(json.loads(gzip.decompress(data)), snapshot_schema())


def document() -> Any:
    group = fold(packed([(FIRST, 1), (FIRST, None), (FIRST + 1, 70_000), (NO_DAY, 4)]))
    data = b"".join(dump([snapshot({("etl", "t", "k"): group})]))
    return json.loads(gzip.decompress(data))


def damaged(where: str, value: object) -> bytes:
    """Return a file with one thing changed: `days.0` of its group, or `/part` of the snapshot."""
    whole = document()
    place: Any = whole["snapshots"][0]
    if not where.startswith("/"):
        place = place["groups"][0]
    *way, last = where.lstrip("/").split(".")
    for step in way:
        place = place[int(step) if step.isdigit() else step]
    place[int(last) if last.isdigit() else last] = value
    return gzip.compress(json.dumps(whole, separators=(",", ":")).encode())


HOSTILE = {
    "empty": b"",
    "not gzipped": b'{"schema":"xcomctl.snapshot/1"}',
    "cut": b"".join(dump([snapshot({})]))[:-9],
    "followed": b"".join(dump([snapshot({})])) + b"more",
    "another document": gzip.compress(b'{"schema":"xcomctl.list/1","xcom_entries":[]}' * 9),
    "a bomb": gzip.compress(b"0" * 50_000_000),
    "deep": gzip.compress(b'{"schema":"xcomctl.snapshot/1","a":' + b"[" * 200_000),
    "no JSON": gzip.compress(b'{"schema":"xcomctl.snapshot/1",,,,,,,,,,,,,,,,,,,,,,,'),
    "a long number": gzip.compress(b'{"schema":"xcomctl.snapshot/1","a":' + b"1" * 9999 + b"}"),
    "no snapshots": gzip.compress(b'{"schema":"xcomctl.snapshot/1","snapshots":[]}'),
    "a list": gzip.compress(b'{"schema":"xcomctl.snapshot/1","snapshots":{}}      '),
    "wrong count": damaged("count", 5),
    "negative": damaged("largest.0", -1),
    "huge": damaged("others.0", 2**63),
    "a float": damaged("largest.0", 1.0),
    "a boolean": damaged("largest.0", True),
    "too short": damaged("largest", [1]),
    "no histogram": damaged("sizes", "b$ r c"),
    "count of zero": damaged("sizes", "b0 r c"),
    "an endless count": damaged("sizes", "b" + "9" * 40 + " r c"),
    "days beyond": damaged("days", [[0, 4_000_000_000]]),
    "days backwards": damaged("days", [[2, 1], [0, 2]]),
    "no date": damaged("/days.1", "2026-13-01"),
    "days twice": damaged("/days.1", "2026-01-02"),
    "no limits": damaged("/limits", []),
    "a part of none": damaged("/part", {"number": 2, "of": 1}),
    "a range of floats": damaged("/part", {"number": 1, "of": 2, "start": 1.5}),
    "many parts": damaged("/part", {"number": 1, "of": 10**9}),
    "a name that is none": damaged("dag_id", ["etl"]),
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE)
def test_a_damaged_file_is_an_error_that_says_why(data: bytes) -> None:
    """A usage error with its reason, whatever is wrong."""
    with pytest.raises(UsageError, match="as a snapshot") as raised:
        read(data)
    assert raised.value.detail


# --- merging ----------------------------------------------------------------------------------


def range_of(number: int, count: int) -> KeyRange:
    start, end = 10 * number, 10 * number + 10
    return KeyRange(start if number > 1 else None, end if number < count else None)


def parts_of(count: int) -> list[Snapshot]:
    return [
        snapshot(
            {("etl", "t", str(number % 2)): fold(packed([(FIRST, number)]))},
            PartOf(number, count, range_of(number, count)),
        )
        for number in range(1, count + 1)
    ]  # fmt: skip


def named(*some: Snapshot) -> list[tuple[str, Snapshot]]:
    return [(f"{at}.gz", one) for at, one in enumerate(some, 1)]


def test_merge_in_any_order() -> None:
    """The same, and no part of anything any more."""
    parts = parts_of(4)
    whole = merge(named(*parts))
    assert whole == merge(named(*reversed(parts)))
    assert whole.part is None
    assert {name[2]: one.total for name, one in whole.groups.items()} == {"0": 6, "1": 4}
    alone = snapshot({("etl", "t", "k"): fold(packed([(FIRST, 1)]))})
    assert merge(named(alone)) == alone


@pytest.mark.parametrize(
    ("some", "message"),
    [
        (parts_of(4)[:3], "part 4 of 4 is missing"),
        (parts_of(4)[1:3], "parts 1, 4 of 4 are missing"),
        ([parts_of(3)[0], parts_of(3)[1], snapshot({}, PartOf(3, 3, KeyRange(31)))], "do not meet"),
        ([*parts_of(2), parts_of(2)[0]], '"1.gz" and "3.gz" are both part 1 of 2'),
        ([parts_of(2)[0], parts_of(3)[1]], "parts of different divisions"),
        ([snapshot({}), snapshot({})], "are both the whole database"),
        ([parts_of(2)[0], snapshot({}, PartOf(2, 2), database_id="1")], "of different databases"),
        ([parts_of(2)[0], snapshot({}, PartOf(2, 2), filters={"key": ["k"]})], "different ways"),
        ([parts_of(2)[0], snapshot({}, PartOf(2, 2), rules=("xcom-secret",))], "different ways"),
    ],
)  # fmt: skip
def test_merge_refuses_what_is_no_whole(some: list[Snapshot], message: str) -> None:
    """With what to do about it."""
    with pytest.raises(RefusedError, match=message) as raised:
        merge(named(*some))
    assert raised.value.hint
