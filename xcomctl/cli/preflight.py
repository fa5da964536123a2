"""`xcomctl preflight`: what an upgrade to Airflow 3 would stop at, archive, lose or alter."""

from __future__ import annotations

import tempfile
import time
from typing import IO, TYPE_CHECKING, Annotated

import typer

from xcomctl import __version__
from xcomctl.cli.console import parse_outputs
from xcomctl.cli.findings import (
    FINDING_COLUMNS,
    backend_row,
    check_ignores,
    digest_findings,
    finding_columns,
    finding_rows,
    parse_threshold,
    rule_texts,
    severity_counts,
)
from xcomctl.cli.options import Connection, Filters, FindingsOutput, Manners
from xcomctl.formats import AUDIT_FORMATS, Layout

if TYPE_CHECKING:
    from collections.abc import Iterator

    from xcomctl.audit import Report
    from xcomctl.audit.outcome import Problem
    from xcomctl.audit.preflight import Preflight
    from xcomctl.db.read.store import Store
    from xcomctl.model import Selection, XComEntry

EXAMPLES = (
    ("Would the upgrade to the newest known Airflow 3 work?", "xcomctl preflight"),
    (
        "The same for another release, as JUnit XML",
        "xcomctl preflight --to 3.0.6 -o junit=preflight.xml",
    ),
)
QUARANTINE = "xcom_quarantine"
"""The table into which the SQL moves rows."""


def command(
    connection: Connection,
    filters: Filters,
    output: FindingsOutput,
    manners: Manners,
    to: Annotated[
        str | None,
        typer.Option(
            "--to",
            metavar="3.X.Y",
            help="Airflow release to upgrade to. [default: the newest known]",
        ),
    ] = None,
    sql: Annotated[
        str | None,
        typer.Option(
            "--sql",
            metavar="FILE",
            help="Write SQL that moves the XComs that would stop the migration to another table.",
        ),
    ] = None,
    fail_on: Annotated[
        str | None,
        typer.Option(
            "--fail-on",
            metavar="error|warning|note|never",
            help="Exit with 1 if there are findings of this severity or above. [default: error]",
        ),
    ] = None,
    exit_zero: Annotated[
        bool,
        typer.Option(
            "--exit-zero", help="Exit with 0 whatever is found. Failures keep their exit code."
        ),
    ] = False,
    per_entry: Annotated[
        bool,
        typer.Option("--per-entry", help="Report each XCom, instead of each task and key."),
    ] = False,
    no_ignores: Annotated[
        bool, typer.Option("--no-ignores", help="Do not apply the ignores of the configuration.")
    ] = False,
    show_ignored: Annotated[
        bool, typer.Option("--show-ignored", help="Also list ignored findings.")
    ] = False,
) -> None:
    """Find XComs that an upgrade to Airflow 3 would break."""
    from xcomctl.cli import console

    manners.apply(console)
    outputs = parse_outputs(output.output, AUDIT_FORMATS)
    chosen = output.chosen(FINDING_COLUMNS)
    selection = filters.selection()

    from datetime import UTC, datetime
    from pathlib import Path

    from xcomctl import audit
    from xcomctl.audit import airflow3, decisions, rules
    from xcomctl.audit.preflight import Preflight
    from xcomctl.db import open_store

    release = airflow3.parse_release(airflow3.NEWEST if to is None else to)
    threshold = parse_threshold(fail_on or "error")
    target, config = connection.resolve(console)
    ignores = () if no_ignores else check_ignores(config)
    newest = airflow3.parse_release(airflow3.NEWEST)
    if newest < release < (3, 3, 999):
        console.note(f"--to {to} is newer than {airflow3.NEWEST}, the newest that is known")

    with (
        open_store(target) as store,
        tempfile.TemporaryFile(
            "w+", encoding="utf-8", errors="surrogateescape", newline="\n"
        ) as moves,
    ):
        facts = store.facts()
        done = facts.storage == "json"
        migration = airflow3.Migration(facts.backend, release)
        preflight = Preflight(
            migration,
            mapped=store.schema.mapped,
            joined=store.schema.run_date is not None and "dag_run" in store.schema.tables,
            per_entry=per_entry,
            done=done,
        )
        started = time.monotonic()
        if done:
            console.note("this is an Airflow 3 database already: its XComs are JSON")
        else:
            _judge(store, selection, preflight, None if sql is None else moves)
        seconds = time.monotonic() - started
        report = preflight.report()
        report = decisions.apply_ignores(
            report,
            [one for one in ignores if one.rule.startswith("xcom-airflow3")],
            today=datetime.now(UTC).date(),
            complete=False,
            file=config.path.name if config.path else None,
        )
        files = store.files({one.dag_id for one in report.findings})
        report = audit.with_files(report, files, config.audit.source_root)
        backend = backend_row(store)
        shown_release = to or airflow3.NEWEST
        if sql is not None:
            moves.seek(0)
            console.save(Path(sql), _quarantine(store, shown_release, moves))
            console.note(f'wrote "{sql}": review it, and run it when no task does')
    rewrite = {
        "rows": preflight.scanned,
        "bytes": preflight.total_bytes,
        "passes": migration.passes,
        "read_seconds": round(seconds, 3),
    }

    def closing() -> list[str]:
        failed = report.verdict(threshold) != 0
        if console.quiet and not failed:
            return []
        return _closing(report, preflight, shown_release, seconds, failed=failed)

    layout = Layout(
        "xcomctl.preflight/1",
        "findings",
        finding_columns(
            hidden=("percent", "occurrences") if per_entry else ("percent",),
            shown=("run_id", "map_index") if per_entry else (),
        ),
        before=lambda: {
            "complete": True,
            "backend": backend,
            "to": shown_release,
            "limits": [],
            "summary": _summary(report, preflight),
            "rewrite": rewrite,
        },
        closing=closing,
        digest=digest_findings,
        group_by="dag_id",
        chosen=chosen,
        header=not output.no_header,
        raw_cells=output.raw_cells,
        context={
            "version": __version__,
            "rules": rule_texts((*rules.AIRFLOW3_RULES, *rules.UPKEEP)),
        },
    )
    console.write(layout, finding_rows(report, threshold), outputs, suppressed=show_ignored)
    if not any(name in ("table", "markdown", "github") for name, path in outputs if path is None):
        for line in closing():
            console.note(line)
    if not exit_zero and report.verdict(threshold):
        raise typer.Exit(1)


def _judge(store: Store, selection: Selection, preflight: Preflight, moves: IO[str] | None) -> None:
    moved: set[tuple[object, ...]] = set()

    def move(entry: XComEntry, problem: Problem) -> None:
        if moves is None:
            return
        first, second = store.quarantine.move_statements(entry, QUARANTINE)
        moves.write(f"-- {_comment(entry, problem)}\n{first};\n{second};\n")

    for entries in store.quarantine.duplicates(selection):
        problem = preflight.add_duplicates(entries)
        for entry in entries[1:]:
            moved.add(entry.row)
            move(entry, problem)
    for entry, raw in store.entries.values(selection):
        why = preflight.add(entry, raw)
        if why is not None and entry.row not in moved:
            move(entry, why)


def _comment(entry: XComEntry, problem: Problem) -> str:
    from xcomctl.text import visible

    return f"{visible(str(entry.ref))}: {problem.rule.id}, {visible(problem.reason)}"


def _quarantine(store: Store, release: str, moves: IO[str]) -> Iterator[bytes]:
    """Yield the SQL that moves the rows, in one transaction."""
    begin = "START TRANSACTION" if store.facts().backend in ("mysql", "mariadb") else "BEGIN"
    head = (
        f"-- XComs that stop the migration to Airflow {release}, or that it loses: moved, not dropped.\n"
        "-- Review, take a backup, stop the scheduler, run once.\n"
        f"{store.quarantine.copy_table_statement(QUARANTINE)};\n{begin};\n"
    )
    yield head.encode()
    for line in moves:
        yield line.encode("utf-8", "surrogateescape")
    yield b"COMMIT;\n"


def _summary(report: Report, preflight: Preflight) -> dict[str, object]:
    from xcomctl.audit.rule import Severity

    return {
        "scanned": preflight.scanned,
        "total_bytes": preflight.total_bytes,
        "errors": report.count(Severity.ERROR),
        "warnings": report.count(Severity.WARNING),
        "notes": report.count(Severity.NOTE),
        "ignored": sum(one.state == "ignored" for one in report.findings),
        "known": 0,
        "fates": {outcome.value: rows for outcome, rows in preflight.rows_by_outcome.items()},
        "fates_bytes": {
            outcome.value: size for outcome, size in preflight.bytes_by_outcome.items()
        },
    }


def _closing(
    report: Report, preflight: Preflight, release: str, seconds: float, *, failed: bool
) -> list[str]:
    """Return what the upgrade would do, and the verdict."""
    from xcomctl.model import Size

    lines = []
    verbs = {
        "stops": "stop the migration",
        "lost": "are lost",
        "archived": "are archived",
        "altered": "are altered",
    }
    parts = [
        f"{rows:,} {verbs[outcome.value]} ({Size(preflight.bytes_by_outcome[outcome])})"
        for outcome, rows in preflight.rows_by_outcome.items()
        if rows
    ]
    xcoms = f"{preflight.scanned:,} XCom{'' if preflight.scanned == 1 else 's'}"
    if parts:
        lines.append(f"of {xcoms}, {', '.join(parts)}")
    if preflight.scanned:
        times = "twice" if preflight.migration.passes == 2 else "once"
        lines.append(
            f"the migration rewrites all {Size(preflight.total_bytes)} {times}, in one transaction "
            "that locks the table, and needs as much free disk space again; "
            f"reading the values took {seconds:.1f} s here"
        )
    if preflight.done and not report.findings:
        return ["passed: nothing to check"]
    found = severity_counts(report)
    lines.append(
        f"{'failed' if failed else 'passed'}: {f'{found} in ' if found else ''}{xcoms}, "
        f"for an upgrade to Airflow {release}"
    )
    return lines
