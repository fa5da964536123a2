"""Where two JSON values differ: the paths are those that `pull --path` takes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xcomctl.cli.value_path import parse_path
from xcomctl.values.structure import MAX_PATHS, compare, compare_values

CASES = [
    ("1", "2", ["$"]),
    ("1", '"1"', ["$"]),
    ("true", "1", ["$"]),
    ("1", "1.0", None),
    ("[1, 2]", "[1, 2]", None),
    ('{"a": 1, "b": 2}', '{"b": 2, "a": 1}', None),
    ('{"a": 1}', '{ "a" : 1 }', None),
    ('{"a": 1}', '{"a": 2, "b": 3}', ["a", "b"]),
    ('{"a": {"b": [1, 2]}}', '{"a": {"b": [1, 3]}}', ["a.b[1]"]),
    ("[1, 2, 3]", "[2, 3]", ["[0]"]),
    ("[2, 3]", "[1, 2, 3]", ["[0]"]),
    ("[1, 2]", "[1, 2, 3, 4]", ["[2]", "[3]"]),
    ("[[1], [2]]", "[[1], [true]]", ["[1][0]"]),
    ('{"a b": 1, "c.d": 1, "$": 1, "": 1}', "{}", ["a b", '["c.d"]', '["$"]', '[""]']),
    ("null", "{}", ["$"]),
    ("[NaN]", "[NaN]", None),
    ("[NaN]", "[0]", ["[0]"]),
]


@pytest.mark.parametrize(("old", "new", "paths"), CASES)
def test_paths(old: str, new: str, paths: list[str] | None) -> None:
    """The innermost parts that differ; None where both say the same."""
    found = compare(old.encode(), new.encode())
    assert (None if found is None else list(found.paths)) == paths


def test_types_are_named() -> None:
    """Where a part has another type."""
    found = compare(b'{"a": 1, "b": [1], "c": null}', b'{"a": "1", "b": {"x": 1}, "c": null}')
    assert found is not None
    assert found.types == ("a: number -> string", "b: array -> object")


def test_many_paths_are_counted() -> None:
    """The first are named."""
    found = compare_values(list(range(1000)), list(range(5, 1005)))
    assert found is not None
    assert len(found.paths) == MAX_PATHS
    assert found.total == 1000


@pytest.mark.parametrize("depth", [900, 100_000])
def test_deep_values_are_compared_or_differ_as_a_whole(depth: int) -> None:
    """And never fail."""
    old, new = b"[" * depth + b"1" + b"]" * depth, b"[" * depth + b"2" + b"]" * depth
    found = compare(old, new)
    assert found is not None
    assert found.paths in (("[0]" * depth,), ("$",))


def test_what_is_not_json_is_an_error() -> None:
    """The caller then knows only that both differ."""
    with pytest.raises(ValueError, match="Expecting"):
        compare(b"{", b"1")


scalars = st.none() | st.booleans() | st.integers(-3, 3) | st.text('a.[]"$ ', max_size=3)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text('a.[]"$ ', max_size=2), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(values, values)
def test_every_path_leads_to_a_part(old: object, new: object) -> None:
    """That exists on one side at least; and no path is named exactly where both are equal."""
    found = compare_values(old, new)
    if found is None:
        assert json.dumps(old, sort_keys=True) == json.dumps(new, sort_keys=True)
        return
    assert found.paths
    for path in found.paths:
        parts = [part_of(value, parse_path(path)) for value in (old, new)]
        assert any(part is not MISSING for part in parts)


MISSING = object()


def part_of(value: Any, steps: list[str | int]) -> object:
    for step in steps:
        try:
            value = value[step]
        except (KeyError, IndexError, TypeError):
            return MISSING
    return value
