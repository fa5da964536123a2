"""psycopg2's connection under watch: calls that the server does not answer end all the same."""

from __future__ import annotations

import contextlib
import os
import socket
from typing import TYPE_CHECKING, Any

from psycopg2.extensions import connection as Connection  # noqa: N812 - a class in lower case
from psycopg2.extensions import cursor as Cursor  # noqa: N812

from xcomctl.db.backends.postgresql_any_bytes import accept_any_bytes, holds_any_bytes
from xcomctl.db.backends.watch import Watch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from xcomctl.db.backends.watch import Progress


class WatchedConnection(Connection):
    """A connection whose calls are watched from the moment that it is open."""

    def __init__(
        self,
        dsn: str,
        *,
        look_after_s: float | None,
        cut_after_s: float | None,
        connect: Callable[[], contextlib.AbstractContextManager[Any]],
    ) -> None:
        """Connect. `connect` opens a second connection, and closes it at the end."""
        super().__init__(dsn)
        if holds_any_bytes(self):
            accept_any_bytes(self)
        self.backend_pid = self.info.backend_pid
        """Behind a pooler, to be asked of the server in each transaction."""
        self._connect = connect
        self.watch = Watch(self, look_after_s=look_after_s, cut_after_s=cut_after_s)

    def cursor(self, *given: Any, **named: Any) -> Any:
        return super().cursor(*given, **{"cursor_factory": _WatchedCursor, **named})

    def commit(self) -> None:
        with self.watch.call():
            super().commit()

    def rollback(self) -> None:
        with self.watch.call():
            super().rollback()

    def close(self) -> None:
        self.watch.stop()
        super().close()

    def cancel(self) -> None:
        # psycopg2's own cancel() stops every thread for as long as the network takes.
        with self._connect() as other, other.cursor() as cursor:
            cursor.execute("SELECT pg_cancel_backend(%s)", (self.backend_pid,))

    def cut(self) -> None:
        """Let libpq find the end of the connection, wherever it waits."""
        with socket.socket(fileno=os.dup(self.fileno())) as ours:
            ours.shutdown(socket.SHUT_RDWR)

    def find_blockers(self) -> Iterator[str]:
        with self._connect() as other, other.cursor() as cursor:
            while True:
                cursor.execute(_BLOCKERS, (self.backend_pid,))
                yield " ".join(_described(*row) for row in cursor.fetchall())


class _WatchedCursor(Cursor):
    connection: WatchedConnection

    def execute(self, *given: Any, **named: Any) -> None:
        with self.connection.watch.call():
            super().execute(*given, **named)

    def fetchone(self) -> Any:
        with self._asking():
            return super().fetchone()

    def fetchmany(self, *given: Any, **named: Any) -> list[tuple[Any, ...]]:
        with self._asking():
            return super().fetchmany(*given, **named)

    def fetchall(self) -> list[tuple[Any, ...]]:
        with self._asking():
            return super().fetchall()

    def close(self) -> None:
        with self._asking():
            super().close()

    def copy_expert(self, sql: Any, file: Progress, size: int = 8192) -> None:  # type: ignore[override]
        with self.connection.watch.call(file):
            super().copy_expert(sql, file, size)  # type: ignore[arg-type]

    def _asking(self) -> contextlib.AbstractContextManager[None]:
        # Only a named cursor's rows are still on the server.
        return self.connection.watch.call() if self.name else contextlib.nullcontext()


_BLOCKERS = """
    SELECT pid, usename, application_name, state, extract(epoch FROM now() - xact_start)::int
    FROM pg_stat_activity WHERE pid = ANY(pg_blocking_pids(%s)) ORDER BY xact_start LIMIT 3
"""
"""What a role may not see of another's session is NULL."""


def _described(
    pid: int, user: str | None, application: str | None, state: str | None, seconds: int | None
) -> str:
    facts = [f"user {user}" if user else "", application or "", state or ""]
    since = "" if seconds is None else f", in a transaction for {max(seconds, 0):,} s"
    return f"Session {pid} ({', '.join(filter(None, facts))}{since}) holds the lock."
