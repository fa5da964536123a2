"""A page of the reference, written in Markdown, as text for a terminal or a pipe.

Reads what our pages use: headings, paragraphs, lists, tables, code blocks, code, bold and links.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from xcomctl.formats.width import SPACES, cell_width, widest
from xcomctl.text import styled

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_CODE, _CODE_END, _BOLD, _BOLD_END, _SPACE = "\x01", "\x02", "\x03", "\x04", "\x05"
"""Marks in a text: where code and bold begin and end, and a space at which no line is broken."""

_PLAIN: Final = {_CODE: "`", _CODE_END: "`", _BOLD: "", _BOLD_END: "", _SPACE: " "}
_COLORED: Final = {
    _CODE: "\x1b[1m",
    _CODE_END: "\x1b[22m",
    _BOLD: "\x1b[1m",
    _BOLD_END: "\x1b[22m",
    _SPACE: " ",
}
_MARKS: Final = re.compile("[\x01-\x05]")

_GAP: Final = 2
_LONGEST_CODE: Final = 40
"""Code of more characters may be broken at its spaces."""
_LIST_ITEM: Final = re.compile(r"(\*|-|\d+\.) +")
_TABLE_RULE: Final = re.compile(r"\|(\s*:?-+:?\s*\|)+")


def render(markdown: str, width: int, *, color: bool) -> str:
    """Return the page in lines of at most `width` columns, code blocks and long words excepted.

    Without colours, headings are underlined and code stays between backticks.
    """
    page = _Page(width, color)
    return "\n\n".join("\n".join(page.block(block)) for block in _blocks(markdown)) + "\n"


def _blocks(markdown: str) -> Iterator[list[str]]:
    """Yield the lines of each block: code blocks and headings, and what blank lines separate."""
    lines = iter(markdown.splitlines())
    block: list[str] = []
    for line in lines:
        alone = line.startswith(("#", "```"))
        if block and (alone or not line.strip()):
            yield block
            block = []
        if line.startswith("```"):
            yield [line, *itertools.takewhile(lambda one: one != "```", lines)]
        elif alone:
            yield [line]
        elif line.strip():
            block.append(line)
    if block:
        yield block


def _marked(markdown: str) -> str:
    """Return a text with marks instead of Markdown's; of a link the text is left."""

    def code(match: re.Match[str]) -> str:
        text = match[1]
        if len(text) <= _LONGEST_CODE:
            text = text.replace(" ", _SPACE)
        return f"{_CODE}{text}{_CODE_END}"

    parts = re.split(r"(`[^`]+`)", markdown)
    for at in range(0, len(parts), 2):
        text = re.sub(r"\[([^\]]+)\]\([^)]+\)", r"\1", parts[at])
        text = re.sub(r"\*\*(.+?)\*\*", rf"{_BOLD}\1{_BOLD_END}", text)
        parts[at] = re.sub(r"(?<!\w)\*([^*\s][^*]*)\*", r"\1", text)
    return re.sub(r"`([^`]+)`", code, "".join(parts))


def _cells(line: str) -> list[str]:
    """Return the marked cells of a line of a table."""
    inner = line.strip().removeprefix("|").removesuffix("|")
    return [_marked(cell.strip().replace(r"\|", "|")) for cell in re.split(r"(?<!\\)\|", inner)]


@dataclass(frozen=True, slots=True)
class _Page:
    """How wide a page is, and whether it has colours."""

    width: int
    color: bool

    def block(self, lines: Sequence[str]) -> list[str]:
        """Return a block as text."""
        first = lines[0]
        if first.startswith("```"):
            return [f"    {line}".rstrip() for line in lines[1:]]
        if first.startswith("#"):
            return self._heading(first)
        if len(lines) > 1 and _TABLE_RULE.fullmatch(lines[1].strip()):
            return self._table([_cells(line) for line in (first, *lines[2:])])
        if _LIST_ITEM.match(first):
            return self._list(lines)
        return self._wrapped(_marked(" ".join(lines)), self.width)

    def _heading(self, line: str) -> list[str]:
        level, _, text = line.partition(" ")
        text = self._shown(_marked(text))
        if self.color:
            return [styled(text, "heading")]
        rule = {"#": "=", "##": "-"}.get(level)
        return [text, rule * cell_width(text)] if rule else [text]

    def _list(self, lines: Sequence[str]) -> list[str]:
        items: list[str] = []
        for line in lines:
            if _LIST_ITEM.match(line):
                items.append(line)
            else:
                items[-1] += f" {line.strip()}"
        shown: list[str] = []
        for item in items:
            bullet, _, text = item.partition(" ")
            indent = "-" if bullet == "*" else bullet
            for part in self._wrapped(_marked(text), self.width - len(indent) - 1):
                shown.append(f"{indent} {part}")
                indent = " " * len(indent)
        return shown

    def _table(self, rows: Sequence[Sequence[str]]) -> list[str]:
        columns = list(zip(*rows, strict=True))
        natural = [max(map(self._columns, column)) for column in columns]
        least = [
            max(self._columns(word) for cell in column for word in SPACES.split(cell))
            for column in columns
        ]
        room = self.width - _GAP * (len(columns) - 1)
        if sum(least) > room:
            return self._records(rows)
        widths = list(natural)
        while sum(widths) > room:
            above = [at for at, width in enumerate(widths) if width > least[at]]
            widths[max(above, key=widths.__getitem__)] -= 1
        shown: list[str] = []
        for number, row in enumerate(rows):
            cells = [self._wrapped(cell, width) for cell, width in zip(row, widths, strict=True)]
            for line in itertools.zip_longest(*cells, fillvalue=""):
                texts = [
                    text + " " * (width - _visible_width(text))
                    for text, width in zip(line, widths, strict=True)
                ]
                text = (" " * _GAP).join(texts).rstrip()
                shown.append(styled(text, "heading") if self.color and not number else text)
            if not number and not self.color:
                shown.append((" " * _GAP).join("-" * width for width in widths))
        return shown

    def _records(self, rows: Sequence[Sequence[str]]) -> list[str]:
        """Return a table that is too wide: each row with its cells below each other."""
        header, *others = rows
        shown: list[str] = []
        for row in others:
            shown += [""] * bool(shown) + self._wrapped(row[0], self.width)
            label = widest(header[1:])
            for name, cell in zip(header[1:], row[1:], strict=True):
                lines = self._wrapped(cell, self.width - label - 2 * _GAP)
                shown += [
                    f"  {(name if not at else '').ljust(label)}  {line}"
                    for at, line in enumerate(lines)
                ]
        return shown

    def _wrapped(self, marked: str, width: int) -> list[str]:
        """Return a marked text in lines, broken at spaces only; one empty line for none."""
        lines: list[str] = []
        line = ""
        for word in SPACES.split(marked):
            if line and self._columns(f"{line} {word}") > width:
                lines.append(line)
                line = word
            else:
                line = f"{line} {word}" if line else word
        return [self._shown(one) for one in [*lines, line]]

    def _columns(self, marked: str) -> int:
        return _visible_width(self._shown(marked))

    def _shown(self, marked: str) -> str:
        texts = _COLORED if self.color else _PLAIN
        return _MARKS.sub(lambda match: texts[match[0]], marked)


def _visible_width(text: str) -> int:
    """Return the columns of a text that may hold our colours."""
    return cell_width(re.sub(r"\x1b\[\d+m", "", text))
