"""Parts of the table by its leading key: together every row, once."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import pytest

from tests.db.test_store import ascii_only, opened
from tests.metadata import WHEN, Metadata
from xcomctl.model import KeyRange, Selection

if TYPE_CHECKING:
    from pathlib import Path

ROWS = 34


def fill(url: str, generation: str) -> None:
    """Make rows whose dag_ids sort in the database's own way, two orphans among them."""
    metadata = Metadata(url, generation)
    names = ascii_only(metadata)
    value = "1" if metadata.json else b"1"
    for number in range(ROWS - 2):
        dag, run = names[number % len(names)], f"run_{number % 7}"
        date = WHEN + dt.timedelta(hours=number)
        metadata.add(value, dag_id=dag, run_id=run, task_id=f"t{number}", date=date)
    for number in (-5, 10_000):
        gone = {"dag_run_id": number} if metadata.mapped else {}
        metadata.add(value, dag_id="gone", task_id=f"o{number}", with_run=False, **gone)  # type: ignore[arg-type]


def tasks(store: Any, part: KeyRange | None) -> list[str]:
    return [entry.ref.task_id for entry in store.entries.scan(Selection(part=part))]


@pytest.mark.parametrize("generation", ["1.10", "2.0", "2.3", "3.0"])
def test_every_row_is_in_one_part(empty_url: str, generation: str) -> None:
    """However many parts there are; none is before another in the order of the key."""
    fill(empty_url, generation)
    with opened(empty_url) as store:
        whole = tasks(store, None)
        assert len(whole) == ROWS
        for count in (1, 2, 3, 7, 40):
            plan = store.parts.plan(count)
            assert len(plan) == count
            assert plan[0].start is plan[-1].end is None
            assert [one.end for one in plan[:-1]] == [one.start for one in plan[1:]]
            found = [tasks(store, part) for part in plan]
            assert sorted(task for some in found for task in some) == sorted(whole)
        # As many runs, or DAGs, in each.
        sizes = [len(tasks(store, part)) for part in store.parts.plan(4)]
        assert all(2 <= size <= 16 for size in sizes), sizes


def test_runs_that_a_clean_up_left_do_not_unbalance_the_parts(tmp_path: Path) -> None:
    """A few old runs and many new ones: each part has its share of rows."""
    path = tmp_path / "airflow.db"
    metadata = Metadata(str(path))
    for number in (1, 2, *range(1_000_001, 1_000_039)):
        metadata.runs["dag", f"run_{number}"] = number
        metadata.execute(
            "INSERT INTO dag_run (id, dag_id, run_id, execution_date, state)"
            f" VALUES ({number}, 'dag', 'run_{number}', '2026-01-31 00:00:00.000000', 'success')"
        )
        metadata.add(b"1", run_id=f"run_{number}", task_id=f"t{number}")
    with opened(str(path)) as store:
        assert [len(tasks(store, part)) for part in store.parts.plan(4)] == [10] * 4


def test_new_runs_do_not_change_the_plan(tmp_path: Path) -> None:
    """So that parts which begin one after the other fit together."""
    path = tmp_path / "airflow.db"
    metadata = Metadata(str(path))

    def add(first: int, last: int) -> None:
        with metadata.engine.begin() as connection:
            for number in range(first, last + 1):
                connection.exec_driver_sql(
                    "INSERT INTO dag_run (id, dag_id, run_id, execution_date) VALUES"
                    f" ({number}, 'dag', 'r{number}', '2026-01-31 00:00:00.000000')"
                )
                connection.exec_driver_sql(
                    "INSERT INTO xcom (dag_run_id, task_id, key, dag_id, run_id, value, timestamp)"
                    f" VALUES ({number}, 't', 'k', 'dag', 'r{number}', x'31', '2026-01-31')"
                )

    add(1, 2_100)
    with opened(str(path)) as store:
        before = store.parts.plan(4)
        sizes = [len(tasks(store, part)) for part in before]
    assert max(sizes) < 1.1 * min(sizes)
    add(2_101, 2_110)
    with opened(str(path)) as store:
        assert store.parts.plan(4) == before


def test_an_empty_table_has_parts(tmp_path: Path) -> None:
    path = tmp_path / "airflow.db"
    for generation in ("1.10", "2.0", "2.3"):
        path = tmp_path / f"{generation}.db"
        Metadata(str(path), generation)
        with opened(str(path)) as store:
            assert [tasks(store, part) for part in store.parts.plan(3)] == [[], [], []]
