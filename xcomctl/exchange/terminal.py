"""Exported lines as a terminal may show them: every control character is escaped."""

from __future__ import annotations

import codecs
from typing import TYPE_CHECKING

from xcomctl.exchange.lines import CsvLines, JsonLines
from xcomctl.text import UNSAFE, json_escaped, visible

if TYPE_CHECKING:
    import re
    from collections.abc import Iterable

    from xcomctl.model import Storage, Write


class TerminalJsonLines(JsonLines):
    """JSON Lines with the same content, and no unsafe character."""

    def __init__(self, write: Write, storage: Storage, *, strict: bool = False) -> None:
        # Pieces end anywhere, also within a character.
        decode = codecs.getincrementaldecoder("utf-8")("backslashreplace").decode

        def write_escaped(data: bytes | memoryview) -> object:
            return write(UNSAFE.sub(_escaped, decode(bytes(data))).encode())

        super().__init__(write_escaped, storage, strict=strict)


def _escaped(match: re.Match[str]) -> str:
    return match[0] if match[0] == "\n" else json_escaped(match)


class TerminalCsvLines(CsvLines):
    """CSV with unsafe characters escaped, for people: it does not read back byte for byte.

    Every field is quoted, so that no line begins with a workflow command of a CI system.
    """

    def encode_line(self, fields: Iterable[str]) -> bytes:
        cells = (visible(field).replace('"', '""') for field in fields)
        return ",".join(f'"{cell}"' for cell in cells).encode() + b"\n"
