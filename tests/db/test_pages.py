"""XComs read in pages are the XComs read one by one."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from tests.db.test_store import opened
from tests.fixture_databases import all_fixtures
from tests.metadata import WHEN, Metadata
from xcomctl.exchange import pages
from xcomctl.model import Selection, Size

if TYPE_CHECKING:
    from pathlib import Path

    from xcomctl.db.read.store import Store
    from xcomctl.exchange.pages import Page

EVERYTHING = Selection()


def read_pages(store: Store, selection: Selection = EVERYTHING) -> list[Page]:
    """Return all pages of a selection."""
    found: list[Page] = []
    store.pages.stream(selection, found.append, text=True)
    return found


def one_by_one(store: Store, selection: Selection = EVERYTHING) -> list[Any]:
    """Return entries and values without pages, sorted; the head is not part of it."""
    found = store.entries.values(selection, text=True)
    return sorted([(replace(entry, head=None), raw) for entry, raw in found], key=repr)


def in_pages(store: Store, selection: Selection = EVERYTHING) -> list[Any]:
    """Return the same from pages."""
    found = read_pages(store, selection)
    rows = [(page.entry(at), page.raw(at)) for page in found for at in range(len(page))]
    return sorted([(replace(entry, head=None), raw) for entry, raw in rows], key=repr)


@pytest.mark.parametrize("fixture", all_fixtures(), ids=str)
def test_every_fixture(tmp_path: Path, fixture: Any, any_server: Any) -> None:
    """As Airflow itself wrote them, each entry and its value equal what a plain statement reads."""
    server = None if fixture.backend == "sqlite" else any_server(fixture.backend)
    with opened(fixture.load(tmp_path, server)) as store:
        expected = one_by_one(store)
        assert in_pages(store) == expected
        assert expected


@pytest.mark.parametrize("generation", ["1.10", "2.0", "2.3", "3.0"])
def test_odd_rows_of_sqlite(tmp_path: Path, generation: str) -> None:
    """Texts, blobs, numbers, NULL, bytes that are not UTF-8, and a run that does not exist."""
    path = tmp_path / "airflow.db"
    metadata = Metadata(f"sqlite:///{path}", generation)
    values: list[bytes | str | float | None] = [b'"a"', '"a"', 1, 1.5, None, b"", "", b"\x80\x04K\x01.", b"\xff", "é\ud800"[:1], "K\u212a", float("inf")]  # fmt: skip
    for number, value in enumerate(values):
        run = number % 3
        date = WHEN + dt.timedelta(days=run)
        metadata.add(value, key=f"k{number}", run_id=f"run_{run}", date=date, with_run=number != 3)
    metadata.execute("UPDATE xcom SET value = CAST(X'22FF22' AS TEXT) WHERE key = 'k1'")
    with opened(str(path)) as store:
        expected = one_by_one(store)
        assert in_pages(store) == expected
        assert len(expected) == len(values)
        some = Selection(keys=("k1*",), min_size=Size(1))
        assert in_pages(store, some) == one_by_one(store, some) != []


@pytest.mark.parametrize("generation", ["2.0", "2.3"])
def test_a_page_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, generation: str
) -> None:
    """A page ends when it is full, and a large value is a page of its own, in the rows' order."""
    monkeypatch.setattr(pages, "PAGE_BYTES", 1_000)
    monkeypatch.setattr("xcomctl.db.read.pages.PAGE_BYTES", 1_000)
    path = tmp_path / "airflow.db"
    metadata = Metadata(f"sqlite:///{path}", generation)
    for number, size in enumerate((100, 100, 5_000, 900, 100, 100)):
        metadata.add(b"x" * size, key=f"k{number}")
    with opened(str(path)) as store:
        found = read_pages(store)
        keys = [page.entry(at).ref.key for page in found for at in range(len(page))]
    assert keys == [f"k{number}" for number in range(6)]
    assert all(
        len(page) == 1 or sum(len(value or b"") for value in page.values) <= 1_000 for page in found
    )
    assert [len(page) for page in found if page.values[0] == b"x" * 5_000] == [1]


def test_places_of_a_page_belong_to_values(tmp_path: Path) -> None:
    """What is found in the joined text is found in the value that it is in, line ends included."""
    path = tmp_path / "airflow.db"
    metadata = Metadata(f"sqlite:///{path}", "2.3")
    values = [b"one", None, b"", b"two\nlines", b"one"]
    for number, value in enumerate(values):
        metadata.add(value, key=f"k{number}")
    with opened(str(path)) as store:
        (page,) = read_pages(store)
    assert page.text == b"\none\n\n\ntwo\nlines\none"
    assert page.holders([1, 3]) == {0}
    assert page.holders([page.text.index(b"lines")]) == {3}
    assert page.holders([len(page.text) - 1, 0]) == {0, 4}


@pytest.mark.parametrize("times", [True, False])
def test_times_can_be_left_out(empty_url: str, times: bool) -> None:
    """Who does not need them does not wait for them."""
    Metadata(empty_url, "2.3").add(b"1")
    found: list[Page] = []
    with opened(empty_url) as store:
        store.pages.stream(EVERYTHING, found.append, times=times)
    assert found[0].entry(0).timestamp == (WHEN.replace(tzinfo=dt.UTC) if times else None)
    assert found[0].raw(0) == b"1"
