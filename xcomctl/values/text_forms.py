"""How a stored value may write a text: as it is, or with JSON's escapes."""

from __future__ import annotations

import json
import re

_ESCAPE = re.compile(r"\\\\|\\u[0-9a-f]{4}")
_BEYOND_ASCII = re.compile(r"[^\x00-\x7f]+")


def text_forms(text: str, *, verbatim: bool = True) -> tuple[bytes, ...]:
    r"""Return byte strings. A stored value holds one of them if its reader sees the text.

    The text as it is may be a piece of the JSON, or what is inside one of its strings. Airflow
    stores what `json.dumps` writes, in which `é` is `\u00e9`; others leave it as it is. A
    backslash in front of `u00e9` that the JSON escapes is taken for such an `é`, too.

    Args:
        text: what is searched for. Lone surrogates represent bytes that are not UTF-8.
        verbatim: whether the column keeps JSON as it was written; PostgreSQL's jsonb and MySQL's
            JSON show every character beyond ASCII as itself.
    """
    forms = [text, json.dumps(text, ensure_ascii=False)[1:-1]]
    if verbatim:
        for form in (*forms,):
            lower = _BEYOND_ASCII.sub(lambda match: json.dumps(match[0])[1:-1], form)
            forms += [lower, _ESCAPE.sub(_with_capitals, lower)]
    return tuple(dict.fromkeys(form.encode("utf-8", "surrogateescape") for form in forms))


def _with_capitals(match: re.Match[str]) -> str:
    return match[0] if match[0] == r"\\" else rf"\u{match[0][2:].upper()}"
