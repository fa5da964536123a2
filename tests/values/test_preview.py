"""Previews show text instead of escapes, and mean the same."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xcomctl.text import UNSAFE
from xcomctl.values.preview import readable, without_cut_escape


@given(st.recursive(st.text(st.characters()) | st.integers(), lambda one: st.lists(one) | st.dictionaries(st.text(st.characters()), one)))  # fmt: skip
def test_readable_text_means_the_same(value: Any) -> None:
    """And contains no character that a terminal interprets."""
    text = readable(json.dumps(value))
    assert json.loads(text) == value
    assert not UNSAFE.search(text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ('"h\\u00e9llo \\u2603 \\ud83d\\udca5"', '"h\u00e9llo \u2603 \U0001f4a5"'),
        ('"\\\\u00e9"', '"\\\\u00e9"'),
        ('"\\u0041\\u001b\\u202e\\ud83d"', '"\\u0041\\u001b\\u202e\\ud83d"'),
        ('"a\\nb"', '"a\\nb"'),
    ],
)
def test_escapes_of_printable_characters_are_replaced(text: str, shown: str) -> None:
    """Other escapes, and escaped backslashes, stay."""
    assert readable(text) == shown


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("ab", "ab"),
        ("ab\\", "ab"),
        ("ab\\u00", "ab"),
        ("ab\\\\", "ab\\\\"),
        ("a\\u00e9", "a\\u00e9"),
    ],
)
def test_a_cut_escape_is_left_out(text: str, kept: str) -> None:
    """An escaped backslash does not start an escape."""
    assert without_cut_escape(text) == kept
