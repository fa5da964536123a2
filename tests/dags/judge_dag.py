"""A DAG that real Airflows run to judge what `xcomctl push` wrote.

`push` has xcomctl write values in the name of `source`, as the file in `JUDGE_ASKED` says; `pull`
asks this Airflow's own `xcom_pull` for each of them, and writes to `JUDGE_TOLD` what it returned.
"""

import datetime
import decimal
import json
import os
import subprocess
import uuid
import zoneinfo
from pathlib import Path

import pendulum

try:
    from airflow.providers.standard.operators.python import PythonOperator
    from airflow.sdk import DAG
except ImportError:
    from airflow import DAG
    from airflow.operators.python import PythonOperator

NAMES = {
    "datetime": datetime,
    "Decimal": decimal.Decimal,
    "UUID": uuid.UUID,
    "ZoneInfo": zoneinfo.ZoneInfo,
}


def nothing():
    """Push nothing."""


def push(run_id, **_):
    """Run xcomctl's own Python, with the run in which this happens."""
    subprocess.run(
        [*json.loads(os.environ["JUDGE_PUSH"]), run_id], check=True, stdin=subprocess.DEVNULL
    )


def pull(ti, **_):
    """Write what was read of each value, and whether it is what the test expects."""
    asked = json.loads(Path(os.environ["JUDGE_ASKED"]).read_text())
    told = {}
    for key, expression in asked.items():
        expected = eval(expression, NAMES)  # noqa: S307 - the test's own
        try:
            found = ti.xcom_pull(task_ids="source", key=key)
        except Exception as error:  # noqa: BLE001 - whatever it raises is what is told
            told[key] = {"equal": False, "repr": f"{type(error).__name__}: {error}"}
            continue
        same = type(found) is type(expected) and (
            found == expected or repr(found) == repr(expected)
        )
        told[key] = {"equal": same, "repr": repr(found)[:200]}
    Path(os.environ["JUDGE_TOLD"]).write_text(json.dumps(told))


with DAG("judge_dag", start_date=pendulum.datetime(2026, 1, 1, tz="UTC"), schedule=None):
    source = PythonOperator(task_id="source", python_callable=nothing)
    pushing = PythonOperator(task_id="push", python_callable=push)
    pulling = PythonOperator(task_id="pull", python_callable=pull)
    source >> pushing >> pulling
