"""Text in terminal columns: shortened, padded and wrapped, whatever the characters' width."""

from __future__ import annotations

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xcomctl.formats.width import (
    cell_width,
    pad,
    shorten_column,
    shorten_end,
    shorten_middle,
    shorten_runs,
    shorten_start,
    wrap,
    wrap_command,
)

SCHEDULED = "scheduled__2026-03-31T00:00:00+00:00"


@pytest.mark.parametrize(
    ("text", "width"), [("abc", 3), ("日本語", 6), ("e\u0301te\u0301", 3), ("a…b", 3), ("", 0)]
)
def test_width_counts_columns_not_characters(text: str, width: int) -> None:
    """CJK takes two columns, a combining accent none."""
    assert cell_width(text) == width
    assert cell_width(pad(text, 8)) == 8


@pytest.mark.parametrize(
    ("text", "width", "short"),
    [
        ("processing_tasks.training_model_a", 15, "process…model_a"),
        ("abcdef", 6, "abcdef"),
        ("abcdef", 5, "ab…ef"),
        ("abcdef", 3, "a…f"),
        ("abcdef", 1, "…"),
        ("abcdef", 0, ""),
        ("日本語日本語", 7, "日…本語"),
        ("xxxe\u0301e\u0301xxx", 7, "xxx…xxx"),
        ("xxe\u0301e\u0301xxx", 6, "xxe\u0301…xx"),
    ],
)
def test_ids_keep_both_ends(text: str, width: int, short: str) -> None:
    """No wide character is split, no accent loses its letter."""
    assert shorten_middle(text, width) == short


@given(st.text(alphabet="ab日e\u0301…💥 ", max_size=40), st.integers(min_value=0, max_value=40))
def test_a_shortened_text_never_exceeds_its_width(text: str, width: int) -> None:
    """Whatever the characters, and however narrow."""
    for shorten in (shorten_middle, shorten_end, shorten_start):
        short = shorten(text, width)
        assert cell_width(short) <= width
        assert short == text or cell_width(text) > width


@given(
    st.lists(st.text(alphabet="ab_日", max_size=30), max_size=5),
    st.integers(min_value=1, max_value=30),
)
def test_a_shortened_column_never_exceeds_its_width(texts: list[str], width: int) -> None:
    """In the same order, as many as before."""
    short = shorten_column(texts, width)
    assert len(short) == len(texts)
    assert all(cell_width(text) <= width for text in short)


def test_the_cut_moves_where_the_middle_would_make_ids_equal() -> None:
    """Ids that differ in their last letters only stay apart, as do those that begin apart."""
    ends = ["extract_customer_orders", "extract_customer_papers"]
    begins = ["a_customer_orders_to_s3", "b_customer_orders_to_s3"]
    middles = ["load_customer_nl_daily", "load_customer_us_daily"]
    for texts in (ends, begins, middles):
        assert len(set(shorten_column(texts, 12))) == 2, texts


@pytest.mark.parametrize(
    ("width", "short"),
    [
        (36, SCHEDULED),
        (30, "scheduled__2026-03-31T00:00…"),
        (22, "scheduled__2026-03-31…"),
        (17, "sched…2026-03-31…"),
        (12, "…2026-03-31…"),
        (7, "…03-31…"),
    ],
)
def test_a_run_keeps_its_date(width: int, short: str) -> None:
    """The middle of a scheduled run's id is what tells it from the others."""
    others = [SCHEDULED.replace("03-31", f"03-{day}") for day in (10, 11, 12)]
    assert shorten_runs([SCHEDULED, *others], width)[0] == short


def test_runs_of_one_day_keep_their_minutes() -> None:
    """Or their seconds, if need be."""
    hourly = [f"scheduled__2026-03-31T{hour:02}:00:00+00:00" for hour in range(24)]
    assert shorten_runs(hourly, 20)[5] == "sc…2026-03-31T05:00…"
    manual = [f"manual__2026-03-31T05:00:{second}.123456+00:00" for second in (10, 11)]
    assert shorten_runs(manual, 28)[0] == "manual__2026-03-31T05:00:10…"


def test_runs_without_a_date_are_ids() -> None:
    """Airflow takes any text as a run id."""
    assert shorten_runs(["backfill-of-the-customer-orders"], 12) == ["backfi…rders"]


def test_wrapping_breaks_at_spaces_only() -> None:
    """A long word gets a line of its own, and is whole."""
    assert wrap("one two three", 8) == ["one two", "three"]
    assert wrap("one scheduled__2026-03-31 two", 8, indent="  ") == [
        "one",
        "  scheduled__2026-03-31",
        "  two",
    ]
    assert wrap("日本 日本", 6) == ["日本", "日本"]
    assert wrap("", 5) == [""]


def test_a_command_is_continued_with_a_backslash() -> None:
    """An option stays with its value, and a short command stays as it is."""
    line = "xcomctl list --url /tmp/demo.db --sort -size -n 5"
    assert wrap_command(line, 80, prompt="$ ") == [f"$ {line}"]
    assert wrap_command(line, 34, prompt="$ ") == [
        "$ xcomctl list \\",
        "      --url /tmp/demo.db --sort \\",
        "      -size -n 5",
    ]


@given(
    st.lists(st.text(st.characters(codec="utf-8", exclude_categories=["Cc"])), min_size=1),
    st.integers(1, 120),
)
def test_a_shell_reads_a_wrapped_command_as_it_was(words: list[str], width: int) -> None:
    """Whatever is in its words; only a word that is wider than the terminal exceeds it."""
    line = shlex.join(words)
    lines = wrap_command(line, width)
    joined = "".join(part.removesuffix("\\") for part in lines)
    assert shlex.split(joined) == words
    assert all(
        cell_width(one) <= width or len(shlex.split(one.strip(" \\") or "''")) <= 2 for one in lines
    )


def test_a_command_in_quotes_stays_in_one_piece() -> None:
    """It is there to be copied."""
    text = 'Give --url, set XCOMCTL_URL or AIRFLOW_HOME, or try "xcomctl demo".'
    assert wrap(text, 60) == [
        "Give --url, set XCOMCTL_URL or AIRFLOW_HOME, or try",
        '"xcomctl demo".',
    ]
