"""Decoding, checking and rendering of stored values: properties first, then single cases."""

from __future__ import annotations

import datetime as dt
import decimal
import json
import math
import pickle
import uuid
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xcomctl.model import Encoding
from xcomctl.text import UNSAFE
from xcomctl.values import decode, render, strictjson
from xcomctl.values.context import Context, Reader
from xcomctl.values.dataframe_footer import shape
from xcomctl.values.envelope_types import ENVELOPE_TYPES, OLD_TYPES
from xcomctl.values.health import Health, check
from xcomctl.values.pickles import describe_pickle
from xcomctl.values.references import reference
from xcomctl.values.render import Opaque
from xcomctl.values.sniff import sniff

PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
ENVELOPES = st.recursive(
    PLAIN,
    lambda inner: st.fixed_dictionaries(
        {
            "__classname__": st.sampled_from([*ENVELOPE_TYPES, "airflow.datasets.Dataset", "a.B"]),
            "__version__": st.integers(0, 3),
            "__data__": inner,
        }
    )
    | st.fixed_dictionaries({"__type": st.text(max_size=8) | st.sampled_from([*OLD_TYPES, "dict"]), "__var": inner}),
    max_leaves=4,
)  # fmt: skip


RELEASES = [(2, 6, 0), (2, 11, 2), (3, 0, 6), (3, 1, 8), (3, 2, 2)]


def value_of(raw: Any, reader: Reader = Reader.SERDE, storage: Any = "bytes") -> Any:
    """Return the decoded value."""
    return decode.decode(raw, Context(reader, storage)).value


def envelope(name: str, data: Any, version: int = 1) -> bytes:
    """Return an object as Airflow serializes one."""
    return json.dumps({"__classname__": name, "__version__": version, "__data__": data}).encode()


def survives(raw: Any) -> None:
    """Run a value through decoding, checking and rendering; everything must end as strict JSON."""
    for storage in ("bytes", "json"):
        check(raw, storage)
        sniff(raw[:64] if isinstance(raw, bytes | str) else raw, 10, storage)
        contexts = [Context(reader, storage, null_fails=True) for reader in Reader]
        contexts += [Context(storage=storage, release=release) for release in RELEASES]
        for context in contexts:
            decoded = decode.decode(raw, context)
            told, _ = render.to_json(decoded.value)
            text = strictjson.dumps(told)
            text.encode("utf-8")
            assert not UNSAFE.search(text)
            json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
            render.to_repr(decoded.value)


@given(st.binary(max_size=80) | st.binary(max_size=40).map(lambda tail: b"\x80\x04" + tail))
def test_any_bytes_are_rendered(raw: bytes) -> None:
    """Any bytes in the column become strict JSON without active characters."""
    survives(raw)


@given(ENVELOPES)
def test_any_envelope_is_rendered(value: Any) -> None:
    """Whatever an envelope contains, it is opened or shown."""
    survives(json.dumps(value).encode())


@given(st.text(st.characters(), max_size=40))
def test_any_text_is_rendered(text: str) -> None:
    """SQLite returns text, with surrogates in place of invalid UTF-8."""
    survives(text)


@pytest.mark.parametrize("reader", Reader)
@given(value=PLAIN)
def test_plain_json_is_read_back(reader: Reader, value: Any) -> None:
    """Decoding the output of json.dumps returns the value, for every reader."""
    assert value_of(json.dumps(value).encode(), reader) == value
    assert value_of(json.dumps(value), reader, "json") == value


@given(PLAIN)
def test_written_json_is_read_back(value: Any) -> None:
    """Escaping does not change the meaning of JSON."""
    told, notes = render.to_json(value)
    assert notes == ()
    assert json.loads(strictjson.dumps(told)) == value
    assert json.loads(strictjson.dumps(told, indent=2)) == value


@given(PLAIN)
def test_repr_of_plain_values_is_pythons(value: Any) -> None:
    """Values without envelopes have Python's own repr."""
    assert render.to_repr(value) == repr(value)


def test_active_characters_are_escaped_and_others_kept() -> None:
    """Characters that a terminal interprets are escaped; the JSON means the same."""
    text = "é☃💥 \x1b[31m\x7f\x9b \u202e\u2066 \u2028 \u200b \ufeff \ud800 \U000e0041"
    written = strictjson.dumps(text)
    assert "é☃💥" in written
    assert json.loads(written) == text
    assert "\\u001b" in written
    assert "\\u202e" in written
    assert "\\ud800" in written
    assert "\\udb40\\udc41" in written


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (envelope("builtins.tuple", [1, "a", None]), (1, "a", None)),
        (envelope("builtins.set", [7]), {7}),
        (envelope("builtins.frozenset", [7]), frozenset({7})),
        (envelope("datetime.date", "2024-01-02", 2), dt.date(2024, 1, 2)),
        (envelope("datetime.timedelta", 86402.5, 2), dt.timedelta(days=1, seconds=2.5)),
        (envelope("decimal.Decimal", "1.2300000000000000000000001"), decimal.Decimal("1.2300000000000000000000001")),
        (envelope("decimal.Decimal", 1.1), decimal.Decimal("1.1")),
        (envelope("uuid.UUID", "12345678-1234-5678-1234-567812345678"), uuid.UUID("12345678-1234-5678-1234-567812345678")),
        (b'[{"__classname__": "builtins.tuple", "__version__": 1, "__data__": [[1]]}]', [([1],)]),
        (b'{"__type": "dict", "__var": {"a": 1}}', {"a": 1}),
        (b'{"__type": "set", "__var": [1]}', {1}),
        (b'{"__type": "tuple", "__var": [1]}', (1,)),
    ],
)  # fmt: skip
def test_envelope_is_opened(raw: bytes, value: object) -> None:
    """Airflow's serialized builtins are opened without importing anything."""
    assert value_of(raw) == value
    assert type(value_of(raw)) is type(value)


def test_datetime_keeps_its_zone() -> None:
    """A named zone, a fixed offset, no zone, and a zone that Airflow cannot read back."""
    zone = {"__classname__": "builtins.tuple", "__version__": 1, "__data__": ["Europe/Paris", "pendulum.tz.timezone.Timezone", 1, True]}  # fmt: skip
    moment = value_of(envelope("datetime.datetime", {"timestamp": 1704164645.5, "tz": zone}, 2))
    assert moment == dt.datetime(2024, 1, 2, 4, 4, 5, 500000, tzinfo=ZoneInfo("Europe/Paris"))
    assert render.to_json(moment)[0] == "2024-01-02T04:04:05.500000+01:00"
    assert render.to_repr(moment).endswith("tzinfo=zoneinfo.ZoneInfo(key='Europe/Paris'))")
    zone["__data__"] = [19800, "pendulum.tz.timezone.FixedTimezone", 1, True]
    moment = value_of(envelope("datetime.datetime", {"timestamp": 0.0, "tz": zone}, 2))
    assert render.to_json(moment)[0] == "1970-01-01T05:30:00+05:30"
    naive = decode.decode(
        envelope("datetime.datetime", {"timestamp": 0.0, "tz": None}, 2), Context()
    )
    assert naive.value == dt.datetime(1970, 1, 1)
    assert "local time" in naive.notes[0]
    zone["__data__"] = ["", "", 0, False]
    broken = value_of(envelope("datetime.datetime", {"timestamp": 0.0, "tz": zone}, 2))
    assert isinstance(broken, Opaque)
    assert "cannot read it back" in str(broken.facts["problem"])


def test_older_airflow_leaves_envelopes_alone() -> None:
    """Until 2.4 a dict stays a dict; 2.5 imports classes and does not know old envelopes."""
    raw = envelope("builtins.tuple", [1])
    assert value_of(raw, Reader.PLAIN) == json.loads(raw)
    assert isinstance(value_of(raw, Reader.CLASSES), Opaque)
    old = b'{"__type": "set", "__var": [1]}'
    assert value_of(old, Reader.PLAIN) == value_of(old, Reader.CLASSES) == json.loads(old)


def test_unknown_class_is_shown_in_its_place() -> None:
    """Its name and data appear where it is nested; nothing is imported."""
    raw = b'{"n": {"__classname__": "os.system", "__version__": 1, "__data__": {"t": 5}}}'
    told, _ = render.to_json(value_of(raw))
    assert told == {
        "n": {"__xcomctl__": {"encoding": "object", "classname": "os.system", "version": 1, "data": {"t": 5}}}
    }  # fmt: skip


def test_class_name_without_version_is_an_ordinary_key() -> None:
    """Airflow treats a dict as an envelope only if it has both keys."""
    assert value_of(b'{"__classname__": "x"}') == {"__classname__": "x"}


@pytest.mark.parametrize(
    ("value", "told", "noted"),
    [
        (math.nan, None, "NaN became null"),
        ([math.inf, -math.inf], [None, None], "Infinity became null (2 times)"),
        ((1, (2,)), [1, [2]], "tuple became a list (2 times)"),
        (b"\x00\xff", "AP8=", "bytes became base64"),
        (dt.timedelta(seconds=90), 90.0, "timedelta became seconds"),
        (decimal.Decimal("1.10"), "1.10", None),
        (ZoneInfo("Europe/Paris"), "Europe/Paris", None),
    ],
)
def test_values_without_json_form_are_converted_with_a_note(
    value: Any, told: object, noted: str | None
) -> None:
    """The output is strict JSON, and the change is noted."""
    assert render.to_json(value) == (told, () if noted is None else (noted,))


@pytest.mark.parametrize("digits", [100, 4_300, 20_000])
def test_big_integers_stay_exact(digits: int) -> None:
    """Even those with more digits than Python converts by default."""
    text = "9" * digits
    told, _ = render.to_json(value_of(text.encode()))
    assert strictjson.dumps(told) == text


def test_an_integer_of_too_many_digits_is_described() -> None:
    """Converting a million digits would take minutes."""
    value = value_of(b"1" * 1_000_001)
    assert isinstance(value, Opaque)
    assert check(b"1" * 1_000_001, "bytes").health is Health.VALID


@pytest.mark.parametrize("depth", [500, 3_000, 100_000])
def test_deep_nesting_never_crashes(depth: int) -> None:
    """Deep values are read as far as Python can, and described beyond that."""
    survives(b"[" * depth + b"]" * depth)


class Evil:
    """Would run code if it were unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (eval, ("1/0",))


@pytest.mark.parametrize("protocol", range(6))
def test_pickle_is_described_and_not_run(protocol: int) -> None:
    """A pickle with a call is described by its opcodes and the names that it imports."""
    data = pickle.dumps([Evil(), {"a": (1, 2.5, b"x")}], protocol=protocol)
    decoded = decode.decode(data, Context(Reader.PLAIN))
    assert decoded.encoding is Encoding.PICKLE
    assert isinstance(decoded.value, Opaque)
    facts = decoded.value.facts
    assert facts["complete"] is True
    assert any(str(name).endswith(".eval") for name in facts["globals"])  # type: ignore[attr-defined]
    assert facts["protocol"] == (protocol if protocol > 1 else 0)
    assert check(data, "bytes").health is Health.PICKLED
    assert render.to_repr(decoded.value).startswith("<pickle protocol")


@given(st.binary(max_size=60), st.integers(0, 5), st.integers(1, 40))
def test_a_truncated_pickle_is_recognised(noise: bytes, protocol: int, cut: int) -> None:
    """A pickle without its end is not complete, and describing it does not fail."""
    data = pickle.dumps({"k": noise, "l": [1, 2, 3]}, protocol=protocol)
    assert describe_pickle(data)["complete"] is True
    assert describe_pickle(data[:-cut])["complete"] is False
    assert describe_pickle(data + noise[:1])["complete"] is (not noise)


@pytest.mark.parametrize(
    ("raw", "storage", "health"),
    [
        (b'{"a": 1}', "bytes", Health.VALID),
        (b"NaN", "bytes", Health.VALID),
        (b'"\\ud800"', "bytes", Health.VALID),
        (b'"h\xc3\xa9"', "bytes", Health.VALID),
        (b"  [1]\n", "bytes", Health.VALID),
        (10, "json", Health.VALID),
        (None, "bytes", Health.NULL),
        (b"", "bytes", Health.BROKEN),
        (b"\xef\xbb\xbf1", "bytes", Health.BROKEN),
        (b'"\xff"', "bytes", Health.BROKEN),
        (b'"xxx', "bytes", Health.BROKEN),
        (b"not json", "bytes", Health.BROKEN),
        (b"\x80", "bytes", Health.BROKEN),
        ("NaN", "json", Health.VALID),
        (b'"{\\"a\\": 1}"', "bytes", Health.DOUBLE),
        ('"\\"x\\""', "json", Health.DOUBLE),
        ('"42"', "json", Health.VALID),
        ('"20260102"', "json", Health.VALID),
        ('"true"', "json", Health.VALID),
        ('"NaN"', "json", Health.VALID),
        ('" [1]"', "json", Health.DOUBLE),
        ('"hello"', "json", Health.VALID),
        ('""', "json", Health.VALID),
        ('"  "', "json", Health.VALID),
    ],
)
def test_health(raw: Any, storage: Any, health: Health) -> None:
    """Valid, double-encoded, pickled, NULL or broken."""
    assert check(raw, storage).health is health


@pytest.mark.parametrize(
    ("head", "size", "encoding"),
    [
        (None, None, Encoding.NULL),
        (b"", 0, Encoding.EMPTY),
        (b'{"a"', 400, Encoding.JSON),
        (b"-1", 2, Encoding.JSON),
        (b" \n[", 9, Encoding.JSON),
        (b"Infinity", 8, Encoding.JSON),
        (b"\x80\x04\x95", 99, Encoding.PICKLE),
        (b"\x80\x09\x95", 99, Encoding.UNKNOWN),
        (b"I7\n.", 4, Encoding.PICKLE),
        (b"I7\n.", 5, Encoding.UNKNOWN),
        (b"not json", 8, Encoding.UNKNOWN),
        (3.5, 3, Encoding.JSON),
    ],
)
def test_encoding_is_determined_from_the_first_bytes(
    head: Any, size: int | None, encoding: Encoding
) -> None:
    """As far as the first bytes allow."""
    assert sniff(head, size, "bytes") is encoding


@pytest.mark.parametrize(
    "text", ["s3://b/k", "file:///a/b.gz", "gs://b/x", "xcom_s3://b/k", "ABFSS://c@a/x"]
)
def test_reference_into_object_storage_is_recognised(text: str) -> None:
    """Values that object storage backends write."""
    assert reference(text) == text
    assert "URL of an object store" in decode.decode(json.dumps(text).encode(), Context()).notes[0]


@pytest.mark.parametrize(
    "value", ["https://x.example/y", "s3:/b", "see s3://b/k", "s3://a b", 3, None]
)
def test_other_values_are_no_references(value: object) -> None:
    """Only a whole URL of an object store counts."""
    assert reference(value) is None


def test_text_in_a_bytes_column_is_described() -> None:
    """Airflow raises TypeError on SQLite's text storage class."""
    told, _ = render.to_json(value_of('"textual"'))
    assert told["__xcomctl__"]["value"] == "textual"  # type: ignore[index]
    assert told["__xcomctl__"]["storage_class"] == "text"  # type: ignore[index]


def parquet_footer(rows: int, names: list[str]) -> bytes:
    """Return the end of a Parquet file whose schema has these columns."""

    def varint(number: int) -> bytes:
        out = b""
        while number > 0x7F:
            out += bytes([number & 0x7F | 0x80])
            number >>= 7
        return out + bytes([number])

    def element(name: str, children: int) -> bytes:
        text = name.encode()
        out = b"\x48" + varint(len(text)) + text
        return out + (b"\x15" + varint(children * 2) if children else b"") + b"\x00"

    schema = element("schema", len(names)) + b"".join(element(name, 0) for name in names)
    meta = b"\x15\x04" + b"\x19" + bytes([(len(names) + 1) << 4 | 12]) + schema
    meta += b"\x16" + varint(rows * 2) + b"\x00"
    return b"PAR1" + b"\x00" * 8 + meta + len(meta).to_bytes(4, "little") + b"PAR1"


def test_shape_of_a_dataframe_is_read_from_its_footer() -> None:
    """Rows and columns without pandas' index; a broken file is only named."""
    data = parquet_footer(1234, ["a", "b", "__index_level_0__"])
    assert shape(data) == (1234, ["a", "b"])
    told, _ = render.to_json(value_of(envelope("pandas.core.frame.DataFrame", data.hex())))
    assert told["__xcomctl__"]["rows"] == 1234  # type: ignore[index]
    assert told["__xcomctl__"]["columns"] == ["a", "b"]  # type: ignore[index]
    assert shape(b"PAR1PAR1PAR1") is None


@given(st.binary(max_size=60))
def test_any_footer_is_read_or_refused(data: bytes) -> None:
    """Data that is not Parquet has no shape."""
    shape(data + len(data).to_bytes(4, "little") + b"PAR1")
