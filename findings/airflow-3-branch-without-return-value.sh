#!/usr/bin/env bash
# Apache Airflow 3.3.2 (and 3.0.6): a branch that skips a task stores no return value.
#
# A branch task returns the ids of the tasks to run. In Airflow 2.10.5 that return value is an XCom
# like any other. In Airflow 3 it is stored only if the branch skips nothing: skipping is an
# exception (DownstreamTasksSkipped) that leaves execute() before the return value is pushed, and
# the task still ends as success. So xcom_pull(task_ids="some") is None in every run but those in
# which all paths are taken. What the branch chose is in the key "skipmixin_key" in both cases.
#
# Seen:
#   every  success  return_value ["left", "right"]
#   some   success  return_value (none)
#   some   skipmixin_key {"followed": ["left"]}
set -eu
W=$(mktemp -d); trap 'rm -rf "$W"' EXIT
python3 -m venv "$W/venv"
"$W/venv/bin/pip" install -q --disable-pip-version-check 'apache-airflow==3.3.2'
mkdir "$W/dags"
cat > "$W/dags/branches.py" <<'PY'
from datetime import datetime

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import dag, task


@task.branch
def some():
    return "left"


@task.branch
def every():
    return ["left", "right"]


@dag(schedule=None, start_date=datetime(2026, 1, 1), catchup=False)
def branches():
    for choice in (some(), every()):
        for name in ("left", "right"):
            choice >> (known.get(name) or known.setdefault(name, EmptyOperator(task_id=name, trigger_rule="none_failed")))


known = {}
branches()
PY
export AIRFLOW_HOME=$W AIRFLOW__CORE__LOAD_EXAMPLES=False AIRFLOW__CORE__DAGS_FOLDER=$W/dags
export AIRFLOW__DATABASE__SQL_ALCHEMY_CONN=sqlite:///$W/airflow.db
"$W/venv/bin/airflow" db migrate > "$W/log" 2>&1 || { tail -n 20 "$W/log"; exit 2; }
"$W/venv/bin/airflow" dags test branches > "$W/log" 2>&1 || { tail -n 20 "$W/log"; exit 2; }
"$W/venv/bin/python" - "$W/airflow.db" <<'PY'
import sqlite3
import sys

import airflow

print("Apache Airflow", airflow.__version__)
database = sqlite3.connect(sys.argv[1])
states = dict(database.execute("SELECT task_id, state FROM task_instance"))
values = {(task, key): value for task, key, value in database.execute("SELECT task_id, key, value FROM xcom")}
for task in ("every", "some"):
    print(f"  {task:6} {states[task]}  return_value", values.get((task, "return_value"), "(none)"))
print("  some   skipmixin_key", values.get(("some", "skipmixin_key")))
as_seen = (
    states["some"] == states["every"] == "success"
    and values.get(("every", "return_value")) == '["left", "right"]'
    and ("some", "return_value") not in values
    and values.get(("some", "skipmixin_key")) == '{"followed": ["left"]}'
)
sys.exit(not as_seen)
PY
