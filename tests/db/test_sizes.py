"""Every size, in every measure, is that of the value fetched and measured here: adversarial ones.

What a column holds is asked by statements of the tests' own. Of PostgreSQL's jsonb the binary
size is that of the text parsed anew, which nothing has compressed or given a short header yet,
and that of a copy in a column that is never compressed.
"""

from __future__ import annotations

import json
import math
import pickle
import random
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.metadata import Metadata
from xcomctl.config.target import resolve_target
from xcomctl.db import open_store
from xcomctl.model import Selection, Size

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from contextlib import AbstractContextManager

    from tests.conftest import Run
    from tests.servers import Server
    from xcomctl.db.read.store import Store

Value = bytes | str | int | float | None

LARGE = 20_000
"""Bytes from which on a value goes into a DAG of its own, so that the others are filtered fast."""


@dataclass(frozen=True)
class Sizes:
    """What a row is to measure."""

    size: int | None
    text: int | None
    stored: int | None


def is_mariadb(metadata: Metadata) -> bool:
    with metadata.engine.connect():
        return bool(getattr(metadata.engine.dialect, "is_mariadb", False))


def held(metadata: Metadata) -> dict[str, Sizes]:
    """Return the sizes of what the column holds, by task, fetched and measured here."""
    if metadata.backend == "sqlite":
        return _held_by_sqlite(str(metadata.engine.url.database))
    stored = "CAST(NULL AS CHAR)"
    value, binary = "value", "CAST(NULL AS CHAR)"
    if metadata.backend == "postgresql":
        stored = "pg_column_size(value)"
        if metadata.json:
            value, binary = "value::text", "pg_column_size(value::text::jsonb)"
    elif metadata.json and not is_mariadb(metadata):
        stored = "JSON_STORAGE_SIZE(value)"
    found = {}
    with metadata.engine.connect() as connection:
        rows = connection.exec_driver_sql(f"SELECT task_id, {value}, {binary}, {stored} FROM xcom")
        for task_id, fetched, inner, outer in rows:
            length = None
            if fetched is not None:
                length = len(fetched.encode() if isinstance(fetched, str) else bytes(fetched))
            found[task_id] = Sizes(length if inner is None else inner, length, outer)
    return found


def _held_by_sqlite(path: str) -> dict[str, Sizes]:
    with closing(sqlite3.connect(path)) as connection:
        connection.text_factory = bytes
        rows = connection.execute(
            "SELECT task_id, CASE WHEN typeof(value) IN ('integer', 'real')"
            " THEN CAST(value AS TEXT) ELSE value END FROM xcom"
        ).fetchall()
    lengths = {task_id.decode(): None if value is None else len(value) for task_id, value in rows}
    return {task_id: Sizes(length, length, None) for task_id, length in lengths.items()}


def opened(metadata: Metadata) -> AbstractContextManager[Store]:
    return open_store(resolve_target(url=url_of(metadata)))


def url_of(metadata: Metadata) -> str:
    return metadata.engine.url.render_as_string(hide_password=False)


def scanned(store: Store, selection: Selection) -> dict[str, Sizes]:
    """Return the sizes that xcomctl tells, by task."""
    entries = store.entries.scan(selection, text=True, stored=True)
    return {one.ref.task_id: Sizes(one.size, one.text_size, one.stored_size) for one in entries}


def put(metadata: Metadata, values: Mapping[str, Value]) -> None:
    """Replace all rows by these values, each under its name, in one statement."""
    key = "`key`" if metadata.backend == "mysql" else '"key"'
    jsonb = metadata.json and metadata.backend == "postgresql"
    value = "CAST(:value AS JSONB)" if jsonb else ":value"
    with metadata.engine.begin() as connection:
        connection.execute(sa.text("DELETE FROM xcom"))
        connection.execute(
            sa.text(
                f"INSERT INTO xcom (dag_run_id, dag_id, task_id, {key}, run_id, value, timestamp)"
                f" VALUES (1, :dag, :task, 'k', 'run', {value}, '2026-01-01 00:00:00')"
            ),
            [{"dag": _dag(value), "task": name, "value": value} for name, value in values.items()],
        )


def _dag(value: Value) -> str:
    return "large" if isinstance(value, str | bytes) and len(value) >= LARGE else "small"


def check(metadata: Metadata, run: Run, names: set[str]) -> dict[str, Sizes]:
    """Assert that library and command tell the sizes of what is held, and return these."""
    expected = held(metadata)
    assert expected.keys() == names
    with opened(metadata) as store:
        assert scanned(store, Selection()) == expected
    url = url_of(metadata)
    listed = run("list", "--url", url, "--text", "--stored", "-n", "0", "-o", "json").json()
    assert {
        one["task_id"]: Sizes(one["size_bytes"], one["text_bytes"], one["stored_bytes"])
        for one in listed["xcom_entries"]
    } == expected
    _check_filters(metadata, run, expected)
    return expected


def _check_filters(metadata: Metadata, run: Run, expected: Mapping[str, Sizes]) -> None:
    """At the size of each value, one below and one above, both filters take the right rows."""
    url = url_of(metadata)
    with metadata.engine.connect() as connection:
        rows = connection.execute(sa.text("SELECT task_id, dag_id FROM xcom")).all()
    dag_by_task = {row.task_id: row.dag_id for row in rows}
    with opened(metadata) as store:
        for dag_id in ("small", "large"):
            sizes = {
                task_id: one.size
                for task_id, one in expected.items()
                if one.size is not None and dag_by_task[task_id] == dag_id
            }
            bounds = {size + off for size in sizes.values() for off in (-1, 0, 1)}
            for bound in sorted(bounds - {-1}):
                at_least = Selection(dag_ids=(dag_id,), min_size=Size(bound))
                at_most = Selection(dag_ids=(dag_id,), max_size=Size(bound))
                for selection, wanted in (
                    (at_least, {name for name, size in sizes.items() if size >= bound}),
                    (at_most, {name for name, size in sizes.items() if size <= bound}),
                ):
                    found = {entry.ref.task_id for entry in store.entries.scan(selection)}
                    assert found == wanted, selection
    # From outside, too, once: both filters at the size of the largest.
    largest = max(one.size or 0 for one in expected.values())
    bounds_given = ("--min-size", str(largest), "--max-size", str(largest))
    listed = run("list", "--url", url, *bounds_given, "-n", "0", "-o", "json").json()
    assert {one["task_id"] for one in listed["xcom_entries"]} == {
        name for name, one in expected.items() if one.size == largest
    }


# --- JSON -------------------------------------------------------------------------------------


def nested(depth: int) -> str:
    return "[" * depth + "]" * depth


def json_values() -> dict[str, str | None]:
    """Return JSON texts that a column measures in more than one way."""
    source = random.Random(1)
    values: dict[str, str | None] = {
        "sql null": None,
        "null": "null",
        "true": "true",
        "empty string": '""',
        "empty list": "[]",
        "empty object": "{}",
        "empty key": '{"": 1}',
        "empty key and string": '{"": ""}',
        "control characters": json.dumps("".join(map(chr, range(1, 32)))),
        "escaped letters": '"\\u0041\\u00e9\\u0001\\ud83d\\ude00\\/"',
        "quotes and backslashes": json.dumps('"\\"\\\\' * 50),
        "a backslash before u": json.dumps("\\u0001"),
        "two bytes": '"' + "é" * 100 + '"',
        "three bytes": '"' + "€" * 100 + '"',
        "four bytes": '"' + "😀" * 100 + '"',
        "four bytes escaped": json.dumps("😀" * 100),
        "separators": '"\u2028\u2029\u007f\u0080\ufeff"',
        "spaces": ' { "a" :\t[ 1 ,\n2 ] } ',
        "doubled key": '{"a": "long and lost", "a": 1}',
        "keys out of order": '{"bb": 1, "a": 2, "c": 3}',
        "long key": json.dumps({"k" * 60_000: 1}),
        "long wide key": json.dumps({"é" * 20_000: 1}, ensure_ascii=False),
        "numbers": "[1e308, -1.7976931348623157e308, 5e-324, 1e-7, 0.1, -0.0, 1.10, 1E5, 1e5]",
        "booleans": json.dumps([True, False, None] * 500),
        "deep": nested(30),
        "empty lists": "[" + ",".join(["[]"] * 5000) + "]",
        "empty objects": "[" + ",".join(["{}"] * 5000) + "]",
        "empty strings": "[" + ",".join(['""'] * 5000) + "]",
        "small integers": json.dumps([-32768, 32767, 0, 65535] * 2000),
        "repetitive": json.dumps("spam " * 200_000),
        "repetitive rows": json.dumps([{"id": 7, "name": "same"}] * 30_000),
        "control megabyte": json.dumps("\x01" * 170_000),
        "random": json.dumps(source.randbytes(50_000).hex()),
        "random wide": json.dumps([chr(source.randrange(0x100, 0xD800)) for _ in range(9000)]),
    }
    for text in ("1e308", "-1.7976931348623157e308", "5e-324", "1e-7", "0.1", "1.0", "-0.0"):
        values[f"number {text}"] = text
    for bits in (7, 8, 15, 16, 31, 32, 53, 63, 64):
        for off in (-1, 0, 1):
            for sign in (1, -1):
                number = sign * (2**bits + off)
                values[f"integer {number}"] = str(number)
                values[f"listed {number}"] = f"[{number}]"
    # PostgreSQL keeps these two short headers, and grows another one here.
    for length in (*range(117, 124), *range(1990, 2030, 8)):
        values[f"length {length}"] = json.dumps("x" * length)
    return values


def taken_by_some() -> dict[str, tuple[str, set[str]]]:
    """Return JSON texts with the products whose column does not take them."""
    return {
        "a thousand digits": ("1" + "0" * 1000, {"mysql"}),
        "a thousand digits listed": ("[1" + "0" * 1000 + "]", {"mysql"}),
        "1e400": ("1e400", {"mysql"}),
        "nul": ('"a\\u0000b"', {"postgresql"}),
        "depth 100": (nested(100), {"mariadb"}),
        "depth 101": (nested(101), {"mariadb", "mysql"}),
        "depth 1000": (nested(1000), {"mariadb", "mysql"}),
    }


def test_json_of_every_kind(empty_url: str, run: Run) -> None:
    """Size, text and stored of each, and each at the edge of a filter."""
    metadata = Metadata(empty_url, "3.0")
    product = "mariadb" if is_mariadb(metadata) else metadata.backend
    values = json_values()
    for name, (text, refusing) in taken_by_some().items():
        if product in refusing:
            with pytest.raises(sa.exc.DBAPIError):
                metadata.add(text, task_id=name)
        else:
            values[name] = text
    put(metadata, values)
    found = check(metadata, run, set(values))
    assert found["sql null"] == Sizes(None, None, None)
    compressed, raw = found["repetitive"], found["repetitive"].size or 0
    assert raw > 1_000_000
    if product == "postgresql":
        assert (compressed.stored or raw) < raw / 50
        # 28 bits of length in a header of 4 bytes, and one of 1 byte on disk.
        assert found["true"] == Sizes(4 + 4 + 4, 4, 1 + 4 + 4)
        _check_uncompressed(metadata, found)
    elif product == "mysql":
        assert found["true"] == Sizes(4, 4, 2)
        assert found["integer 32767"].stored == 3
    else:
        assert {one.stored for one in found.values()} == {None}


def _check_uncompressed(metadata: Metadata, found: Mapping[str, Sizes]) -> None:
    """A copy that is never compressed is as large, but for how long its header is."""
    with metadata.engine.begin() as connection:
        run = connection.exec_driver_sql
        run("CREATE TEMPORARY TABLE copy (task_id TEXT, value JSONB)")
        run("ALTER TABLE copy ALTER value SET STORAGE EXTERNAL")
        run("INSERT INTO copy SELECT task_id, value::text::jsonb FROM xcom WHERE value IS NOT NULL")
        rows = run("SELECT task_id, pg_column_size(value) FROM copy").all()
    cases = set()
    for task_id, copied in rows:
        size = found[task_id].size
        assert size is not None
        if size <= 127 + 3:
            # A header of one byte instead of four.
            header = -3
        elif size < 1900:
            header = 0
        elif size > 2100:
            # Out of line, where the header is not counted.
            header = -4
        else:
            continue
        assert copied == size + header, task_id
        cases.add(header)
    assert cases == {-3, 0, -4}


# --- bytes ------------------------------------------------------------------------------------


def byte_values() -> dict[str, bytes | None]:
    """Return what Airflow 1 and 2 may have stored, and what they never would."""
    source = random.Random(2)
    return {
        "sql null": None,
        "nothing": b"",
        "nul": b"\x00",
        "nuls": b"\x00" * 1000,
        "every byte": bytes(range(256)),
        "invalid utf-8": b'"\xff\xfe\xc3("',
        "half a character": '"é'.encode()[:-1],
        "nan": b"NaN",
        "nan inside": b'{"a": [NaN, Infinity, -Infinity]}',
        "wide": '"é€😀"'.encode(),
        "quotes": b"'\"\\'\\\\%s%%:a",
        "carriage returns": b"\r\n\n\r\t\x1a",
        "utf-16": '"x"'.encode("utf-16"),
        "base64": b"YWJj",
        **{f"pickle {one}": pickle.dumps([1, "é", None], one) for one in range(6)},
        **{f"length {length}": b"x" * length for length in (126, 127, 128, 1996, 2000, 2040)},
        "full blob": source.randbytes(65_535),
    }


LARGE_BYTES = {
    "beyond a blob": b"x" * 65_536,
    "random": random.Random(3).randbytes(100_000),
    "repetitive": b"spam " * 200_000,
    "zeros": b"\x00" * 1_000_000,
}


def test_bytes_of_every_kind(empty_url: str, run: Run) -> None:
    """As many as the column holds: size and text alike."""
    metadata = Metadata(empty_url, "2.3")
    values = byte_values() | LARGE_BYTES
    put(metadata, values)
    found = check(metadata, run, set(values))
    for name, value in values.items():
        assert found[name].size == (None if value is None else len(value)), name
    if metadata.backend == "postgresql":
        assert (found["repetitive"].stored or math.inf) < 1_000_000 / 50
        assert (found["random"].stored or 0) >= 100_000
    else:
        assert {one.stored for one in found.values()} == {None}


def test_bytes_in_a_blob(mysql_like: Server, run: Run) -> None:
    """The column of Airflow before 2.9, to its last byte."""
    metadata = Metadata(mysql_like.create_database(), "2.3", value_type="BLOB")
    values = byte_values()
    put(metadata, values)
    with pytest.raises(sa.exc.DBAPIError):
        metadata.add(LARGE_BYTES["beyond a blob"], task_id="beyond a blob")
    found = check(metadata, run, set(values))
    for name, value in values.items():
        assert found[name].size == (None if value is None else len(value)), name


# --- SQLite, which holds anything ---------------------------------------------------------------


@pytest.mark.parametrize("generation", ["2.3", "3.0"])
def test_whatever_sqlite_holds(tmp_path: Any, run: Run, generation: str) -> None:
    """Numbers, text with a NUL, and blobs, whatever the column's type is."""
    metadata = Metadata(str(tmp_path / "airflow.db"), generation)
    values: dict[str, Value] = {
        "integer": 7,
        "negative": -(2**63),
        "real": 2.5,
        "small real": 5e-324,
        "large real": -1.7976931348623157e308,
        "infinite": math.inf,
        "text": '"é€😀"',
        "text of digits": "0012.50",
        "text with nul": '"a\0é"',
        "nul": "\0",
        "empty": "",
        "blob": b'"\xff\x00"',
        "empty blob": b"",
        "jsonb": b"\x13\x31",
        "large text": '"' + "é" * 50_000 + '"',
        "large text with nul": '"\0' + "é" * 50_000 + '"',
        "null": None,
    }
    put(metadata, values)
    found = check(metadata, run, set(values))
    sizes = {name: one.size for name, one in found.items()}
    assert (sizes["integer"], sizes["real"], sizes["negative"]) == (1, 3, 20)
    assert (sizes["text with nul"], sizes["nul"], sizes["blob"]) == (6, 1, 4)
    assert (sizes["empty"], sizes["empty blob"], sizes["null"]) == (0, 0, None)
    assert sizes["large text with nul"] == 100_003


# --- anything ---------------------------------------------------------------------------------


def check_some(metadata: Metadata, values: Sequence[bytes | str]) -> None:
    """Assert that of these values each size is told, and filtered by."""
    put(metadata, {f"value {number}": value for number, value in enumerate(values)})
    expected = held(metadata)
    assert len(expected) == len(values)
    sizes = {name: one.size or 0 for name, one in expected.items()}
    middle = sorted(sizes.values())[len(values) // 2]
    with opened(metadata) as store:
        assert scanned(store, Selection()) == expected
        for bound in (max(0, middle - 1), middle, middle + 1):
            at_least = scanned(store, Selection(min_size=Size(bound)))
            assert at_least.keys() == {name for name, size in sizes.items() if size >= bound}
            at_most = scanned(store, Selection(max_size=Size(bound)))
            assert at_most.keys() == {name for name, size in sizes.items() if size <= bound}


texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=40)
any_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**64), 2**64)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts
    | st.text('\x01\x1f"\\é😀', max_size=300),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(texts, inner, max_size=5),
    max_leaves=20,
)
# One table for all examples: each replaces its rows.
few = settings(
    max_examples=10,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def test_any_json(empty_url: str) -> None:
    """Random values, written with and without escapes and spaces."""
    metadata = Metadata(empty_url, "3.0")

    @few
    @given(values=st.lists(any_json, min_size=1, max_size=30), ascii_only=st.booleans())
    def each(values: list[Any], ascii_only: bool) -> None:
        check_some(metadata, [json.dumps(value, ensure_ascii=ascii_only) for value in values])

    each()


def test_any_bytes(empty_url: str) -> None:
    """Random bytes, repeated so that some are compressed."""
    metadata = Metadata(empty_url, "2.3")
    repeated = st.builds(
        lambda some, times: some * times, st.binary(max_size=300), st.integers(0, 60)
    )

    @few
    @given(values=st.lists(repeated, min_size=1, max_size=30))
    def each(values: list[bytes]) -> None:
        check_some(metadata, values)

    each()
