"""`xcomctl info`: which metadata database is used, where its URL comes from, and what is in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from xcomctl.cli.console import parse_outputs
from xcomctl.cli.options import Connection, Manners, Output
from xcomctl.formats import Column, Layout

if TYPE_CHECKING:
    from xcomctl.config.file import Config
    from xcomctl.config.target import Target
    from xcomctl.db.read.store import Store

EXAMPLES = (
    ("Which database is used, and why", "xcomctl info"),
    ("The same with an exact number of rows, as JSON", "xcomctl info --count -o json"),
)
SAMPLE = 1000
"""XComs, the newest, whose encodings are counted."""

_COLUMNS = (Column("fact", "id"), Column("value", "id"))

CHOICES = {"columns": [one.name for one in _COLUMNS]}


def command(
    connection: Connection,
    output: Output,
    manners: Manners,
    count: Annotated[
        bool, typer.Option("--count", help="Count the XComs exactly, which reads a whole index.")
    ] = False,
) -> None:
    """Show which metadata database is used, and what is in it."""
    from xcomctl.cli import console

    manners.apply(console)
    outputs = parse_outputs(output.output)
    chosen = output.chosen(_COLUMNS)
    target, config = connection.resolve(console)

    from xcomctl.db import open_store

    with open_store(target) as store:
        document = _document(store, target, config, count=count)
        for warning in store.warnings():
            console.warn(warning)
    layout = Layout(
        "xcomctl.info/1",
        "facts",
        _COLUMNS,
        before=lambda: document,
        chosen=chosen,
        header=not output.no_header,
        raw_cells=output.raw_cells,
    )
    console.write(layout, _facts(document), outputs)


def _document(store: Store, target: Target, config: Config, *, count: bool) -> dict[str, object]:
    from xcomctl.model import Selection

    facts = store.facts()
    limit = store.limits()[0]
    encodings: dict[str, int] = {}
    sampled = 0
    for entry in store.entries.scan(Selection(), sort="run", descending=True, limit=SAMPLE):
        sampled += 1
        encodings[entry.encoding.value] = encodings.get(entry.encoding.value, 0) + 1
    readable = store.readable()
    overridden = [{"origin": one.origin, "url": one.shown} for one in target.overridden]
    return {
        "connection": {
            "url": target.shown,
            "origin": target.origin,
            # Its first name, which stays for those who read it.
            "beaten": overridden,
            "overridden": overridden,
            "profile": target.profile,
            "config": str(config.path) if config.path else None,
            "schema": target.schema,
            "read_only": True,
        },
        "server": {
            "backend": facts.backend,
            "version": facts.server_version,
            "product": facts.product,
        },
        "airflow": {
            "releases": facts.airflow,
            "generation": facts.generation,
            "alembic": list(facts.heads),
        },
        "xcom": {
            "column_type": facts.column_type,
            "storage": facts.storage,
            "limit_bytes": limit.size,
            "limit_source": limit.source,
            "rows": store.entries.count(Selection()) if count else None,
            "sampled": sampled,
            "encodings": encodings,
        },
        "permissions": {name: "read" if may else "none" for name, may in readable.items()},
    }


def _facts(document: dict[str, object]) -> list[dict[str, object]]:
    """Return the document as rows: a name such as `server.version`, and its value as text."""
    from xcomctl.model import Size

    rows: list[dict[str, object]] = []
    for section, content in document.items():
        assert isinstance(content, dict)
        for name, value in content.items():
            text: object = value
            if name == "beaten":
                continue
            if name == "overridden":
                text = "; ".join(f"{one['url']} from {one['origin']}" for one in value) or None
            elif name == "limit_bytes":
                text = f"{Size(value)} ({Size(value).exactly()})"
            elif isinstance(value, list):
                text = ", ".join(map(str, value)) or None
            elif isinstance(value, dict):
                text = ", ".join(f"{one} {number}" for one, number in value.items()) or None
            rows.append({"fact": f"{section}.{name}", "value": None if text is None else str(text)})
    return rows
