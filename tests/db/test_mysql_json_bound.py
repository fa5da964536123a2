"""How large the text of a MySQL JSON can be for what `JSON_STORAGE_SIZE` says of it, and back.

`JSON_STORAGE_SIZE(value)`, s, is read off the stored binary; `OCTET_LENGTH(value)`, t, is our
size on MySQL and makes the text first. What is proven here is

    t <= 6 * s + 4     for every value of a JSON column, and for no smaller factor or constant,
    s <= 4 * t - 1     for every value that was written as JSON text, which is all that Airflow does.

So `JSON_STORAGE_SIZE(value) >= (N - 4) / 6` lets through every value of N bytes of text or more.
The second is no such filter for `--max-size`: `UPDATE xcom SET value = JSON_SET(value, ...)` may
leave the binary as long as it was and the text as short as it likes, and a decimal that SQL
worked out may hold 30 bytes of zeros before its one digit.

The format is in MySQL's sql-common/json_binary.h. A value is one byte of type and a body of b
bytes. Bodies:

* a literal: 1 byte, of at most 5 of text (`false`);
* an integer of 2, 4 or 8 bytes: at most 6, 11 or 20 (`-32768` and so on);
* a double, 8: at most 24, as its shortest decimal has 17 digits (`-2.2250738585072014e-308`);
* a string, its length in 1 to 5 bytes of 7 bits and n bytes: at most 2 + 6 n, for only the
  control characters, each of one byte, are written in six (`\\u0001`);
* what SQL made and JSON has no type for, its field type, its length and n bytes. A decimal is
  precision, scale and 4 bytes for 9 digits: at most 67 of text, and no more than two for each
  byte. A time or date is 8 bytes: at most 28. Anything else is `"base64:type15:..."`: at most
  17 + 4 * ceil(n / 3), and 2 more (`\\n`) after every 76 characters;
* an array, 4 bytes and 3 for each element (8 and 5 where it outgrows 64 KiB) before the bodies of
  those that are not inlined: literals, integers of 2 bytes, and of 4 in the larger format;
* an object, as much, and for each key 4 bytes (6) and its own, written as a string is.

Upwards, t <= 6 b + 5 for every body: each scalar above keeps to it, the empty binary by nothing
to spare (b = 2, t = 17 at most). An inlined element has at most 6 (11) bytes of text in 3 (5) of
its entry; so n elements have at most 2 + 2 n + the sum of 6 b + 6 (or 11), which 6 * (4 + 3 n) +
the sum of 6 b outgrows from n = 0 on. A key's four more characters (`"": `) stand against 24 bytes
of text for its entry. With the type's byte t <= 6 (s - 1) + 5 < 6 s. There remains what has no
binary at all: MySQL puts it into a JSON column that is NOT NULL and was given nothing, and reads
it as `null`; s is 0 there and t is 4, whence the 4. The 6 is what long strings of control
characters come to.

Downwards, b <= 4 t - 2 for every body made of text: a double takes 8 bytes for at least three
characters, an integer of 2 bytes at least one. Of n elements of an array 4 + 3 n and the sum of
4 t - 2 are at most 4 * 2 n - 2 and the sum of 4 t, with 7 n - 6 to spare; keys have more. Only a
large array (8 + 5 n) of one element falls short, by 5. A value has at most 100 of those above
each 64 KiB, which have thousands to spare themselves: one in at most 9 bytes. With the type's
byte s <= 4 t - 1, which `1` is. Arrays in arrays come to 7 bytes for 2 characters: 3.5 times.
"""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from xcomctl.db.backends.mysql import JSON_TEXT_BEYOND_STORED, JSON_TEXT_PER_STORED

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tests.servers import Server

STORED_PER_TEXT = 4
STORED_BEYOND_TEXT = -1
MAX_DEPTH = 100
"""Of MySQL's JSON."""

Measured = tuple[int, int]
"""JSON_STORAGE_SIZE and OCTET_LENGTH."""


class Column:
    """A JSON column on a real MySQL."""

    def __init__(self, server: Server) -> None:
        url = sa.make_url(server.create_database())
        self.connection = sa.create_engine(url, poolclass=sa.pool.NullPool).connect()
        self.run("CREATE TABLE t (id INT PRIMARY KEY AUTO_INCREMENT, value JSON)")

    def run(self, statement: str, *arguments: object) -> Any:
        return self.connection.exec_driver_sql(statement, arguments or None)

    def put(self, texts: Iterable[str]) -> list[Measured]:
        """Return what the column measures of these JSON texts, in order."""
        self.run("DELETE FROM t")
        self.connection.exec_driver_sql(
            "INSERT INTO t (value) VALUES (%s)", [(text,) for text in texts]
        )
        return self.measures()

    def made(self, expressions: Iterable[str]) -> list[Measured]:
        """Return what the column measures of these SQL expressions, in order."""
        self.run("DELETE FROM t")
        for expression in expressions:
            self.connection.execute(
                sa.text(f"INSERT INTO t (value) VALUES ({expression.replace(':', chr(92) + ':')})")
            )
        return self.measures()

    def measures(self) -> list[Measured]:
        rows = self.run("SELECT JSON_STORAGE_SIZE(value), OCTET_LENGTH(value) FROM t ORDER BY id")
        return [(int(stored), int(text)) for stored, text in rows]


@pytest.fixture(scope="module")
def column(any_server: Any) -> Iterator[Column]:
    """One column for all of these tests, emptied by each."""
    column = Column(any_server("mysql"))
    yield column
    column.connection.close()


def check_upwards(measured: Iterable[Measured]) -> None:
    for stored, text in measured:
        assert text <= JSON_TEXT_PER_STORED * stored + JSON_TEXT_BEYOND_STORED, (stored, text)


def check(measured: list[Measured]) -> None:
    """Assert both bounds, of something that was written as text."""
    assert measured
    check_upwards(measured)
    for stored, text in measured:
        assert stored <= STORED_PER_TEXT * text + STORED_BEYOND_TEXT, (stored, text)


def nested(depth: int, inner: str = "") -> str:
    return "[" * depth + inner + "]" * depth


INTEGERS = [
    str(sign * (2**bits + off))
    for bits in (7, 8, 15, 16, 31, 32, 63, 64)
    for off in (-1, 0, 1)
    for sign in (1, -1)
]
DOUBLES = [
    "1e308",
    "-1.7976931348623157e308",
    "5e-324",
    "-2.2250738585072014e-308",
    "1e-7",
    "1.0",
    "-0.0",
    "0.1",
    "1e15",
    "-1e16",
    "123456789012345680000.0",
    "-0.00012345678901234567",
]
SCALARS = [
    *INTEGERS, *DOUBLES, "true", "false", "null", '""', '"a"', '"\\u0001"', '"\\u0000"', '"é"', '"😀"',
]  # fmt: skip
LENGTHS = (0, 1, 126, 127, 128, 16_383, 16_384, 65_535, 65_536, 2_097_151, 2_097_152)
"""Either side of where the length of a string takes another byte, and a container grows."""
CHAINS = "[" + ", ".join([nested(78)] * 420) + "]"
"""What JSON text makes the most of: a binary 3.5 times as long."""


def test_each_scalar_alone_and_in_containers(column: Column) -> None:
    """Of every type and width, inlined and not, in the small format and in the large."""
    texts = []
    for scalar in SCALARS:
        texts += ["[" + ",".join([scalar] * count) + "]" for count in (1, 2, 300, 30_000)]
        texts += [scalar, f'{{"": {scalar}}}', f'{{"\\u0001": {scalar}}}', nested(99, scalar)]
    check(column.put(texts))


def test_strings_and_keys_of_each_length(column: Column) -> None:
    """Control characters are what expands most: to six times, and no more."""
    texts = []
    for length in LENGTHS:
        texts += [json.dumps(char * length) for char in "\x01\ta"]
        if length < 65_536:  # the longest key
            texts += [json.dumps({char * length: None}) for char in "\x01a"]
    texts.append(
        json.dumps({chr(1 + number % 31) * (number % 60): number for number in range(5000)})
    )
    measured = column.put(texts)
    check(measured)
    assert max(text / stored for stored, text in measured) > 5.9999


def test_no_character_is_longer_than_six_times_its_bytes(column: Column) -> None:
    """Every code point that JSON has, in a string of its own."""
    points = [*range(0xD800), *range(0xE000, 0x10000, 7), *range(0x10000, 0x110000, 1009)]
    rows = 4000
    for start in range(0, len(points), rows):
        some = points[start : start + rows]
        for point, (stored, text) in zip(
            some, column.put(json.dumps(chr(point)) for point in some), strict=True
        ):
            # Type and length in the binary, quotes in the text.
            assert text - 2 <= 6 * (stored - 2), hex(point)
            assert (text - 2 == 6 * (stored - 2)) == (point < 32 and chr(point) not in "\b\t\n\f\r")


def test_what_only_sql_can_make(column: Column) -> None:
    """Decimals of every width, times, and binaries in base64: Airflow writes none of them."""
    expressions = [
        f"CAST(CAST('{sign}{digit * (digits - scale)}.{digit * scale}' AS DECIMAL({digits},{scale})) AS JSON)"
        for digits in (1, 2, 9, 10, 30, 64, 65)
        for scale in {0, min(digits, 30) // 2, min(digits, 30)}
        for digit in "019"
        for sign in ("", "-")
    ]  # fmt: skip
    expressions += [
        f"CAST(CAST(REPEAT('\\0', {length}) AS BINARY) AS JSON)"
        for length in (0, 1, 2, 3, 4, 56, 57, 58, 127, 128, 100_000)
    ]
    for maker in ("NOW(6)", "CURDATE()", "TIME'-838:59:59'", "TIMESTAMP'2026-01-01 00:00:00'", "b'1'", "YEAR(NOW())",
                  "x''", "ST_GeomFromText('POINT(1 1)')"):  # fmt: skip
        expressions.append(f"CAST({maker} AS JSON)")
    inside = [
        f"JSON_ARRAY({', '.join([one] * count)})" for one in expressions[-12:] for count in (1, 40)
    ]
    tiny = "CAST(CAST(1 AS DECIMAL(1,0)) AS JSON)"
    inside += [f"JSON_ARRAY({', '.join([tiny] * count)})" for count in (1, 2, 400)]
    chain = tiny
    for _ in range(60):
        chain = f"JSON_ARRAY({chain})"
    measured = column.made([*expressions, *inside, tiny, chain])
    check_upwards(measured)
    assert max(text / stored for stored, text in measured) > 5  # an empty binary


def test_a_binary_that_is_missing_is_null_in_text(any_server: Any) -> None:
    """What takes the constant: no bytes stored, four of text; nothing has more."""
    column = Column(any_server("mysql"))
    column.run("INSERT INTO t (value) VALUES ('1')")
    column.run("ALTER TABLE t DROP COLUMN value")
    column.run("ALTER TABLE t ADD COLUMN value JSON NOT NULL")
    assert column.measures() == [(0, 4)]
    assert JSON_TEXT_BEYOND_STORED == 4
    check_upwards(column.measures())
    column.connection.close()


def test_sql_keeps_the_bound_upwards_only(column: Column) -> None:
    """Changed in place the binary stays as long as it was: text may be far shorter, never longer."""
    column.put([json.dumps({"a": "x" * 100_000, "b": [1] * 1000})])
    for value in ("''", "REPEAT('\\u0001', 99000)", "REPEAT('y', 100000)", "NULL", "-32768"):
        for path in ("$.a", "$.b[3]", "$.b[999]"):
            column.run(f"UPDATE t SET value = JSON_REPLACE(value, '{path}', {value})")
            check_upwards(column.measures())
    column.put([json.dumps({"a": "x" * 100_000})])
    column.run("UPDATE t SET value = JSON_REPLACE(value, '$.a', '')")
    ((stored, text),) = column.measures()
    assert text == 9
    assert stored > 100_000
    ((stored, text),) = column.made([f"CAST({'9' * 60}. - {'9' * 59}8. AS JSON)"])
    assert (text, stored) == (1, 33)


def test_nesting_makes_the_binary_longest(column: Column) -> None:
    """Arrays in arrays, to MySQL's depth, small and large: below four times their text."""
    texts = [nested(depth) for depth in (1, 2, 30, MAX_DEPTH)]
    texts += [nested(20, "[" + ",".join([nested(78)] * 420) + "]"), CHAINS]
    texts += ["[" + ",".join(["[]"] * 20_000) + "]", "[" + ",".join(['{"":{}}'] * 9000) + "]"]
    measured = column.put(texts)
    check(measured)
    assert max(stored / text for stored, text in measured) >= 3.49


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.sampled_from([int(text) for text in INTEGERS if abs(int(text)) < 2**63])
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8"), max_size=30)
    | st.text("\x00\x01\x1f", max_size=200),
    lambda inner: (
        st.lists(inner, max_size=8)
        | st.dictionaries(st.text("\x01a😀", max_size=4), inner, max_size=6)
    ),
    max_leaves=25,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(values=st.lists(json_values, min_size=1, max_size=25))
def test_any_json_keeps_to_both_bounds(column: Column, values: list[Any]) -> None:
    """Random values, alone, and all of them in one array so often that it is a large one."""
    texts = list(map(json.dumps, values))
    texts.append("[" + ", ".join(texts * (1 + 20_000 // len("".join(texts)))) + "]")
    check(column.put(texts))


def test_searching_for_the_worst_finds_nothing_beyond(column: Column) -> None:
    """Hill climbing from random values, both ways: the bounds hold, and are nearly reached."""
    source = random.Random(1)
    leaves = [json.loads(text) for text in SCALARS] + ["\x01" * 9, "\x01" * 120, [], {}, [[]]]

    def mutated(value: Any) -> Any:
        kind = source.randrange(6)
        if kind == 0:
            return source.choice(leaves)
        if kind == 1 and depth(value) < 60:
            return [value]
        if kind == 2 and isinstance(value, list) and len(json.dumps(value)) < 3000:
            return value + value
        if kind == 3 and isinstance(value, str):
            return (value + value)[:5000]
        if kind == 4 and isinstance(value, list) and value:
            place = source.randrange(len(value))
            return [*value[:place], mutated(value[place]), *value[place + 1 :]]
        return {"\x01" * source.randrange(3): value} if depth(value) < 60 else value

    def depth(value: Any) -> int:
        inner = value.values() if isinstance(value, dict) else value
        return 1 + max(map(depth, inner), default=0) if isinstance(value, list | dict) else 0

    for upwards in (True, False):
        best, found = [source.choice(leaves) for _ in range(12)], 0.0
        for _ in range(25):
            tried = best + [mutated(one) for one in best for _ in range(12)]
            measured = column.put(map(json.dumps, tried))
            check(measured)
            score = [text / stored if upwards else stored / text for stored, text in measured]
            order = sorted(range(len(tried)), key=lambda place: -score[place])
            best, found = [tried[place] for place in order[:12]], score[order[0]]
        assert found > (5.9 if upwards else 3.2)
