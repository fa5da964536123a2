"""`xcomctl rules`: every rule, what it finds, why, and what to do about it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.conftest import clean_environment
from tests.program import at_terminal
from xcomctl.audit.rules import AIRFLOW3_RULES, RULES
from xcomctl.formats import FORMATS

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Run
    from xcomctl.audit.rule import Rule

EVERY = (*RULES, *AIRFLOW3_RULES)


@pytest.mark.parametrize("form", FORMATS)
def test_every_rule_is_listed_in_every_format(run: Run, form: str) -> None:
    """In the order of the code, each once, without a database."""
    out = run("rules", "-o", form).out
    places = [out.index(rule.title) for rule in EVERY]
    assert places == sorted(places)


@pytest.mark.parametrize("width", [40, 60, 80, 100, 160])
def test_no_title_is_cut_at_a_terminal(tmp_path: Path, width: int) -> None:
    """Nor a rule's name; other columns are left out first."""
    env = clean_environment(tmp_path) | {"NO_COLOR": "1"}
    shown = at_terminal(("rules",), width=width, env=env, cwd=tmp_path)
    for rule in EVERY:
        assert rule.id in shown
        assert rule.title in " ".join(shown.split())
    assert "explains one" in " ".join(shown.split())
    assert all(len(line) <= width for line in shown.splitlines())


def test_json_says_everything(run: Run) -> None:
    """No text is empty."""
    document = run("rules", "-o", "json").json()
    assert document["schema"] == "xcomctl.rules/1"
    assert [one["rule"] for one in document["rules"]] == [rule.id for rule in EVERY]
    for one in document["rules"]:
        assert all(one[name] for name in ("severity", "found_by", "title", "why", "example", "fix"))
    found_by = {one["rule"]: one["found_by"] for one in document["rules"]}
    assert found_by["xcom-over-limit"] == "audit"
    assert found_by["xcom-secret"] == "audit --deep"
    assert found_by["xcom-airflow3-nan"] == "preflight"


@pytest.mark.parametrize("rule", EVERY, ids=lambda rule: rule.id)
def test_a_rule_is_explained(run: Run, rule: Rule) -> None:
    """What, why, an example, how to fix it, and how to ignore it."""
    out = run("rules", rule.id).out
    for part in (rule.title, rule.why, rule.example, rule.fix):
        assert part in out
    # Code is not wrapped, so it has to fit.
    assert max(map(len, rule.example.splitlines())) <= 76
    assert ("[[audit.ignore]]\n    rule = " in out) == (not rule.id.startswith("ignore-"))


def test_the_ignore_that_is_shown_is_valid(run: Run, tmp_path: Path) -> None:
    """All of them together are a configuration."""
    rows = [json.loads(line) for line in run("rules", "-o", "jsonl").out.splitlines()]
    blocks = "".join(row["ignore"] or "" for row in rows)
    (tmp_path / "xcomctl.toml").write_text(blocks.replace("# until", "until"))
    done = run("config", "check")
    assert done.code == 0, done.err
    assert f"{len(EVERY) - 2} ignores" in done.out


def test_rules_are_chosen_by_glob(run: Run) -> None:
    """Several are listed; one that is named is explained; what nothing has is an error."""
    some = run("rules", "xcom-*-limit", "-o", "csv", "--columns", "rule").out.split()
    assert some == ["rule", "xcom-over-limit", "xcom-near-limit"]
    assert run("rules", "xcom-secret", "--columns", "severity", "--no-header").out == "warning\n"
    done = run("rules", "xcom-over-limt")
    assert (done.code, 'Did you mean "xcom-over-limit"?' in done.err) == (2, True)
    assert "**xcom-secret" in run("rules", "xcom-secret", "-o", "markdown").out
