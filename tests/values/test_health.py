"""Why a text cannot be decoded, in words."""

from __future__ import annotations

import pytest

from xcomctl.values.health import check


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b'"open', "unterminated string starting at character 0"),
        (b"[1 2]", 'expecting "," delimiter at character 3'),
        (b"{'a': 1}", "expecting property name enclosed in double quotes at character 1"),
        (b"garbage!", "expecting value at character 0"),
        (b"", "it is empty"),
    ],
)
def test_what_is_wrong_is_said_in_a_few_words(text: bytes, reason: str) -> None:
    """Lowercase, with the place once."""
    assert check(text, "bytes").reason == reason
