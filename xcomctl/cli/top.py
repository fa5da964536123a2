"""`xcomctl top`: which DAGs, tasks and keys use the most space."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from xcomctl.cli.console import parse_outputs
from xcomctl.cli.options import Connection, Filters, Manners, Output
from xcomctl.errors import UsageError
from xcomctl.formats import Column, Layout
from xcomctl.text import nearest

if TYPE_CHECKING:
    from collections.abc import Iterable

    from xcomctl.formats import Row
    from xcomctl.sizes.forecast import Forecast
    from xcomctl.sizes.statistics import Summary

EXAMPLES = (
    ("What uses the most space", "xcomctl top"),
    ("The size of each DAG per day", "xcomctl top --by dag_id,day --sort max"),
    (
        "What grows fastest, and when it reaches the limit",
        "xcomctl top --sort growth --as mysql:2.8",
    ),
)
DEFAULT_LIMIT = 20
SORTS = ("bytes", "rows", "max", "growth")
_BAR = 20

_DIMENSION_COLUMNS = {
    "dag_id": Column("dag_id", "id", aliases=("dag",)),
    "task_id": Column("task_id", "id", aliases=("task",)),
    "key": Column("key", "id"),
    "run_id": Column("run_id", "run", aliases=("run",)),
    "day": Column("day", "id"),
}
DIMENSIONS = tuple(_DIMENSION_COLUMNS)

_NUMBERS = (
    Column("count", "number", aliases=("rows",)),
    Column("total_bytes", "size", title="total", aliases=("bytes",)),
    Column("mean_bytes", "size", title="mean", drop=4),
    Column("p50_bytes", "size", title="p50", drop=3),
    Column("p95_bytes", "size", title="p95", drop=5),
    Column("p99_bytes", "size", title="p99", drop=6),
    Column("max_bytes", "size", title="max", drop=1),
    Column("share", "percent", drop=2),
    Column("bar", "bar", machine=False, drop=7),
)
_FORECAST = (
    Column("trend", "id"),
    Column("growth_bytes_per_day", "size", title="growth"),
    Column("meets_limit_on", "id", title="meets limit"),
    Column("forecast_note", people=False),
)


def command(
    connection: Connection,
    filters: Filters,
    output: Output,
    manners: Manners,
    by: Annotated[
        list[str] | None,
        typer.Option(
            "--by",
            metavar="A,B,C",
            help="Group by dag_id, task_id, key, run_id or day. Repeatable. [default: dag_id,task_id,key]",
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit",
            "-n",
            metavar="N",
            min=0,
            help=f"Maximum number of groups (0 = all). [default: {DEFAULT_LIMIT}]",
        ),
    ] = None,
    sort: Annotated[
        str | None,
        typer.Option(
            "--sort",
            metavar="bytes|rows|max|growth",
            help="Sort by this, largest first. [default: bytes]",
        ),
    ] = None,
    forecast: Annotated[
        bool,
        typer.Option(
            "--forecast",
            help="Add the growth per day and the day on which a group reaches the limit.",
        ),
    ] = False,
    as_: Annotated[
        str | None,
        typer.Option(
            "--as",
            metavar="BACKEND[:AIRFLOW]",
            help="Forecast for the limit of another backend: mysql:2.8.",
        ),
    ] = None,
) -> None:
    """Show which DAGs and tasks use the most space."""
    from xcomctl.cli import console

    manners.apply(console)
    outputs = parse_outputs(output.output)
    selection = filters.selection()
    names = _parse_by(by)
    key = _known("sort by", sort or "bytes", SORTS)
    forecasting = forecast or key == "growth"
    most = DEFAULT_LIMIT if limit is None else limit
    columns = (
        *(_DIMENSION_COLUMNS[name] for name in names),
        *_NUMBERS,
        *(_FORECAST if forecasting else ()),
    )
    chosen = output.chosen(columns)
    target, _ = connection.resolve(console)

    from xcomctl.cli.findings import limit_in_force
    from xcomctl.db import open_store
    from xcomctl.sizes.forecast import forecast as forecast_of

    with open_store(target) as store:
        groups = dict(store.sizes.by_group(selection, names, days=forecasting, percentiles=True))
        bound = limit_in_force(store, as_)
    forecasts: dict[tuple[str | None, ...], Forecast] = {}
    if forecasting:
        forecasts = {
            name: forecast_of(sizes.largest_by_day, bound.size) for name, sizes in groups.items()
        }
    total = sum(sizes.total for sizes in groups.values())
    scanned = sum(sizes.rows for sizes in groups.values())
    ordered = _sorted(groups, key, forecasts)
    shown = ordered[:most] if most else ordered
    layout = Layout(
        "xcomctl.top/1",
        "groups",
        columns,
        before=lambda: {
            "by": list(names),
            "limit_bytes": bound.size,
            "summary": {"scanned": scanned, "total_bytes": total},
        },
        after=lambda: {"returned": len(shown), "total_groups": len(ordered)},
        chosen=chosen,
        header=not output.no_header,
        raw_cells=output.raw_cells,
    )
    rows = (_row(names, name, groups[name], total, forecasts.get(name)) for name in shown)
    console.write(layout, rows, outputs)
    if not ordered:
        console.note("no XCom matches")
    elif len(shown) < len(ordered):
        console.note(f"showing {len(shown):,} of {len(ordered):,} groups; -n 0 shows all")


def _parse_by(by: list[str] | None) -> tuple[str, ...]:
    given = [name.strip() for text in by or () for name in text.split(",")]
    if by is not None and not any(given):
        raise UsageError("--by names nothing", hint=f"There are {', '.join(DIMENSIONS)}.")
    names = [_known("group by", name, DIMENSIONS) for name in given if name]
    return tuple(dict.fromkeys(names)) or DIMENSIONS[:3]


def _known(what: str, text: str, known: tuple[str, ...]) -> str:
    if text not in known:
        near = nearest(text, known)
        raise UsageError(
            f'cannot {what} "{text}"',
            hint=f'Did you mean "{near}"?' if near else f"There are {', '.join(known)}.",
        )
    return text


def _sorted(
    groups: dict[tuple[str | None, ...], Summary],
    key: str,
    forecasts: dict[tuple[str | None, ...], Forecast],
) -> list[tuple[str | None, ...]]:
    def rank(name: tuple[str | None, ...]) -> float:
        sizes = groups[name]
        if key == "rows":
            return sizes.rows
        if key == "max":
            return sizes.largest or 0
        if key == "growth":
            return forecasts[name].bytes_per_day or 0.0
        return sizes.total

    by_name = sorted(groups, key=lambda name: [part or "" for part in name])
    return sorted(by_name, key=rank, reverse=True)


def _row(
    names: Iterable[str],
    name: tuple[str | None, ...],
    sizes: Summary,
    total: int,
    forecast: Forecast | None,
) -> Row:
    p50, p95, p99 = sizes.percentiles
    share = sizes.total / total if total else 0.0
    row: dict[str, object] = dict(zip(names, name, strict=True))
    row |= {
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
    if forecast is not None:
        met = forecast.meets_limit
        row |= {
            "trend": forecast.trend,
            "growth_bytes_per_day": None
            if forecast.bytes_per_day is None
            else round(forecast.bytes_per_day),
            "meets_limit_on": met.isoformat() if met else None,
            "forecast_note": forecast.why or None,
        }
    return row
