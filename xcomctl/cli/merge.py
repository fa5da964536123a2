"""`xcomctl merge`: the parts of a snapshot, added up."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from xcomctl.cli.options import Manners
from xcomctl.cli.snapshots import describe, load_files
from xcomctl.errors import UsageError

if TYPE_CHECKING:
    from xcomctl.sizes.snapshot import Snapshot

EXAMPLES = (
    (
        "Add up the parts that two machines wrote",
        "xcomctl merge part-1.json.gz part-2.json.gz -o all.json.gz",
    ),
    ("To stdout", "xcomctl merge part-1.json.gz part-2.json.gz -o -"),
)


@dataclass(frozen=True, slots=True)
class Options:
    """The arguments and options of `merge` alone."""

    files: Annotated[
        list[str],
        typer.Argument(metavar="FILE...", help="Every part of one snapshot, in any order."),
    ]
    out: Annotated[
        str | None,
        typer.Option("--output", "-o", metavar="FILE", help="File to write; - for stdout."),
    ] = None


def command(manners: Manners, options: Options) -> None:
    """Add up the parts of a snapshot."""
    from xcomctl.cli import console

    manners.apply(console)
    if options.out is None:
        raise UsageError("merge needs a file to write", hint="Give one: -o all.gz")

    from xcomctl.sizes.snapshot import merge
    from xcomctl.sizes.snapshot_file import dump

    path = None if options.out == "-" else Path(options.out)
    with console.working("merge: reading snapshots"):
        by_store: dict[str, list[tuple[str, Snapshot]]] = {}
        for name, one in load_files(console, options.files):
            by_store.setdefault(one.source.store, []).append((name, one))
        merged = [merge(parts) for parts in by_store.values()]
        with console.sink(path, private=True) as write:
            for piece in dump(merged):
                write(piece)
    for one in merged:
        console.note(f"wrote the sizes of {describe(one)}")
