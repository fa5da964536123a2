"""The table of all groups, which the page's script sorts and filters."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xcomctl.report import markup
from xcomctl.report.facts import growth_per_day
from xcomctl.report.map import top_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from xcomctl.report.facts import Facts, Group

_HEADINGS = ("DAG", "Task", "Key", "XComs", "Total", "Share", "Mean", "Largest", "Of limit", "Growth/day", "Meets limit")  # fmt: skip
TEXTS = 3
"""Columns that are texts; the others are numbers."""


def groups_section(facts: Facts, shown: Sequence[Group], rows: int) -> str:
    """Return the table of the first rows; the script makes it one of all groups that are shown."""
    headings = [*_HEADINGS, *(["Change"] if facts.shows_change else [])]
    caption = "Groups by DAG, task and key"
    cells = [_cells(facts, one) for one in shown[:rows]]
    table = markup.table(caption, headings, cells, texts=TEXTS, ids=TEXTS)
    notes = []
    if len(shown) > rows:
        notes.append(
            f'<p class="note" id="static">The {rows:,} groups with the most bytes. With JavaScript, the table '
            f"holds {len(shown):,}.</p>"
        )
    if len(facts.groups) > len(shown):
        rest = facts.groups[len(shown) :]
        notes.append(
            f'<p class="note">{len(rest):,} smaller groups ({markup.size(sum(one.total for one in rest))}, '
            f"{sum(one.count for one in rest):,} XComs) are left out to keep the page small: "
            "run xcomctl top -n 0.</p>"
        )
    return (
        '<section id="groups" class="card"><h2>All groups</h2>\n<div id="tools"></div>\n'
        f"{''.join(notes)}{table}</section>\n"
    )


def _cells(facts: Facts, one: Group) -> tuple[str, ...]:
    growth = growth_per_day(one)
    met = one.forecast.meets_limit if one.forecast else None
    return (
        markup.text(top_name(facts, one)),
        markup.text(one.name[2]),
        markup.text(markup.key(one.name[3])),
        markup.number(one.count),
        f'<data value="{one.total}">{markup.size(one.total)}</data>',
        markup.percent(one.total / facts.total if facts.total else 0.0),
        markup.size(one.mean),
        markup.size(one.largest),
        markup.percent(one.of_limit),
        "" if growth is None else markup.change(growth),
        met.isoformat() if met else "",
        *((markup.change(one.change),) if facts.shows_change else ()),
    )
