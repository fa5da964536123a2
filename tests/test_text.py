"""Suggestions for words that were mistyped, or not typed to their end."""

from __future__ import annotations

import pytest

from xcomctl.text import nearest


@pytest.mark.parametrize(
    ("word", "known", "near"),
    [
        ("xcom-o", ["xcom-grew", "xcom-over-limit", "xcom-over-limit-of-all"], "xcom-over-limit"),
        ("sze", ["timestamp", "size"], "size"),
        ("scheduled", ["manual__1", "scheduled__2026"], "scheduled__2026"),
        ("q", ["size", "run"], None),
        ("", ["a", "b"], None),
    ],
)
def test_a_beginning_comes_before_a_likeness(word: str, known: list[str], near: str | None) -> None:
    """The shortest word that begins so, else the closest, else none."""
    assert nearest(word, known) == near
