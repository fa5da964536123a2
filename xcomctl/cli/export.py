"""`xcomctl export`: entries with their values, streamed."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xcomctl.cli.console import parse_outputs
from xcomctl.cli.gaps import warn_about_gaps, warn_about_hidden_rows
from xcomctl.cli.options import Connection, Filters, Manners
from xcomctl.cli.partial_file import Partial, Progress, Saving, place_of
from xcomctl.cli.parts import describe, parse_part
from xcomctl.config.target import parse_iso
from xcomctl.errors import RefusedError, UsageError
from xcomctl.model import UNMAPPED, LineSink, Size, format_time, runs_back

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from xcomctl.cli.console import Console
    from xcomctl.cli.parts import Part
    from xcomctl.config.target import Target
    from xcomctl.db.jobs import Jobs
    from xcomctl.db.read.store import Store
    from xcomctl.exchange.lines import Lines
    from xcomctl.model import Selection, Write

EXAMPLES = (
    (
        "One DAG, as JSON Lines that `xcomctl import` reads",
        "xcomctl export -d xcom_dag -o jsonl=xcoms.jsonl",
    ),
    ("What the last week pushed, as CSV", "xcomctl export --since 7d -o csv=week.csv"),
    (
        "The second of four parts of the table, which other machines export",
        "xcomctl export --part 2/4 -o jsonl=part-2.jsonl",
    ),
    ("For pandas or DuckDB (needs the parquet extra)", "xcomctl export -o parquet=xcoms.parquet"),
)
FORMATS = {"jsonl": "transfer", "csv": "transfer", "parquet": "arrow"}
CHOICES = {"output": tuple(FORMATS)}


@dataclass(frozen=True, slots=True)
class Options:
    """The options of `export` alone."""

    output: Annotated[
        list[str] | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FORMAT[=FILE]",
            help="Output format: jsonl, csv or parquet. Without a file to stdout. [default: jsonl]",
        ),
    ] = None
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Make the export resumable: the same command resumes it if it is interrupted. Needs jsonl=FILE or csv=FILE.",
        ),
    ] = False
    part: Annotated[
        str | None,
        typer.Option(
            "--part",
            metavar="I/N",
            help="Only part I of N of the table, by ranges of its key. The files of all parts, joined, are that of 1/1.",
        ),
    ] = None
    jobs: Annotated[
        int | None,
        typer.Option(
            "--jobs",
            metavar="N",
            min=1,
            max=64,
            help="Read with N processes, in the order of the key. For jsonl and csv.",
        ),
    ] = None


def command(connection: Connection, filters: Filters, manners: Manners, options: Options) -> None:
    """Export XComs with their values."""
    from xcomctl.cli import console

    manners.apply(console)
    outputs = parse_outputs(options.output or ["jsonl"], FORMATS)
    if len(outputs) > 1:
        raise UsageError("export writes one format at a time", hint="Use one -o FORMAT[=FILE].")
    ((name, path),) = outputs
    resume, jobs = options.resume, options.jobs
    selection, of_table = filters.selection(), parse_part(options.part)
    form = _form(name, to_terminal=path is None and console.terminal)
    if resume:
        _check_resumable(name, path, selection, of_table, jobs)
    if jobs and name == "parquet":
        raise UsageError("--jobs writes JSON Lines or CSV", hint="Use -o jsonl or -o csv.")
    target, _ = connection.resolve(console)

    if resume and path is not None:
        partial = Partial(Path(path), _asked(target, name, filters))
        _resumable(console, target, selection, form, partial)
        return

    from xcomctl.db import open_store

    with (
        _started(target, form, jobs) as started,
        open_store(target, all_attempts=filters.all_attempts) as store,
        console.sink(Path(path) if path else None, private=True) as write,
        _lines(form, write, store) as lines,
    ):
        ordered = jobs is not None or of_table is not None
        _plain(console, store, selection, lines, of_table, started, ordered=ordered)
    _say_done(console, lines)


def _check_resumable(
    name: str, path: str | None, selection: Selection, of_table: Part | None, jobs: int | None
) -> None:
    """Raise UsageError where --resume cannot do what other options say."""
    if path is None or name == "parquet":
        raise UsageError(
            "--resume needs a JSON Lines or CSV file", hint="Use -o jsonl=FILE or -o csv=FILE."
        )
    if any(runs_back(run) is not None for run in selection.run_ids):
        raise UsageError(
            "--resume cannot be combined with the latest run",
            detail="Another run may be the latest by the time the export is resumed.",
            hint="Give the id of the run.",
        )
    if of_table or jobs:
        other = "--part" if of_table else "--jobs"
        raise UsageError(f"--resume cannot be combined with {other}", hint="Leave out one of them.")


def _started(
    target: Target, form: Callable[..., Lines], jobs: int | None
) -> contextlib.AbstractContextManager[Jobs | None]:
    """Return the processes to export with, None where this one does it alone."""
    if jobs is None or jobs == 1:
        return contextlib.nullcontext()
    from xcomctl.db.jobs import start_jobs

    make_lines: Any = functools.partial(_lines, form)
    return start_jobs(target, jobs, make_lines)


def _plain(
    console: Console,
    store: Store,
    selection: Selection,
    lines: Lines,
    of_table: Part | None,
    jobs: Jobs | None,
    *,
    ordered: bool,
) -> None:
    """Export in one go."""
    if store.schema.split and ordered:
        option = "--part" if of_table else "--jobs"
        raise UsageError(
            f"{option} does not work with Airflow 3.4 yet", hint=f"Leave {option} out."
        )
    if of_table:
        found = of_table.find(store)
        console.note(f"{of_table}: {describe(found, store.parts.key)}")
        selection = dataclasses.replace(selection, part=found)
        if of_table.number > 1:
            # Without a header, so that the files can be joined.
            lines.resume(0, 0)
    with _working(console, store, selection, lines):
        if jobs is None:
            store.entries.stream_into(selection, lines, ordered=ordered)
        elif not (isinstance(lines, LineSink) and jobs.write_into(lines, store, selection)):
            console.note("one process exports, because several cannot read one state here")
            store.entries.stream_into(selection, lines, ordered=True)
    if jobs is not None and jobs.began_within_s is not None:
        console.note(
            f"{store.facts().product} cannot share one state between connections: the jobs began "
            f"to read within {jobs.began_within_s * 1000:,.0f} ms of each other"
        )
    if of_table:
        # Other parts may have what the filters match.
        warn_about_hidden_rows(console, store)
    else:
        warn_about_gaps(console, store, selection, lines.rows)


def _lines(form: Callable[..., Lines], write: Write, store: Store) -> Lines:
    """Return what writes the rows of a database."""
    strict, others = store.holds_strict_json, store.others
    return form(write, store.schema.storage, strict=strict, others=others)


def _say_done(console: Console, lines: Lines) -> None:
    noun = "XCom" if lines.rows == 1 else "XComs"
    console.note(f"exported {lines.rows:,} {noun} of {Size(lines.bytes)}")


def _resumable(
    console: Console,
    target: Target,
    selection: Selection,
    form: Callable[..., Lines],
    partial: Partial,
) -> None:
    """Export so that what is written stays, and the same command goes on behind it."""
    from xcomctl.db import open_store

    with open_store(target) as store:
        if store.schema.split:
            raise UsageError(
                "--resume does not work with Airflow 3.4 yet", hint="Leave --resume out."
            )
        if not store.schema.mapped:
            raise UsageError(
                "--resume needs Airflow 2.3 or newer",
                detail=f"This metadata DB belongs to Airflow {store.schema.airflow}.",
                hint="Leave --resume out.",
            )
        if store.others:
            partial.also_asked("others", [one.name for one in store.others])
        began = partial.found()
        if began is not None:
            _refuse_another_database(store, partial, began)
        else:
            since, until = format_time(selection.since), format_time(selection.until)
            began = Progress(since=since, until=until)
        selection = dataclasses.replace(
            selection, since=parse_iso(began.since or ""), until=parse_iso(began.until or "")
        )
        with (
            _left(console, partial),
            partial.open(began) as out,
            _lines(form, out.write, store) as lines,
        ):
            if began.last is not None:
                lines.resume(began.rows, began.size_bytes)
                run, task_id, index, key = began.last
                mapped = "" if index == UNMAPPED else f"[{index}]"
                console.note(
                    f"resuming after {began.rows:,} XComs ({Size(began.size_bytes)}), the last one "
                    f'"{task_id}{mapped}:{key}" of the run with the id {run}'
                )
            saving = Saving(partial, out, lines, began)
            with _working(console, store, selection, lines):
                store.entries.stream_into(selection, saving, ordered=True, after=began.last)
        warn_about_gaps(console, store, selection, lines.rows)
    _say_done(console, lines)


def _asked(target: Target, form: str, filters: Filters) -> dict[str, object]:
    """Return what identifies the command, for a later run to repeat."""
    asked: dict[str, object] = {**place_of(target), "format": form, **dataclasses.asdict(filters)}
    if form == "csv":
        from xcomctl.exchange.lines import csv_fields

        # A file that was begun with another header cannot be resumed.
        asked["header"] = csv_fields(())
    return asked


def _refuse_another_database(store: Store, partial: Partial, began: Progress) -> None:
    """Raise unless most of the exported rows that the progress file names are as they were.

    Some may have been replaced or deleted meanwhile.

    Raises:
        RefusedError: too few are.
    """
    found = {
        tuple(entry.row): (format_time(entry.timestamp), entry.size)
        for entry in store.entries.at([sample[:4] for sample in began.samples])
    }
    same = sum(found.get(sample[:4]) == sample[4:] for sample in began.samples)
    if 2 * same < len(began.samples):
        raise RefusedError(
            f'the partial export "{partial.path}" was made from another database',
            detail=f"Of {len(began.samples)} exported XComs, {same} are in this one as they were.",
            hint=f"Check the url. {partial.start_again}",
        )


@contextlib.contextmanager
def _working(console: Console, store: Store, selection: Selection, lines: Lines) -> Iterator[None]:
    """Show how much is written, and how much is left where that is cheap to know."""
    with console.working("export: writing XComs") as work:
        if work.is_shown:
            rows = store.entries.estimate(selection)
            counted = lambda: (lines.rows, lines.bytes)  # noqa: E731
            work.begin("export: writing XComs", counted, rows=rows, about=True)
        yield


@contextlib.contextmanager
def _left(console: Console, partial: Partial) -> Iterator[None]:
    """Say, where it fails, what is left and how to go on."""
    try:
        yield
    except RefusedError:
        raise
    except BaseException:
        console.note(
            f'the partial export is kept in "{partial.path}"; run the same command to continue'
        )
        raise


def _form(name: str, *, to_terminal: bool) -> Callable[..., Lines]:
    """Return what writes a format.

    Raises:
        UsageError: it takes pyarrow, which is not there, or is nothing for a terminal.
    """
    if name == "parquet":
        from xcomctl.exchange.parquet import ParquetRows, need_pyarrow

        if to_terminal:
            raise UsageError(
                "cannot write Parquet to a terminal",
                hint="Use -o parquet=FILE, or pipe the output.",
            )
        need_pyarrow()
        return ParquetRows
    if to_terminal:
        from xcomctl.exchange.terminal import terminal_csv_lines, terminal_json_lines

        return terminal_csv_lines if name == "csv" else terminal_json_lines
    from xcomctl.exchange.lines import CsvLines, JsonLines

    return CsvLines if name == "csv" else JsonLines
