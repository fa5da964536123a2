"""What the options of each driver's URLs mean for the drivers that xcomctl uses.

A metadata database URL is written for the team's driver; xcomctl connects with psycopg2, PyMySQL
or sqlite3. One table per product says what becomes of each option: it is passed on under our
driver's name, it describes TLS, it is dropped (with a note), or it is refused. Sources:
https://docs.sqlalchemy.org/en/20/dialects/mysql.html
https://docs.sqlalchemy.org/en/20/dialects/postgresql.html
https://mysqlclient.readthedocs.io/user_guide.html#functions-and-attributes
https://dev.mysql.com/doc/connector-python/en/connector-python-connectargs.html
https://pymysql.readthedocs.io/en/latest/modules/connections.html
https://aiomysql.readthedocs.io/en/stable/connection.html
https://github.com/long2ice/asyncmy
https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-PARAMKEYWORDS
https://www.psycopg.org/psycopg3/docs/api/connections.html
https://magicstack.github.io/asyncpg/current/api/index.html#connection
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from xcomctl.config import option_values as values
from xcomctl.config.mysql_tls import TLS_OPTIONS, Tls, read_tls
from xcomctl.errors import UsageError
from xcomctl.text import nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Backend = Literal["sqlite", "postgresql", "mysql"]
"""The family of products that a URL is written for; MariaDB's are MySQL's."""

DRIVERS: dict[Backend, tuple[str, ...]] = {
    "sqlite": ("pysqlite", "aiosqlite"),
    "postgresql": ("psycopg2", "psycopg", "psycopg_async", "asyncpg", "pg8000", "psycopg2cffi"),
    "mysql": ("mysqldb", "pymysql", "mysqlconnector", "aiomysql", "asyncmy", "cymysql", "mariadbconnector"),
}  # fmt: skip
"""The drivers whose URLs are understood; the first is the one of a URL that names none."""


@dataclass(frozen=True, slots=True)
class Options:
    """A URL's options for our driver."""

    arguments: Mapping[str, Any] = field(default_factory=dict)
    """Keyword arguments of the driver's `connect`; they win over the URL's other parts."""
    defaults: Mapping[str, Any] = field(default_factory=dict)
    """Arguments from an option file, for what the URL does not say."""
    tls: Tls | None = None
    """MySQL only: None if nothing is said about TLS."""
    dropped: Mapping[str, str] = field(default_factory=dict)
    """Option that is not used, though it would make a difference → why."""


# --- the tables -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Pass:
    """The option goes to our driver, under this name; a value of None is left out."""

    name: str
    parse: Callable[[str], Any] = str


@dataclass(frozen=True, slots=True)
class _Drop:
    """The option is not used, which is worth a note unless its value is one of these."""

    why: str
    fine: tuple[str, ...] = values.FALSE


@dataclass(frozen=True, slots=True)
class _Refuse:
    """The option asks for what our driver cannot do, unless its value is false."""

    why: str


@dataclass(frozen=True, slots=True)
class _ForTls:
    """The option is one of those that `read_tls` reads together."""


_Rule = _Pass | _Drop | _Refuse | _ForTls


def _each(rule: _Rule, names: str) -> dict[str, _Rule]:
    return dict.fromkeys(names.split(), rule)


_RESULTS = _Drop("xcomctl decides how it reads results")
_CHARSET = _Drop("xcomctl always speaks UTF-8", ("utf8", "utf8mb3", "utf8mb4", "utf-8", "unicode"))
_UNICODE = _Drop("xcomctl always speaks UTF-8", values.TRUE)
_POOL = _Drop("xcomctl opens one connection")
_TRANSACTIONS = _Drop("xcomctl decides where a transaction ends")
_OBJECT = _Drop("a URL cannot hold such an object")
_PLUGIN = _Drop("xcomctl loads no plugins")
_FILE_NAME, _GROUP_NAME = "read_default_file", "read_default_group"

_MYSQL: dict[str, _Rule] = {
    # All drivers, or all but Connector/Python; the second name of a pair is Connector/Python's.
    **_each(_Pass("user"), "user username"),
    **_each(_Pass("password"), "password passwd"),
    "host": _Pass("host"),
    "port": _Pass("port", values.port),
    **_each(_Pass("database"), "database db"),
    "unix_socket": _Pass("unix_socket"),
    "init_command": _Pass("init_command"),
    "sql_mode": _Pass("sql_mode"),
    **_each(_Pass("connect_timeout", values.whole_seconds), "connect_timeout connection_timeout"),
    "read_timeout": _Pass("read_timeout", values.seconds),
    "write_timeout": _Pass("write_timeout", values.seconds),
    **_each(_Pass(_FILE_NAME), "read_default_file option_files"),
    **_each(_Pass(_GROUP_NAME), "read_default_group option_groups"),
    "charset": _CHARSET,
    "collation": _Drop("xcomctl compares names byte for byte"),
    "use_unicode": _UNICODE,
    "autocommit": _TRANSACTIONS,
    "compress": _Drop("PyMySQL, which xcomctl uses, cannot compress"),
    **_each(_RESULTS, "client_flag client_flags"),
    **_each(
        _Drop("xcomctl loads no files"),
        "local_infile allow_local_infile allow_local_infile_in_path local_infile_dir",
    ),
    "auth_plugin": _Drop("the server chooses how to authenticate"),
    # mysqlclient
    "named_pipe": _Refuse("PyMySQL, which xcomctl uses, supports no named pipes"),
    **_each(_RESULTS, "multi_statements executemany_fallback"),
    "server_public_key_path": _Pass("server_public_key", values.file_content),
    # PyMySQL, aiomysql, asyncmy
    "program_name": _Pass("program_name"),
    "bind_address": _Pass("bind_address"),
    "max_allowed_packet": _Pass("max_allowed_packet", values.positive),
    "server_public_key": _Pass("server_public_key", str.encode),
    "binary_prefix": _RESULTS,
    **_each(_RESULTS, "echo stmt_cache_size"),
    **_each(_POOL, "defer_connect minsize maxsize pool_recycle async_fallback"),
    **_each(
        _OBJECT,
        "conv cursorclass cursor_cls auth_plugin_map loop sock query_callback password_creator"
        " async_creator_fn",
    ),
    # Connector/Python and MariaDB Connector/Python
    **_each(
        _RESULTS,
        "buffered raw get_warnings raise_on_warnings consume_results converter_str_fallback use_pure",
    ),
    **_each(_OBJECT, "converter_class conn_attrs"),
    **_each(_POOL, "pool_name pool_size pool_reset_session pool_reset_connection reconnect"),
    "time_zone": _Drop("xcomctl reads times in UTC"),
    "force_ipv6": _Drop("the host name decides"),
    **_each(_Drop("the best that both sides support is used"), "tls_versions tls_ciphersuites"),
    **_each(_Drop("the server chooses how to authenticate"), "default_auth plugin_dir"),
    "dns_srv": _Refuse("PyMySQL, which xcomctl uses, does not look up SRV records"),
    "failover": _Refuse("it may name several servers, and xcomctl reads one"),
    "dsn": _Refuse("no driver supports it"),
    **_each(
        _Refuse("PyMySQL, which xcomctl uses, does not support this kind of authentication"),
        "password1 password2 password3 krb_service_principal kerberos_auth_mode oci_config_file"
        " oci_config_profile webauthn_callback openid_token_file",
    ),
    # SQLAlchemy
    "plugin": _PLUGIN,
    **dict.fromkeys(TLS_OPTIONS, _ForTls()),
}

_CACHE = _Drop("xcomctl prepares no statements")

_POSTGRESQL: dict[str, _Rule] = {
    # libpq, and so psycopg2 and psycopg
    **{
        name: _Pass(name)
        for name in _each(
            _OBJECT,
            "service servicefile user password passfile channel_binding dbname host hostaddr options"
            " application_name fallback_application_name keepalives keepalives_idle"
            " keepalives_interval keepalives_count tcp_user_timeout sslnegotiation sslcompression"
            " sslcert sslkey sslkeylogfile sslcertmode sslpassword sslrootcert sslcrl sslcrldir"
            " sslsni requirepeer require_auth ssl_min_protocol_version ssl_max_protocol_version"
            " min_protocol_version max_protocol_version gssencmode krbsrvname gsslib gssdelegation"
            " target_session_attrs load_balance_hosts scram_client_key scram_server_key requiressl"
            " oauth_issuer oauth_client_id oauth_client_secret oauth_scope",
        )
    },
    "sslmode": _Pass("sslmode", values.ssl_mode),
    "port": _Pass("port", values.ports),
    "connect_timeout": _Pass("connect_timeout", values.whole_seconds),
    "client_encoding": _CHARSET,
    "replication": _Refuse("xcomctl reads tables, not a replication stream"),
    # psycopg2, psycopg
    "database": _Pass("dbname"),
    "autocommit": _TRANSACTIONS,
    "prepare_threshold": _CACHE,
    **_each(_OBJECT, "row_factory cursor_factory connection_factory context"),
    **_each(_POOL, "async async_"),
    **_each(_Refuse("its parts belong in the URL"), "dsn conninfo"),
    # asyncpg
    "ssl": _Pass("sslmode", values.ssl_mode),
    "timeout": _Pass("connect_timeout", values.whole_seconds),
    "direct_tls": _Pass("sslnegotiation", values.ssl_negotiation),
    "command_timeout": _Drop("--timeout bounds a statement"),
    **_each(
        _CACHE,
        "statement_cache_size max_cached_statement_lifetime max_cacheable_statement_size"
        " prepared_statement_cache_size prepared_statement_name_func",
    ),
    "async_fallback": _POOL,
    **_each(_OBJECT, "async_creator_fn loop connection_class record_class server_settings"),
    # pg8000
    "ssl_context": _OBJECT,
    "tcp_keepalive": _Drop("libpq sends keepalives"),
    # SQLAlchemy
    "plugin": _PLUGIN,
}

_SQLITE: dict[str, _Rule] = {
    **_each(
        _Drop("xcomctl opens the file its own way"),
        "timeout isolation_level detect_types check_same_thread cached_statements factory autocommit"
        " cache immutable nolock psow vfs modeof",
    ),
    "uri": _Drop("a file: path is always understood", (*values.TRUE, *values.FALSE)),
    "mode": _Drop("xcomctl opens the file its own way", ("ro", "rw", "rwc")),
    **_each(_POOL, "async_fallback iter_chunk_size loop"),
    "plugin": _PLUGIN,
}

_RULES: dict[Backend, dict[str, _Rule]] = {
    "sqlite": _SQLITE,
    "postgresql": _POSTGRESQL,
    "mysql": _MYSQL,
}

_IN_OPTION_FILE: dict[str, _Pass] = {
    "user": _Pass("user"),
    "password": _Pass("password"),
    "host": _Pass("host"),
    "port": _Pass("port", values.port),
    "database": _Pass("database"),
    "socket": _Pass("unix_socket"),
    "bind-address": _Pass("bind_address"),
    "init-command": _Pass("init_command"),
    "connect-timeout": _Pass("connect_timeout", values.whole_seconds),
}
"""The options of an option file that are used, besides `ssl-…`; the rest is for other programs."""


# --- reading ----------------------------------------------------------------------------------


def read_options(backend: Backend, driver: str, query: Mapping[str, tuple[str, ...]]) -> Options:
    """Return what a URL's options (name → values) mean for our driver.

    Raises:
        UsageError: an option is unknown, has an invalid value, or cannot be honoured, or an
            option file cannot be read.
    """
    arguments: dict[str, Any] = {}
    dropped: dict[str, str] = {}
    tls: dict[str, str] = {}
    for name, given in query.items():
        rule = _rule(backend, name, query)
        if isinstance(rule, _Pass):
            parsed = tuple(values.parsed(name, rule.parse, value) for value in given)
            if len(given) > 1 and (backend != "postgresql" or name not in ("host", "port")):
                raise UsageError(f'the URL gives the option "{name}" {len(given)} times')
            if parsed[0] is not None:
                arguments[rule.name] = parsed if len(parsed) > 1 else parsed[0]
        elif isinstance(rule, _ForTls):
            tls[name] = given[-1]
        elif isinstance(rule, _Drop):
            if given[-1].strip().lower() not in rule.fine:
                dropped[name] = rule.why
        elif given[-1].strip().lower() not in values.FALSE:
            raise UsageError(
                f'cannot honour the option "{name}" of the URL',
                detail=f"{rule.why[0].upper()}{rule.why[1:]}.",
                hint="Leave it out, or give another URL with --url.",
            )
    if backend == "postgresql":
        _join_hosts(arguments)
    defaults = _option_file(arguments, dropped, tls) if backend == "mysql" else {}
    return Options(arguments, defaults, read_tls(driver, tls) if tls else None, dropped)


def _join_hosts(arguments: dict[str, Any]) -> None:
    """Make libpq's lists of SQLAlchemy's `?host=a:5432&host=b:5432` and `?host=a&port=5432`.

    https://docs.sqlalchemy.org/en/20/dialects/postgresql.html#specifying-multiple-fallback-hosts
    """
    hosts, port_list = arguments.get("host", ""), arguments.get("port", ())
    tokens = hosts if isinstance(hosts, tuple) else hosts.split(",")
    # One with its port may also be alone; an IPv6 address or a socket's folder has no such end.
    pairs = [re.fullmatch(r"([A-Za-z0-9.-]*):([0-9]*)", token) for token in tokens]
    if any(pairs) and (isinstance(hosts, tuple) or len(tokens) == 1):
        if port_list:
            raise UsageError('the URL gives ports in "host" and in "port"')
        tokens = [pair[1] if pair else token for pair, token in zip(pairs, tokens, strict=True)]
        port_list = [pair[2] if pair else "" for pair in pairs]
        for port in filter(None, port_list):
            values.parsed("host", values.ports, port)
    if isinstance(port_list, str):
        port_list = [port_list]
    if hosts:
        arguments["host"] = ",".join(tokens)
    if port_list:
        arguments["port"] = ",".join(port_list)


def is_valid(name: str, value: str) -> bool:
    """Return whether any driver has this option and the value is a possible one."""
    for rules in _RULES.values():
        rule = rules.get(name)
        if isinstance(rule, _Pass):
            try:
                rule.parse(value)
            except ValueError:
                continue
        if rule is not None:
            return True
    return False


def _rule(backend: Backend, name: str, query: Mapping[str, object]) -> _Rule:
    rules = _RULES[backend]
    rule = rules.get(name)
    if rule is not None:
        return rule
    if backend == "sqlite" and "uri" in query:
        # SQLite ignores what it does not know in a file: URI.
        return _Drop("SQLite does not know it")
    near = nearest(name.lower(), rules)
    shown = name if re.fullmatch(r"[\w.-]{1,40}", name) else "…"
    raise UsageError(
        f'the URL has an unknown option "{shown}"',
        detail="None of Airflow's drivers has it.",
        hint=f'Did you mean "{near}"?' if near else "In a password, write ? as %3F and & as %26.",
    )


def _option_file(
    arguments: dict[str, Any], dropped: dict[str, str], tls: dict[str, str]
) -> dict[str, Any]:
    """Return the arguments that the URL's option file gives, and add its `ssl-…` to `tls`."""
    path, group = arguments.pop(_FILE_NAME, None), arguments.pop(_GROUP_NAME, None)
    if path is None and group is None:
        return {}
    from xcomctl.config.option_file import read_option_file

    try:
        found = read_option_file(path or "/etc/my.cnf", group)
    except FileNotFoundError:
        # The drivers go on without it, too.
        dropped[_FILE_NAME] = "the file does not exist"
        return {}
    for name, value in found.items():
        if value and name.replace("-", "_") in TLS_OPTIONS:
            tls.setdefault(name.replace("-", "_"), value)
    defaults = {
        rule.name: values.parsed(name, rule.parse, found[name], "the option file")
        for name, rule in _IN_OPTION_FILE.items()
        if found.get(name)
    }
    return {name: value for name, value in defaults.items() if value is not None}
