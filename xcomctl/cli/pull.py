"""`xcomctl pull`: one value, decoded as the Airflow that owns the database does."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from xcomctl.cli.attempts import RegionOption, parse_region, refuse_ambiguous
from xcomctl.cli.gaps import warn_about_hidden_rows
from xcomctl.cli.names import XComName, absence, read_name, resolve
from xcomctl.cli.options import Connection, Manners
from xcomctl.cli.value_path import parse_path, walk
from xcomctl.errors import UsageError
from xcomctl.model import MAX_INTEGER, MIN_INTEGER, UNMAPPED, Selection, exactly, is_glob
from xcomctl.text import suggestion

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from xcomctl.cli.console import Console
    from xcomctl.cli.progress import Progress
    from xcomctl.db.read.store import Store
    from xcomctl.model import Raw, XComEntry

EXAMPLES = (
    ("What a task returned in its newest run", "xcomctl pull xcom_dag task_4"),
    (
        "A key other than return_value",
        "xcomctl pull xcom_dag processing_tasks.training_model_a model_accuracy",
    ),
    (
        "The form in which notes and findings name an XCom",
        "xcomctl pull xcom_dag/latest/task_4:return_value",
    ),
    ("The first element of a list", "xcomctl pull file_list_dag list_files --path '[0]'"),
)
_FORMATS = ("json", "raw", "pretty", "repr", "csv", "parquet")
_FRAME_FORMATS = ("csv", "parquet")
"""Formats of a DataFrame alone."""
_SHOWN_RECORDS = 10
"""Rows of a DataFrame that -o pretty shows."""

LARGE_BYTES = 16 * 1024 * 1024
"""Size above which plain JSON is passed on as it is stored, without decoding it."""


@dataclass(frozen=True, slots=True)
class Options:
    """The arguments and options of `pull` alone."""

    dag_id: Annotated[
        str,
        typer.Argument(
            metavar="DAG_ID",
            help="DAG id; or DAG/RUN/TASK[INDEX]:KEY alone, as notes and findings print it.",
        ),
    ]
    task_id: Annotated[
        str | None,
        typer.Argument(metavar="TASK_ID", help="Task id, with the prefix of its task group."),
    ] = None
    key: Annotated[
        str | None, typer.Argument(metavar="[KEY]", help="Key. [default: return_value]")
    ] = None
    run_id: Annotated[
        str | None,
        typer.Option(
            "--run-id",
            "-r",
            metavar="RUN",
            help="Run: an id, a glob, or latest (latest~1 is the run before). [default: the newest run that has the XCom]",
        ),
    ] = None
    map_index: Annotated[
        int | None,
        typer.Option(
            "--map-index",
            "-m",
            min=MIN_INTEGER,
            max=MAX_INTEGER,
            metavar="N",
            help="Index of a mapped task. [default: -1, not mapped]",
        ),
    ] = None
    all_map_indexes: Annotated[
        bool,
        typer.Option(
            "--all-map-indexes", help="Print the values of all indexes of a mapped task, as a list."
        ),
    ] = False
    region: RegionOption = None
    try_number: Annotated[
        int | None,
        typer.Option(
            "--try-number",
            metavar="N",
            min=0,
            max=MAX_INTEGER,
            help="What this attempt pushed, which Airflow 3.4 keeps. [default: the current one]",
        ),
    ] = None
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            metavar="json|raw|pretty|repr|csv|parquet",
            help="Output format: strict JSON, the stored bytes, indented JSON or Python's repr; csv and parquet of a DataFrame. [default: pretty at a terminal, else json]",
        ),
    ] = None
    file: Annotated[
        str | None,
        typer.Option("--file", metavar="PATH", help="Write the value to this file (- = stdout)."),
    ] = None
    default: Annotated[
        str | None,
        typer.Option(
            "--default",
            metavar="JSON",
            help="Print this and exit with 0 if the XCom does not exist.",
        ),
    ] = None
    path: Annotated[
        str | None,
        typer.Option("--path", metavar="A.B[0]", help="Print only this part of the value: a.b[0]."),
    ] = None
    opcodes: Annotated[
        bool,
        typer.Option("--opcodes", help="Describe a pickle by its opcodes instead of its value."),
    ] = False


def command(connection: Connection, manners: Manners, options: Options) -> None:
    """Print the value of an XCom."""
    from xcomctl.cli import console

    manners.apply(console)
    request = _read_options(console, options)
    target, _ = connection.resolve(console)

    from xcomctl.db import open_store

    with contextlib.ExitStack() as stack:
        all_attempts = request.try_number is not None
        store = stack.enter_context(open_store(target, all_attempts=all_attempts))
        work = stack.enter_context(console.working("pull: reading the value"))
        pieces = _read_value(console, store, request, work)
        if isinstance(pieces, list):
            # No connection stays open while a pager shows the value.
            stack.close()
        if request.file is None:
            console.data(pieces)
        else:
            console.save(request.file, pieces, private=True)


# --- options ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Request:
    """Which value, and how it is written."""

    name: XComName | str
    """A text is a name in its printed form, which the database helps to read."""
    all_map_indexes: bool
    form: str
    steps: list[str | int]
    """The path to a part of the value; empty for all of it."""
    file: Path | None
    default: tuple[object] | None
    """The value of --default; None without that option."""
    to_terminal: bool
    opcodes: bool
    """Whether a pickle is described instead of decoded."""
    region: tuple[str, int] | None = None
    try_number: int | None = None


def _read_options(console: Console, options: Options) -> _Request:
    """Return the request that the options describe.

    Raises:
        UsageError: an option is invalid, or contradicts another.
    """
    file = None if options.file in (None, "-") else Path(options.file)
    steps = parse_path(options.path) if options.path is not None else []
    to_terminal = console.terminal and file is None
    form = options.output or ("pretty" if to_terminal else "json")
    if form not in _FORMATS:
        raise UsageError(f'unknown output format "{form}"', hint=suggestion(form, _FORMATS))
    if options.all_map_indexes and options.map_index is not None:
        raise UsageError("--map-index and --all-map-indexes cannot be combined")
    if form == "raw" and (options.all_map_indexes or steps):
        raise UsageError("-o raw gives one value's stored bytes, neither a list nor a part")
    if form in _FRAME_FORMATS:
        if options.all_map_indexes:
            raise UsageError(f"-o {form} writes one DataFrame, not a list")
        if to_terminal:
            raise UsageError(
                f"cannot write {form} to a terminal",
                hint="Use --file PATH, or redirect the output.",
            )
    return _Request(
        read_name(
            "pull",
            options.dag_id,
            options.task_id,
            options.key,
            run_id=options.run_id,
            map_index=options.map_index,
        ),
        options.all_map_indexes,
        form,
        steps,
        file,
        None if options.default is None else (_parse_default(options.default),),
        to_terminal,
        options.opcodes,
        None if options.region is None else parse_region(options.region),
        options.try_number,
    )


def _parse_default(text: str) -> object:
    from xcomctl.values import strictjson

    try:
        return json.loads(text, parse_constant=strictjson.refuse, parse_float=strictjson.to_float)
    except (ValueError, RecursionError):
        raise UsageError(
            "cannot read --default: it is not strict JSON",
            hint="A string needs its own quotes: '\"none\"'.",
        ) from None


# --- the value --------------------------------------------------------------------------------


def _read_value(
    console: Console, store: Store, request: _Request, work: Progress
) -> Iterable[bytes]:
    """Return the value as it is to be written: a list, or pieces that are read on demand.

    Raises:
        NotFoundError: it does not exist, and there is no --default.
    """
    from xcomctl.values.key_route import key_problem

    entries = _find(console, store, request)
    if not entries:
        assert request.default is not None, "_find raises without one"
        console.note("the XCom does not exist; printed --default")
        return [_render(request.default[0], request)]
    first = entries[0]
    if problem := key_problem(first.ref.key or "", store.schema.release):
        console.note(f"in this Airflow {problem}")
    if request.all_map_indexes:
        mapped = [entry for entry in entries if entry.ref.map_index != UNMAPPED]
        _note_missing_indexes(console, store, mapped)
        return [_decoded_list(console, store, mapped or entries, request)]
    if request.form == "raw":
        if first.size is None:
            console.note("the value is SQL NULL, which has no bytes")
        return _shown(work, "pull: reading the value", store, first)
    if request.form == "json" and not request.steps and not request.to_terminal:
        pieces = _plain_pieces(store, first, work)
        if pieces is not None:
            return pieces
    return [_decoded(console, store, store.entries.read(first), request)]


def _resolve(console: Console, store: Store, name: XComName | str) -> XComName:
    """Return the name with its parts, and the id of the run that `latest` or a glob stands for."""
    if isinstance(name, str):
        name = resolve(store, name)
    if name.run_id is None:
        return name
    run_id = store.suggest.run_id(name.dag_id, name.run_id)
    if is_glob(run_id) and not store.suggest.has_run(name.dag_id, run_id):
        run_id = _newest_match(store, name) or run_id
    if run_id != name.run_id:
        console.note(f'from run "{run_id}"')
    return replace(name, run_id=run_id)


def _newest_match(store: Store, name: XComName) -> str | None:
    """Return the newest run that has the XCom, of those that match the glob."""
    selection = Selection(
        dag_ids=(exactly(name.dag_id),),
        run_ids=(name.run_id or "*",),
        task_ids=(exactly(name.task_id),),
        keys=(exactly(name.key),),
    )
    newest = store.entries.scan(selection, sort="run", descending=True, limit=1)
    return next((entry.ref.run for entry in newest), None)


def _find(console: Console, store: Store, request: _Request) -> list[XComEntry]:
    """Return the entries that are meant, one per map_index; none if --default applies."""
    name = _resolve(console, store, request.name)
    if request.all_map_indexes and name.map_index is not None:
        raise UsageError("--all-map-indexes and the index in the name cannot be combined")
    index = UNMAPPED if name.map_index is None else name.map_index
    entries = store.entries.find(
        name.dag_id,
        name.task_id,
        name.key,
        run_id=name.run_id,
        map_index=None if request.all_map_indexes else index,
        region=parse_region(name.region) if name.region else request.region,
        try_number=request.try_number,
    )
    if not entries:
        if request.default is None:
            warn_about_hidden_rows(console, store)
            raise absence(store, name)
        return []
    if not request.all_map_indexes:
        refuse_ambiguous(entries)
    entries = _newest_of_each(console, entries)
    if name.run_id is None:
        _note_the_run(console, store, entries[0])
    if not store.suggest.has_its_run(entries[0]):
        console.note(
            "its dag_run_id does not belong to that run, so Airflow's own xcom_pull returns None"
        )
    if name.key == "":
        console.note("Airflow's own xcom_pull treats an empty key as None, and returns another")
    return entries


def _newest_of_each(console: Console, entries: list[XComEntry]) -> list[XComEntry]:
    """Return the newest entry of each map_index, because Airflow 1.10 allows duplicates."""
    if entries[0].attempt is not None:
        return entries
    newest = {entry.ref.map_index: entry for entry in reversed(entries)}
    if len(newest) < len(entries):
        console.note(
            f"{len(entries)} rows have this name, which Airflow 1.10 allows; this is the newest"
        )
    return [newest[index] for index in sorted(newest)]


def _note_missing_indexes(console: Console, store: Store, mapped: list[XComEntry]) -> None:
    """Say which indexes of the mapped task have no value: the list closes up over them."""
    if not mapped:
        return
    present = {entry.ref.map_index for entry in mapped}
    expected = {*range(max(present) + 1), *store.suggest.map_indexes(mapped[0])}
    missing = _ranges(sorted(expected - present))
    if missing:
        console.note(f"no value for map_index {missing}: the list leaves it out")


def _ranges(numbers: list[int]) -> str:
    """Return ascending numbers as `1, 4-7`, the first of them where they are many."""
    ranges: list[tuple[int, int]] = []
    for number in numbers:
        if ranges and ranges[-1][1] == number - 1:
            ranges[-1] = (ranges[-1][0], number)
        else:
            ranges.append((number, number))
    texts = [f"{first}" if first == last else f"{first}-{last}" for first, last in ranges[:_SHOWN]]
    return ", ".join([*texts, *(["..."] if len(ranges) > _SHOWN else [])])


_SHOWN = 20
"""Ranges of indexes that a note names."""


def _note_the_run(console: Console, store: Store, entry: XComEntry) -> None:
    newer = store.suggest.newer_run(entry)
    console.note(f'from run "{entry.ref.run}"')
    if newer is not None:
        console.note(f'a newer run does not have it: "{newer}"')


def _decoded(console: Console, store: Store, raw: Raw, request: _Request) -> bytes:
    from xcomctl.values import decode, render

    decoded = decode.decode(raw, store.context, opcodes=request.opcodes)
    for note in decoded.notes:
        console.note(note)
    if request.form == "repr":
        return render.to_repr(decoded.value).encode("utf-8", "backslashreplace") + b"\n"
    if request.form in _FRAME_FORMATS:
        from xcomctl.exchange.frames import frame_as

        return frame_as(request.form, walk(decoded.value, request.steps))
    value, notes = render.to_json(_with_records(console, decoded.value, raw, request))
    for note in notes:
        console.note(note)
    return _render(value, request)


def _with_records(console: Console, value: object, raw: Raw, request: _Request) -> object:
    """Return a decoded value whose DataFrames have their rows, as far as they are shown."""
    if not isinstance(raw, bytes | str) or not (
        "DataFrame" in raw if isinstance(raw, str) else b"DataFrame" in raw
    ):
        return value
    from xcomctl.exchange.frames import with_records

    most = _SHOWN_RECORDS if request.form == "pretty" else None
    found, notes = with_records(value, most)
    for note in notes:
        console.note(note)
    return found


def _plain_pieces(store: Store, entry: XComEntry, work: Progress) -> Iterable[bytes] | None:
    """Return a large value's own text where it is plain JSON, else None.

    Raises:
        DatabaseError: while the pieces are read: the value was replaced after it was checked.
    """
    if entry.size is None or entry.size <= LARGE_BYTES:
        return None
    if store.schema.storage == "bytes" and not isinstance(entry.head, bytes):
        # Airflow's xcom_pull fails on it.
        return None
    from hashlib import blake2b

    from xcomctl.values import jsontext

    digest = blake2b()
    checked = _shown(work, "pull: checking the value", store, entry)
    if not jsontext.is_plain(_watched(checked, digest.update)):
        return None
    expected = digest.digest()

    def pieces() -> Iterator[bytes]:
        digest = blake2b()
        read = _shown(work, "pull: reading the value", store, entry)
        yield from jsontext.shown(_watched(read, digest.update))
        if digest.digest() != expected:
            from xcomctl.db.read.entries import changed_while_read

            raise changed_while_read(entry)
        yield b"\n"

    return pieces()


def _shown(work: Progress, what: str, store: Store, entry: XComEntry) -> Iterator[bytes]:
    """Yield the pieces of a value, and show how many of its bytes have been read."""
    done = 0
    work.begin(what, lambda: (0, done), size=entry.size)
    for piece in store.entries.read_pieces(entry):
        done += len(piece)
        yield piece


def _watched(pieces: Iterable[bytes], watch: Callable[[bytes], None]) -> Iterator[bytes]:
    for piece in pieces:
        watch(piece)
        yield piece


def _decoded_list(
    console: Console, store: Store, entries: list[XComEntry], request: _Request
) -> bytes:
    from xcomctl.values import decode, render

    decoded = [
        decode.decode(store.entries.read(entry), store.context, opcodes=request.opcodes)
        for entry in entries
    ]
    for note in dict.fromkeys(note for one in decoded for note in one.notes):
        console.note(note)
    values = [one.value for one in decoded]
    if request.form == "repr":
        return render.to_repr(values).encode("utf-8", "backslashreplace") + b"\n"
    value, notes = render.to_json(values)
    for note in notes:
        console.note(note)
    return _render(value, request)


def _render(value: object, request: _Request) -> bytes:
    """Return the part of the value that is asked for, in its format."""
    from xcomctl.values import render, strictjson

    part = walk(value, request.steps)
    if request.form == "repr":
        return render.to_repr(part).encode("utf-8", "backslashreplace") + b"\n"
    return strictjson.dumps(part, indent=2 if request.form == "pretty" else None).encode() + b"\n"
