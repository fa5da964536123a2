"""The page: sections put together, with its style and script inside, below a size."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Final

from xcomctl.report import charts, markup
from xcomctl.report import map as treemap
from xcomctl.report.findings import findings_section
from xcomctl.report.groups import groups_section
from xcomctl.report.headline import headline
from xcomctl.report.map import top_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from xcomctl.report.facts import Facts

MOST_DAYS: Final = 400
"""Days that the pictures and their table show, the newest ones."""
MAX_BYTES: Final = 300_000
"""Pages with many groups fold the smaller ones to stay below this, unless their names are very long."""
_SHOWN: Final = (
    (2_000, 400),
    (2_000, 200),
    (1_500, 150),
    (1_000, 100),
    (500, 50),
    (200, 25),
    (50, 25),
)
"""How many groups the treemap and the table hold, and how many rows there are without a script."""


def page(facts: Facts) -> str:
    """Return the report as one HTML document that loads nothing."""
    document = ""
    for leaves, rows in _SHOWN:
        document = _document(facts, leaves, rows)
        if len(document.encode()) < MAX_BYTES:
            break
    return document


def _document(facts: Facts, leaves: int, rows: int) -> str:
    shown = facts.groups[: min(leaves, treemap.MOST_LEAVES)]
    style, script = _file("style.css"), _file("script.js")
    policy = (
        f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    title = f"XComs of {', '.join(one.name for one in facts.deployments)}"
    sections = [
        headline(facts),
        _map_section(facts, len(shown)),
        _days_section(facts),
        _sizes_section(facts),
        findings_section(facts),
        groups_section(facts, shown, rows),
    ]
    data = markup.script_json(treemap.data(facts, shown))
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
<title>{markup.text(title)}</title>
<style>{style}</style>
</head>
<body>
<a class="skip" href="#groups">Skip to the table</a>
<main>
{"".join(sections)}
</main>
<footer><p>Written by xcomctl {markup.text(facts.version)} on {facts.written_at}. Sizes are bytes as the database
stores them, before compression. The page holds no values and loads nothing.</p></footer>
<script type="application/json" id="data">{data}</script>
<script>{script}</script>
</body>
</html>
"""


def _file(name: str) -> str:
    return (Path(__file__).parent / name).read_text(encoding="utf-8")


def _hash(contents: str) -> str:
    digest = hashlib.sha256(contents.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"


def _section(name: str, heading: str, *contents: str) -> str:
    return f'<section id="{name}" class="card"><h2>{heading}</h2>\n{"".join(contents)}</section>\n'


def _map_section(facts: Facts, leaves: int) -> str:
    if not facts.total:
        return ""
    what = "its change" if facts.shows_change else "how close its largest XCom is to the limit"
    folded = len(facts.groups) - leaves
    note = (
        f" The {folded:,} smallest of {len(facts.groups):,} groups are left out."
        if folded > 0
        else ""
    )
    legend = "".join(
        f'<li><svg viewBox="0 0 12 12" aria-hidden="true"><path class="c{color}" d="M0 0h12v12h-12z"/></svg>'
        f"{text}</li>"
        for color, text in enumerate(treemap.legend(facts))
    )
    return _section(
        "treemap",
        "What uses the space",
        f'<p class="note">Area is bytes, color is {what}.{note}</p>',
        '<nav id="path" aria-label="Place in the treemap"></nav>',
        f'<div id="map-box">{treemap.picture(facts, facts.groups[:leaves])}</div>',
        f'<ul class="legend" aria-label="Colors">{legend}</ul>',
        '<p class="note">Every box is a row of the <a href="#groups">table of all groups</a>.</p>',
    )


def _days_section(facts: Facts) -> str:
    days = facts.days[-MOST_DAYS:]
    if not days:
        return ""
    ahead: list[Sequence[str]] = []
    if facts.band:
        band = facts.band
        ahead = [
            (str(day), markup.size(round(low)), markup.size(round(mid)), markup.size(round(high)))
            for day, low, mid, high in zip(
                band.days[1:], band.low[1:], band.expected[1:], band.high[1:], strict=True
            )
        ]
    rows = [
        (str(one.day), markup.number(one.count), markup.size(one.total), markup.size(one.largest))
        for one in days
    ]
    table = markup.table("XComs by day", ("Day", "XComs", "Pushed", "Largest"), rows)
    if ahead:
        heads = ("Day", "At least", "Expected", "At most")
        table += markup.table("Forecast of the largest XCom (95%)", heads, ahead)
    return _section(
        "days",
        "Growth",
        '<div class="charts">',
        f"<figure><figcaption>Bytes pushed per day</figcaption>{charts.pushed(days)}</figure>",
        f"<figure><figcaption>Largest XCom of each day</figcaption>{charts.largest(facts, days)}"
        "</figure></div>",
        '<p class="note">Of the XComs that are still stored. What was deleted is not counted.</p>',
        markup.data_table("Numbers by day", table),
    )


def _sizes_section(facts: Facts) -> str:
    found = charts.buckets(facts)
    if not found:
        return ""
    rows = [
        (f"{markup.size(least)} to {markup.size(most)}", markup.number(count))
        for least, most, count in found
    ]
    table = markup.table("XComs by size", ("Size", "XComs"), rows)
    return _section(
        "sizes",
        "Sizes",
        '<div class="sizes">',
        f"<figure><figcaption>XComs by size (both axes logarithmic)</figcaption>{charts.distribution(facts)}"
        f"{markup.data_table('Numbers by size', table)}</figure>",
        f"<div><h3>Closest to the limit</h3>{_closest(facts)}</div></div>",
    )


def _closest(facts: Facts) -> str:
    """Return a table of the groups with the largest values in relation to their limit."""
    groups = sorted(facts.groups, key=lambda one: -one.of_limit)[:7]
    rows = [
        (
            markup.name(top_name(facts, one), *one.name[2:]),
            markup.size(one.largest),
            markup.percent(one.of_limit),
        )
        for one in groups
    ]
    return markup.table("Closest to the limit", ("XCom", "Largest", "Of limit"), rows, ids=1)
