"""How much a metadata database holds: sizes on disk, rows, ages, archived XComs, state stores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from xcomctl.db.backends.storage import (
    STATE_STORES,
    StorageFacts,
    TableStorage,
    is_archive,
    optional,
)
from xcomctl.db.backends.times import to_moment
from xcomctl.model import Selection

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from xcomctl.db.backends.base import Element
    from xcomctl.db.read.store import Store

BAND: Final = 1000
"""XComs of the oldest and of the newest runs whose times are looked at; no index orders times."""

_FEW_RUNS: Final = 20


@dataclass(frozen=True, slots=True)
class Inventory:
    """What a metadata database holds. What it does not say, or the role may not ask, is None."""

    xcom: TableStorage
    """Its `rows` are an estimate unless `rows` is known."""
    rows: int | None
    """Exact."""
    dags: int | None
    """DAGs that have an XCom."""
    oldest: datetime | None
    newest: datetime | None
    has_exact_times: bool
    """Whether all XComs were looked at for those, not only the oldest and the newest runs."""
    archives: tuple[TableStorage, ...]
    state_stores: tuple[TableStorage, ...]
    storage: StorageFacts


@dataclass(frozen=True, slots=True)
class _Band:
    rows: int
    oldest: datetime | None
    newest: datetime | None


def take_inventory(store: Store, *, exact: bool) -> Inventory:
    """Return what the database holds, from its catalogue and a few rows.

    With `exact` the whole table is read for the number of rows and their times.

    Raises:
        DatabaseError: the connection was lost, or with `exact` the table cannot be read.
    """
    table = store.table
    with table.explained():
        storage = optional(table.connection, lambda: table.backend.storage_facts(exact=exact))
        storage = storage or StorageFacts()
        dags = optional(table.connection, store.rows.conditions.dag_ids)
        if exact:
            whole = optional(table.connection, lambda: _band(store, None))
            first = last = whole
        else:
            first = optional(table.connection, lambda: _band(store, "oldest"))
            last = optional(table.connection, lambda: _band(store, "newest"))
            whole = first if first is not None and first.rows < BAND else None
    by_name = {one.name: one for one in storage.tables}
    return Inventory(
        xcom=_together([by_name[one] for one in table.xcom_tables if one in by_name]),
        rows=whole.rows if whole else store.entries.count(Selection()) if exact else None,
        dags=None if dags is None else len(dags),
        oldest=None if first is None else first.oldest,
        newest=None if last is None else last.newest,
        has_exact_times=whole is not None,
        archives=tuple(one for name, one in by_name.items() if is_archive(name)),
        state_stores=tuple(by_name[name] for name in STATE_STORES if name in by_name),
        storage=storage,
    )


def _together(tables: Sequence[TableStorage]) -> TableStorage:
    """Return the sums over the tables that hold XComs; None where one is not known."""
    if len(tables) == 1:
        return tables[0]

    def total(name: str) -> int | None:
        numbers = [getattr(one, name) for one in tables]
        return None if not numbers or None in numbers else sum(numbers)

    names = ("rows", "table_bytes", "index_bytes", "toast_bytes", "total_bytes")
    return TableStorage("xcom", *map(total, names))


def _band(store: Store, end: str | None) -> _Band:
    """Return number and times of the XComs at one end of the order of runs, or of all."""
    if end is not None and store.schema.split and store.table.joined:
        # No index has them in this order, and a few runs usually have as many as are wanted.
        of_runs = store.rows.conditions.of_first_runs(_FEW_RUNS, end == "newest")
        found = None if of_runs is None else _times(store, end, of_runs)
        if found is not None and found.rows == BAND:
            return found
    return _times(store, end)


def _times(store: Store, end: str | None, *conditions: Element) -> _Band:
    x = store.table.x
    rows: sa.Select[Any] = sa.select(x.c.timestamp.label("timestamp")).where(*conditions)
    if end is not None:
        order = [x.c[name] for name in store.rows.run_order]
        rows = rows.order_by(*(one.desc() if end == "newest" else one for one in order))
        rows = rows.limit(BAND)
    times = rows.subquery("times")
    moment = times.c.timestamp
    statement = sa.select(sa.func.count(), sa.func.min(moment), sa.func.max(moment))
    number, oldest, newest = store.table.connection.execute(statement.select_from(times)).one()
    return _Band(int(number), to_moment(oldest), to_moment(newest))
