"""Why a pull returns nothing: one cause and one sentence for what a metadata database knows.

No database here. `explain` goes down a checklist and stops at the nearest cause: the row itself,
the names, the run, the task instance, the push. Where Airflow does not record what happened, the
sentence says "probably" or what is not known.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from xcomctl.audit.checklist import checklist, listed, numbered
from xcomctl.audit.next_commands import list_task, pull, pull_elsewhere, show_states, why
from xcomctl.audit.states import BY_STATE, explain_cleared, explain_waiting, was_cleared
from xcomctl.model import RETURN_VALUE, UNMAPPED, XComRef
from xcomctl.text import nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from xcomctl.audit.evidence import Evidence, Instance, Row
    from xcomctl.audit.next_commands import Command
    from xcomctl.audit.states import Cause


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a pull returns what it does."""

    cause: Cause
    verdict: str
    """One sentence."""
    evidence: tuple[str, ...]
    """What was found, from the DAG down to the row."""
    commands: tuple[Command, ...]
    """What to run next, as words of a command line."""


@dataclass(frozen=True, slots=True)
class _Finding:
    cause: Cause
    verdict: str
    commands: tuple[Command, ...] = ()


def explain(e: Evidence) -> Explanation | None:
    """Return the nearest cause; None where nothing is known about the task in that run."""
    for step in _STEPS:
        found = step(e)
        if found is not None:
            commands = tuple(dict.fromkeys(found.commands))
            return Explanation(found.cause, found.verdict, checklist(e), commands)
    return None


# --- the row ----------------------------------------------------------------------------------


def _explain_row(e: Evidence) -> _Finding | None:
    """Return what the row says, where there is one for the map index that was asked for."""
    index = UNMAPPED if e.question.map_index is None else e.question.map_index
    row = next((one for one in e.rows if one.map_index == index), None)
    if row is None:
        return None
    ref = f'"{_ref(e, index)}"'
    raw = pull(e, "-o", "raw")
    if row.orphan:
        return _Finding("orphan", _explain_orphan(e, row, ref), (list_task(e),))
    if row.condition == "null":
        return _Finding("null", f"{ref} exists, and its value is SQL NULL.", (list_task(e),))
    if row.condition == "json-null":
        verdict = f"{ref} exists, and its value is null: the task pushed None."
        return _Finding("null", verdict, (pull(e),))
    if row.condition == "undecodable":
        verdict = f"{ref} exists, and Airflow cannot read its value: {row.problem}."
        return _Finding("undecodable", verdict, (raw, list_task(e)))
    if row.condition == "external-missing":
        verdict = f"{ref} refers to an object that does not exist: {row.reference}."
        return _Finding("external-missing", verdict, (raw,))
    verdict = f"{ref} exists and can be pulled"
    if row.caveat:
        verdict = f"{ref} exists, but {row.caveat}"
    asked = e.asked
    if asked is not None and was_cleared(e, asked):
        verdict += ", until its task, which was cleared, starts again and deletes it"
    return _Finding("exists", f"{verdict}.", (pull(e),))


def _explain_orphan(e: Evidence, row: Row, ref: str) -> str:
    if row.orphan == "pointer":
        return (
            f"{ref} has a row whose dag_run_id belongs to another run or to none, "
            "so Airflow returns None."
        )
    if row.orphan == "instance":
        return f"{ref} has a row, but its task instance does not exist any more."
    if e.run is None and e.has_runs:
        return f"{ref} has a row, but its run does not exist any more, so Airflow does not find it."
    return f"{ref} has a row that belongs to no run, so Airflow does not find it."


def _explain_archive(e: Evidence) -> _Finding | None:
    """Return where the row was put aside."""
    index = e.question.map_index
    tables = {table for table, one in e.archived if index is None or one == index}
    if e.rows or not tables:
        return None
    table = min(tables)
    what = f'"{_ref(e)}" was moved to the table "{table}"'
    if table == "_xcom_archive":
        verdict = f"{what} by the upgrade to Airflow 3, which does not read pickled values."
    elif table.startswith("_airflow_moved"):
        verdict = f"{what} by an upgrade, because its run did not exist."
    else:
        verdict = f'{what} by "airflow db clean".'
    return _Finding("archived", verdict, (list_task(e),))


# --- the names --------------------------------------------------------------------------------


def _explain_dag(e: Evidence) -> _Finding | None:
    q = e.question
    if e.dag_is_known:
        return None
    verdict = f'No DAG "{q.dag_id}" exists in this database'
    near = _near(q.dag_id, e.dags)
    if near is None:
        return _Finding("dag", f"{verdict}.", (("xcomctl", "top", "--by", "dag_id"),))
    return _Finding("dag", f'{verdict}; did you mean "{near}"?', (why(e, dag_id=near),))


def _explain_task(e: Evidence) -> _Finding | None:
    q = e.question
    if not e.tasks or q.task_id in e.tasks:
        return None
    last = q.task_id.rpartition(".")[2]
    grouped = [one for one in e.tasks if one.rpartition(".")[2] == last]
    if grouped:
        near = grouped[0]
        said = (
            f"The task is in a group, so its id is {listed(grouped)}"
            if "." in near
            else f'The task\'s id has no group in front: "{near}"'
        )
        return _Finding("group-prefix", f'{said}, not "{q.task_id}".', (why(e, task_id=near),))
    verdict = f'DAG "{q.dag_id}" has no task "{q.task_id}"'
    found = _near(q.task_id, e.tasks)
    if found is None:
        command = ("xcomctl", "top", "--by", "task_id", "-d", q.dag_id)
        return _Finding("task", f"{verdict}; it has {listed(e.tasks)}.", (command,))
    return _Finding("task", f'{verdict}; did you mean "{found}"?', (why(e, task_id=found),))


def _explain_run(e: Evidence) -> _Finding | None:
    q = e.question
    if e.run is not None or not e.has_runs:
        return None
    if q.run_id is None:
        verdict = f'DAG "{q.dag_id}" has no run yet.'
        return _Finding("run", verdict, (("airflow", "dags", "trigger", q.dag_id),))
    verdict = f'DAG "{q.dag_id}" has no run "{q.run_id}"'
    if e.run_of_date is not None:
        said = f'{verdict}; the run of that date is "{e.run_of_date}".'
        return _Finding("run", said, (why(e, run_id=e.run_of_date),))
    near = _near(q.run_id, e.runs)
    if near is not None:
        return _Finding("run", f'{verdict}; did you mean "{near}"?', (why(e, run_id=near),))
    if e.dag_of_run is not None:
        said = f'{verdict}; DAG "{e.dag_of_run}" has a run with that id.'
        return _Finding("run", said, (why(e, dag_id=e.dag_of_run),))
    newest = f'; its newest run is "{e.runs[0]}"' if e.runs else ", nor any other"
    commands = (why(e, run_id=e.runs[0]),) if e.runs else ()
    return _Finding("run", f"{verdict}{newest}.", commands)


def _explain_key_in_run(e: Evidence) -> _Finding | None:
    """Return the key that was meant, where the task pushed one like it in this run."""
    near = _near(e.question.key, _keys_of_index(e))
    if near is None or e.question.key == RETURN_VALUE or e.question.key in e.keys:
        return None
    verdict = (
        f'Task "{e.question.task_id}" has pushed no "{e.question.key}"; did you mean "{near}"?'
    )
    return _Finding("key", verdict, (pull(e, key=near),))


def _explain_map_index(e: Evidence) -> _Finding | None:
    q, present = e.question, [one.map_index for one in e.rows]
    indexes = [one.map_index for one in e.instances] or present
    if q.map_index is None:
        if not present:
            return None
        verdict = f'Task "{q.task_id}" is mapped: {numbered(present, "has", "have")} "{q.key}"'
        lacking = [one for one in indexes if one not in present]
        if lacking:
            verdict += f", and {numbered(lacking, 'does', 'do')} not"
        return _Finding("map-index", f"{verdict}.", (pull(e, "--all-map-indexes"),))
    if q.map_index in indexes or not indexes:
        return None
    if indexes == [UNMAPPED]:
        is_mapped = e.definition is not None and e.definition.mapped
        verdict = (
            f'Task "{q.task_id}" was not expanded in this run, so it has no map index {q.map_index}.'
            if is_mapped
            else f'Task "{q.task_id}" is not mapped, so it has no map index {q.map_index}.'
        )
        return _Finding("map-index", verdict, (why(e, map_index=None),))
    verdict = (
        f'Task "{q.task_id}" has no map index {q.map_index} in this run; '
        f"it has {numbered(indexes)}."
    )
    return _Finding("map-index", verdict, (pull(e, "--all-map-indexes"),))


# --- the task instance ------------------------------------------------------------------------


def _explain_instance(e: Evidence) -> _Finding | None:
    """Return what the state of the task instance says, unless it succeeded."""
    run, q = e.run, e.question
    if run is None or not e.has_instances:
        return None
    instances = [e.asked] if e.asked is not None else list(e.instances)
    if not instances:
        return _Finding("not-run", _explain_no_instance(e), show_states(e))
    found = _gravest(instances)
    if found is None:
        return None
    cause, explain_state = BY_STATE.get(found.state, ("not-run", explain_waiting))
    if cause == "not-run" and was_cleared(e, found):
        cause, explain_state = "cleared", explain_cleared
    several = ""
    if len(instances) > 1:
        counts = Counter(one.state or "no state" for one in instances)
        several = f" ({', '.join(f'{number} {state}' for state, number in counts.items())})"
    subject = f'Task "{q.task_id}"'
    if found.map_index != UNMAPPED and e.asked is not None:
        subject += f" with map index {found.map_index}"
    verdict = f"{subject} {explain_state(e, found)}{several}."
    return _Finding(cause, verdict, show_states(e))


def _gravest(instances: Sequence[Instance]) -> Instance | None:
    """Return the instance that says most about why nothing was pushed; None if all succeeded."""
    unsuccessful = [one for one in instances if one.state != "success"]
    order = list(BY_STATE)
    return min(
        unsuccessful,
        key=lambda one: order.index(one.state) if one.state in order else len(order),
        default=None,
    )


def _explain_no_instance(e: Evidence) -> str:
    run, q = e.run, e.question
    assert run is not None
    start = f'Run "{run.run_id}" has no task instance of "{q.task_id}"'
    if not run.is_over and run.started is None:
        return f'Run "{run.run_id}" has not started yet (it is {run.state or "without a state"}).'
    if e.instances_in_run == 0 and run.is_over:
        return (
            f'Run "{run.run_id}" is over and none of its task instances is left, '
            "so it is unknown whether the task ran."
        )
    if e.keys_in_run:
        return f"{start} any more, although it pushed XComs there."
    if e.definition is not None and run.is_over:
        return f"{start}: the task was probably added to the DAG after the run."
    return f"{start}, so it has not run there."


# --- the push ---------------------------------------------------------------------------------


def _explain_push(e: Evidence) -> _Finding | None:
    """Return why a task instance that succeeded pushed nothing under the key."""
    if e.run is None or not e.instances:
        return None
    definition, q = e.definition, e.question
    subject = f'Task "{q.task_id}" succeeded'
    commands = (list_task(e), *pull_elsewhere(e))
    never_ran = all(not one.ran and one.try_number == 0 for one in e.instances)
    # The scheduler marks tasks that do nothing as success without a worker.
    if never_ran and not e.keys_in_run and _operator(e) not in _EMPTY_OPERATORS:
        verdict = f'Task "{q.task_id}" was marked as success and never ran.'
        return _Finding("not-run", verdict, commands)
    if not e.has_older_xcoms:
        verdict = (
            f"{subject}, but neither this run nor an older one has any XCom: "
            "a cleanup probably deleted them."
        )
        return _Finding("cleared", verdict, commands)
    if q.key != RETURN_VALUE:
        return _explain_other_key(e, subject, commands)
    if definition is not None and not definition.pushes:
        since = "" if definition.of_run else " in the DAG as it is now"
        verdict = f"{subject}, but has do_xcom_push=False{since}, so it pushes no return value."
        return _Finding("not-pushed", verdict, commands)
    branch = _explain_branch(e, subject)
    if branch is not None:
        return _Finding("not-pushed", branch, commands)
    return _Finding("returned-none", _explain_none(e, subject), commands)


def _explain_branch(e: Evidence, subject: str) -> str | None:
    """Return what became of a branch's return value, where Airflow does not store it.

    See `findings/airflow-3-branch-without-return-value.sh`.
    """
    if "skipmixin_key" not in _keys_of_index(e) or e.major < 3:
        return None
    return (
        f"{subject} and skipped tasks downstream, and Airflow 3 then stores no return value; "
        'the key "skipmixin_key" has what it chose.'
    )


_EMPTY_OPERATORS = ("EmptyOperator", "DummyOperator")


def _operator(e: Evidence) -> str:
    """Return the class of the task's operator, empty where it is not recorded."""
    defined = e.definition.operator if e.definition is not None else None
    return defined or e.instances[0].operator or ""


def _explain_none(e: Evidence, subject: str) -> str:
    operator = _operator(e)
    if operator in _EMPTY_OPERATORS:
        return f"{subject}; it is an {operator}, which returns nothing."
    if e.major == 1 and operator == "BashOperator":
        return f"{subject}; a BashOperator of Airflow 1.10 returns its output only with xcom_push=True."
    if not e.run_has_xcoms:
        return (
            f"{subject}, and its run has no XComs at all: it probably returned None, "
            "unless the XComs were deleted."
        )
    if e.definition is not None and e.definition.of_run:
        return f"{subject} and returned None, which Airflow does not store."
    return f"{subject} and probably returned None, which Airflow does not store."


def _explain_other_key(e: Evidence, subject: str, commands: tuple[Command, ...]) -> _Finding:
    q, here = e.question, _keys_of_index(e)
    multiple = e.definition is not None and e.definition.multiple_outputs
    if q.key in e.keys:
        verdict = f'{subject} without pushing "{q.key}" in this run; it has pushed it in others.'
        return _Finding("not-pushed", verdict, commands)
    if multiple and here:
        others = [key for key in here if key != RETURN_VALUE]
        verdict = (
            f'{subject}, and the dict that it returned has no "{q.key}": '
            f"with multiple_outputs it pushed {listed(others) if others else 'no other keys'}."
        )
        return _Finding("key", verdict, commands)
    if here or e.keys:
        pushed = listed(here or e.keys)
        verdict = f'Task "{q.task_id}" has never pushed "{q.key}"; it pushes {pushed}.'
        return _Finding("key", verdict, commands)
    return _Finding(
        "not-pushed", f'{subject} without pushing anything, including "{q.key}".', commands
    )


_STEPS: tuple[Callable[[Evidence], _Finding | None], ...] = (
    _explain_row,
    _explain_archive,
    _explain_dag,
    _explain_task,
    _explain_run,
    _explain_key_in_run,
    _explain_map_index,
    _explain_instance,
    _explain_push,
)


# --- words ------------------------------------------------------------------------------------


def _keys_of_index(e: Evidence) -> list[str]:
    """Return the keys that the task instance pushed in the run, of all map indexes if none is asked."""
    index = e.question.map_index
    return list(dict.fromkeys(key for one, key in e.keys_in_run if index in (None, one)))


def _near(word: str, known: Sequence[str]) -> str | None:
    by_case = next((one for one in known if one.lower() == word.lower() and one != word), None)
    return by_case or nearest(word, [one for one in known if one != word])


def _ref(e: Evidence, index: int | None = None) -> XComRef:
    q = e.question
    asked = UNMAPPED if q.map_index is None else q.map_index
    run = e.run.run_id if e.run is not None else q.run_id
    return XComRef(q.dag_id, q.task_id, run, q.key, asked if index is None else index)
