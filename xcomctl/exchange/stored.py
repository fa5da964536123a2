"""How a stored value appears in an exported file: as JSON text, or as base64 of its bytes.

Nothing is decoded, so nothing is lost.
"""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

from xcomctl.values import strictjson
from xcomctl.values.sniff import sniff, to_bytes

if TYPE_CHECKING:
    from xcomctl.model import Raw, Storage

_HEAD_BYTES = 64
"""First bytes of a value from which its encoding is determined."""


def encoding_of(raw: bytes | float | None, storage: Storage) -> str:
    """Return the encoding of a whole value, as the name that files use."""
    if not isinstance(raw, bytes):
        return sniff(raw, None, storage).value
    return sniff(raw[:_HEAD_BYTES], len(raw), storage).value


def encode_value(raw: Raw) -> tuple[bytes | None, str | None]:
    """Return the value as one line of strict JSON, or else as base64; both None for SQL NULL."""
    if raw is None:
        return None, None
    if isinstance(raw, int | float):
        try:
            return json.dumps(raw, allow_nan=False).encode(), None
        except ValueError:
            # An infinity in SQLite, which JSON cannot express.
            return None, base64.b64encode(repr(raw).encode()).decode()
    data = to_bytes(raw)
    if is_strict_line(data):
        return data, None
    return None, base64.b64encode(data).decode()


def is_strict_line(data: bytes) -> bool:
    """Return whether the bytes are strict JSON on one line."""
    return b"\n" not in data and b"\r" not in data and strictjson.is_strict(data)


def stored_as(raw: Raw, storage: Storage) -> str | None:
    """Return SQLite's storage class if it is not the one that Airflow writes, else None."""
    if isinstance(raw, int | float):
        return "real" if isinstance(raw, float) else "integer"
    if isinstance(raw, str) and storage == "bytes":
        return "text"
    return "blob" if isinstance(raw, bytes) and storage == "json" else None
