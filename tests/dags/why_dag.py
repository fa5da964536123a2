"""Every way in which Airflow itself leaves no XCom, or not where it is looked for."""

from __future__ import annotations

from datetime import datetime

try:
    from airflow.exceptions import AirflowSkipException
    from airflow.providers.standard.operators.empty import EmptyOperator
    from airflow.sdk import dag, task, task_group
except ImportError:
    from airflow.decorators import dag, task, task_group
    from airflow.exceptions import AirflowSkipException
    from airflow.operators.empty import EmptyOperator


@task
def gives():
    return 1


@task
def none():
    return None


@task(do_xcom_push=False)
def quiet():
    return 1


@task(multiple_outputs=True)
def many():
    return {"x": 1, "y": 2}


@task
def fails():
    raise ValueError("no")


@task
def half(ti=None):
    ti.xcom_push(key="early", value=1)
    raise ValueError("no")


@task
def after(value):
    return value


@task.branch
def choose():
    return "left"


@task
def skips():
    raise AirflowSkipException("not today")


@task
def numbers():
    return [0, 1, 2]


@task
def nothing():
    return []


@task
def gap(number):
    return None if number == 1 else number


@task
def null(ti=None):
    ti.xcom_push(key="nothing", value=None)


@task_group
def group():
    gives.override(task_id="inner")()


@dag(dag_id="why_dag", schedule=None, start_date=datetime(2026, 1, 1), catchup=False)
def why_dag():
    # So that the run succeeds, as `dags test` must.
    last = EmptyOperator(task_id="done", trigger_rule="all_done")
    ends = [gives(), none(), quiet(), many(), half(), after(fails()), skips(), null(), group()]
    ends.append(none.override(task_id="cleared")())
    ends.append(gap.expand(number=numbers()))
    ends.append(gap.override(task_id="gap_of_nothing").expand(number=nothing()))
    left, right = EmptyOperator(task_id="left"), EmptyOperator(task_id="right")
    choose() >> [left, right]
    [*ends, left, right] >> last


why_dag()
