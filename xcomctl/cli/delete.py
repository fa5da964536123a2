"""`xcomctl delete`: the prune planner. Shows what would go; with --yes it goes."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from xcomctl.cli.console import parse_outputs
from xcomctl.cli.options import Connection, Filters, Manners, Output, Writing
from xcomctl.errors import UsageError, XcomctlError
from xcomctl.formats import Column, Layout
from xcomctl.model import Selection, Size

if TYPE_CHECKING:
    from collections.abc import Callable

    from xcomctl.cli.console import Console, Journal
    from xcomctl.db.read.store import Store
    from xcomctl.db.write.prune import Plan, Totals
    from xcomctl.db.write.statements import Current

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


def command(
    connection: Connection,
    filters: Filters,
    writing: Writing,
    output: Output,
    manners: Manners,
    older_than: Annotated[
        str | None,
        typer.Option("--older-than", metavar="DURATION", help="Pushed longer ago than this: 30d."),
    ] = None,
    keep_last: Annotated[
        int | None,
        typer.Option(
            "--keep-last",
            metavar="N",
            min=0,
            help="Keep the N newest runs of each task and key.",
        ),
    ] = None,
    dag_missing: Annotated[
        bool, typer.Option("--dag-missing", help="Only XComs of DAGs that no longer exist.")
    ] = False,
    include_active: Annotated[
        bool, typer.Option("--include-active", help="Also XComs of runs that have not finished.")
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Delete. Without it, only the plan is shown.")
    ] = False,
    batch_size: Annotated[
        int,
        typer.Option(
            "--batch-size",
            metavar="N",
            min=1,
            help=f"Rows per transaction. [default: {DEFAULT_BATCH}]",
        ),
    ] = DEFAULT_BATCH,
    pause: Annotated[
        str, typer.Option("--pause", metavar="DURATION", help="Time between batches: 0.5s.")
    ] = "0",
) -> None:
    """Delete old, oversized or orphaned XComs (shows a plan first)."""
    from xcomctl.cli import console
    from xcomctl.config.target import parse_duration

    manners.apply(console)
    outputs = parse_outputs(output.output)
    chosen = output.chosen(_COLUMNS)
    selection = _selection(filters, older_than)
    wait_s, pause_s = writing.wait_s(), parse_duration(pause).total_seconds()
    if yes and selection == Selection() and keep_last is None and not dag_missing:
        raise UsageError(
            "delete --yes without a filter would remove every XCom",
            hint="--dag-id '*' says so, if that is meant.",
        )
    target, _ = connection.resolve(console)
    if yes:
        writing.refuse_read_only(target)

    from xcomctl.db import open_for_writing
    from xcomctl.db.write.delete import Delete
    from xcomctl.db.write.prune import Plan, Prune

    with (
        tempfile.TemporaryFile("w+", encoding="utf-8", errors="surrogatepass") as kept,
        open_for_writing(target, lock_timeout_s=wait_s if yes else None) as store,
    ):
        delete = Delete(store)
        plan = Plan(kept)
        plan.add(
            delete.rows_to_delete(selection, keep_last=keep_last, dag_missing=dag_missing),
            active_too=include_active,
        )
        totals, active, reclaiming = plan.totals, plan.active, delete.reclaiming()
        if yes:
            journal = console.journal(Path(writing.undo_file)) if writing.undo_file else None
            prune = Prune(
                delete,
                plan,
                batch_size,
                pause_s,
                wait_s,
                include_active,
                _keeper(journal, store),
                _progress(console, plan),
            )
            _carry_out(console, prune.run, journal, prune.done)
            totals = prune.done
            if prune.left:
                console.warn(
                    f"{prune.left:,} rows had changed since the plan was made, and were left"
                )
    layout = Layout(
        "xcomctl.delete/1",
        "tasks",
        _COLUMNS,
        before=lambda: {
            "dry_run": not yes,
            "rows": totals.all.rows,
            "size_bytes": totals.all.size,
            "stored_bytes": totals.all.stored_size,
            "active_rows": active.rows,
            "reclaiming": reclaiming,
        },
        closing=lambda: [_summary(totals, yes)],
        chosen=chosen,
        header=not output.no_header,
        raw_cells=output.raw_cells,
    )
    rows = (
        {
            "dag_id": dag_id,
            "task_id": task_id,
            "rows": one.rows,
            "size_bytes": one.size,
            "stored_bytes": one.stored_size,
        }
        for (dag_id, task_id), one in sorted(totals.by_task.items(), key=_largest)
    )
    console.write(layout, rows, outputs)
    if active.rows:
        console.note(
            f"{active.rows:,} rows of runs that have not ended are left alone; "
            "--include-active takes them, too"
        )
    if totals.all.rows:
        console.note(reclaiming)
        if not yes:
            console.note("this is the plan; --yes deletes, --undo-file PATH keeps what goes")


def _largest(one: tuple[tuple[str, str], object]) -> tuple[int, tuple[str, str]]:
    from xcomctl.db.write.prune import Sum

    name, total = one
    assert isinstance(total, Sum)
    return -total.size, name


def _selection(filters: Filters, older_than: str | None) -> Selection:
    """Return what the filters say, --older-than among them."""
    from dataclasses import replace
    from datetime import UTC, datetime

    from xcomctl.config.target import parse_duration

    selection = filters.selection()
    if older_than is None:
        return selection
    try:
        until = datetime.now(UTC) - parse_duration(older_than)
    except OverflowError:
        raise UsageError(f'--older-than "{older_than}" is too long') from None
    if selection.until is not None:
        until = min(until, selection.until)
    return replace(selection, until=until)


def _summary(totals: Totals, done: bool) -> str:
    noun = "XCom" if totals.all.rows == 1 else "XComs"
    stored = totals.all.stored_size
    on_disk = f", {Size(stored)} on disk" if stored is not None else ""
    said = "deleted" if done else "would delete"
    return f"{said} {totals.all.rows:,} {noun}, {Size(totals.all.size)}{on_disk}"


def _keeper(journal: Journal | None, store: Store) -> Callable[[list[Current]], None] | None:
    from xcomctl.exchange.entries import undo_line

    if journal is None:
        return None
    storage = store.schema.storage

    def keep(rows: list[Current]) -> None:
        journal.write(undo_line(one.entry, one.raw, storage) for one in rows)

    return keep


def _progress(console: Console, plan: Plan) -> Callable[[Totals], None]:
    planned = plan.totals.all.rows

    def said(done: Totals) -> None:
        if console.shows_progress:
            console.progress(
                f"deleted {done.all.rows:,} of {planned:,} XComs, {Size(done.all.size)}"
            )

    return said


def _carry_out(
    console: Console, run: Callable[[], None], journal: Journal | None, done: Totals
) -> None:
    """Run the prune; where it stops, say how far it came."""
    try:
        run()
    except BaseException as stopped:
        console.progress("")
        console.warn(f"{_summary(done, True)} before it stopped; the same command goes on")
        if isinstance(stopped, XcomctlError):
            stopped.hint = stopped.hint or "Run the same command again."
        raise
    finally:
        console.progress("")
        if journal:
            journal.close()
