"""Pickles: values of those without imports, one line about others, and limits."""

from __future__ import annotations

import collections
import datetime as dt
import decimal
import enum
import pickle
import struct
import sys
import time
import uuid
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.metadata import Metadata
from xcomctl.model import Encoding
from xcomctl.values import decode, render, strictjson
from xcomctl.values.context import Context
from xcomctl.values.health import Health, check
from xcomctl.values.pickles import MAX_OPCODES, describe_pickle
from xcomctl.values.render import Opaque

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Run

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters())
    | st.binary()
)
KEYS = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3).map(tuple) | st.frozensets(inner, max_size=3)
)
VALUES = st.recursive(
    SCALARS | st.binary().map(bytearray) | st.sets(KEYS, max_size=4) | st.frozensets(KEYS, max_size=4),
    lambda inner: st.lists(inner, max_size=4)
    | st.lists(inner, max_size=4).map(tuple)
    | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=15,
)  # fmt: skip


def value_of(data: bytes) -> Any:
    decoded = decode.decode(data, Context())
    assert decoded.encoding is Encoding.PICKLE
    return decoded.value


def facts_of(data: bytes) -> dict[str, Any]:
    value = value_of(data)
    assert isinstance(value, Opaque), value
    return value.facts


@pytest.mark.parametrize("protocol", range(6))
@given(value=VALUES)
def test_pickles_without_imports_are_decoded(protocol: int, value: Any) -> None:
    """The same value and types as from pickle.loads, in every protocol."""
    found = value_of(pickle.dumps(value, protocol))
    assert found == value
    assert type(found) is type(value)
    if not isinstance(value, set | frozenset | dict):
        # The elements of a set come in another order.
        assert len(repr(found)) == len(repr(value))


@pytest.mark.parametrize("protocol", range(6))
def test_common_types_of_the_standard_library_are_decoded(protocol: int) -> None:
    """Our own constructors make them; nothing is imported."""
    zone = dt.timezone(dt.timedelta(hours=5, minutes=30), "IST")
    values = [
        dt.datetime(2026, 1, 31, 7, 8, 9, 123456),
        dt.datetime(2026, 1, 31, 7, 8, 9, fold=1, tzinfo=dt.UTC),
        dt.datetime(2026, 1, 31, 7, 8, 9, tzinfo=zone),
        dt.date(2026, 1, 31),
        dt.time(7, 8, 9, 123456),
        dt.timedelta(days=-1, microseconds=3),
        decimal.Decimal("1.10"),
        uuid.UUID("12345678-1234-5678-1234-567812345678"),
        1.5 + 2j,
        b"",
        b"\x00\xff",
        bytearray(b"a"),
        set(),
        frozenset({1}),
    ]
    data = pickle.dumps(values, protocol)
    assert value_of(data) == values
    assert list(map(type, value_of(data))) == list(map(type, values))
    assert value_of(data)[1].fold == (protocol > 3)
    ordered = collections.OrderedDict(b=1, a=2)
    assert list(value_of(pickle.dumps(ordered, protocol)).items()) == [("b", 1), ("a", 2)]


def test_shared_objects_are_shared() -> None:
    """Shared objects are allowed; a value that contains itself is refused."""
    shared = [1]
    assert value_of(pickle.dumps([shared, shared])) == [[1], [1]]
    looped: list[Any] = []
    looped.append(looped)
    assert facts_of(pickle.dumps(looped))["problem"] == "not decoded: its value contains itself"


class Evil:
    """Would run code if it were loaded."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (exec, ("import sys; sys.modules['loaded_a_pickle'] = sys",))


class Plain:
    """An object of the test's own class."""

    def __init__(self) -> None:
        self.a = 1


class Colour(enum.Enum):
    RED = 1


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    ("value", "summary"),
    [
        (Plain(), "a tests.values.test_pickles.Plain, pickled with protocol {}; contents not read"),
        ([Plain(), 2], "a list of 2 elements with tests.values.test_pickles.Plain in it, pickled"),
        (Colour.RED, "a tests.values.test_pickles.Colour, pickled"),
        (collections.Counter("a"), "a collections.Counter, pickled"),
        (len, "the name "),
    ],
)
def test_other_pickles_are_described_in_one_line(value: Any, summary: str, protocol: int) -> None:
    """The summary names the object; `globals` the names that it imports."""
    facts = facts_of(pickle.dumps(value, protocol))
    assert str(facts["summary"]).startswith(summary.format(protocol if protocol > 1 else 0))
    assert facts["complete"] is True
    assert "opcodes" not in facts
    assert facts["globals"]
    shown = render.to_repr(Opaque("pickle", facts))
    assert shown.startswith("<pickle protocol")
    assert str(facts["summary"]) in shown


@pytest.mark.parametrize("protocol", range(6))
def test_nothing_is_run(protocol: int) -> None:
    """Calls are named, not made."""
    data = pickle.dumps([1, {"a": Evil()}], protocol)
    assert any(str(name).endswith("exec") for name in facts_of(data)["globals"])
    assert "loaded_a_pickle" not in sys.modules


def array(
    shape: bytes, kind: bytes, data: bytes, order: bytes = b"<", fortran: bytes = b"\x89"
) -> bytes:
    """Return a pickle of a numpy array, as numpy 1 writes it; numpy itself is not needed."""
    return (
        b"\x80\x04cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85C\x01b\x87R"
        b"(K\x01" + shape + b"cnumpy\ndtype\n\x8c\x02" + kind + b"\x89\x88\x87R"
        b"(K\x03\x8c\x01" + order + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        + fortran + b"C" + bytes([len(data)]) + data + b"tb."
    )  # fmt: skip


def test_a_numpy_array_has_its_shape_type_and_first_rows() -> None:
    """They come from its pickled state, in either byte order."""
    numbers = [1.5, 2.5, -3.0, 0.0, 5.0, 6.0]
    facts = facts_of(array(b"K\x02K\x03\x86", b"f8", struct.pack("<6d", *numbers)))
    assert (facts["shape"], facts["type"]) == ([2, 3], "float64")
    assert facts["head"] == [[1.5, 2.5, -3.0], [0.0, 5.0, 6.0]]
    assert facts["summary"] == (
        "a numpy.ndarray of 2 x 3 float64, pickled with protocol 4; contents not read"
    )
    facts = facts_of(array(b"K\x14\x85", b"i2", struct.pack(">20h", *range(20)), b">"))
    assert (facts["shape"], facts["head"]) == ([20], [*range(10)])
    for broken in (
        array(b"K\x09\x85", b"f8", b"12345678"),
        array(b"K\x02K\x02\x86", b"O8", b""),
        array(b"K\x02K\x02\x86", b"f8", bytes(32), fortran=b"\x88"),
        array(b"N", b"f8", b""),
    ):
        assert "head" not in facts_of(broken)


@given(st.binary(max_size=60), st.integers(0, 5), st.data())
def test_broken_pickles_never_fail(noise: bytes, protocol: int, data: st.DataObject) -> None:
    """Truncated, altered or random bytes still give an answer in strict JSON."""
    whole = pickle.dumps({"k": [noise, 1.5, (None, {2})], "l": dt.date(2026, 1, 31)}, protocol)
    at = data.draw(st.integers(0, len(whole)))
    for broken in (whole[:at] + noise + whole[at + len(noise) :], b"\x80\x04" + noise + b"."):
        decoded = decode.decode(broken, Context())
        strictjson.dumps(render.to_json(decoded.value)[0])
        render.to_repr(decoded.value)
        check(broken, "bytes")


MANY = 600_000
HOSTILE = {
    "nested tuples": b"\x80\x04N" + b"\x85" * MANY + b".",
    "names": b"\x80\x04\x8c\x01a\x8c\x01b" + b"\x93" * MANY + b".",
    "marks": b"\x80\x04" + b"(" * MANY + b".",
    "empty sets": b"\x80\x04(" + b"\x8f" * MANY + b"l.",
    "memo": b"\x80\x04" + b"N\x94" * MANY + b".",
    "imports": b"\x80\x04" + b"".join(b"c%d\nx\n0" % one for one in range(MANY)) + b"\x8f.",
    "laughs": b"\x80\x04]q\x00" + b"".join(b"0(h%ch%clq%c" % (one, one, one + 1) for one in range(200)) + b".",
    "keys": b"\x80\x04)q\x00" + b"".join(b"0h%ch%c\x86q%c" % (one, one, one + 1) for one in range(200)) + b"}h\xc8Ns.",
    "long text": b"\x80\x04X" + MANY.to_bytes(4, "little") + b"a" * MANY + b"q\x000(" + b"h\x00" * MANY + b"l.",
    "long integer": b"\x80\x04\x8b" + MANY.to_bytes(4, "little") + b"\x7f" * MANY + b".",
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_pickles_take_little_time(name: str) -> None:
    """Opcodes of one or two bytes that create a lot of data."""
    began = time.monotonic()
    value = value_of(HOSTILE[name])
    told = strictjson.dumps(render.to_json(value)[0])
    assert time.monotonic() - began < 20
    if name != "imports":
        said = ("not decoded", "not all was read", "nested too deeply")
        assert any(one in told for one in said)


def test_a_long_pickle_counts_as_one_without_reading_all_of_it() -> None:
    """It is neither broken nor truncated unless its last byte is not STOP."""
    data = pickle.dumps(list(range(MAX_OPCODES)), 0)
    facts = describe_pickle(data, most=0)
    assert facts["complete"] is None
    assert facts["problem"] == f"not all was read: stopped after {MAX_OPCODES:,} opcodes"
    assert check(data, "bytes").health is Health.PICKLED
    assert check(data[:-1], "bytes").health is Health.BROKEN


@pytest.mark.parametrize(
    ("value", "told", "noted"),
    [
        ({2: "a", None: "b", True: "c"}, {"2": "a", "null": "b", "true": "c"}, True),
        ({(1, 2): "a"}, {"(1, 2)": "a"}, True),
        ({1: "a", "1": "b"}, [[1, "a"], ["1", "b"]], True),
        ({"a": {b"b": 1.5}}, {"a": {"b'b'": 1.5}}, True),
        ({"a": 1}, {"a": 1}, False),
    ],
)
def test_dict_keys_become_strings(value: Any, told: Any, noted: bool) -> None:
    """Two keys that are equal as strings do not overwrite each other."""
    found, notes = render.to_json(value)
    assert found == told
    assert bool(notes) is noted


def test_pull_shows_the_value_of_a_pickle_or_its_opcodes(tmp_path: Path, run: Run) -> None:
    """--opcodes describes the pickle instead."""
    metadata = Metadata(str(tmp_path / "airflow.db"))
    metadata.add(pickle.dumps({"rows": [1, (2, 3)]}, 4))
    metadata.add(pickle.dumps(Plain(), 4), task_id="object")
    done = run("pull", "dag", "task", "--url", metadata.url)
    assert done.json() == {"rows": [1, [2, 3]]}
    assert "decoded without loading it" in done.err
    shown = run("pull", "dag", "task", "--url", metadata.url, "--opcodes").json()["__xcomctl__"]
    assert shown["encoding"] == "pickle"
    assert [one["op"] for one in shown["opcodes"][:2]] == ["PROTO", "FRAME"]
    other = run("pull", "dag", "object", "--url", metadata.url).json()["__xcomctl__"]
    assert str(other["summary"]).startswith("a tests.values.test_pickles.Plain")
