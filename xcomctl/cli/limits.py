"""`xcomctl limits`: the size limit in force, where it comes from, and those of other backends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from xcomctl.cli.console import parse_outputs
from xcomctl.cli.options import Connection, Manners, Output
from xcomctl.formats import Column, Layout
from xcomctl.sizes.notation import limit_exactly

if TYPE_CHECKING:
    from xcomctl.db.read.store import Store
    from xcomctl.formats import Row
    from xcomctl.model import Limit

EXAMPLES = (
    ("The limit of this database, and those of others", "xcomctl limits"),
    ("The limit of MySQL with Airflow 2.8", "xcomctl limits --as mysql:2.8"),
)
_COLUMNS = (
    Column("where", "id"),
    Column("backend", people=False),
    Column("airflow", "id", drop=1),
    Column("name", "id", title="set by"),
    Column("bytes", "limit", title="limit"),
    Column("in_force", people=False, title="in force"),
    Column("hard", people=False),
    Column("source", drop=2),
    Column("beyond", people=False, title="a larger value"),
)

CHOICES = {"columns": [one.name for one in _COLUMNS]}


def command(
    connection: Connection,
    output: Output,
    manners: Manners,
    as_: Annotated[
        str | None,
        typer.Option(
            "--as",
            metavar="BACKEND[:AIRFLOW]",
            help="Show only the limit of this backend: mysql:2.8.",
        ),
    ] = None,
) -> None:
    """Show the size limits that apply."""
    from xcomctl.cli import console

    manners.apply(console)
    outputs = parse_outputs(output.output)
    chosen = output.chosen(_COLUMNS)
    target, _ = connection.resolve(console)

    from xcomctl.cli.findings import backend_row
    from xcomctl.db import open_store

    with open_store(target) as store:
        rows = _rows(store, as_)
        warnings = store.warnings()
        backend = backend_row(store)

    for warning in warnings:
        console.warn(warning)
    layout = Layout(
        "xcomctl.limits/1",
        "limits",
        _COLUMNS,
        before=lambda: {
            "backend": backend,
            "limit_bytes": rows[0]["bytes"],
            "warnings": warnings,
        },
        opening=lambda: [] if chosen else _answer(rows[0]),
        chosen=chosen,
        header=not output.no_header,
        raw_cells=output.raw_cells,
    )
    console.write(layout, rows, outputs)


def _rows(store: Store, as_: str | None) -> list[Row]:
    """Return the limits here and elsewhere, or only the one that `--as` names."""
    from xcomctl.cli.findings import airflow_version
    from xcomctl.sizes.limits import BACKENDS, nominal, parse_as

    version = airflow_version(store)
    if as_ is not None:
        return [_elsewhere(*parse_as(as_, version))]
    here = store.facts().backend
    airflow = store.schema.airflow
    rows = [
        _row("here", here, airflow, limit, in_force=index == 0)
        for index, limit in enumerate(store.limits())
    ]
    rows.append(_row("nominal", here, airflow, nominal(here), in_force=False))
    if version[0] < 3:
        rows.append(_elsewhere(here, (3, 3), "after an upgrade"))
    rows += [_elsewhere(backend, version) for backend in BACKENDS if backend != here]
    if version < (2, 9) and here not in ("mysql", "mariadb"):
        rows.append(_elsewhere("mysql", (2, 11)))
    if version[0] >= 3:
        rows.append(_elsewhere("mysql", (2, 8)))
    return rows


_PRODUCTS = {
    "sqlite": "SQLite",
    "postgresql": "PostgreSQL",
    "mysql": "MySQL",
    "mariadb": "MariaDB",
}


def _answer(limit: Row) -> list[str]:
    """Return how large an XCom may be, and what sets that limit."""
    here = limit["where"] == "here"
    place = (
        "in this database"
        if here
        else f"on {_PRODUCTS[str(limit['backend'])]} with Airflow {limit['airflow']}"
    )
    size = limit["bytes"]
    assert isinstance(size, int)
    lines = [f"An XCom {place} can be up to {limit_exactly(size)}.", f"Set by {limit['source']}."]
    return [*lines, f"A larger value is {limit['beyond']}."] if limit["beyond"] else lines


def _elsewhere(backend: str, version: tuple[int, int], where: str = "elsewhere") -> Row:
    from xcomctl.sizes.limits import typical

    release = f"{version[0]}.{version[1]}"
    return _row(where, backend, release, typical(backend, version), in_force=False)


def _row(where: str, backend: str, airflow: str, limit: Limit, *, in_force: bool) -> Row:
    return {
        "where": where if where != "elsewhere" else f"on {backend}",
        "backend": backend,
        "airflow": airflow,
        "name": limit.name,
        "bytes": limit.size,
        "in_force": in_force,
        "hard": limit.hard,
        "source": limit.source,
        "beyond": limit.beyond or None,
    }
