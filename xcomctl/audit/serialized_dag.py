"""The tasks of a serialized DAG: which exist, what they push, and what runs before them.

The JSON that Airflow's scheduler writes to `serialized_dag`. Fields with their default value are
left out, tasks of Airflow 3 are wrapped in `__var`, and what a mapped task is given once is in
`partial_kwargs`.
"""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass, field
from typing import Any

MAX_BYTES = 256 * 1024 * 1024
"""Larger serialized DAGs are not read."""


@dataclass(frozen=True, slots=True)
class Task:
    """A task of a serialized DAG."""

    task_id: str
    operator: str | None
    pushes: bool
    """`do_xcom_push`"""
    multiple_outputs: bool
    mapped: bool
    upstream: tuple[str, ...] = ()


@dataclass(slots=True)
class _Draft:
    fields: dict[str, Any]
    upstream: list[str] = field(default_factory=list)


def read_tasks(data: object, compressed: object = None) -> dict[str, Task]:
    """Return the tasks by id, from the columns `data` and `data_compressed`; empty if unreadable.

    `data` is JSON text, or what the driver has made of it.
    """
    document = _load(data, compressed)
    dag = document.get("dag") if isinstance(document, dict) else None
    tasks = dag.get("tasks") if isinstance(dag, dict) else None
    if not isinstance(tasks, list):
        return {}
    defaults = document.get("client_defaults")
    shared = defaults.get("tasks") if isinstance(defaults, dict) else None
    drafts: dict[str, _Draft] = {}
    for one in tasks:
        fields = one.get("__var", one) if isinstance(one, dict) else None
        if isinstance(fields, dict) and isinstance(fields.get("task_id"), str):
            drafts[fields["task_id"]] = _Draft(fields)
    for task_id, draft in drafts.items():
        for name in ("downstream_task_ids", "_downstream_task_ids"):
            for below in draft.fields.get(name) or ():
                if below in drafts and task_id not in drafts[below].upstream:
                    drafts[below].upstream.append(task_id)
    common = shared if isinstance(shared, dict) else {}
    return {task_id: _task(task_id, draft, common) for task_id, draft in drafts.items()}


def _load(data: object, compressed: object) -> Any:
    if data is None and isinstance(compressed, bytes | bytearray | memoryview):
        unpack = zlib.decompressobj()
        try:
            data = unpack.decompress(bytes(compressed), MAX_BYTES)
        except zlib.error:
            return None
        if unpack.unconsumed_tail:
            return None
    if not isinstance(data, bytes | str):
        return data
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def _task(task_id: str, draft: _Draft, defaults: dict[str, Any]) -> Task:
    partial = draft.fields.get("partial_kwargs")
    places = (draft.fields, partial if isinstance(partial, dict) else {}, defaults)

    def setting(name: str, default: object) -> object:
        return next((place[name] for place in places if name in place), default)

    operator = setting("task_type", setting("_task_type", None))
    return Task(
        task_id,
        operator if isinstance(operator, str) else None,
        pushes=setting("do_xcom_push", True) is not False,
        multiple_outputs=setting("multiple_outputs", False) is True,
        mapped=bool(draft.fields.get("_is_mapped") or draft.fields.get("is_mapped")),
        upstream=tuple(draft.upstream),
    )
