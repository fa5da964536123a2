"""The health of a stored value: valid, broken, pickled, NULL or double-encoded."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from xcomctl.model import Encoding
from xcomctl.values.sniff import is_old_pickle, sniff
from xcomctl.values.strictjson import is_strict

if TYPE_CHECKING:
    from xcomctl.model import Raw, Storage

_CONTAINER_START = re.compile(r'[ \t\r\n]*[{\["]')
_STRING_START = re.compile(rb'[ \t\r\n]*"')


class Health(Enum):
    """Whether a stored value can be decoded, and how it is stored."""

    VALID = "valid"
    DOUBLE = "double"
    """A JSON string whose text is JSON itself."""
    PICKLED = "pickled"
    NULL = "null"
    BROKEN = "broken"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The health of a value, with the reason if it is broken."""

    health: Health
    reason: str = ""


_VALID = Verdict(Health.VALID)


def check(raw: Raw, storage: Storage) -> Verdict:
    """Return the health of a whole value, without building the value if that can be avoided."""
    if raw is None:
        return Verdict(Health.NULL)
    if isinstance(raw, int | float):
        return _VALID
    if isinstance(raw, bytes) and raw[:1] == b"\x80":
        if sniff(raw, len(raw), storage) is Encoding.PICKLE:
            return Verdict(Health.PICKLED)
        return Verdict(Health.BROKEN, "it starts like a pickle but is not one")
    if isinstance(raw, bytes) and not _STRING_START.match(raw) and is_strict(raw):
        return _VALID
    try:
        text = text_of(raw, storage)
        # Numbers are not needed, and converting long ones is slow or refused.
        value = json.loads(text, parse_int=len, parse_float=len, parse_constant=len)
    except RecursionError:
        return _VALID
    except ValueError as error:
        if storage == "bytes" and isinstance(raw, bytes) and raw and is_old_pickle(raw):
            return Verdict(Health.PICKLED)
        return Verdict(Health.BROKEN, describe_error(error))
    if isinstance(value, str) and holds_json(value):
        return Verdict(Health.DOUBLE)
    return _VALID


def holds_json(text: str) -> bool:
    """Return whether a string is the JSON text of an object, an array or a string.

    Bare numbers, true, false and null do not count: a string such as `42` or `20260102` is far
    more often meant as it is, for example as the output of a shell command.
    """
    if not _CONTAINER_START.match(text):
        return False
    try:
        json.loads(text, parse_int=len, parse_float=len, parse_constant=len)
    except RecursionError:
        return True
    except ValueError:
        return False
    return True


def text_of(raw: bytes | str, storage: Storage) -> str:
    """Return the JSON text of a stored value, decoded as Airflow does.

    Raises:
        ValueError: the bytes are not text in the encoding that Airflow expects.
    """
    if isinstance(raw, str):
        # Bytes that were not UTF-8 come as lone surrogates, which JSON text cannot contain.
        raw.encode("utf-8")
        return raw
    if not raw:
        raise ValueError("it is empty")
    text = raw.decode("utf-8") if storage == "bytes" else raw.decode(json.detect_encoding(raw))
    if text.startswith("\ufeff"):
        raise ValueError("it starts with a byte order mark")
    return text


def describe_error(error: ValueError) -> str:
    """Return why a text cannot be decoded, for people."""
    if isinstance(error, json.JSONDecodeError):
        reason = error.msg.removesuffix(" at").replace("'", '"')
        return f"{reason[:1].lower()}{reason[1:]} at character {error.pos}"
    if isinstance(error, UnicodeDecodeError):
        return f"byte 0x{error.object[error.start]:02x} at {error.start} is not UTF-8"
    if isinstance(error, UnicodeEncodeError):
        return "it contains bytes that are not UTF-8"
    return str(error)
