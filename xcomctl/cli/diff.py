"""`xcomctl diff`: what changed between two runs of a DAG, two exports or two snapshots."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from xcomctl.cli.console import parse_outputs
from xcomctl.cli.options import Connection, Manners, Output
from xcomctl.errors import UsageError
from xcomctl.formats import Column, Layout
from xcomctl.model import UNMAPPED
from xcomctl.sizes.compare import KINDS, compare, parse_threshold

if TYPE_CHECKING:
    from collections.abc import Mapping

    from xcomctl.cli.console import Console
    from xcomctl.formats import Row
    from xcomctl.sizes.compare import Change, Comparison, Item, Name, Threshold

EXAMPLES = (
    ("What the newest run pushed differently", "xcomctl diff xcom_dag latest~1 latest"),
    (
        "Only what grew by a tenth or more; exit code 1 if anything did",
        "xcomctl diff file_list_dag latest~30 latest --sizes-only --min-change 10% --exit-code",
    ),
    (
        "Two exports, as a comment for a pull request",
        "xcomctl diff old.jsonl new.jsonl -o markdown",
    ),
    (
        "Which tasks grew between two snapshots",
        "xcomctl diff old.json.gz new.json.gz --min-change 5%",
    ),
)
SHOWN_PATHS = 3
"""Paths that a row for people names."""
FOLD_AFTER = 10
"""Rows of a Markdown table in front of the fold."""

MOST_DIFFERENCES = 10
"""Changes whose places are named below a table that has no room for them."""
_COLUMNS = (
    Column("change", "word"),
    Column("dag_id", "id", aliases=("dag",), drop=3),
    Column("task_id", "id", aliases=("task",)),
    Column("key", "id"),
    Column("map_index", "index", title="map", usual=-1),
    Column("old_bytes", "size", title="old", drop=1),
    Column("new_bytes", "size", title="new", drop=1),
    Column("delta_bytes", "delta", title="difference"),
    Column("where", machine=False, title="differs in", drop=2),
    Column("old_count", "number", machine=False, people=False),
    Column("new_count", "number", machine=False, people=False, title="count"),
    Column("paths", people=False),
    Column("types", people=False),
    Column("path_count", "number", people=False),
    Column("run_id", "run", aliases=("run",), people=False),
)


@dataclass(frozen=True, slots=True)
class Options:
    """The arguments and options of `diff` alone."""

    dag_id: Annotated[
        str,
        typer.Argument(
            metavar="DAG_ID|FILE",
            help="DAG id; or the older of two files of xcomctl export -o jsonl=FILE or xcomctl snapshot.",
        ),
    ]
    run_id: Annotated[
        str | None,
        typer.Argument(
            metavar="[RUN|FILE]",
            help="Run id of the older run, or the newer file. [default: latest~1]",
        ),
    ] = None
    new_run_id: Annotated[
        str | None,
        typer.Argument(metavar="[RUN]", help="Run id of the newer run. [default: latest]"),
    ] = None
    sizes_only: Annotated[
        bool, typer.Option("--sizes-only", help="Compare sizes, without reading any value.")
    ] = False
    min_change: Annotated[
        str | None,
        typer.Option(
            "--min-change",
            metavar="SIZE|PCT",
            help="Minimum change of size, in bytes or as a share of the old size. Smaller ones count as the same.",
        ),
    ] = None
    exit_code: Annotated[
        bool, typer.Option("--exit-code", help="Exit with 1 if there are differences.")
    ] = False


def command(connection: Connection, output: Output, manners: Manners, options: Options) -> None:
    """Show what changed between two runs, exports or snapshots."""
    from xcomctl.cli import console

    manners.apply(console)
    outputs = parse_outputs(output.output)
    chosen = output.chosen(_COLUMNS)
    threshold = None if options.min_change is None else parse_threshold(options.min_change)
    sides = _read_sides(options)
    if isinstance(sides, _Files):
        compared = _compare_files(console, sides, threshold, sizes_only=options.sizes_only)
    else:
        compared = _compare_runs(
            console, connection, sides, threshold, sizes_only=options.sizes_only
        )
    layout = Layout(
        "xcomctl.diff/1",
        "changes",
        _useful_columns(compared),
        before=lambda: {
            "old": compared.old,
            "new": compared.new,
            "summary": dict(compared.comparison.summary),
        },
        legend=lambda: _differences(compared),
        closing=lambda: [_sentence(compared)],
        chosen=chosen,
        fold=FOLD_AFTER,
        header=not output.no_header,
        raw_cells=output.raw_cells,
    )
    rows = (_row(change, compared.counts) for change in compared.comparison.changes)
    console.write(layout, rows, outputs)
    if options.exit_code and compared.comparison.changes:
        raise typer.Exit(1)


# --- what is compared -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Runs:
    dag_id: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class _Files:
    old: Path
    new: Path


@dataclass(frozen=True, slots=True)
class _Compared:
    """Two sides by name, and what changed."""

    what: str
    old: str
    new: str
    comparison: Comparison
    counts: Mapping[Name, tuple[int | None, int | None]] | None = None
    """How many XComs there were of each changed name and are now, where that is not one at most."""


def _read_sides(options: Options) -> _Runs | _Files:
    """Return the two sides that the arguments name.

    Raises:
        UsageError: they name no two sides.
    """
    first, second, third = options.dag_id, options.run_id, options.new_run_id
    if third is not None:
        return _Runs(first, second or "", third)
    if second is None:
        return _Runs(first, "latest~1", "latest")
    for path in (first, second):
        if not Path(path).is_file():
            raise UsageError(
                f'cannot read "{path}": it is not a file',
                hint=f"To compare two runs, give both: xcomctl diff {first} {second} latest",
            )
    return _Files(Path(first), Path(second))


def _compare_runs(
    console: Console,
    connection: Connection,
    sides: _Runs,
    threshold: Threshold | None,
    *,
    sizes_only: bool,
) -> _Compared:
    target, _ = connection.resolve(console)

    from xcomctl.db import open_store
    from xcomctl.db.read.contents import find_run, read_run
    from xcomctl.values.structure import find_change

    with open_store(target) as store:
        old = find_run(store, sides.dag_id, sides.old)
        new = find_run(store, sides.dag_id, sides.new)
        before = read_run(store, sides.dag_id, old, sizes_only=sizes_only)
        after = read_run(store, sides.dag_id, new, sizes_only=sizes_only)
        comparison = compare(before, after, find_change, threshold)
    return _Compared(sides.dag_id, old, new, comparison)


def _compare_files(
    console: Console, sides: _Files, threshold: Threshold | None, *, sizes_only: bool
) -> _Compared:
    from xcomctl.cli.diff_snapshots import are_snapshots, compare_snapshots
    from xcomctl.exchange.index import match_runs, read_index
    from xcomctl.values.structure import find_change

    if are_snapshots([sides.old, sides.new]):
        comparison, counts = compare_snapshots(console, sides.old, sides.new, threshold)
        return _Compared("", str(sides.old), str(sides.new), comparison, counts)
    found: list[dict[Name, Item]] = []
    with contextlib.ExitStack() as stack:
        for path in (sides.old, sides.new):
            console.protect(path)
            file = stack.enter_context(path.open("rb"))
            found.append(read_index(file, str(path), sizes_only=sizes_only))
        before, after = match_runs(*found)
        comparison = compare(before, after, find_change, threshold)
    return _Compared("", str(sides.old), str(sides.new), comparison)


# --- what is shown ----------------------------------------------------------------------------


def _useful_columns(compared: _Compared) -> tuple[Column, ...]:
    """Return the columns, for people without those in which all rows are alike."""
    names = [change.name for change in compared.comparison.changes]
    alike = {"map_index"} if all(map_index == UNMAPPED for *_, map_index, _ in names) else set()
    alike |= {"dag_id"} if compared.what else set()
    alike |= set() if any(change.paths for change in compared.comparison.changes) else {"where"}
    columns = (replace(one, people=False) if one.name in alike else one for one in _COLUMNS)
    if compared.counts is None:
        return tuple(columns)
    return tuple(
        replace(one, machine=True, people=one.title == "count")
        if one.name in ("old_count", "new_count")
        else one
        for one in columns
    )


def _row(change: Change, counts: Mapping[Name, tuple[int | None, int | None]] | None) -> Row:
    dag_id, run_id, task_id, map_index, key = change.name
    old_count, new_count = (counts or {}).get(change.name, (None, None))
    return {
        "old_count": old_count,
        "new_count": new_count,
        "change": change.kind,
        "dag_id": dag_id,
        "task_id": task_id,
        "key": key,
        "map_index": map_index,
        "old_bytes": change.old,
        "new_bytes": change.new,
        "delta_bytes": change.delta,
        "where": _where(change),
        "paths": list(change.paths),
        "types": list(change.types),
        "path_count": change.total_paths,
        "run_id": run_id,
    }


def _where(change: Change) -> str | None:
    """Return the first paths that differ, in words."""
    if not change.paths:
        return None
    if change.paths == ("$",):
        return "the whole value"
    shown = ", ".join(change.paths[:SHOWN_PATHS])
    rest = change.total_paths - SHOWN_PATHS
    return f"{shown} and {rest:,} more" if rest > 0 else shown


def _differences(compared: _Compared) -> list[str]:
    """Return where values differ, one line for each of the largest changes."""
    changes = [one for one in compared.comparison.changes if one.paths not in ((), ("$",))]
    lines = []
    for change in changes[:MOST_DIFFERENCES]:
        dag_id, _, task_id, map_index, key = change.name
        index = "" if map_index == UNMAPPED else f"[{map_index}]"
        dag = "" if compared.what else f"{dag_id}/"
        lines.append(f"{dag}{task_id}{index}:{key} differs in {_where(change)}")
    if len(changes) > MOST_DIFFERENCES:
        lines.append(f"and {len(changes) - MOST_DIFFERENCES:,} more; -o plain shows them")
    return lines


def _sentence(compared: _Compared) -> str:
    """Return what changed, in one sentence."""
    from xcomctl.formats.cells import format_delta

    summary = compared.comparison.summary
    counts = [f"{summary[kind]:,} {kind}" for kind in KINDS if summary[kind]]
    what = f"{compared.what}: " if compared.what else ""
    total = format_delta(compared.comparison.total_delta)
    told = ", ".join(counts) or "no XComs on either side"
    return f"{what}{compared.old} → {compared.new}: {told} ({total} in total)"
