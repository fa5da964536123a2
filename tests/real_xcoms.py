"""Print, as JSON, every XCom that this Airflow 3.4 reads in its metadata DB, and of each attempt.

Run by the Python of that Airflow: `python real_xcoms.py [CHANGES]`. Before that it makes the changes,
a JSON list of `["set", DAG, RUN, TASK, KEY, VALUE]` and `["clear", DAG, RUN, TASK]`.
"""

import json
import sys
from typing import Any

from airflow.models.taskinstance import TaskInstance, clear_task_instances
from airflow.models.xcom import XComModel
from airflow.sdk.serde import deserialize
from airflow.utils.session import create_session
from sqlalchemy import select


def main(changes: list[list[Any]]) -> None:
    """Push with XComModel.set, or clear a task; then print."""
    with create_session() as session:
        for what, dag_id, run_id, task_id, *more in changes:
            if what == "set":
                key, value = more
                XComModel.set(
                    key, value, dag_id=dag_id, task_id=task_id, run_id=run_id, serialize=False, session=session
                )  # fmt: skip
            else:
                named = {"dag_id": dag_id, "run_id": run_id, "task_id": task_id}
                instances = session.scalars(select(TaskInstance).filter_by(**named)).all()
                clear_task_instances(list(instances), session)
            session.commit()
        found = []
        attempts = session.execute(
            select(
                TaskInstance.id, TaskInstance.dag_id, TaskInstance.run_id, TaskInstance.task_id,
                TaskInstance.region_id, TaskInstance.region_index, TaskInstance.try_number,
                TaskInstance.working_set,
            ).execution_options(include_all_attempts=True)
        ).all()  # fmt: skip
        for one in attempts:
            asked = {
                "run_id": one.run_id, "dag_ids": one.dag_id, "task_ids": one.task_id,
                "map_indexes": one.region_index, "region_id": one.region_id,
                "include_node_regions": False,
            }  # fmt: skip
            if not one.working_set:
                asked["try_number"] = one.try_number
            for row in session.scalars(XComModel.get_many(**asked)):
                if row.task_instance_id != one.id:
                    continue
                found.append(
                    {
                        "dag_id": one.dag_id, "run_id": one.run_id, "task_id": one.task_id,
                        "key": row.key, "region_id": str(one.region_id),
                        "region_index": one.region_index, "try_number": one.try_number,
                        "current": bool(one.working_set), "mapped_length": row.mapped_length,
                        "value": repr(deserialize(XComModel.deserialize_value(row))),
                    }
                )  # fmt: skip
    print("XCOMS " + json.dumps(found))


main(json.loads(sys.argv[1]) if sys.argv[1:] else [])
