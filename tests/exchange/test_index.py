"""Exports as an index for comparison: names, sizes and digests, without holding values."""

from __future__ import annotations

import io
import json
import tracemalloc
from typing import TYPE_CHECKING

import pytest

from xcomctl.errors import UsageError
from xcomctl.exchange.index import PIECE_BYTES, match_runs, read_index

if TYPE_CHECKING:
    from typing import BinaryIO

    from xcomctl.sizes.compare import Item, Name


def line(
    value: str, *, task_id: str = "task", run_id: str = "run", size: int | None = None
) -> bytes:
    given = {
        "dag_id": "dag", "task_id": task_id, "run_id": run_id, "map_index": -1, "key": "k",
        "timestamp": None, "logical_date": None, "size_bytes": len(value) if size is None else size,
        "encoding": "json", "value_base64": "",
    }  # fmt: skip
    return f'{json.dumps(given)[:-1]}, "value": {value}}}\n'.encode()


def index(data: bytes) -> dict[Name, Item]:
    return read_index(io.BytesIO(data), "file.jsonl")


@pytest.mark.parametrize("length", [0, 10, PIECE_BYTES - 300, PIECE_BYTES, 5 * PIECE_BYTES])
def test_values_are_found_again(length: int) -> None:
    """Whatever their length, and whatever comes before and behind."""
    text = json.dumps("é" * length, ensure_ascii=False)
    data = line("1", task_id="a") + b"\n" + line(text, task_id="☃") + line("2", task_id="c")
    found = index(data)
    assert [name[2] for name in found] == ["a", "☃", "c"]
    reads = [item.read for item in found.values()]
    assert [read() for read in reads if read] == [b"1", text.encode(), b"2"]
    again = index(line(text, task_id="☃"))
    assert again["dag", "run", "☃", -1, "k"].digest == found["dag", "run", "☃", -1, "k"].digest


def test_digests_differ_where_values_do() -> None:
    """At the end of a long line, too."""
    long = "x" * (3 * PIECE_BYTES)
    one, other = index(line(f'"{long}a"')), index(line(f'"{long}b"'))
    assert one.keys() == other.keys()
    assert [item.digest for item in one.values()] != [item.digest for item in other.values()]


@pytest.mark.parametrize(
    "data", [b"{", b"[]\n", b'{"dag_id": 1}\n', b"\xff\n", b'{"value": 1}\n', b"dag_id,task_id\n"]
)
def test_other_files_are_refused(data: bytes) -> None:
    """With the number of the line."""
    with pytest.raises(UsageError, match="cannot read line 2"):
        index(line("1") + data)


class Endless(io.RawIOBase):
    """A file of one line, whose value is made up while it is read."""

    def __init__(self, start: bytes, length: int) -> None:
        self._left = length
        self._start = start

    def readline(self, size: int | None = -1, /) -> bytes:
        if self._start:
            start, self._start = self._start, b""
            return start
        count = min(self._left, size or 0)
        self._left -= count
        return b"x" * count


def test_memory_does_not_grow_with_a_value() -> None:
    """A value of 200 MB takes a piece of it at a time."""
    start = line('"')[:-2]
    tracemalloc.start()
    found = read_index(Endless(start, 200_000_000), "file")  # type: ignore[arg-type]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(found) == 1
    assert next(iter(found.values())).read is None
    assert peak < 2_000_000


@pytest.fixture
def sides() -> tuple[BinaryIO, BinaryIO]:
    return io.BytesIO(line("1", run_id="a")), io.BytesIO(line("2", run_id="b"))


def test_single_runs_are_compared_by_task(sides: tuple[BinaryIO, BinaryIO]) -> None:
    """Two exports of one run each have no run in common."""
    old, new = match_runs(*(read_index(file, "file") for file in sides))
    assert list(old) == list(new) == [("dag", None, "task", -1, "k")]


def test_several_runs_are_compared_run_by_run() -> None:
    """And so is one run that both sides have."""
    old = index(line("1", run_id="a") + line("1", run_id="b"))
    new = index(line("1", run_id="b"))
    assert match_runs(old, new) == (old, new)
    assert match_runs(new, new) == (new, new)
