"""Reads the argument VALUE of `push`: text, stdin or a file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from xcomctl.errors import RefusedError, UsageError
from xcomctl.model import Size

if TYPE_CHECKING:
    from typing import BinaryIO

_PIECE_BYTES = 1024 * 1024
_MOST_BYTES = 1_000_000_000
"""The largest value that any backend takes: SQLite's default limit of a row."""


def given_text(given: str) -> str:
    """Return the text of VALUE: itself, or what stdin (`-`) or a file (`@FILE`) holds.

    Raises:
        RefusedError: it is larger than any database takes.
        UsageError: it cannot be read, or is not UTF-8.
    """
    if given != "-" and not given.startswith("@"):
        return given
    try:
        if given == "-":
            data = read_bounded(sys.stdin.buffer, _MOST_BYTES)
        else:
            with Path(given[1:]).open("rb") as file:
                data = read_bounded(file, _MOST_BYTES)
        return data.decode("utf-8")
    except OSError as error:
        raise UsageError(
            f'could not read "{given[1:] or "stdin"}"',
            detail=error.strerror,
            hint="A value that begins with @ comes from a file; --string @FILE does, too.",
        ) from None
    except UnicodeDecodeError:
        raise UsageError("cannot read the value: it is not UTF-8") from None


def read_bounded(file: BinaryIO, most: int) -> bytes:
    """Return the bytes of a file, which may be a device or a pipe that never ends.

    Raises:
        RefusedError: there are more than `most`.
    """
    data = bytearray()
    while piece := file.read(_PIECE_BYTES):
        data += piece
        if len(data) > most:
            raise RefusedError(
                "cannot push the value: it is too large",
                detail=f"No database takes more than {Size(most)} in one value.",
            )
    return bytes(data)
