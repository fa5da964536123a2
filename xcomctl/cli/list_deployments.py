"""`xcomctl list` of several deployments: one listing in one order."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from xcomctl.cli.deployments import Answers, Deployments, ask
from xcomctl.cli.gaps import warn_about_gaps
from xcomctl.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from xcomctl.cli.console import Console, Outputs
    from xcomctl.cli.gaps import Warns
    from xcomctl.cli.query import Query
    from xcomctl.config.target import Target
    from xcomctl.formats import Row
    from xcomctl.model import XComEntry

    Found = list[tuple[XComEntry, Row]]


def refuse(options: Mapping[str, object]) -> None:
    """Raise UsageError for an option that takes one deployment."""
    for name, value in options.items():
        if value:
            raise UsageError(f"{name} cannot be combined with several deployments")


def list_deployments(
    console: Console,
    options: Deployments,
    names: Sequence[str],
    query: Query,
    outputs: Outputs,
    all_attempts: bool,
) -> None:
    """List the XComs of all deployments that match.

    Raises:
        DatabaseError: one could not be read; the others are listed all the same.
    """
    answers = ask(
        console,
        options,
        names,
        "list: reading XComs",
        lambda of, target, _: _find(of, target, query, all_attempts=all_attempts),
    )
    rows, more = _in_order(answers, query)
    counts = {
        "returned": len(rows),
        "truncated": more,
        "total_entries": None if more else len(rows),
    }
    layout = replace(answers.layout(query.layout), after=lambda: counts)
    console.write(layout, [*rows, *answers.failed()], outputs, private=query.shows("value"))
    if more:
        console.note(f"showing {len(rows):,} entries, and more match; -n 0 shows all")
    elif not rows and answers.found():
        console.note("no XCom matches")
    answers.check()


def _find(console: Warns, target: Target, query: Query, *, all_attempts: bool) -> Found:
    """Return the entries of a deployment with their rows, one more than the limit."""
    from xcomctl.cli.findings import limit_in_force
    from xcomctl.db import open_store

    text, stored, heads = query.details()
    with open_store(target, all_attempts=all_attempts) as store:
        limit = limit_in_force(store, query.as_).size
        entries = store.entries.scan(
            query.selection,
            sort=query.sort,  # type: ignore[arg-type]
            descending=query.descending,
            limit=query.limit + 1 if query.limit else None,
            text=text,
            stored=stored,
            heads=heads,
        )
        found = [(entry, query.row(entry, limit)) for entry in entries]
        warn_about_gaps(console, store, query.selection, len(found))
    return found


def _in_order(answers: Answers[Found], query: Query) -> tuple[list[Row], bool]:
    """Return the rows of all deployments up to the limit, and whether there are more.

    Runs of different deployments are compared by when they pushed.
    """
    all_ = [
        (entry, {"deployment": name, **row})
        for name, found in answers.found()
        for entry, row in found
    ]
    key: Callable[[XComEntry], Any] = lambda entry: (  # noqa: E731
        entry.timestamp is not None,
        entry.timestamp,
    )
    if query.sort == "size":
        missing = -1 if query.descending else float("inf")
        key = lambda entry: missing if entry.size is None else entry.size  # noqa: E731
    elif query.sort == "dag_id":
        key = lambda entry: (entry.ref.dag_id, entry.ref.task_id)  # noqa: E731
    all_.sort(key=lambda one: key(one[0]), reverse=query.descending)
    rows: list[Row] = [row for _, row in all_]
    shown = rows[: query.limit] if query.limit else rows
    return shown, len(rows) > len(shown)
