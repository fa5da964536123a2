"""TLS for PyMySQL, whose own `ssl_…` arguments cannot say all that the other drivers' can."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pymysql

from xcomctl.errors import UsageError

if TYPE_CHECKING:
    from xcomctl.config.mysql_tls import Tls

_CR_SSL_CONNECTION_ERROR = 2026
"""https://dev.mysql.com/doc/mysql-errors/8.4/en/client-error-reference.html"""


def tls_context(tls: Tls) -> ssl.SSLContext:
    """Return the context for a connection.

    Raises:
        UsageError: a certificate, key or cipher cannot be used.
    """
    try:
        context = ssl.create_default_context(cafile=_expanded(tls.ca), capath=_expanded(tls.capath))
        # Python 3.13 is stricter than the certificates that MySQL makes for itself.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        context.check_hostname = tls.verify == "identity"
        context.verify_mode = ssl.CERT_NONE if tls.verify == "none" else ssl.CERT_REQUIRED
        if tls.cert or tls.key:
            # Without a password given, OpenSSL would ask for it at the terminal.
            password = tls.key_password or ""
            context.load_cert_chain(
                _expanded(tls.cert or tls.key) or "", _expanded(tls.key), lambda: password
            )
        if tls.cipher:
            context.set_ciphers(tls.cipher)
    except (OSError, ValueError, RuntimeError) as error:
        reason = (
            getattr(error, "reason", None) or getattr(error, "strerror", None) or error.args[-1]
        )
        raise UsageError(
            "cannot use the TLS options of the URL",
            detail=f"{str(reason).rstrip('.')}.",
            hint="Check the files that ssl_ca, ssl_capath, ssl_cert and ssl_key name.",
        ) from None
    return context


def _expanded(path: str | None) -> str | None:
    return None if path is None else str(Path(path).expanduser())


def tls_failed(error: BaseException) -> bool:
    """Return whether a driver's error is about TLS."""
    # PyMySQL wraps what happens in the handshake in the error of an unreachable server, and what
    # the server says of our certificate in the one of a lost connection.
    causes = getattr(error, "original_exception", None), error.__cause__, error.__context__
    said = any(isinstance(cause, ssl.SSLError) for cause in causes)
    return said or error.args[:1] == (_CR_SSL_CONNECTION_ERROR,)


def connect_without_tls(dialect: Any, _record: Any, arguments: Any, named: Any) -> Any:
    """Connect with TLS, or without it to a server that has none, as MySQL's own clients do."""
    try:
        return dialect.connect(*arguments, **named)
    except pymysql.err.OperationalError as error:
        if error.args[:1] != (_CR_SSL_CONNECTION_ERROR,):
            raise
    named = {name: value for name, value in named.items() if name != "ssl"}
    return dialect.connect(*arguments, **named, ssl_disabled=True)


def connect_with_tls(dialect: Any, _record: Any, arguments: Any, named: Any) -> Any:
    """Connect, and refuse a server without TLS, which PyMySQL takes before 1.2."""
    connection = dialect.connect(*arguments, **named)
    if not getattr(connection, "_secure", True):
        connection.close()
        raise pymysql.err.OperationalError(
            _CR_SSL_CONNECTION_ERROR, "SSL is required but the server doesn't support it"
        )
    return connection
