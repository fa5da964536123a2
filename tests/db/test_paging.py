"""`list --after`: pages by key that together are the whole listing."""

from __future__ import annotations

import base64
import datetime as dt
import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.fixture_databases import all_fixtures
from tests.metadata import WHEN, Metadata

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Run

NAMES = ("a", "B", "b", "ä", "Z_", "a b", "\N{SNOWMAN}")


def fill(url: str, generation: str) -> None:
    """Make rows with ties: several of one date, in 1.10 several of one name."""
    metadata = Metadata(url, generation)
    for number in range(40):
        date = WHEN + dt.timedelta(microseconds=number % 5)
        run = f"run_{number % 5}"
        dag = f"dag_{number % 2}"
        task = NAMES[number % 7]
        index = number // 20 - 1 if metadata.mapped else -1
        key = None if generation == "1.10" and number % 11 == 0 else f"key_{number // 10}"
        value = "1" if metadata.json else b"1"
        metadata.add(
            value, dag_id=dag, run_id=run, task_id=task, key=key, map_index=index, date=date
        )
        if generation == "1.10" and number % 3 == 0:
            metadata.add(value, dag_id=dag, run_id=run, task_id=task, key=key, date=date)


def walk(run: Run, *where: str, size: int = 7) -> list[dict[str, Any]]:
    """Return the rows of all pages."""
    rows: list[dict[str, Any]] = []
    cursor: tuple[str, ...] = ()
    while True:
        done = run("list", *where, *cursor, "-n", str(size), "-o", "json")
        page = done.json()
        rows += page["xcom_entries"]
        assert (page["next"] is not None) == page["truncated"]
        if page["next"] is None:
            return rows
        assert page["next"] not in done.err, "a cursor may have any length"
        assert '--after NEXT shows the next page ("next" in -o json)' in done.err
        cursor = ("--after", page["next"])
        assert len(rows) < 1_000, "it goes round in circles"


@pytest.mark.parametrize("generation", ["1.10", "2.0", "2.3", "3.0", "3.4"])
def test_pages_are_the_listing(empty_url: str, run: Run, generation: str) -> None:
    """In its order, either way, with filters, each row once."""
    fill(empty_url, generation)
    for extra in ((), ("--sort", "run"), ("-d", "dag_1"), ("-t", "[aB]*", "--min-size", "1")):
        where = ("--url", empty_url, *extra)
        whole = run("list", *where, "-n", "0", "-o", "json").json()
        assert whole["next"] is None
        assert walk(run, *where) == whole["xcom_entries"]
        assert len(whole["xcom_entries"]) > 7


@pytest.mark.parametrize("fixture", all_fixtures(), ids=str)
def test_pages_of_every_fixture(run: Run, tmp_path: Path, fixture: Any, any_server: Any) -> None:
    """As Airflow itself wrote them."""
    server = None if fixture.backend == "sqlite" else any_server(fixture.backend)
    url = fixture.load(tmp_path, server)
    whole = run("list", "--url", url, "-n", "0", "-o", "json").json()["xcom_entries"]
    assert walk(run, "--url", url, size=max(7, len(whole) // 4)) == whole


def test_totals_count_what_other_pages_show(tmp_path: Path, run: Run) -> None:
    """On the last page, too; without --total it is not known there."""
    path = tmp_path / "airflow.db"
    metadata = Metadata(str(path))
    for number in range(5):
        metadata.add(b"1", task_id=f"t{number}")
    first = run("list", "--url", path, "-n", "3", "-o", "json").json()
    last = ("list", "--url", path, "--after", first["next"], "-o", "json")
    page = run(*last).json()
    assert (page["returned"], page["truncated"], page["total_entries"]) == (2, False, None)
    assert page["total_bytes"] is None
    page = run(*last, "--total").json()
    assert (page["total_entries"], page["total_bytes"]) == (5, 5)
    assert run("list", "--url", path, "-n", "3", "--total").out.endswith(
        "\n\ntotal: 5 XComs, 5 B\n"
    )
    plain = run("list", "--url", path, "-n", "3", "--total", "-o", "plain")
    assert ("total" in plain.out, "note: total: 5 XComs, 5 B\n" in plain.err) == (False, True)
    whole = run("list", "--url", path, "-o", "json").json()
    assert (whole["total_entries"], whole["total_bytes"]) == (5, 5)
    assert run("list", "--url", path, "-n", "3", "--sort", "size", "-o", "json").json()["next"] is None  # fmt: skip


def test_names_that_are_no_utf8_are_gone_on_from(tmp_path: Path, run: Run) -> None:
    """SQLite takes any bytes for a name."""
    path = tmp_path / "airflow.db"
    metadata = Metadata(str(path))
    for number in range(20):
        metadata.add(b"1", task_id=f"t{number}")
    metadata.execute("UPDATE xcom SET task_id = CAST(x'ff' || task_id AS TEXT)")
    rows = walk(run, "--url", str(path))
    assert len({row["task_id"] for row in rows}) == len(rows) == 20


def cursor(*place: object) -> str:
    """Return a cursor made by hand."""
    return base64.urlsafe_b64encode(json.dumps(place).encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    "made",
    [
        "", "x", "????", "é", cursor(), cursor(1), cursor("1", "t", -1, "k"), cursor(1, "t", -1, None),
        cursor(2**70, "t", -1, "k"), cursor(True, "t", -1, "k"), cursor(1, "t", 0.5, "k"),
        cursor(1, "t", -1, "k", "more"), base64.urlsafe_b64encode(b"{}").decode(),
        base64.urlsafe_b64encode(b"\xff\xfe").decode(), base64.urlsafe_b64encode(b"[" * 9000).decode(),
    ],
)  # fmt: skip
def test_what_is_no_cursor_is_a_usage_error(tmp_path: Path, run: Run, made: str) -> None:
    """Exit 2, and where to find one."""
    path = tmp_path / "airflow.db"
    Metadata(str(path)).add(b"1")
    done = run("list", "--url", path, f"--after={made}")
    assert done.code == 2, done.err
    assert "invalid cursor" in done.err


def test_servers_are_sent_nothing_they_refuse(server: Any, run: Run) -> None:
    """A NUL, half a surrogate pair, a date that is none."""
    url = server.create_database()
    Metadata(url).add(b"1")
    for made in (cursor(1, "a\0", -1, "k"), cursor(1, "\ud83d", -1, "k")):
        assert run("list", "--url", url, "--after", made).code == 2
    old = server.create_database()
    Metadata(old, "2.0").add(b"1")
    assert run("list", "--url", old, "--after", cursor("x", "d", "t", "k")).code == 2


def test_other_orders_have_no_pages(tmp_path: Path, run: Run) -> None:
    """Exit 2."""
    path = tmp_path / "airflow.db"
    Metadata(str(path)).add(b"1")
    for sort in ("size", "-timestamp", "dag_id"):
        done = run("list", "--url", path, "--sort", sort, "--after", cursor(1, "t", -1, "k"))
        assert done.code == 2
        assert "--sort run" in done.err


def test_a_size_on_disk_that_is_not_known_is_said(tmp_path: Path, run: Run) -> None:
    """SQLite has none per value, and the column would just be missing."""
    path = tmp_path / "airflow.db"
    Metadata(str(path)).add(b"1")
    done = run("list", "--url", path, "--stored")
    assert "does not report how much space a single XCom takes on disk" in done.err
    assert "on disk" not in run("list", "--url", path).err
