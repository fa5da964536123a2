"""Text in terminal columns: its width, and how it is shortened, padded and wrapped.

A character may occupy no column (combining), one, or two (CJK, emoji). Texts are expected to be
`visible` already.
"""

from __future__ import annotations

import re
from itertools import accumulate
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

ELLIPSIS: Final = "…"

_DATE: Final = re.compile(r"\d{4}-\d\d-\d\d(?:T\d\d:\d\d(?::\d\d(?:\.\d+)?)?)?")
SPACES: Final = re.compile(r" (?!(?:B|kB|[MG]B|[KMGT]iB)\b)")
"""Where a line may be broken: not between a number and its unit."""

_QUOTED_COMMAND: Final = re.compile(r'"xcomctl [^"]{1,40}"')
_NO_BREAK: Final = "\x1f"
"""Stands for a space at which no line is broken."""

_DATE_WIDTHS: Final = (10, 16, 19)
"""A day, a minute, a second of an ISO 8601 time."""


def cell_width(text: str) -> int:
    """Return how many columns of a terminal the text occupies."""
    # Importing rich costs 70 ms, and shortened texts are rarely more than ASCII and an ellipsis.
    if text.isascii() or text.replace(ELLIPSIS, "").isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def pad(text: str, width: int, *, right: bool = False) -> str:
    """Return the text with spaces up to the width, in front of it where `right`."""
    space = " " * (width - cell_width(text))
    return space + text if right else text + space


def shorten_end(text: str, width: int) -> str:
    """Return the text, or its beginning and an ellipsis where it is wider than `width`."""
    if cell_width(text) <= width:
        return text
    return _head(text, width - 1).rstrip() + ELLIPSIS if width > 0 else ""


def shorten_start(text: str, width: int) -> str:
    """Return the text, or an ellipsis and its end where it is wider than `width`."""
    if cell_width(text) <= width:
        return text
    return _cut(text, width, 0) if width > 0 else ""


def shorten_middle(text: str, width: int) -> str:
    """Return the text, or both of its ends where it is wider than `width`: `proces…model_a`."""
    if cell_width(text) <= width:
        return text
    if width < 3:
        return shorten_end(text, width)
    return _cut(text, width, width // 2)


def shorten_column(texts: Sequence[str], width: int) -> list[str]:
    """Return a column's texts, each at most `width` wide: `shorten_middle`, but kept distinct.

    The cut moves off the middle where that keeps more of the texts apart.
    """
    long = {text for text in texts if cell_width(text) > width}
    if not long:
        return list(texts)
    short = {text: shorten_middle(text, width) for text in long}
    if width >= 6 and len(set(short.values())) < len(long):
        cuts = (width // 2, width // 4, width - width // 4, 0, width - 1)
        choices = [{text: _cut(text, width, head) for text in long} for head in cuts]
        short = max(choices, key=lambda choice: len(set(choice.values())))
    return [short.get(text, text) for text in texts]


def shorten_runs(texts: Sequence[str], width: int) -> list[str]:
    """Return a column's run ids, each at most `width` wide, with the date that tells them apart.

    `scheduled__2026-03-31T00:00:00+00:00` becomes `scheduled__2026-03-31…`, and in less room
    `sch…2026-03-31…`. Run ids without a date are shortened as `shorten_column` does.
    """
    dates = {text: match for text in set(texts) if (match := _DATE.search(text))}
    if len(dates) < len(set(texts)):
        return shorten_column(texts, width)
    precision = next(
        (
            one
            for one in _DATE_WIDTHS
            if len({date[0][:one] for date in dates.values()}) == len(dates)
        ),
        _DATE_WIDTHS[0],
    )
    return [_around(text, dates[text], precision, width) for text in texts]


def _around(text: str, date: re.Match[str], precision: int, width: int) -> str:
    """Return the text shortened to `width` around its date, which is kept if it fits at all."""
    if cell_width(text) <= width:
        return text
    for digits in reversed(_DATE_WIDTHS):
        start = text[: date.start() + digits]
        if digits >= precision and len(date[0]) >= digits and cell_width(start) < width:
            return start + ELLIPSIS
    kept = date[0][:precision]
    if len(kept) + 2 > width:
        return f"{ELLIPSIS}{kept[2 - width :]}{ELLIPSIS}" if width > 2 else shorten_end(text, width)
    return shorten_end(text[: date.start()], width - len(kept) - 1) + kept + ELLIPSIS


def _cut(text: str, width: int, head: int) -> str:
    """Return `head` columns of the beginning, an ellipsis, and the end, `width` in all."""
    head = min(head, width - 1)
    start = _head(text, head)
    return start + ELLIPSIS + _tail(text, width - 1 - cell_width(start))


def _head(text: str, width: int) -> str:
    if text.isascii():
        return text[: max(width, 0)]
    # A combining character belongs to the one before, so equal widths are taken too.
    ends = accumulate(map(cell_width, text))
    return text[: sum(end <= width for end in ends)]


def _tail(text: str, width: int) -> str:
    if text.isascii():
        return text[len(text) - width :] if width > 0 else ""
    ends = accumulate(map(cell_width, reversed(text)))
    tail = text[len(text) - sum(end <= width for end in ends) :]
    while tail and cell_width(tail[0]) == 0:
        tail = tail[1:]
    return tail


def wrap(text: str, width: int, *, indent: str = "") -> list[str]:
    """Return the text in lines of at most `width` columns, broken at spaces only.

    A word that is wider gets a line of its own, and a command in quotes, `"xcomctl demo"`, is a
    word. Lines after the first begin with `indent`.
    """
    text = _QUOTED_COMMAND.sub(lambda match: match[0].replace(" ", _NO_BREAK), text)
    first, *words = SPACES.split(text)
    lines, line = [], first
    for word in words:
        if cell_width(line) + 1 + cell_width(word) <= width:
            line = f"{line} {word}"
        else:
            lines.append(line.rstrip())
            line = indent + word
    return [one.replace(_NO_BREAK, " ") for one in [*lines, line]]


_WORD: Final = re.compile(r"""(?:[^\s'"\\]|'[^']*'|"(?:\\.|[^"\\])*"|\\.|['"\\])+""", re.DOTALL)
"""A word of a shell, with its quotes."""


def wrap_command(line: str, width: int, *, prompt: str = "") -> list[str]:
    """Return a command line in lines of at most `width` columns that a shell reads as one.

    It is broken between words only, an option stays with its value, and every line but the last
    ends with a backslash. A word that is wider gets a line of its own.
    """
    if cell_width(prompt + line) <= width:
        return [prompt + line]
    room = width - cell_width(prompt) - len("     \\")
    parts: list[str] = []
    for word in _WORD.findall(line):
        is_value = parts and re.fullmatch(r"--?[\w-]+", parts[-1]) and not word.startswith("-")
        if is_value and room >= cell_width(f"{parts[-1]} {word}"):
            parts[-1] += f" {word}"
        else:
            parts.append(word)
    lines, current, indent = [], prompt + parts[0], " " * (cell_width(prompt) + 4)
    for part in parts[1:]:
        if cell_width(current) + 1 + cell_width(part) + len(" \\") <= width:
            current += f" {part}"
        else:
            lines.append(f"{current} \\")
            current = indent + part
    return [*lines, current]


def widest(texts: Iterable[str]) -> int:
    """Return the width of the widest text, 0 for none."""
    return max(map(cell_width, texts), default=0)
