"""Lines of exports and undo files, read the quick way: as the careful way reads them, or not at all."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xcomctl.exchange import records
from xcomctl.values import strictjson

LINE = (
    b'{"undo": "restore", "dag_id": "d", "task_id": "t", "run_id": "r", "map_index": -1, "key": "k", '
    b'"timestamp": "2026-01-31T07:08:09.123456Z", "logical_date": "2026-01-31T00:00:00Z", "size_bytes": 9, '
    b'"encoding": "json", "orphan": false, "dag_run_id": 7, "stored_as": "", "dag_result": true, '
    b'"value_base64": "", "value": {"a": [1, 2.50, "\\u00e9\xc3\xa9"]}}\n'
)
PIECES = (
    b"NaN", b"-0", b"1e400", b"00", b"\xff", b"\xc3", b'"\\ud800"', b"null", b"true", b"[" * 50, b'"', b"}", b",", b" ",
    b"\n", b"\r", b"\0", b'"a": 1, ', b'"value": 2, ', b'"id": 3, ', b'"key": null, ', b'"map_index": 3000000000, ',
    b'"timestamp": "x", ', b'"timestamp": "2026-01-31", ', b'"orphan": true, ', b'"orphan": 1, ', b'"encoding": "null", ',
    b'"encoding": "empty", ', b'"stored_as": "text", ', b'"value_base64": "gA==", ', b'"value_base64": null, ',
)  # fmt: skip


def both(line: bytes) -> tuple[records.Record | None, Any]:
    """Return what the quick and the careful way make of a line."""
    return records.quick_record(line, 3), records._json_record(line, 3)


def same(line: bytes) -> bool:
    """Return whether the quick way read the line; then as the careful way did."""
    quick, careful = both(line)
    if quick is None:
        return False
    assert quick._replace(strict=False) == careful
    assert not quick.strict or (quick.data is not None and strictjson.is_strict(quick.data))
    return True


@pytest.mark.parametrize(
    "value", ["null", "1", '"\N{SNOWMAN}"', "[]", '{"a": {"b": 1E5}}', '"\\u0000"']
)
def test_what_xcomctl_writes_is_read_the_quick_way(value: str) -> None:
    """Undo lines and lines of an export, of every Airflow."""
    line = LINE.replace(b'{"a": [1, 2.50, "\\u00e9\xc3\xa9"]}', value.encode())
    assert same(line)
    assert same(line.replace(b'"undo": "restore", ', b"").replace(b'"dag_result": true, ', b""))
    assert same(b'{"undo": "remove", "dag_id": "d", "task_id": "t", "run_id": "r", "map_index": -1, "key": "k", "timestamp": null, "logical_date": null, "size_bytes": null, "encoding": "absent"}\n')  # fmt: skip


@given(st.lists(st.tuples(st.integers(0, len(LINE)), st.sampled_from(PIECES)), max_size=3))
def test_any_other_line_is_read_the_same_or_left_to_the_careful_way(
    changes: list[tuple[int, bytes]],
) -> None:
    """With pieces put in anywhere, it never reads what the careful way refuses."""
    line = LINE
    for at, piece in changes:
        line = line[:at] + piece + line[at:]
    same(line)


@given(st.sampled_from(PIECES), st.integers(0, 40))
def test_members_in_front_of_others_and_behind(piece: bytes, at: int) -> None:
    """Of two members with one name the last counts, as everywhere."""
    starts = [number for number in range(len(LINE)) if LINE[number : number + 1] == b'"']
    place = starts[at % len(starts)]
    same(LINE[:place] + piece + LINE[place:])
    same(LINE[:-2] + b", " + piece.rstrip(b", ") + b"}\n")


def test_the_end_of_a_file_may_be_missing() -> None:
    """Any start of a line is a fault, in the words of the careful way."""
    for end in range(1, len(LINE) - 2):
        quick, careful = both(LINE[:end])
        assert quick is None
        assert isinstance(careful, records.Fault)
    assert json.loads(LINE)["value"]["a"][0] == 1
