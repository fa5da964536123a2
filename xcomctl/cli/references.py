"""Completion within `DAG/RUN/TASK[INDEX]:KEY`, the printed name of an XCom."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from xcomctl.cli.shells import Candidate
from xcomctl.model import UNMAPPED, Selection, exactly, runs_back

if TYPE_CHECKING:
    from collections.abc import Iterator

    from xcomctl.db.read.suggest import Suggest

_LATEST = ("latest", "latest~1")


def complete_reference(suggest: Suggest, text: str) -> Iterator[Candidate]:
    """Yield what a reference may be that begins with this text, which holds a slash.

    A part at a time: the run, the task, the index of a mapped task, the key. Behind the DAG also
    its tasks, because the run may be left out.

    Raises:
        DatabaseError: the database cannot be read.
    """
    for dag_id in suggest.dag_ids():
        if not text.startswith(f"{dag_id}/"):
            continue
        rest = text[len(dag_id) + 1 :]
        selection = Selection(dag_ids=(exactly(dag_id),))
        run_id, slash, last = rest.rpartition("/")
        if not slash:
            yield from _runs(suggest, f"{dag_id}/", last, selection)
            yield from _in_run(suggest, f"{dag_id}/", last, selection)
            continue
        run = run_id if runs_back(run_id) is not None else exactly(run_id)
        in_run = Selection(dag_ids=selection.dag_ids, run_ids=(run,))
        yield from _in_run(suggest, f"{dag_id}/{run_id}/", last, in_run)


def _runs(suggest: Suggest, before: str, start: str, selection: Selection) -> Iterator[Candidate]:
    newest = [one for one in _LATEST[: 2 if start else 1] if one.startswith(start)]
    for run_id in (*newest, *suggest.ids("run_id", start, selection)):
        yield Candidate(f"{before}{run_id}/", final=False)


def _in_run(suggest: Suggest, before: str, start: str, selection: Selection) -> Iterator[Candidate]:
    """Yield tasks that begin so, or where a task is complete, its indexes or keys."""
    match = re.fullmatch(r"(.+?)(?:\[(-?\d*)(\]?))?(:.*)?", start, re.DOTALL)
    task_id, index, closed, key = match.groups() if match else (start, None, None, None)
    of_task = Selection(
        dag_ids=selection.dag_ids, run_ids=selection.run_ids, task_ids=(exactly(task_id),)
    )
    if key is not None:
        name = f"{before}{start[: len(start) - len(key)]}:"
        for one in suggest.ids("key", key[1:], of_task):
            yield Candidate(name + one)
    elif index is not None and not closed:
        for one in suggest.ids("map_index", index, of_task):
            yield Candidate(f"{before}{task_id}[{one}]:", final=False)
    elif index is not None:
        yield Candidate(f"{before}{start}:", final=False)
    else:
        tasks = suggest.ids("task_id", start, selection)
        for one in tasks:
            yield Candidate(before + one + _after(suggest, one, tasks, selection), final=False)


def _after(suggest: Suggest, task_id: str, tasks: list[str], selection: Selection) -> str:
    """Return what follows a task's id: a bracket where it is mapped, which is asked for one task only."""
    if len(tasks) > 1:
        return ""
    indexes = suggest.ids(
        "map_index",
        "",
        Selection(
            dag_ids=selection.dag_ids, run_ids=selection.run_ids, task_ids=(exactly(task_id),)
        ),
    )
    return "[" if indexes and str(UNMAPPED) not in indexes else ":"
