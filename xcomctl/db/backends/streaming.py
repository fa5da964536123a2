"""What the ways to fetch many rows share: how many at a time, their columns, names encoded once."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from xcomctl.db.backends.times import iso

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from xcomctl.model import RowSink

STREAMED: Final = (
    "map_index",
    "dag_run_id",
    "orphan",
    "timestamp",
    "logical_date",
    "run_id",
    "dag_id",
    "task_id",
    "key",
    "others",
    "whole",
)
"""The columns of a statement whose rows are streamed, in this order; a backend may add some."""

_MOST_KNOWN = 4_000


@dataclass(frozen=True, slots=True)
class Page:
    """How rows are fetched: the number at a time, and the largest value fetched with them."""

    rows: int
    inline_bytes: int | None = None
    """Larger values are left out of the rows and read one by one; None where rows stream."""


class Memo(dict[Any, Any]):
    """Results of a function by argument: called once for each, unless there are very many."""

    def __init__(self, function: Callable[[Any], object]) -> None:
        super().__init__()
        self._function = function

    def __missing__(self, argument: object) -> object:
        if len(self) > _MOST_KNOWN:
            self.clear()
        result = self[argument] = self._function(argument)
        return result


def name_memos(sink: RowSink, read: Callable[[Any], str | None]) -> Iterator[Memo]:
    """Yield how a sink encodes dag_id, task_id, run_id and key, which `read` makes texts of.

    And the other columns of a row, which `exchange.others` reads.
    """
    for name in ("dag_id", "task_id", "run_id", "key"):
        yield Memo(functools.partial(_encode_name, sink, name, read))
    yield Memo(functools.partial(sink.encode_name, "others"))


def _encode_name(
    sink: RowSink, name: str, read: Callable[[Any], str | None], thing: object
) -> object:
    return sink.encode_name(name, read(thing))


def reads_times(sink: RowSink) -> bool:
    """Return whether a sink wants the rows' timestamps, which take a third of the time of a scan.

    It does unless it has an attribute `reads_times` that says otherwise.
    """
    return bool(getattr(sink, "reads_times", True))


def write_rows(rows: Iterable[Sequence[Any]], sink: RowSink) -> None:
    """Write rows of `STREAMED` columns, as SQLAlchemy returns them, into a sink."""
    dags, tasks, runs, keys, others = name_memos(sink, lambda text: text)
    dates = Memo(lambda date: sink.encode_name("logical_date", iso(date)))
    write_row = sink.write_row
    for index, run, orphan, stamp, date, run_id, dag, task, key, other, raw in rows:
        data = raw.encode() if type(raw) is str else raw
        if isinstance(data, memoryview):
            data = bytes(data)
        write_row((
            dags[dag], tasks[task], runs[run_id], index, keys[key], iso(stamp), dates[date],
            None if data is None else len(data), run, orphan != 0, others[other], None, data,
        ))  # fmt: skip
