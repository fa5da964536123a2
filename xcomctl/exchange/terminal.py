"""Exported lines as a terminal may show them: every control character is escaped."""

from __future__ import annotations

import codecs
from typing import TYPE_CHECKING

from xcomctl.exchange.lines import CsvLines, JsonLines
from xcomctl.text import UNSAFE, json_escaped, visible

if TYPE_CHECKING:
    import re
    from collections.abc import Sequence

    from xcomctl.exchange.others import OtherColumn
    from xcomctl.model import Storage, Write


def terminal_json_lines(
    write: Write, storage: Storage, *, strict: bool = False, others: Sequence[OtherColumn] = ()
) -> JsonLines:
    """Return a writer of JSON Lines with the same content, and no unsafe character."""
    # Pieces end anywhere, also within a character.
    decode = codecs.getincrementaldecoder("utf-8")("backslashreplace").decode

    def write_escaped(data: bytes | memoryview) -> object:
        return write(UNSAFE.sub(_escaped, decode(bytes(data))).encode())

    return JsonLines(write_escaped, storage, strict=strict, others=others)


def _escaped(match: re.Match[str]) -> str:
    return match[0] if match[0] == "\n" else json_escaped(match)


def terminal_csv_lines(
    write: Write, storage: Storage, *, strict: bool = False, others: Sequence[OtherColumn] = ()
) -> CsvLines:
    """Return a writer of CSV with unsafe characters escaped, which does not read back byte for byte.

    Every field is quoted, so that no line begins with a workflow command of a CI system.
    """
    return CsvLines(write, storage, strict=strict, others=others, escape=visible)
