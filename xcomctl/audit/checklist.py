"""What was found about one XCom, in one line per thing: DAG, run, task, task instance, row."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xcomctl.model import UNMAPPED, format_time

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from xcomctl.audit.evidence import Evidence, Instance, Row

MOST = 5
"""Names, instances or tries that one list shows."""


def checklist(e: Evidence) -> tuple[str, ...]:
    """Return the lines, from the DAG down to the row. What is not known has none."""
    q = e.question
    is_known = e.dag_is_known and (not e.tasks or q.task_id in e.tasks)
    if not is_known and not e.rows and not e.archived:
        return (*_names(e), *_run(e))
    return (
        *_names(e),
        *_run(e),
        *_definition(e),
        *_instances(e),
        *_upstream(e),
        *_rows(e),
        *_elsewhere(e),
    )


def listed(names: Sequence[str], most: int = MOST) -> str:
    """Return names as a list: `"a", "b" and 3 more`."""
    shown = [f'"{name}"' for name in names[:most]]
    if len(names) > most:
        return f"{', '.join(shown)} and {len(names) - most} more"
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)


def numbered(indexes: Sequence[int], one: str = "", several: str = "") -> str:
    """Return map indexes in words, with the verb that fits: `map indexes 0-3 and 5 have`."""
    parts: list[str] = []
    start = last = indexes[0]
    for index in [*indexes[1:], None]:
        if index is not None and index == last + 1:
            last = index
            continue
        parts.append(f"{start}-{last}" if last > start else str(start))
        start = last = last if index is None else index
    shown = parts[:MOST]
    more = f" and {len(parts) - MOST} more ranges" if len(parts) > MOST else ""
    noun, verb = ("map index", one) if len(indexes) == 1 else ("map indexes", several)
    text = ", ".join(shown[:-1]) + (" and " if len(shown) > 1 and not more else "")
    text = f"{text}{', ' if more and len(shown) > 1 else ''}{shown[-1]}{more}"
    return f"{noun} {text} {verb}".rstrip()


def _names(e: Evidence) -> Iterator[str]:
    q = e.question
    if not e.dag_is_known:
        yield f'DAG "{q.dag_id}": not found in dag, dag_run or xcom'
        return
    yield f'DAG "{q.dag_id}": exists'
    if e.tasks and q.task_id not in e.tasks:
        yield f'task "{q.task_id}": not found in task instances, XComs or the serialized DAG'


def _run(e: Evidence) -> Iterator[str]:
    run = e.run
    if run is None:
        if e.has_runs and e.dag_is_known:
            asked = f'run "{e.question.run_id}"' if e.question.run_id else "runs"
            yield f"{asked}: not found in dag_run"
        return
    newest = "" if e.question.run_id else ", the newest"
    parts = [run.state or "no state"]
    parts += [f"logical date {_time(run.logical_date)}"] if run.logical_date else []
    parts += [f"started {_time(run.started)}"] if run.started else ["not started"]
    parts += [f"ended {_time(run.ended)}"] if run.ended and run.is_over else []
    parts += [f"cleared {_times(run.clears)}"] if run.clears else []
    yield f'run "{run.run_id}"{newest}: {", ".join(parts)}'


def _definition(e: Evidence) -> Iterator[str]:
    task = e.definition
    if task is None:
        if e.has_definitions and e.tasks and e.question.task_id in e.tasks:
            yield "serialized DAG: does not have the task"
        return
    parts = [task.operator or "unknown operator"]
    parts += ["mapped"] if task.mapped else []
    parts += [f"do_xcom_push={task.pushes}"]
    parts += ["multiple_outputs=True"] if task.multiple_outputs else []
    which = "" if task.of_run else " (as it is now)"
    yield f"serialized DAG{which}: {', '.join(parts)}"


def _instances(e: Evidence) -> Iterator[str]:
    if e.run is None or not e.has_instances:
        return
    if not e.instances:
        yield "task instances: none in this run"
        return
    asked = e.asked
    shown = [asked] if asked is not None else e.instances[:MOST]
    for one in shown:
        yield f"task instance{_at(one.map_index)}: {_instance(one)}"
    if len(e.instances) > len(shown):
        yield f"task instances: {len(e.instances)} in this run"
    attempts = [one for one in e.attempts if asked is None or one.map_index == asked.map_index]
    for past in attempts[-MOST:]:
        ended = f", ended {_time(past.ended)}" if past.ended else ""
        state = past.state or "no state"
        yield f"earlier try {past.number}{_at(past.map_index)}: {state}{ended}"


def _instance(one: Instance) -> str:
    parts = [one.state or "no state", f"try {one.try_number}"]
    parts += [] if one.ran else ["no worker had it"]
    parts += [f"started {_time(one.started)}"] if one.started else []
    parts += [f"ended {_time(one.ended)}"] if one.ended else []
    parts += [f"trigger {one.trigger}"] if one.trigger else []
    return ", ".join(parts)


def _upstream(e: Evidence) -> Iterator[str]:
    if all(one.state == "success" for one in e.instances):
        return
    for up in e.upstream[:MOST]:
        states = ", ".join(dict.fromkeys(state or "no state" for state in up.states))
        chose = ""
        if up.followed is not None:
            chose = f", chose {listed(up.followed) if up.followed else 'no task'}"
        yield f'upstream "{up.task_id}": {states or "no task instance"}{chose}'


def _rows(e: Evidence) -> Iterator[str]:
    q = e.question
    for row in e.rows[:MOST]:
        yield f'XCom "{q.key}"{_at(row.map_index)}: {_row(row)}'
    if len(e.rows) > MOST:
        yield f'XComs "{q.key}": {len(e.rows)} in this run'
    if not e.rows and e.dag_is_known and (e.run is not None or q.run_id is None):
        yield f'XCom "{q.key}": no row in this run'
    for table, index in e.archived[:MOST]:
        yield f'archived row{_at(index)}: in "{table}"'
    others = dict.fromkeys(key for _, key in e.keys_in_run if key != q.key)
    if others:
        yield f"other keys that the task pushed in this run: {listed(list(others))}"
    elif not e.rows and e.keys:
        yield f"keys that the task pushed in other runs: {listed(e.keys)}"
    if not e.run_has_xcoms:
        yield "XComs of any task in this run: none"


def _row(row: Row) -> str:
    parts = [row.encoding.value if row.size is None else f"{row.size} of {row.encoding.value}"]
    parts += [f"pushed {_time(row.pushed)}"] if row.pushed else []
    if row.reference is not None:
        parts.append(f"refers to {row.reference}")
    return ", ".join(parts)


def _elsewhere(e: Evidence) -> Iterator[str]:
    if e.run_with_key is not None and not e.rows:
        yield f'newest run that has "{e.question.key}": "{e.run_with_key}"'


def _at(map_index: int) -> str:
    return "" if map_index == UNMAPPED else f" [{map_index}]"


def _time(moment: datetime | None) -> str:
    return (format_time(moment) or "?")[:19] + "Z"


def _times(number: int) -> str:
    return "once" if number == 1 else f"{number} times"
