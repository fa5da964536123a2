"""What the `ssl…` options of a MySQL URL mean, by the rules of the driver that it names."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from xcomctl.config.option_values import FALSE, TRUE, boolean, parsed
from xcomctl.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

TLS_OPTIONS = (
    "ssl",
    "ssl_mode",
    "ssl-mode",
    "ssl_disabled",
    "ssl_ca",
    "ssl_capath",
    "ssl_cert",
    "ssl_key",
    "ssl_key_password",
    "ssl_cipher",
    "ssl_check_hostname",
    "ssl_verify_cert",
    "ssl_verify_identity",
)
_STRICT_DRIVERS = ("pymysql", "asyncmy", "aiomysql", "cymysql", "mariadbconnector")
"""With a CA they check the host name, too, and they refuse a server without TLS."""


@dataclass(frozen=True, slots=True)
class Tls:
    """How a MySQL connection is encrypted."""

    verify: Literal["none", "ca", "identity"] = "none"
    """What is checked: nothing, who signed the server's certificate, or also its host name."""
    required: bool = False
    """Whether a server without TLS is refused; otherwise it is used without encryption."""
    disabled: bool = False
    ca: str | None = None
    capath: str | None = None
    cert: str | None = None
    key: str | None = None
    key_password: str | None = None
    cipher: str | None = None


def read_tls(driver: str, given: Mapping[str, str]) -> Tls:
    """Return what the given `ssl…` options say.

    Seen on mysqlclient 2.3.2, PyMySQL 1.2.4, asyncmy 0.2.18 and mysql-connector-python 26.10:
    a CA alone makes PyMySQL and asyncmy check the host name, too; mysqlclient checks who signed
    the certificate; Connector/Python checks nothing before `ssl_verify_cert`, where xcomctl
    checks who signed it. A server without TLS is refused by PyMySQL, and used without encryption
    by the others unless `ssl_mode` or `ssl_verify_cert` says otherwise.

    Raises:
        UsageError: a value is invalid.
    """
    options = {name.replace("-", "_"): value for name, value in given.items()}
    flagged = options.pop("ssl", None)
    if flagged is not None:
        if flagged.strip().lower() in FALSE:
            return Tls(disabled=True)
        options = _described(flagged) | options

    def flag(name: str) -> bool | None:
        return parsed(name, boolean, options[name]) if name in options else None

    if flag("ssl_disabled"):
        return Tls(disabled=True)
    options.pop("ssl_disabled", None)
    strict = driver in _STRICT_DRIVERS
    verified: Literal["none", "ca", "identity"] = "none"
    if "ssl_ca" in options or "ssl_capath" in options:
        verified = "identity" if strict and flag("ssl_check_hostname") is not False else "ca"
    required = flagged is not None or (strict and bool(options))
    if (verify := flag("ssl_verify_cert")) is not None:
        verified, required = ("ca", True) if verify else ("none", required)
    if flag("ssl_verify_identity"):
        verified, required = "identity", True
    tls = Tls(
        verified,
        required,
        ca=options.get("ssl_ca"),
        capath=options.get("ssl_capath"),
        cert=options.get("ssl_cert"),
        key=options.get("ssl_key"),
        key_password=options.get("ssl_key_password"),
        cipher=options.get("ssl_cipher"),
    )
    return _with_mode(tls, options["ssl_mode"]) if "ssl_mode" in options else tls


def _with_mode(tls: Tls, text: str) -> Tls:
    """Apply MySQL's ssl_mode.

    https://dev.mysql.com/doc/refman/8.4/en/connection-options.html#option_general_ssl-mode
    """
    changes: dict[str, Tls] = {
        "DISABLED": Tls(disabled=True),
        "PREFERRED": replace(tls, required=False),
        "REQUIRED": replace(tls, required=True),
        "VERIFY_CA": replace(tls, verify="ca", required=True),
        "VERIFY_IDENTITY": replace(tls, verify="identity", required=True),
    }

    def mode(text: str) -> Tls:
        name = text.strip().upper().replace("-", "_")
        if name not in changes:
            raise ValueError(", ".join(changes))
        return changes[name]

    return parsed("ssl_mode", mode, text)


def _described(text: str) -> dict[str, str]:
    """Return the options that `ssl=` holds: none for a flag, or JSON such as `{"ca": "/path"}`."""
    if text.strip().lower() in TRUE:
        return {}
    import json

    try:
        described = json.loads(text)
    except ValueError:
        described = None
    invalid = UsageError(
        'invalid value for the option "ssl" of the URL',
        hint='Valid values: true, false, or JSON such as {"ca": "/path/to/ca.pem"}.',
    )
    if not isinstance(described, dict):
        raise invalid
    renamed = {"password": "key_password", "verify_mode": "verify_cert"}
    options = {}
    for key, value in described.items():
        name = str(key).replace("-", "_").removeprefix("ssl_")
        name = f"ssl_{renamed.get(name, name)}"
        if name not in TLS_OPTIONS:
            raise invalid
        options[name] = str(value)
    return options
