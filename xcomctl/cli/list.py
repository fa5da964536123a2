"""`xcomctl list`: the entries that match the filters."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated

import typer

from xcomctl.cli import attempts
from xcomctl.cli.console import parse_outputs
from xcomctl.cli.deployments import DEPLOYMENT, REASON, Deployments
from xcomctl.cli.gaps import warn_about_gaps
from xcomctl.cli.options import Filters, Manners, Output
from xcomctl.errors import UsageError
from xcomctl.formats import Column
from xcomctl.model import MAX_INTEGER, format_time
from xcomctl.text import canonical, suggestion

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from xcomctl.cli.follow import Request
    from xcomctl.db.read.store import Store
    from xcomctl.formats import Layout, Row
    from xcomctl.model import Selection, Size, XComEntry

EXAMPLES = (
    ("The ten largest XComs", "xcomctl list --sort -size -n 10"),
    (
        "What one DAG has pushed since yesterday, with a preview",
        "xcomctl list -d xcom_dag --since 24h --value",
    ),
    ("Which XComs name a file", "xcomctl list --contains part-001850.parquet -o json"),
    ("New XComs over 48 KiB as they come", "xcomctl list --follow --since 24h --min-size 48KiB"),
)
DEFAULT_LIMIT = 100
PREVIEW_BYTES = 200

_COLUMNS = (
    DEPLOYMENT,
    Column("dag_id", "id", aliases=("dag",)),
    Column("task_id", "id", aliases=("task",)),
    Column("run_id", "run", aliases=("run",), drop=-1),
    Column("map_index", "index", title="map", usual=-1),
    Column("key", "id"),
    Column("timestamp", "time", drop=1),
    Column("logical_date", "time", people=False),
    Column("size_bytes", "size", title="size"),
    Column("percent", "percent", machine=False, title="of limit", drop=2),
    Column("limit_bytes", "limit", people=False, title="limit"),
    Column("encoding", "id", usual="json", drop=3),
)
_EXTRA = (
    Column("text_bytes", "size", title="text", drop=-1),
    Column("stored_bytes", "size", title="stored", drop=-1),
    Column("value"),
    *attempts.COLUMNS,
    REASON,
)
"""Columns that cost extra work: shown with an option of their own, or by --columns."""

SORTS = {
    "size": ("size_bytes",),
    "timestamp": (),
    "dag_id": ("dag",),
    "run": ("run_id",),
}
"""What --sort accepts, with the other names of each."""

CHOICES = {"sort": tuple(SORTS), "columns": [one.name for one in (*_COLUMNS, *_EXTRA)]}


@dataclass(frozen=True, slots=True)
class Options:
    """The options of `list` alone."""

    sort: Annotated[
        str | None,
        typer.Option(
            "--sort",
            metavar="KEY",
            help="Sort by size, timestamp, dag_id or run; a leading - reverses the order. [default: -run]",
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
            help=f"Maximum number of rows (0 = all). [default: {DEFAULT_LIMIT}]",
        ),
    ] = None
    value: Annotated[bool, typer.Option("--value", help="Add a preview of each value.")] = False
    text: Annotated[
        bool, typer.Option("--text", help="Add the length of each value as JSON text.")
    ] = False
    stored: Annotated[
        bool, typer.Option("--stored", help="Add the size on disk, after compression.")
    ] = False
    cursor: Annotated[
        str | None,
        typer.Option(
            "--after",
            metavar="CURSOR",
            help="Show the page after the one that printed this cursor. Needs the order by run.",
        ),
    ] = None
    follow: Annotated[
        bool,
        typer.Option(
            "--follow", "-f", help="Keep printing new XComs as they are committed, until Ctrl-C."
        ),
    ] = False
    every: Annotated[
        str | None,
        typer.Option(
            "--every",
            metavar="DURATION",
            help="With --follow, how often to look for new XComs. [default: 5s]",
        ),
    ] = None
    until_match: Annotated[
        bool,
        typer.Option(
            "--until-match", help="Follow until the first XCom that matches, and exit with code 1."
        ),
    ] = False
    total: Annotated[
        bool,
        typer.Option(
            "--total",
            help="Add the number and the total size of all matches, not just the rows shown.",
        ),
    ] = False
    as_: Annotated[
        str | None,
        typer.Option(
            "--as",
            metavar="BACKEND[:AIRFLOW]",
            help="Compare sizes with the limit of another backend: mysql:2.8.",
        ),
    ] = None


def command(
    connection: Deployments, filters: Filters, output: Output, manners: Manners, options: Options
) -> None:
    """List the XComs that match the filters."""
    from xcomctl.cli import console

    manners.apply(console)
    outputs = parse_outputs(output.output)
    query = _read_options(filters, output, options)
    request = _asked_to_follow(options, filters)
    if names := connection.several():
        from xcomctl.cli.list_deployments import list_deployments, refuse

        refuse({"--follow": request, "--after": options.cursor, "--total": options.total})
        list_deployments(console, connection, names, query, outputs, filters.all_attempts)
        return
    if request is not None:
        from xcomctl.cli.follow import follow, line_outputs

        outputs = line_outputs(outputs)
        target, _ = connection.resolve(console)
        if follow(console, target, query, outputs, request):
            raise typer.Exit(1)
        return
    target, _ = connection.resolve(console)

    from xcomctl.cli.findings import shows_closing
    from xcomctl.db import open_store

    with open_store(target, all_attempts=filters.all_attempts) as store:
        listing = _Listing(store, query)
        layout = attempts.shown(query.layout, store)
        layout = replace(layout, after=listing.summary, closing=listing.closing)
        with console.working("list: reading XComs") as work:
            rows = work.counting("list: reading XComs", listing.rows())
            console.write(layout, rows, outputs, private=query.shows("value"))
        notes = [*listing.notes(stored=options.stored)]
        if filters.attempts is None:
            notes += attempts.left_out(store)
        warn_about_gaps(console, store, query.selection, listing.returned)
    if options.total and not shows_closing(outputs):
        notes += listing.closing()
    for note in notes:
        console.note(note)


def _asked_to_follow(options: Options, filters: Filters) -> Request | None:
    """Return how to follow, None where that was not asked for."""
    if not (options.follow or options.until_match):
        if options.every is not None:
            raise UsageError("--every needs --follow")
        return None
    from xcomctl.cli.follow import read_options

    return read_options(
        every=options.every,
        until_match=options.until_match,
        since=filters.since is not None,
        limit=options.limit,
        all_attempts=filters.all_attempts,
        others={"--sort": options.sort, "--after": options.cursor, "--total": options.total},
    )


@dataclass(frozen=True, slots=True)
class Query:
    """What to list."""

    selection: Selection
    sort: str
    descending: bool
    limit: int
    """0 for all."""
    cursor: list[object] | None
    layout: Layout
    with_total: bool
    as_: str | None

    def shows(self, name: str) -> bool:
        """Return whether a column is shown that costs extra work."""
        shown = (*self.layout.machine_columns(), *self.layout.people_columns())
        return any(column.name == name for column in shown)

    def details(self) -> tuple[bool, bool, int | None]:
        """Return what is read of each entry: the length of its text, what is stored, its head."""
        heads = PREVIEW_BYTES if self.shows("value") else None
        return self.shows("text_bytes"), self.shows("stored_bytes"), heads

    def row(self, entry: XComEntry, limit: Size) -> Row:
        """Return an entry as a row; `limit` is in force."""
        row: dict[str, object] = {
            "dag_id": entry.ref.dag_id,
            "task_id": entry.ref.task_id,
            "run_id": entry.ref.run_id,
            "map_index": entry.ref.map_index,
            "key": entry.ref.key,
            "timestamp": format_time(entry.timestamp),
            "logical_date": format_time(entry.ref.logical_date),
            "size_bytes": entry.size,
            "limit_bytes": limit,
            "encoding": entry.encoding.value,
            "text_bytes": entry.text_size,
            "stored_bytes": entry.stored_size,
            **attempts.cells(entry),
        }
        if entry.size is not None:
            row["percent"] = 100 * entry.size / limit
        if self.shows("value"):
            row["value"] = preview(entry)
        return row


def _read_options(filters: Filters, output: Output, options: Options) -> Query:
    """Return the query that the options describe.

    Raises:
        UsageError: an option is invalid, or contradicts another.
    """
    selection = filters.selection()
    key, descending = _parse_sort(options.sort)
    if options.cursor is not None and key != "run":
        raise UsageError(
            f'--after does not work with --sort "{key}"', hint="Use --sort run or -run."
        )
    cursor = None if options.cursor is None else _parse_cursor(options.cursor)
    asked = {"text_bytes": options.text, "stored_bytes": options.stored, "value": options.value}
    extra = [
        replace(one, machine=asked[one.name], people=asked[one.name]) if one.name in asked else one
        for one in _EXTRA
    ]
    layout = output.layout("xcomctl.list/1", "xcom_entries", (*_COLUMNS, *extra))
    return Query(
        selection,
        key,
        descending,
        DEFAULT_LIMIT if options.limit is None else options.limit,
        cursor,
        layout,
        options.total,
        options.as_,
    )


class _Listing:
    """The entries of a query, and after they have been read, how many there are."""

    def __init__(self, store: Store, query: Query) -> None:
        from xcomctl.cli.findings import limit_in_force

        self._store = store
        self._query = query
        self._limit = limit_in_force(store, query.as_)
        self._after = None if query.cursor is None else _read_place(store, query.cursor)
        self.returned = 0
        self._truncated = False
        self._last: XComEntry | None = None
        self._knows_stored = False
        """Whether an XCom has a size on disk."""
        self._total: int | None = None
        self._total_size: int | None = None

    def rows(self) -> Iterator[Row]:
        """Yield the entries as rows, up to the limit."""
        query = self._query
        text, stored, heads = query.details()
        entries = self._store.entries.scan(
            query.selection,
            sort=query.sort,  # type: ignore[arg-type]
            descending=query.descending,
            # One more, to know whether more exist.
            limit=query.limit + 1 if query.limit else None,
            text=text,
            stored=stored,
            heads=heads,
            after=self._after,
        )
        shown_size = 0
        for entry in entries:
            if query.limit and self.returned == query.limit:
                self._truncated = True
                continue
            self.returned += 1
            shown_size += entry.size or 0
            self._knows_stored |= entry.stored_size is not None
            self._last = entry
            yield query.row(entry, self._limit.size)
        if not self._truncated and query.cursor is None:
            self._total, self._total_size = self.returned, shown_size
        elif query.with_total:
            groups = [
                sizes for _, sizes in self._store.sizes.by_group(query.selection, ("dag_id",))
            ]
            self._total = sum(sizes.rows for sizes in groups)
            self._total_size = sum(sizes.total for sizes in groups)

    def summary(self) -> Row:
        """Return the document's fields behind the rows."""
        return {
            "returned": self.returned,
            "truncated": self._truncated,
            "total_entries": self._total,
            "total_bytes": self._total_size,
            "next": self._next(),
        }

    def closing(self) -> list[str]:
        """Return the line with the totals, if they were asked for."""
        from xcomctl.sizes.notation import total_line

        if not self._query.with_total or not self._total:
            return []
        return [total_line(self._total, self._total_size or 0)]

    def notes(self, *, stored: bool) -> Iterator[str]:
        """Yield what to say about a listing that is empty or cut, or lacks what `stored` asks for."""
        if not self.returned:
            yield "no XCom matches"
        elif stored and not self._knows_stored:
            yield "this database does not report how much space a single XCom takes on disk"
        if self._truncated:
            yield self._cut()

    def _cut(self) -> str:
        """Return what to say about a listing that is cut."""
        noun = "entry" if self.returned == 1 else "entries"
        text = (
            f"showing {self.returned:,} {noun}, and more match; -n 0 shows all, --total counts them"
        )
        if self._total is not None:
            text = f"showing {self.returned:,} of {self._total:,} entries; -n 0 shows all"
        # A cursor may be long, and only the next command needs it.
        continues = self._query.sort == "run"
        return text + (
            ', --after NEXT shows the next page ("next" in -o json)' if continues else ""
        )

    def _next(self) -> str | None:
        """Return the cursor of the next page, None without one."""
        if self._query.sort != "run" or not self._truncated or self._last is None:
            return None
        return cursor_at(self._store.entries.position(self._last))


def _parse_sort(sort: str | None) -> tuple[str, bool]:
    text = sort or "-run"
    key = text.removeprefix("-")
    name = canonical(key, SORTS)
    if name is None:
        raise UsageError(f'cannot sort by "{key}"', hint=suggestion(key, SORTS))
    return name, text.startswith("-")


def cursor_at(place: Sequence[object]) -> str:
    """Return a place in a listing as a text that needs no quotes in a shell."""
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
        f'invalid cursor "{cursor}"',
        detail="It does not come from a listing of this metadata DB.",
        hint='Use the field "next" of -o json.',
    )


def preview(entry: XComEntry) -> str | None:
    """Return the start of the value as readable text, with an ellipsis if it is cut."""
    from xcomctl.values.preview import readable, without_cut_escape

    head = entry.head
    if head is None:
        return None
    if entry.encoding.value == "pickle":
        return f"<pickle, {entry.size}>"
    whole = not isinstance(head, bytes | str) or len(head) < PREVIEW_BYTES
    text = head.decode("utf-8", "replace") if isinstance(head, bytes) else str(head)
    if whole:
        return readable(text)
    return f"{readable(without_cut_escape(text.rstrip(chr(0xFFFD))))}…"
