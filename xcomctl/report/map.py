"""The treemap of DAGs, tasks and keys: as a picture, and as data that the page draws it from again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from xcomctl.model import RETURN_VALUE
from xcomctl.report import markup
from xcomctl.report.facts import growth_per_day
from xcomctl.report.treemap import Box, squarify
from xcomctl.text import visible

if TYPE_CHECKING:
    from collections.abc import Sequence

    from xcomctl.report.facts import Facts, Group

WIDTH, HEIGHT = 1200, 520
MOST_LEAVES = 2_000
_HEADING = 20
_LETTER = 7.2
"""Width of a letter of a heading, about."""

_GROWTH = 7
"""Index of the growth in a group's data."""

OF_LIMIT_STEPS = (0.25, 0.5, 0.8, 1.0)
"""Shares of the limit where the next colour begins; the last one is above the limit."""


def color_of(group: Group, *, shows_change: bool) -> int:
    """Return the number of a colour, 0 to 4: close to the limit, or grown much."""
    if not shows_change:
        share = group.of_limit
        return sum(share >= step for step in OF_LIMIT_STEPS[:3]) + (share > OF_LIMIT_STEPS[3])
    if abs(group.change) * 20 <= max(group.before, 1):
        return 2
    large = abs(group.change) * 2 > max(group.before, 1)
    return (4 if large else 3) if group.change > 0 else (0 if large else 1)


def legend(facts: Facts) -> list[str]:
    """Return what each colour means, in order."""
    if facts.shows_change:
        return ["shrank by half", "shrank", "about the same", "grew", "grew by half or more"]
    return ["below 25%", "25% to 50%", "50% to 80%", "80% and more", "above the limit"]


def picture(facts: Facts, groups: Sequence[Group]) -> str:
    """Return the treemap as SVG, of these groups: a box per DAG, in it one per task and key."""
    by_dag: dict[str, list[Group]] = {}
    for one in groups:
        if one.total:
            by_dag.setdefault(top_name(facts, one), []).append(one)
    dags = sorted(by_dag.items(), key=lambda item: -sum(one.total for one in item[1]))
    boxes = squarify([sum(one.total for one in some) for _, some in dags], Box(0, 0, WIDTH, HEIGHT))
    paths: dict[int, list[str]] = {}
    headings = []
    for (dag, some), box in zip(dags, boxes, strict=True):
        has_heading = box.height > 2 * _HEADING and box.width > 6 * _LETTER
        inside = box.inside(_HEADING if has_heading else 1, 1)
        for group, leaf in zip(some, squarify([one.total for one in some], inside), strict=True):
            if leaf.width >= 0.3 and leaf.height >= 0.3:
                color = color_of(group, shows_change=facts.shows_change)
                paths.setdefault(color, []).append(_rectangle(leaf))
            if leaf.width > 100 and leaf.height > 40:
                headings.append(_leaf_label(group, leaf))
        if has_heading:
            letters = int((box.width - 8) / _LETTER)
            headings.append(
                f'<text class="title" x="{box.x + 4:.0f}" y="{box.y + 14:.0f}">{_short(dag, letters)}</text>'
            )
    leaves = "".join(
        f'<path class="c{color}" d="{"".join(some)}"/>' for color, some in paths.items()
    )
    return (
        f'<svg id="map" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" class="map" '
        f'aria-label="Treemap of {len(dags):,} DAGs by bytes">{leaves}{"".join(headings)}</svg>'
    )


def _leaf_label(group: Group, leaf: Box) -> str:
    _, _, task_id, key = group.name
    name = task_id if key == RETURN_VALUE else f"{task_id}: {markup.key(key)}"
    letters = int((leaf.width - 10) / _LETTER)
    x, y = leaf.x + 6, leaf.y + 16
    return (
        f'<text x="{x:.0f}" y="{y:.0f}">{_short(name, letters)}</text>'
        f'<text x="{x:.0f}" y="{y + 15:.0f}">{markup.size(group.total)}</text>'
    )


def top_name(facts: Facts, group: Group) -> str:
    """Return the name of a group's outermost box: of several deployments the deployment and DAG."""
    deployment, dag_id, *_ = group.name
    return f"{deployment}: {dag_id}" if len(facts.deployments) > 1 else dag_id


def _rectangle(box: Box) -> str:
    # Half a unit on each side is the line between two.
    width, height = max(box.width - 1, 0.3), max(box.height - 1, 0.3)
    return f"M{box.x + 0.5:.0f} {box.y + 0.5:.0f}h{width:.1f}v{height:.1f}h-{width:.1f}z"


def _short(name: str, letters: int) -> str:
    text = visible(name)
    return markup.text(text if len(text) <= letters else f"{text[: max(letters - 1, 0)]}\u2026")


def data(facts: Facts, groups: Sequence[Group]) -> dict[str, Any]:
    """Return the groups for the page's script, nested, as short as they can be.

    `tree` is [[name, limit, [[task_id, [[key, count, total, largest, color, change, nulls, growth,
    meets], ...]], ...]], ...]. `key` is an index into `keys`; at the end, null is left out, and 0 but for the growth.
    """
    keys: dict[str, int] = {}
    tree: dict[str, tuple[int, dict[str, list[list[object]]]]] = {}
    for one in groups:
        _, tasks = tree.setdefault(visible(top_name(facts, one)), (one.limit, {}))
        met = one.forecast.meets_limit if one.forecast else None
        row: list[object] = [
            keys.setdefault(markup.key(one.name[3]), len(keys)),
            one.count,
            one.total,
            one.largest,
            color_of(one, shows_change=facts.shows_change),
            one.change,
            one.count - one.measured,
            growth_per_day(one),
            met.isoformat() if met else None,
        ]
        # A growth of 0 is not the same as none that is known.
        while row[-1] is None or (row[-1] == 0 and 1 < len(row) <= _GROWTH):
            row.pop()
        tasks.setdefault(visible(one.name[2]), []).append(row)
    return {
        "keys": [*keys],
        "tree": [
            [name, limit, [[task, rows] for task, rows in tasks.items()]]
            for name, (limit, tasks) in tree.items()
        ],
        "change": facts.shows_change,
        "total": facts.total,
    }
