"""XComs with their values, read in pages as fast as an export reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xcomctl.db.backends.base import MAX_SNIFFED
from xcomctl.db.backends.times import to_moment
from xcomctl.exchange.pages import PAGE_BYTES, Page, PageSink
from xcomctl.exchange.stored import stored_as
from xcomctl.model import Size, XComEntry, XComRef, format_time
from xcomctl.values.sniff import sniff, to_bytes

if TYPE_CHECKING:
    from collections.abc import Callable

    from xcomctl.db.read.entries import Entries
    from xcomctl.db.read.rows import Rows
    from xcomctl.model import Raw, Selection, StoredRow


class Pages:
    """The XComs of an open metadata database in pages: see `exchange.pages.Page`."""

    def __init__(self, rows: Rows, entries: Entries) -> None:
        self._table = rows.table
        self._schema = rows.table.schema
        self._entries = entries

    def stream(
        self,
        selection: Selection,
        take: Callable[[Page], object],
        *,
        text: bool = False,
        times: bool = True,
    ) -> None:
        """Call `take` with the selected XComs, unsorted, a page of them at a time.

        Same rows as `Entries.values`. The database is still sending while `take` runs, so that
        this must not query it. `text` fills `entry.text_size`. Without `times`,
        which saves a tenth of the time, `entry.timestamp` may be None.

        Raises:
            DatabaseError: the database cannot be read.
        """
        if not self._schema.mapped or self._schema.split:
            # An export's rows lack the primary key that these releases have.
            self._stream_entries(selection, take, text=text)
            return
        sink = PageSink(lambda rows: take(self._page(rows, text=text)), reads_times=times)
        self._entries.stream_into(selection, sink)
        sink.flush()

    def _page(self, rows: list[StoredRow], *, text: bool) -> Page:
        raw = lambda at: self._raw(rows[at])  # noqa: E731
        return Page(rows, lambda at: self._entry(rows[at], text=text), raw)

    def _raw(self, row: StoredRow) -> Raw:
        """Return the value as the driver would have, which makes a `str` of a text."""
        raw, kind = row[-1], row[-2]
        if not isinstance(raw, bytes):
            return raw
        is_text = kind == "text" if self._schema.storage == "bytes" else kind is None
        return raw.decode("utf-8", "surrogateescape") if is_text else raw

    def _entry(self, row: StoredRow, *, text: bool) -> XComEntry:
        dag_id, task_id, run_id, index, key, time, date, number, run, orphan, _, _, _ = row
        raw = self._raw(row)
        head = raw[:MAX_SNIFFED] if isinstance(raw, bytes | str) else raw
        size = None if number is None else Size(number)
        named = {"dag_run_id": run, "task_id": task_id, "map_index": index, "key": key}
        identity = tuple([named[name] for name in self._schema.generation.identity])
        length = None
        if text and raw is not None:
            length = Size(len(row[-1])) if isinstance(row[-1], bytes) else size
        return XComEntry(
            ref=XComRef(dag_id, task_id, run_id, key, index, to_moment(date)),
            size=size,
            timestamp=to_moment(time),
            encoding=sniff(head, size, self._schema.storage),
            row=identity,
            text_size=length,
            head=head,
            orphan=orphan,
            position=identity,
        )

    def _stream_entries(
        self, selection: Selection, take: Callable[[Page], object], *, text: bool
    ) -> None:
        """Make the pages of what `Entries.values` yields."""
        found: list[tuple[XComEntry, Raw]] = []
        held = 0

        def hand_over() -> None:
            nonlocal found, held
            page, found, held = found, [], 0
            rows = [self._stored_row(entry, raw) for entry, raw in page]
            take(Page(rows, lambda at: page[at][0], lambda at: page[at][1]))

        for entry, raw in self._entries.values(selection, text=text):
            if found and held + (entry.size or 0) >= PAGE_BYTES:
                hand_over()
            found.append((entry, raw))
            held += entry.size or 0
        if found:
            hand_over()

    def _stored_row(self, entry: XComEntry, raw: Raw) -> StoredRow:
        ref = entry.ref
        return (
            ref.dag_id,
            ref.task_id,
            ref.run_id,
            ref.map_index,
            ref.key,
            format_time(entry.timestamp),
            format_time(ref.logical_date),
            entry.size,
            0,
            entry.orphan,
            None,
            stored_as(raw, self._schema.storage),
            to_bytes(raw) if isinstance(raw, str) else raw,
        )
