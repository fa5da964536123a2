"""Pages of the reference at a terminal: wrapped at words, tables that fit, nothing of Markdown left."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from xcomctl.cli.topics import DOCS
from xcomctl.formats.page import render
from xcomctl.formats.width import cell_width

if TYPE_CHECKING:
    from pathlib import Path

PAGES = sorted(DOCS.glob("*.md"))

PAGE = """# Title

A paragraph with `code that stays together`, **bold** and a [link](other.md),
on two lines, and 536,870,906 B.

| name | meaning |
|---|---:|
| `a` | short |
| `b` | a longer text that has to be wrapped `x\\|y` |

* one
* two, which goes
  over two lines
1. first

```sh
a line of code that is longer than the page is wide
```
"""


def test_a_page_without_colours() -> None:
    """Headings are underlined, code stays between backticks, and code blocks are indented."""
    assert (
        render(PAGE, 30, color=False)
        == """Title
=====

A paragraph with
`code that stays together`,
bold and a link, on two lines,
and 536,870,906 B.

name  meaning
----  ------------------------
`a`   short
`b`   a longer text that has
      to be wrapped `x|y`

- one
- two, which goes over two
  lines
1. first

    a line of code that is longer than the page is wide
"""
    )


def test_colours_are_the_only_difference_of_a_wide_page() -> None:
    """And take the place of the marks."""
    colored = render(PAGE, 200, color=True)
    assert "\x1b[1mcode that stays together\x1b[22m, \x1b[1mbold\x1b[22m and a link" in colored
    assert colored.startswith("\x1b[1mTitle\x1b[0m\n\nA paragraph")
    assert "`" not in colored


def test_a_table_that_is_too_wide_is_written_row_by_row() -> None:
    """With the name of each column in front of its cell."""
    page = "| what | SQLite json | PostgreSQL json |\n|---|---|---|\n| `top` | 1 | 2 |\n| why | 3 | 4 |\n"
    assert (
        render(page, 20, color=False)
        == """`top`
  SQLite json      1
  PostgreSQL json  2

why
  SQLite json      3
  PostgreSQL json  4
"""
    )


@pytest.mark.parametrize("width", [40, 60, 80, 100])
@pytest.mark.parametrize("color", [False, True])
@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_every_page_fits(path: Path, width: int, color: bool) -> None:
    """But for code blocks, and for words that are longer; no mark of Markdown is left."""
    text = path.read_text(encoding="utf-8")
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    shown = re.sub(r"\x1b\[\d+m", "", render(prose, width, color=color))
    for line in shown.splitlines():
        assert cell_width(line) <= width or len(line.split()) == 1, line
    assert not re.search(r"\*\*|\]\(|^#|^\||---:", shown, re.MULTILINE)
