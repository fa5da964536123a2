"""Sizes and times, in and out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xcomctl.errors import UsageError
from xcomctl.model import Size, format_percent, parse_size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("65535", 65_535),
        ("1 B", 1),
        ("48KiB", 49_152),
        ("48 KiB", 49_152),
        ("1kB", 1_000),
        ("1.5 MB", 1_500_000),
        ("2 gib", 2 * 2**30),
        ("64KB", 64_000),
        ("1_000_000", 1_000_000),
        ("0", 0),
    ],
)
def test_size_is_read(text: str, size: int) -> None:
    """Powers of ten for kB, MB, GB; of two for KiB, MiB, GiB."""
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["48K", "1M", "2g", "", "x", "-1", "1 KiBB", "1.2.3MB"])
def test_ambiguous_or_broken_size_is_refused(text: str) -> None:
    """A bare K, M or G means different things to different tools."""
    with pytest.raises(UsageError, match="cannot read the size"):
        parse_size(text)


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (49_152, "48.0 KiB"), (2**40, "1.0 TiB")],
)
def test_size_for_people(size: int, text: str) -> None:
    """Powers of two with one decimal."""
    assert str(Size(size)) == text


@pytest.mark.parametrize(
    ("percent", "text"),
    [
        (0, "0.0%"),
        (0.04, "<0.1%"),
        (99.77, "99.8%"),
        (99.96, "99.96%"),
        (99.999, "<100%"),
        (100.0, "100.0%"),
        (100.0015, ">100%"),
        (100.01, "100.01%"),
        (145.03, "145.0%"),
    ],
)
def test_percentages_are_rounded_but_never_to_the_limit(percent: float, text: str) -> None:
    """`100.0%` means exactly that."""
    assert format_percent(percent) == text


@given(st.integers(min_value=0, max_value=2**50))
def test_bytes_are_read_back(number: int) -> None:
    """A plain number of bytes means itself."""
    assert parse_size(str(number)) == number
