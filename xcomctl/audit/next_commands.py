"""Command lines that show what a cause is about, as words."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from xcomctl.audit.evidence import Evidence

Command = tuple[str, ...]


def _run_words(e: Evidence, run_id: str | None = None) -> tuple[str, ...]:
    run = run_id or (e.run.run_id if e.run is not None else e.question.run_id)
    return ("-r", run) if run else ()


def pull(e: Evidence, *more: str, key: str | None = None, run_id: str | None = None) -> Command:
    q = e.question
    index: tuple[str, ...] = ()
    if q.map_index is not None and "--all-map-indexes" not in more:
        index = ("-m", str(q.map_index))
    words = ("xcomctl", "pull", q.dag_id, q.task_id, key or q.key)
    return (*words, *_run_words(e, run_id), *index, *more)


def list_task(e: Evidence) -> Command:
    q = e.question
    return ("xcomctl", "list", "-d", q.dag_id, "-t", q.task_id, *_run_words(e))


def why(
    e: Evidence,
    *,
    dag_id: str | None = None,
    task_id: str | None = None,
    run_id: str | None = None,
    map_index: int | None = -2,
) -> Command:
    q = e.question
    index = q.map_index if map_index == -2 else map_index
    run = run_id or q.run_id
    return (
        *("xcomctl", "why", dag_id or q.dag_id, task_id or q.task_id, q.key),
        *(("-r", run) if run else ()),
        *(("-m", str(index)) if index is not None else ()),
    )


def show_states(e: Evidence) -> tuple[Command, ...]:
    """Return Airflow's command that shows the states of the run."""
    states: tuple[Command, ...] = ()
    if e.run is not None and e.major >= 2:
        words = ("airflow", "tasks", "states-for-dag-run", e.question.dag_id, e.run.run_id)
        states = (words,)
    return (*states, *pull_elsewhere(e))


def pull_elsewhere(e: Evidence) -> tuple[Command, ...]:
    return (pull(e, run_id=e.run_with_key),) if e.run_with_key else ()
