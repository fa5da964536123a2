"""`xcomctl report`: one HTML page on sizes, growth and findings."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from xcomctl import __version__
from xcomctl.cli.deployments import Answers, Deployments, ask
from xcomctl.cli.gaps import warn_about_gaps
from xcomctl.cli.options import Connection, Filters, FromFiles, Manners
from xcomctl.cli.snapshots import count_rows, limit_of, load, refuse_connection, take
from xcomctl.config.file import load_config
from xcomctl.errors import UsageError
from xcomctl.model import Size
from xcomctl.sizes.notation import xcoms

if TYPE_CHECKING:
    from collections.abc import Sequence

    from xcomctl.audit import Finding, Policy, Report
    from xcomctl.cli.console import Console
    from xcomctl.cli.gaps import Warns
    from xcomctl.cli.progress import Progress
    from xcomctl.config.file import Config
    from xcomctl.config.target import Target
    from xcomctl.model import Limit, Selection
    from xcomctl.sizes.snapshot import Snapshot

    Answer = tuple[Snapshot, Limit, Report]
    """Sizes, limit and findings of a database."""

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
    deep: Annotated[
        bool,
        typer.Option("--deep", help="Read every value, for findings about what values hold."),
    ] = False
    as_: Annotated[
        str | None,
        typer.Option(
            "--as",
            metavar="BACKEND[:AIRFLOW]",
            help="Compare with the limit of another backend: mysql:2.8.",
        ),
    ] = None


def command(connection: Deployments, filters: Filters, manners: Manners, options: Options) -> None:
    """Write sizes, growth and findings as one HTML page."""
    from xcomctl.cli import console

    manners.apply(console)
    path = _path(options)
    selection = filters.selection()
    names = () if options.from_ else connection.several()
    answers = _ask(console, connection, names, filters, options) if names else None
    with console.working("report: measuring sizes") as work:
        if answers:
            found = _add_up(answers, load_config(connection.config))
        elif options.from_:
            found = _read_files(console, connection, selection, options)
        else:
            found = _read_database(console, connection, filters, options, work)

        from xcomctl.report import gather, page, unmatched
        from xcomctl.sizes.snapshot import select

        earlier = select(load(console, options.compare), selection) if options.compare else []
        for name in unmatched([one for one, _ in found.snapshots], earlier):
            console.warn(f'--compare has "{name}", which is not reported on')
        written_at = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
        facts = gather(
            found.snapshots, found.findings, earlier, written_at=written_at, version=__version__
        )
        html = page(facts).encode("utf-8", "backslashreplace")
        with console.sink(path, private=True) as write:
            write(html)
    if path is not None:
        console.note(f'wrote "{path}": {xcoms(facts.count)} on a page of {Size(len(html))}')
    if answers:
        answers.check()


def _path(options: Options) -> Path | None:
    """Return the file to write, None for stdout."""
    if options.file is not None and options.out is not None:
        raise UsageError("two files to write", hint="Give FILE or --output FILE.")
    given = options.file or options.out
    if given is None:
        return Path(DEFAULT_FILE) if sys.stdout.isatty() else None
    given = given.removeprefix("html=")
    return None if given == "-" else Path(given)


@dataclass(frozen=True, slots=True)
class _Found:
    """What to report on."""

    snapshots: Sequence[tuple[Snapshot, Limit]]
    """Each with the limit that applies to it."""
    findings: list[Finding]


def _read_files(
    console: Console, connection: Connection, selection: Selection, options: Options
) -> _Found:
    """Return what the snapshots hold."""
    from xcomctl.sizes.snapshot import select

    refuse_connection(connection)
    if options.deep:
        raise UsageError(
            "--deep cannot be combined with --from",
            detail="A page from snapshots has what they counted.",
            hint="Take them with --deep.",
        )
    config = load_config(connection.config)
    snapshots = select(load(console, options.from_ or ()), selection)
    limited = [(one, limit_of(one, options.as_)) for one in snapshots]
    return _Found(limited, _accepted(_findings(limited, config), config))


def _read_database(
    console: Console,
    connection: Connection,
    filters: Filters,
    options: Options,
    work: Progress,
) -> _Found:
    """Return what the database holds."""
    target, config = connection.resolve(console)
    taken, limit, report = _read(console, target, config, filters, options, work)
    return _Found([(taken, limit)], _accepted(report, config))


def _read(
    console: Warns,
    target: Target,
    config: Config,
    filters: Filters,
    options: Options,
    work: Progress,
) -> Answer:
    """Return sizes, limit and findings of one database."""
    from xcomctl.cli.audit_reading import capacity, check
    from xcomctl.cli.findings import limit_in_force
    from xcomctl.db import open_store

    selection = filters.selection()
    with open_store(target, all_attempts=filters.all_attempts) as store:
        taken = take(store, target, selection)
        limit = limit_in_force(store, options.as_)
        policy = replace(
            _policy(config, limit, deep=options.deep),
            storage=store.schema.storage,
            capacity=capacity(store),
        )
        report = check(store, selection, policy, work)
        warn_about_gaps(console, store, selection, count_rows(taken))
    return taken, limit, report


def _ask(
    console: Console,
    options: Deployments,
    names: Sequence[str],
    filters: Filters,
    asked: Options,
) -> Answers[Answer]:
    """Return what each deployment holds."""
    from xcomctl.cli.progress import Progress

    def read(of: Warns, target: Target, config: Config) -> Answer:
        return _read(of, target, config, filters, asked, Progress("", None, lambda: 0))

    return ask(console, options, names, "report: measuring sizes", read)


def _add_up(answers: Answers[Answer], config: Config) -> _Found:
    """Return what the deployments hold that could be read."""
    from xcomctl.audit.from_sizes import combine

    found = answers.found()
    if not found:
        # Every reason was a warning.
        answers.check()
    report = combine([(name, report) for name, (_, _, report) in found])
    limited = [(taken, limit) for _, (taken, limit, _) in found]
    return _Found(limited, _accepted(report, config))


def _findings(limited: Sequence[tuple[Snapshot, Limit]], config: Config) -> Report:
    """Return what an audit of snapshots finds."""
    from xcomctl.audit.from_sizes import combine, run_on_sizes

    return combine(
        [(one.source.name, run_on_sizes(_policy(config, limit), one)) for one, limit in limited]
    )


def _policy(config: Config, limit: Limit, *, deep: bool = False) -> Policy:
    from xcomctl.audit import Policy
    from xcomctl.config.file import parse_share

    warn_at = parse_share(config.audit.warn_at or "80%")
    return Policy(limit, warn_at=warn_at, budgets=config.audit.budgets, deep=deep)


def _accepted(report: Report, config: Config) -> list[Finding]:
    """Return the findings, marked where the configuration ignores them."""
    from xcomctl.cli.accepted import accept
    from xcomctl.cli.findings import check_ignores

    ignores = check_ignores(config)
    accepted = accept(report, config, ignores=ignores, baseline=None, update=False, complete=False)
    return accepted.findings
