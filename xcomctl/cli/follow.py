"""`xcomctl list --follow`: new XComs as they are committed, over lost connections, too."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from xcomctl.cli import attempts
from xcomctl.cli.gaps import warn_about_hidden_rows
from xcomctl.config.target import parse_duration
from xcomctl.errors import DatabaseError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from xcomctl.cli.console import Console, Outputs
    from xcomctl.cli.query import Query
    from xcomctl.config.target import Target
    from xcomctl.db.read.store import Store
    from xcomctl.formats import Row
    from xcomctl.model import XComEntry

DEFAULT_EVERY: Final = "5s"
_LINES: Final = {"table": "table", "plain": "plain", "json": "jsonl", "jsonl": "jsonl"} | {
    "csv": "csv",
    "tsv": "tsv",
}
"""The formats that have a line per XCom, and the one that is used for each."""


@dataclass(frozen=True, slots=True)
class Request:
    """How to follow."""

    every_s: float
    until_match: bool
    existing: bool
    """Whether to start with the XComs that already exist."""
    limit: int
    """Maximum number of XComs to print (0 = all)."""
    all_attempts: bool


def read_options(
    *,
    every: str | None,
    until_match: bool,
    since: bool,
    limit: int | None,
    all_attempts: bool,
    others: Mapping[str, object],
) -> Request:
    """Return how to follow; `others` are the options that do not go together with it.

    Raises:
        UsageError: an option is invalid, or one of the others was given.
    """
    for name, value in others.items():
        if value:
            raise UsageError(
                f"--follow cannot be combined with {name}",
                detail="XComs are printed in the order in which they are committed.",
            )
    every_s = parse_duration(every or DEFAULT_EVERY).total_seconds()
    if every_s <= 0:
        raise UsageError("--every must be above 0")
    return Request(every_s, until_match, since, limit or 0, all_attempts)


def line_outputs(outputs: Outputs) -> Outputs:
    """Return the outputs with a format that has a line per XCom.

    Raises:
        UsageError: one has none, or is a file, which would be there at the end only.
    """
    for name, path in outputs:
        if name not in _LINES:
            raise UsageError(
                f"--follow does not work with -o {name}", hint=f"Use {', '.join(_LINES)}."
            )
        if path is not None:
            raise UsageError(
                "--follow writes to stdout only",
                hint=f"Redirect it: xcomctl list --follow -o {name} >> FILE",
            )
    return [(_LINES[name], path) for name, path in outputs]


def follow(
    console: Console, target: Target, query: Query, outputs: Outputs, request: Request
) -> bool:
    """Print new XComs until Ctrl-C; return True where one ended it.

    Raises:
        DatabaseError: the database cannot be read at the start.
    """
    with contextlib.ExitStack() as stack:
        following = _Following(console, target, query, request)
        stack.callback(following.close)
        store = following.open()
        warn_about_hidden_rows(console, store)
        layout = replace(attempts.shown(query.layout, store), live=True)
        console.write(layout, following.rows(), outputs, private=query.shows("value"))
        return request.until_match and following.printed > 0


class _Following:
    """The rows of new XComs, over one connection after the other."""

    def __init__(self, console: Console, target: Target, query: Query, request: Request) -> None:
        from xcomctl.db.read.follow import Follow
        from xcomctl.db.read.sorting import Details

        self._console = console
        self._target = target
        self._query = query
        self._request = request
        self._follow = Follow(query.selection, Details(*query.details()))
        self._stack = contextlib.ExitStack()
        self._store: Store | None = None
        self._problem = ""
        """Why the last look failed."""
        self._rest_s = request.every_s
        self.printed = 0

    def open(self) -> Store:
        """Return the open database, opened anew after the connection was lost."""
        from xcomctl.db import open_store

        if self._store is None:
            opened = open_store(self._target, all_attempts=self._request.all_attempts)
            self._store = self._stack.enter_context(opened)
            self._follow.forget_connection()
        return self._store

    def close(self) -> None:
        """Close the connection, if any."""
        self._store = None
        with contextlib.suppress(DatabaseError):
            self._stack.close()

    def rows(self) -> Iterator[Row]:
        """Yield a row per new XCom, as they come."""
        from xcomctl.cli.findings import limit_in_force

        store = self.open()
        limit = limit_in_force(store, self._query.as_)
        entries: Sequence[XComEntry]
        entries = self._follow.start(store, existing=self._request.existing)
        self._console.note("waiting for new XComs; Ctrl-C ends")
        while True:
            for entry in entries:
                self.printed += 1
                yield self._query.row(entry, limit.size)
                if self._request.until_match or self.printed == self._request.limit:
                    return
            time.sleep(self._rest_s)
            began = time.monotonic()
            entries = self._next()
            took = time.monotonic() - began
            # The database gets at least as long a rest as a look took.
            self._rest_s = max(self._request.every_s - took, took)

    def _next(self) -> Sequence[XComEntry]:
        """Return what a look finds; nothing, and a warning, where the database cannot be read."""
        try:
            found = self._follow.look(self.open())
        except DatabaseError as error:
            if error.message != self._problem:
                self._console.warn(f"{error.message}; trying again")
            self._problem = error.message
            self.close()
            return ()
        if self._problem:
            self._problem = ""
            self._console.note("connected again")
        return found
