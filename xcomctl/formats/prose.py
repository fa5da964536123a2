"""A result as a text: a sentence, what supports it, and commands to run next."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from xcomctl.formats import LABEL_WIDTH
from xcomctl.formats.markdown import inert
from xcomctl.formats.width import wrap, wrap_command
from xcomctl.text import visible

if TYPE_CHECKING:
    from collections.abc import Sequence

    from xcomctl.formats import Destination, Layout, Part, Row, Writer

_BOLD = "1"


def writer(name: str, layout: Layout, destination: Destination) -> Writer:
    """Return a writer of `table` or `plain`, which look the same here, or of `markdown`."""
    if name == "markdown":
        return MarkdownProse(layout, destination)
    return Prose(layout, destination)


class Prose:
    """Writes paragraphs, wrapped at the width of a terminal."""

    def __init__(self, layout: Layout, destination: Destination) -> None:
        self._layout = layout
        self._destination = destination
        self._written = False
        self._rows: list[Row] = []

    def row(self, row: Row) -> None:
        if self._layout.digest is None:
            self._write(row)
        else:
            self._rows.append(row)

    def end(self) -> None:
        if self._layout.digest is not None:
            for row in self._layout.digest(self._rows):
                self._write(row)

    def _write(self, row: Row) -> None:
        assert self._layout.prose is not None
        if self._written:
            self._destination.out.write("\n")
        self._written = True
        last: Part = "title"
        for part, text in self._layout.prose(row):
            if (part != last and part != "fact") or part == "text":
                self._destination.out.write("\n")
            last = part
            for line in self._lines(part, visible(text)):
                self._destination.out.write(f"{line}\n")

    def _lines(self, part: Part, text: str) -> Sequence[str]:
        width = self._destination.width or 10_000
        if part == "command":
            return wrap_command(text, width, prompt="  $ ")
        if part == "code":
            return [f"    {text}"]
        if part == "item":
            return wrap(f"  - {text}", width, indent="    ")
        if part == "fact":
            label, indent = text[:LABEL_WIDTH], " " * LABEL_WIDTH
            parts = wrap(text[LABEL_WIDTH:], max(width - LABEL_WIDTH - 2, 10))
            return [f"  {indent if at else label}{part}" for at, part in enumerate(parts)]
        lines = wrap(text, width)
        if part == "text" or not self._destination.color:
            return lines
        return [f"\x1b[{_BOLD}m{line}\x1b[0m" for line in lines]


class MarkdownProse:
    """Writes a paragraph, a list and a block of commands."""

    def __init__(self, layout: Layout, destination: Destination) -> None:
        self._layout = layout
        self._out = destination.out
        self._written = False
        self._rows: list[Row] = []

    def row(self, row: Row) -> None:
        if self._layout.digest is None:
            self._write(row)
        else:
            self._rows.append(row)

    def end(self) -> None:
        if self._layout.digest is not None:
            for row in self._layout.digest(self._rows):
                self._write(row)

    def _write(self, row: Row) -> None:
        assert self._layout.prose is not None
        if self._written:
            self._out.write("\n")
        self._written = True
        blocks = [
            _block(part, [visible(text) for _, text in some])
            for part, some in itertools.groupby(self._layout.prose(row), key=lambda one: one[0])
        ]
        self._out.write("\n\n".join(blocks) + "\n")


def _block(part: Part, texts: Sequence[str]) -> str:
    """Return adjacent parts of one kind as Markdown."""
    if part in ("command", "code"):
        return "\n".join(["```sh" if part == "command" else "```", *texts, "```"])
    if part == "text":
        return "\n\n".join(map(inert, texts))
    if part == "fact":
        pairs = [(text[:LABEL_WIDTH].strip(), inert(text[LABEL_WIDTH:])) for text in texts]
        return "\n".join(f"- {label}: {text}" if label else f"- {text}" for label, text in pairs)
    return "\n".join(
        f"**{inert(text)}**" if part == "title" else f"- {inert(text)}" for text in texts
    )
