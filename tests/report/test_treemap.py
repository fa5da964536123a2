"""A treemap's rectangles: their areas are the sizes, and they fill the box without overlapping."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xcomctl.report.treemap import Box, squarify

sizes = st.lists(st.integers(0, 10**12), min_size=1, max_size=60).map(
    lambda some: sorted(some, reverse=True)
)


@given(sizes, st.floats(10, 2000), st.floats(10, 2000))
def test_areas_are_in_proportion_and_fill_the_box(
    some: list[int], width: float, height: float
) -> None:
    """Each rectangle has its share of the area, and lies inside."""
    found = squarify(some, Box(0, 0, width, height))
    assert len(found) == len(some)
    total = sum(some)
    for size, box in zip(some, found, strict=True):
        share = size / total if total else 0
        assert box.width * box.height == pytest.approx(share * width * height, abs=1e-3)
        assert box.x >= -1e-6
        assert box.y >= -1e-6
        assert box.x + box.width <= width + 1e-3
        assert box.y + box.height <= height + 1e-3


@given(sizes)
def test_no_two_rectangles_overlap(some: list[int]) -> None:
    """Whatever their sizes are."""
    found = [box for box in squarify(some, Box(0, 0, 1200, 520)) if box.width * box.height > 1]
    for at, one in enumerate(found):
        for other in found[at + 1 :]:
            wide = min(one.x + one.width, other.x + other.width) - max(one.x, other.x)
            high = min(one.y + one.height, other.y + other.height) - max(one.y, other.y)
            assert wide <= 1e-3 or high <= 1e-3


def test_equal_sizes_are_squares() -> None:
    """Not stripes."""
    for box in squarify([1.0] * 16, Box(0, 0, 400, 400)):
        assert (box.width, box.height) == pytest.approx((100, 100))
