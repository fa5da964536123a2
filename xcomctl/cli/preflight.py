"""`xcomctl preflight`: the XComs that an upgrade to Airflow 3 would fail on, archive, lose or alter."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated

import typer

from xcomctl import __version__
from xcomctl.cli.console import parse_outputs, refuse_same_place
from xcomctl.cli.files import temporary_text
from xcomctl.cli.findings import (
    FINDING_COLUMNS,
    backend_row,
    check_ignores,
    digest_findings,
    finding_columns,
    finding_rows,
    legend,
    parse_threshold,
    pointer,
    refuse_incomplete,
    rule_texts,
    severity_counts,
    shows_closing,
)
from xcomctl.cli.options import Connection, Filters, FindingsOutput, Manners
from xcomctl.formats import AUDIT_FORMATS
from xcomctl.sizes.notation import xcoms

if TYPE_CHECKING:
    from collections.abc import Iterator

    from xcomctl.audit import Report
    from xcomctl.audit.outcome import Problem
    from xcomctl.audit.preflight import Preflight
    from xcomctl.audit.rule import Severity
    from xcomctl.cli.console import Console
    from xcomctl.cli.progress import Progress
    from xcomctl.config.file import Config
    from xcomctl.db.read.store import Store
    from xcomctl.exchange.pages import Page
    from xcomctl.formats import Layout, Row
    from xcomctl.model import Ignore, Selection, XComEntry

EXAMPLES = (
    ("Would the upgrade to the newest known Airflow 3 work?", "xcomctl preflight"),
    (
        "The same for another release, as JUnit XML",
        "xcomctl preflight --to 3.0.6 -o junit=preflight.xml",
    ),
)
QUARANTINE = "xcom_quarantine"
"""The table that the SQL moves rows to."""

CHOICES = {"columns": [one.name for one in FINDING_COLUMNS]}


@dataclass(frozen=True, slots=True)
class Options:
    """The options of `preflight` alone."""

    to: Annotated[
        str | None,
        typer.Option(
            "--to",
            metavar="3.X.Y",
            help="Airflow release to upgrade to. [default: the newest known]",
        ),
    ] = None
    sql: Annotated[
        str | None,
        typer.Option(
            "--sql",
            metavar="FILE",
            help="Write SQL that moves the XComs that would stop the migration to another table.",
        ),
    ] = None
    fail_on: Annotated[
        str | None,
        typer.Option(
            "--fail-on",
            metavar="error|warning|note|never",
            help="Exit with 1 if there are findings of this severity or above. [default: error]",
        ),
    ] = None
    exit_zero: Annotated[
        bool,
        typer.Option(
            "--exit-zero", help="Exit with 0 whatever is found. Failures keep their exit code."
        ),
    ] = False
    per_entry: Annotated[
        bool,
        typer.Option("--per-entry", help="Report each XCom, instead of each task and key."),
    ] = False
    no_ignores: Annotated[
        bool, typer.Option("--no-ignores", help="Do not apply the ignores of the configuration.")
    ] = False
    show_ignored: Annotated[
        bool, typer.Option("--show-ignored", help="Also list ignored findings.")
    ] = False


def command(
    connection: Connection,
    filters: Filters,
    output: FindingsOutput,
    manners: Manners,
    options: Options,
) -> None:
    """Find XComs that an upgrade to Airflow 3 would break."""
    from xcomctl.cli import console

    manners.apply(console)
    outputs = parse_outputs(output.output, AUDIT_FORMATS)
    refuse_same_place([*(path for _, path in outputs), options.sql])
    output.chosen(FINDING_COLUMNS)
    selection = filters.selection()
    request = _read_options(options, selection)
    target, config = connection.resolve(console)
    ignores = () if options.no_ignores else check_ignores(config)
    if request.is_beyond_known:
        console.note(f"--to {options.to} is newer than the newest known release")

    from xcomctl.db import open_store

    with (
        open_store(target, all_attempts=True) as store,
        console.working("preflight: checking values") as work,
    ):
        result = _check(console, store, request, config, ignores, work)
        for one in store.visibility.unmatched(request.selection, result.preflight.scanned):
            console.warn(str(one))

    closing = _closing(result, request.threshold, quiet=console.quiet)
    layout = _layout(output, options, result, closing)
    rows = finding_rows(result.report, request.threshold)
    console.write(layout, rows, outputs, suppressed=options.show_ignored)
    if not shows_closing(outputs):
        for line in closing:
            console.note(line)
    refuse_incomplete(result.report)
    if not options.exit_zero and result.report.verdict(request.threshold):
        raise typer.Exit(1)


@dataclass(frozen=True, slots=True)
class _Request:
    """Which XComs to check, and for which release."""

    options: Options
    selection: Selection
    release: tuple[int, int, int]
    threshold: Severity | None
    """The least severity that fails the check; None for never."""
    is_beyond_known: bool
    """Whether the release is newer than the newest known one."""

    @property
    def release_name(self) -> str:
        """Return the release as typed, or the newest known one."""
        from xcomctl.audit import airflow3

        return self.options.to or airflow3.NEWEST


def _read_options(options: Options, selection: Selection) -> _Request:
    """Return the request that the options describe.

    Raises:
        UsageError: an option is invalid.
    """
    from xcomctl.audit import airflow3

    newest = airflow3.parse_release(airflow3.NEWEST)
    release = newest if options.to is None else airflow3.parse_release(options.to)
    threshold = parse_threshold(options.fail_on or "error")
    return _Request(options, selection, release, threshold, newest < release < (3, 3, 999))


@dataclass(frozen=True, slots=True)
class _Result:
    """The findings, and what was measured on the way."""

    report: Report
    preflight: Preflight
    backend: Row
    release: str
    seconds: float
    """How long the values took to read."""
    is_downgrade: bool


def _check(
    console: Console,
    store: Store,
    request: _Request,
    config: Config,
    ignores: tuple[Ignore, ...],
    work: Progress,
) -> _Result:
    """Check the XComs, and with --sql write the statements that move them."""
    from xcomctl import audit
    from xcomctl.audit import airflow3, decisions
    from xcomctl.audit.preflight import Preflight

    facts, sql = store.facts(), request.options.sql
    preflight = Preflight(
        airflow3.Migration(facts.backend, request.release),
        mapped=store.schema.mapped,
        joined=store.schema.run_date is not None and "dag_run" in store.schema.tables,
        per_entry=request.options.per_entry,
        owner=store.schema.release if facts.storage == "json" else None,
    )
    started = time.monotonic()
    rows = 0
    with temporary_text("surrogateescape") as moves:
        if preflight.owner is not None:
            console.note("this is already an Airflow 3 database: its XComs are JSON")
        if preflight.owner is None or preflight.owner < request.release:
            moved = None if sql is None else moves
            rows = _read_values(store, request.selection, preflight, moved, work)
        seconds = time.monotonic() - started
        if sql is not None:
            moves.seek(0)
            console.save(Path(sql), _quarantine(store, request.release_name, moves))
            console.note(_what_sql_does(sql, rows, preflight))
    report = _with_obstacles(preflight.report(), store, request)
    report = decisions.apply_ignores(
        audit.with_hidden_rows(report, store.visibility.hidden()),
        [one for one in ignores if one.rule.startswith(("xcom-airflow3", "xcom-hidden-rows"))],
        today=datetime.now(UTC).date(),
        complete=False,
        file=config.path.name if config.path else None,
    )
    files = store.files({one.dag_id for one in report.findings})
    report = audit.with_files(report, files, config.audit.source_root)
    owner = store.schema.release
    is_downgrade = store.schema.split and request.release < owner and request.options.to is not None
    name = request.release_name
    return _Result(report, preflight, backend_row(store), name, seconds, is_downgrade)


def _with_obstacles(report: Report, store: Store, request: _Request) -> Report:
    """Return the report with what the migration to or from Airflow 3.4 stops at, or deletes."""
    from xcomctl.audit.obstacles import with_obstacles
    from xcomctl.db.read.obstacles import Obstacles

    to_split, obstacles = request.release >= (3, 4, 0), Obstacles(store)
    if store.schema.split and not to_split and request.options.to is not None:
        return with_obstacles(report, obstacles.downgrade(), lost=obstacles.lost_by_downgrade())
    if store.schema.storage == "json" and to_split and not store.schema.split:
        return with_obstacles(report, obstacles.upgrade())
    return report


def _layout(
    output: FindingsOutput, options: Options, result: _Result, closing: list[str]
) -> Layout:
    from xcomctl.audit import rules

    preflight = result.preflight
    columns = finding_columns(
        hidden=("percent", "occurrences") if options.per_entry else ("percent",),
        shown=("run_id", "map_index") if options.per_entry else (),
    )
    return replace(
        output.layout("xcomctl.preflight/1", "findings", columns),
        before=lambda: {
            "complete": result.report.complete,
            "backend": result.backend,
            "to": result.release,
            "limits": [],
            "summary": _summary(result.report, preflight),
            "rewrite": {
                "rows": preflight.scanned,
                "bytes": preflight.total_bytes,
                "passes": preflight.migration.passes,
                "read_seconds": round(result.seconds, 3),
            },
        },
        legend=lambda: legend(result.report),
        closing=lambda: closing,
        digest=digest_findings,
        group_by="dag_id",
        context={
            "version": __version__,
            "rules": rule_texts((*rules.AIRFLOW3_RULES, *rules.UPKEEP)),
        },
    )


def _read_values(
    store: Store,
    selection: Selection,
    preflight: Preflight,
    moves: IO[str] | None,
    work: Progress,
) -> int:
    """Pass every value to the check, and write the statements that move those it names.

    Returns how many XComs they move.
    """
    moved: set[tuple[object, ...]] = set()
    rows = 0

    def move(entry: XComEntry, problem: Problem) -> None:
        nonlocal rows
        rows += 1
        if moves is None:
            return
        first, second = store.quarantine.move_statements(entry, QUARANTINE)
        moves.write(f"-- {_comment(entry, problem)}\n{first};\n{second};\n")

    duplicates = store.quarantine.duplicates(selection) if preflight.owner is None else ()
    for entries in duplicates:
        problem = preflight.add_duplicates(entries)
        for entry in entries[1:]:
            moved.add(entry.row)
            move(entry, problem)

    def check(page: Page) -> None:
        for entry, why in preflight.add_page(page):
            if entry.row not in moved:
                move(entry, why)

    if work.is_shown:
        counted = lambda: (preflight.scanned, preflight.total_bytes)  # noqa: E731
        about = store.entries.estimate(selection)
        work.begin("preflight: checking values", counted, rows=about, about=True)
    store.pages.stream(selection, check, times=False)
    return rows


def _what_sql_does(file: str, rows: int, preflight: Preflight) -> str:
    """Return what the SQL moves, and what it cannot keep."""
    from xcomctl.audit.outcome import Outcome

    if rows:
        text = f'wrote "{file}", which moves {xcoms(rows)} to the table '
        text += f"{QUARANTINE}: review it, then run it while no task is running"
    else:
        text = f'wrote "{file}", which moves nothing: no XCom stops the migration'
    lost = preflight.rows_by_outcome[Outcome.LOST]
    if preflight.migration.backend == "sqlite" and lost:
        text += (
            f"; it cannot keep the {lost:,} that SQLite deletes, so copy the database file first"
        )
    return text


def _comment(entry: XComEntry, problem: Problem) -> str:
    from xcomctl.text import visible

    return f"{visible(str(entry.ref))}: {problem.rule.id}, {visible(problem.reason)}"


def _quarantine(store: Store, release: str, moves: IO[str]) -> Iterator[bytes]:
    """Yield the SQL that moves the rows, in one transaction."""
    opening = store.quarantine.opening_statements(QUARANTINE)
    head = (
        f"-- Before an upgrade to Airflow {release}: moves to the table {QUARANTINE} the XComs that\n"
        "-- would stop the migration or lose their value, and those that belong to no run.\n"
        "-- Review, take a backup, stop the scheduler, run once.\n"
        + "".join(f"{statement};\n" for statement in opening)
    )
    yield head.encode()
    for line in moves:
        yield line.encode("utf-8", "surrogateescape")
    yield b"COMMIT;\n"


def _summary(report: Report, preflight: Preflight) -> dict[str, object]:
    from xcomctl.audit.rule import Severity

    rows_by, bytes_by = preflight.rows_by_outcome, preflight.bytes_by_outcome
    return {
        "scanned": preflight.scanned,
        "total_bytes": preflight.total_bytes,
        "errors": report.count(Severity.ERROR),
        "warnings": report.count(Severity.WARNING),
        "notes": report.count(Severity.NOTE),
        "ignored": sum(one.state == "ignored" for one in report.findings),
        "known": 0,
        "fates": {one.value: rows for one, rows in rows_by.items() if not one.is_kept},
        "fates_bytes": {one.value: size for one, size in bytes_by.items() if not one.is_kept},
        **{one.value: rows for one, rows in rows_by.items() if one.is_kept},
    }


_VERBS = {
    "stops": ("stops the migration", "stop the migration"),
    "lost": ("is lost", "are lost"),
    "archived": ("is archived", "are archived"),
    "unreadable": ("cannot be pulled afterwards", "cannot be pulled afterwards"),
    "altered": ("is altered", "are altered"),
    "reordered": ("loses the order of its keys", "lose the order of their keys"),
}
"""What happens to one XCom and to several, by outcome."""


def _closing(result: _Result, threshold: Severity | None, *, quiet: bool) -> list[str]:
    """Return what the upgrade would do, and the verdict."""
    from xcomctl.model import Size

    report, preflight = result.report, result.preflight
    failed = report.verdict(threshold) != 0
    if quiet and not failed:
        return []
    if preflight.owner is not None and not preflight.scanned and not report.findings:
        return ["passed: nothing to check"]
    lines = []
    parts = [
        f"{rows:,} {_VERBS[outcome.value][rows != 1]} ({Size(preflight.bytes_by_outcome[outcome])})"
        for outcome, rows in preflight.rows_by_outcome.items()
        if rows
    ]
    checked = xcoms(preflight.scanned)
    if parts:
        lines.append(f"of {checked}, {', '.join(parts)}")
    if preflight.scanned and preflight.owner is None:
        times = "twice" if preflight.migration.passes == 2 else "once"
        lines.append(
            f"the migration rewrites all {Size(preflight.total_bytes)} {times}, in one transaction "
            "that locks the table, and needs as much free disk space again; "
            f"reading the values took {result.seconds:.1f} s here"
        )
    found = severity_counts(report)
    lines += [] if quiet else pointer(report)
    lines.append(
        f"{'failed' if failed else 'passed'}: {f'{found} in ' if found else ''}{checked}, "
        f"for {'a downgrade' if result.is_downgrade else 'an upgrade'} to Airflow {result.release}"
    )
    return lines
