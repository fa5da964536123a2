"""The options that commands share, in groups: `Connection`, `Filters`, `Output` and so on.

A group is a dataclass with one field per option. A command takes groups as parameters; `spread`
turns each field into an option for typer. Options of one command alone are a group in
its module.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import typer

from xcomctl.cli.attempts import parse_region
from xcomctl.cli.help import OWN
from xcomctl.config.file import Config, load_config
from xcomctl.config.target import Target, parse_duration, parse_moment, resolve_target
from xcomctl.errors import RefusedError, UsageError
from xcomctl.formats import AUDIT_FORMATS, FORMATS, TOP_FORMATS
from xcomctl.model import MAX_INTEGER, MIN_INTEGER, Selection, parse_size
from xcomctl.text import canonical, suggestion

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from xcomctl.cli.console import Console
    from xcomctl.formats import Column, Layout

_Text = str | None
_Texts = list[str] | None


@dataclass(frozen=True, slots=True)
class Connection:
    """Which metadata database."""

    heading: ClassVar = "Connection"

    url: Annotated[
        _Text,
        typer.Option(
            "--url",
            metavar="URL",
            help="SQLAlchemy URL of the metadata database, or the path of a SQLite file. [env: XCOMCTL_URL]",
        ),
    ] = None
    profile: Annotated[
        _Text,
        typer.Option(
            "--profile",
            "-P",
            metavar="NAME",
            help="Connection named in the configuration. [env: XCOMCTL_PROFILE]",
        ),
    ] = None
    airflow_home: Annotated[
        _Text,
        typer.Option(
            "--airflow-home",
            metavar="DIR",
            help="Directory of airflow.cfg and airflow.db. [env: AIRFLOW_HOME]",
        ),
    ] = None
    schema: Annotated[
        _Text,
        typer.Option(
            "--schema",
            metavar="NAME",
            help="Database schema of Airflow's tables. [default: Airflow's sql_alchemy_schema]",
        ),
    ] = None
    timeout: Annotated[
        _Text,
        typer.Option(
            "--timeout",
            metavar="DURATION",
            help="Statement timeout (0 = none). [default: 60s]",
        ),
    ] = None
    connect_timeout: Annotated[
        _Text,
        typer.Option(
            "--connect-timeout", metavar="DURATION", help="Connection timeout. [default: 10s]"
        ),
    ] = None
    config: Annotated[
        _Text,
        typer.Option(
            "--config",
            metavar="FILE",
            help="Configuration file. [default: the nearest xcomctl.toml or pyproject.toml; env: XCOMCTL_CONFIG]",
        ),
    ] = None

    def resolve(self, console: Console) -> tuple[Target, Config]:
        """Return the metadata database to use, and the configuration.

        Raises:
            UsageError: an option, the configuration or the database URL is invalid.
            DatabaseError: nothing names a database.
        """
        from xcomctl.config import urls

        # From now on the traceback of a bug shows none of their passwords.
        console.hide(text for text in (self.url, *_environment_urls()) if text)
        config = load_config(self.config)
        target = resolve_target(
            url=self.url,
            profile=self.profile,
            airflow_home=self.airflow_home,
            schema=self.schema,
            timeout=self.timeout,
            connect_timeout=self.connect_timeout,
            config=config,
        )
        console.hide([target.url, *(one.url for one in target.overridden)])
        console.detail(f'metadata database "{target.shown}" from {target.origin}')
        options = urls.parse(target.url).options()
        console.protect(config.path)
        if urls.backend_of(target.url) == "sqlite":
            console.protect(urls.sqlite_path(target.url))
        if options.dropped:
            console.note(f"unused options of the database URL: {', '.join(options.dropped)}")
            for name, why in options.dropped.items():
                console.detail(f'"{name}": {why}')
        return target, config


def _environment_urls() -> list[str | None]:
    import os

    names = (
        "XCOMCTL_URL",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN",
        "AIRFLOW__CORE__SQL_ALCHEMY_CONN",
    )
    return [*map(os.environ.get, names)]


@dataclass(frozen=True, slots=True)
class Filters:
    """Which XComs."""

    heading: ClassVar = "Filters"

    dag_id: Annotated[
        _Texts,
        typer.Option(
            "--dag-id",
            "-d",
            metavar="GLOB",
            help="Only these DAGs: an id or a glob (* ? [...]). Repeatable.",
        ),
    ] = None
    run_id: Annotated[
        _Texts,
        typer.Option(
            "--run-id",
            "-r",
            metavar="GLOB",
            help="Only these runs: an id, a glob, or latest, the newest of each DAG (latest~1 is the one before). Repeatable.",
        ),
    ] = None
    task_id: Annotated[
        _Texts,
        typer.Option(
            "--task-id",
            "-t",
            metavar="GLOB",
            help="Only these tasks: an id, with the prefix of its task group, or a glob. Repeatable.",
        ),
    ] = None
    key: Annotated[
        _Texts,
        typer.Option(
            "--key", "-k", metavar="GLOB", help="Only these keys: a key or a glob. Repeatable."
        ),
    ] = None
    map_index: Annotated[
        list[int] | None,
        typer.Option(
            "--map-index",
            "-m",
            min=MIN_INTEGER,
            max=MAX_INTEGER,
            metavar="N",
            help="Only these indexes of mapped tasks; -1 is a task that is not mapped. Repeatable.",
        ),
    ] = None
    region: Annotated[
        _Texts,
        typer.Option(
            "--region",
            metavar="ID:INDEX",
            help="Only these regions of Airflow 3.4, each with its index or pass. Repeatable.",
        ),
    ] = None
    attempts: Annotated[
        _Text,
        typer.Option(
            "--attempts",
            metavar="current|all",
            help="Also XComs that Airflow 3.4 does not read: of earlier attempts, or replaced. [default: current]",
        ),
    ] = None
    since: Annotated[
        _Text,
        typer.Option(
            "--since",
            metavar="WHEN",
            help="Pushed at or after this time: 7d, 24h, 90m, or ISO 8601 (UTC unless it has an offset).",
        ),
    ] = None
    until: Annotated[
        _Text,
        typer.Option("--until", metavar="WHEN", help="Pushed at or before this time."),
    ] = None
    older_than: Annotated[
        _Text,
        typer.Option("--older-than", metavar="DURATION", help="Pushed longer ago than this: 30d."),
    ] = None
    min_size: Annotated[
        _Text,
        typer.Option("--min-size", metavar="SIZE", help="Minimum size: 48KiB, 1MB, 65535."),
    ] = None
    max_size: Annotated[_Text, typer.Option("--max-size", metavar="SIZE", help="Maximum size.")] = (
        None
    )
    contains: Annotated[
        _Text,
        typer.Option(
            "--contains",
            metavar="TEXT",
            help="Only values whose stored JSON or text contains this (literal; case counts).",
        ),
    ] = None

    @property
    def all_attempts(self) -> bool:
        """Return whether XComs are wanted that Airflow 3.4 does not read.

        Raises:
            UsageError: --attempts is neither current nor all.
        """
        if self.attempts not in (None, "current", "all"):
            raise UsageError(
                f'unknown --attempts "{self.attempts}"', hint="Valid values: current, all."
            )
        return self.attempts == "all"

    def selection(self) -> Selection:
        """Return the filters as a selection.

        Raises:
            UsageError: a time or a size is invalid, or contradicts another.
        """
        if self.contains == "":
            raise UsageError("--contains is empty", hint="Leave it out to match every value.")
        since = parse_moment(self.since) if self.since else None
        until = self._until()
        smallest = parse_size(self.min_size) if self.min_size else None
        largest = parse_size(self.max_size) if self.max_size else None
        if since and until and since > until:
            name = "--until" if self.until else "--older-than"
            raise UsageError(f"--since is later than {name}", hint="Nothing could match.")
        if smallest is not None and largest is not None and smallest > largest:
            raise UsageError("--min-size is above --max-size", hint="Nothing could match.")
        return Selection(
            dag_ids=tuple(self.dag_id or ()),
            run_ids=tuple(self.run_id or ()),
            task_ids=tuple(self.task_id or ()),
            keys=tuple(self.key or ()),
            map_indexes=tuple(self.map_index or ()),
            regions=tuple(map(parse_region, self.region or ())),
            since=since,
            until=until,
            min_size=smallest,
            max_size=largest,
            contains=self.contains,
        )

    def _until(self) -> datetime | None:
        """Return the earlier of --until and --older-than."""
        moments = [parse_moment(self.until)] if self.until else []
        if self.older_than is not None:
            try:
                moments.append(datetime.now(UTC) - parse_duration(self.older_than))
            except OverflowError:
                raise UsageError(f'--older-than "{self.older_than}" is too long') from None
        return min(moments, default=None)


FromFiles = Annotated[
    _Texts,
    typer.Option(
        "--from",
        metavar="FILE",
        help="Read these snapshots instead of a database. Repeatable, one per deployment, or all parts of one.",
    ),
]


@dataclass(frozen=True, slots=True)
class Manners:
    """How much is printed on stderr, and in which colours."""

    heading: ClassVar = "Output"

    color: Annotated[
        _Text,
        typer.Option(
            "--color",
            metavar="auto|always|never",
            help="When to use colors. [default: auto; env: NO_COLOR, FORCE_COLOR]",
        ),
    ] = None
    no_progress: Annotated[bool, typer.Option("--no-progress", help="Do not show progress.")] = (
        False
    )
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Only print warnings and errors.")
    ] = False
    verbose: Annotated[
        bool,
        typer.Option(
            "--verbose", "-v", help="Print more, including the traceback of a bug in xcomctl."
        ),
    ] = False

    def apply(self, console: Console) -> None:
        """Configure the console."""
        console.configure(
            color=self.color,
            quiet=self.quiet,
            verbose=self.verbose,
            progress=not self.no_progress,
        )


@dataclass(frozen=True, slots=True)
class Writing:
    """Options of the commands that change the database."""

    heading: ClassVar = OWN

    undo_file: Annotated[
        _Text,
        typer.Option(
            "--undo-file",
            metavar="PATH",
            help="Save what is replaced or deleted to this file, for `xcomctl import --replace`.",
        ),
    ] = None
    lock_timeout: Annotated[
        str,
        typer.Option(
            "--lock-timeout",
            metavar="DURATION",
            help="Maximum wait for a lock of another session. [default: 5s]",
        ),
    ] = "5s"

    def wait_s(self) -> float:
        """Return --lock-timeout in seconds."""
        seconds = parse_duration(self.lock_timeout).total_seconds()
        if seconds <= 0:
            raise UsageError("--lock-timeout must be above 0")
        return seconds

    @staticmethod
    def refuse_read_only(target: Target) -> None:
        """Raise RefusedError if the configuration marks the profile as read-only."""
        if target.read_only:
            raise RefusedError(
                f'the profile "{target.profile}" is read_only',
                hint="Remove read_only from the configuration, or use another profile.",
            )


def _output_option(formats: Iterable[str]) -> Any:
    """Return the declaration of --output for a command that has these formats."""
    return typer.Option(
        "--output",
        "-o",
        metavar="FORMAT[=FILE]",
        help=f"Output format: {', '.join(formats)}. Repeatable if all but one have a file. [default: table]",
    )


@dataclass(frozen=True, slots=True)
class Output:
    """Output formats and columns."""

    heading: ClassVar = "Output"
    formats: ClassVar = FORMATS

    output: Annotated[_Texts, _output_option(FORMATS)] = None
    columns: Annotated[
        _Text, typer.Option("--columns", metavar="A,B,C", help="Columns to show, in this order.")
    ] = None
    no_header: Annotated[
        bool, typer.Option("--no-header", help="Omit the header of table, plain, csv and tsv.")
    ] = False
    raw_cells: Annotated[
        bool,
        typer.Option(
            "--raw-cells",
            help="In csv and tsv, do not put ' in front of text that a spreadsheet would run as a formula.",
        ),
    ] = False

    def layout(self, schema: str, rows_name: str, columns: Sequence[Column]) -> Layout:
        """Return a layout of the columns as these options want it, still without its contents.

        Raises:
            UsageError: --columns names one that does not exist.
        """
        from xcomctl.formats import Layout

        return Layout(
            schema,
            rows_name,
            tuple(columns),
            chosen=self.chosen(columns),
            header=not self.no_header,
            raw_cells=self.raw_cells,
        )

    def chosen(self, columns: Sequence[Column]) -> tuple[str, ...]:
        """Return the columns named with --columns, none for the format's default.

        A header, an alias and a JSON name mean the same column.

        Raises:
            UsageError: a column does not exist.
        """
        if self.columns is None:
            return ()
        known = {column.name: (column.title, *column.aliases) for column in columns}
        headings = [column.heading for column in columns]
        names = []
        for given in self.columns.split(","):
            if given.strip():
                name = canonical(given, known)
                if name is None:
                    raise UsageError(
                        f'unknown column "{given.strip()}"', hint=suggestion(given, headings)
                    )
                names.append(name)
        if not names:
            raise UsageError("--columns is empty", hint=f"Valid values: {', '.join(headings)}.")
        return tuple(dict.fromkeys(names))


@dataclass(frozen=True, slots=True)
class FindingsOutput(Output):
    """Output formats of a command that reports findings, and columns."""

    formats: ClassVar = AUDIT_FORMATS

    output: Annotated[_Texts, _output_option(AUDIT_FORMATS)] = None


@dataclass(frozen=True, slots=True)
class GroupsOutput(Output):
    """Output formats of a command that groups XComs, and columns."""

    formats: ClassVar = TOP_FORMATS

    output: Annotated[_Texts, _output_option(TOP_FORMATS)] = None
