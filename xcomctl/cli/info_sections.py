"""What `xcomctl info` shows people: the facts of its document in sections, with labels."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, TypeAlias

from xcomctl.formats import LABEL_WIDTH
from xcomctl.model import Size
from xcomctl.sizes.notation import limit_exactly

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from xcomctl.formats import Part, Row

Document: TypeAlias = "Mapping[str, Mapping[str, Any]]"
Line = tuple[str, str]
"""A label and a text. A label that is empty continues the line before."""


def sections(document: Document) -> list[Row]:
    """Return the sections: the name of each, and its lines."""
    parts = {
        "Database": _database(document["connection"], document["server"]),
        "Airflow": _airflow(document["airflow"]),
        "Size": _size(document["xcom"], document["storage"], document["server"]["backend"]),
        "Limit": _limit(document["xcom"]),
        "Privileges": _privileges(document["permissions"]),
    }
    return [{"section": name, "lines": list(lines)} for name, lines in parts.items()]


def paragraphs(section: Row) -> Sequence[tuple[Part, str]]:
    """Return a section as a title and aligned lines."""
    lines: Any = section["lines"]
    return [
        ("title", str(section["section"])),
        *(("fact", f"{label:<{LABEL_WIDTH}}{text}") for label, text in lines),
    ]


def table_text(table: Mapping[str, Any]) -> str:
    """Return name, size and rows of a table: `_xcom_archive: 16.0 KiB, about 12 rows`."""
    facts = []
    if table["total_bytes"] is not None:
        facts.append(str(Size(table["total_bytes"])))
    if table["rows_estimate"] is not None:
        rows = table["rows_estimate"]
        facts.append(f"about {rows:,} {'row' if rows == 1 else 'rows'}")
    return f"{table['table']}: {', '.join(facts) or 'size unknown'}"


def _database(connection: Mapping[str, Any], server: Mapping[str, Any]) -> Iterator[Line]:
    yield "url", connection["url"]
    yield "from", connection["origin"]
    yield from _listed(
        "overrides", (f"{one['url']} from {one['origin']}" for one in connection["overridden"])
    )
    for name in ("profile", "config", "schema"):
        if connection[name] is not None:
            yield name, connection[name]
    yield "server", server["product"]
    if server["backend"] != "sqlite" and server["replica"] is not None:
        yield "replication", _replication(server["replica"], server["replica_lag_s"])
    if connection["writes_refused"]:
        yield "access", "read-only: the profile says read_only, so push and delete refuse"
    elif server["replica"]:
        yield "access", "read-only: a replica accepts no push or delete"
    else:
        yield "access", "this command only reads; push works unless the profile says read_only"


def _replication(replica: object, lag_s: float | None) -> str:
    if not replica:
        return "not a replica"
    return "a read replica" if lag_s is None else f"a read replica, {lag_s:,.0f} s behind"


def _airflow(airflow: Mapping[str, Any]) -> Iterator[Line]:
    yield "release", airflow["releases"]
    yield "xcom table", f"layout of {airflow['layout']}"
    if airflow["alembic"]:
        yield "migration", ", ".join(airflow["alembic"])


def _size(xcom: Mapping[str, Any], storage: Mapping[str, Any], backend: str) -> Iterator[Line]:
    # InnoDB updates these with its statistics, some seconds after many rows were written.
    about = "about " if backend in ("mysql", "mariadb") else ""
    if xcom["total_bytes"] is not None:
        yield "on disk", f"{about}{Size(xcom['total_bytes'])}"
        for name in ("table", "index", "toast"):
            if xcom[f"{name}_bytes"] is not None:
                label = name if name != "toast" else "TOAST"
                yield f"  {label}", f"{about}{Size(xcom[f'{name}_bytes'])}"
    if xcom["rows"] is not None:
        yield "rows", f"{xcom['rows']:,}"
    elif xcom["rows_estimate"] is not None:
        yield "rows", f"about {xcom['rows_estimate']:,} (--count counts them)"
    else:
        yield "rows", "unknown (--count counts them)"
    if xcom["dags"] is not None:
        yield "DAGs", f"{xcom['dags']:,}"
    for name in ("oldest", "newest"):
        if xcom[name] is not None:
            of_runs = "" if xcom["times_exact"] else f" (in the {name} runs; --count for all)"
            second = re.sub(r"\.\d+", "", xcom[name])
            yield name, f"{second}{of_runs}"
    if xcom["encodings"]:
        sample = f" (the newest {xcom['sampled']:,})" if xcom["rows"] != xcom["sampled"] else ""
        texts = (f"{name} {number:,}" for name, number in xcom["encodings"].items())
        yield "encodings", ", ".join(texts) + sample
    if storage["file_bytes"] is not None:
        free = Size(storage["free_bytes"] or 0)
        yield "file", f"{Size(storage['file_bytes'])}" + (f", {free} free" if free else "")
    yield from _listed("archived", map(table_text, storage["archived"]))
    yield from _listed("states", map(table_text, storage["state_stores"]))


def _limit(xcom: Mapping[str, Any]) -> Iterator[Line]:
    yield "one value", f"up to {limit_exactly(xcom['limit_bytes'])}"
    yield "set by", xcom["limit_source"]
    yield "column type", xcom["column_type"]


def _privileges(permissions: Mapping[str, str]) -> Iterator[Line]:
    readable = [name for name, right in permissions.items() if right == "read"]
    others = [name for name, right in permissions.items() if right != "read"]
    yield "can read", ", ".join(readable) or "nothing"
    if others:
        yield "cannot read", f"{', '.join(others)} (missing, or not granted)"


def _listed(label: str, texts: Iterable[str]) -> Iterator[Line]:
    """Yield the label with the first text, and the others below it."""
    for number, text in enumerate(texts):
        yield "" if number else label, text
