"""Who fills the table, and where it is going: against the same numbers worked out by hand."""

from __future__ import annotations

import csv
import datetime as dt
import io
import math
import random
import statistics
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.metadata import WHEN, Metadata
from xcomctl.sizes.forecast import Forecast, forecast
from xcomctl.sizes.statistics import percentile

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Run

FIRST = dt.date(2026, 1, 1)
DAY = dt.timedelta(days=1)


def days(values: list[int]) -> dict[dt.date, int]:
    return {FIRST + index * DAY: value for index, value in enumerate(values)}


# --- numbers ----------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 10**12), min_size=1), st.floats(0.01, 1.0))
def test_percentile_is_the_first_with_the_share_at_or_below(
    values: list[int], share: float
) -> None:
    """As percentile_disc: one of the values, and no smaller one would do."""
    ordered = sorted(values)
    found = percentile(ordered, share)
    assert found is not None
    assert sum(one <= found for one in ordered) >= share * len(ordered) - 1e-6
    assert sum(one < found for one in ordered) < share * len(ordered) + 1e-6
    assert percentile([], share) is None


def test_linear_growth_meets_the_limit_on_its_day() -> None:
    """100 bytes a day from 1,000 are 2,000 on the eleventh day."""
    found = forecast(days([1000 + 100 * day for day in range(8)]), 2000)
    assert found == Forecast("grows", 100.0, FIRST + 10 * DAY)


def test_gaps_between_days_do_not_change_the_slope() -> None:
    """Days without a run are no days of growth."""
    sparse = {FIRST + day * DAY: 1000 + 100 * day for day in (0, 1, 5, 9, 14, 30)}
    assert forecast(sparse, 10_000) == Forecast("grows", 100.0, FIRST + 90 * DAY)


def test_noise_is_not_growth_and_growth_is_seen_through_noise() -> None:
    """Over many seeds: chance is called growth at most one time in ten, growth nearly always."""
    called = met = 0
    for seed in range(100):
        source = random.Random(seed)
        noise = [10_000 + source.randint(-500, 500) for _ in range(40)]
        called += forecast(days(noise), 20_000).trend != "cannot tell"
        grown = [value + 60 * day for day, value in enumerate(noise)]
        found = forecast(days(grown), 20_000)
        assert found.trend == "grows"
        assert found.bytes_per_day == pytest.approx(60, rel=0.35)
        assert found.meets_limit is not None
        # 10,000 + 60 a day is at 20,000 after 167 days.
        met += abs((found.meets_limit - FIRST).days - 167) < 40
    assert called <= 10
    assert met >= 95


def test_one_huge_day_does_not_make_a_trend() -> None:
    """A single outlier moves a mean, and no median of slopes."""
    values = [1000] * 30
    values[20] = 10**9
    assert forecast(days(values), 10**6).trend in ("flat", "cannot tell")


@pytest.mark.parametrize(
    ("values", "trend"),
    [
        ([500] * 30, "flat"),
        ([1000] * 10 + [2000] * 10 + [3000] * 10, "grows"),
        ([9000 - 100 * day for day in range(30)], "shrinks"),
        ([1000, 2000, 3000], "cannot tell"),
        ([1000, 2000, 3000, 4000], "cannot tell"),
        ([], "cannot tell"),
    ],
    ids=["flat", "stepped", "shrinking", "three points", "four points", "none"],
)
def test_what_a_statistician_would_say(values: list[int], trend: str) -> None:
    """And no date where nothing grows."""
    found = forecast(days(values), 100_000)
    assert found.trend == trend
    assert (found.meets_limit is not None) == (trend == "grows")


def test_what_is_far_away_or_met_already_is_said() -> None:
    """Ten years are no forecast any more, and a limit that is met is met on the last day."""
    values = [1000 + 2 * day for day in range(20)]
    far = forecast(days(values), 10**9)
    assert (far.trend, far.meets_limit) == ("grows", None)
    assert "ten years" in far.why
    assert forecast(days(values), 1038).meets_limit == FIRST + 19 * DAY


# --- the command ------------------------------------------------------------------------------


def test_groups_are_what_is_stored(empty_url: str, run: Run) -> None:
    """Count, total, mean, percentiles and share of each group, on each backend."""
    metadata = Metadata(empty_url)
    source = random.Random(1)
    expected: dict[tuple[str, str], list[int]] = {}
    for number in range(60):
        dag, task = f"dag_{number % 2}", f"task_{number % 3}"
        size = source.randint(2, 3000)
        metadata.add(
            b'"' + b"x" * (size - 2) + b'"', dag_id=dag, task_id=task, run_id=f"run_{number}",
            timestamp=WHEN + (number % 5) * DAY,
        )  # fmt: skip
        expected.setdefault((dag, task), []).append(size)
    metadata.add(None, dag_id="dag_0", task_id="task_0", run_id="run_null")
    report = run(
        "top", "--url", empty_url, "--by", "dag_id", "--by", "task_id", "-o", "json"
    ).json()
    assert report["schema"] == "xcomctl.top/1"
    total = sum(map(sum, expected.values()))
    assert report["summary"] == {"scanned": 61, "total_bytes": total}
    groups = {(one["dag_id"], one["task_id"]): one for one in report["groups"]}
    assert groups.keys() == expected.keys()
    assert [one["total_bytes"] for one in report["groups"]] == sorted(
        map(sum, expected.values()), reverse=True
    )
    for name, sizes in expected.items():
        sizes.sort()
        found = groups[name]
        assert found["count"] == len(sizes) + (name == ("dag_0", "task_0"))
        assert found["total_bytes"] == sum(sizes)
        assert found["mean_bytes"] == round(statistics.mean(sizes))
        for share, field in ((0.5, "p50_bytes"), (0.95, "p95_bytes"), (0.99, "p99_bytes")):
            assert found[field] == sizes[math.ceil(share * len(sizes)) - 1]
        assert found["max_bytes"] == sizes[-1]
        assert found["share"] == pytest.approx(100 * sum(sizes) / total, abs=0.001)
    by_day = run("top", "--url", empty_url, "--by", "day", "-n", "0", "-o", "csv")
    rows = list(csv.DictReader(io.StringIO(by_day.out)))
    assert sorted(row["day"] for row in rows) == [
        (WHEN + number * DAY).date().isoformat() for number in range(5)
    ]


@pytest.mark.parametrize("generation", ["1.10", "2.0", "2.3", "3.0", "3.4"])
def test_runs_and_keys_are_grouped_in_every_generation(
    tmp_path: Path, run: Run, generation: str
) -> None:
    """A run that is gone is named by its date."""
    path = tmp_path / "airflow.db"
    metadata = Metadata(str(path), generation)
    value: Any = "12" if metadata.json else b"12"
    metadata.add(value, key="a")
    metadata.add(value, key="b")
    if not metadata.mapped:
        metadata.add(value, dag_id="other", with_run=False)
    report = run("top", "--url", path, "--by", "run_id", "-o", "json").json()
    names = {one["run_id"]: one["count"] for one in report["groups"]}
    gone = {} if metadata.mapped else {"2026-01-31T07:08:09.123456Z": 1}
    assert names == {"run_1": 2} | gone
    keys = run("top", "--url", path, "--by", "key", "-r", "run_1", "-o", "json").json()
    assert {one["key"] for one in keys["groups"]} == {"a", "b"}


def test_forecast_names_the_day_of_the_limit(tmp_path: Path, run: Run) -> None:
    """The case study's growing list of files, on a MySQL of Airflow 2.8."""
    path = tmp_path / "airflow.db"
    metadata = Metadata(str(path))
    for day in range(20):
        metadata.add(b"x" * (10_000 + 1000 * day), run_id=f"run_{day}", timestamp=WHEN + day * DAY)
        metadata.add(b"1", task_id="same", run_id=f"run_{day}", timestamp=WHEN + day * DAY)
    arguments = ("top", "--url", path, "--forecast", "--as", "mysql:2.8", "-o", "json")
    first, second = run(*arguments, "--sort", "growth").json()["groups"]
    # 10,000 + 1,000 a day is over 65,535 on the 56th day after the first.
    assert first["task_id"] == "task"
    assert (first["trend"], first["growth_bytes_per_day"]) == ("grows", 1000)
    assert first["meets_limit_on"] == (WHEN.date() + 56 * DAY).isoformat()
    assert (second["trend"], second["meets_limit_on"]) == ("flat", None)


def test_the_last_line_is_the_total(tmp_path: Path, run: Run) -> None:
    """Of all groups, however many are shown."""
    metadata = Metadata(str(tmp_path / "airflow.db"))
    for task, size in (("a", 3000), ("b", 72)):
        metadata.add(b"1" * size, task_id=task)
    for arguments in ((), ("-n", "1"), ("--by", "dag_id")):
        out = run("top", "--url", "airflow.db", *arguments).out
        assert out.endswith("\n\ntotal: 2 XComs, 3.0 KiB\n")
    assert "total:" not in run("top", "--url", "airflow.db", "-d", "nope").out


def test_orders_limits_and_mistakes(tmp_path: Path, run: Run) -> None:
    """What was cut is said, and a wrong word brings the right one."""
    path = tmp_path / "airflow.db"
    metadata = Metadata(str(path))
    for number in range(3):
        metadata.add(b"1", task_id="many", run_id=f"run_{number}")
    metadata.add(b"1" * 50, task_id="large")
    rows = run("top", "--url", path, "--sort", "rows", "-n", "1", "-o", "json")
    assert [one["task_id"] for one in rows.json()["groups"]] == ["many"]
    assert "1 of 2 groups" in rows.err
    largest = run("top", "--url", path, "--sort", "max", "-o", "json").json()
    assert [one["task_id"] for one in largest["groups"]] == ["large", "many"]
    table = run("stats", "--url", path, "--by", "task_id")
    assert table.code == 0
    assert "##################" in table.out
    wrong = run("top", "--url", path, "--by", "dagid")
    assert (wrong.code, "Did you mean" in wrong.err) == (2, True)
    assert run("top", "--url", path, "--sort", "name").code == 2
    assert run("top", "--url", path, "-d", "none", "-o", "json").json()["groups"] == []
