"""A page judged at once has the findings of its values judged one by one."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.audit.made_pages import KEYS, RAWS, TEXTS, page_of, whole
from tests.audit.test_secrets import planted
from xcomctl.audit import Audit, Policy, run, secrets
from xcomctl.audit.rules import RULES
from xcomctl.audit.screening import doubtful
from xcomctl.model import Budget, Limit, Size
from xcomctl.values.health import Health, check

if TYPE_CHECKING:
    from xcomctl.audit import Report
    from xcomctl.model import Raw, Storage

ALL = frozenset(rule.id for rule in RULES)
LIMIT = Limit("limit", Size(60), "made up")
ROWS = st.lists(st.tuples(KEYS, RAWS), max_size=6)
STORAGES = st.sampled_from(["bytes", "json"])


def contents(report: Report) -> object:
    """Return everything that a report says."""
    return report.findings, report.scanned, report.total_bytes, report.largest, report.totals


@settings(max_examples=400, deadline=None)
@given(ROWS, STORAGES)
@example([("return_value", '"a\\"'), ("return_value", ': "Zq3vN8sLr0aZ09_-Qw"}')], "json")
@example([("return_value", b'{"pass'), ("return_value", b'word": "Zq3vN8sLr0"}')], "bytes")
@example([("return_value", '{"\u212aey": "Zq3vN8sLr0aZ09_-Qw"}')], "json")
@example([("return_value", None), ("return_value", b'\n\n"{}"'), ("return_value", b"")], "bytes")
def test_what_is_not_doubtful_is_fine(rows: list[tuple[str, Raw]], storage: Storage) -> None:
    """No rule objects to it, whatever stands next to it."""
    found = doubtful(page_of(rows, storage), ALL)
    for at, (key, raw) in enumerate(rows):
        if at in found:
            continue
        assert check(raw, storage).health in (Health.VALID, Health.NULL)
        if isinstance(raw, bytes | str):
            assert [rule.id for rule in RULES if rule.find and rule.find(raw, key)] == []


@settings(max_examples=150, deadline=None)
@given(ROWS, STORAGES, st.booleans(), st.booleans())
def test_the_report_is_the_same(
    rows: list[tuple[str, Raw]], storage: Storage, more: bool, per_entry: bool
) -> None:
    """In one page, in two, and one by one; with budgets and totals, too."""
    budgets = (Budget(max_size=Size(50), max_count=2),) if more else ()
    policy = Policy(LIMIT, storage=storage, capacity=Size(9), deep=True, budgets=budgets, with_totals=more, per_entry=per_entry)  # fmt: skip
    page = page_of(rows, storage)
    expected = run(policy, [(page.entry(at), raw) for at, (_, raw) in enumerate(rows)])
    for parts in ([range(len(rows))], [range(len(rows) // 2), range(len(rows) // 2, len(rows))]):
        audit = Audit(policy)
        for part in parts:
            some = page_of([rows[at] for at in part], storage)
            some.entry = lambda at, part=part: page.entry(part[at])  # type: ignore[misc]
            audit.add_page(some)
        assert contents(audit.finish()) == contents(expected)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(KEYS, whole(TEXTS)), max_size=6))
def test_where_the_database_guarantees_json(rows: list[tuple[str, Raw]]) -> None:
    """Values are not parsed again, and the report is the same."""
    policy = Policy(LIMIT, storage="json", deep=True)
    page = page_of(rows, "json")
    audit = Audit(policy, strict=True)
    audit.add_page(page)
    expected = run(policy, [(page.entry(at), raw) for at, (_, raw) in enumerate(rows)])
    assert contents(audit.finish()) == contents(expected)


@pytest.mark.parametrize("kind", planted(1))
def test_only_the_value_with_a_credential_is_doubtful(kind: str) -> None:
    """Its neighbours are ordinary, and are not looked at again."""
    ordinary = json.dumps({"rows": 12, "path": "raw/2026-01-31/part-0.csv", "key": "x", "ok": True})
    rows: list[tuple[str, Raw]] = [("return_value", ordinary.encode())] * 5
    rows[3] = ("return_value", json.dumps(planted(1)[kind]).encode())
    assert doubtful(page_of(rows, "bytes"), ALL) == {3}


def test_a_rule_without_suspects_looks_at_every_value(monkeypatch: pytest.MonkeyPatch) -> None:
    """`find` alone is a rule; `suspects` only saves time."""
    from dataclasses import replace

    from xcomctl.audit import rules

    plain = replace(secrets.RULE, suspects=None)
    monkeypatch.setattr(rules, "RULES", (plain,))
    page = page_of(
        [("return_value", b"1"), ("return_value", None), ("return_value", b"2")], "bytes"
    )
    assert doubtful(page, ALL) == {0, 2}


@pytest.mark.parametrize("letter", ["x", "\N{SNOWMAN}"])
def test_a_credential_far_into_a_large_value_is_found(letter: str) -> None:
    """As many characters are searched as `find` searches, whatever they take in UTF-8."""
    text = f'["{letter * 4_000_000}", "ghp_aZ3vN8sLr0aZ09Qw7KpMnBvCxDsF1gH2jK3l"]'
    assert secrets.find(text, "return_value") == "a GitHub token"
    assert secrets.suspects(page_of([("return_value", text)], "json")) == {0}
