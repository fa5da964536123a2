"""`xcomctl snapshot`: sizes by DAG, task, key and day in a file, without any value."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from xcomctl.cli.deployments import Deployments, ask
from xcomctl.cli.gaps import warn_about_gaps, warn_about_hidden_rows
from xcomctl.cli.options import Filters, Manners
from xcomctl.cli.parts import describe as describe_range
from xcomctl.cli.parts import parse_part
from xcomctl.cli.snapshots import count_rows, describe, given_filters, take
from xcomctl.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from xcomctl.cli.console import Console
    from xcomctl.cli.gaps import Warns
    from xcomctl.config.file import Config
    from xcomctl.config.target import Target
    from xcomctl.sizes.snapshot import Snapshot

EXAMPLES = (
    ("Save the sizes of today", "xcomctl snapshot today.json.gz"),
    ("The same of some DAGs", "xcomctl snapshot xcom_dag.json.gz -d 'xcom*'"),
    ("One of four parts, which merge adds up", "xcomctl snapshot part-2.json.gz --part 2/4"),
)


@dataclass(frozen=True, slots=True)
class Options:
    """The arguments and options of `snapshot` alone."""

    file: Annotated[
        str,
        typer.Argument(metavar="FILE", help="File to write, gzipped JSON; - for stdout."),
    ]
    part: Annotated[
        str | None,
        typer.Option(
            "--part",
            metavar="I/N",
            help="Only part I of N of the table, by ranges of its key; merge adds them up.",
        ),
    ] = None
    deep: Annotated[
        bool,
        typer.Option(
            "--deep",
            help="Read every value, and count what the rules about values find in each group.",
        ),
    ] = False


def command(connection: Deployments, filters: Filters, manners: Manners, options: Options) -> None:
    """Save sizes by DAG, task, key and day to a file, without values."""
    from xcomctl.cli import console

    manners.apply(console)
    selection, of_table = filters.selection(), parse_part(options.part)
    if names := connection.several():
        if of_table:
            raise UsageError("--part cannot be combined with several deployments")
        _take_several(console, connection, names, filters, options.file)
        return
    target, _ = connection.resolve(console)

    from xcomctl.db import open_store
    from xcomctl.sizes.snapshot import PartOf
    from xcomctl.sizes.snapshot_file import dump

    path = None if options.file == "-" else Path(options.file)
    with (
        console.sink(path, private=True) as write,
        open_store(target, all_attempts=filters.all_attempts) as store,
        console.working("snapshot: measuring sizes") as work,
    ):
        given, part = given_filters(filters, selection), None
        if of_table:
            part = PartOf(of_table.number, of_table.count, of_table.find(store))
            console.note(f"{of_table}: {describe_range(part.range, store.parts.key)}")
            selection = replace(selection, part=part.range)
        taken = take(store, target, selection, filters=given, part=part)
        if options.deep:
            from xcomctl.cli.snapshot_findings import count_findings

            taken = count_findings(store, selection, taken, work)
        if part:
            # Other parts may have what the filters match.
            warn_about_hidden_rows(console, store)
        else:
            warn_about_gaps(console, store, selection, count_rows(taken))
        for piece in dump([taken]):
            write(piece)
    console.note(f"wrote the sizes of {describe(taken)}")


def _take_several(
    console: Console, options: Deployments, names: Sequence[str], filters: Filters, file: str
) -> None:
    """Write one file of several deployments."""
    from xcomctl.db import open_store
    from xcomctl.sizes.snapshot_file import dump

    selection = filters.selection()
    given = given_filters(filters, selection)

    def measure(of: Warns, target: Target, _: Config) -> Snapshot:
        with open_store(target, all_attempts=filters.all_attempts) as store:
            taken = take(store, target, selection, filters=given)
            warn_about_gaps(of, store, selection, count_rows(taken))
        return taken

    answers = ask(console, options, names, "snapshot: measuring sizes", measure)
    found = answers.found()
    if found:
        path = None if file == "-" else Path(file)
        with console.sink(path, private=True) as write:
            for piece in dump([taken for _, taken in found]):
                write(piece)
    for name, taken in found:
        console.note(f"wrote the sizes of {name}: {describe(taken)}")
    answers.check()
