"""Pieces of HTML: texts that are inert, numbers for people, tables."""

from __future__ import annotations

import html
import json
from typing import TYPE_CHECKING, Any

from xcomctl.model import Size, format_percent
from xcomctl.text import visible

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def text(value: object) -> str:
    """Return a text as HTML that shows it and nothing else, unsafe characters escaped."""
    return html.escape(visible(str(value)))


def name(*parts: str | None) -> str:
    """Return `dag/task:key` as HTML that may be broken between its parts."""
    dag_id, task_id, last = parts
    return f"{text(dag_id)}/<wbr>{text(task_id)}:<wbr>{text(key(last))}"


def number(value: int) -> str:
    """Return a number with separators."""
    return f"{value:,}"


def size(value: int) -> str:
    """Return a size for people."""
    return str(Size(value)) if value >= 0 else f"\u2212{Size(-value)}"


def change(value: int) -> str:
    """Return a change of size with its sign."""
    return f"+{Size(value)}" if value > 0 else size(value)


def percent(share: float) -> str:
    """Return a share as a percentage."""
    return format_percent(100 * share)


def key(value: str | None) -> str:
    """Return an XCom's key, which is NULL in some rows of Airflow 1.10."""
    return "(no key)" if value is None else visible(value)


def table(
    caption: str,
    headings: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    texts: int = 1,
    ids: int = 0,
) -> str:
    """Return a table of cells that are HTML already.

    The first columns are texts, the rest numbers; of the texts, the first ones are ids.
    """
    head = "".join(
        f'<th scope="col"{"" if at < texts else " class=n"}>{one}</th>'
        for at, one in enumerate(headings)
    )
    body = "".join(
        "<tr>"
        + "".join(
            f"<td{' class=id' if at < ids else '' if at < texts else ' class=n'}>{cell}"
            for at, cell in enumerate(row)
        )
        for row in rows
    )
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{caption}"><table>'
        f"<caption>{caption}</caption><thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody>"
        "</table></div>"
    )


def data_table(summary: str, contents: str) -> str:
    """Return a table that opens on a click: the numbers of a picture."""
    return f'<details class="data"><summary>{summary}</summary>{contents}</details>'


def script_json(value: Any) -> str:
    """Return JSON that nothing in it can end the script element of."""
    compact = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    for char in "<>&\u2028\u2029":
        compact = compact.replace(char, f"\\u{ord(char):04x}")
    return compact
