"""Previews of stored values: the first characters of their text, readable."""

from __future__ import annotations

import re

from xcomctl.text import UNSAFE

_ESCAPE = re.compile(
    r"\\\\|\\u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})|\\u([0-9a-fA-F]{4})"
)
_CUT_ESCAPE = re.compile(r"(?<!\\)(?:\\\\)*(\\(?:u[0-9a-fA-F]{0,3})?)\Z")


def readable(text: str) -> str:
    """Return JSON text with characters beyond ASCII instead of their `\\uXXXX` escapes.

    It means the same: characters that a terminal interprets, and lone surrogates, stay escaped.
    """
    return _ESCAPE.sub(_character, text) if "\\u" in text else text


def without_cut_escape(text: str) -> str:
    """Return the beginning of a JSON text without an escape that is cut at its end."""
    match = _CUT_ESCAPE.search(text)
    return text[: match.start(1)] if match else text


def _character(match: re.Match[str]) -> str:
    high, low, single = match.groups()
    if high is not None:
        char = chr(0x10000 + ((int(high, 16) - 0xD800) << 10) + int(low, 16) - 0xDC00)
    elif single is not None:
        char = chr(int(single, 16))
    else:
        return match[0]
    return match[0] if char.isascii() or UNSAFE.match(char) else char
