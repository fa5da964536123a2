"""`xcomctl top`: which DAGs, tasks and keys use the most space."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated

import typer

from xcomctl.cli.console import parse_outputs
from xcomctl.cli.deployments import DEPLOYMENT, REASON, Answers, Deployments, ask
from xcomctl.cli.gaps import warn_about_gaps
from xcomctl.cli.options import Connection, Filters, FromFiles, GroupsOutput, Manners
from xcomctl.cli.snapshots import load, refuse_connection
from xcomctl.errors import UsageError
from xcomctl.formats import TOP_FORMATS, Column
from xcomctl.model import MAX_INTEGER, Size
from xcomctl.text import canonical, suggestion

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from xcomctl.cli.console import Console
    from xcomctl.cli.gaps import Warns
    from xcomctl.config.target import Target
    from xcomctl.formats import Layout, Row
    from xcomctl.model import Selection
    from xcomctl.sizes.forecast import Forecast
    from xcomctl.sizes.snapshot import Snapshot
    from xcomctl.sizes.statistics import Summary

    Name = tuple[str | None, ...]
    """The values that a group has in common, one per dimension."""
    Found = tuple[dict[Name, Summary], Size]
    """The groups of a deployment, and its limit."""

EXAMPLES = (
    ("What uses the most space", "xcomctl top"),
    ("The size of each DAG per day", "xcomctl top --by dag_id,day --sort max"),
    (
        "What grows fastest, and when it reaches the limit",
        "xcomctl top --sort growth --as mysql:2.8",
    ),
    ("Browse the sizes with ncdu -f xcom.ncdu", "xcomctl top -o ncdu=xcom.ncdu"),
)
DEFAULT_LIMIT = 20
SORTS = {
    "bytes": ("total", "total_bytes", "size"),
    "rows": ("count",),
    "max": ("max_bytes", "largest"),
    "growth": ("growth_bytes_per_day", "growth/day"),
}
"""What --sort accepts, with the other names of each."""
_BAR = 20
BOUNDED = "upper bounds, from histograms by powers of two"
"""What the percentiles of a snapshot are."""

_DIMENSION_COLUMNS = {
    "dag_id": Column("dag_id", "id", aliases=("dag",)),
    "task_id": Column("task_id", "id", aliases=("task",)),
    "key": Column("key", "id"),
    "run_id": Column("run_id", "run", aliases=("run",)),
    "day": Column("day", "id"),
}
DIMENSIONS = tuple(_DIMENSION_COLUMNS)
_DEPLOYMENT = Column("deployment", "id")
"""In front of the others, for snapshots of several deployments."""

_NUMBERS = (
    Column("count", "number", aliases=("rows",), drop=-1),
    Column("total_bytes", "size", title="total", aliases=("bytes",), drop=-1),
    Column("mean_bytes", "size", title="mean", drop=4),
    Column("p50_bytes", "size", title="p50", drop=3),
    Column("p95_bytes", "size", title="p95", drop=5),
    Column("p99_bytes", "size", title="p99", drop=6),
    Column("max_bytes", "size", title="max", aliases=("largest",), drop=1),
    Column("share", "percent", drop=2),
    Column("bar", "bar", machine=False, drop=7),
)
_PERCENTILES = ("p50_bytes", "p95_bytes", "p99_bytes")
_FORECAST = (
    Column("trend", "word", drop=-2),
    Column("growth_bytes_per_day", "size", title="growth/day", aliases=("growth",)),
    Column("meets_limit_on", "word", title="meets limit"),
    Column("forecast_note", people=False),
)

CHOICES = {
    "by": DIMENSIONS,
    "sort": tuple(SORTS),
    "columns": [one.name for one in (*_DIMENSION_COLUMNS.values(), *_NUMBERS, *_FORECAST)],
}


@dataclass(frozen=True, slots=True)
class Options:
    """The options of `top` alone."""

    by: Annotated[
        list[str] | None,
        typer.Option(
            "--by",
            metavar="A,B,C",
            help="Group by dag_id, task_id, key, run_id or day. Repeatable. [default: dag_id,task_id,key]",
        ),
    ] = None
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit",
            "-n",
            metavar="N",
            min=0,
            max=MAX_INTEGER,
            help=f"Maximum number of groups (0 = all). [default: {DEFAULT_LIMIT}; all for ncdu]",
        ),
    ] = None
    sort: Annotated[
        str | None,
        typer.Option(
            "--sort",
            metavar="bytes|rows|max|growth",
            help="Sort by this, largest first. [default: bytes]",
        ),
    ] = None
    forecast: Annotated[
        bool,
        typer.Option(
            "--forecast",
            help="Add the growth per day and the day on which a group reaches the limit.",
        ),
    ] = False
    as_: Annotated[
        str | None,
        typer.Option(
            "--as",
            metavar="BACKEND[:AIRFLOW]",
            help="Forecast for the limit of another backend: mysql:2.8.",
        ),
    ] = None
    from_: FromFiles = None


def command(
    connection: Deployments,
    filters: Filters,
    output: GroupsOutput,
    manners: Manners,
    options: Options,
) -> None:
    """Show which DAGs and tasks use the most space."""
    from xcomctl.cli import console

    manners.apply(console)
    outputs = parse_outputs(output.output, TOP_FORMATS)
    query = _read_options(filters, output, options)
    if options.limit is None and any(name == "ncdu" for name, _ in outputs):
        # Without the small groups its totals would be wrong.
        query = replace(query, limit=0)
    answers: Answers[Found] | None = None
    if options.from_:
        refuse_connection(connection)
        ranking = _rank_snapshots(console, load(console, options.from_), query)
    elif names := connection.several():
        answers = _ask(console, connection, names, query, all_attempts=filters.all_attempts)
        ranking = _rank_deployments(answers, query)
    else:
        ranking = _rank_database(console, connection, query, all_attempts=filters.all_attempts)
    query = ranking.query
    layout = replace(
        query.layout, before=ranking.facts, after=ranking.counts, closing=ranking.closing
    )
    console.write(layout, [*ranking.rows(), *(answers.failed() if answers else ())], outputs)
    note = ranking.note()
    if note:
        console.note(note)
    if answers:
        answers.check()


@dataclass(frozen=True, slots=True)
class _Query:
    """What to rank."""

    selection: Selection
    by: tuple[str, ...]
    sort: str
    limit: int
    """0 for all."""
    forecast: bool
    as_: str | None
    layout: Layout


def _read_options(filters: Filters, output: GroupsOutput, options: Options) -> _Query:
    """Return the query that the options describe.

    Raises:
        UsageError: an option is invalid.
    """
    selection = filters.selection()
    by = _parse_by(options.by)
    sort = _known("sort by", options.sort or "bytes", SORTS)
    forecast = options.forecast or sort == "growth"
    columns = _columns(by, forecast=forecast, bounded=bool(options.from_))
    return _Query(
        selection,
        by,
        sort,
        DEFAULT_LIMIT if options.limit is None else options.limit,
        forecast,
        options.as_,
        output.layout("xcomctl.top/1", "groups", columns),
    )


def _columns(by: Sequence[str], *, forecast: bool, bounded: bool) -> tuple[Column, ...]:
    """Return the columns; percentiles of a snapshot are upper bounds, which their titles say."""
    numbers = [
        replace(one, title=f"{one.title} \u2264", aliases=(one.title,))
        if bounded and one.name in _PERCENTILES
        else one
        for one in _NUMBERS
    ]
    dimensions = (_DIMENSION_COLUMNS[name] for name in by)
    front = _DEPLOYMENT if bounded else DEPLOYMENT
    return (front, *dimensions, *numbers, *(_FORECAST if forecast else ()), REASON)


def _parse_by(by: list[str] | None) -> tuple[str, ...]:
    given = [name.strip() for text in by or () for name in text.split(",")]
    if by is not None and not any(given):
        raise UsageError("--by names nothing", hint=f"Valid values: {', '.join(DIMENSIONS)}.")
    known = {one.name: one.aliases for one in _DIMENSION_COLUMNS.values()}
    names = [_known("group by", name, known) for name in given if name]
    return tuple(dict.fromkeys(names)) or DIMENSIONS[:3]


def _known(what: str, text: str, known: Mapping[str, Collection[str]]) -> str:
    name = canonical(text, known)
    if name is None:
        raise UsageError(f'cannot {what} "{text}"', hint=suggestion(text, known))
    return name


def _rank_database(
    console: Console, connection: Connection, query: _Query, *, all_attempts: bool
) -> _Ranking:
    """Return the groups of the database."""
    target, _ = connection.resolve(console)
    with console.working("top: measuring sizes"):
        groups, limit = _measure(console, target, query, all_attempts=all_attempts)
    return _Ranking(query, groups, limit)


def _measure(console: Warns, target: Target, query: _Query, *, all_attempts: bool) -> Found:
    """Return the groups of a database, and the limit in force."""
    from xcomctl.cli.findings import limit_in_force
    from xcomctl.db import open_store

    with open_store(target, all_attempts=all_attempts) as store:
        found = store.sizes.by_group(
            query.selection, query.by, days=query.forecast, percentiles=True
        )
        groups, limit = dict(found), limit_in_force(store, query.as_).size
        matched = sum(sizes.rows for sizes in groups.values())
        warn_about_gaps(console, store, query.selection, matched)
    return groups, limit


def _ask(
    console: Console,
    options: Deployments,
    names: Sequence[str],
    query: _Query,
    *,
    all_attempts: bool,
) -> Answers[Found]:
    """Return the groups of each deployment."""
    return ask(
        console,
        options,
        names,
        "top: measuring sizes",
        lambda of, target, _: _measure(of, target, query, all_attempts=all_attempts),
    )


def _rank_deployments(answers: Answers[Found], query: _Query) -> _Ranking:
    """Return the groups of all deployments. The limit is the smallest of theirs."""
    groups: dict[Name, Summary] = {}
    limits: list[Size] = []
    for deployment, (found, limit) in answers.found():
        groups |= {(deployment, *name): sizes for name, sizes in found.items()}
        limits.append(limit)
    layout = answers.layout(query.layout)
    query = replace(query, by=("deployment", *query.by), layout=layout)
    return _Ranking(query, groups, min(limits, default=Size(0)))


def _rank_snapshots(console: Console, snapshots: Sequence[Snapshot], query: _Query) -> _Ranking:
    """Return the groups of snapshots. The limit is the smallest of several deployments."""
    from xcomctl.cli.snapshots import limit_of
    from xcomctl.sizes.snapshot import select, summarize

    if "run_id" in query.by:
        raise UsageError(
            "cannot group a snapshot by run_id",
            hint="Valid values: dag_id, task_id, key, day; or read the database.",
        )
    common = {"deployment": snapshots[0].source.name}
    if len(snapshots) > 1:
        query, common = replace(query, by=("deployment", *query.by)), {}
    else:
        first, *others = query.layout.columns
        columns = (replace(first, people=False), *others)
        query = replace(query, layout=replace(query.layout, columns=columns))
    groups = summarize(select(snapshots, query.selection), query.by)
    limit = min(limit_of(one, query.as_).size for one in snapshots)
    return _Ranking(query, groups, limit, common=common, bounded=True)


class _Ranking:
    """The groups of a query, the largest first."""

    def __init__(
        self,
        query: _Query,
        groups: dict[Name, Summary],
        limit: Size,
        *,
        common: Row | None = None,
        bounded: bool = False,
    ) -> None:
        """Rank groups.

        `common` holds the fields that all rows have alike, and `bounded` says that percentiles are
        upper bounds.
        """
        from xcomctl.sizes.forecast import forecast

        self.query = query
        self._limit = limit
        self._groups = groups
        self._common = dict(common or {})
        self._bounded = bounded
        self._forecasts: dict[Name, Forecast] = {}
        if query.forecast:
            self._forecasts = {
                name: forecast(sizes.largest_by_day, self._limit)
                for name, sizes in self._groups.items()
            }
        self.scanned = sum(sizes.rows for sizes in self._groups.values())
        self._total = sum(sizes.total for sizes in self._groups.values())
        by_name = sorted(self._groups, key=lambda name: [part or "" for part in name])
        ordered = sorted(by_name, key=self._rank, reverse=True)
        self._shown = ordered[: query.limit] if query.limit else ordered

    def _rank(self, name: Name) -> float:
        sizes = self._groups[name]
        if self.query.sort == "rows":
            return sizes.rows
        if self.query.sort == "max":
            return sizes.largest or 0
        if self.query.sort == "growth":
            return self._forecasts[name].bytes_per_day or 0.0
        return sizes.total

    def facts(self) -> Row:
        """Return the document's fields in front of the rows."""
        return {
            "by": list(self.query.by),
            "limit_bytes": self._limit,
            "summary": {"scanned": self.scanned, "total_bytes": self._total},
        } | ({"percentiles": BOUNDED} if self._bounded else {})

    def counts(self) -> Row:
        """Return the document's fields behind the rows."""
        return {"returned": len(self._shown), "total_groups": len(self._groups)}

    def closing(self) -> list[str]:
        """Return the number and size of all XComs, those of groups that are not shown included."""
        from xcomctl.sizes.notation import total_line

        return [total_line(self.scanned, self._total)] if self._groups else []

    def note(self) -> str | None:
        """Return what to say about a ranking that is cut or empty."""
        if not self._groups:
            return "no XCom matches"
        if len(self._shown) == len(self._groups):
            return None
        return f"showing {len(self._shown):,} of {len(self._groups):,} groups; -n 0 shows all"

    def rows(self) -> Iterator[Row]:
        """Yield the groups as rows, up to the limit."""
        for name in self._shown:
            row: dict[str, object] = self._common | dict(zip(self.query.by, name, strict=True))
            row |= self._sizes_row(self._groups[name])
            if self.query.forecast:
                row |= _forecast_row(self._forecasts[name])
            yield row

    def _sizes_row(self, sizes: Summary) -> Row:
        p50, p95, p99 = sizes.percentiles
        share = sizes.total / self._total if self._total else 0.0
        return {
            "count": sizes.rows,
            "total_bytes": sizes.total,
            "mean_bytes": round(sizes.total / sizes.measured) if sizes.measured else None,
            "p50_bytes": p50,
            "p95_bytes": p95,
            "p99_bytes": p99,
            "max_bytes": sizes.largest,
            "share": round(100 * share, 4),
            "bar": "#" * round(share * _BAR) or ".",
        }


def _forecast_row(forecast: Forecast) -> Row:
    growth, met = forecast.bytes_per_day, forecast.meets_limit
    return {
        "trend": forecast.trend,
        "growth_bytes_per_day": None if growth is None else round(growth),
        "meets_limit_on": met.isoformat() if met else None,
        "forecast_note": forecast.why or None,
    }
