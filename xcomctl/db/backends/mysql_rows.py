"""Rows as MySQL sends them: bytes, which PyMySQL would make texts and numbers of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pymysql.connections import MySQLResult
from pymysql.cursors import SSCursor

from xcomctl.db.backends.streaming import Memo, name_memos, reads_times
from xcomctl.db.backends.times import Times, iso, no_time

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Sequence

    from xcomctl.model import RowSink

_TAKES_APART = "_read_row_from_packet"
"""The driver's method that makes Python objects of a row."""
CAN_READ_RAW = hasattr(MySQLResult, _TAKES_APART)
KnownRuns = dict[Any, tuple[bytes, bytes, bytes | None]]
"""Runs by their id: dag_id, run_id without trailing spaces, and the date."""

_NO_RUN = (None, None, None)
NULL = 251
WIDTHS = {252: 2, 253: 3, 254: 8}
"""How many bytes of a length follow such a byte."""


def raw_rows(driver: Any, sql: str, parameters: Any) -> Generator[list[Any]]:
    """Yield rows as they come, each field the bytes that the server sent or None.

    The driver's connection is closed where not all are read: closing its cursor would first read
    all that are left.
    """
    cursor = driver.cursor(SSCursor)
    try:
        cursor.execute(sql, parameters)
        # The driver would make texts and numbers of them, with three calls for each: half of the
        # time that its reading takes.
        setattr(cursor._result, _TAKES_APART, take_apart)
        yield from iter(cursor.fetchone, None)
    except BaseException:
        if cursor._result is not None:
            cursor._result.unbuffered_active = False
        driver.close()
        raise
    cursor.close()


def take_apart(packet: Any) -> list[bytes | None]:
    """Return the fields of a row as the server sent them, each behind its length:

    https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_com_query_response_text_resultset_row.html
    """
    data: bytes = packet.get_all_data()
    fields: list[bytes | None] = []
    at, end = 0, len(data)
    while at < end:
        length = data[at]
        at += 1
        if length == NULL:
            fields.append(None)
            continue
        if length > NULL:
            width = WIDTHS[length]
            length = int.from_bytes(data[at : at + width], "little")
            at += width
        fields.append(data[at : at + length])
        at += length
    return fields


def known_runs(rows: Iterable[Sequence[Any]]) -> KnownRuns:
    """Return runs from raw rows of their id, dag_id, run_id and date."""
    return {number: (dag, run.rstrip(b" "), when) for number, dag, run, when in rows}


def write_raw_rows(rows: Iterable[Sequence[Any]], sink: RowSink, known: KnownRuns | None) -> None:
    """Write raw rows of `streaming.STREAMED` columns into a sink; with `known`, look up their runs."""
    dags, tasks, runs, keys, others = name_memos(sink, _text)
    dates = Memo(lambda date: sink.encode_name("logical_date", iso(_text(date))))
    numbers, write_row = Memo(int), sink.write_row
    time = Times().read if reads_times(sink) else no_time
    for index, run, orphan, stamp, date, run_id, dag, task, key, other, raw in rows:
        if known is not None:
            run_dag, run_name, date = known.get(run, _NO_RUN)
            # Trailing spaces count in a dag_id, and in Airflow's collation not in run_ids.
            is_there = run_dag == dag and run_name == run_id.rstrip(b" ")
            date, orphan = (date, b"0") if is_there else (None, b"1")
        write_row((
            dags[dag], tasks[task], runs[run_id], numbers[index], keys[key], time(stamp), dates[date],
            None if raw is None else len(raw), int(run), orphan != b"0", others[other], None, raw,
        ))  # fmt: skip


def _text(data: bytes | None) -> str | None:
    return None if data is None else data.decode("utf-8")
