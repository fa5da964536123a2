"""Values of `push` from stdin and files."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from xcomctl.cli import given_text
from xcomctl.errors import RefusedError


def test_a_value_from_a_device_without_end_is_refused() -> None:
    """It is read no further than the largest value of any backend."""
    with Path("/dev/zero").open("rb") as endless, pytest.raises(RefusedError, match="too large"):
        given_text.read_bounded(endless, 3_000_000)
    assert given_text.read_bounded(io.BytesIO(b"x" * 3_000_000), 3_000_000) == b"x" * 3_000_000
