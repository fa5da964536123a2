"""Reads a large SQLite file in several worker processes at once, all from one state of the file.

The driver takes the interpreter's lock for each row, so threads would only wait for each other.
"""

from __future__ import annotations

import contextlib
import os
from array import array
from itertools import chain
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from xcomctl.config import urls
from xcomctl.db.backends.shared_lines import join_lines, make_slots, write_lines
from xcomctl.db.backends.shared_state import SharedState
from xcomctl.db.backends.sqlite import SQLite
from xcomctl.db.backends.workers import Part, in_order, spare_processors, workers
from xcomctl.errors import DatabaseError
from xcomctl.model import LineSink
from xcomctl.sizes.statistics import gather_sizes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from xcomctl.db.backends.base import Element
    from xcomctl.db.backends.workers import Channel
    from xcomctl.model import RowSink, Storage
    from xcomctl.sizes.statistics import Name

    Sizes = dict[Name, array[int]]

MOST_WORKERS = 4
"""More would wait for the disk, or for this process to write what they read."""
MIN_ROWS = 20_000
"""Smaller tables are read in less time than it takes to start a process."""
_MIN_ROW_BYTES = 64
"""Of a row with its names, its times and its key."""
_PART_BYTES = 2 * 1024 * 1024
"""Of the file that one part of an export is made from, about."""
_PART_ROWS = 64, 8_000
"""The fewest and the most rows of such a part."""
_FIRST, _LAST = -(2**63), 2**63 - 1
"""The smallest and the largest possible rowid."""


class PartedSQLite(SQLite):
    """A SQLite file that is only read. A part is a range of xcom's rowid."""

    def stream_all_into(self, statement: sa.Select[Any], storage: Storage, sink: RowSink) -> None:
        """Let the workers write the lines of small parts, and join them in the order of the key."""
        if not isinstance(sink, LineSink):
            self.stream_into(statement, storage, sink)
            return
        sql, (*given, _, _) = self.driver_sql(statement.where(_is_in(Part(0, 0))))
        count = self._worker_count()
        slots = make_slots(count)

        def write_parts(channel: Channel, number: int) -> None:
            stream_into = self._streaming(storage, sink)
            write = lambda part: stream_into(sql, (*given, *part))  # noqa: E731
            write_lines(channel, slots[number], sink, write)

        with self._workers(count, write_parts) as channels:
            if not channels:
                self.stream_into(statement, storage, sink)
                return
            sink.flush()
            join_lines(channels, slots, self._parts(), sink)

    def gathered(
        self, statement: sa.Select[Any], width: int, *, whole: bool
    ) -> Mapping[Name, array[int]]:
        if not whole:
            return super().gathered(statement, width, whole=whole)
        sql, (*given, _, _) = self.driver_sql(statement.where(_is_in(Part(0, 0))))

        def gather(channel: Channel, _: int) -> None:
            part = channel.receive()
            rows = self._batches(sql, (*given, *part), self.paged.rows)
            sizes = gather_sizes(rows, width)
            # Sorted here, because sorted lists are merged in no time.
            for name, some in sizes.items():
                sizes[name] = array("q", sorted(some))
            channel.send(sizes)

        found = self._from_equal_parts(gather)
        if found is None:
            return super().gathered(statement, width, whole=whole)
        sizes: Sizes = next(found)
        for more in found:
            for name, some in more.items():
                sizes.setdefault(name, array("q")).extend(some)
        return sizes

    def first_by_size(
        self, statement: sa.Select[Any], limit: int, descending: bool, *, whole: bool
    ) -> Sequence[Sequence[Any]]:
        if not whole:
            return super().first_by_size(statement, limit, descending, whole=whole)

        def find(channel: Channel, _: int) -> None:
            rows = self.connection.execute(statement.where(_is_in(channel.receive())))
            channel.send([tuple(row) for row in rows])

        found = self._from_equal_parts(find)
        if found is None:
            return super().first_by_size(statement, limit, descending, whole=whole)
        rows = [*chain.from_iterable(found)]
        sized = [row for row in rows if row[-1] is not None]
        # Equal ones stay in the order of the scan.
        sized.sort(key=itemgetter(-1), reverse=descending)
        return [*sized, *(row for row in rows if row[-1] is None)][:limit]

    def _from_equal_parts(self, work: Callable[[Channel, int], None]) -> Iterator[Any] | None:
        """Return what each worker finds in one part of the table, None where one process works."""
        count = self._worker_count()
        first, last = self._ends()
        bounds = [first + (last - first) * at // max(count, 1) for at in range(1, count)]
        parts = map(Part, [_FIRST, *(bound + 1 for bound in bounds)], [*bounds, _LAST])
        with self._workers(count, work) as channels:
            if not channels:
                return None
            return iter([*in_order(channels, parts)])

    def _parts(self) -> Iterator[Part]:
        """Yield small parts of about the same number of rows, together the whole table."""
        # Other tables of the file make it fewer than there could be.
        rows = _PART_BYTES * self._span() // max(self._bytes(), 1)
        rows = min(max(rows, _PART_ROWS[0]), _PART_ROWS[1])
        find = f"SELECT rowid FROM {self.script().quoted('xcom')} WHERE rowid >= ? ORDER BY rowid LIMIT 1 OFFSET ?"
        first = _FIRST
        while found := self._ask(find, first, rows):
            yield Part(first, found[0] - 1)
            first = found[0]
        yield Part(first, _LAST)

    def _worker_count(self) -> int:
        """Return how many workers to start; 0 where one process is as fast."""
        count = min(spare_processors(), MOST_WORKERS)
        return count if count > 1 and self._span() >= MIN_ROWS else 0

    def _span(self) -> int:
        """Return about how many rows there are, or more; 0 where rows have no numbers."""
        first, last = self._ends()
        return min(last - first, self._bytes() // _MIN_ROW_BYTES)

    def _bytes(self) -> int:
        return int(self._ask("PRAGMA page_count")[0] * self._ask("PRAGMA page_size")[0])

    def _ends(self) -> tuple[int, int]:
        ends = (
            f"(SELECT {one}(rowid) FROM {self.script().quoted('xcom')})" for one in ("min", "max")
        )
        try:
            first, last = self._ask(f"SELECT {', '.join(ends)}")
        except DatabaseError:
            # A table WITHOUT ROWID.
            return 0, 0
        return first or 0, last or 0

    @contextlib.contextmanager
    def _workers(
        self, count: int, work: Callable[[Channel, int], None]
    ) -> Iterator[Sequence[Channel]]:
        """Start workers that read the state of the file that this process reads meanwhile.

        No channels where that cannot be.
        """
        if not count:
            yield []
            return
        # No open database may be taken into another process:
        # https://www.sqlite.org/howtocorrupt.html#_carrying_an_open_database_across_a_fork_
        self.connection.rollback()
        self.connection.invalidate()
        file = self._file()

        def begin_and_work(channel: Channel, number: int) -> None:
            self._parent = os.getppid()
            self.use(self.connection)
            try:
                version = self._version()
                channel.send(None)
                channel.receive()
                same = self._begins_at(version) and self._file() == file
                channel.send(same)
                if same:
                    with self.explained():
                        work(channel, number)
            except sa.exc.DBAPIError as error:
                raise self.explain(error) from None

        with workers(count, begin_and_work) as channels:
            self.use(self.connection)
            for channel in channels:
                channel.receive()
            self._begin_reading()
            same = self._file() == file
            for channel in channels:
                channel.send(None)
            # Between a worker's two looks at the file lies the one that began here; so if nobody
            # has written between them, and no other file has come under the name, all are of
            # the same state.
            same = all(channel.receive() for channel in channels) and same
            try:
                yield channels if same else []
            finally:
                self._driver().rollback()

    def shared_state(self) -> SharedState:
        """Return how workers start reading and check that no other session wrote in between."""

        def look() -> tuple[object, int]:
            self._parent = os.getppid()
            return self._file(), self._version()

        def share() -> tuple[int, int] | None:
            self._begin_reading()
            return self._file()

        def adopt(seen: tuple[object, int], file: object) -> bool:
            return self._begins_at(seen[1]) and file == seen[0] == self._file()

        return SharedState(share, adopt, look)

    _parent: int | None = None
    """In a worker: the process that it works for."""

    def _is_over(self) -> bool:
        # A worker whose process was killed would hold off writers until its next message.
        return super()._is_over() or (self._parent is not None and os.getppid() != self._parent)

    def _file(self) -> tuple[int, int] | None:
        """Return which file has the name now."""
        try:
            found = urls.sqlite_path(self.target.url).stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def _begin_reading(self) -> None:
        self._ask("BEGIN")
        self._ask("SELECT 1 FROM sqlite_master")

    def _version(self) -> int:
        return int(self._ask("PRAGMA data_version")[0])

    def _begins_at(self, version: int) -> bool:
        """Begin to read, and return whether the file is still in the state of a data_version."""
        # No waiting for a writer, who in turn may wait for this very reader.
        self._ask("PRAGMA busy_timeout = 0")
        try:
            self._begin_reading()
        except DatabaseError:
            return False
        return self._version() == version


def _is_in(part: Part) -> Element:
    return sa.literal_column("x.rowid", sa.Integer).between(*part)
