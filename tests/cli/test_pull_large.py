"""Values too large to hold: read in slices, told to be plain JSON, passed on untouched."""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import json
import math
import subprocess
import sys
from typing import TYPE_CHECKING, Any, NoReturn

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import clean_environment
from tests.metadata import WHEN, Metadata
from xcomctl.cli import pull
from xcomctl.cli.progress import Progress
from xcomctl.config.target import resolve_target
from xcomctl.db import open_store
from xcomctl.db.backends import mysql_values, postgresql, sqlite
from xcomctl.db.read import entries
from xcomctl.db.read.store import Store
from xcomctl.errors import DatabaseError
from xcomctl.values import decode, jsontext, render
from xcomctl.values.context import Context
from xcomctl.values.sniff import to_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.conftest import Run
    from tests.servers import Server

SILENT = Progress("pull: reading the value", None, lambda: 80)
MOST_RSS = 120_000_000
MEASURED = (
    "import resource, subprocess, sys\n"
    "code = subprocess.call(sys.argv[1:])\n"
    "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)\n"
    "sys.exit(code)\n"
)
"""A process of its own, because a child begins with the memory of its parent."""


# --- is it plain? -----------------------------------------------------------------------------


def refuse(token: str) -> NoReturn:
    raise ValueError(token)


def finite(token: str) -> float:
    number = float(token)
    if not math.isfinite(number):
        raise ValueError(token)
    return number


def oracle(data: bytes) -> bool:
    """Return whether Python's reader, made strict, takes the text, and it says nothing more."""
    try:
        value = json.loads(data.decode("utf-8"), parse_constant=refuse, parse_float=finite)
    except (ValueError, RecursionError):
        return False
    if jsontext._ESCAPED_NAME.search(data) or any(name in data for name in jsontext._ENVELOPES):
        return False
    return not (isinstance(value, str) and jsontext._MAY_HOLD_JSON.match(data))


def verdict(data: bytes, cuts: list[int]) -> bool:
    ends = sorted({min(cut, len(data)) for cut in cuts})
    places = zip([0, *ends], [*ends, len(data)], strict=True)
    return jsontext.is_plain(data[start:end] for start, end in places)


texts = st.text(max_size=12) | st.sampled_from(
    ["__type", "__classname__", "\\", '"', "[1]", "{", "é日😀", "\x7f\u202e", "\ud800", "a\nb"]
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=True) | texts,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(texts, inner, max_size=5),
    max_leaves=25,
)
spacing = st.sampled_from([(", ", ": "), (",", ":"), (" ,\n", "\t: ")])
ALPHABET = b'[]{},:"\\ \n0123456789-+.eEtrufalsn/b\x00\x1f\x7f\x80\xc3\xa9\xed\xa0\xff_'


@st.composite
def documents(draw: st.DrawFn) -> bytes:
    """JSON text, in some cases broken in some places."""
    value = draw(values)
    text = json.dumps(value, ensure_ascii=draw(st.booleans()), separators=draw(spacing))
    data = bytearray(text.encode("utf-8", "surrogatepass"))
    for _ in range(draw(st.sampled_from([0, 0, 1, 1, 2, 4]))):
        place = draw(st.integers(0, len(data)))
        new = draw(st.sampled_from(ALPHABET))
        kind = draw(st.sampled_from(["insert", "delete", "replace"]))
        data[place : place + (kind != "insert")] = b"" if kind == "delete" else bytes([new])
    return bytes(data)


@settings(max_examples=1500, deadline=None)
@given(documents(), st.lists(st.integers(0, 200), max_size=6))
def test_the_verdict_is_a_strict_readers(data: bytes, cuts: list[int]) -> None:
    """Wherever the text is cut, also where a head is too short to begin with."""
    assert verdict(data, cuts) is oracle(data), data


@settings(max_examples=500, deadline=None)
@given(documents(), st.lists(st.integers(500, 1400), max_size=8), st.integers(480, 560))
def test_the_verdict_holds_in_the_middle(data: bytes, cuts: list[int], before: int) -> None:
    """Behind a long beginning, so that cuts go through the document itself."""
    whole = b'{"k": [' + b"7, " * (before // 3) + data + b', {"a": [1, 2, "x"]}]}'
    assert verdict(whole, cuts) is oracle(whole), whole


@settings(max_examples=500, deadline=None)
@given(documents())
def test_what_is_plain_needs_no_decoding(data: bytes) -> None:
    """Its text says the value that `pull` would print, in UTF-8 and without notes."""
    if not jsontext.is_plain([data]):
        return
    for storage in ("bytes", "json"):
        decoded = decode.decode(data, Context(storage=storage))
        value, notes = render.to_json(decoded.value)
        assert (decoded.notes, notes) == ((), ())
        shown = b"".join(jsontext.shown([data[:3], data[3:]]))
        assert json.dumps(json.loads(shown)) == json.dumps(value)
        assert not set(shown.decode()) & {"\x7f", "\u202e", "\x80"}


@pytest.mark.parametrize(
    ("data", "plain"),
    [
        (b"", False),
        (b" ", False),
        (b"1", True),
        (b"-", False),
        (b"01", False),
        (b"1.", False),
        (b"[1e308, -1e308]", True),
        (b"[1e309]", False),
        (b"[1E+0000000400, 2]", False),
        (b"[" + b"9" * 400 + b"]", True),
        (b"[" + b"9" * 400 + b".0]", False),
        (b"[" + b"9" * 5000 + b"]", False),
        (b"[" * 400 + b"]" * 400, True),
        (b"[" * 100_000 + b"]" * 100_000, False),
        (b"[1, NaN]", False),
        (b"[true, false, null, tru]", False),
        (b"\xef\xbb\xbf[]", False),
        (b'["\\ud800"]', True),
        (b'["\xed\xa0\x80"]', False),
        (b'{"\\u005f_type": 1}', False),
        (b'{"__typename": 1}', True),
        (b'{"__type": 1}', False),
        (b'"[1]"', False),
        (b'"  \\n{}"', False),
        (b'"words"', True),
        (b'"words \\"quoted\\" [1]"', True),
        (b"[1]]", False),
        (b"[1}", False),
        (b'{"a": 1, }', False),
        (b'{"a" 1}', False),
        (b"[,1]", False),
        (b"[1,,2]", False),
        (b'{"a": {"b": [1, {"c": [[], {}, [{}]]}]}}', True),
        (b"1 2", False),
        (b"\x80\x04K\x01.", False),
    ],
    ids=lambda given: repr(given)[:30],
)
def test_single_texts(data: bytes, plain: bool) -> None:
    """Whole, and byte by byte."""
    assert jsontext.is_plain([data]) is plain
    assert jsontext.is_plain(bytes([byte]) for byte in data) is plain
    padded = b" " * 100 + data.replace(b"[", b"[" + b" " * 600, 1)
    assert jsontext.is_plain(bytes([byte]) for byte in padded) is plain


def test_reading_ends_where_it_is_known() -> None:
    """A pickle is not read to its end to find that it is no JSON."""

    def pieces() -> Iterator[bytes]:
        yield b"\x80\x04" * 300
        pytest.fail("read on")

    assert not jsontext.is_plain(pieces())


# --- slices -----------------------------------------------------------------------------------


@pytest.fixture
def small_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let small values be large ones."""
    monkeypatch.setattr(entries, "PLAIN_BYTES", 500)
    monkeypatch.setattr(entries, "_PIECE_CHARS", 333)
    for module in (sqlite, postgresql, mysql_values):
        monkeypatch.setattr(module, "_SLICE_BYTES", 1501)
    monkeypatch.setattr(mysql_values, "_PIECE_BYTES", 1501)


def opened(url: str) -> Any:
    return open_store(resolve_target(url=url))


def document(megabytes: float) -> str:
    text = "é日😀x\\n " * int(megabytes * 1_000_000 / 13)
    return json.dumps({"text": text, "rows": [1, 2.5, None]}, ensure_ascii=False)


@pytest.mark.parametrize("generation", ["1.10", "2.0", "2.3", "3.0", "3.4"])
@pytest.mark.usefixtures("small_slices")
def test_slices_make_the_value(empty_url: str, generation: str) -> None:
    """Whatever the border cuts; and of what fits no slice, the plain read is the same."""
    metadata = Metadata(empty_url, generation)
    whole = document(0.05)
    given: dict[str, Any] = {"large": whole, "edge": json.dumps("x" * 3000), "small": "[1]"}
    for task, text in given.items():
        metadata.add(text if metadata.json else text.encode(), task_id=task)
    with opened(empty_url) as one:
        for task, text in given.items():
            (entry,) = one.entries.find("dag", task, "return_value")
            pieces = list(one.entries.read_pieces(entry))
            plain = one.entries.read(entry)
            assert b"".join(pieces) == to_bytes(plain)
            assert json.loads(b"".join(pieces)) == json.loads(text)
            assert task == "small" or len(pieces) > 1
            if not metadata.json:
                assert b"".join(pieces) == text.encode()
                assert entry.size == len(text.encode())
                assert entry.head == text.encode()[:64]


def test_slices_of_twenty_megabytes(
    empty_url: str, any_server: Any, request: pytest.FixtureRequest
) -> None:
    """With the real sizes of slices and pieces."""
    metadata = Metadata(empty_url)
    whole = document(20).encode()
    with contextlib.ExitStack() as stack:
        kind = request.node.callspec.params["empty_url"]
        if kind in ("mysql", "mariadb"):
            packet = str(64 * 1024 * 1024)
            stack.enter_context(any_server(kind).variable("max_allowed_packet", packet))
        metadata.add(whole)
        with opened(empty_url) as one:
            (entry,) = one.entries.find("dag", "task", "return_value")
            pieces = list(one.entries.read_pieces(entry))
    assert b"".join(pieces) == whole
    # MySQL and MariaDB send it once, so that small pieces cost nothing.
    assert 1 < len(pieces) < (25 if kind in ("mysql", "mariadb") else 5)


@pytest.mark.parametrize("generation", ["2.3", "3.0"])
@pytest.mark.usefixtures("small_slices")
def test_nulls_and_empty_values(empty_url: str, generation: str) -> None:
    """No bytes, and no error."""
    metadata = Metadata(empty_url, generation)
    metadata.add(None)
    with opened(empty_url) as one:
        (entry,) = one.entries.find("dag", "task", "return_value")
        assert list(one.entries.read_pieces(entry)) == []
        assert entry.encoding.value == "null"


@pytest.mark.usefixtures("small_slices")
def test_every_storage_class_of_sqlite(tmp_path: Path) -> None:
    """Text that is no UTF-8, numbers, and a database in UTF-16."""
    odd = b"\xff\xfe" * 2000
    metadata = Metadata(str(tmp_path / "a.db"))
    metadata.add(b"x", task_id="odd")
    metadata.execute("UPDATE xcom SET value = CAST(:odd AS TEXT)", odd=odd)
    metadata.add(2.5, task_id="number")
    metadata.add("text" * 500, task_id="text")
    with opened(metadata.url) as one:
        for task, expected in (("odd", odd), ("number", b"2.5"), ("text", b"text" * 500)):
            (entry,) = one.entries.find("dag", task, "return_value")
            assert b"".join(one.entries.read_pieces(entry)) == expected
            assert isinstance(entry.head, float if task == "number" else str)
    wide = Metadata(str(tmp_path / "b.db"), "3.0")
    fresh = sa.create_engine(f"sqlite:///{tmp_path / 'c.db'}")
    with fresh.begin() as connection:
        connection.exec_driver_sql("PRAGMA encoding = 'UTF-16'")
        for (statement,) in wide.engine.connect().exec_driver_sql(
            "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL"
        ):
            without = statement.startswith("CREATE TABLE xcom")
            connection.exec_driver_sql(statement + (" WITHOUT ROWID" if without else ""))
        connection.exec_driver_sql(
            "INSERT INTO xcom (dag_run_id, task_id, key, dag_id, run_id, value, timestamp)"
            " VALUES (1, 'task', 'k', 'dag', 'r', ?, '2026-01-01')", (document(0.01),),
        )  # fmt: skip
    with opened(str(tmp_path / "c.db")) as one:
        (entry,) = one.entries.find("dag", "task", "k")
        assert b"".join(one.entries.read_pieces(entry)) == document(0.01).encode()


@pytest.mark.usefixtures("small_slices")
def test_a_value_replaced_meanwhile_is_no_mixture(server: Server) -> None:
    """An error, or all of the old one."""
    url = server.create_database()
    metadata = Metadata(url)
    metadata.add(b"a" * 20_000)
    with opened(url) as one:
        (entry,) = one.entries.find("dag", "task", "return_value")
        pieces = one.entries.read_pieces(entry)
        got = next(pieces)
        metadata.execute("DELETE FROM xcom")
        metadata.add(b"b" * 20_000, timestamp=WHEN + dt.timedelta(days=1))
        if server.backend == "postgresql":
            with pytest.raises(DatabaseError, match="changed while it was read"):
                list(pieces)
        else:
            assert got + b"".join(pieces) == b"a" * 20_000


@pytest.mark.usefixtures("small_slices")
def test_what_sqlite_changes_itself_ends_the_handle(tmp_path: Path) -> None:
    """Others wait while it is read, and what cannot be read on is said."""
    metadata = Metadata(str(tmp_path / "a.db"))
    metadata.add(b"a" * 20_000)
    from xcomctl.db import _backend

    backend = _backend(resolve_target(url=metadata.url), 1.0)
    one = Store(backend)
    (entry,) = one.entries.find("dag", "task", "return_value")
    pieces = one.entries.read_pieces(entry)
    next(pieces)
    backend.connection.exec_driver_sql("DELETE FROM xcom")
    with pytest.raises(DatabaseError, match="changed while it was read"):
        list(pieces)
    with pytest.raises(DatabaseError, match="changed while it was read"):
        list(one.entries.read_pieces(entry))
    one.close()


def test_a_value_above_the_packet_is_read(mysql_like: Server) -> None:
    """In slices of half a packet; all at once it cannot be, which is said."""
    url = mysql_like.create_database()
    metadata = Metadata(url)
    metadata.add(b"")
    document_ = document(3).encode()
    for _ in range(4):
        metadata.execute("UPDATE xcom SET value = CONCAT(value, :more)", more=document_)
    with mysql_like.variable("max_allowed_packet", str(4 * 1024 * 1024)), opened(url) as one:
        (entry,) = one.entries.find("dag", "task", "return_value")
        assert b"".join(one.entries.read_pieces(entry)) == document_ * 4
        with pytest.raises(DatabaseError, match="in one piece"):
            one.entries.read(entry)


def test_text_that_postgresql_cannot_say(run: Run, postgres: Server) -> None:
    """Control characters take six times their room: there, and not readable."""
    url = postgres.create_database()
    metadata = Metadata(url, "3.0")
    metadata.add("1")
    metadata.execute("UPDATE xcom SET value = to_jsonb(repeat(chr(1), 180000000))")
    done = run("pull", "dag", "task", "-o", "raw", "--url", url)
    assert (done.code, done.stdout) == (3, b"")
    assert "in parts only" in done.err


# --- passed on --------------------------------------------------------------------------------


@pytest.mark.usefixtures("small_slices")
@pytest.mark.parametrize("generation", ["2.3", "3.0"])
def test_plain_json_is_passed_on_and_the_rest_decoded(
    empty_url: str, generation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both say the same value."""
    monkeypatch.setattr(pull, "LARGE_BYTES", 500)
    metadata = Metadata(empty_url, generation)
    given = {
        "plain": ('{"a" :  "\u202eé' + "x" * 2000 + '", "n": 1.50}', True),
        "tuple": ('{"__classname__": "builtins.tuple", "__version__": 1, "__data__": ["%s"]}'
                  % ("x" * 2000), False),
        "string": (json.dumps(json.dumps(["x" * 2000])), False),
    }  # fmt: skip
    for task, (text, _) in given.items():
        metadata.add(text if metadata.json else text.encode(), task_id=task)
    with opened(empty_url) as one:
        for task, (_, plain) in given.items():
            (entry,) = one.entries.find("dag", task, "return_value")
            pieces = pull._plain_pieces(one, entry, SILENT)
            assert (pieces is not None) is plain
            if pieces is not None:
                decoded = decode.decode(one.entries.read(entry), one.context)
                data = b"".join(pieces)
                assert json.loads(data) == decoded.value
                assert data.endswith(b"}\n")
                assert "\u202e" not in data.decode()


@pytest.mark.usefixtures("small_slices")
def test_text_where_airflow_wants_bytes_is_not_passed_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its xcom_pull fails on it."""
    monkeypatch.setattr(pull, "LARGE_BYTES", 500)
    metadata = Metadata(str(tmp_path / "a.db"))
    metadata.add(json.dumps(["x" * 2000]))
    with opened(metadata.url) as one:
        (entry,) = one.entries.find("dag", "task", "return_value")
        assert pull._plain_pieces(one, entry, SILENT) is None


@pytest.mark.usefixtures("small_slices")
def test_what_was_checked_is_what_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A value replaced between the two is an error, and no file."""
    from xcomctl.cli.console import Console

    monkeypatch.setattr(pull, "LARGE_BYTES", 500)
    metadata = Metadata(str(tmp_path / "a.db"))
    metadata.add(json.dumps(["x" * 2000]).encode())
    plain = jsontext.is_plain

    def replaced(pieces: Iterator[bytes]) -> bool:
        found = plain(pieces)
        metadata.execute("UPDATE xcom SET value = :new", new=json.dumps(["y" * 2000]).encode())
        return found

    monkeypatch.setattr(jsontext, "is_plain", replaced)
    with opened(metadata.url) as one:
        (entry,) = one.entries.find("dag", "task", "return_value")
        pieces = pull._plain_pieces(one, entry, SILENT)
        assert pieces is not None
        with pytest.raises(DatabaseError, match="changed while it was read"):
            Console().save(tmp_path / "out", pieces)
    assert [path.name for path in tmp_path.iterdir()] == ["a.db"]


@pytest.mark.parametrize("kind", ["sqlite", "sqlite text", "postgresql"])
def test_two_hundred_megabytes_need_little_memory(
    kind: str, any_server: Any, tmp_path: Path
) -> None:
    """Raw and JSON, to a file: the bytes are right, and were never held."""
    url = str(tmp_path / "a.db") if "sqlite" in kind else any_server(kind).create_database()
    metadata = Metadata(url, "3.0" if "text" in kind else "2.3")
    block = document(1)[:-1].encode()
    with (tmp_path / "value").open("wb+") as value:
        value.write(b"[1")
        for _ in range(200):
            value.write(b", " + block + b"}")
        value.write(b"]")
        size = value.tell()
        value.seek(0)
        metadata.add(b"")
        if kind == "postgresql":
            while piece := value.read(50_000_000):
                metadata.execute("UPDATE xcom SET value = value || :piece", piece=piece)
        else:
            whole = value.read()
            metadata.execute(
                "UPDATE xcom SET value = :v", v=whole.decode() if metadata.json else whole
            )
            del whole
        value.seek(0)
        digest = hashlib.sha256()
        while piece := value.read(1 << 20):
            digest.update(piece)
    assert size > 190_000_000
    out = tmp_path / "out"
    for form in ("raw", "json"):
        if form == "json":
            digest.update(b"\n")
        command = ["pull", "dag", "task", "-o", form, "--file", str(out), "--url", metadata.url]
        done = subprocess.run(
            [sys.executable, "-c", MEASURED, sys.executable, "-m", "xcomctl", *command],
            env=clean_environment(tmp_path), cwd=tmp_path, capture_output=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr.decode()
        found = hashlib.sha256()
        with out.open("rb") as file:
            while piece := file.read(1 << 20):
                found.update(piece)
        assert found.hexdigest() == digest.hexdigest()
        unit = 1 if sys.platform == "darwin" else 1024
        assert int(done.stdout) * unit < MOST_RSS, form
