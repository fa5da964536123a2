"""What the state of a task instance says about an XCom that it has not pushed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from xcomctl.audit.checklist import listed
from xcomctl.model import UNMAPPED

if TYPE_CHECKING:
    from collections.abc import Callable

    from xcomctl.audit.evidence import Attempt, Evidence, Instance

Cause = Literal[
    "exists",
    "dag",
    "task",
    "group-prefix",
    "key",
    "run",
    "map-index",
    "not-run",
    "running",
    "deferred",
    "failed",
    "skipped",
    "cleared",
    "returned-none",
    "not-pushed",
    "null",
    "orphan",
    "undecodable",
    "archived",
    "external-missing",
]


def explain_waiting(e: Evidence, one: Instance) -> str:
    run = e.run
    assert run is not None
    if one.state in ("queued", "scheduled"):
        return f"is {one.state} and has not started yet"
    if run.state == "queued":
        return f'has not run yet: run "{run.run_id}" is queued'
    if run.is_over:
        return f'has not run, although run "{run.run_id}" is over ({run.state})'
    return "has not run yet"


def _explain_upstream_failed(e: Evidence, one: Instance) -> str:
    failed = [up.task_id for up in e.upstream if {"failed", "upstream_failed"} & {*up.states}]
    because = (
        f": upstream {listed(failed)} failed" if failed else " because an upstream task failed"
    )
    return f"did not run{because}"


def _explain_removed(e: Evidence, one: Instance) -> str:
    return "did not run: it was removed from the DAG before its turn"


def _explain_running(e: Evidence, one: Instance) -> str:
    if one.state in ("up_for_reschedule", "sensing"):
        return "is a sensor whose condition is not met yet; it waits for its next check"
    again = ""
    if any(past.map_index == one.map_index for past in e.attempts):
        again = "; what its earlier try pushed was deleted when this one started"
    return (
        f'is still running (try {one.try_number}) and has not pushed "{e.question.key}" yet{again}'
    )


def _explain_deferred(e: Evidence, one: Instance) -> str:
    trigger = f" {one.trigger.rpartition('.')[2]}" if one.trigger else ""
    return (
        f'is deferred: it waits for its trigger{trigger} and has not pushed "{e.question.key}" yet'
    )


def _explain_failed(e: Evidence, one: Instance) -> str:
    if not one.ran and one.state == "failed":
        return "was marked as failed before it started"
    failed = f'failed before it pushed "{e.question.key}"'
    if one.state == "up_for_retry":
        return f"{failed} (try {one.try_number}) and waits for its next try"
    return failed


def _explain_skipped(e: Evidence, one: Instance) -> str:
    if one.ran:
        return "skipped itself while it ran"
    last = e.question.task_id.rpartition(".")[2]
    for up in e.upstream:
        if up.followed is not None and not {e.question.task_id, last} & {*up.followed}:
            chose = listed(up.followed) if up.followed else "no task"
            return f'was skipped: "{up.task_id}" chose {chose}'
    empty = [up.task_id for up in e.upstream if 0 in up.lengths]
    if empty and one.map_index == UNMAPPED and e.is_mapped:
        return f"was skipped: it is mapped over {listed(empty)}, whose return value is empty"
    skipped = [up.task_id for up in e.upstream if "skipped" in up.states]
    if skipped:
        return f"was skipped, like {listed(skipped)} upstream"
    return "was skipped"


def explain_cleared(e: Evidence, one: Instance) -> str:
    waits = f"is {one.state}" if one.state else "has not run again yet"
    return f"was cleared and {waits}"


BY_STATE: dict[str | None, tuple[Cause, Callable[[Evidence, Instance], str]]] = {
    "failed": ("failed", _explain_failed),
    "up_for_retry": ("failed", _explain_failed),
    "running": ("running", _explain_running),
    "restarting": ("running", _explain_running),
    "shutdown": ("running", _explain_running),
    "up_for_reschedule": ("running", _explain_running),
    "sensing": ("running", _explain_running),
    "deferred": ("deferred", _explain_deferred),
    "awaiting_input": ("deferred", _explain_deferred),
    "upstream_failed": ("not-run", _explain_upstream_failed),
    "removed": ("not-run", _explain_removed),
    "queued": ("not-run", explain_waiting),
    "scheduled": ("not-run", explain_waiting),
    None: ("not-run", explain_waiting),
    "none": ("not-run", explain_waiting),
    "skipped": ("skipped", _explain_skipped),
}
"""Cause and sentence by TaskInstanceState, in the order in which they explain a mapped task.

https://airflow.apache.org/docs/apache-airflow/stable/core-concepts/tasks.html#task-instances
"""


def was_cleared(e: Evidence, one: Instance) -> bool:
    """Return whether the instance waits to run again because someone cleared it.

    A retry passes from up_for_retry straight to scheduled, so an instance without a state that
    ran before was cleared. Before Airflow 2.10, a try counts from the moment it starts.
    """
    past = [attempt for attempt in e.attempts if attempt.map_index == one.map_index]
    if one.state in (None, "none"):
        return bool(past) or (one.try_number >= 1 and not e.keeps_history)
    if one.state in ("scheduled", "queued"):
        return bool(past) and max(past, key=_number).state == "success"
    return False


def _number(attempt: Attempt) -> int:
    return attempt.number
