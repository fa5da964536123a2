"""Forecasts for growth of every shape, in the function and in `top`."""

from __future__ import annotations

import datetime as dt
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from tests.metadata import Metadata
from xcomctl.sizes.forecast import forecast

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.conftest import Run

FIRST = dt.date(2026, 1, 1)
LIMIT = 65_535
"""What a BLOB holds: `--as mysql:2.8`."""


@dataclass(frozen=True)
class Shape:
    """Largest sizes per day, and the expected forecast."""

    values: Sequence[int | None]
    """None where there was no run that day."""
    trend: str
    daily: tuple[float, float] | None = None
    """Bounds of the bytes a day, where it grows or shrinks."""
    met: tuple[int, int] | None = None
    """Bounds of the day on which the limit is met, counted from the first."""

    @property
    def by_day(self) -> dict[dt.date, int]:
        return {
            FIRST + dt.timedelta(days=day): value
            for day, value in enumerate(self.values)
            if value is not None
        }


def _noise(seed: int, count: int, width: int) -> list[int]:
    source = random.Random(seed)
    return [source.randint(-width, width) for _ in range(count)]


def _ramp(count: int, start: int, daily: int) -> list[int]:
    return [start + daily * day for day in range(count)]


def _week(day: int) -> int:
    return 500 * (day % 7)


LINE = _ramp(40, 1000, 500)
EXACTLY = (499.0, 501.0)
# 1000 + 500 a day is at 65,535 on day 129.07; the day after it is over.
SHAPES = {
    "linear": Shape(LINE, "grows", EXACTLY, (130, 130)),
    "missing days": Shape(
        [value if day in (0, 1, 5, 6, 13, 20, 21, 38) else None for day, value in enumerate(LINE)],
        "grows", EXACTLY, (130, 130),
    ),
    "noisy": Shape(
        [1000 + 500 * day + off for day, off in enumerate(_noise(1, 40, 1500))],
        "grows", (400, 600), (105, 165),
    ),
    "stairs": Shape([1000 + 2500 * (day // 5) for day in range(40)], "grows", (400, 600), (105, 165)),
    "long stairs": Shape([1000] * 10 + [2000] * 10 + [3000] * 10, "grows", (50, 150), (450, 1300)),
    "flat": Shape([3000] * 40, "flat"),
    "noise": Shape([3000 + off for off in _noise(2, 40, 900)], "cannot tell"),
    "shrinking": Shape(_ramp(40, 60_000, -500), "shrinks", (-501, -499)),
    "three days": Shape(_ramp(3, 1000, 500), "cannot tell"),
    "one day": Shape([1000], "cannot tell"),
    "one step": Shape([1000] * 20 + [9000] * 20, "flat"),
    "one early step": Shape([1000] * 6 + [9000] * 34, "flat"),
    "one step among few days": Shape([1000] * 4 + [9000] * 4, "cannot tell"),
    "one noisy step": Shape(
        [(1000 if day < 20 else 9000) + off for day, off in enumerate(_noise(3, 40, 90))],
        "cannot tell",
    ),
    "one step down": Shape([9000] * 20 + [1000] * 20, "flat"),
    "a jump on the last day": Shape([1000] * 39 + [60_000], "cannot tell"),
    "a noisy jump on the last day": Shape(
        [1000 + off for off in _noise(4, 39, 90)] + [60_000], "cannot tell"
    ),
    "one huge day": Shape([1000] * 25 + [60_000] + [1000] * 14, "cannot tell"),
    "weekly": Shape([1000 + _week(day) for day in range(46)], "cannot tell"),
    "weekly, growing": Shape(
        [1000 + _week(day) + 500 * day for day in range(46)], "grows", (400, 600), (105, 165)
    ),
    "stopped": Shape([*_ramp(30, 1000, 500), *[16_000] * 30], "flat"),
    "stopped a fortnight ago": Shape([*_ramp(46, 1000, 500), *[24_000] * 14], "flat"),
    "begun": Shape([*[1000] * 30, *_ramp(30, 1000, 500)], "grows", EXACTLY, (159, 161)),
    "turned": Shape([*_ramp(30, 16_000, -500), *_ramp(30, 1000, 500)], "grows", EXACTLY, (159, 161)),
    "over already": Shape(_ramp(20, 70_000, 500), "grows", EXACTLY, (0, 0)),
    # 62,000 + 500 a day is at 65,535 on day 7.07.
    "over since a while": Shape(_ramp(20, 62_000, 500), "grows", EXACTLY, (8, 8)),
    # 100 * 1.1 ** day is at 65,535 on day 68.05: a line through the last days says 82.
    "exponential": Shape([round(100 * 1.1**day) for day in range(55)], "grows", (1600, 1900), (67, 71)),
    "noisy exponential": Shape(
        [round(100 * 1.1**day * (1 + off / 2000)) for day, off in enumerate(_noise(5, 55, 100))],
        "grows", (1400, 2100), (64, 74),
    ),
}  # fmt: skip


def check(
    shape: Shape, trend: object, daily: float | None, met: dt.date | None, what: str = ""
) -> None:
    """Assert that the forecast is the expected one."""
    assert trend == shape.trend, what
    if shape.daily is not None:
        assert daily is not None
        assert shape.daily[0] <= daily <= shape.daily[1], what
    else:
        assert not daily, what
    if shape.met is not None:
        assert met is not None
        assert shape.met[0] <= (met - FIRST).days <= shape.met[1], what
    else:
        assert met is None, what


@pytest.mark.parametrize("name", SHAPES)
def test_forecast_of_a_shape(name: str) -> None:
    """Trend, bytes per day and the day of the limit; no day if it does not grow."""
    found = forecast(SHAPES[name].by_day, LIMIT)
    check(SHAPES[name], found.trend, found.bytes_per_day, found.meets_limit)
    if found.trend == "cannot tell":
        assert found.why


def test_top_has_the_same_forecast(tmp_path: Path, run: Run) -> None:
    """The command uses the largest value of each day, for each group."""
    path = tmp_path / "airflow.db"
    metadata = Metadata(str(path))
    rows: list[dict[str, Any]] = []
    for name, shape in SHAPES.items():
        for day, value in shape.by_day.items():
            stamp = f"{day.isoformat()} 12:00:00.000000"
            sizes = (value, value // 3)
            rows.extend(
                {"task": name, "size": size, "stamp": stamp, "index": index}
                | {"run": (day - FIRST).days, "run_id": f"run_{day}"}
                for index, size in enumerate(sizes)
            )
    with metadata.engine.begin() as connection:
        connection.execute(
            sa.text(
                "INSERT INTO xcom (dag_run_id, dag_id, task_id, map_index, key, run_id, value, timestamp)"
                " VALUES (:run, 'dag', :task, :index, 'k', :run_id, zeroblob(:size), :stamp)"
            ),
            rows,
        )
    arguments = ("--by", "task_id", "--forecast", "--as", "mysql:2.8", "-n", "0", "-o", "json")
    report = run("top", "--url", path, *arguments).json()
    assert report["limit_bytes"] == LIMIT
    groups = {group["task_id"]: group for group in report["groups"]}
    assert groups.keys() == SHAPES.keys()
    for name, group in groups.items():
        met = group["meets_limit_on"]
        check(
            SHAPES[name],
            group["trend"],
            group["growth_bytes_per_day"],
            met and dt.date.fromisoformat(met),
            name,
        )


def test_the_reason_is_given() -> None:
    """A step, a change or a limit that is exceeded already, in a few words with the day."""
    assert forecast(SHAPES["one step"].by_day, LIMIT).why == "since a step on 2026-01-21"
    assert forecast(SHAPES["begun"].by_day, LIMIT).why == "the trend changed on 2026-01-31"
    assert "1 day since a step" in forecast(SHAPES["a jump on the last day"].by_day, LIMIT).why
    for name in ("flat", "over already", "shrinking"):
        assert "already" in forecast(SHAPES[name].by_day, 1000).why
    quick = {day: size for day, size in SHAPES["exponential"].by_day.items() if day.month == 1}
    assert "% per day" in forecast(quick, LIMIT).why


def test_noise_is_not_a_change() -> None:
    """For many seeds of noisy growth the slope stays that of all days."""
    off = 0
    for seed in range(60):
        values = {
            FIRST + dt.timedelta(days=day): 10_000 + 60 * day + noise
            for day, noise in enumerate(_noise(seed, 60, 500))
        }
        found = forecast(values, LIMIT)
        off += found.trend != "grows" or "since" in found.why
    assert off <= 3


@pytest.mark.parametrize("phase", range(7))
def test_a_weekly_rhythm_is_no_growth(phase: int) -> None:
    """Wherever in the week the days begin and end, from three weeks on."""
    for count in range(21, 60, 5):
        days = {FIRST + dt.timedelta(days=day): 1000 + _week(day + phase) for day in range(count)}
        assert forecast(days, LIMIT).meets_limit is None, count
