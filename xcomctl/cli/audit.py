"""`xcomctl audit`: check sizes and health. The exit code is the verdict."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from xcomctl import __version__
from xcomctl.cli.accepted import accept
from xcomctl.cli.audit_reading import capacity, check
from xcomctl.cli.console import parse_outputs, refuse_same_place
from xcomctl.cli.deployments import Answers, Deployments, ask
from xcomctl.cli.findings import (
    FINDING_COLUMNS,
    backend_row,
    check_ignores,
    digest_findings,
    enabled_rules,
    failed_rows,
    finding_columns,
    finding_rows,
    legend,
    limits_to_apply,
    parse_threshold,
    refuse_incomplete,
    rule_texts,
    shows_closing,
)
from xcomctl.cli.gaps import Warns, warn_about_hidden_rows
from xcomctl.cli.options import Filters, FindingsOutput, FromFiles, Manners
from xcomctl.cli.snapshots import refuse_connection
from xcomctl.cli.verdict import closing_lines, group_rows, summary
from xcomctl.config.file import load_config, parse_share
from xcomctl.errors import NotFoundError, UsageError
from xcomctl.formats import AUDIT_FORMATS
from xcomctl.model import Selection

if TYPE_CHECKING:
    from collections.abc import Sequence

    from xcomctl.audit import Policy, Report
    from xcomctl.audit.rule import Severity
    from xcomctl.cli.console import Console, Outputs
    from xcomctl.cli.progress import Progress
    from xcomctl.config.file import Config
    from xcomctl.config.target import Target
    from xcomctl.db.read.store import Store
    from xcomctl.formats import Layout, Row
    from xcomctl.model import Ignore, Limit, Size

EXAMPLES = (
    ("Check every XCom against the limit of this database", "xcomctl audit"),
    (
        "Would they fit into MySQL with Airflow 2.8? (exit code 1 if not)",
        "xcomctl audit --as mysql:2.8",
    ),
    (
        "Read the values too, and write a report for code scanning",
        "xcomctl audit --deep -o table -o sarif=xcom.sarif",
    ),
    (
        "Accept what is found now, and fail only on what is new",
        "xcomctl audit --baseline known.json --update-baseline",
    ),
)
DEFAULTS = {
    "size_limit": "auto",
    "warn_at": "80%",
    "fail_on": "error",
    "baseline": None,
    "max_growth": "50%",
    "min_growth": "16 KiB",
}
"""What `[audit]` of the configuration may change."""

CHOICES = {"columns": [one.name for one in FINDING_COLUMNS]}


@dataclass(frozen=True, slots=True)
class Options:
    """The options of `audit` alone."""

    size_limit: Annotated[
        str | None,
        typer.Option(
            "--size-limit",
            metavar="auto|nominal|SIZE",
            help="Limit for sizes: the one this database enforces, the commonly quoted figure, or a size. [default: auto]",
        ),
    ] = None
    warn_at: Annotated[
        str | None,
        typer.Option(
            "--warn-at",
            metavar="PCT|SIZE",
            help="Warn at this share of the limit. [default: 80%]",
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
    fail_on_empty: Annotated[
        bool,
        typer.Option("--fail-on-empty", help="Fail if no XCom matches the filters."),
    ] = False
    per_entry: Annotated[
        bool,
        typer.Option("--per-entry", help="Report each XCom, instead of each task and key."),
    ] = False
    rules: Annotated[
        str | None, typer.Option("--rules", metavar="A,B,C", help="Apply only these rules.")
    ] = None
    skip_rules: Annotated[
        str | None, typer.Option("--skip-rules", metavar="A,B,C", help="Apply all but these rules.")
    ] = None
    deep: Annotated[
        bool,
        typer.Option(
            "--deep",
            help="Read every value: finds undecodable values, credentials and double encoding.",
        ),
    ] = False
    baseline: Annotated[
        str | None,
        typer.Option(
            "--baseline", metavar="FILE", help="Do not count the findings that this file lists."
        ),
    ] = None
    update_baseline: Annotated[
        bool,
        typer.Option("--update-baseline", help="Save the current findings to the baseline."),
    ] = False
    no_ignores: Annotated[
        bool, typer.Option("--no-ignores", help="Do not apply the ignores of the configuration.")
    ] = False
    show_ignored: Annotated[
        bool,
        typer.Option(
            "--show-ignored", help="Also list findings that are ignored or in the baseline."
        ),
    ] = False
    measure: Annotated[
        str | None,
        typer.Option(
            "--measure",
            metavar="size|text",
            help="Measure budgets by stored size, or by length as JSON text, which is the same on every backend. [default: size]",
        ),
    ] = None
    as_: Annotated[
        str | None,
        typer.Option(
            "--as",
            metavar="BACKEND[:AIRFLOW]",
            help="Apply the limit of another backend: mysql:2.8.",
        ),
    ] = None
    from_: FromFiles = None


def command(
    connection: Deployments,
    filters: Filters,
    output: FindingsOutput,
    manners: Manners,
    options: Options,
) -> None:
    """Check XCom sizes and health (for CI)."""
    from xcomctl.cli import console

    manners.apply(console)
    outputs = parse_outputs(output.output, AUDIT_FORMATS)
    output.chosen(FINDING_COLUMNS)
    selection = filters.selection()
    enabled = enabled_rules(options.rules, options.skip_rules)
    names = () if options.from_ else connection.several()
    if options.from_ or names:
        if options.from_:
            refuse_connection(connection)
        config = load_config(connection.config)
        console.protect(config.path)
    else:
        target, config = connection.resolve(console)
    request = _read_options(options, selection, enabled, config)
    refuse_same_place([*(path for _, path in outputs), request.baseline])
    with_totals = any(name == "openmetrics" for name, _ in outputs)
    all_attempts = filters.all_attempts
    answers: Answers[_Result] | None = None
    if options.from_:
        result = _audit_files(console, options.from_, request, config, with_totals=with_totals)
    elif names:

        def look(of: Warns, target: Target, _: Config) -> _Result:
            return _audit_database(of, target, request, config, with_totals, all_attempts)

        answers = ask(console, connection, names, "audit: measuring sizes", look)
        result = _add_up(answers, request, config)
    else:
        with console.working("audit: measuring sizes") as work:
            result = _audit_database(
                console, target, request, config, with_totals, all_attempts, work
            )
    _write(console, output, outputs, request, result)
    if answers:
        answers.check()
    if options.fail_on_empty and not result.report.scanned:
        raise NotFoundError("no XCom matches, and --fail-on-empty is set")
    if not options.exit_zero and result.report.verdict(request.threshold):
        raise typer.Exit(1)


def _audit_database(
    console: Warns,
    target: Target,
    request: _Request,
    config: Config,
    with_totals: bool,
    all_attempts: bool,
    work: Progress | None = None,
) -> _Result:
    """Return the result of checking a database, with warnings about what was not seen.

    Without `work`, one of several deployments, whose ignores and baseline are applied to all.
    """
    from xcomctl.audit.rules import HIDDEN_ROWS
    from xcomctl.db import open_store

    with open_store(target, all_attempts=all_attempts) as store:
        result = _audit(store, request, config, work, with_totals=with_totals)
        for warning in store.warnings():
            console.warn(warning)
        if HIDDEN_ROWS.id not in request.enabled:
            warn_about_hidden_rows(console, store)
        for one in store.visibility.unmatched(request.selection, result.report.scanned):
            console.warn(str(one))
    return result


def _add_up(answers: Answers[_Result], request: _Request, config: Config) -> _Result:
    """Return one result of several deployments."""
    from xcomctl.audit.from_sizes import combine

    found = answers.found()
    if not found:
        # Every reason was a warning.
        answers.check()
    report = combine([(name, one.report) for name, one in found])
    if len(found) == 1:
        name = found[0][0]
        report.findings = [replace(one, deployment=name) for one in report.findings]
    limits: list[Limit] = []
    for _, one in found:
        limits += [limit for limit in one.limits if limit not in limits]
    limits.sort(key=lambda limit: limit.size)
    report = replace(_accept(report, request, config), complete=not answers.failed())
    return _Result(report, limits, found[0][1].backend, answers.failed())


def _audit_files(
    console: Console,
    paths: Sequence[str],
    request: _Request,
    config: Config,
    *,
    with_totals: bool,
) -> _Result:
    """Return the result of checking snapshots.

    Raises:
        UsageError: an option asks for what snapshots do not hold.
    """
    from xcomctl.cli.audit_snapshots import audit_snapshots

    options = request.options
    if options.per_entry or options.measure == "text":
        option = "--per-entry" if options.per_entry else "--measure text"
        raise UsageError(
            f"{option} cannot be applied to a snapshot", hint="Leave it out, or read the database."
        )
    report, limits, backend = audit_snapshots(
        console,
        paths,
        request.selection,
        lambda limit: _policy(request, config, limit, with_totals=with_totals),
        size_limit=request.size_limit,
        as_=options.as_,
    )
    return _Result(_accept(report, request, config), limits, backend)


@dataclass(frozen=True, slots=True)
class _Request:
    """What to check, and what counts."""

    options: Options
    selection: Selection
    enabled: frozenset[str]
    """Ids of the rules to apply."""
    size_limit: str
    warn_at: float | Size
    """A share of the limit, or a size."""
    threshold: Severity | None
    """The least severity that fails the audit; None for never."""
    ignores: tuple[Ignore, ...]
    baseline: Path | None


def _read_options(
    options: Options, selection: Selection, enabled: frozenset[str], config: Config
) -> _Request:
    """Return the request that the options and the configuration describe.

    Raises:
        UsageError: an option or the configuration is invalid.
    """
    if options.measure not in (None, "size", "text"):
        raise UsageError(f'unknown measure "{options.measure}"', hint="Valid values: size, text.")
    audit = config.audit
    return _Request(
        options,
        selection,
        enabled,
        options.size_limit or audit.size_limit or "auto",
        parse_share(options.warn_at or audit.warn_at or "80%"),
        parse_threshold(options.fail_on or audit.fail_on or "error"),
        () if options.no_ignores else check_ignores(config),
        _baseline_path(options, config, selection, enabled),
    )


def _baseline_path(
    options: Options, config: Config, selection: Selection, enabled: frozenset[str]
) -> Path | None:
    from xcomctl.audit.rules import RULE_BY_ID

    path = options.baseline or config.audit.baseline
    if not options.update_baseline:
        return Path(path) if path else None
    if path is None:
        raise UsageError("--update-baseline needs --baseline FILE")
    if selection != Selection() or enabled != frozenset(RULE_BY_ID):
        raise UsageError(
            "cannot update the baseline from a partial audit",
            detail="With filters or without some rules, the other known findings would be dropped.",
        )
    return Path(path)


@dataclass(frozen=True, slots=True)
class _Result:
    """The report, and what it says of the database."""

    report: Report
    limits: list[Limit]
    """The limits that sizes were compared with, the one in force first."""
    backend: Row
    """Of several deployments, the first one's."""
    failed: Sequence[Row] = ()
    """The deployments that could not be read, and why."""


def _audit(
    store: Store, request: _Request, config: Config, work: Progress | None, *, with_totals: bool
) -> _Result:
    """Return the result of the checks, with ignores, baseline and files applied."""
    from xcomctl import audit
    from xcomctl.cli.progress import Progress

    options = request.options
    limits = limits_to_apply(store, request.size_limit, options.as_)
    policy = replace(
        _policy(request, config, limits[0], with_totals=with_totals),
        storage=store.schema.storage,
        capacity=capacity(store),
    )
    report = audit.with_hidden_rows(
        check(store, request.selection, policy, work or Progress("", None, lambda: 0)),
        store.visibility.hidden(),
    )
    if work is not None:
        report = _accept(report, request, config)
    files = store.files({one.dag_id for one in report.findings})
    report = audit.with_files(report, files, config.audit.source_root)
    return _Result(report, limits, backend_row(store))


def _policy(request: _Request, config: Config, limit: Limit, *, with_totals: bool) -> Policy:
    """Return the policy that the options and the configuration describe."""
    from xcomctl.audit import Policy

    options = request.options
    return Policy(
        limit=limit,
        warn_at=request.warn_at,
        deep=options.deep,
        enabled=request.enabled,
        per_entry=options.per_entry,
        budgets=config.audit.budgets,
        measure="text" if options.measure == "text" else "size",
        with_totals=with_totals,
    )


def _accept(report: Report, request: _Request, config: Config) -> Report:
    """Return the report with ignores and the baseline applied."""
    return accept(
        report,
        config,
        ignores=request.ignores,
        baseline=request.baseline,
        update=request.options.update_baseline,
        complete=request.selection == Selection(),
    )


def _write(
    console: Console,
    output: FindingsOutput,
    outputs: Outputs,
    request: _Request,
    result: _Result,
) -> None:
    """Write the findings, the verdict, and with --update-baseline the baseline."""
    from xcomctl.audit import decisions

    options, report = request.options, result.report
    closing = closing_lines(report, request.threshold, quiet=console.quiet)
    console.write(
        _layout(output, request, result, closing),
        [*finding_rows(report, request.threshold), *failed_rows(result.failed, outputs)],
        outputs,
        suppressed=options.show_ignored,
    )
    if not shows_closing(outputs):
        for line in closing:
            console.note(line)
    refuse_incomplete(report)
    if options.update_baseline and request.baseline is not None:
        console.save(request.baseline, [decisions.baseline_text(report).encode()])
        console.note(f'wrote the baseline "{request.baseline}"')


def _layout(
    output: FindingsOutput, request: _Request, result: _Result, closing: list[str]
) -> Layout:
    from xcomctl.audit.rules import RULES

    options, report = request.options, result.report
    columns = finding_columns(
        hidden=("occurrences",) if options.per_entry else (),
        shown=(
            *(
                ("deployment",)
                if result.failed or any(one.deployment for one in report.findings)
                else ()
            ),
            *(("run_id", "map_index") if options.per_entry else ()),
            *(("state",) if options.show_ignored else ()),
        ),
    )
    return replace(
        output.layout("xcomctl.audit/1", "findings", columns),
        before=lambda: {
            "complete": report.complete and not result.failed,
            "backend": result.backend,
            "limits": [
                {"name": one.name, "bytes": one.size, "source": one.source} for one in result.limits
            ],
            "summary": summary(report),
        },
        legend=lambda: legend(report),
        closing=lambda: closing,
        digest=digest_findings,
        group_by="dag_id",
        context={
            "version": __version__,
            "rules": rule_texts(rule for rule in RULES if rule.id in request.enabled),
            "groups": group_rows(report),
        },
    )
