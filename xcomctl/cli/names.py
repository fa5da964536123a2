"""The name of one XCom, as `pull` takes it: read from its printed form, or explained if nothing has it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from xcomctl.cli.attempts import parse_region
from xcomctl.errors import NotFoundError, UsageError
from xcomctl.model import RETURN_VALUE, UNMAPPED, Selection, is_glob
from xcomctl.text import nearest, unescaped

if TYPE_CHECKING:
    from xcomctl.db.read.store import Store

_FORM = "DAG/RUN/TASK[INDEX]:KEY"
_REGION = r"(?:#([0-9a-fA-F-]{32,36}:-?[0-9]{1,9}))?"
"""Behind the index: the region of a task in a loop."""


@dataclass(frozen=True, slots=True)
class XComName:
    """What names an XCom, or several: in the newest run without a run, of a mapped task."""

    dag_id: str
    task_id: str
    key: str = RETURN_VALUE
    run_id: str | None = None
    map_index: int | None = None
    region: str | None = None
    """`ID:INDEX` of a task in a loop (Airflow 3.4)."""

    def __str__(self) -> str:
        """Return the form in which notes and findings print it."""
        run = "" if self.run_id is None else f"{self.run_id}/"
        index = "" if self.map_index in (None, UNMAPPED) else f"[{self.map_index}]"
        region = "" if self.region is None else f"#{self.region}"
        return f"{self.dag_id}/{run}{self.task_id}{index}{region}:{self.key}"


def read_name(
    command: str,
    dag_id: str,
    task_id: str | None,
    key: str | None,
    *,
    run_id: str | None,
    map_index: int | None,
) -> XComName | str:
    """Return the name that a command's arguments give, a text where it is in its printed form.

    Raises:
        UsageError: there is no task, or the run or index is given twice.
    """
    if task_id is not None:
        return XComName(dag_id, task_id, RETURN_VALUE if key is None else key, run_id, map_index)
    if "/" not in dag_id:
        raise UsageError(
            "missing argument TASK_ID",
            hint=f"Use xcomctl {command} DAG_ID TASK_ID [KEY], or {_FORM}.",
        )
    if run_id is not None or map_index is not None:
        raise UsageError(
            "the name already says which run and index",
            hint="Leave --run-id and --map-index out, or use DAG_ID TASK_ID [KEY].",
        )
    return dag_id


def resolve(store: Store, text: str) -> XComName:
    """Return the XCom that is meant by `DAG/RUN/TASK[INDEX]:KEY`.

    The run may be left out, and so may the index and the key. Ids may contain any character: what
    exists decides. If nothing does, the result is what the text most likely means.

    Raises:
        UsageError: the text has another form, or names several XComs.
    """
    for variant in dict.fromkeys((text, unescaped(text))):
        found = [name for name in _readings(store, variant) if _exists(store, name)]
        if len(found) > 1:
            raise UsageError(
                f'"{text}" names {len(found)} XComs',
                hint=f"Choose one: {shlex.join(_pull_words(found[0]))}",
            )
        if found:
            return found[0]
    return _likeliest(text)


def _pull_words(name: XComName) -> list[str]:
    """Return the command that pulls exactly this XCom."""
    run = [] if name.run_id is None else ["-r", name.run_id]
    return ["xcomctl", "pull", name.dag_id, name.task_id, name.key, *run]


def _readings(store: Store, text: str) -> Iterator[XComName]:
    """Yield each way to read the text as a name of an existing DAG and task."""
    for dag_id in store.suggest.dag_ids():
        if not text.startswith(f"{dag_id}/"):
            continue
        rest = text[len(dag_id) + 1 :]
        for task_id in _tasks(store, dag_id):
            task = rf"{re.escape(task_id)}(?:\[(-?[0-9]{{1,9}})\])?{_REGION}(?::(.*))?"
            for start in (0, *(one.end() for one in re.finditer("/", rest))):
                match = re.compile(task, re.DOTALL).fullmatch(rest, start)
                if match:
                    index, region, key = match.groups()
                    yield XComName(
                        dag_id,
                        task_id,
                        RETURN_VALUE if key is None else key,
                        rest[: start - 1] if start else None,
                        None if index is None else int(index),
                        region,
                    )


def _tasks(store: Store, dag_id: str) -> list[str]:
    if is_glob(dag_id):
        return store.suggest.names("task_id", dag_id)
    return store.suggest.ids("task_id", "", Selection(dag_ids=(dag_id,)))


def _exists(store: Store, name: XComName) -> bool:
    run_id = name.run_id
    if run_id is not None:
        run_id = store.suggest.run_id(name.dag_id, run_id)
    index = UNMAPPED if name.map_index is None else name.map_index
    region = None if name.region is None else parse_region(name.region)
    found = store.entries.find(
        name.dag_id, name.task_id, name.key, run_id=run_id, map_index=index, region=region
    )
    return bool(found)


def _likeliest(text: str) -> XComName:
    """Return the name that the text means if its DAG and task are valid ids of Airflow."""
    match = re.fullmatch(
        r"([^/]+)/(?:(.+?)/)?([^/:\[\]]+)(?:\[(-?[0-9]{1,9})\])?(?::(.*))?", text, re.DOTALL
    )
    if match is None:
        raise UsageError(
            f'cannot read the name "{text}"',
            hint=f"Use DAG_ID TASK_ID [KEY], or {_FORM} as notes and findings print it.",
        )
    dag_id, run_id, task_id, index, key = match.groups()
    return XComName(
        dag_id,
        task_id,
        RETURN_VALUE if key is None else key,
        run_id,
        None if index is None else int(index),
    )


# --- a value that does not exist --------------------------------------------------------------


def absence(store: Store, wanted: XComName) -> NotFoundError:
    """Return the error that says which part of the name does not exist, and what is close."""
    dag_id, task_id, key, run_id = wanted.dag_id, wanted.task_id, wanted.key, wanted.run_id
    message = f'there is no XCom "{wanted}"'
    tasks = store.suggest.names("task_id", dag_id)
    if not tasks:
        return _no_dag(message, store, dag_id)
    if task_id not in tasks:
        return _no_task(message, tasks, task_id)
    keys = store.suggest.names("key", dag_id, task_id)
    if key not in keys:
        near = nearest(key, keys)
        return NotFoundError(
            message,
            detail=f"The task has pushed {_some(keys)}.",
            hint=f'Did you mean the key "{near or keys[0]}"?' if keys else None,
        )
    if run_id is not None and not store.suggest.names("task_id", dag_id, task_id, key, run_id):
        return _no_run(message, store, wanted, run_id)
    indexes = store.suggest.names("map_index", dag_id, task_id, key, run_id)
    mapped = str(UNMAPPED) not in indexes
    index = UNMAPPED if wanted.map_index is None else wanted.map_index
    return NotFoundError(
        f'there is no XCom "{replace(wanted, map_index=None)}" with map_index {index}',
        detail=f"{'The task is mapped. ' if mapped else ''}Existing indexes: {_some(indexes)}.",
        hint="Add --map-index N, or --all-map-indexes for a list.",
    )


def _no_dag(message: str, store: Store, dag_id: str) -> NotFoundError:
    near = nearest(dag_id, store.suggest.dag_ids())
    return NotFoundError(
        message,
        detail=f'No XComs found for DAG "{dag_id}".',
        hint=f'Did you mean the DAG "{near}"?' if near else '"xcomctl list" shows what exists.',
    )


def _no_task(message: str, tasks: list[str], task_id: str) -> NotFoundError:
    grouped = [task for task in tasks if task.endswith(f".{task_id}")]
    near = grouped[0] if grouped else nearest(task_id, tasks)
    prefix = " The id of a task in a group starts with the group's." if grouped else ""
    return NotFoundError(
        message,
        detail=f'No XComs found for task "{task_id}" of the DAG.{prefix}',
        hint=f'Did you mean the task "{near}"?' if near else f"Tasks with XComs: {_some(tasks)}.",
    )


def _no_run(message: str, store: Store, wanted: XComName, run_id: str) -> NotFoundError:
    runs = store.suggest.names("run_id", wanted.dag_id, wanted.task_id, wanted.key)
    near = nearest(run_id, runs) or (runs[-1] if runs else None)
    hint = f'Run "{near}" has it.' if near else None
    if not store.suggest.has_run(wanted.dag_id, run_id):
        return NotFoundError(message, detail=f'The DAG has no run "{run_id}".', hint=hint)
    index = () if wanted.map_index in (None, UNMAPPED) else ("-m", str(wanted.map_index))
    words = ("xcomctl", "why", wanted.dag_id, wanted.task_id, wanted.key, "-r", run_id, *index)
    return NotFoundError(
        message,
        detail="The run exists, but the task did not push this key in it.",
        hint=f"{f'{hint} ' if hint else ''}This explains why: {shlex.join(words)}",
    )


def _some(names: list[str], most: int = 12) -> str:
    shown = ", ".join(names[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown
