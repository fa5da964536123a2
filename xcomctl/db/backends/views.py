"""Whether a view shows every row of what it is made of, judged by its definition."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_TEXTS = re.compile(r"'(?:[^']|'')*'|--[^\n]*|/\*.*?\*/", re.DOTALL)
_QUOTED = re.compile(r'"(?:[^"]|"")*"|`(?:[^`]|``)*`|\[[^\]]*\]')
_NARROWING = re.compile(
    r"\b(where|join|limit|offset|fetch|distinct|group\s+by|having|union|intersect|except|with"
    r"|tablesample)\b",
    re.IGNORECASE,
)
_SOURCE = re.compile(r"\bfrom\s+([^;]*)", re.IGNORECASE)


def hides_rows(definition: str) -> bool:
    """Return whether a view may show fewer rows than the table or view that it selects from.

    True also for what is not understood, such as a query within the query.
    """
    words = _QUOTED.sub("x", _TEXTS.sub(" ", definition))
    if _NARROWING.search(words):
        return True
    source = _SOURCE.search(words)
    return source is None or any(char in source[1] for char in ",(")


def selected_from(definition: str) -> str | None:
    """Return the name of the one table or view that such a view selects from, without its schema."""
    found = re.search(
        r"""\bfrom\s+(?:(?:"[^"]+"|`[^`]+`|\[[^\]]+\]|[\w$]+)\s*\.\s*)?"""
        r"""("[^"]+"|`[^`]+`|\[[^\]]+\]|[\w$]+)""",
        _TEXTS.sub(" ", definition),
        re.IGNORECASE,
    )
    return found[1].strip('"`[]') if found else None


def why_rows_are_hidden(table: str, definition_of: Callable[[str], str | None]) -> str | None:
    """Return why a table may show only some rows, None if it is no view or one that shows all.

    `definition_of` returns the SQL of a view, empty if it may not be read, None for a table.
    """
    definition = definition_of(table)
    for _ in range(_MOST_VIEWS):
        if definition is None:
            return None
        if hides_rows(definition):
            break
        definition = definition_of(selected_from(definition) or "")
    return f'"{table}" is a view that can hide rows'


_MOST_VIEWS = 10
