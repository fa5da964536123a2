"""`xcomctl info`: which metadata database is used, where its URL comes from, and what is in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from xcomctl.cli.console import parse_outputs
from xcomctl.cli.deployments import DEPLOYMENT, REASON, Deployments, ask
from xcomctl.cli.options import Manners, Output
from xcomctl.formats import Column, Layout

if TYPE_CHECKING:
    from collections.abc import Sequence

    from xcomctl.cli.console import Console, Outputs
    from xcomctl.cli.gaps import Warns
    from xcomctl.config.file import Config
    from xcomctl.config.target import Target
    from xcomctl.db.backends.storage import TableStorage
    from xcomctl.db.read.inventory import Inventory
    from xcomctl.db.read.store import Store
    from xcomctl.formats import Row

EXAMPLES = (
    ("Which database is used, and why", "xcomctl info"),
    ("The same with an exact number of rows, as JSON", "xcomctl info --count -o json"),
)
SAMPLE = 1000
"""XComs, the newest, whose encodings are counted."""

_LAYOUTS = {"1.10": "1.10", "2.0": "2.0 to 2.2", "2.3": "2.3 to 3.3", "3.4": "3.4"}
"""The releases of Airflow with each layout of the xcom table."""

_COLUMNS = (Column("fact", "id"), Column("value", "id"))

_BRIEF = (
    DEPLOYMENT,
    Column("product", "word", aliases=("backend",)),
    Column("releases", "word", title="airflow"),
    Column("rows", "number"),
    Column("total_bytes", "size", title="size"),
    Column("limit_bytes", "limit", title="limit", drop=1),
    Column("oldest", "time", drop=3),
    Column("newest", "time", drop=2),
    Column("url", "id", drop=4),
    *(
        Column(name, people=False)
        for name in ("connection", "server", "airflow", "xcom", "storage", "permissions")
    ),
    REASON,
)
"""The columns of several deployments: what a table shows, and the sections of the document."""

CHOICES = {"columns": [one.name for one in _COLUMNS]}


def command(
    connection: Deployments,
    output: Output,
    manners: Manners,
    count: Annotated[
        bool,
        typer.Option("--count", help="Count exactly: read the whole table, not a sample."),
    ] = False,
) -> None:
    """Show which metadata database is used, and what is in it."""
    from xcomctl.cli import console

    manners.apply(console)
    outputs = parse_outputs(output.output)
    if names := connection.several():
        _compare(console, connection, names, output, outputs, count=count)
        return
    chosen = output.chosen(_COLUMNS)
    target, config = connection.resolve(console)

    from xcomctl.cli import info_sections
    from xcomctl.db import open_store

    with open_store(target) as store:
        document = _document(store, target, config, count=count)
        for warning in store.warnings():
            console.warn(warning)
    sections = info_sections.sections(document)
    layout = Layout(
        "xcomctl.info/1",
        "facts",
        _COLUMNS,
        before=lambda: document,
        chosen=chosen,
        header=not output.no_header,
        raw_cells=output.raw_cells,
        digest=None if chosen else lambda _: sections,
        prose=None if chosen else info_sections.paragraphs,
    )
    console.write(layout, _facts(document), outputs)


def _compare(
    console: Console,
    options: Deployments,
    names: Sequence[str],
    output: Output,
    outputs: Outputs,
    *,
    count: bool,
) -> None:
    """Write a row per deployment; in JSON and YAML with everything that is known of it."""
    from xcomctl.db import open_store

    def look(of: Warns, target: Target, config: Config) -> dict[str, Any]:
        with open_store(target) as store:
            document = _document(store, target, config, count=count)
            for warning in store.warnings():
                of.warn(warning)
        return document

    answers = ask(console, options, names, "info: looking at the databases", look)
    rows = [{"deployment": name, **found, **_brief(found)} for name, found in answers.found()]
    layout = answers.layout(output.layout("xcomctl.info/1", "deployments", _BRIEF))
    console.write(layout, [*rows, *answers.failed()], outputs)
    answers.check()


def _brief(document: dict[str, dict[str, Any]]) -> Row:
    """Return what a table shows of a database."""
    xcom = document["xcom"]
    return {
        "product": document["server"]["product"],
        "releases": document["airflow"]["releases"],
        "rows": xcom["rows_estimate"],
        "total_bytes": xcom["total_bytes"],
        "limit_bytes": xcom["limit_bytes"],
        "oldest": xcom["oldest"],
        "newest": xcom["newest"],
        "url": document["connection"]["url"],
    }


def _document(
    store: Store, target: Target, config: Config, *, count: bool
) -> dict[str, dict[str, Any]]:
    from xcomctl.db.read.inventory import take_inventory

    facts = store.facts()
    inventory = take_inventory(store, exact=count)
    storage = inventory.storage
    readable = store.readable()
    return {
        "connection": _connection(target, config),
        "server": {
            "backend": facts.backend,
            "version": facts.server_version,
            "product": facts.product,
            "replica": storage.replica,
            "replica_lag_s": storage.lag_s,
        },
        "airflow": {
            "releases": facts.airflow,
            "generation": facts.generation,
            "layout": _LAYOUTS[facts.generation],
            "alembic": list(facts.heads),
        },
        "xcom": _xcom(store, inventory),
        "storage": {
            "file_bytes": storage.file_bytes,
            "free_bytes": storage.free_bytes,
            "archived": [_table(one) for one in inventory.archives],
            "state_stores": [_table(one) for one in inventory.state_stores],
        },
        "permissions": {name: "read" if may else "none" for name, may in readable.items()},
    }


def _connection(target: Target, config: Config) -> dict[str, Any]:
    overridden = [{"origin": one.origin, "url": one.shown} for one in target.overridden]
    return {
        "url": target.shown,
        "origin": target.origin,
        # Its first name, which stays for those who read it.
        "beaten": overridden,
        "overridden": overridden,
        "profile": target.profile,
        "config": str(config.path) if config.path else None,
        "schema": target.schema,
        # Of this command; whether others may write is the next.
        "read_only": True,
        "writes_refused": target.read_only,
    }


def _xcom(store: Store, inventory: Inventory) -> dict[str, Any]:
    from xcomctl.model import Selection, format_time

    facts, limit, table = store.facts(), store.limits()[0], inventory.xcom
    encodings: dict[str, int] = {}
    sampled = 0
    for entry in store.entries.scan(Selection(), sort="run", descending=True, limit=SAMPLE):
        sampled += 1
        encodings[entry.encoding.value] = encodings.get(entry.encoding.value, 0) + 1
    return {
        "column_type": facts.column_type,
        "storage": facts.storage,
        "limit_bytes": limit.size,
        "limit_source": limit.source,
        "rows": inventory.rows,
        "rows_estimate": table.rows if inventory.rows is None else inventory.rows,
        "sampled": sampled,
        "encodings": encodings,
        "table_bytes": table.table_bytes,
        "index_bytes": table.index_bytes,
        "toast_bytes": table.toast_bytes,
        "total_bytes": table.total_bytes,
        "dags": inventory.dags,
        "oldest": format_time(inventory.oldest),
        "newest": format_time(inventory.newest),
        "times_exact": inventory.has_exact_times,
    }


def _table(table: TableStorage) -> dict[str, Any]:
    return {"table": table.name, "rows_estimate": table.rows, "total_bytes": table.total_bytes}


def _facts(document: dict[str, dict[str, Any]]) -> list[dict[str, object]]:
    """Return the document as rows: a name such as `server.version`, and its value as text."""
    from xcomctl.cli.info_sections import table_text
    from xcomctl.model import Size
    from xcomctl.sizes.notation import limit_exactly

    rows: list[dict[str, object]] = []
    for section, content in document.items():
        for name, value in content.items():
            text: object = value
            if name == "beaten":
                continue
            if name == "overridden":
                text = "; ".join(f"{one['url']} from {one['origin']}" for one in value) or None
            elif name == "limit_bytes":
                text = limit_exactly(value)
            elif name.endswith("_bytes") and value is not None:
                text = f"{Size(value)} ({Size(value).exactly()})"
            elif name in ("archived", "state_stores"):
                text = "; ".join(map(table_text, value)) or None
            elif isinstance(value, list):
                text = ", ".join(map(str, value)) or None
            elif isinstance(value, dict):
                text = ", ".join(f"{one} {number}" for one, number in value.items()) or None
            rows.append({"fact": f"{section}.{name}", "value": None if text is None else str(text)})
    return rows
