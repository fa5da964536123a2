"""The options of every driver that a team may have in its URL."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import pymysql
import pytest

from xcomctl.config import urls
from xcomctl.config.drivers import is_valid
from xcomctl.config.mysql_tls import Tls
from xcomctl.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("url", "arguments"),
    [
        ("mysql+mysqldb://h/d?connect_timeout=5&read_timeout=7", {"connect_timeout": 5, "read_timeout": 7.0}),
        ("mysql+mysqldb://h/d?db=x&passwd=p&user=u&port=3307", {"database": "x", "password": "p", "user": "u", "port": 3307}),
        ("mysql+mysqldb://h/d?init_command=SET+x=1&sql_mode=ANSI", {"init_command": "SET x=1", "sql_mode": "ANSI"}),
        ("mysql+mysqlconnector://h/d?connection_timeout=5", {"connect_timeout": 5}),
        ("mysql+mysqlconnector://h/d?unix_socket=/run/m.sock", {"unix_socket": "/run/m.sock"}),
        ("mysql+pymysql://h/d?program_name=x&max_allowed_packet=1024", {"program_name": "x", "max_allowed_packet": 1024}),
        ("mysql+aiomysql://h/d?connect_timeout=0", {}),
        ("mysql+asyncmy://h/d?read_timeout=1.5", {"read_timeout": 1.5}),
        ("postgresql://h/d?sslmode=verify-full&sslrootcert=/ca.pem", {"sslmode": "verify-full", "sslrootcert": "/ca.pem"}),
        ("postgresql+psycopg://h/d?application_name=x&target_session_attrs=read-write", {"application_name": "x", "target_session_attrs": "read-write"}),
        ("postgresql+psycopg2://h/d?options=-csearch_path%3Daf", {"options": "-csearch_path=af"}),
        ("postgresql+asyncpg://h/d?ssl=require&timeout=3", {"sslmode": "require", "connect_timeout": 3}),
        ("postgresql+asyncpg://h/d?ssl=true&direct_tls=true", {"sslmode": "require", "sslnegotiation": "direct"}),
        ("postgresql://u@/d?host=a:1&host=b:2", {"host": "a,b", "port": "1,2"}),
        ("postgresql://u@/d?host=a&host=b:2", {"host": "a,b", "port": ",2"}),
        ("postgresql://u@/d?host=a:1", {"host": "a", "port": "1"}),
        ("postgresql://u@/d?host=a&host=b&port=1&port=2", {"host": "a,b", "port": "1,2"}),
        ("postgresql://u@/d?host=/run/pg:x", {"host": "/run/pg:x"}),
        ("postgresql://u@/d?host=::1&port=5", {"host": "::1", "port": "5"}),
        ("postgresql://u@/d?host=a,b&port=1,2", {"host": "a,b", "port": "1,2"}),
        ("postgresql+psycopg2://h/d?database=x", {"dbname": "x"}),
    ],
)  # fmt: skip
def test_an_option_becomes_ours(url: str, arguments: dict[str, Any]) -> None:
    """Under our driver's name, of its type; what 0 seconds means to them is left out."""
    options = urls.parse(url).options()
    assert options.arguments == arguments
    assert options.dropped == {}


@pytest.mark.parametrize(
    "url",
    [
        "mysql+mysqldb://h/d?compress=1&charset=latin1&use_unicode=0&local_infile=1&client_flag=4",
        "mysql+mysqldb://h/d?named_pipe=0&binary_prefix=1&multi_statements=1&auth_plugin=x",
        "mysql+mysqlconnector://h/d?use_pure=True&raise_on_warnings=True&buffered=True&collation=x",
        "mysql+mysqlconnector://h/d?pool_name=x&pool_size=3&get_warnings=1&consume_results=1&raw=1",
        "mysql+mysqlconnector://h/d?tls_versions=TLSv1.2&time_zone=UTC&allow_local_infile=1",
        "mysql+pymysql://h/d?autocommit=true&cursorclass=x&defer_connect=1",
        "mysql+aiomysql://h/d?minsize=1&maxsize=2&echo=1&pool_recycle=3",
        "mysql+asyncmy://h/d?stmt_cache_size=1&cursor_cls=x",
        "postgresql+psycopg2://h/d?client_encoding=latin1&async=1&cursor_factory=x",
        "postgresql+psycopg://h/d?autocommit=1&prepare_threshold=5&row_factory=x",
        "postgresql+asyncpg://h/d?prepared_statement_cache_size=9&command_timeout=3&server_settings=x",
        "postgresql+asyncpg://h/d?async_fallback=1&statement_cache_size=9&plugin=x",
        "sqlite+pysqlite:///x.db?timeout=3&check_same_thread=true&detect_types=1&isolation_level=X",
        "sqlite+aiosqlite:///file:x.db?nolock=1&vfs=unix&immutable=1",
    ],
)
def test_an_option_without_use_is_dropped(url: str) -> None:
    """It is named, with the reason, and reaches no driver."""
    parsed = urls.parse(url)
    options = parsed.options()
    assert options.arguments == {}
    assert {*options.dropped} | {"named_pipe"} == {*parsed.query} | {"named_pipe"}
    assert all(options.dropped.values())


@pytest.mark.parametrize(
    "query",
    [
        "mysql+mysqldb://h/d?charset=utf8mb4&use_unicode=1&compress=0&local_infile=0&named_pipe=no",
        "mysql+mysqlconnector://h/d?charset=UTF8&raise_on_warnings=False&buffered=False",
        "postgresql+psycopg2://h/d?client_encoding=utf8",
        "postgresql+asyncpg://h/d?prepared_statement_cache_size=0&statement_cache_size=0",
        "sqlite:///x.db?check_same_thread=false",
        "sqlite:///file:x.db?mode=ro&uri=true",
    ],
)
def test_an_option_that_asks_for_what_is_done_anyway_takes_no_note(query: str) -> None:
    """What Airflow's documentation recommends, for one."""
    options = urls.parse(query).options()
    assert (options.arguments, options.dropped) == ({}, {})


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("mysql://h/d?named_pipe=1", 'cannot honour the option "named_pipe"'),
        ("mysql+mysqlconnector://h/d?dns_srv=true", 'cannot honour the option "dns_srv"'),
        ("mysql+mysqlconnector://h/d?password2=x", 'cannot honour the option "password2"'),
        ("mysql+mysqlconnector://h/d?openid_token_file=x", "cannot honour"),
        ("postgresql://h/d?dsn=x", 'cannot honour the option "dsn"'),
        ("postgresql://h/d?replication=database", "cannot honour"),
        ("postgresql://h/d?sslmod=require", 'unknown option "sslmod"'),
        ("mysql://h/d?ssl-ca=x", 'unknown option "ssl-ca"'),
        ("mysql://h/d?no_such_option=1", 'unknown option "no_such_option"'),
        ("sqlite:///x.db?no_such_option=1", "unknown option"),
        ("mysql://h/d?connect_timeout=soon", 'invalid value for the option "connect_timeout"'),
        ("mysql://h/d?connect_timeout=-1", "invalid value"),
        ("mysql://h/d?read_timeout=nan", "invalid value"),
        ("mysql://h/d?max_allowed_packet=0", "invalid value"),
        ("mysql://h/d?ssl_verify_cert=perhaps", "invalid value"),
        ("mysql://h/d?ssl_mode=STRONG", "invalid value"),
        ("mysql://h/d?ssl=[1]", "invalid value"),
        ("mysql://h/d?ssl={%22x%22:1}", "invalid value"),
        ("mysql://h/d?server_public_key_path=/no/such/file", "invalid value"),
        ("postgresql://h/d?sslmode=strong", "invalid value"),
        ("postgresql://h/d?port=1,x", "invalid value"),
        ("postgresql://h/d?host=a:0", "invalid value"),
        ("postgresql://h/d?host=a:1&host=b&port=3", "gives ports in"),
        ("mysql://h/d?charset=a&unix_socket=a&unix_socket=b", "2 times"),
    ],
)  # fmt: skip
def test_an_option_that_cannot_be_honoured_is_refused(url: str, message: str) -> None:
    """Before anything is connected to, with exit code 2."""
    with pytest.raises(UsageError, match=message):
        urls.parse(url).options()


@pytest.mark.parametrize(
    ("url", "tls"),
    [
        # A CA alone: the name is checked by PyMySQL and asyncmy only, and TLS required by them.
        ("mysql+mysqldb://h/d?ssl_ca=/ca", Tls("ca", False, ca="/ca")),
        ("mysql+mysqlconnector://h/d?ssl_ca=/ca", Tls("ca", False, ca="/ca")),
        ("mysql+pymysql://h/d?ssl_ca=/ca", Tls("identity", True, ca="/ca")),
        ("mysql+asyncmy://h/d?ssl_ca=/ca", Tls("identity", True, ca="/ca")),
        ("mysql+pymysql://h/d?ssl_ca=/ca&ssl_check_hostname=false", Tls("ca", True, ca="/ca")),
        ("mysql+mysqldb://h/d?ssl_capath=/cas", Tls("ca", False, capath="/cas")),
        # mysqlclient's modes
        ("mysql://h/d?ssl_mode=DISABLED", Tls(disabled=True)),
        ("mysql://h/d?ssl_mode=PREFERRED", Tls("none", False)),
        ("mysql://h/d?ssl_mode=REQUIRED", Tls("none", True)),
        ("mysql://h/d?ssl_mode=verify_ca&ssl_ca=/ca", Tls("ca", True, ca="/ca")),
        ("mysql://h/d?ssl-mode=VERIFY_IDENTITY&ssl_ca=/ca", Tls("identity", True, ca="/ca")),
        # Connector/Python's flags
        ("mysql+mysqlconnector://h/d?ssl_disabled=True", Tls(disabled=True)),
        ("mysql+mysqlconnector://h/d?ssl_disabled=False", Tls("none", False)),
        ("mysql+mysqlconnector://h/d?ssl_verify_cert=true", Tls("ca", True)),
        ("mysql+mysqlconnector://h/d?ssl_ca=/ca&ssl_verify_cert=false", Tls("none", False, ca="/ca")),
        ("mysql+mysqlconnector://h/d?ssl_ca=/ca&ssl_verify_identity=true", Tls("identity", True, ca="/ca")),
        # a flag, and JSON
        ("mysql://h/d?ssl=true", Tls("none", True)),
        ("mysql://h/d?ssl=0", Tls(disabled=True)),
        ("mysql+mysqldb://h/d?ssl={%22ca%22:%22/ca%22}", Tls("ca", True, ca="/ca")),
        ("mysql+pymysql://h/d?ssl_cert=/c&ssl_key=/k&ssl_cipher=AES", Tls("none", True, cert="/c", key="/k", cipher="AES")),
    ],
)  # fmt: skip
def test_tls_is_as_the_driver_does_it(url: str, tls: Tls) -> None:
    """What is checked, and whether a server without TLS is refused."""
    assert urls.parse(url).options().tls == tls


def test_an_option_file_fills_the_gaps(tmp_path: Path) -> None:
    """As MySQL reads it: dashes or underscores, quotes, comments, the last value, includes."""
    (tmp_path / "more.cnf").write_text("[client]\nport = 3307\n")
    path = tmp_path / "my.cnf"
    path.write_text(
        '# a comment\n[client]\nuser=first\nuser = \'second\' # why\npassword = "a#b\\"c"\n'
        "ssl-ca=/ca.pem\nprompt=x\nloose-thing\n[mysqld]\nuser=nobody\n[airflow]\ndatabase=af\n"
        "!include more.cnf\n"
    )
    options = urls.parse(f"mysql:///?read_default_file={path}&read_default_group=airflow").options()
    assert options.defaults == {
        "user": "second",
        "password": 'a#b"c',
        "port": 3307,
        "database": "af",
    }
    assert options.arguments == {}
    assert options.tls == Tls("ca", False, ca="/ca.pem")


def test_a_missing_option_file_is_dropped() -> None:
    """Every driver goes on without it."""
    options = urls.parse("mysql://h/d?read_default_file=/no/such/my.cnf").options()
    assert options.dropped == {"read_default_file": "the file does not exist"}


@pytest.mark.parametrize(
    ("content", "where"),
    [
        (b"password=c4n4ry\n[client]\n", "Line 1"),
        (b"[client]\nuser=x\n=c4n4ry\n", "Line 3"),
        (b"[client\npassword=c4n4ry\n", "Line 1"),
        (b"[client]\n!include /no/such/c4n4ry\n", "Line 2"),
        (b"[client]\n!password c4n4ry\n", "Line 2"),
        (b"[client]\npassword=c4n4ry\xff\n", "UTF-8"),
        (b"[client]\nport=c4n4ry\n", "port"),
    ],
)
def test_a_broken_option_file_is_refused_without_quoting_it(
    tmp_path: Path, content: bytes, where: str
) -> None:
    """Its lines hold the password."""
    path = tmp_path / "my.cnf"
    path.write_bytes(content)
    with pytest.raises(UsageError) as caught:
        urls.parse(f"mysql://h/d?read_default_file={path}").options()
    error = caught.value
    said = f"{error.message} {error.detail} {error.hint}"
    assert where in said
    assert "c4n4ry" not in said


def test_an_option_file_that_includes_itself_ends(tmp_path: Path) -> None:
    """As deep as MySQL goes."""
    path = tmp_path / "my.cnf"
    path.write_text(f"[client]\n!include {path}\n")
    with pytest.raises(UsageError, match="option file"):
        urls.parse(f"mysql://h/d?read_default_file={path}").options()


def test_every_option_of_the_installed_pymysql_is_known() -> None:
    """A new version's new option is decided on here, before it surprises anybody."""
    names = {*inspect.signature(pymysql.Connection.__init__).parameters} - {"self"}
    assert [name for name in sorted(names) if not is_valid(name, "1")] == []
