"""Clears task instances as Airflow's UI does, within a real Airflow's own environment."""

from __future__ import annotations

import sys

from airflow.models.taskinstance import TaskInstance, clear_task_instances
from airflow.utils.session import create_session


def main(dag_id: str, task_id: str) -> None:
    with create_session() as session:
        query = session.query(TaskInstance)
        found = query.filter(TaskInstance.dag_id == dag_id, TaskInstance.task_id == task_id)
        clear_task_instances(found.all(), session)


main(*sys.argv[1:])
