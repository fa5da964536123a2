"""The case study: download data, train three models, choose the best by XCom.

Loads in Airflow 2.4 to 3.x. A run is random unless XCOM_DAG_SEED is set: then a run id always
gives the same accuracies.
"""

from __future__ import annotations

import os
import random

import pendulum

try:
    from airflow.sdk import DAG, TaskGroup
except ImportError:  # Airflow 2
    from airflow.models.dag import DAG
    from airflow.utils.task_group import TaskGroup

try:
    from airflow.providers.standard.operators.bash import BashOperator
    from airflow.providers.standard.operators.python import PythonOperator
except ImportError:  # Airflow 2
    from airflow.operators.bash import BashOperator
    from airflow.operators.python import PythonOperator

GROUP = "processing_tasks"
MODELS = ("training_model_a", "training_model_b", "training_model_c")
KEY = "model_accuracy"


def accuracy(model: str, run_id: str) -> float:
    """Return the accuracy that the model reaches in the run."""
    seed = os.environ.get("XCOM_DAG_SEED")
    generator = random.Random(None if seed is None else f"{seed}/{run_id}/{model}")
    return generator.uniform(0.1, 10.0)


def best(accuracy_by_model: dict) -> dict:
    """Return the model with the highest accuracy: `{"model": ..., "accuracy": ...}`."""
    model = max(accuracy_by_model, key=accuracy_by_model.get)
    return {"model": model, "accuracy": accuracy_by_model[model]}


def train(model, run_id, ti):
    """Push the model's accuracy."""
    reached = accuracy(model, run_id)
    print(f"{model}: {reached}")
    ti.xcom_push(key=KEY, value=reached)


def choose(ti):
    """Pull the three accuracies and return the best one with its model."""
    return best({one: ti.xcom_pull(task_ids=f"{GROUP}.{one}", key=KEY) for one in MODELS})


with DAG(
    dag_id="xcom_dag",
    description="Download, train three models, choose the best by XCom",
    schedule="@daily",
    start_date=pendulum.datetime(2020, 1, 1, tz="UTC"),
    catchup=False,
    tags=["xcomctl"],
):
    downloading_data = BashOperator(task_id="downloading_data", bash_command="sleep 3")

    with TaskGroup(GROUP) as processing_tasks:
        for name in MODELS:
            PythonOperator(task_id=name, python_callable=train, op_kwargs={"model": name})

    task_4 = PythonOperator(task_id="task_4", python_callable=choose)

    downloading_data >> processing_tasks >> task_4
