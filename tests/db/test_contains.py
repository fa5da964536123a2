"""`--contains`: a text is found in values however they write it, and nothing else is."""

from __future__ import annotations

import json
import pickle
from typing import TYPE_CHECKING, Any

import pytest

from tests.db.test_store import opened
from tests.metadata import Metadata
from xcomctl.model import Selection, Size
from xcomctl.values.text_forms import text_forms

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Run
    from tests.servers import Server

VALUES: dict[str, Any] = {
    "plain": {"table": "orders", "rows": 12},
    "capital": {"table": "ORDERS"},
    "accents": ["Zürich", "naïve"],
    "emoji": "done 😀 100%",
    "quotes": 'SELECT "id" FROM orders',
    "lines": "first\nsecond\tthird",
    "path": "C:\\temp\\u00e9.csv",
    "json": json.dumps({"inner": "é"}),
    "wildcards": "50%_of_x",
    "number": 1234,
}
FOUND = {
    "orders": {"plain", "quotes"},
    "ORDERS": {"capital"},
    '"rows": 12': {"plain"},
    "Zürich": {"accents"},
    "ZÜRICH": set(),
    '["Zürich", "na': {"accents"},
    "😀": {"emoji"},
    'SELECT "id"': {"quotes"},
    r"SELECT \"id\"": {"quotes"},
    "first\nsecond": {"lines"},
    r"first\nsecond": {"lines"},
    "C:\\temp": {"path"},
    '"inner": ': {"json"},
    "%_of_": {"wildcards"},
    "0__o": set(),
    "23": {"number"},
    "'; DROP TABLE xcom; --": set(),
    "%s %(x)s :name ?": set(),
}


def filled(url: str, generation: str) -> Metadata:
    """Make a table with one XCom of each value, named by its key."""
    metadata = Metadata(url, generation)
    for key, value in VALUES.items():
        text = json.dumps(value)
        metadata.add(text if metadata.json else text.encode(), key=key)
    metadata.add(None, key="nothing")
    return metadata


def found(metadata: Metadata, text: str, **order: Any) -> set[str | None]:
    """Return the keys of the XComs that hold a text."""
    with opened(metadata.url) as store:
        return {one.ref.key for one in store.entries.scan(Selection(contains=text), **order)}


@pytest.mark.parametrize("generation", ["2.3", "3.0"])
def test_what_a_reader_sees_is_found_on_each_backend(empty_url: str, generation: str) -> None:
    """Escaped or not, quotes and line ends too; case counts, and nothing is a wildcard."""
    metadata = filled(empty_url, generation)
    for text, keys in FOUND.items():
        assert found(metadata, text) == keys, text
        assert found(metadata, text, sort="run", limit=20) == keys, text
        assert found(metadata, text, sort="size", descending=True, limit=20) == keys, text


@pytest.mark.parametrize("generation", ["1.10", "2.0"])
def test_old_tables_are_searched_as_well(tmp_path: Path, generation: str) -> None:
    """They hold the same bytes."""
    metadata = filled(str(tmp_path / "airflow.db"), generation)
    for text, keys in FOUND.items():
        assert found(metadata, text) == keys, text


def test_both_tables_of_airflow_3_4_are_searched(empty_url: str) -> None:
    """As one."""
    metadata = Metadata(empty_url, "3.4")
    metadata.add('"Z\\u00fcrich"', key="legacy", store="xcom_v1")
    metadata.add('"Zürich"', key="new", store="xcom_v2")
    metadata.add('"Bern"', key="other", store="xcom_v2")
    for order in ({}, {"sort": "run", "limit": 5}):
        assert found(metadata, "Zürich", **order) == {"legacy", "new"}


def test_other_writers_of_json_and_pickles_are_found(empty_url: str) -> None:
    """Characters as they are, escapes with capital digits, and the text inside a pickle."""
    metadata = Metadata(empty_url)
    metadata.add('"Größe"'.encode(), key="plain")
    metadata.add(rb'"Gr\u00F6\u00DFe"', key="capital digits")
    metadata.add(pickle.dumps({"Größe": 1}), key="pickle")
    metadata.add(b"\xff\xfeno utf-8", key="bytes")
    assert found(metadata, "Größe") == {"plain", "capital digits", "pickle"}
    assert found(metadata, "\udcff\udcfeno") == {"bytes"}


def test_a_large_value_does_not_stop_the_sort(mysql_like: Server) -> None:
    """MySQL fails to sort rows beside a large JSON value that it looks into."""
    metadata = Metadata(mysql_like.create_database(), "3.0")
    for number in range(4):
        metadata.add(json.dumps("x" * 1_000_000 + "needle"), run_id=f"run_{number}")
    with opened(metadata.url) as store:
        some = Selection(contains="needle")
        assert len([*store.entries.scan(some, sort="run", limit=3)]) == 3
        assert len([*store.entries.scan(some, sort="timestamp")]) == 4


def test_latin1_has_no_such_character(postgres: Server) -> None:
    """A text that the server's encoding cannot hold is not found, and no error."""
    name = "latin1_contains"
    postgres.execute(
        f"CREATE DATABASE {name} ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
    )
    url = postgres.url.set(database=name).render_as_string(hide_password=False)
    metadata = Metadata(url, "3.0")
    metadata.add('"caf\\u00e9"')
    assert found(metadata, "café") == {"return_value"}
    assert found(metadata, "10 €") == set()


def test_commands_take_it_with_other_filters(tmp_path: Path, run: Run) -> None:
    """list, top, audit, export and delete select the same XComs."""
    path = tmp_path / "airflow.db"
    metadata = filled(str(path), "2.3")
    metadata.add(b'"orders"', key="large", dag_id="other")
    some = ("--url", path, "--contains", "orders", "-d", "dag")
    listed = run("list", *some, "-o", "json").json()["xcom_entries"]
    assert {one["key"] for one in listed} == {"plain", "quotes"}
    assert run("top", *some, "-o", "json").json()["summary"]["scanned"] == 2
    assert run("audit", *some, "-o", "json").json()["summary"]["scanned"] == 2
    exported = run("export", *some)
    assert len(exported.stdout.splitlines()) == 2
    assert run("list", *some, "--min-size", "30", "-o", "json").json()["returned"] == 1
    deleted = run("delete", *some, "--yes", "--include-active")
    assert deleted.code == 0, deleted.err
    left = run("list", "--url", path, "-o", "json").json()["xcom_entries"]
    assert {one["key"] for one in left} == {*VALUES, "nothing", "large"} - {"plain", "quotes"}


def test_nothing_to_search_for_is_a_mistake(run: Run, tmp_path: Path) -> None:
    """An empty text is in every value, which nobody means."""
    Metadata(str(tmp_path / "airflow.db"))
    done = run("list", "--url", tmp_path / "airflow.db", "--contains", "")
    assert done.code == 2
    assert "--contains is empty" in done.err


def test_ascii_without_quotes_is_written_one_way() -> None:
    """One search of each value is enough then."""
    assert text_forms("orders") == (b"orders",)
    assert text_forms("é", verbatim=False) == ("é".encode(),)
    assert text_forms('"é"') == (
        '"é"'.encode(), '\\"é\\"'.encode(), b'"\\u00e9"', b'"\\u00E9"', b'\\"\\u00e9\\"',
        b'\\"\\u00E9\\"',
    )  # fmt: skip
    assert Selection(contains="x", min_size=Size(1)).touches_values
