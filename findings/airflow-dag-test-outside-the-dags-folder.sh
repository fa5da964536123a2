#!/usr/bin/env bash
# In Airflow 3, `dag.test()` runs only a DAG whose file is in a configured DAG bundle, which is the folder
# `[core] dags_folder` by default. The same file elsewhere, such as a DAG defined in a test, first looks well:
# the run is being created, and then "the dag is not serialized". The message does not name the folder.
#
# Seen with Airflow 3.3.2 on Python 3.11, on an empty SQLite database:
#
#   inside: success
#   elsewhere: AirflowException: Cannot create DagRun for DAG elsewhere because the dag is not serialized
#
# xcomctl relies on it in pytest_plugin.py, which tells Airflow of the project's folder "dags".
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" -q install --disable-pip-version-check apache-airflow==3.3.2 apache-airflow-core==3.3.2
mkdir "$folder/inside" "$folder/elsewhere"
for place in inside elsewhere; do
  cat > "$folder/$place/$place.py" <<PYTHON
from airflow.sdk import DAG, task

with DAG("$place") as dag:

    @task
    def push():
        return {"rows": 3}

    push()
PYTHON
done
export AIRFLOW_HOME="$folder/home" AIRFLOW__CORE__DAGS_FOLDER="$folder/inside" AIRFLOW__CORE__LOAD_EXAMPLES=False
"$folder/venv/bin/airflow" db migrate >/dev/null 2>&1
PYTHONPATH="$folder/inside:$folder/elsewhere" "$folder/venv/bin/python" - 2>/dev/null <<'PYTHON' | grep -a '^[a-z]*: ' | tee "$folder/seen"
import importlib

for place in ("inside", "elsewhere"):
    dag = importlib.import_module(place).dag
    try:
        print(f"{place}: {dag.test().state}", flush=True)
    except Exception as error:
        print(f"{place}: {type(error).__name__}: {error}", flush=True)
PYTHON
diff - "$folder/seen" <<'EXPECTED'
inside: success
elsewhere: AirflowException: Cannot create DagRun for DAG elsewhere because the dag is not serialized
EXPECTED
