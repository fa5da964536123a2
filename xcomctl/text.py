"""Text that is safe to show, and suggestions for mistyped words."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

UNSAFE: Final = re.compile(
    "["
    "\x00-\x1f\x7f-\x9f"  # C0, DEL and C1: escape sequences begin here
    "\u00ad\u061c\u180e"
    "\u200b-\u200f\u2028-\u202e\u2060-\u206f"  # zero width, line ends, direction
    "\ufeff\ufff9-\ufffb\ufffe\uffff"
    "\ud800-\udfff"  # lone surrogates, which no encoding can write
    "\U000e0000-\U000e0fff"  # tags
    "]"
)
"""Every character that could move the cursor, change direction, hide, or fail to be encoded."""

_SHORT = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}


def visible(text: str) -> str:
    """Return the text with every unsafe character escaped: `\\x1b`, `\\u202e`."""
    if text.isascii() and text.isprintable():
        return text
    return UNSAFE.sub(_escaped, text)


def _escaped(match: re.Match[str]) -> str:
    char = match[0]
    code = ord(char)
    if char in _SHORT:
        return _SHORT[char]
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def unescaped(text: str) -> str:
    """Return the text of which `visible` may have made this one."""

    def char(match: re.Match[str]) -> str:
        short = {value: key for key, value in _SHORT.items()}
        return short.get(match[0]) or chr(int(match[0][2:], 16))

    codes = r"\\(?:[nrt]|x[0-9a-f]{2}|u[0-9a-f]{4}|U000[0-9a-f]{5})"
    return re.sub(codes, char, text)


def json_escaped(match: re.Match[str]) -> str:
    """Return the matched character as JSON escapes it: `\\u001b`, a pair above U+FFFF."""
    code = ord(match[0])
    if code < 0x10000:
        return f"\\u{code:04x}"
    code -= 0x10000
    return f"\\u{0xD800 + (code >> 10):04x}\\u{0xDC00 + (code & 0x3FF):04x}"


def is_utf8(text: str) -> bool:
    """Return whether the text can be encoded: whether it has no lone surrogate."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


STYLES: Final = {
    "error": "1;31",
    "warning": "1;35",
    "note": "1",
    "failed": "1;31",
    "passed": "1;32",
    "heading": "1",
}
"""SGR codes: the colours of GCC but for its cyan, which cannot be read on a light background.

https://gcc.gnu.org/onlinedocs/gcc/Diagnostic-Message-Formatting-Options.html
"""


def styled(text: str, style: str) -> str:
    """Return the text in a colour of `STYLES`, unchanged for a style that is not there."""
    code = STYLES.get(style)
    return f"\x1b[{code}m{text}\x1b[0m" if code else text


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Return the known word closest to a mistyped one, None where none is close.

    One that was not typed to its end comes before others: the shortest that begins so.
    """
    import difflib

    words = list(known)
    longer = [one for one in words if one.startswith(word)] if len(word) > 1 else []
    if longer:
        return min(longer, key=len)
    matches = difflib.get_close_matches(word, words, n=1, cutoff=0.5)
    return matches[0] if matches else None


def canonical(word: str, names: Mapping[str, Iterable[str]]) -> str | None:
    """Return the name that a word means: one of the names, or of the other names that each has.

    Case does not matter, and `of limit`, `of-limit` and `of_limit` are the same.
    """
    if word in names:
        return word
    plain = _plain(word)
    return next(
        (name for name, others in names.items() if plain in map(_plain, (name, *others))), None
    )


def _plain(word: str) -> str:
    return re.sub(r"[^0-9a-z]+", "_", word.strip().lower())


def suggestion(word: str, known: Collection[str]) -> str:
    """Return a hint for a word that is not among the known ones: the closest, or all of them."""
    near = nearest(word, known)
    return f'Did you mean "{near}"?' if near else f"Valid values: {', '.join(known)}."
