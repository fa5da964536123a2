"""What the errors of MySQL, MariaDB and PyMySQL mean, by number.

https://dev.mysql.com/doc/mysql-errors/8.4/en/server-error-reference.html
https://mariadb.com/kb/en/mariadb-error-code-reference/
"""

from __future__ import annotations

import socket
from typing import Final

from xcomctl.db.backends.diagnosis import READ_ONLY_VIEW, Diagnosis
from xcomctl.db.backends.mysql_tls import tls_failed

_DENIED = Diagnosis("access denied", "Check user, password and database in the URL.")
_LOST = Diagnosis(
    "the server closed the connection",
    "It was shut down, restarted or ended this session. Its log has the reason. Try again.",
    "lost",
)
_SILENT = Diagnosis(
    "the server did not answer in time",
    "Check the network and the server, or raise --timeout (0 = none).",
    "lost",
)
_LOCKED = Diagnosis(kind="locked")
_NO_PARENT = Diagnosis(kind="no parent")
_READ_ONLY = Diagnosis(
    "this server is read-only", "It is a replica, or sets read_only. Give the primary's host."
)
_TIMEOUT = Diagnosis(kind="timeout")
_TLS = Diagnosis(
    "TLS failed",
    'Check "ssl_ca" and the host name in the URL, or whether the server supports TLS.',
)
_TOO_MANY = Diagnosis("the server has no free connection", "Try again later.")
_DAMAGED = Diagnosis(
    "the server found a damaged table", "Look at the server's log, and restore a backup."
)
_DISK_FULL = Diagnosis("the server's disk is full", "Free some space on the server.")
_VALUE = Diagnosis(kind="value")
_UNREACHABLE = Diagnosis("no server is listening there", "Check host and port in the URL.")
_CONNECT_TIMEOUT = Diagnosis("the server did not answer in time", "Raise --connect-timeout.")

_BY_NUMBER: Final = {
    126: _DAMAGED,
    1021: _DISK_FULL,
    1034: _DAMAGED,
    1040: _TOO_MANY,
    1044: _DENIED,
    1045: _DENIED,
    1047: Diagnosis(
        "this node of the cluster is not accepting statements",
        "It is joining the cluster or has lost it. Try again, or give another node's host.",
    ),
    1049: Diagnosis("no such database", "Check the database in the URL."),
    1053: _LOST,
    1062: Diagnosis(kind="exists"),
    1114: _DISK_FULL,
    1129: Diagnosis("the server has blocked this host", "Run FLUSH HOSTS on the server."),
    1130: Diagnosis(
        "the server does not accept connections from this host", "Create an account for this host."
    ),
    1142: Diagnosis(
        "the account lacks permission to read an Airflow table",
        "GRANT SELECT ON the tables xcom, dag_run, task_instance, dag, alembic_version.",
    ),
    1153: _VALUE,
    1194: _DAMAGED,
    1203: _TOO_MANY,
    1205: _LOCKED,
    1213: _LOCKED,
    1226: _TOO_MANY,
    1264: _VALUE,
    1267: _VALUE,
    1290: _READ_ONLY,
    1317: Diagnosis(
        "the statement was ended by another session", "An administrator ended it. Try again."
    ),
    1366: _VALUE,
    1406: _VALUE,
    1451: _NO_PARENT,
    1452: _NO_PARENT,
    1698: _DENIED,
    1792: _READ_ONLY,
    1836: _READ_ONLY,
    1927: _LOST,
    1969: _TIMEOUT,
    2002: _UNREACHABLE,
    2003: _UNREACHABLE,
    2006: _LOST,
    2013: _LOST,
    2026: _TLS,
    2055: _LOST,
    3024: _TIMEOUT,
    3118: Diagnosis("the account is locked", "Run ALTER USER ... ACCOUNT UNLOCK on the server."),
    3140: _VALUE,
    3141: _VALUE,
    3144: _VALUE,
    3157: _VALUE,
    3572: _LOCKED,
    3854: _VALUE,
    4025: _VALUE,
    4031: _LOST,
}
_BY_NUMBER_WRITING: Final = {
    1142: Diagnosis(
        "the account lacks permission to write to Airflow's tables",
        "GRANT SELECT, INSERT, UPDATE, DELETE ON the table xcom.",
    ),
    1288: READ_ONLY_VIEW,
    1394: READ_ONLY_VIEW,
    1395: READ_ONLY_VIEW,
    1471: READ_ONLY_VIEW,
}
_SAME: Final = {1143: 1142, 145: 126}


def number_of(cause: BaseException) -> int:
    """Return the number of a driver's error; 0 if it has none."""
    first: object = next(iter(cause.args), None)
    return first if isinstance(first, int) else 0


def diagnose(cause: BaseException, *, writing: bool) -> Diagnosis:
    """Return what the error of a statement means."""
    number = number_of(cause)
    number = _SAME.get(number, number)
    if number == 2013 and isinstance(cause.__context__, TimeoutError):
        return _SILENT
    if writing and number in _BY_NUMBER_WRITING:
        return _BY_NUMBER_WRITING[number]
    return _BY_NUMBER.get(number) or Diagnosis()


def diagnose_connecting(cause: BaseException) -> Diagnosis:
    """Return what kept us from connecting."""
    # PyMySQL has one number for all that happens to the socket, and keeps what it was.
    why = getattr(cause, "original_exception", None) or cause.__context__
    if tls_failed(cause):
        return _TLS
    if isinstance(why, TimeoutError):
        return _CONNECT_TIMEOUT
    if isinstance(why, socket.gaierror):
        return Diagnosis("unknown host name", "Check the host in the URL.")
    return diagnose(cause, writing=False)
