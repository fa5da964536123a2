"""Budgets, ignores and the baseline, at their boundaries."""

from __future__ import annotations

import datetime as dt
import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from tests.metadata import Metadata
from xcomctl import audit as audit_package
from xcomctl.audit import decisions
from xcomctl.audit.decisions import Growth
from xcomctl.model import Budget, Encoding, Ignore, Limit, Size, XComEntry, XComRef

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Run

DAY = dt.timedelta(days=1)
YESTERDAY = dt.datetime.now(dt.UTC).date() - DAY
TOMORROW = YESTERDAY + 2 * DAY
"""Neither is today, even where midnight passes while the tests run."""


def text(length: int) -> bytes:
    return b'"' + b"x" * (length - 2) + b'"'


@pytest.fixture
def db(tmp_path: Path) -> Path:
    """Three runs of a task with a value of 999, 1,000 and 1,001 bytes, and another task."""
    path = tmp_path / "airflow.db"
    metadata = Metadata(str(path))
    for number, length in enumerate((999, 1000, 1001)):
        metadata.add(text(length), dag_id="etl", task_id="extract", run_id=f"run_{number}")
        metadata.add(text(500), dag_id="etl", task_id="load", run_id=f"run_{number}")
    metadata.add(text(5000), dag_id="legacy_a", task_id="dump")
    return path


def configure(tmp_path: Path, toml: str) -> None:
    (tmp_path / "xcomctl.toml").write_text(toml)


def audit(run: Run, db: Path, *arguments: str) -> Any:
    done = run("audit", "--url", db, "-o", "json", "--exit-zero", *arguments)
    return done.json()


def entry(size: Size) -> XComEntry:
    ref = XComRef("etl", "extract", "run_1", "return_value")
    return XComEntry(ref, size, None, Encoding.JSON, row=(1,))


def found(report: Any) -> list[tuple[str, str, str]]:
    return [(one["rule"], one["dag_id"], one["task_id"]) for one in report["findings"]]


# --- budgets ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "times"), [("1001", 0), ("1000", 1), ("999", 2), ("998", 3)])
def test_a_value_at_its_budget_is_fine_and_a_byte_more_is_not(
    run: Run, db: Path, tmp_path: Path, size: str, times: int
) -> None:
    """The budget is the largest allowed size."""
    configure(tmp_path, f'[[audit.budget]]\ntask_id = "extract"\nmax_size = "{size}"\n')
    findings = audit(run, db)["findings"]
    assert sum(one["occurrences"] for one in findings) == times
    for one in findings:
        assert one["rule"] == "xcom-over-budget"
        assert one["severity"] == "error"
        assert one["limit_bytes"] == int(size)


@pytest.mark.parametrize(("total", "runs"), [("1501", 0), ("1500", 1), ("1499", 2), ("1498", 3)])
def test_a_run_at_its_total_is_fine(
    run: Run, db: Path, tmp_path: Path, total: str, runs: int
) -> None:
    """All XComs of one budget are added up per run and DAG."""
    configure(tmp_path, f'[[audit.budget]]\ndag_id = "etl"\nmax_total_per_run = "{total}"\n')
    findings = audit(run, db)["findings"]
    assert [one["occurrences"] for one in findings] == ([runs] if runs else [])
    for one in findings:
        assert one["rule"] == "xcom-total-over-budget"
        assert one["max_size_bytes"] == 1501
        assert one["example"]["run_id"] == "run_2"


def test_totals_and_counts_of_all_runs(run: Run, db: Path, tmp_path: Path) -> None:
    """4,500 bytes in six XComs are within a budget of that size, and over a smaller one."""
    budget = '[[audit.budget]]\ndag_id = "etl"\n'
    configure(tmp_path, f'{budget}max_total = "4500"\nmax_count = 6\n')
    assert found(audit(run, db)) == []
    configure(tmp_path, f'{budget}max_total = "4499"\nmax_count = 5\nseverity = "warning"\n')
    report = audit(run, db)
    assert found(report) == [("xcom-total-over-budget", "etl", "*")] * 2
    assert len({one["fingerprint"] for one in report["findings"]}) == 2
    assert report["summary"]["warnings"] == 2


def test_the_most_specific_budget_applies_and_ties_go_to_the_first(
    run: Run, db: Path, tmp_path: Path
) -> None:
    """Exact names before globs, longer globs before shorter ones, then the order in the file."""
    configure(
        tmp_path,
        """
        [[audit.budget]]
        max_size = "1"
        message = "anything"
        [[audit.budget]]
        dag_id = "e*"
        max_size = "1"
        message = "glob"
        [[audit.budget]]
        dag_id = "etl"
        max_size = "1"
        message = "exact"
        [[audit.budget]]
        dag_id = "etl"
        max_size = "9999"
        [[audit.budget]]
        dag_id = "etl"
        task_id = "ext*"
        max_size = "100"
        severity = "note"
        message = "narrow"
        """,
    )
    findings = {one["task_id"]: one for one in audit(run, db)["findings"]}
    assert findings["load"]["message"].endswith("exact")
    assert findings["extract"]["message"].endswith("narrow")
    assert findings["extract"]["severity"] == "note"
    assert findings["dump"]["message"].endswith("anything")


@given(st.lists(st.sampled_from(["*", "a*", "ab", "abc", "[ab]*", "?bc"]), min_size=1, max_size=6))
def test_specificity_is_an_order(globs: list[str]) -> None:
    """Exact names always come before globs."""
    budgets = sorted((Budget(dag_id=glob) for glob in globs), key=lambda one: one.specificity)
    names = [budget.dag_id in ("ab", "abc") for budget in budgets]
    assert names == sorted(names)


# --- ignores ----------------------------------------------------------------------------------

BUDGET = '[[audit.budget]]\nmax_size = "998"\n'


def ignore(**fields: object) -> str:
    given = {"rule": "xcom-over-budget", "dag_id": "etl", "reason": "OPS-42"} | fields
    lines = [
        f"{key} = {value}" if isinstance(value, dt.date) else f'{key} = "{value}"'
        for key, value in given.items()
    ]
    return BUDGET + "[[audit.ignore]]\n" + "\n".join(lines) + "\n"


def test_an_ignored_finding_does_not_count(run: Run, db: Path, tmp_path: Path) -> None:
    """It is counted separately, skipped in JUnit, and listed with --show-ignored."""
    configure(tmp_path, ignore())
    report = audit(run, db)
    assert found(report) == [("xcom-over-budget", "legacy_a", "dump")]
    assert report["summary"]["ignored"] == 1
    assert len(found(audit(run, db, "--show-ignored"))) == 2
    assert report["summary"]["errors"] == 1
    assert audit(run, db, "--no-ignores")["summary"]["errors"] == 2
    where = ("audit", "--url", db, "--exit-zero", "-o")
    assert len(json.loads(run(*where, "sarif").stdout)["runs"][0]["results"]) == 1
    results = json.loads(run(*where, "sarif", "--show-ignored").stdout)["runs"][0]["results"]
    suppressed = [one for one in results if one.get("suppressions")]
    assert len(results) == 2
    assert [one["suppressions"][0]["justification"] for one in suppressed] == ["OPS-42"]
    junit = etree.fromstring(run(*where, "junit").stdout)
    assert [one.get("message") for one in junit.iter("skipped")] == ["OPS-42"]
    assert len(json.loads(run(*where, "gitlab").stdout)) == 1
    assert "ignored" in run(*where, "table", "--show-ignored").out


@pytest.mark.parametrize(("until", "state"), [(TOMORROW, "ignored"), (YESTERDAY, "open")])
def test_an_ignore_holds_until_its_last_day(
    run: Run, db: Path, tmp_path: Path, until: dt.date, state: str
) -> None:
    """Afterwards the finding is reported again, and so is the ignore."""
    configure(tmp_path, ignore(until=until))
    report = audit(run, db, "--show-ignored")
    states = {one["dag_id"]: one["state"] for one in report["findings"] if one["rule"] == "xcom-over-budget"}  # fmt: skip
    assert states["etl"] == state
    expired = [one for one in report["findings"] if one["rule"] == "ignore-expired"]
    assert len(expired) == (state == "open")
    assert [one["file"] for one in expired] == ["xcomctl.toml"] * len(expired)


@pytest.mark.parametrize(("late", "state"), [(0, "ignored"), (1, "open")])
def test_the_last_day_of_an_ignore_counts(late: int, state: str) -> None:
    """The day after does not."""
    report = audit_package.run(
        audit_package.Policy(Limit("test", Size(10), "test")),
        [(entry(Size(11)), None)],
    )
    decided = decisions.apply_ignores(
        report,
        [Ignore("xcom-over-limit", "OPS-42", until=YESTERDAY)],
        today=YESTERDAY + late * DAY,
        complete=True,
    )
    states = [one.state for one in decided.findings if one.rule.id == "xcom-over-limit"]
    assert states == [state]
    assert any(one.rule.id == "ignore-expired" for one in decided.findings) == bool(late)


@pytest.mark.parametrize(("size", "ignored"), [("1001", 1), ("1000", 0)])
def test_an_ignore_does_not_apply_above_its_size(
    run: Run, db: Path, tmp_path: Path, size: str, ignored: int
) -> None:
    """The largest value of the finding decides."""
    configure(tmp_path, ignore(max_size=size))
    assert audit(run, db)["summary"]["ignored"] == ignored


def test_an_unused_ignore_is_reported_after_a_full_audit(
    run: Run, db: Path, tmp_path: Path
) -> None:
    """Not with filters, and not for a rule that was not applied."""
    configure(tmp_path, ignore(dag_id="gone_*"))
    assert ("ignore-unused", "gone_*", "*") in found(audit(run, db))
    assert "ignore-unused" not in str(found(audit(run, db, "-d", "etl")))
    assert "ignore-unused" not in str(found(audit(run, db, "--skip-rules", "xcom-over-budget")))
    configure(tmp_path, ignore(rule="xcom-undecodable"))
    assert "ignore-unused" not in str(found(audit(run, db)))
    assert "ignore-unused" in str(found(audit(run, db, "--deep")))


# --- the baseline -----------------------------------------------------------------------------


def test_a_baseline_accepts_known_findings_only(run: Run, db: Path, tmp_path: Path) -> None:
    """It is written on request; then the audit passes until there is a new finding."""
    configure(tmp_path, BUDGET)
    path = tmp_path / "baseline.json"
    gate = ("audit", "--url", db, "--baseline", path)
    missing = run(*gate)
    assert missing.code == 2
    assert "--update-baseline" in missing.err
    assert run(*gate, "--update-baseline").code == 0
    first = path.read_bytes()
    assert run(*gate).code == 0
    assert path.read_bytes() == first, "comparing writes nothing"
    document = json.loads(first)
    assert [one["task_id"] for one in document["findings"]] == ["extract", "dump"]
    assert b"run_" not in first
    entries = [line for line in first.decode().splitlines() if "fingerprint" in line]
    assert len(entries) == 2
    metadata_add(db, task_id="new", length=2000)
    done = run(*gate, "-o", "json")
    assert done.code == 1
    report = json.loads(done.stdout)
    assert found(report) == [("xcom-over-budget", "dag", "new")]
    assert report["summary"]["known"] == 2
    assert run(*gate, "--update-baseline").code == 0
    assert len(json.loads(path.read_text())["findings"]) == 3


def metadata_add(db: Path, *, task_id: str, length: int, dag_id: str = "dag") -> None:
    """Add a row to an existing database."""
    import sqlite3

    with sqlite3.connect(db) as connection:
        connection.execute(
            "INSERT INTO xcom (dag_run_id, task_id, map_index, key, dag_id, run_id, value, timestamp)"
            " VALUES (99, ?, ?, 'return_value', ?, 'later', ?, '2026-02-02 00:00:00')",
            (task_id, length, dag_id, text(length)),
        )


@pytest.mark.parametrize(("length", "grew"), [(7_500, False), (7_501, True)])
def test_growth_past_both_caps_is_reported(
    run: Run, db: Path, tmp_path: Path, length: int, grew: bool
) -> None:
    """50% of 5,000 bytes is 2,500: one byte more than that is reported, if the other cap is exceeded too."""
    path = tmp_path / "baseline.json"
    configure(tmp_path, f'[audit]\nmin_growth = "1 KiB"\nbaseline = "baseline.json"\n{BUDGET}')
    assert run("audit", "--url", db, "--update-baseline").code == 0
    metadata_add(db, dag_id="legacy_a", task_id="dump", length=length)
    done = run("audit", "--url", db, "-o", "json", "--fail-on", "warning")
    assert done.code == int(grew)
    report = json.loads(done.stdout)
    assert found(report) == ([("xcom-grew", "legacy_a", "dump")] if grew else [])
    before = path.read_bytes()
    configure(tmp_path, f'[audit]\nmin_growth = "1 MiB"\nbaseline = "baseline.json"\n{BUDGET}')
    assert found(audit(run, db)) == []
    assert path.read_bytes() == before


@given(st.integers(0, 10**9), st.integers(0, 10**9), st.integers(0, 300), st.integers(0, 10**6))
def test_growth_must_exceed_both_caps(before: int, now: int, percent: int, size: int) -> None:
    """Computed exactly, in integers."""
    growth = Growth(percent / 100, Size(size))
    expected = now - before > size and 100 * (now - before) > before * percent
    assert growth.exceeded(before, now) == expected


def test_fixed_findings_are_noted_and_removed_from_the_baseline(
    run: Run, db: Path, tmp_path: Path
) -> None:
    """A note names them, and --update-baseline removes them."""
    configure(tmp_path, BUDGET)
    path = tmp_path / "baseline.json"
    gate = ("audit", "--url", db, "--baseline", path)
    run(*gate, "--update-baseline")
    Metadata(str(tmp_path / "empty.db"))
    empty = ("audit", "--url", tmp_path / "empty.db", "--baseline", path)
    done = run(*empty)
    assert done.code == 0
    assert "2 of the baseline's 2 findings were fixed or not checked" in done.err
    run(*empty, "--update-baseline")
    assert json.loads(path.read_text())["findings"] == []


def test_a_filtered_audit_does_not_become_the_baseline(run: Run, db: Path, tmp_path: Path) -> None:
    """Filters would drop the other findings; a broken file is not overwritten."""
    path = tmp_path / "baseline.json"
    gate = ("audit", "--url", db, "--baseline", path)
    assert run(*gate, "--update-baseline", "-d", "etl").code == 2
    assert not path.exists()
    path.write_text('{"schema": "other/1", "findings": []}')
    done = run(*gate)
    assert done.code == 2
    assert "other/1" in done.err


# --- the configuration ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        ('[[audit.buget]]\nmax_size = "1"', '"budget"'),
        ('[[audit.budget]]\nmax_sise = "1"', '"max_size"'),
        ('[audit.budget]\nmax_size = "1"', "two brackets"),
        ('[[audit.budget]]\ndag_id = "x"', "sets no limit"),
        ('[[audit.budget]]\nmax_size = "48K"', "KiB"),
        ("[[audit.budget]]\nmax_count = -1", "max_count"),
        ('[[audit.budget]]\nmax_size = "1"\nseverity = "fatal"', "fatal"),
        ('[[audit.budget]]\nmax_size = "1"\ndag_id = "etl["', "etl["),
        ('[[audit.budget]]\nmax_size = "2"\nmax_total = "1"', "max_total"),
        ('[[audit.ignore]]\nrule = "xcom-pickled"', '"reason"'),
        ('[[audit.ignore]]\nreason = "x"', '"rule"'),
        ('[[audit.ignore]]\nrule = "xcom-pickeld"\nreason = "x"', '"xcom-pickled"'),
        ('[[audit.ignore]]\nrule = "xcom-pickled"\nreason = "x"\nuntil = "soon"', "until"),
        ('[audit]\nmax_growth = "16 KiB"', "50%"),
        ('[audit]\nsource_root = "dags"', "source_root"),
    ],
)
def test_an_invalid_configuration_is_refused(
    run: Run, db: Path, tmp_path: Path, toml: str, said: str
) -> None:
    """Exit code 2, with the file and the fault in it."""
    configure(tmp_path, toml)
    (tmp_path / "b.json").write_text('{"schema": "xcomctl.baseline/1", "findings": []}')
    done = run("audit", "--url", db, "--baseline", tmp_path / "b.json")
    assert done.code == 2, done.err
    assert said in done.err
    assert "xcomctl.toml" in done.err


# --- what else is judged ----------------------------------------------------------------------


def test_budgets_of_text_are_the_same_on_every_backend(
    empty_url: str, run: Run, tmp_path: Path
) -> None:
    """jsonb stores numbers in more bytes than their text has."""
    metadata = Metadata(empty_url, "3.0")
    value = "[1, 2, 3, 4, 5]"
    metadata.add(value)
    for size, count in ((len(value), 0), (len(value) - 1, 1)):
        configure(tmp_path, f'[[audit.budget]]\nmax_size = "{size}"\n')
        for depth in ((), ("--deep",)):
            report = json.loads(
                run("audit", "--url", empty_url, "--measure", "text", "-o", "json", *depth).out
            )
            found = [one for one in report["findings"] if one["rule"] == "xcom-over-budget"]
            assert len(found) == count
            assert [one["max_size_bytes"] for one in found] == [len(value)] * count
    assert run("audit", "--url", empty_url, "--measure", "octets").code == 2


def test_references_into_object_storage_are_noted(empty_url: str, run: Run) -> None:
    """Only values that are a single URL of an object store count."""
    metadata = Metadata(empty_url)
    for name, value in {
        "s3": b'"s3://bucket/dag/run/task/0a1b.gz"',
        "file": b'"file:///base/dag/run"',
        "text": b'"see s3://bucket/key for it"',
        "web": b'"https://example.com/a"',
        "list": b'["s3://bucket/key"]',
    }.items():
        metadata.add(value, task_id=name)
    report = run("audit", "--url", empty_url, "--deep", "-o", "json").json()
    found = {one["task_id"]: one for one in report["findings"] if one["rule"] == "xcom-external"}
    assert found.keys() == {"s3", "file"}
    assert {one["severity"] for one in found.values()} == {"note"}
