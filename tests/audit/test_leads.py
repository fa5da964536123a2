"""Each XCom is shown once, under its gravest rule, and machines still get every finding."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from xcomctl import audit
from xcomctl.audit import rules
from xcomctl.audit.checks import check_entry
from xcomctl.cli.findings import digest_findings, finding_rows, severity_counts
from xcomctl.model import Budget, Encoding, Limit, Size, XComEntry, XComRef

if TYPE_CHECKING:
    from collections.abc import Sequence

CAPACITY = Size(100)
POLICY = audit.Policy(
    limit=Limit("blob", CAPACITY, "a test"),
    capacity=CAPACITY,
    budgets=(Budget(max_size=Size(60), severity="note"),),
)
CUT = b'"' + b"x" * 99
WHOLE = b'"' + b"x" * 98 + b'"'


def entry(number: int, size: int, *, pickled: bool = False, task: str = "t") -> XComEntry:
    """Return an XCom of a run of its own."""
    encoding = Encoding.PICKLE if pickled else Encoding.JSON
    return XComEntry(
        XComRef("dag", task, f"run_{number}", "k"), Size(size), None, encoding, (number,)
    )


def report_on(
    entries: Sequence[XComEntry], cut: Sequence[int] = (), policy: audit.Policy = POLICY
) -> audit.Report:
    """Return the report on the XComs; those with the given numbers were truncated."""

    def suspects() -> list[tuple[XComEntry, bytes]]:
        full = [one for one in entries if one.size == CAPACITY]
        return [(one, CUT if one.row[0] in cut else WHOLE) for one in full]

    return audit.run(policy, [(one, None) for one in entries], suspects)


def shown(report: audit.Report) -> list[tuple[object, ...]]:
    """Return rule, number and largest size of each row that people see."""
    rows = digest_findings(list(finding_rows(report, None)))
    return [(row["rule"], row["occurrences"], row["max_size_bytes"]) for row in rows]


def test_a_truncated_value_is_not_also_shown_as_close_to_the_limit() -> None:
    """And where others are close, they are shown with the largest of them."""
    report = report_on([entry(1, 100)], cut=[1])
    assert [one.rule.id for one in report.findings] == [
        "xcom-truncated",
        "xcom-near-limit",
        "xcom-over-budget",
    ]
    assert shown(report) == [("xcom-truncated", 1, 100)]
    assert severity_counts(report) == "1 error"
    several = report_on([entry(1, 100), entry(2, 90), entry(3, 100, task="u")], cut=[1])
    assert shown(several) == [
        ("xcom-truncated", 1, 100),
        ("xcom-near-limit", 1, 100),
        ("xcom-near-limit", 1, 90),
    ]


@given(
    st.lists(st.tuples(st.sampled_from([10, 70, 80, 99, 100, 120]), st.booleans(), st.booleans()))
)
def test_every_bad_xcom_is_shown_exactly_once(
    given_entries: list[tuple[int, bool, bool]],
) -> None:
    """Whatever it violates, and the findings for machines count every violation."""
    entries = [
        entry(number, size, pickled=pickled)
        for number, (size, pickled, _) in enumerate(given_entries)
    ]
    cut = [number for number, (size, _, is_cut) in enumerate(given_entries) if is_cut]
    report = report_on(entries, cut)
    expected: Counter[str] = Counter()
    bad = 0
    for one in entries:
        violated = [rule.id for rule, _ in check_entry(POLICY, POLICY.warn_from, one)]
        violated += ["xcom-over-budget"] * ((one.size or 0) > 60)
        violated += ["xcom-truncated"] * (one.size == CAPACITY and one.row[0] in cut)
        # A whole pickle would be found to end; the one here is JSON that is cut or not.
        expected.update(violated)
        bad += bool(violated)
    assert {one.rule.id: one.occurrences for one in report.findings} == dict(expected)
    assert sum(int(str(row[1])) for row in shown(report)) == bad
    assert report.largest == max((one.size or 0 for one in entries), default=None)


def test_rules_that_are_off_hide_nothing() -> None:
    """The gravest rule is one that was applied."""
    quiet = audit.Policy(
        limit=POLICY.limit,
        capacity=CAPACITY,
        enabled=frozenset(rules.RULE_BY_ID) - {"xcom-truncated", "xcom-near-limit"},
    )
    assert shown(report_on([entry(1, 100, pickled=True)], cut=[1], policy=quiet)) == [
        ("xcom-pickled", 1, 100)
    ]


def test_a_finding_that_is_ignored_does_not_hide_another() -> None:
    """What the team lives with is not what is left."""
    report = report_on([entry(1, 120, pickled=True)])
    report.findings = [
        audit.Finding(**{name: getattr(one, name) for name in one.__slots__} | {"state": state})
        for one, state in zip(report.findings, ("ignored", "open", "open"), strict=True)
    ]
    rows = digest_findings([row for row in finding_rows(report, None) if row["state"] == "open"])
    assert [row["rule"] for row in rows] == ["xcom-over-budget", "xcom-pickled"]


def test_notes_of_a_rule_are_one_row_per_dag() -> None:
    """With the number of tasks, keys and XComs; errors and warnings keep their rows."""
    rows = [
        {
            "rule": rule, "severity": severity, "dag_id": dag, "task_id": task, "key": "k",
            "occurrences": 2, "max_size_bytes": size, "per_entry": False, "state": "open",
            "reason": None,
        }
        for rule, severity, dag, task, size in (
            ("xcom-over-limit", "error", "b", "t1", 90),
            ("xcom-near-limit", "warning", "b", "t2", 80),
            ("xcom-near-limit", "warning", "b", "t3", 80),
            ("xcom-pickled", "note", "a", "t1", 70),
            ("xcom-pickled", "note", "b", "t1", 60),
            ("xcom-pickled", "note", "a", "t2", 50),
            ("xcom-external", "note", "a", "t2", 40),
        )
    ]  # fmt: skip
    seen = [
        (row["dag_id"], row["rule"], row["task_id"], row["key"], row["occurrences"])
        for row in digest_findings(rows)
    ]
    assert seen == [
        ("b", "xcom-over-limit", "t1", "k", 2),
        ("b", "xcom-near-limit", "t2", "k", 2),
        ("b", "xcom-near-limit", "t3", "k", 2),
        ("b", "xcom-pickled", "t1", "k", 2),
        ("a", "xcom-pickled", "(2 tasks)", "k", 4),
        ("a", "xcom-external", "t2", "k", 2),
    ]
    assert len(digest_findings([row | {"per_entry": True} for row in rows])) == 7
