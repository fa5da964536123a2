"""`xcomctl report`: one HTML page on sizes, growth and findings."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from xcomctl import __version__
from xcomctl.cli.gaps import warn_about_gaps
from xcomctl.cli.options import Connection, Filters, FromFiles, Manners
from xcomctl.cli.snapshots import count_rows, limit_of, load, refuse_connection, take
from xcomctl.config.file import load_config
from xcomctl.errors import UsageError
from xcomctl.model import Size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from xcomctl.audit import Finding
    from xcomctl.cli.console import Console
    from xcomctl.config.file import Config
    from xcomctl.model import Limit, Selection
    from xcomctl.sizes.snapshot import Snapshot

EXAMPLES = (
    ("Write the page, and open it in a browser", "xcomctl report xcoms.html"),
    ("What grew since an earlier snapshot", "xcomctl report xcoms.html --compare old.json.gz"),
    ("From snapshots, without the database", "xcomctl report xcoms.html --from new.json.gz"),
)
DEFAULT_FILE = "xcomctl-report.html"


@dataclass(frozen=True, slots=True)
class Options:
    """The arguments and options of `report` alone."""

    file: Annotated[
        str | None,
        typer.Argument(
            metavar="[FILE]",
            help=f"HTML file to write; - for stdout. [default: {DEFAULT_FILE}, or stdout if it is not a terminal]",
        ),
    ] = None
    out: Annotated[
        str | None, typer.Option("--output", "-o", metavar="FILE", help="The same as FILE.")
    ] = None
    from_: FromFiles = None
    compare: Annotated[
        list[str] | None,
        typer.Option(
            "--compare",
            metavar="FILE",
            help="Show what changed since this snapshot. Repeatable, one per deployment.",
        ),
    ] = None
    as_: Annotated[
        str | None,
        typer.Option(
            "--as",
            metavar="BACKEND[:AIRFLOW]",
            help="Compare with the limit of another backend: mysql:2.8.",
        ),
    ] = None


def command(connection: Connection, filters: Filters, manners: Manners, options: Options) -> None:
    """Write sizes, growth and findings as one HTML page."""
    from xcomctl.cli import console

    manners.apply(console)
    path = _path(options)
    selection = filters.selection()
    with console.working("report: measuring sizes"):
        snapshots, config = _snapshots(console, connection, filters, selection, options)

        from xcomctl.report import gather, page
        from xcomctl.sizes.snapshot import select

        earlier = select(load(console, options.compare), selection) if options.compare else []
        limited = [(one, limit_of(one, options.as_)) for one in snapshots]
        html = page(
            gather(
                limited,
                _findings(limited, config),
                earlier,
                written_at=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
                version=__version__,
            )
        ).encode("utf-8", "backslashreplace")
        with console.sink(path, private=True) as write:
            write(html)
    if path is not None:
        rows = sum(map(count_rows, snapshots))
        console.note(f'wrote "{path}": {rows:,} XComs on a page of {Size(len(html))}')


def _path(options: Options) -> Path | None:
    """Return the file to write, None for stdout."""
    if options.file is not None and options.out is not None:
        raise UsageError("two files to write", hint="Give FILE or --output FILE.")
    given = options.file or options.out
    if given is None:
        return Path(DEFAULT_FILE) if sys.stdout.isatty() else None
    given = given.removeprefix("html=")
    return None if given == "-" else Path(given)


def _snapshots(
    console: Console,
    connection: Connection,
    filters: Filters,
    selection: Selection,
    options: Options,
) -> tuple[Sequence[Snapshot], Config]:
    """Return what to report on, from files or from the database, and the configuration."""
    if options.from_:
        from xcomctl.sizes.snapshot import select

        refuse_connection(connection)
        return select(load(console, options.from_), selection), load_config(connection.config)
    target, config = connection.resolve(console)

    from xcomctl.db import open_store

    with open_store(target, all_attempts=filters.all_attempts) as store:
        taken = take(store, target, selection)
        warn_about_gaps(console, store, selection, count_rows(taken))
    return [taken], config


def _findings(limited: Sequence[tuple[Snapshot, Limit]], config: Config) -> list[Finding]:
    """Return the findings of an audit of sizes, without those that the configuration ignores."""
    from xcomctl.audit import Policy
    from xcomctl.audit.from_sizes import combine, run_on_sizes
    from xcomctl.cli.accepted import accept
    from xcomctl.cli.findings import check_ignores
    from xcomctl.config.file import parse_share

    policy = Policy(
        limited[0][1],
        warn_at=parse_share(config.audit.warn_at or "80%"),
        budgets=config.audit.budgets,
    )
    reports = [
        (one.source.name, run_on_sizes(replace(policy, limit=limit), one)) for one, limit in limited
    ]
    report = accept(
        combine(reports),
        config,
        ignores=check_ignores(config),
        baseline=None,
        update=False,
        complete=False,
    )
    return report.findings
