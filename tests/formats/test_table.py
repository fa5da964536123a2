"""Tables for people: one line per row, whatever the width, the ids and the number of rows."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xcomctl.cli import config, delete, findings, import_, info, limits, top
from xcomctl.cli import list as list_command
from xcomctl.formats import Column, Destination, Layout, writer
from xcomctl.formats.cells import Cells
from xcomctl.formats.width import cell_width

if TYPE_CHECKING:
    from collections.abc import Sequence

    from xcomctl.formats import Row

COLUMNS = (
    Column("dag_id", "id"),
    Column("run_id", "run"),
    Column("map_index", "index", title="map", usual=-1),
    Column("key", "id"),
    Column("timestamp", "time", drop=1),
    Column("size_bytes", "size", title="size"),
    Column("percent", "percent", title="of limit", drop=2),
    Column("encoding", "id", usual="json", drop=3),
)
ROW: dict[str, object] = {
    "dag_id": "daily_customer_orders",
    "run_id": "scheduled__2026-03-31T00:00:00+00:00",
    "map_index": -1,
    "key": "return_value",
    "timestamp": "2026-03-31T00:00:09.123456Z",
    "size_bytes": 95_000,
    "percent": 145.0,
    "encoding": "json",
}


def layout(*columns: Column, **options: Any) -> Layout:
    """Return a layout of the columns, else of `COLUMNS`."""
    return Layout("test/1", "rows", columns or COLUMNS, **options)


def table(
    rows: Sequence[Row],
    shape: Layout | None = None,
    *,
    form: str = "table",
    width: int | None = None,
    color: bool = False,
) -> list[str]:
    """Return the lines of a table."""
    out = io.StringIO()
    one = writer(form, shape or layout(), Destination(out, color=color, width=width))
    for row in rows:
        one.row(row)
    one.end()
    return out.getvalue().splitlines()


@pytest.mark.parametrize("width", range(60, 161, 5))
def test_a_row_is_one_line_from_60_columns_up(width: int) -> None:
    """Of at most the terminal's width, with the ids and the size in it."""
    header, *rows = table([ROW, ROW | {"map_index": 3}], width=width)
    assert len(rows) == 2
    assert all(cell_width(line) <= width for line in (header, *rows))
    assert {"dag_id", "run_id", "map", "key", "size"} <= set(header.split())
    assert all("2026-03-31" in row and "92.8 KiB" in row for row in rows)


def test_columns_go_in_order_of_least_use() -> None:
    """First those that tell nothing, then by their number."""
    seen = [table([ROW], width=width)[0] for width in range(160, 59, -1)]
    dropped = [
        next(index for index, header in enumerate(seen) if name not in header)
        for name in ("encoding", "map", "of limit", "timestamp")
    ]
    assert dropped == sorted(dropped)
    assert all("dag_id" in header and "size" in header for header in seen)


def test_a_map_index_is_never_dropped_when_it_names_the_row() -> None:
    """Also where it first appears behind the rows that were aligned together."""
    lines = table([ROW] * 600 + [ROW | {"map_index": 7}], width=70)
    headers = [line for line in lines if line.startswith("dag_id")]
    assert ["map" in header for header in headers] == [False, True]
    assert re.search(r"\b7\b", lines[-1])


def test_cards_below_60_columns() -> None:
    """A few lines for each entry, without what tells nothing, within the width."""
    lines = table([ROW, ROW | {"map_index": 3}], width=40)
    assert lines == [
        "dag_id  daily_customer_orders",
        "run_id  scheduled__2026-03-31T00:00:00…",
        "key     return_value",
        "timestamp 2026-03-31 00:00:09",
        "size 92.8 KiB  of limit 145.0%",
        "",
        "dag_id  daily_customer_orders",
        "run_id  scheduled__2026-03-31T00:00:00…",
        "key     return_value",
        "map 3  timestamp 2026-03-31 00:00:09",
        "size 92.8 KiB  of limit 145.0%",
    ]


def test_a_table_that_fits_is_a_table_below_60_columns_too() -> None:
    """As are names and values, which would make silly cards."""
    assert table([{"dag_id": "a", "key": "b"}], layout(*COLUMNS[:1], COLUMNS[3]), width=20) == [
        "dag_id  key",
        "a       b",
    ]
    wide = {"dag_id": "a" * 30, "key": "b" * 30}
    lines = table([wide], layout(COLUMNS[0], COLUMNS[3]), width=40)
    assert lines[1] == "aaaaaaaaa…aaaaaaaaa  bbbbbbbbb…bbbbbbbbb"


def test_columns_that_were_asked_for_are_never_dropped() -> None:
    """Where they do not fit on a line, entries become cards."""
    names = ("dag_id", "run_id", "map_index", "timestamp", "size_bytes", "percent")
    assert "timestamp" in table([ROW], layout(chosen=names), width=80)[0]
    assert table([ROW], layout(chosen=names), width=60)[0].startswith("dag_id  daily")


@pytest.mark.parametrize("width", [None, 80, 120])
def test_one_long_key_does_not_widen_the_table(width: int | None) -> None:
    """Neither at a terminal nor in a pipe."""
    rows = [ROW, ROW | {"key": "k" * 512}]
    lines = table(rows, width=width)
    assert len(lines) == 3
    assert max(map(len, lines)) <= (width or 200)
    assert lines[1].index("92.8") == lines[2].index("92.8")


def test_plain_cuts_nothing_and_adds_nothing() -> None:
    """Airflow's `-o plain`: a header and aligned columns, whatever the terminal."""
    long = ROW | {"key": "k" * 512}
    shape = layout(closing=lambda: ["2 XComs"])
    lines = table([ROW, long], shape, form="plain", width=40, color=True)
    assert len(lines) == 3
    assert "k" * 512 in lines[2]
    assert len(lines[1]) < 250
    assert "\x1b" not in "".join(lines)
    assert lines[0].split() == [
        "dag_id",
        "run_id",
        "map",
        "key",
        "timestamp",
        "size",
        "of",
        "limit",
        "encoding",
    ]


def test_the_header_can_be_left_out() -> None:
    """Of both."""
    for form in ("table", "plain"):
        assert len(table([ROW], layout(header=False), form=form)) == 1
        assert table([], form=form) == []


def test_wide_and_combining_characters_stay_aligned() -> None:
    """Columns are counted, not characters."""
    rows = [ROW | {"dag_id": name} for name in ("日本語のDAG", "e\u0301te\u0301", "💥", "plain")]
    for width in (None, 80):
        starts = {
            cell_width(line[: re.search(r"\s\S*2026-03-31", line).start()])  # type: ignore[union-attr]
            for line in table(rows, width=width)[1:]
        }
        assert len(starts) == 1


def test_what_a_terminal_would_obey_is_written_out() -> None:
    """Escape sequences, line ends and directions, also where a cell is cut."""
    for width in (None, 60, 40):
        text = "\n".join(table([ROW | {"key": "\x1b[31m\n\u202e" * 30}], width=width))
        assert "\x1b" not in text
        assert "\u202e" not in text
        assert r"\x1b[31" in text


def test_an_empty_id_can_be_seen() -> None:
    """Airflow takes an empty key, and a blank cell would shift the columns for awk."""
    assert '""' in table([ROW | {"key": ""}])[1].split()
    assert table([ROW | {"key": None}])[1].split()[3] == "-"


def test_colours_are_codes_around_whole_cells() -> None:
    """Above the limit in red, close to it in magenta: readable on light and dark."""
    rows = [ROW, ROW | {"percent": 99.0}, ROW | {"percent": 5.0}]
    header, over, near, fine = table(rows, width=160, color=True)
    assert header.startswith("\x1b[1m")
    assert "\x1b[1;31m  145.0%\x1b[0m" in over
    assert "\x1b[1;35m   99.0%\x1b[0m" in near
    assert "\x1b" not in fine
    plain = table(rows, width=160)
    assert [re.sub(r"\x1b\[[\d;]*m", "", line) for line in (header, over, near, fine)] == plain


def test_a_terminal_that_has_no_ellipsis_gets_a_tilde() -> None:
    """Rather than an error, or an escape that shifts the columns."""
    raw = io.BytesIO()
    out = io.TextIOWrapper(raw, "latin-1", "backslashreplace")
    one = writer("table", layout(), Destination(out, width=70))
    one.row(ROW)
    one.end()
    out.flush()
    lines = raw.getvalue().decode("latin-1").splitlines()
    assert "scheduled__2026-03-31~" in lines[1]
    assert all(len(line) <= 70 for line in lines)


def test_groups_have_a_heading_and_rows_below() -> None:
    """In the order of the digest, which sees all rows."""
    rows = [ROW, ROW | {"dag_id": "other"}, ROW]
    shape = layout(
        group_by="dag_id",
        digest=lambda given: sorted(given, key=lambda row: str(row["dag_id"])),
        closing=lambda: ["passed: " + "3 XComs, " * 20],
    )
    for width in (None, 60, 40):
        lines = table(rows, shape, width=width)
        headings = [line for line in lines if line in ("daily_customer_orders", "other")]
        assert headings == ["daily_customer_orders", "other"]
        assert all(cell_width(line) <= (width or 200) for line in lines)
    assert "other" in table(rows, shape, form="plain")[3]


@pytest.mark.parametrize(
    ("sizes", "texts"),
    [
        ([900 * 1024, 1_300_000], ["900.0 KiB", "1,269.5 KiB"]),
        ([16, 95_027], ["16 B", "92.8 KiB"]),
        ([1447, 180], ["1,447 B", "180 B"]),
        ([4_546_765], ["4.3 MiB"]),
        ([4_546_765, 1_200_000], ["4.3 MiB", "1.1 MiB"]),
        ([50 * 2**20, 40 * 2**30], ["50.0 MiB", "40.0 GiB"]),
        ([None, 0, 70_000], ["-", "0.0 KiB", "68.4 KiB"]),
        ([None], ["-"]),
    ],
)
def test_sizes_of_a_column_have_one_unit_where_it_can_be_read(
    sizes: list[int | None], texts: list[str]
) -> None:
    """Three significant digits for each, and no endless numbers."""
    column = Column("size_bytes", "size")
    assert Cells([column]).by_column([{"size_bytes": size} for size in sizes]) == [texts]


TASKS = tuple(top._DIMENSION_COLUMNS[name] for name in top.DIMENSIONS[:3])
SHAPES: dict[str, tuple[tuple[Column, ...], bool]] = {
    "list": (list_command._COLUMNS, False),
    "list --value --text --stored": ((*list_command._COLUMNS, *list_command._EXTRA), False),
    "top": ((*TASKS, *top._NUMBERS), False),
    "top --forecast": ((*TASKS, *top._NUMBERS, *top._FORECAST), False),
    "audit": (findings.finding_columns(), True),
    "audit --per-entry": (
        findings.finding_columns(hidden=("occurrences",), shown=("run_id", "map_index")),
        True,
    ),
    "limits": (limits._COLUMNS, False),
    "delete": (delete._COLUMNS, False),
    "import": (import_._COLUMNS, False),
    "info": (info._COLUMNS, False),
    "config": (config._COLUMNS, False),
}
TEXTS = st.text(alphabet="ab_.日e\u0301💥 ", max_size=90) | st.just(
    "scheduled__2026-03-31T00:00:00"
)
VALUES: dict[str, st.SearchStrategy[object]] = {
    "time": st.just("2026-03-31T00:00:09Z"),
    "index": st.integers(-1, 1024),
    "number": st.integers(0, 10**7),
    "size": st.integers(0, 2**34),
    "exact": st.integers(0, 2**30),
    "percent": st.floats(0, 2_000),
    "bar": st.just("#" * 20),
    "word": st.sampled_from(["error", "xcom-airflow3-duplicate-key"]),
}


@pytest.mark.parametrize("command", SHAPES)
@given(data=st.data())
@settings(max_examples=40)
def test_no_ids_and_no_sizes_break_a_row(command: str, data: st.DataObject) -> None:
    """From 60 columns up, whatever the names are, in every command."""
    columns, grouped = SHAPES[command]
    rows = [
        {one.name: data.draw(VALUES.get(one.kind, TEXTS) | st.none()) for one in columns}
        for _ in range(3)
    ]
    for row in rows:
        row["dag_id"] = "d" if grouped else row.get("dag_id")
    shape = layout(*columns, group_by="dag_id" if grouped else "")
    width = data.draw(st.integers(60, 200))
    lines = table(rows, shape, width=width)
    assert len(lines) == len(rows) + 1 + grouped
    assert all(cell_width(line) <= width for line in lines), lines
