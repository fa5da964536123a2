"""Tells versions of an XCom's row apart, so that each is shown once.

No table of Airflow's has an index by time, and a primary key is not the order of insertion: a
task of an old run may push now, and a replaced XCom keeps its key.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

if TYPE_CHECKING:
    from xcomctl.db.backends.base import Element
    from xcomctl.db.read.table import Table

_WRAP: Final = 2**32
_FIRST_NORMAL_XID: Final = 3


class Versions:
    """By the timestamp, which Airflow sets anew with every push. Any backend, any view."""

    recent_rows: int = 20_000
    """Rows at the end of the table's key that are looked at each time."""
    in_order: bool = False
    """Whether the leading column is the order of insertion, so that nothing appears before its end."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self.leading: Element | None = None
        """The first column of the primary key, an integer; None where there is none."""
        name = table.schema.generation.identity[0]
        if name in ("dag_run_id", "id"):
            self.leading = table.x.c[name]
        # Some drivers take longer for a time than for all else of a row.
        self.moment: Element = table.backend.streamed_time(table.x.c.timestamp)
        """The timestamp, in a form that `to_moment` reads."""
        self.stamp: Element = self.moment
        """What differs between two versions of a row."""

    @property
    def leading_or_0(self) -> Element:
        """Return the leading column, or a constant."""
        return sa.literal(0) if self.leading is None else self.leading

    def state(self) -> object:
        """Return what is equal only if nothing was committed in between, None if unknown."""
        return None

    def mark(self) -> int | None:
        """Return a point that no row that is committed from now on is before; None for none."""
        return None

    def since(self, mark: int | None) -> Element | None:
        """Return whether a row may have been committed after a mark; None where all may."""
        return None

    def is_before(self, stamp: Any, mark: int | None) -> bool:
        """Return whether `since` leaves out the version."""
        return False


class Transactions(Versions):
    """By the number of the transaction that wrote the row (PostgreSQL).

    What is committed after a snapshot was taken has a number that is not below the snapshot's
    oldest open transaction, however late it is committed, in whatever subtransaction:
    https://www.postgresql.org/docs/current/functions-info.html#FUNCTIONS-INFO-SNAPSHOT
    """

    def __init__(self, table: Table) -> None:
        super().__init__(table)
        self.recent_rows = 50_000
        xmin = sa.cast(sa.literal_column("x.xmin"), sa.Text)
        self.stamp = sa.cast(xmin, sa.BigInteger)

    def mark(self) -> int | None:
        # Its newer name, pg_current_snapshot, is not there before release 13.
        oldest = sa.text("SELECT txid_snapshot_xmin(txid_current_snapshot())")
        return int(self._table.connection.scalar(oldest) or 0) % _WRAP

    def since(self, mark: int | None) -> Element | None:
        if mark is None:
            return None
        # Numbers wrap around; half of them are ahead of each.
        ahead = (self.stamp - mark + _WRAP) % _WRAP
        return sa.and_(self.stamp >= _FIRST_NORMAL_XID, ahead < _WRAP // 2)

    def is_before(self, stamp: Any, mark: int | None) -> bool:
        return mark is not None and (stamp - mark) % _WRAP >= _WRAP // 2


class RowIds(Versions):
    """By SQLite's rowid, which grows with every insertion; one writer at a time commits."""

    recent_rows = 1000
    in_order = True

    def __init__(self, table: Table) -> None:
        super().__init__(table)
        self.leading = sa.literal_column("x.rowid", sa.Integer)

    def state(self) -> object:
        return self._table.connection.scalar(sa.text("PRAGMA data_version"))


def versions_of(table: Table) -> Versions:
    """Return the most exact way that the backend and the kind of table allow."""
    backend, connection = table.backend, table.connection
    if table.schema.split:
        return Versions(table)
    if backend.name == "sqlite":
        # Neither a view nor a table WITHOUT ROWID has one.
        made = connection.scalar(
            sa.text("SELECT sql FROM sqlite_master WHERE name = 'xcom' AND type = 'table'")
        )
        if not made or "WITHOUT ROWID" in str(made).upper():
            return Versions(table)
        return RowIds(table)
    if backend.name == "postgresql":
        from xcomctl.db.backends.postgresql_aggregation import about_table

        # Rows of a view have no version.
        name = f'"{backend.target.schema}".xcom' if backend.target.schema else "xcom"
        if about_table(connection, name, "relkind") == "r":
            return Transactions(table)
    return Versions(table)
