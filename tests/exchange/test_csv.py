"""CSV, whose cells are quoted here, is what Python's csv module writes."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING, Any

from hypothesis import given
from hypothesis import strategies as st

from tests.cli.test_export import BYTES
from xcomctl.exchange.lines import CsvLines
from xcomctl.exchange.others import OtherColumn
from xcomctl.exchange.stored import encode_value, encoding_of
from xcomctl.exchange.terminal import terminal_csv_lines
from xcomctl.text import visible

if TYPE_CHECKING:
    from collections.abc import Callable

    from xcomctl.exchange.lines import Lines

NAMES = ("dag_id", "task_id", "run_id", "key")
HEADER = "dag_id task_id run_id map_index key timestamp logical_date size_bytes encoding orphan dag_run_id stored_as dag_result note value value_base64"

_text = st.one_of(
    st.text(st.sampled_from("a,\"\n\r '\té\x1b\udcff"), max_size=6), st.text(max_size=6)
)
_value = st.one_of(
    st.none(), st.integers(), st.floats(),
    st.sampled_from(sorted(BYTES.values(), key=len)),
    st.lists(st.sampled_from([b'"', b",", b"\n", b"\r", b"\xc3", b"\xa9", b"[", b"]", b"1", b" "])).map(b"".join),
    st.text(st.sampled_from('a,é\x1b ')).map(lambda text: f'["{text}", 1]'.encode()),
)  # fmt: skip
_time = st.sampled_from([None, "2026-01-31T07:08:09.123456Z"])
_others = st.tuples(st.sampled_from([None, True, False]), st.none() | _text).map(json.dumps)
_row = st.tuples(
    _text, _text, st.none() | _text, st.integers(-1, 9), st.none() | _text, _time, _time,
    st.none() | st.integers(0, 9), st.just(7), st.booleans(), _others, st.sampled_from([None, "text"]),
    _value,
)  # fmt: skip


def by_the_module(
    rows: list[Any], escape: Callable[[str], str] = str, quoting: int = csv.QUOTE_MINIMAL
) -> bytes:
    """Return the rows as the csv module writes them."""
    lines = []
    for cells in [HEADER.split(), *map(_cells, rows)]:
        out = io.StringIO()
        # With this terminator it quotes a line end of either kind, in every Python.
        csv.writer(out, lineterminator="\r\n", quoting=quoting).writerow(map(escape, cells))  # type: ignore[arg-type]
        lines.append(out.getvalue().removesuffix("\r\n") + "\n")
    return "".join(lines).encode("utf-8", "backslashreplace")


def _cells(row: Any) -> list[str]:
    *named, size, run, orphan, others, stored_as, raw = row
    text, encoded = encode_value(raw)
    plain = "" if text is None else text.decode()
    encoding = encoding_of(raw, "bytes")
    cells = [*named, size, encoding, orphan, run, stored_as, *json.loads(others), plain, encoded]
    texts = {None: "", True: "true", False: "false"}
    return [texts[cell] if cell is None or cell is True or cell is False else str(cell) for cell in cells]  # fmt: skip


def by_us(rows: list[Any], make: Callable[..., Lines]) -> bytes:
    """Return the rows as the export writes them."""
    out = io.BytesIO()
    columns = (OtherColumn("dag_result", "boolean"), OtherColumn("note", "text"))
    with make(out.write, "bytes", others=columns) as lines:
        for dag, task, run, index, key, time, date, size, number, orphan, others, *rest in rows:
            given_names = zip(NAMES, (dag, task, run, key), strict=True)
            cells = {name: lines.encode_name(name, text) for name, text in given_names}
            assert [lines.decode_name(name, cells[name]) for name in NAMES] == [dag, task, run, key]
            date_cell = lines.encode_name("logical_date", date)
            dag_cell, task_cell, run_cell, key_cell = cells.values()
            lines.write_row((
                dag_cell, task_cell, run_cell, index, key_cell, time, date_cell, size, number, orphan,
                lines.encode_name("others", others), *rest,
            ))  # fmt: skip
    return out.getvalue()


@given(st.lists(_row, max_size=8))
def test_csv_is_what_the_csv_module_writes(rows: list[Any]) -> None:
    """Byte for byte, whatever the names and the values are, and in whatever company."""
    assert by_us(rows, CsvLines) == by_the_module(rows)


@given(st.lists(_row, max_size=8))
def test_csv_for_a_terminal_has_every_cell_escaped_and_quoted(rows: list[Any]) -> None:
    assert by_us(rows, terminal_csv_lines) == by_the_module(rows, visible, csv.QUOTE_ALL)
