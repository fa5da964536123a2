"""An export by several processes. Each reads some parts of the table."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

from xcomctl.db import open_store
from xcomctl.db.backends.shared_lines import join_lines, make_slots, write_lines
from xcomctl.db.backends.workers import spare_processors, workers

if TYPE_CHECKING:
    import mmap
    from collections.abc import Callable, Iterator, Sequence

    from xcomctl.config.target import Target
    from xcomctl.db.backends.workers import Channel
    from xcomctl.db.read.store import Store
    from xcomctl.model import LineSink, Selection, Write

    MakeSink = Callable[[Write, Store], LineSink]


class Jobs:
    """Processes that wait to read parts of a table: see `start_jobs`."""

    def __init__(self, channels: Sequence[Channel], slots: Sequence[Sequence[mmap.mmap]]) -> None:
        self._channels = channels
        self._slots = slots
        self.began_within_s: float | None = None
        """How far apart the jobs began to read; None if they read one state of the database."""

    def write_into(self, sink: LineSink, store: Store, selection: Selection) -> bool:
        """Write the selected rows into a sink, in the order of the primary key.

        Return False, with nothing written, if there are no jobs, or if another session wrote while they
        began to read and the database cannot give them one state.

        Raises:
            DatabaseError: a job, or this process, cannot read the database.
        """
        channels = self._channels
        if not channels:
            return False
        for channel in channels:
            channel.send(selection)
        for channel in channels:
            channel.receive()
        state, began = store.table.backend.shared_state(), time.monotonic()
        with store.table.explained():
            shared = state.share()
        for channel in channels:
            channel.send(shared)
        have_it = [channel.receive() for channel in channels]
        if not state.exact:
            self.began_within_s = time.monotonic() - began
        if not all(have_it):
            return False
        sink.flush()
        parts = store.parts.small(selection.part)
        join_lines(channels, self._slots, parts, sink, parts.took)
        return True


@contextlib.contextmanager
def start_jobs(target: Target, count: int, make_sink: MakeSink) -> Iterator[Jobs]:
    """Start `count` worker processes, which end with the block. No database may be open yet.

    `make_sink` creates the sink that each worker writes lines into. Yields `Jobs` without workers
    where the system cannot fork.
    """
    # Imported once, for all of them.
    import xcomctl.db.read.store  # noqa: F401

    count = count if spare_processors() else 0
    slots = make_slots(count)

    def work(channel: Channel, number: int) -> None:
        selection = channel.receive()
        with open_store(target) as store:
            state = store.table.backend.shared_state()
            with store.table.explained():
                seen = state.look()
                channel.send(None)
                has_it = state.adopt(seen, channel.receive())
            channel.send(has_it)
            if has_it:
                sink = make_sink(lambda _: None, store)
                write_part = store.entries.part_writer(selection, sink)
                write_lines(channel, slots[number], sink, write_part)

    with workers(count, work) as channels:
        yield Jobs(channels, slots)
