"""`xcomctl delete`: plan which XComs to delete, and with --yes delete them."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import IO, TYPE_CHECKING, Annotated

import typer

from xcomctl.cli.console import parse_outputs
from xcomctl.cli.files import temporary_text
from xcomctl.cli.gaps import warn_about_gaps
from xcomctl.cli.next_command import undo_note
from xcomctl.cli.options import Connection, Filters, Manners, Output, Writing
from xcomctl.cli.partial_file import place_of
from xcomctl.cli.undo_file import undo_file
from xcomctl.config.target import parse_duration
from xcomctl.errors import UsageError, XcomctlError
from xcomctl.formats import Column
from xcomctl.model import MAX_INTEGER, Selection, Size

if TYPE_CHECKING:
    from collections.abc import Iterator

    from xcomctl.cli.console import Console
    from xcomctl.config.target import Target
    from xcomctl.db.read.store import Store
    from xcomctl.db.write.delete import Delete
    from xcomctl.db.write.prune import Plan, Totals
    from xcomctl.formats import Row

EXAMPLES = (
    ("What would be deleted?", "xcomctl delete --older-than 30d"),
    (
        "Keep the 30 newest runs of each task, and save the rest",
        "xcomctl delete -d file_list_dag --keep-last 30 --yes --undo-file deleted.jsonl",
    ),
    ("The XComs of DAGs that no longer exist", "xcomctl delete --dag-missing"),
)
DEFAULT_BATCH = 1000
_COLUMNS = (
    Column("dag_id", "id", aliases=("dag",)),
    Column("task_id", "id", aliases=("task",)),
    Column("rows", "number"),
    Column("size_bytes", "size", title="size"),
    Column("stored_bytes", "size", title="stored", drop=1),
)

CHOICES = {"columns": [one.name for one in _COLUMNS]}


@dataclass(frozen=True, slots=True)
class Options:
    """The options of `delete` alone."""

    keep_last: Annotated[
        int | None,
        typer.Option(
            "--keep-last",
            metavar="N",
            min=0,
            max=MAX_INTEGER,
            help="Keep the N newest runs of each task and key.",
        ),
    ] = None
    dag_missing: Annotated[
        bool, typer.Option("--dag-missing", help="Only XComs of DAGs that no longer exist.")
    ] = False
    stale_attempts: Annotated[
        bool,
        typer.Option(
            "--stale-attempts",
            help="Only XComs that Airflow 3.4 keeps and does not read: of earlier attempts, or replaced.",
        ),
    ] = False
    include_active: Annotated[
        bool, typer.Option("--include-active", help="Also XComs of runs that have not finished.")
    ] = False
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Delete. Without it, only the plan is shown.")
    ] = False
    batch_size: Annotated[
        int,
        typer.Option(
            "--batch-size",
            metavar="N",
            min=1,
            max=MAX_INTEGER,
            help=f"Rows per transaction. [default: {DEFAULT_BATCH}]",
        ),
    ] = DEFAULT_BATCH
    pause: Annotated[
        str, typer.Option("--pause", metavar="DURATION", help="Time between batches: 0.5s.")
    ] = "0"


def command(
    connection: Connection,
    filters: Filters,
    manners: Manners,
    writing: Writing,
    output: Output,
    options: Options,
) -> None:
    """Delete old, oversized or orphaned XComs (shows a plan first)."""
    from xcomctl.cli import console

    manners.apply(console)
    outputs = parse_outputs(output.output)
    layout = output.layout("xcomctl.delete/1", "tasks", _COLUMNS)
    request = _read_options(filters, writing, options)
    target, _ = connection.resolve(console)
    if request.yes:
        writing.refuse_read_only(target)

    from xcomctl.db import open_for_writing

    with (
        temporary_text("surrogatepass") as kept,
        open_for_writing(
            target, lock_timeout_s=request.wait_s if request.yes else None, all_attempts=True
        ) as store,
    ):
        result = _run(console, store, target, request, kept)

    layout = replace(layout, before=result.facts, closing=result.closing)
    console.write(layout, result.rows(), outputs)
    for note in result.notes():
        console.note(note)
    if request.undo_file and result.deleted and result.totals.all.rows:
        console.note(undo_note(connection, request.undo_file, replace=False))


@dataclass(frozen=True, slots=True)
class _Request:
    """What to delete, and how."""

    selection: Selection
    keep_last: int | None
    dag_missing: bool
    include_active: bool
    yes: bool
    batch_size: int
    pause_s: float
    wait_s: float
    undo_file: str | None
    asked: dict[str, object]
    """The options as typed, which identify the command for an undo file that it goes on with."""
    current: bool | None
    """Of Airflow 3.4, whether only XComs that Airflow reads, or only those that it does not."""


def _read_options(filters: Filters, writing: Writing, options: Options) -> _Request:
    """Return the request that the options describe.

    Raises:
        UsageError: an option is invalid, or nothing narrows down what --yes would delete.
    """
    selection = filters.selection()
    everything = selection == Selection() and options.keep_last is None
    if options.yes and everything and not (options.dag_missing or options.stale_attempts):
        raise UsageError(
            "delete --yes without a filter would remove every XCom",
            hint="--dag-id '*' deletes every XCom.",
        )
    return _Request(
        selection,
        options.keep_last,
        options.dag_missing,
        options.include_active,
        options.yes,
        options.batch_size,
        parse_duration(options.pause).total_seconds(),
        writing.wait_s(),
        writing.undo_file,
        {
            **asdict(filters),
            "keep_last": options.keep_last,
            "dag_missing": options.dag_missing,
            "include_active": options.include_active,
            "stale_attempts": options.stale_attempts or None,
        },
        _attempts(filters, options),
    )


def _attempts(filters: Filters, options: Options) -> bool | None:
    """Return whether XComs are meant that Airflow reads, or those that it does not; None for both."""
    if options.stale_attempts:
        return False
    return None if filters.all_attempts else True


@dataclass(frozen=True, slots=True)
class _Result:
    """What was deleted, or would be."""

    deleted: bool
    totals: Totals
    active_rows: int
    """Rows of active runs, which are left alone."""
    reclaiming: str
    """How the database gives the space back."""

    def facts(self) -> Row:
        """Return the document's fields in front of the rows."""
        return {
            "dry_run": not self.deleted,
            "rows": self.totals.all.rows,
            "size_bytes": self.totals.all.size,
            "stored_bytes": self.totals.all.stored_size,
            "active_rows": self.active_rows,
            "reclaiming": self.reclaiming,
        }

    def rows(self) -> Iterator[Row]:
        """Yield the totals of each task, the largest first."""
        by_size = sorted(self.totals.by_task.items(), key=lambda one: (-one[1].size, one[0]))
        for (dag_id, task_id), total in by_size:
            yield {
                "dag_id": dag_id,
                "task_id": task_id,
                "rows": total.rows,
                "size_bytes": total.size,
                "stored_bytes": total.stored_size,
            }

    def closing(self) -> list[str]:
        """Return the line below the table."""
        return [_summary(self.totals, self.deleted)]

    def notes(self) -> Iterator[str]:
        """Yield what to say besides."""
        if self.active_rows:
            yield (
                f"skipped {self.active_rows:,} rows of unfinished runs; "
                "--include-active deletes them, too"
            )
        if self.totals.all.rows:
            yield self.reclaiming
            if not self.deleted:
                yield "this is only a plan; --yes deletes, --undo-file PATH saves what it deletes"


def _run(
    console: Console, store: Store, target: Target, request: _Request, kept: IO[str]
) -> _Result:
    """Make the plan, in a temporary file, and with --yes carry it out."""
    from xcomctl.db.write.delete import Delete
    from xcomctl.db.write.prune import Plan
    from xcomctl.db.write.split_delete import SplitDelete

    selection, is_split = request.selection, store.schema.split
    if is_split:
        selection = replace(selection, current=request.current)
    elif request.current is False:
        raise UsageError(
            "--stale-attempts needs Airflow 3.4",
            detail=f"This metadata DB belongs to Airflow {store.schema.airflow}, which keeps none.",
        )
    delete = SplitDelete(store) if is_split else Delete(store)
    plan = Plan(kept)
    with console.working("delete: finding XComs") as work:
        rows = delete.rows_to_delete(
            selection, keep_last=request.keep_last, dag_missing=request.dag_missing
        )
        plan.add(work.counting("delete: finding XComs", rows), active_too=request.include_active)
    totals = plan.totals
    # Before anything is deleted, which would be missing then.
    warn_about_gaps(console, store, request.selection, totals.all.rows + plan.active.rows)
    if request.yes:
        totals = _carry_out(console, target, delete, plan, request)
    return _Result(request.yes, totals, plan.active.rows, delete.reclaiming())


def _carry_out(
    console: Console, target: Target, delete: Delete, plan: Plan, request: _Request
) -> Totals:
    """Delete what the plan says, in batches, and return what was deleted."""
    from xcomctl.db.write.prune import Prune

    asked = {"command": "delete", **place_of(target), **request.asked}
    with (
        undo_file(request.undo_file, asked) as undo,
        console.working("delete: deleting XComs") as work,
    ):
        prune = Prune(
            delete,
            plan,
            request.batch_size,
            request.pause_s,
            request.wait_s,
            request.include_active,
            undo,
        )
        work.begin(
            "delete: deleting XComs",
            lambda: (prune.done.all.rows, prune.done.all.size),
            rows=plan.totals.all.rows,
        )
        try:
            prune.run()
        except BaseException as stopped:
            done = _summary(prune.done, True)
            console.warn(f"{done} before it stopped; run the same command to continue")
            if isinstance(stopped, XcomctlError):
                stopped.hint = stopped.hint or "Run the same command again."
            raise
    if prune.left:
        console.warn(f"{prune.left:,} rows had changed since the plan was made, and were skipped")
    return prune.done


def _summary(totals: Totals, done: bool) -> str:
    noun = "XCom" if totals.all.rows == 1 else "XComs"
    stored = totals.all.stored_size
    on_disk = f", {Size(stored)} on disk" if stored is not None else ""
    said = "deleted" if done else "would delete"
    return f"{said} {totals.all.rows:,} {noun}, {Size(totals.all.size)}{on_disk}"
