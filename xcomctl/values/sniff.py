"""The encoding of a stored value, determined from its first bytes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from xcomctl.model import Encoding

if TYPE_CHECKING:
    from xcomctl.model import Raw, Storage

JSON_START = re.compile(rb'[ \t\r\n]*(?:[{\["]|-?\d|true|false|null|NaN|-?Infinity)')
"""The beginning of JSON text, including Python's NaN and Infinity."""
_JSON_PREFIX = (b"t", b"f", b"n", b"N", b"I", b"-")


def sniff(head: Raw, size: int | None, storage: Storage) -> Encoding:
    """Return the encoding of a value with these first bytes.

    `size` is the size of the value in bytes. If `head` is the whole value, pickles of protocol 0
    and 1 are recognised too.
    """
    if head is None:
        return Encoding.NULL
    if isinstance(head, int | float):
        return Encoding.JSON
    data = to_bytes(head)
    if not data:
        return Encoding.EMPTY
    if data[0] == 0x80:
        known = len(data) > 1 and 2 <= data[1] <= 5
        return Encoding.PICKLE if known else Encoding.UNKNOWN
    if JSON_START.match(data) or data.strip() in _JSON_PREFIX:
        return Encoding.JSON
    whole = size is not None and len(data) >= size
    if whole and storage == "bytes" and is_old_pickle(data):
        return Encoding.PICKLE
    return Encoding.UNKNOWN


def to_bytes(stored: bytes | str) -> bytes:
    """Return the bytes of a stored text, even if it was not valid UTF-8."""
    if isinstance(stored, bytes):
        return stored
    try:
        return stored.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return stored.encode("utf-8", "surrogatepass")


def is_old_pickle(data: bytes) -> bool:
    """Return whether these bytes, which are not JSON, are a pickle of protocol 0 or 1."""
    if len(data) < 2 or not data.endswith(b"."):
        return False
    from xcomctl.values.pickles import may_be_whole

    return may_be_whole(data)
