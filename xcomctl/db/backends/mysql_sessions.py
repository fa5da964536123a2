"""Other sessions of a MySQL or MariaDB server: who holds a lock, and how to end our own query."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import pymysql

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Connect = Callable[[], contextlib.AbstractContextManager[Any]]

_METADATA_LOCKS = """
    SELECT holder.processlist_id
    FROM performance_schema.metadata_locks w
    JOIN performance_schema.threads waiter ON waiter.thread_id = w.owner_thread_id
    JOIN performance_schema.metadata_locks h ON h.object_type = w.object_type
     AND h.object_schema <=> w.object_schema AND h.object_name <=> w.object_name
     AND h.owner_thread_id <> w.owner_thread_id AND h.lock_status = 'GRANTED'
     AND h.lock_type NOT IN ('INTENTION_EXCLUSIVE', 'SHARED_HIGH_PRIO')
    JOIN performance_schema.threads holder ON holder.thread_id = h.owner_thread_id
    WHERE waiter.processlist_id = %s AND w.lock_status = 'PENDING'
    ORDER BY h.lock_type IN ('SHARED_READ', 'SHARED_WRITE') LIMIT 3
"""
_HOLDERS = {
    "mysql": (
        "SELECT blocking_pid FROM sys.innodb_lock_waits WHERE waiting_pid = %s LIMIT 3",
        _METADATA_LOCKS,
    ),
    "mariadb": (
        """
        SELECT b.trx_mysql_thread_id FROM information_schema.innodb_lock_waits w
        JOIN information_schema.innodb_trx r ON r.trx_id = w.requesting_trx_id
        JOIN information_schema.innodb_trx b ON b.trx_id = w.blocking_trx_id
        WHERE r.trx_mysql_thread_id = %s LIMIT 3
        """,
        _METADATA_LOCKS,
        """
        SELECT thread_id FROM information_schema.metadata_lock_info
        WHERE table_schema IN (DATABASE(), '') AND table_name IN ('xcom', '')
        AND thread_id <> %s LIMIT 3
        """,
    ),
}
"""The ways to find the sessions that hold what another one waits for, best first.

Each takes privileges, or a plugin, that may be missing.

https://dev.mysql.com/doc/refman/8.4/en/performance-schema-metadata-locks-table.html
https://mariadb.com/kb/en/metadata-lock-info-plugin/
"""
_WAITS = "SELECT state LIKE 'Waiting for%%lock' FROM information_schema.processlist WHERE id = %s"
_OTHERS = """
    SELECT id FROM information_schema.processlist
    WHERE db = DATABASE() AND id NOT IN (%s, CONNECTION_ID())
    AND (command <> 'Sleep' OR id IN (SELECT trx_mysql_thread_id FROM information_schema.innodb_trx))
    LIMIT 4
"""
_SESSIONS = (
    "SELECT id, user, command, time, info FROM information_schema.processlist WHERE id IN %s"
)


class Session:
    """A session of ours, as other connections see it."""

    def __init__(self, product: str, number: int, connect: Connect) -> None:
        """Name a session by its number. `connect` opens another one, and closes it at the end."""
        self._product = product
        self._number = number
        self._connect = connect

    def cancel(self) -> None:
        """End what the session runs, which it would go on with when its client has gone.

        An account may do so to its own sessions.
        """
        with self._connect() as other, other.cursor() as cursor:
            cursor.execute(f"KILL QUERY {self._number}")

    def cut(self) -> None:
        """Do nothing: PyMySQL's own timeouts end its calls."""

    def find_blockers(self) -> Iterator[str]:
        """Yield as often as asked, in sentences, who blocks the session; "" if nobody is known to."""
        with self._connect() as other, other.cursor() as cursor:
            while True:
                yield self._blockers(cursor)

    def _blockers(self, cursor: Any) -> str:
        for query in _HOLDERS[self._product]:
            holders = _ids(cursor, query, self._number)
            if holders:
                return " ".join(f"{one} holds the lock." for one in _described(cursor, holders))
        if not any(_ids(cursor, _WAITS, self._number)):
            return ""
        others = _described(cursor, _ids(cursor, _OTHERS, self._number))
        return f"One of these may hold the lock: {'; '.join(others)}." if others else ""


def _ids(cursor: Any, sql: str, waiting: int) -> list[int]:
    with contextlib.suppress(pymysql.err.Error):
        cursor.execute(sql, (waiting,))
        return [int(row[0]) for row in cursor.fetchall() if row[0] is not None]
    return []


def _described(cursor: Any, sessions: list[int]) -> list[str]:
    if not sessions:
        return []
    cursor.execute(_SESSIONS, (sessions,))
    found = {row[0]: row[1:] for row in cursor.fetchall()}
    described = []
    for session in sessions:
        # Without the PROCESS privilege other accounts' sessions are hidden.
        user, command, seconds, info = found.get(session, (None, None, None, None))
        facts = [f"user {user}" if user else "", f"{command} for {seconds:,} s" if command else ""]
        if info:
            facts.append(" ".join(str(info).split())[:60])
        shown = ", ".join(filter(None, facts))
        described.append(f"Session {session} ({shown})" if shown else f"Session {session}")
    return described
