"""One name each: what a header says is accepted wherever a column, a group or an order is named."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.metadata import Metadata
from xcomctl.cli import findings, limits, top
from xcomctl.cli import list as list_command
from xcomctl.text import canonical

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Run
    from xcomctl.formats import Column


@pytest.fixture
def db(tmp_path: Path) -> Path:
    path = tmp_path / "airflow.db"
    metadata = Metadata(str(path))
    metadata.add(b'"small"', task_id="b", run_id="r1")
    metadata.add(b'"the large one"', task_id="a", run_id="r2")
    return path


@pytest.mark.parametrize(
    "columns",
    [
        (*list_command._COLUMNS, *list_command._EXTRA),
        (*top._DIMENSION_COLUMNS.values(), *top._NUMBERS, *top._FORECAST),
        findings.FINDING_COLUMNS,
        limits._COLUMNS,
    ],
    ids=["list", "top", "findings", "limits"],
)
def test_no_two_columns_share_a_name(columns: tuple[Column, ...]) -> None:
    """Header, alias and JSON name of a column mean that column and no other."""
    known = {column.name: (column.title, *column.aliases) for column in columns}
    for column in columns:
        for name in (column.name, column.heading, column.heading.upper(), *column.aliases):
            assert canonical(name, known) == column.name


def test_columns_are_chosen_by_header_alias_or_json_name(run: Run, db: Path) -> None:
    """All of them give the machine's names to machines."""
    given = ("dag,task,run,map,size,of limit", "dag_id,task_id,run_id,map_index,size_bytes,percent")
    texts = {
        run("list", "--url", db, "--columns", names, "-o", "csv").out.splitlines()[0]
        for names in (*given, given[0].replace(" ", "-").upper())
    }
    assert texts == {"dag_id,task_id,run_id,map_index,size_bytes,percent"}


@pytest.mark.parametrize("name", ["value", "text", "text_bytes"])
def test_a_column_that_is_asked_for_needs_no_second_option(run: Run, db: Path, name: str) -> None:
    """`--columns value` shows the values, as `--value` does."""
    option = name.partition("_")[0]
    chosen = run("list", "--url", db, "--columns", f"task_id,{name}", "-o", "jsonl")
    assert chosen.code == 0, chosen.err
    assert chosen.out == run(
        "list", "--url", db, f"--{option}", "--columns", f"task_id,{name}", "-o", "jsonl"
    ).out  # fmt: skip
    assert "null" not in chosen.out


@pytest.mark.parametrize(
    ("command", "sort", "other"),
    [
        ("list", "-size", "-size_bytes"),
        ("list", "dag_id", "dag"),
        ("list", "-run", "-run_id"),
        ("top", "bytes", "total"),
        ("top", "max", "max_bytes"),
        ("top", "rows", "count"),
        ("top", "growth", "growth/day"),
    ],
)
def test_orders_have_the_columns_names(
    run: Run, db: Path, command: str, sort: str, other: str
) -> None:
    """Sorted by what the header says."""
    first, second = (
        run(command, "--url", db, "--sort", key, "-o", "jsonl") for key in (sort, other)
    )
    assert first.code == 0, first.err
    assert first.out == second.out


def test_groups_have_short_names(run: Run, db: Path) -> None:
    """`top --by dag` is `top --by dag_id`."""
    short = run("top", "--url", db, "--by", "dag,run", "-o", "json").json()
    assert short["by"] == ["dag_id", "run_id"]


def test_an_unknown_name_suggests_the_nearest(run: Run, db: Path) -> None:
    """In the words of the header."""
    done = run("list", "--url", db, "--columns", "siz")
    assert done.code == 2
    assert 'Did you mean "size"?' in done.err
