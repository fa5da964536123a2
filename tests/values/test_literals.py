"""Many literals searched for at once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xcomctl.audit import secrets
from xcomctl.values import literals
from xcomctl.values.literals import Literals

IN_USE = {"tokens": secrets._IN_TOKENS}


@given(st.lists(st.sampled_from([b"abc", b"dd_", b"a", b"d", b"x", b"\xff"]), max_size=20))
def test_both_ways_find_the_same(pieces: list[bytes]) -> None:
    """In one pass with the extra, and one by one without."""
    some = Literals([b"abc", b"xx\xff", b"d_"])
    text = b"".join(pieces)
    assert sorted(some.ends(text)) == sorted(some.ends_one_by_one(text))


def test_the_extra_is_not_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it the same is found."""
    monkeypatch.setitem(__import__("sys").modules, "ahocorasick_rs", None)
    assert literals._compiled([b"a"]) is None
    assert sorted(Literals([b"ab", b"cd"]).ends(b"cd ab ab")) == [2, 5, 8]


@pytest.mark.parametrize("name", IN_USE)
def test_no_two_occurrences_overlap(name: str) -> None:
    """No literal begins as another one ends, or contains another: only one of them would be found."""
    some = IN_USE[name].literals
    for one in some:
        for other in some:
            shared = range(1, min(len(one), len(other)))
            assert not any(one.endswith(other[:length]) for length in shared), (one, other)
            assert one is other or other not in one, (one, other)
