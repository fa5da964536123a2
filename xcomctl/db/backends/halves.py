"""SQLite on Linux: a large file is read by two processes at once.

The driver asks for the interpreter's lock at each row, so threads would wait for each other.
"""

from __future__ import annotations

import contextlib
import itertools
import os
from array import array
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from xcomctl.config import urls
from xcomctl.db.backends.sqlite import SQLite
from xcomctl.db.backends.twin import from_json, to_json, twin, worth_it
from xcomctl.errors import DatabaseError
from xcomctl.model import LineSink
from xcomctl.sizes.statistics import Summary, gather_sizes, summarize

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from xcomctl.db.backends.base import Element
    from xcomctl.db.backends.twin import Link
    from xcomctl.model import RowSink, Storage
    from xcomctl.sizes.statistics import Name

    Sizes = dict[Name, array[int]]

_ROWS_FOR_TWO = 20_000
"""Below this it takes longer to make a second process than it saves."""
_FEWEST_BYTES = 64
"""Of a row with its names, its times and its key."""
_FIRST, _LAST = -(2**63), 2**63 - 1
"""Of all possible rowids."""
_PART_BYTES = 1024 * 1024
"""Of the rows that a process makes before it is the other's turn."""
_TWINS_PARTS = (False, True, False, True, False, True, False, True, True)
"""The twin's are more, for it has nothing to write to a disk."""


class HalvedSQLite(SQLite):
    """A SQLite file that is only read."""

    _parent: int | None = None
    """In the twin: the process that it works for."""

    def stream_all_into(self, statement: sa.Select[Any], storage: Storage, sink: RowSink) -> None:
        if not isinstance(sink, LineSink):
            self.stream_into(statement, storage, sink)
            return
        sql, (*given, _, _) = self.driver_sql(statement.where(_is_among(0, 0)))
        stream_into, rows = self._streaming(storage, sink), self._rows_of_a_part()

        def pour_there(link: Link) -> None:
            sink.divert(link.send)
            for is_twins, part in self._parts(rows):
                if is_twins:
                    stream_into(sql, (*given, *part))
                    sink.flush()
                    link.end(sink.counted())

        with self._twin(pour_there) as link:
            if link is None:
                self.stream_into(statement, storage, sink)
                return
            for is_twins, part in self._parts(rows):
                if is_twins:
                    sink.flush()
                    sink.count(*link.part(sink.write))
                else:
                    stream_into(sql, (*given, *part))

    def summaries(
        self, statement: sa.Select[Any], width: int, *, whole: bool
    ) -> Iterable[tuple[Name, Summary]]:
        if not whole:
            return super().summaries(statement, width, whole=whole)
        sql, (*given, _, _) = self.driver_sql(statement.where(_is_among(0, 0)))
        middle = self._middle()

        def gather(first: int, last: int) -> tuple[Sizes, Sizes]:
            rows = self._batches(sql, (*given, first, last), self.paged.rows)
            return _dealt(gather_sizes(rows, width))

        def gather_there(link: Link) -> None:
            others, own = gather(middle + 1, _LAST)
            _send_sizes(link, others)
            _add_sizes(link, own)
            told = []
            for name, sizes in own.items():
                some = summarize(sizes)
                numbers = (some.rows, some.measured, some.total, some.largest, some.percentiles)
                told.append([list(map(to_json, name)), numbers])
            link.end(told)

        with self._twin(gather_there) as link:
            if link is None:
                return super().summaries(statement, width, whole=whole)
            own, others = gather(_FIRST, middle)
            _add_sizes(link, own)
            # Each finds the percentiles of its own groups.
            _send_sizes(link, others)
            found = [(name, summarize(sizes)) for name, sizes in own.items()]
            for name, (rows, measured, total, largest, shares) in link.part():
                some = Summary(rows, measured, total, largest, tuple(shares))
                found.append((tuple(map(from_json, name)), some))
        return found

    def first_by_size(
        self, statement: sa.Select[Any], limit: int, descending: bool, *, whole: bool
    ) -> Sequence[Sequence[Any]]:
        if not whole:
            return super().first_by_size(statement, limit, descending, whole=whole)
        middle = self._middle()

        def find(first: int, last: int) -> Sequence[Sequence[Any]]:
            return self.connection.execute(statement.where(_is_among(first, last))).all()

        def find_there(link: Link) -> None:
            link.end([list(map(to_json, row)) for row in find(middle + 1, _LAST)])

        with self._twin(find_there) as link:
            if link is None:
                return super().first_by_size(statement, limit, descending, whole=whole)
            rows = [*find(_FIRST, middle)]
            rows += [tuple(map(from_json, row)) for row in link.part()]
        sized = [row for row in rows if row[-1] is not None]
        # Equal ones stay in the order of the scan.
        sized.sort(key=itemgetter(-1), reverse=descending)
        return [*sized, *(row for row in rows if row[-1] is None)][:limit]

    def _parts(self, rows: int) -> Iterator[tuple[bool, tuple[int, int]]]:
        """Yield the first and last rowid of so many rows after the other, and whose they are."""
        find = f"SELECT rowid FROM {self._named('xcom')} WHERE rowid >= ? ORDER BY rowid LIMIT 1 OFFSET ?"
        first = _FIRST
        for is_twins in itertools.cycle(_TWINS_PARTS):
            found = self._ask(find, first, rows)
            yield is_twins, (first, found[0] - 1 if found else _LAST)
            if not found:
                return
            first = found[0]

    def _rows_of_a_part(self) -> int:
        """Return how many rows make lines of some MB."""
        # Other tables of the file make it fewer than there could be.
        return min(max(_PART_BYTES * self._span() // max(self._bytes(), 1), 64), 4000)

    def _span(self) -> int:
        """Return about how many rows there are, or more; 0 where rows have no numbers."""
        first, last = self._ends()
        return min(last - first, self._bytes() // _FEWEST_BYTES)

    def _bytes(self) -> int:
        return int(self._ask("PRAGMA page_count")[0] * self._ask("PRAGMA page_size")[0])

    def _middle(self) -> int:
        """Return the rowid in the middle."""
        return sum(self._ends()) // 2

    def _ends(self) -> tuple[int, int]:
        ends = (f"(SELECT {one}(rowid) FROM {self._named('xcom')})" for one in ("min", "max"))
        try:
            first, last = self._ask(f"SELECT {', '.join(ends)}")
        except DatabaseError:
            # A table WITHOUT ROWID.
            return 0, 0
        return first or 0, last or 0

    @contextlib.contextmanager
    def _twin(self, work: Callable[[Link], object]) -> Iterator[Link | None]:
        """Work on the same state of the file in a second process; None where that cannot be."""
        if self._span() < _ROWS_FOR_TWO or not worth_it():
            yield None
            return
        file, ours = self._file(), os.getpid()
        # No open database may be taken into another process:
        # https://www.sqlite.org/howtocorrupt.html#_carrying_an_open_database_across_a_fork_
        self.connection.rollback()
        self.connection.invalidate()

        def work_there(link: Link) -> None:
            self._parent = ours
            self.use(self.connection)
            try:
                version = self._version()
                link.end()
                link.part()
                same = self._begins_at(version) and self._file() == file
                link.end(same)
                if same:
                    with self.driver_errors():
                        work(link)
            except sa.exc.DBAPIError as error:
                raise self.explain(error) from None

        with twin(work_there) as link:
            self.use(self.connection)
            if link is None:
                yield None
                return
            link.part()
            self._begin_reading()
            same = self._file() == file
            link.end()
            # Between its two looks at the file lies the one that began here; so if nobody has
            # written between them, and no other file has come under the name, all are of the
            # same state.
            same = link.part() and same
            try:
                yield link if same else None
            finally:
                self._driver().rollback()

    def _is_over(self) -> bool:
        # A twin whose process was killed would hold off writers until its next message.
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


def _dealt(sizes: Sizes) -> tuple[Sizes, Sizes]:
    """Return the groups of this process and of the twin: a fork keeps hashes, so both agree."""
    dealt: tuple[Sizes, Sizes] = ({}, {})
    for name, some in sizes.items():
        # The twin's are fewer, for it has to tell what it finds.
        dealt[hash(name) % 5 < 2][name] = some
    return dealt


def _send_sizes(link: Link, sizes: Sizes) -> None:
    link.send(b"".join(sizes.values()))
    link.end([[*map(to_json, name), len(some)] for name, some in sizes.items()])


def _add_sizes(link: Link, sizes: Sizes) -> None:
    """Add those that the other process sends."""
    data, at = bytearray(), 0
    for *told, count in link.part(data.extend):
        some = sizes.setdefault(tuple(map(from_json, told)), array("q"))
        some.frombytes(memoryview(data)[at : at + 8 * count])
        at += 8 * count


def _is_among(first: int, last: int) -> Element:
    return sa.literal_column("x.rowid", sa.Integer).between(first, last)
