"""Shell patterns as a database takes them: as LIKE where that can say them, else as a regex."""

from __future__ import annotations

import re


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
