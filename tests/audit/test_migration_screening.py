"""Preflight of a page has the findings of its values checked one by one."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.audit.made_pages import KEYS, RAWS, page_of, whole
from xcomctl.audit import airflow3, json_column
from xcomctl.audit.airflow3 import Migration, check_value
from xcomctl.audit.json_column import REORDERED, examine, surely_fits_jsonb
from xcomctl.audit.key_order import loses_key_order
from xcomctl.audit.migration_screening import _long_integers, screen, unreadable_suspects
from xcomctl.audit.preflight import Preflight

if TYPE_CHECKING:
    from xcomctl.model import Raw, Storage

ROWS = st.lists(st.tuples(KEYS, RAWS), max_size=6)
MIGRATIONS = st.builds(
    Migration,
    st.sampled_from(["sqlite", "postgresql", "mysql", "mariadb"]),
    st.sampled_from([(3, 0, 0), (3, 1, 0), (3, 1, 3), (3, 1, 8), (3, 3, 2)]),
)


def one(text: str) -> list[tuple[str, Raw]]:
    return [("return_value", text.encode())]


@settings(max_examples=500, deadline=None)
@given(ROWS, MIGRATIONS)
@example(one('[1e5, {"a": 1}]'), Migration("postgresql", (3, 3, 2)))
@example(one("[-0e-5, 1e-05]"), Migration("postgresql", (3, 3, 2)))
@example(one("[1e-005, 1.0e-00]"), Migration("postgresql", (3, 3, 2)))
@example(one('["1e-05e9", "1e-9.9"]'), Migration("postgresql", (3, 3, 2)))
@example(one('"1e999999999"'), Migration("postgresql", (3, 3, 2)))
@example(one("[-0.00]"), Migration("postgresql", (3, 3, 2)))
@example(one(f"[{'1' * 140_000}]"), Migration("postgresql", (3, 3, 2)))
@example(one(f"[0.{'1' * 16_384}]"), Migration("postgresql", (3, 3, 2)))
@example(one(f"[{'9' * 39}e400]"), Migration("mysql", (3, 3, 2)))
@example(one("12345678901234567890"), Migration("mysql", (3, 3, 2)))
@example(one("[1234567,12345678901234567890]"), Migration("mysql", (3, 3, 2)))
@example(one("[99,8,98765432109876543210]"), Migration("mysql", (3, 3, 2)))
@example(one("1.0"), Migration("sqlite", (3, 3, 2)))
@example(one(" \n-9223372036854775809"), Migration("sqlite", (3, 3, 2)))
@example(one(f"{'[' * 32}{']' * 32}"), Migration("mariadb", (3, 3, 2)))
@example(one('["]",' * 40 + "1" + ',"["]' * 40), Migration("mariadb", (3, 3, 2)))
@example(one('{"a\\"[": ' * 40 + "1" + "}" * 40), Migration("mariadb", (3, 3, 2)))
def test_what_is_not_screened_out_is_kept(
    rows: list[tuple[str, Raw]], migration: Migration
) -> None:
    """Every other value stays as it is, but for the order of keys, which is told exactly."""
    found, reordered = screen(page_of(rows, "bytes"), migration)
    for at, (_, raw) in enumerate(rows):
        if at not in found:
            assert check_value(raw, migration) == ([REORDERED] if at in reordered else [])


@settings(max_examples=150, deadline=None)
@given(ROWS, MIGRATIONS, st.sampled_from(["bytes", "json"]), st.booleans(), st.booleans())
def test_the_report_is_the_same(
    rows: list[tuple[str, Raw]],
    migration: Migration,
    storage: Storage,
    joined: bool,
    per_entry: bool,
) -> None:
    """In one page, in two, and one by one: findings, counts, and the rows to be moved."""
    owner = None if storage == "bytes" else (3, 0, 6)

    def started() -> Preflight:
        return Preflight(migration, joined=joined, per_entry=per_entry, owner=owner)

    page = page_of(rows, storage)
    expected, moved = started(), []
    for at, (_, raw) in enumerate(rows):
        why = expected.add(page.entry(at), raw)
        moved += [] if why is None else [(page.entry(at), why)]
    for parts in ([range(len(rows))], [range(len(rows) // 2), range(len(rows) // 2, len(rows))]):
        preflight, also_moved = started(), []
        for part in parts:
            some = page_of([rows[at] for at in part], storage)
            some.entry = lambda at, part=part: page.entry(part[at])  # type: ignore[misc]
            also_moved += preflight.add_page(some)
        assert also_moved == moved
        assert preflight.report().findings == expected.report().findings
        assert preflight.rows_by_outcome == expected.rows_by_outcome
        assert preflight.bytes_by_outcome == expected.bytes_by_outcome
        assert preflight.scanned == expected.scanned
        assert preflight.total_bytes == expected.total_bytes


@settings(max_examples=300, deadline=None)
@given(whole(st.sampled_from(["a", "b", "aa", "é", "a\\b", '"', "\n", "ab", "\x00"])))
@example('{"a": 1, "bb": 2, "a": 3}')
@example('{"a": 1, "ccc": 2, "a": 3, "bb": 4}')
@example('{"bb": 1, "bb": 2, "a": 3}')
@example('[[1], {"\\u0061a": 1, "b": 2}]')
@example('["{", {"a": {"bb": 1, "c": 2}}]')
def test_the_order_of_keys_is_told_exactly(text: str) -> None:
    """As `examine` tells it, which parses the whole value; unknown only where the parser refuses."""
    expected = REORDERED in examine(text, "postgresql").altered
    assert loses_key_order(text.encode()) in (expected, None)


@pytest.mark.parametrize("backend", ["sqlite", "postgresql", "mysql", "mariadb"])
def test_ordinary_values_are_not_looked_at_again(backend: str) -> None:
    """Lists of objects, of numbers, texts with quotes and digits: none needs a second look."""
    ordinary = [
        [{"file": f"part-{number}.csv", "rows": number, "ok": True} for number in range(50)],
        [number / 7 for number in range(200)],
        [-0.5, -0.05, 1.25, 1e-05, -2.5e-11, {"a": 9e-99}],
        'She said: "no" \\ 2026-01-31T07:08:09 \n e5 {a} [b] it is é',
        {"id": "4f2e8a", "number": 123456789012345678},
    ]
    page = page_of([("return_value", json.dumps(one).encode()) for one in ordinary], "bytes")
    found, reordered = screen(page, Migration(backend, (3, 3, 2)))
    assert found == set()
    assert reordered == ({0} if backend in ("postgresql", "mysql") else set())
    assert unreadable_suspects(page) == set()


@pytest.mark.parametrize(
    ("text", "small"),
    [
        ("[1, 2, 3]", 0),
        ('{"a": {"b": "c"}}', 0),
        (f"[{'1,' * 1_000}1]", 0),
        (f'["{"x" * 5_000}"]', 0),
        (f"[{'1e-99,' * 300}5]", 300),
    ],
)
def test_the_bound_of_a_binary_size_is_one(
    text: str, small: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What surely fits into a limit is not larger by `_binary_size`, at any limit."""
    value = json.loads(text, parse_int=str, parse_float=str)
    for limit in range(0, 40_000, 7):
        monkeypatch.setattr(json_column, "MAX_JSONB", limit)
        reasons: list[str] = []
        json_column._binary_size(value, reasons)
        assert not (surely_fits_jsonb(text.encode(), small_numbers=small) and reasons)
    assert surely_fits_jsonb(text.encode(), small_numbers=small)


@pytest.mark.parametrize("length", range(15, 25))
@pytest.mark.parametrize("before", ["", "1", "12", "123.", "1234567,", "1,2,3,4,5,6,7,"])
def test_long_integers_are_found_wherever_they_begin(length: int, before: str) -> None:
    """Those of 19 digits or more, which a double may not hold."""
    text = f"\n[{before}{'9' * length},1.5]".encode()
    expected = max(map(len, re.findall(rb"\d+", text))) >= 19
    assert bool([*_long_integers(text)]) == expected


def test_the_newest_release_is_covered() -> None:
    """The releases above are those at which the migration changes."""
    assert airflow3._STEP_FROM[0][0] == (3, 3, 2)
