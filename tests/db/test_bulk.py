"""Rows found, deleted and inserted by the thousand: exactly those, whatever their names hold."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from tests.metadata import WHEN, Metadata
from xcomctl.config.target import resolve_target
from xcomctl.db import open_for_writing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from xcomctl.db.read.store import Store

NAMES = (
    "plain", "Plain", "with space", "space behind ", "it's", 'a "quote"', "back\\slash", "\\N", "\\.", "per%cent %s %(x)s",
    ":colon", "?", "tab\tline\nreturn\r", "semi;colon--", "caf\N{LATIN SMALL LETTER E WITH ACUTE}", "2", "-1", "NULL", "$1", "{}",
)  # fmt: skip
"""Names that mean something to SQL, to a driver or to COPY."""
KEY = ("dag_run_id", "task_id", "map_index", "key")
VALUES = (
    b'{"a": "\\n \\t \\\\ %s \' \\u0000"}', b"\x00\x01\x80\xff\\\t\n'", b"", None, b'"\xf0\x9f\x98\x80"', b"NULL",
)  # fmt: skip


@pytest.fixture
def store(empty_url: str) -> Iterator[Store]:
    """An empty table, open for writing."""
    Metadata(empty_url).run("dag", "run_1")
    with open_for_writing(resolve_target(url=empty_url), lock_timeout_s=5) as store:
        yield store


def columns(store: Store) -> list[Any]:
    return [store.table.xcom.c[name] for name in KEY]


def keys(store: Store) -> set[tuple[Any, ...]]:
    """Return the primary keys of all rows."""
    return {tuple(row) for row in store.table.connection.execute(sa.select(*columns(store)))}


def insert(store: Store, names: tuple[str, ...] = NAMES) -> list[tuple[Any, ...]]:
    """Insert a row for each name, as task and as key; return what the values should be."""
    backend = store.table.backend
    columns = (
        "dag_run_id",
        "task_id",
        "map_index",
        "key",
        "dag_id",
        "run_id",
        "timestamp",
        "value",
    )
    moment = backend.bound_moment(WHEN.replace(tzinfo=dt.UTC))
    rows = [
        (1, name, 1, name, "dag", "run_1", moment, VALUES[number % len(VALUES)])
        for number, name in enumerate(names)
    ]
    with store.table.explained():
        backend.begin()
        backend.bulk().insert(store.table.xcom, columns, rows, "bytes")
    return rows


def test_rows_are_inserted_as_they_are(store: Store) -> None:
    """Names and bytes come back as they were sent."""
    rows = insert(store)
    x = store.table.xcom.c
    found = store.table.connection.execute(sa.select(x.task_id, x.key, x.value, x.run_id))
    fetched = store.table.backend.fetched
    there = {row[0]: (row[1], fetched(row[2]), row[3]) for row in found}
    assert there == {row[1]: (row[3], row[7], "run_1") for row in rows}


def test_listed_rows_are_found_and_deleted_and_no_others(store: Store) -> None:
    """Each name alone, and all of them together."""
    rows = [(row[0], row[1], row[2], row[3]) for row in insert(store)]
    bulk, connection = store.table.backend.bulk(), store.table.connection
    wanted = [*rows[::2], (1, "none", 1, "none"), (2, "2", 1, "2")]
    statement = bulk.only(sa.select(*columns(store)), columns(store), wanted)
    assert {tuple(row) for row in connection.execute(statement)} == {*rows[::2]}
    for row in rows:
        exactly = bulk.only_exactly(sa.select(*columns(store)), columns(store), [row])
        if exactly is not None:
            assert {tuple(one) for one in connection.execute(exactly)} == {row}
    assert bulk.delete(store.table.xcom, KEY, wanted) == len(rows[::2])
    assert keys(store) == {*rows[1::2]}


def test_a_name_that_differs_by_a_space_is_not_counted(store: Store) -> None:
    """MySQL and MariaDB consider it equal."""
    insert(store, ("a ", "b"))
    bulk, connection = store.table.backend.bulk(), store.table.connection
    for wanted in ([(1, "a", 1, "a"), (1, "b", 1, "b")], [(1, "a ", 1, "a "), (1, "b ", 1, "b ")]):
        count = sa.select(sa.func.count()).select_from(store.table.xcom)
        exactly = bulk.only_exactly(count, columns(store), wanted)
        assert exactly is None or connection.scalar(exactly) == 1


def test_where_rows_have_no_number(tmp_path: Any) -> None:
    """SQLite's tables WITHOUT ROWID: found by their key."""
    path = str(tmp_path / "airflow.db")
    made = Metadata(path)
    made.execute("CREATE TABLE other (dag_run_id INTEGER, task_id TEXT, map_index INTEGER, key TEXT, value BLOB, dag_id TEXT, run_id TEXT, timestamp TIMESTAMP, PRIMARY KEY (dag_run_id, task_id, map_index, key)) WITHOUT ROWID")  # fmt: skip
    made.execute("DROP TABLE xcom")
    made.execute("ALTER TABLE other RENAME TO xcom")
    with open_for_writing(resolve_target(url=path), lock_timeout_s=5) as store:
        rows = [(row[0], row[1], row[2], row[3]) for row in insert(store)]
        bulk = store.table.backend.bulk()
        assert bulk.only_exactly(sa.select(*columns(store)), columns(store), rows) is None
        assert bulk.delete(store.table.xcom, KEY, rows[:3]) == 3
        assert keys(store) == {*rows[3:]}
