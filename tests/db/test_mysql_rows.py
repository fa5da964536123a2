"""MySQL's rows taken apart here: every length, names at their longest, and an end that is an end."""

from __future__ import annotations

import gc
import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymysql.protocol import MysqlPacket

from tests.db.test_store import opened
from tests.metadata import Metadata
from xcomctl.db.backends import mysql, mysql_rows
from xcomctl.db.backends.base import Backend
from xcomctl.exchange.lines import JsonLines
from xcomctl.model import Selection

if TYPE_CHECKING:
    from tests.servers import Server

LENGTHS = st.sampled_from([0, 1, 250, 251, 252, 65_535, 65_536, 70_000])
FIELDS = st.lists(st.none() | LENGTHS.map(lambda length: b"\xfb" * length) | st.binary(max_size=9))


def packed(field: bytes | None) -> bytes:
    """Return a field as the server sends it."""
    if field is None:
        return b"\xfb"
    length = len(field)
    for mark, width in ((b"", 1), (b"\xfc", 2), (b"\xfd", 3)):
        if length < (251 if width == 1 else 256**width):
            return mark + length.to_bytes(width, "little") + field
    raise ValueError(length)


@given(FIELDS)
def test_fields_are_those_that_were_sent(fields: list[bytes | None]) -> None:
    """And those that the driver itself finds."""
    data = b"".join(map(packed, fields))
    assert mysql_rows.take_apart(MysqlPacket(data, "utf8")) == fields
    theirs: Any = MysqlPacket(data, "utf8")
    assert [theirs.read_length_coded_string() for _ in fields] == fields


def test_the_longest_length() -> None:
    """Eight bytes say it, which takes a value of 16 MB."""
    field = bytes(2**24)
    data = b"\xfe" + len(field).to_bytes(8, "little") + field
    assert mysql_rows.take_apart(MysqlPacket(b"\x01a" + data + b"\xfb", "utf8")) == [
        b"a",
        field,
        None,
    ]


def lines(url: str) -> list[Any]:
    """Return what an export says."""
    written = bytearray()
    with opened(url) as store, JsonLines(written.extend, store.schema.storage) as sink:
        store.entries.stream_into(Selection(), sink)
    return [json.loads(line) for line in written.splitlines()]


@pytest.mark.parametrize("generation", ["1.10", "2.0", "2.3", "3.0", "3.4"])
def test_rows_are_as_from_the_drivers_own_reading(
    mysql_like: Server, monkeypatch: pytest.MonkeyPatch, generation: str
) -> None:
    """Texts of three bytes a letter, times with and without fractions, NULLs, rows of no run."""
    metadata = Metadata(mysql_like.create_database(), generation)
    long = "\N{SNOWMAN}" * 120
    values: list[Any] = [
        "1",
        '"\N{SNOWMAN}"',
        json.dumps("x" * 300),
        json.dumps("y" * 70_000),
        None,
    ]
    for number, value in enumerate(values):
        raw = value if metadata.json or value is None else value.encode()
        metadata.add(raw, dag_id="dag", task_id=f"{long}{number}", key="k" * 200)
    metadata.add("7" if metadata.json else b"7", task_id="mapped", map_index=12 if metadata.mapped else -1)  # fmt: skip
    if metadata.mapped:
        metadata.add("8" if metadata.json else b"8", task_id="lost", dag_run_id=77)
    found = lines(metadata.url)
    assert len(found) == 6 + metadata.mapped
    assert {one["task_id"] for one in found} > {f"{long}{number}" for number in range(5)}
    assert {one["timestamp"] for one in found} == {"2026-01-31T07:08:09.123456Z"}
    with monkeypatch.context() as changed:
        # More runs than are looked up here.
        changed.setattr(mysql, "_MOST_RUNS", 0)
        assert lines(metadata.url) == found
    with monkeypatch.context() as changed:
        changed.setattr(mysql, "CAN_READ_RAW", False)
        reached: list[bool] = []
        really = Backend.stream_into

        def noted(self: Backend, *given: Any) -> None:
            reached.append(True)
            really(self, *given)

        changed.setattr(Backend, "stream_into", noted)
        assert lines(metadata.url) == found
        assert reached == [True]


def test_runs_that_a_collation_takes_for_equal_are_there(mysql_like: Server) -> None:
    """Where it is not Airflow's, the database says which run is a row's."""
    metadata = Metadata(mysql_like.create_database())
    metadata.add(b"1")
    metadata.execute("UPDATE xcom SET run_id = 'RUN_1'")
    (strict,) = lines(metadata.url)
    assert (strict["orphan"], strict["logical_date"]) == (True, None)
    for table in ("xcom", "dag_run"):
        metadata.execute(
            f"ALTER TABLE {table} MODIFY run_id VARCHAR(250)"
            " CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci NOT NULL"
        )
    (folded,) = lines(metadata.url)
    assert not folded["orphan"]
    assert folded["logical_date"] == "2026-01-31T07:08:09.123456Z"


@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
def test_who_ends_it_waits_for_nothing(mysql_like: Server) -> None:
    """Rows that are still to come are not read to their end: there may be a hundred million."""
    metadata = Metadata(mysql_like.create_database())
    for number in range(8):
        metadata.add(b'"%s"' % (b"x" * 4_000_000), task_id=f"task_{number}")

    class Fails(JsonLines):
        def write_row(self, row: Any) -> None:
            raise KeyError("after the first")

    with opened(metadata.url) as store:
        driver = store.table.connection.connection.driver_connection
        with pytest.raises(KeyError, match="after the first"):
            store.entries.stream_into(Selection(), Fails(lambda _: None, "bytes"))
        assert not driver.open
        gc.collect()
    assert len(lines(metadata.url)) == 8
