"""`xcomctl snapshot`: sizes by DAG, task, key and day in a file, without any value."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from xcomctl.cli.gaps import warn_about_gaps
from xcomctl.cli.options import Connection, Filters, Manners
from xcomctl.cli.snapshots import count_rows, describe, given_filters, take

EXAMPLES = (
    ("Save the sizes of today", "xcomctl snapshot today.json.gz"),
    ("The same of some DAGs", "xcomctl snapshot xcom_dag.json.gz -d 'xcom*'"),
)


@dataclass(frozen=True, slots=True)
class Options:
    """The arguments and options of `snapshot` alone."""

    file: Annotated[
        str,
        typer.Argument(metavar="FILE", help="File to write, gzipped JSON; - for stdout."),
    ]


def command(connection: Connection, filters: Filters, manners: Manners, options: Options) -> None:
    """Save sizes by DAG, task, key and day to a file, without values."""
    from xcomctl.cli import console

    manners.apply(console)
    selection = filters.selection()
    target, _ = connection.resolve(console)

    from xcomctl.db import open_store
    from xcomctl.sizes.snapshot_file import dump

    path = None if options.file == "-" else Path(options.file)
    with (
        console.sink(path, private=True) as write,
        open_store(target, all_attempts=filters.all_attempts) as store,
        console.working("snapshot: measuring sizes"),
    ):
        taken = take(store, target, selection, filters=given_filters(filters, selection))
        warn_about_gaps(console, store, selection, count_rows(taken))
        for piece in dump([taken]):
            write(piece)
    console.note(f"wrote the sizes of {describe(taken)}")
