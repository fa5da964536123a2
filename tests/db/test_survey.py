"""Sums first, rows where the sums call for it: the same findings as from every row."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

import pytest

from tests.db.test_store import opened
from tests.fixture_databases import all_fixtures
from tests.metadata import Metadata
from xcomctl import audit
from xcomctl.model import Budget, Limit, Selection, Size

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Run
    from xcomctl.db.read.store import Store

POLICIES = {
    "plain": audit.Policy(Limit("test", Size(1000), "")),
    "low": audit.Policy(Limit("test", Size(60), ""), warn_at=0.5, with_totals=True),
    "near is above the limit": audit.Policy(Limit("test", Size(60), ""), warn_at=5000),
    "per entry": audit.Policy(Limit("test", Size(100), ""), per_entry=True),
    "a column that cuts": audit.Policy(Limit("test", Size(65_535), ""), capacity=Size(65_535)),
    "no pickles": audit.Policy(
        Limit("test", Size(1000), ""), enabled=frozenset({"xcom-over-limit", "xcom-near-limit"})
    ),
    "budgets": audit.Policy(
        Limit("test", Size(10_000), ""),
        budgets=(
            Budget(dag_id="types*", max_size=Size(20), max_total=Size(100)),
            Budget(dag_id="xcom*", max_total_per_run=Size(10), max_count=2),
            Budget(task_id="push*", max_size=Size(5), max_total_per_run=Size(50), severity="note"),
        ),
    ),
}


def both(store: Store, policy: audit.Policy) -> tuple[audit.Report, audit.Report]:
    """Return the report from sums and the one from every row."""
    everything = Selection()

    def suspects() -> Any:
        full = policy.capacity
        return store.entries.values(Selection(min_size=full, max_size=full)) if full else ()

    from_sums = audit.run_on_groups(
        policy,
        store.sizes.survey(everything, pickles="xcom-pickled" in policy.enabled),
        lambda size, pickles: store.sizes.candidates(everything, at_least=size, pickles=pickles),
        lambda: store.sizes.by_group(everything, ("dag_id", "task_id", "key", "run_id")),
        suspects,
    )
    rows = ((entry, None) for entry in store.entries.scan(everything))
    return from_sums, audit.run(policy, rows, suspects)


def test_the_same_is_found(empty_url: str) -> None:
    """Large ones, pickles old and new, small and large, cut values, NULL and broken bytes."""
    metadata = Metadata(empty_url)
    values: dict[str, bytes | None] = {
        "small": b"1", "null": None, "empty": b"", "broken": b"\xff\xfe", "dot": b'"a."', "text.": b"abc.",
        "large": b'"' + b"x" * 4000 + b'"', "huge": b'"' + b"x" * 300_000 + b'"',
        "pickle": pickle.dumps({"a": 1}), "large pickle": pickle.dumps("y" * 50_000),
        "old pickle": pickle.dumps({"a": 1}, protocol=0), "cut": b'"' + b"z" * 65_534,
        "no pickle": b"\x80\x09abc",
    }  # fmt: skip
    for name, value in values.items():
        for run_id in ("run_1", "run_2"):
            metadata.add(value, dag_id=f"types {len(name)}", task_id=f"push {name}", run_id=run_id)
    with opened(empty_url) as store:
        for name, policy in POLICIES.items():
            from_sums, from_rows = both(store, policy)
            assert from_sums.findings == from_rows.findings, name
            assert from_sums.scanned == from_rows.scanned == 2 * len(values)
            assert from_sums.total_bytes == from_rows.total_bytes
            assert from_sums.totals == from_rows.totals
        pickled = {one.task_id for one in from_rows.findings if one.rule.id == "xcom-pickled"}
        assert not pickled - {"push pickle", "push large pickle", "push old pickle"}


@pytest.mark.parametrize("fixture", all_fixtures(), ids=str)
def test_the_same_is_found_in_real_databases(tmp_path: Path, fixture: Any, any_server: Any) -> None:
    """Whatever generation and backend."""
    server = None if fixture.backend == "sqlite" else any_server(fixture.backend)
    with opened(fixture.load(tmp_path, server)) as store:
        for name, policy in POLICIES.items():
            from_sums, from_rows = both(store, policy)
            assert from_sums.findings == from_rows.findings, name
            assert from_sums.totals == from_rows.totals
            assert from_sums.total_bytes == from_rows.total_bytes


def test_a_large_pickle_alone_is_found(empty_url: str, run: Run) -> None:
    """No small one gives it away, and the newest large value of its task is looked at."""
    metadata = Metadata(empty_url)
    metadata.add(b'"' + b"x" * 9000 + b'"', task_id="other")
    metadata.add(pickle.dumps(list(range(9000))), task_id="frame")
    report = run("audit", "--url", empty_url, "-o", "json").json()
    assert [(one["rule"], one["task_id"]) for one in report["findings"]] == [
        ("xcom-pickled", "frame")
    ]
    assert report["summary"]["pickles_sampled"] is False


def test_what_was_only_sampled_is_said(empty_url: str, run: Run) -> None:
    """Where reading every first byte would cost more than all the rest, the summary tells."""
    metadata = Metadata(empty_url)
    for number in range(3):
        metadata.add(b'"' + b"x" * 9000 + b'"', run_id=f"run_{number}")
    done = run("audit", "--url", empty_url, "-o", "json")
    sampled = metadata.backend in ("postgresql", "sqlite")
    assert done.json()["summary"]["pickles_sampled"] is sampled
    assert ("large values sampled" in done.err) is sampled
