"""DAGs for the pytest plugin: one pushes little, one more than MySQL held before Airflow 2.9."""

from __future__ import annotations

import datetime as dt
from typing import Any

try:
    from airflow.sdk import dag, task
except ImportError:
    from airflow.decorators import dag, task


def build(name: str, size: int) -> Any:
    """Return a DAG with a task that returns that many bytes of JSON, about."""

    @dag(dag_id=name, start_date=dt.datetime(2026, 1, 1), schedule=None)
    def define() -> None:
        @task
        def extract() -> list[str]:
            return ["x" * 100] * (size // 104)

        @task
        def count(rows: list[str]) -> int:
            return len(rows)

        count(extract())

    return define()


small, large = build("small", 1000), build("large", 70_000)
