"""Shell patterns as a database takes them: as LIKE where that can say them, else as a regex."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def glob_to_regex(glob: str, *, escape: str = "\\") -> str:
    """Return the body of a regular expression that matches as the shell glob does.

    Only syntax that PostgreSQL, ICU and PCRE read alike; the caller anchors it.
    """
    out: list[str] = []
    position = 0
    while position < len(glob):
        char = glob[position]
        position += 1
        if char == "*":
            out.append(".*")
        elif char == "?":
            out.append(".")
        elif char == "[" and (end := _class_end(glob, position)) is not None:
            body = glob[position:end]
            negated = body.startswith("!")
            inner = re.sub(r"([\\\[\]^&~|])", r"\\\1", body[1:] if negated else body)
            out.append(f"[{'^' if negated else ''}{inner}]")
            position = end + 1
        elif char.isalnum() or char == "_" or ord(char) > 127:
            out.append(char)
        else:
            out.append(escape + char)
    return "".join(out)


def _class_end(glob: str, start: int) -> int | None:
    """Return where the `]` of a bracket expression is, None where the `[` is just a bracket."""
    first = start + 1 if glob[start : start + 1] == "!" else start
    end = glob.find("]", first + 1)
    return None if end < 0 else end


def glob_to_like(glob: str) -> str | None:
    """Return the LIKE pattern (escape `\\`) of a glob, None where it holds a `[...]`."""
    if "[" in glob:
        return None
    escaped = re.sub(r"([\\%_])", r"\\\1", glob)
    return escaped.replace("*", "%").replace("?", "_")


def glob_within(glob: str, holds: Callable[[str], bool]) -> str | None:
    """Return a glob of characters that `holds`, which matches the same texts of such characters.

    None where no such text can match.
    """
    if holds(glob):
        return glob
    out: list[str] = []
    position = 0
    while position < len(glob):
        char = glob[position]
        position += 1
        if char == "[" and (end := _class_end(glob, position)) is not None:
            body = glob[position:end]
            kept = "".join(one for one in body if holds(one))
            if kept in ("", "!"):
                # Nothing is left to match, or to exclude.
                if not kept:
                    return None
                out.append("?")
            else:
                out.append(f"[{kept}]")
            position = end + 1
        elif holds(char):
            out.append(char)
        else:
            return None
    return "".join(out)
