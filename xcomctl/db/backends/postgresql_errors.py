"""What PostgreSQL's errors mean, by SQLSTATE.

https://www.postgresql.org/docs/current/errcodes-appendix.html
"""

from __future__ import annotations

import re
from typing import Final

from xcomctl.db.backends.diagnosis import READ_ONLY_VIEW, Diagnosis

_GRANT_READ = "GRANT SELECT ON xcom, dag_run, task_instance, dag, alembic_version TO the role."
_GRANT_WRITE = "GRANT SELECT, INSERT, UPDATE, DELETE ON xcom TO the role."
_READ_ONLY = Diagnosis(
    "this server is read-only",
    "It is a standby, or sets default_transaction_read_only. Give the primary's host, or list"
    " all hosts and add target_session_attrs=read-write to the URL.",
)
_NOT_TEXT = Diagnosis(
    "a value is too large for the server to return it as text",
    "It can be read in parts only, with SQL such as value -> 'key'; \"xcomctl list "
    '--sort -size" shows it, and "xcomctl delete" removes it.',
)
_NOT_ENCODED = Diagnosis(
    "a text in the database is not valid in the database's own encoding",
    "Filters that leave its row out avoid it. A database in SQL_ASCII accepts any bytes.",
)
_DAMAGED = Diagnosis(
    "the server found damaged data", "Look at the server's log, and restore a backup."
)
_LOST = Diagnosis(
    "the server closed the connection",
    "It was shut down, restarted or ended this session. Its log has the reason. Try again.",
    "lost",
)
_BY_CODE: Final = {
    "0A000": _READ_ONLY,  # a transaction that is to write begins on a standby
    "23503": Diagnosis(kind="no parent"),
    "23505": Diagnosis(kind="exists"),
    "25006": _READ_ONLY,
    "25P03": _LOST,
    "40001": Diagnosis(
        "a standby ended the statement to apply changes of its primary",
        "Try again, read from the primary, or raise max_standby_streaming_delay on the standby.",
    ),
    "40P01": Diagnosis(kind="locked"),
    "42501": Diagnosis("the role lacks permission to read an Airflow table", _GRANT_READ),
    "53100": Diagnosis("the server's disk is full", "Free some space on the server."),
    "53300": Diagnosis("the server has no free connection", "Try again later."),
    "54000": _NOT_TEXT,
    "55P03": Diagnosis(kind="locked"),
    "57014": Diagnosis(kind="timeout"),
    "57P01": _LOST,
    "57P02": _LOST,
    "57P03": Diagnosis("the server is starting up or shutting down", "Try again later."),
    "57P05": _LOST,
    "XX001": _DAMAGED,
    "XX002": _DAMAGED,
}
_BY_CLASS: Final = {
    "08": _LOST,
    "22": Diagnosis(kind="value"),
    "53": Diagnosis("the server lacks resources", "Look at the server's log. Try again later."),
    "54": Diagnosis(kind="value"),
    "58": Diagnosis("the server's system failed", "Look at the server's log."),
}
"""By the first two characters, where the code itself is not listed."""


def diagnose(
    cause: BaseException, *, writing: bool, closed: bool, silent_s: float | None
) -> Diagnosis:
    """Return what the error of a statement means.

    `closed` says that the connection is gone, and `silent_s` for how long the server was silent
    when it was cut for that.
    """
    code = str(getattr(cause, "pgcode", None) or "")
    if silent_s is not None:
        return Diagnosis(
            f"the server did not answer for {silent_s:.0f} s",
            "Check the network and the server, or raise --timeout (0 = none).",
            "lost",
        )
    if not code:
        return _LOST if closed else Diagnosis()
    if writing:
        if code == "42501":
            return Diagnosis("the role lacks permission to write to Airflow's tables", _GRANT_WRITE)
        if code in ("40001", "54000"):
            return Diagnosis(kind="locked" if code == "40001" else "value")
        if code == "55000":
            return READ_ONLY_VIEW
    elif code in ("22021", "22P05"):
        return _NOT_ENCODED
    elif code in ("53200", "XX000") and _is_too_large(cause):
        return _NOT_TEXT
    return _BY_CODE.get(code) or _BY_CLASS.get(code[:2]) or Diagnosis()


def _is_too_large(cause: BaseException) -> bool:
    # An internal error has no code of its own, and is never translated.
    text = str(cause)
    return "invalid memory alloc request size" in text or "out of memory" in text


_LIBPQ_SAYS: Final = (
    (
        re.compile(
            r"invalid \S+ value|invalid integer value|could not match \d+ |definition of service"
            r"|could not parse network address|service file "
        ),
        Diagnosis(kind="option"),
    ),
    (
        re.compile("Connection refused|could not translate host name|No such file or directory"),
        Diagnosis("no server is listening there", "Check host and port in the URL."),
    ),
    (
        re.compile("timeout expired|Connection timed out"),
        Diagnosis("the server did not answer in time", "Raise --connect-timeout."),
    ),
    (
        re.compile(r"\bSSL error|not support SSL|certificate|private key|SSL negotiation"),
        Diagnosis(
            "TLS failed",
            'Check "sslmode" and the certificates in the URL, or whether the server supports TLS.',
        ),
    ),
    (
        re.compile("password authentication failed|no password supplied"),
        Diagnosis("access denied", "Check user and password in the URL."),
    ),
    (
        re.compile("does not exist"),
        Diagnosis("no such database or role", "Check both in the URL."),
    ),
)
"""libpq has no codes for what happens before a session. In Python's locale it speaks English."""


def diagnose_connecting(cause: BaseException) -> Diagnosis:
    """Return what kept us from connecting."""
    text = str(cause)
    found = next((found for words, found in _LIBPQ_SAYS if words.search(text)), None)
    return found or Diagnosis("the server refused the connection")
