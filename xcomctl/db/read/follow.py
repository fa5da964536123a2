"""XComs as they are committed: each once, without reading the whole table again and again."""

from __future__ import annotations

import contextlib
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from xcomctl.db.backends.times import to_moment
from xcomctl.db.read.areas import Areas
from xcomctl.db.read.entries import pushed_at
from xcomctl.db.read.rows import HEAD_BYTES, Rows
from xcomctl.db.read.versions import versions_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from xcomctl.db.backends.base import Element
    from xcomctl.db.read.sorting import Details
    from xcomctl.db.read.store import Store
    from xcomctl.db.read.versions import Versions
    from xcomctl.model import Selection, XComEntry

    Version = tuple[Any, ...]
    """A row's leading key, its primary key, and what differs between its versions."""
    Known = dict[Version, object]
    """Versions with their timestamps, as the database has them."""

_KEYS_AT_ONCE: Final = 500
_OVERLAP: Final = timedelta(hours=1)
"""How much older than its commit the timestamp of an XCom may be."""


class Follow:
    """Finds what was committed since it looked last.

    Each look reads the keys and versions of the newest rows by the table's key, those of runs
    that have not finished, and a slice of all others, so that every row gets its turn (`Areas`).
    Only new versions are then read with their sizes.

    It outlives a connection: give `look` another store of the same database.
    """

    def __init__(self, selection: Selection, details: Details) -> None:
        self._selection = selection
        self._details = details
        self._known: Known = {}
        """What is not new any more."""
        self._areas = Areas()
        self._look_mark: int | None = None
        """The mark of the last look: no row of the recent area is new that was committed before."""
        self._mark: int | None = None
        """No row at all is new that was committed before it."""
        self._cycle_mark: int | None = None
        """The mark at the beginning of the turn of all rows that is in progress."""
        self._horizon = datetime.min.replace(tzinfo=UTC)
        """Outside the areas whose rows are all known, a row with an older timestamp is not new."""
        self._clock: Clock = Clock(self._horizon)
        self._cycle_began = self._horizon
        self._state: object = None

    def start(self, store: Store, *, existing: bool) -> list[XComEntry]:
        """Remember the XComs that exist now. With `existing`, return those that the selection matches."""
        with _latest(store):
            versions, rows = versions_of(store.table), Rows(store.table)
            now = store.table.connection.scalar(sa.select(sa.func.current_timestamp()))
            self._clock = Clock(to_moment(now) or datetime.now(UTC))
            self._horizon = self._cycle_began = self._clock.now()
            self._look_mark = self._mark = self._cycle_mark = versions.mark()
            for area in self._areas.begin(rows, versions):
                self._known |= dict(self._versions(rows, versions, area, self._mark))
            found = self._entries(rows, versions, None) if existing else []
            self._known |= {version: entry.timestamp for version, entry in found}
            return sorted((entry for _, entry in found), key=pushed_at)

    def look(self, store: Store) -> list[XComEntry]:
        """Return the XComs that were committed since the last look, oldest first.

        Raises:
            DatabaseError: it cannot be read now. Nothing is lost: the next look finds it.
        """
        with _latest(store):
            versions = versions_of(store.table)
            state = versions.state()
            if state is not None and state == self._state:
                return []
            found = self._find(Rows(store.table), versions)
            self._state = state
            return sorted(found, key=pushed_at)

    def forget_connection(self) -> None:
        """Forget what belongs to the connection: the next look uses another one."""
        self._state = None

    def _find(self, rows: Rows, versions: Versions) -> list[XComEntry]:
        mark, now = versions.mark(), self._clock.now()
        recent, *others = self._areas.next(rows, versions, self._horizon)
        seen = dict(self._versions(rows, versions, recent, self._look_mark))
        for area in others:
            seen |= dict(self._versions(rows, versions, area, self._mark))
        new = {
            version: moment
            for version, moment in seen.items()
            if version not in self._known and self._may_be_new(version, moment)
        }
        found = self._entries(rows, versions, [version[1:-1] for version in new]) if new else []
        entries = [entry for version, entry in found if version not in self._known]
        # A row may have been replaced since its version was read.
        shown: Known = {version: entry.timestamp for version, entry in found}
        self._known |= new | shown
        self._look_mark = mark
        if self._areas.cycle_ended:
            self._mark, self._cycle_mark = self._cycle_mark, mark
            # Timestamps are set before the commit, by the clocks of workers.
            self._horizon = max(self._horizon, self._cycle_began - _OVERLAP)
            self._cycle_began = now
            self._forget(versions, seen | shown)
        self._areas.move(rows, versions)
        return entries

    def _may_be_new(self, version: Version, moment: object) -> bool:
        return self._areas.is_known(version[0]) or self._is_recent(moment)

    def _is_recent(self, moment: object) -> bool:
        """Return whether a timestamp is not before the horizon; what is none is recent."""
        when = to_moment(moment)
        return when is None or when >= self._horizon

    def _forget(self, versions: Versions, seen: Known) -> None:
        """Drop the versions that no look can take for new ones again."""
        outside = not versions.in_order and not self._areas.are_whole
        self._known = {
            version: moment
            for version, moment in self._known.items()
            if not versions.is_before(version[-1], self._mark)
            and (self._mark is not None or version in seen or (outside and self._is_recent(moment)))
        }

    def _versions(
        self, rows: Rows, versions: Versions, area: Element, mark: int | None
    ) -> Iterator[tuple[Version, object]]:
        """Yield the versions in an area since a mark, with their timestamps. Reads no values."""
        names = replace(
            self._selection, since=None, until=None, min_size=None, max_size=None, contains=None
        )
        x, identity = rows.table.x.c, rows.table.schema.generation.identity
        columns = [versions.leading_or_0, *(x[name] for name in identity), versions.stamp]
        if versions.stamp is not versions.moment:
            columns.append(versions.moment)
        labelled = (one.label(f"c{at}") for at, one in enumerate(columns))
        statement = rows.over(names, *labelled).where(area)
        since = versions.since(mark)
        statement = statement if since is None else statement.where(since)
        for row in rows.table.stream(statement, rows.table.backend.paged.rows):
            yield tuple(row[: len(identity) + 2]), row[-1]

    def _entries(
        self, rows: Rows, versions: Versions, keys: list[tuple[Any, ...]] | None
    ) -> list[tuple[Version, XComEntry]]:
        """Return the selected entries of primary keys, or all, each with its version as of now."""
        details, identity = self._details, rows.table.schema.generation.identity
        heads = details.heads or HEAD_BYTES
        query = rows.select(
            self._selection, text=details.text, stored=details.stored, heads=heads
        ).add_columns(versions.leading_or_0.label("leading"), versions.stamp.label("stamp"))
        key: list[Element] = [rows.table.x.c[name] for name in identity]
        statements = [query]
        if keys is not None:
            is_one_of = rows.table.backend.is_one_of
            statements = [
                query.where(is_one_of(key, keys[at : at + _KEYS_AT_ONCE]))
                for at in range(0, len(keys), _KEYS_AT_ONCE)
            ]
        found: list[tuple[Version, XComEntry]] = []
        for statement in statements:
            for row in rows.table.connection.execute(statement).all():
                named = row._mapping
                version = (row.leading, *(named[name] for name in identity), row.stamp)
                found.append((version, rows.entry(row)))
        return found


class Clock:
    """The database's clock, asked once."""

    def __init__(self, now: datetime) -> None:
        self._began, self._ticks = now, time.monotonic()

    def now(self) -> datetime:
        """Return the time."""
        return self._began + timedelta(seconds=time.monotonic() - self._ticks)


@contextlib.contextmanager
def _latest(store: Store) -> Iterator[None]:
    """Read, within the block, what is committed by now, and hold no lock behind it."""
    connection, backend = store.table.connection, store.table.backend
    with store.table.explained():
        connection.rollback()
        backend.guard(connection)
        yield
        connection.rollback()
