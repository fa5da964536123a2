"""The first section: how much there is, how fast it grows, and how far the limit is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xcomctl.model import Size
from xcomctl.report import markup
from xcomctl.report.facts import weekly
from xcomctl.report.map import top_name
from xcomctl.sizes.notation import limit_text, size_and_limit

if TYPE_CHECKING:
    from xcomctl.report.facts import Facts, Group


def headline(facts: Facts) -> str:
    """Return the title, where the data comes from, and four facts."""
    names = ", ".join(one.name for one in facts.deployments)
    days = ""
    if facts.days:
        days = f", {facts.days[0].day} to {facts.days[-1].day}"
    about = "; ".join(dict.fromkeys(markup.text(one.about) for one in facts.deployments))
    cards = "".join((_total(facts), _growth(facts), _headroom(facts), _meets(facts)))
    return (
        f'<header><h1>XComs of {markup.text(names)}</h1><p class="about">{about}{days}</p></header>\n'
        f'<section class="facts" aria-label="Summary">{cards}</section>\n{_deployments(facts)}'
    )


def _card(label: str, value: str, note: str, level: str = "") -> str:
    return (
        f'<div class="fact {level}"><h2>{label}</h2><p class="value">{value}</p>'
        f'<p class="note">{note}</p></div>'
    )


def _total(facts: Facts) -> str:
    count = f"{facts.count:,} XCom{'' if facts.count == 1 else 's'} in {len(facts.groups):,} groups"
    return _card("Stored", f'<data value="{facts.total}">{markup.size(facts.total)}</data>', count)


def _growth(facts: Facts) -> str:
    if facts.since is not None:
        change = sum(one.change for one in facts.deployments)
        return _card(
            "Change",
            f'<data value="{change}">{markup.change(change)}</data>',
            f"since {facts.since}",
        )
    recent, before = weekly(facts)
    note = "pushed per day in the last 7 days"
    if before:
        more = recent / before - 1
        if abs(more) >= 0.005:
            note += f", {markup.percent(abs(more))} {'more' if more > 0 else 'less'} than in the 7 before"
    return _card("Growth", f"{markup.size(recent // 7)}", note)


def _headroom(facts: Facts) -> str:
    group = facts.largest
    if group is None:
        return _card("Headroom", "\u2013", "no XComs")
    shown, bound = size_and_limit(Size(group.largest), Size(group.limit))
    name = f"largest: {_name(facts, group)}"
    if group.largest > group.limit:
        return _card(
            "Above the limit",
            markup.size(group.largest - group.limit),
            f"{shown} with a limit of {bound}; {name}",
            "bad",
        )
    free = group.limit - group.largest
    level = "bad" if group.of_limit >= 1 else "warn" if group.of_limit >= 0.8 else "good"
    return _card(
        "Headroom",
        markup.size(free),
        f"largest {shown} of {bound} ({markup.percent(group.of_limit)}); {name}",
        level,
    )


def _meets(facts: Facts) -> str:
    group = facts.first_to_meet_limit
    if group is None or group.forecast is None:
        return _card("Limit met", "not in sight", f"limit {limit_text(facts.limit)}", "good")
    met = group.forecast.meets_limit
    last = facts.days[-1].day if facts.days else met
    assert met is not None
    assert last is not None
    word = "Limit met since" if met <= last else "Limit met on"
    if met > last and any(one.of_limit > 1 for one in facts.groups):
        word = "Next limit met on"
    level = "bad" if met <= last else "warn"
    return _card(word, met.isoformat(), f"first: {_name(facts, group)}", level)


def _name(facts: Facts, group: Group) -> str:
    return f'<span class="id">{markup.name(top_name(facts, group), *group.name[2:])}</span>'


def _deployments(facts: Facts) -> str:
    """Return a table of the deployments, where there are several."""
    if len(facts.deployments) < 2:
        return ""
    rows = [
        (
            markup.text(one.name),
            markup.text(one.about),
            markup.number(one.count),
            markup.size(one.total),
            markup.size(one.largest),
            limit_text(one.limit.size),
            markup.change(one.change),
        )
        for one in facts.deployments
    ]
    change = f"Since {facts.since}" if facts.since else "Last 7 days against the 7 before"
    heads = ("Deployment", "Database", "XComs", "Stored", "Largest", "Limit", change)
    return f'<section class="card" id="deployments"><h2>Deployments</h2>{markup.table("Deployments", heads, rows, texts=2)}</section>\n'
