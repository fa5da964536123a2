"""Streaming check of long JSON texts: can they be printed as they are, without decoding them?

A text is *plain* if decoding it with `decode` would give the same JSON again, without notes. Both
the check and the output work on pieces, so that a value of any size takes constant memory.
"""

from __future__ import annotations

import math
import re
from codecs import getincrementaldecoder
from typing import TYPE_CHECKING

from xcomctl.text import UNSAFE, json_escaped

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_CHUNK = 1 << 18
"""Bytes checked at once: all the memory that is used, besides the caller's piece."""
_MAX_DEPTH = 500
"""Levels of nesting; deeper texts are left to `decode`, which reads far more."""
_MAX_NUMBER = 1000
"""Characters of a number; longer ones are left to `decode`."""
_HEAD = 512
"""Bytes that suffice to recognise a top-level string that may be JSON itself."""

_SPACE = rb"[ \t\n\r]*+"
_STRING = rb'"(?:[^"\\\x00-\x1f]++|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*+"'
# At most 1e299: longer numbers are checked one by one.
_TAME = rb"-?+(?:0|[1-9][0-9]{0,199}+)(?:\.[0-9]{1,500}+)?+(?:[eE][-+]?+[0-9]{1,2}+)?+"


def _value(levels: int) -> bytes:
    """Return the pattern of a value with at most `levels` levels of nesting."""
    scalar = _STRING + rb"|" + _TAME + rb"|true|false|null"
    if not levels:
        return rb"(?:" + scalar + rb")"
    inner = _value(levels - 1)
    more = rb"%b(?:,%b(?!%b)|(?=%b))"
    items = inner + more % (_SPACE, _SPACE, rb"\]", rb"\]")
    pairs = _STRING + _SPACE + rb":" + _SPACE + inner + more % (_SPACE, _SPACE, rb"\}", rb"\}")
    return rb"(?:%b|\[%b(?:%b)*+\]|\{%b(?:%b)*+\})" % (scalar, _SPACE, items, _SPACE, pairs)


_LEVELS = 3
# Many small values take longest, so runs of them are matched at once. All repeats are possessive:
# there is no backtracking, and a match takes time linear in its length.
_ITEMS = re.compile(rb"(?:%b%b,%b)*+" % (_value(_LEVELS), _SPACE, _SPACE))
_PAIRS = re.compile(
    rb"(?:%b%b:%b%b%b,%b)*+" % (_STRING, _SPACE, _SPACE, _value(_LEVELS), _SPACE, _SPACE)
)
_SPACES = re.compile(_SPACE)
_BODY = re.compile(_STRING[1:-1])
_WORD = re.compile(rb"[-+.0-9A-Za-z]*+")
_NUMBER = re.compile(rb"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?")
_LITERALS = (b"true", b"false", b"null")

_ENVELOPES = (b'"__classname__"', b'"__type"')
_ESCAPED_NAME = re.compile(rb"\\u00(?:5[fF]|6[1-9a-fA-F]|7[0-9aA])")
"""An escaped letter or underscore: the key may be that of an envelope."""
_OVERLAP = max(map(len, _ENVELOPES))
_MAY_HOLD_JSON = re.compile(
    rb"[ \t\n\r]{256}"
    rb'|[ \t\n\r]*"(?: |\\[nrt])*(?:[{\[0-9-]|\\["u]|true|false|null|NaN|Infinity|"?\Z)'
)
"""A top-level string that may be JSON text itself, on which `decode` has a note."""
_SHOWN_ESCAPED = re.compile(UNSAFE.pattern + "(?<![\t\n\r])")
"""Characters that must not reach a terminal. Line ends and tabs only occur between tokens."""

_QUOTE, _BACKSLASH, _COMMA, _COLON = b'"\\,:'
_LIST, _LIST_END, _OBJECT, _OBJECT_END = b"[]{}"

_VALUE, _FIRST_VALUE, _KEY, _FIRST_KEY, _AFTER_KEY, _AFTER_VALUE = range(6)


def is_plain(pieces: Iterable[bytes]) -> bool:
    """Return whether the pieces together are plain JSON text. Stops reading as soon as they are not.

    Plain means: strict JSON (RFC 8259, UTF-8, no NaN), no number out of range for a float, no
    unusual depth, no envelope of Airflow, and not a single string that may be JSON itself. A
    text that is not plain may still be valid. Duplicate keys are not detected.
    """
    checker = Checker()
    return all(checker.feed(piece) for piece in pieces) and checker.end()


def shown(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Yield plain JSON text with the characters escaped that a terminal interprets."""
    decoder = getincrementaldecoder("utf-8")()
    for piece in pieces:
        for start in range(0, len(piece), _CHUNK):
            chunk = piece[start : start + _CHUNK]
            if chunk.isascii() and b"\x7f" not in chunk and not decoder.getstate()[0]:
                yield chunk
            else:
                text = decoder.decode(chunk)
                yield _SHOWN_ESCAPED.sub(json_escaped, text).encode("utf-8")


class Checker:
    """Checks a text fed in pieces, split anywhere."""

    def __init__(self) -> None:
        self._plain = True
        self._head: bytes | None = b""
        self._rest = b""
        """The start of a token that continues in the next piece."""
        self._seen = b""
        self._decoder = getincrementaldecoder("utf-8")()
        self._open = bytearray()
        """The open brackets around the current position."""
        self._expected = _VALUE
        self._in_string = False

    def feed(self, piece: bytes) -> bool:
        """Check the next piece; return False as soon as the text is known not to be plain."""
        if self._head is not None:
            self._head += piece
            if len(self._head) < _HEAD:
                return True
            piece = self._begin()
        for start in range(0, len(piece), _CHUNK):
            if self._plain:
                self._plain = self._take(piece[start : start + _CHUNK])
        return self._plain

    def end(self) -> bool:
        """Return whether the whole text is plain, after the last piece."""
        if self._head is not None:
            piece = self._begin()
            self._plain = self._plain and self._take(piece)
        # Only the next character ends a number.
        return (
            self._plain
            and self._take(b" ")
            and not self._in_string
            and not self._open
            and self._expected == _AFTER_VALUE
        )

    def _begin(self) -> bytes:
        head, self._head = self._head or b"", None
        self._plain = not _MAY_HOLD_JSON.match(head)
        return head

    def _take(self, chunk: bytes) -> bool:
        return self._is_utf8(chunk) and not self._has_envelope(chunk) and self._follows(chunk)

    def _is_utf8(self, chunk: bytes) -> bool:
        if chunk.isascii() and not self._decoder.getstate()[0]:
            return True
        try:
            self._decoder.decode(chunk)
        except UnicodeDecodeError:
            return False
        return True

    def _has_envelope(self, chunk: bytes) -> bool:
        seen = self._seen + chunk
        self._seen = seen[-_OVERLAP:]
        if any(name in seen for name in _ENVELOPES):
            return True
        return b"\\u00" in seen and _ESCAPED_NAME.search(seen) is not None

    def _follows(self, chunk: bytes) -> bool:
        """Consume the chunk; return whether the grammar allows it here."""
        data = self._rest + chunk
        self._rest = b""
        at, end = 0, len(data)
        while True:
            if self._in_string:
                at = _end(_BODY, data, at)
                if at == end:
                    return True
                if data[at] == _QUOTE:
                    self._in_string = False
                    at += 1
                elif data[at] == _BACKSLASH and end - at < len(r"\uffff"):
                    self._rest = data[at:]
                    return True
                else:
                    return False
            at = self._skip(data, at)
            if at == end:
                return True
            sign = data[at]
            if sign in b'[]{},:"':
                if not self._punctuation(sign):
                    return False
                at += 1
                continue
            word = data[at : _end(_WORD, data, at)]
            if len(word) > _MAX_NUMBER:
                return False
            if at + len(word) == end:
                self._rest = word
                return True
            if self._expected > _FIRST_VALUE or not _is_scalar(word):
                return False
            self._expected = _AFTER_VALUE
            at += len(word)

    def _skip(self, data: bytes, at: int) -> int:
        """Return where the next token begins, after white space and runs of simple values."""
        at = _end(_SPACES, data, at)
        if not self._open or self._expected > _FIRST_KEY:
            return at
        if self._open[-1] == _LIST:
            run, following = _ITEMS, _VALUE
        elif self._expected in (_KEY, _FIRST_KEY):
            run, following = _PAIRS, _KEY
        else:
            return at
        behind = _end(run, data, at)
        if behind > at:
            self._expected = following
        return behind

    def _punctuation(self, sign: int) -> bool:
        """Consume a bracket, a comma, a colon or an opening quote; return whether it is allowed here."""
        expected, inside = self._expected, self._open[-1] if self._open else None
        if sign == _QUOTE:
            if expected > _FIRST_KEY:
                return False
            self._expected = _AFTER_VALUE if expected <= _FIRST_VALUE else _AFTER_KEY
            self._in_string = True
        elif sign in b"[{":
            if expected > _FIRST_VALUE or len(self._open) == _MAX_DEPTH:
                return False
            self._open.append(sign)
            self._expected = _FIRST_VALUE if sign == _LIST else _FIRST_KEY
        elif sign == _COLON:
            if expected != _AFTER_KEY:
                return False
            self._expected = _VALUE
        elif sign == _COMMA:
            if expected != _AFTER_VALUE or inside is None:
                return False
            self._expected = _VALUE if inside == _LIST else _KEY
        else:
            first = _FIRST_VALUE if sign == _LIST_END else _FIRST_KEY
            # The code of a closing bracket is that of the opening one plus 2.
            if expected not in (_AFTER_VALUE, first) or inside != sign - 2:
                return False
            self._open.pop()
            self._expected = _AFTER_VALUE
        return True


def _end(pattern: re.Pattern[bytes], data: bytes, at: int) -> int:
    """Return where a match of the pattern ends; it may be empty."""
    match = pattern.match(data, at)
    return match.end() if match else at


def _is_scalar(word: bytes) -> bool:
    if word in _LITERALS:
        return True
    if not _NUMBER.fullmatch(word):
        return False
    # Integers are unlimited.
    return word.lstrip(b"-").isdigit() or math.isfinite(float(word))
