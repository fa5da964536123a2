"""`xcomctl pull`: one value, decoded as the Airflow that owns the database would."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from xcomctl.cli.options import Connection, Manners
from xcomctl.errors import NotFoundError, UsageError
from xcomctl.model import RETURN_VALUE, UNMAPPED
from xcomctl.text import nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from xcomctl.cli.console import Console
    from xcomctl.db.read.store import Store
    from xcomctl.model import Raw, XComEntry

EXAMPLES = (
    ("What a task returned in its newest run", "xcomctl pull xcom_dag task_4"),
    (
        "A key other than return_value",
        "xcomctl pull xcom_dag processing_tasks.training_model_a model_accuracy",
    ),
    ("The first element of a list", "xcomctl pull file_list_dag list_files --path '[0]'"),
    ("A large value, to a file", "xcomctl pull file_list_dag list_files --file files.json"),
)
_FORMATS = ("json", "raw", "pretty", "repr")

LARGE_BYTES = 16 * 1024 * 1024
"""Above this, JSON that says all there is to say is passed on as it is stored, unread."""


def command(
    connection: Connection,
    manners: Manners,
    dag_id: Annotated[str, typer.Argument(metavar="DAG_ID", help="DAG id.")],
    task_id: Annotated[
        str, typer.Argument(metavar="TASK_ID", help="Task id, with the prefix of its task group.")
    ],
    key: Annotated[
        str, typer.Argument(metavar="[KEY]", help="Key. [default: return_value]")
    ] = RETURN_VALUE,
    run_id: Annotated[
        str | None,
        typer.Option(
            "--run-id",
            "-r",
            metavar="RUN",
            help="Run id. [default: the newest run that has the XCom]",
        ),
    ] = None,
    map_index: Annotated[
        int | None,
        typer.Option(
            "--map-index",
            "-m",
            metavar="N",
            help="Index of a mapped task. [default: -1, not mapped]",
        ),
    ] = None,
    all_map_indexes: Annotated[
        bool,
        typer.Option(
            "--all-map-indexes", help="Print the values of all indexes of a mapped task, as a list."
        ),
    ] = False,
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            metavar="json|raw|pretty|repr",
            help="Output format: strict JSON, the stored bytes, indented JSON or Python's repr. [default: pretty at a terminal, else json]",
        ),
    ] = None,
    file: Annotated[
        str | None,
        typer.Option("--file", metavar="PATH", help="Write the value to this file (- = stdout)."),
    ] = None,
    default: Annotated[
        str | None,
        typer.Option(
            "--default",
            metavar="JSON",
            help="Print this and exit with 0 if the XCom does not exist.",
        ),
    ] = None,
    path: Annotated[
        str | None,
        typer.Option("--path", metavar="PATH", help="Print only this part of the value: a.b[0]."),
    ] = None,
) -> None:
    """Print the value of an XCom."""
    from xcomctl.cli import console

    manners.apply(console)
    file = None if file == "-" else file
    steps = parse_path(path) if path is not None else []
    form = output or ("pretty" if console.terminal and file is None else "json")
    _check(form, map_index, all_map_indexes, bool(steps))
    fallback = _parse_default(default)
    target, _ = connection.resolve(console)

    from xcomctl.db import open_store

    with open_store(target) as store:
        index = None if all_map_indexes else UNMAPPED if map_index is None else map_index
        entries = store.entries.find(dag_id, task_id, key, run_id=run_id, map_index=index)
        if not entries:
            if default is None:
                raise _absence(store, dag_id, task_id, key, run_id, map_index)
            console.note("there is no such XCom; this is --default")
            _emit(console, _render(fallback, form, steps), file)
            return
        entries = _one_each(console, entries)
        if run_id is None:
            _say_which_run(console, store, entries[0])
        if not store.suggest.has_its_run(entries[0]):
            console.note(
                "its dag_run_id is of no run of that name, so Airflow's own xcom_pull returns None"
            )
        if key == "":
            console.note("Airflow's own xcom_pull takes an empty key for none, and returns another")
        if all_map_indexes:
            mapped = [entry for entry in entries if entry.ref.map_index != UNMAPPED]
            raws = [store.entries.read(entry) for entry in mapped or entries]
            _emit(console, _rendered_list(console, store, raws, form, steps), file)
            return
        if form == "raw":
            if entries[0].size is None:
                console.note("the value is SQL NULL, which has no bytes")
            _emit_pieces(console, store.entries.read_pieces(entries[0]), file)
            return
        passable = form == "json" and not steps and (file is not None or not console.terminal)
        if passable and _pass_on(console, store, entries[0], file):
            return
        raw = store.entries.read(entries[0])
    _emit(console, _rendered(console, store, raw, form, steps), file)


# --- what was asked ---------------------------------------------------------------------------


def _check(form: str, map_index: int | None, all_map_indexes: bool, path: bool) -> None:
    if form not in _FORMATS:
        near = nearest(form, _FORMATS)
        raise UsageError(
            f'unknown output format "{form}"',
            hint=f'Did you mean "{near}"?' if near else f"There are {', '.join(_FORMATS)}.",
        )
    if all_map_indexes and map_index is not None:
        raise UsageError("--map-index and --all-map-indexes contradict each other")
    if form == "raw" and (all_map_indexes or path):
        raise UsageError("-o raw gives one value's stored bytes, neither a list nor a part")


def _parse_default(text: str | None) -> object:
    if text is None:
        return None
    try:
        return json.loads(text)
    except ValueError:
        raise UsageError(
            "cannot read --default: it is not JSON",
            hint="A text needs quotes of its own: '\"none\"'.",
        ) from None


def parse_path(text: str) -> list[str | int]:
    """Return the steps of a path such as `a.b[0]` or `["a key"].b`.

    Raises:
        UsageError: it is no such path.
    """
    steps: list[str | int] = []
    rest = text.removeprefix("$").removeprefix(".")
    while rest:
        match = re.match(r"""\[(-?\d+)\]|\[("(?:[^"\\]|\\.)*")\]|\.?([^.\[\]]+)""", rest)
        if not match:
            raise UsageError(
                f'cannot read the path "{text}"',
                hint='Keys with dots between them and indexes in brackets: a.b[0], ["a key"].b',
            )
        index, quoted, name = match.groups()
        if index is not None:
            steps.append(int(index))
        else:
            steps.append(name if name is not None else str(json.loads(quoted)))
        rest = rest[match.end() :]
    return steps


def _walk(value: object, steps: list[str | int]) -> object:
    """Return the part of the value that the steps lead to.

    Raises:
        NotFoundError: there is no such part.
    """
    walked = "value"
    for step in steps:
        place = f"{walked}[{step}]" if isinstance(step, int) else f"{walked}.{step}"
        if isinstance(step, int) and isinstance(value, list):
            if -len(value) <= step < len(value):
                value, walked = value[step], place
                continue
            raise NotFoundError(
                f"there is no {place}", detail=f"{walked} has {len(value)} elements."
            )
        if isinstance(value, dict):
            name = str(step)
            if name in value:
                value, walked = value[name], place
                continue
            near = nearest(name, value)
            raise NotFoundError(
                f"there is no {place}",
                detail=f"{walked} has {len(value)} keys.",
                hint=f'Did you mean "{near}"?' if near else None,
            )
        raise NotFoundError(
            f"there is no {place}",
            detail=f"{walked} is a {_json_type(value)}, which has no such parts.",
        )
    return value


def _json_type(value: object) -> str:
    names = {bool: "boolean", int: "number", float: "number", str: "string", list: "list"}
    return names.get(type(value), "null")


# --- what is said -----------------------------------------------------------------------------


def _one_each(console: Console, entries: list[XComEntry]) -> list[XComEntry]:
    """Return the newest entry of each map_index: Airflow 1.10 allows duplicates."""
    newest = {entry.ref.map_index: entry for entry in reversed(entries)}
    if len(newest) < len(entries):
        console.note(
            f"{len(entries)} rows have this name, which Airflow 1.10 allows; this is the newest"
        )
    return [newest[index] for index in sorted(newest)]


def _say_which_run(console: Console, store: Store, entry: XComEntry) -> None:
    newer = store.suggest.newer_run(entry)
    console.note(f'this is of run "{entry.ref.run}"')
    if newer is not None:
        console.note(f'a newer run lacks it: "{newer}"')


def _rendered(console: Console, store: Store, raw: Raw, form: str, steps: list[str | int]) -> bytes:
    from xcomctl.values import decode, render

    decoded = decode.decode(raw, store.context)
    for note in decoded.notes:
        console.note(note)
    if form == "repr":
        return render.to_repr(decoded.value).encode("utf-8", "backslashreplace") + b"\n"
    value, notes = render.to_json(decoded.value)
    for note in notes:
        console.note(note)
    return _render(value, form, steps)


def _pass_on(console: Console, store: Store, entry: XComEntry, file: str | None) -> bool:
    """Write a large value's own text where it is plain JSON, and return whether it is.

    Raises:
        DatabaseError: it was replaced after it was looked at; what stdout has got is then in vain.
    """
    if entry.size is None or entry.size <= LARGE_BYTES:
        return False
    if store.schema.storage == "bytes" and not isinstance(entry.head, bytes):
        # Airflow's xcom_pull fails on it.
        return False
    from hashlib import blake2b

    from xcomctl.values import jsontext

    digest = blake2b()
    if not jsontext.is_plain(_noted(store.entries.read_pieces(entry), digest.update)):
        return False
    expected = digest.digest()

    def text() -> Iterator[bytes]:
        digest = blake2b()
        yield from jsontext.shown(_noted(store.entries.read_pieces(entry), digest.update))
        if digest.digest() != expected:
            from xcomctl.db.read.entries import changed_while_read

            raise changed_while_read(entry)
        yield b"\n"

    _emit_pieces(console, text(), file)
    return True


def _noted(pieces: Iterable[bytes], note: Callable[[bytes], None]) -> Iterator[bytes]:
    for piece in pieces:
        note(piece)
        yield piece


def _rendered_list(
    console: Console, store: Store, raws: list[Raw], form: str, steps: list[str | int]
) -> bytes:
    from xcomctl.values import decode, render

    decoded = [decode.decode(raw, store.context) for raw in raws]
    for note in dict.fromkeys(note for one in decoded for note in one.notes):
        console.note(note)
    values = [one.value for one in decoded]
    if form == "repr":
        return render.to_repr(values).encode("utf-8", "backslashreplace") + b"\n"
    value, notes = render.to_json(values)
    for note in notes:
        console.note(note)
    return _render(value, form, steps)


def _render(value: object, form: str, steps: list[str | int]) -> bytes:
    from xcomctl.values import render, strictjson

    part = _walk(value, steps)
    if form == "repr":
        return render.to_repr(part).encode("utf-8", "backslashreplace") + b"\n"
    return strictjson.dumps(part, indent=2 if form == "pretty" else None).encode() + b"\n"


def _emit(console: Console, data: bytes, file: str | None) -> None:
    _emit_pieces(console, [data], file)


def _emit_pieces(console: Console, pieces: Iterable[bytes], file: str | None) -> None:
    if file is None:
        console.data(pieces)
    else:
        console.save(Path(file), pieces, private=True)


# --- what is missing --------------------------------------------------------------------------


def _absence(
    store: Store,
    dag_id: str,
    task_id: str,
    key: str,
    run_id: str | None,
    map_index: int | None,
) -> NotFoundError:
    """Return the error that names the part of the name that leads nowhere, and what is near."""
    missing = f'"{dag_id}/{run_id}/{task_id}:{key}"' if run_id else f'"{dag_id}/{task_id}:{key}"'
    message = f"there is no XCom {missing}"
    tasks = store.suggest.names("task_id", dag_id)
    if not tasks:
        near = nearest(dag_id, store.suggest.dag_ids())
        return NotFoundError(
            message,
            detail=f'No XCom is of a DAG "{dag_id}".',
            hint=f'Did you mean the DAG "{near}"?'
            if near
            else '"xcomctl list" shows what there is.',
        )
    if task_id not in tasks:
        grouped = [task for task in tasks if task.endswith(f".{task_id}")]
        near = grouped[0] if grouped else nearest(task_id, tasks)
        return NotFoundError(
            message,
            detail=f'No XCom of the DAG is of a task "{task_id}".'
            + (" A task in a group carries the group's prefix." if grouped else ""),
            hint=f'Did you mean the task "{near}"?' if near else f"There are {_some(tasks)}.",
        )
    keys = store.suggest.names("key", dag_id, task_id)
    if key not in keys:
        near = nearest(key, keys)
        return NotFoundError(
            message,
            detail=f"The task has pushed {_some(keys)}.",
            hint=f'Did you mean the key "{near or keys[0]}"?' if keys else None,
        )
    if run_id is not None:
        runs = store.suggest.names("run_id", dag_id, task_id, key)
        if not store.suggest.names("task_id", dag_id, task_id, key, run_id):
            known = store.suggest.has_run(dag_id, run_id)
            near = nearest(run_id, runs) or (runs[-1] if runs else None)
            return NotFoundError(
                message,
                detail="The run is there, and this task has not pushed the key in it."
                if known
                else f'There is no run "{run_id}" of the DAG.',
                hint=f'The run "{near}" has it.' if near else None,
            )
    indexes = store.suggest.names("map_index", dag_id, task_id, key, run_id)
    wanted = UNMAPPED if map_index is None else map_index
    return NotFoundError(
        f"{message} with map_index {wanted}",
        detail=f"The task is mapped: there are map_index {_some(indexes)}."
        if str(UNMAPPED) not in indexes
        else f"There are map_index {_some(indexes)}.",
        hint="Add --map-index N, or --all-map-indexes for a list.",
    )


def _some(names: list[str], most: int = 12) -> str:
    shown = ", ".join(names[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown
