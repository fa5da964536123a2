"""A list handed over by XCom that grows until it no longer fits.

One task lists the files that a source holds for the day, the next one downloads them. Every day
brings more files: after about 60 days the list passes the 65,535 bytes of a MySQL BLOB.
Loads in Airflow 2.4 to 3.x.
"""

from __future__ import annotations

from datetime import date

import pendulum

try:
    from airflow.sdk import DAG, task
except ImportError:  # Airflow 2
    from airflow.decorators import task
    from airflow.models.dag import DAG

START = date(2026, 1, 1)
FILES_AT_START = 120
FILES_MORE_A_DAY = 20


def file_names(day: date) -> list[str]:
    """Return the names of the files that the source holds for the day."""
    count = max(0, FILES_AT_START + FILES_MORE_A_DAY * (day - START).days)
    folder = f"s3-like/landing/{day:%Y/%m/%d}"
    return [f"{folder}/part-{number:06d}.parquet" for number in range(count)]


@task
def list_files(dag_run=None, logical_date=None):
    """Return the names of the run's files, which become this task's XCom."""
    # Airflow 3 gives a run that is triggered by hand no logical date.
    moment = logical_date or dag_run.run_after
    return file_names(moment.date())


@task
def download_files(names):
    """Download the files and return how many they were."""
    for name in names[:3]:
        print(f"downloading {name}")
    print(f"... {len(names)} in all")
    return {"downloaded": len(names)}


with DAG(
    dag_id="file_list_dag",
    description="List the files of a source, then download them: the list grows day by day",
    schedule="@daily",
    start_date=pendulum.datetime(START.year, START.month, START.day, tz="UTC"),
    catchup=False,
    tags=["xcomctl"],
):
    download_files(list_files())
