"""`xcomctl list`: the XComs that match the filters, without their values."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Annotated

import typer

from xcomctl.cli.console import parse_outputs
from xcomctl.cli.options import Connection, Filters, Manners, Output
from xcomctl.errors import UsageError
from xcomctl.formats import Column, Layout
from xcomctl.model import format_time

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from xcomctl.db.read.store import Store
    from xcomctl.formats import Row
    from xcomctl.model import Limit, XComEntry

EXAMPLES = (
    ("The ten largest XComs", "xcomctl list --sort -size -n 10"),
    (
        "What one DAG has pushed since yesterday, with a preview",
        "xcomctl list -d xcom_dag --since 24h --value",
    ),
    ("Some keys, in another format", "xcomctl list -k 'model_*' -n 20 -o json"),
    ("Every XCom over 48 KiB, to a file", "xcomctl list --min-size 48KiB -n 0 -o csv=large.csv"),
)
DEFAULT_LIMIT = 100
PREVIEW_BYTES = 200

_COLUMNS = (
    Column("dag_id", "id", aliases=("dag",)),
    Column("task_id", "id", aliases=("task",)),
    Column("run_id", "run", aliases=("run",)),
    Column("map_index", "index", title="map", usual=-1),
    Column("key", "id"),
    Column("timestamp", "time", drop=1),
    Column("logical_date", "time", people=False),
    Column("size_bytes", "size", title="size"),
    Column("percent", "percent", machine=False, title="of limit", drop=2),
    Column("limit_bytes", "exact", people=False, title="limit"),
    Column("encoding", "id", usual="json", drop=3),
)


def command(
    connection: Connection,
    filters: Filters,
    output: Output,
    manners: Manners,
    sort: Annotated[
        str | None,
        typer.Option(
            "--sort",
            metavar="KEY",
            help="Sort by size, timestamp, dag_id or run; a leading - reverses the order. [default: -run]",
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit",
            "-n",
            metavar="N",
            min=0,
            help=f"Maximum number of rows (0 = all). [default: {DEFAULT_LIMIT}]",
        ),
    ] = None,
    value: Annotated[bool, typer.Option("--value", help="Add a preview of each value.")] = False,
    text: Annotated[
        bool, typer.Option("--text", help="Add the length of each value as JSON text.")
    ] = False,
    stored: Annotated[
        bool, typer.Option("--stored", help="Add the size on disk, after compression.")
    ] = False,
    cursor: Annotated[
        str | None,
        typer.Option(
            "--after",
            metavar="CURSOR",
            help="Show the page after the one that printed this cursor. Needs the order by run.",
        ),
    ] = None,
    total: Annotated[
        bool, typer.Option("--total", help="Count all matches, not just the rows shown.")
    ] = False,
    as_: Annotated[
        str | None,
        typer.Option(
            "--as",
            metavar="BACKEND[:AIRFLOW]",
            help="Compare sizes with the limit of another backend: mysql:2.8.",
        ),
    ] = None,
) -> None:
    """List the XComs that match the filters."""
    from xcomctl.cli import console

    manners.apply(console)
    outputs = parse_outputs(output.output)
    selection = filters.selection()
    key, descending = _parse_sort(sort)
    if cursor is not None and key != "run":
        raise UsageError(
            f'--after cannot go on in the order of "{key}"', hint="Give --sort run or -run."
        )
    place = None if cursor is None else _parse_cursor(cursor)
    most = DEFAULT_LIMIT if limit is None else limit
    columns = [*_COLUMNS]
    columns += [Column("text_bytes", "size", title="text")] if text else []
    columns += [Column("stored_bytes", "size", title="stored")] if stored else []
    columns += [Column("value")] if value else []
    chosen = output.chosen(columns)
    target, _ = connection.resolve(console)

    from xcomctl.cli.findings import limit_in_force
    from xcomctl.db import open_store

    with open_store(target) as store:
        in_force = limit_in_force(store, as_)
        page = _Page(store, in_force, most, preview=value)
        entries = store.entries.scan(
            selection,
            sort=key,  # type: ignore[arg-type]
            descending=descending,
            limit=most + 1 if most else None,
            text=text or "text_bytes" in chosen,
            stored=stored or "stored_bytes" in chosen,
            heads=PREVIEW_BYTES if value else None,
            after=None if place is None else _read_place(store, place),
        )

        def following() -> str | None:
            if key != "run" or not page.truncated or page.last is None:
                return None
            return cursor_at(store.entries.position(page.last))

        def after() -> Row:
            count: int | None = page.returned
            if page.truncated or cursor is not None:
                count = store.entries.count(selection) if total else None
            page.total = count
            return {
                "returned": page.returned,
                "truncated": page.truncated,
                "total_entries": count,
                "next": following(),
            }

        layout = Layout(
            "xcomctl.list/1",
            "xcom_entries",
            tuple(columns),
            after=after,
            chosen=chosen,
            header=not output.no_header,
            raw_cells=output.raw_cells,
        )
        console.write(layout, page.rows(entries), outputs, private=value)
        if page.truncated:
            if page.total is None:
                after() if total else None
            console.note(_cut_note(page, goes_on=following() is not None))
        elif not page.returned:
            console.note("no XCom matches")


def _cut_note(page: _Page, *, goes_on: bool) -> str:
    """Return what a listing that was cut says: how much is shown, and how to see the rest."""
    noun = "entry" if page.returned == 1 else "entries"
    if page.total is None:
        text = (
            f"showing {page.returned:,} {noun}, and more match; -n 0 shows all, --total counts them"
        )
    else:
        text = f"showing {page.returned:,} of {page.total:,} entries; -n 0 shows all"
    # A cursor may be long, and only the next command needs it.
    return text + (', --after NEXT goes on ("next" in -o json)' if goes_on else "")


def _parse_sort(sort: str | None) -> tuple[str, bool]:
    from xcomctl.text import nearest

    text = sort or "-run"
    key = text.removeprefix("-")
    known = ("size", "timestamp", "dag_id", "run")
    if key not in known:
        near = nearest(key, known)
        raise UsageError(
            f'cannot sort by "{key}"',
            hint=f'Did you mean "{near}"?' if near else f"There are {', '.join(known)}.",
        )
    return key, text.startswith("-")


def cursor_at(place: Sequence[object]) -> str:
    """Return a place in a listing as a text that no shell reads anything into."""
    text = json.dumps(place, separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _parse_cursor(cursor: str) -> list[object]:
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        place = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (ValueError, RecursionError):
        place = None
    if not isinstance(place, list):
        raise _no_cursor(cursor)
    return place


def _read_place(store: Store, place: list[object]) -> list[object]:
    try:
        return store.entries.read_position(place)
    except ValueError:
        raise _no_cursor(cursor_at(place)) from None


def _no_cursor(cursor: str) -> UsageError:
    return UsageError(
        f'"{cursor}" is no cursor of this metadata DB',
        hint='Take the field "next" of -o json, or what the note of a listing that was cut says.',
    )


class _Page:
    """Counts the rows as they pass, and stops where the listing is cut."""

    def __init__(self, store: Store, limit: Limit, most: int, *, preview: bool) -> None:
        self._store = store
        self._limit = limit
        self._most = most
        self._preview = preview
        self.returned = 0
        self.truncated = False
        self.last: XComEntry | None = None
        self.total: int | None = None

    def rows(self, entries: Iterator[XComEntry]) -> Iterator[Row]:
        for entry in entries:
            if self._most and self.returned == self._most:
                # One more was asked for, to know whether there is more.
                self.truncated = True
                continue
            self.returned += 1
            self.last = entry
            yield self._row(entry)

    def _row(self, entry: XComEntry) -> Row:
        row: dict[str, object] = {
            "dag_id": entry.ref.dag_id,
            "task_id": entry.ref.task_id,
            "run_id": entry.ref.run_id,
            "map_index": entry.ref.map_index,
            "key": entry.ref.key,
            "timestamp": format_time(entry.timestamp),
            "logical_date": format_time(entry.ref.logical_date),
            "size_bytes": entry.size,
            "limit_bytes": self._limit.size,
            "encoding": entry.encoding.value,
            "text_bytes": entry.text_size,
            "stored_bytes": entry.stored_size,
        }
        if entry.size is not None:
            row["percent"] = 100 * entry.size / self._limit.size
        if self._preview:
            row["value"] = preview(entry)
        return row


def preview(entry: XComEntry) -> str | None:
    """Return the start of the value as text, an ellipsis where there is more."""
    head = entry.head
    if head is None:
        return None
    if entry.encoding.value == "pickle":
        return f"<pickle, {entry.size}>"
    whole = not isinstance(head, bytes | str) or len(head) < PREVIEW_BYTES
    text = head.decode("utf-8", "replace") if isinstance(head, bytes) else str(head)
    return text if whole else f"{text.rstrip(chr(0xFFFD))}…"
