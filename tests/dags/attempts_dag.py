"""A DAG that leaves XComs of every kind of Airflow 3.4: retried, mapped with a gap, in a loop.

Its last task asks this Airflow's own `xcom_pull` for them, and writes to `JUDGE_TOLD` what it
returned: the name as arguments, and the value's `repr`. Airflow 3.3 runs it, too, without the loop.
"""

import json
import os
from datetime import timedelta
from pathlib import Path

import pendulum
from airflow.exceptions import AirflowException, AirflowSkipException
from airflow.sdk import dag, task, task_group


@task
def numbers():
    return [0, 1, 2]


@task(trigger_rule="all_done")
def each(number, ti):
    """Push two keys; the one in the middle is skipped, and so pushes one only."""
    ti.xcom_push(key="square", value={"of": number, "is": number**2})
    if number == 1:
        raise AirflowSkipException
    return (number, str(number))


@task(retries=1, retry_delay=timedelta(0))
def flaky(ti):
    """Fail once, having pushed."""
    ti.xcom_push(key="always", value=f"try {ti.try_number}")
    ti.xcom_push(key=f"only {ti.try_number}", value=[ti.try_number])
    if ti.try_number == 1:
        raise AirflowException
    return {"done": True}


@task_group
def passes():
    @task
    def count(*, loop):
        return (0 if loop.index == 0 else loop.previous) + 1

    count()


@task(trigger_rule="all_done")
def pull(ti):
    """Ask for everything that has one name."""
    names = [
        ("numbers", "return_value", None),
        ("flaky", "always", None),
        ("flaky", "only 1", None),
    ]
    names += [
        ("flaky", "only 2", None),
        ("flaky", "return_value", None),
        ("nobody", "return_value", None),
    ]
    names += [("each", key, index) for key in ("square", "return_value") for index in range(4)]
    told = []
    for task_id, key, index in names:
        asked = {} if index is None else {"map_indexes": index}
        found = ti.xcom_pull(task_ids=task_id, key=key, **asked)
        told.append([task_id, key, index, repr(found)])
    lists = [("each", "square"), ("each", "return_value")]
    lists += [("passes.count", "return_value")] if hasattr(passes, "loop") else []
    for task_id, key in lists:
        found = list(ti.xcom_pull(task_ids=task_id, key=key))
        told.append([task_id, key, "all", repr(found)])
    Path(os.environ["JUDGE_TOLD"]).write_text(json.dumps(told))


@dag(schedule=None, start_date=pendulum.datetime(2026, 1, 1, tz="UTC"))
def attempts_dag():
    last = pull()
    each.expand(number=numbers()) >> last
    flaky() >> last
    if hasattr(passes, "loop"):
        passes.loop(max_iterations=3) >> last


attempts_dag()
