"""A URL's options on real servers: what the driver's own library refuses is a usage error, too."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.metadata import Metadata

if TYPE_CHECKING:
    from tests.conftest import Run
    from tests.servers import Server


@pytest.mark.parametrize(
    "option",
    [
        "target_session_attrs=x",
        "keepalives=x",
        "sslnegotiation=x",
        "port=1,2",
        "service=no-such-service",
        "hostaddr=x",
        "no_such_option=1",
        "sslmode=x",
    ],
)
def test_an_option_that_libpq_refuses_is_a_usage_error(
    run: Run, postgres: Server, option: str
) -> None:
    """With libpq's own words where xcomctl does not know better."""
    done = run("list", env={"XCOMCTL_URL": f"{postgres.create_database()}?{option}"})
    assert done.code == 2, done.err


@pytest.mark.parametrize(
    "options",
    [
        "application_name=x&connect_timeout=3&keepalives=1&options=-cwork_mem%3D8MB",
        "client_encoding=latin1&target_session_attrs=read-write&sslmode=prefer",
    ],
)
@pytest.mark.parametrize("driver", ["psycopg2", "psycopg", "asyncpg"])
def test_options_of_postgresqls_drivers_work(
    run: Run, postgres: Server, driver: str, options: str
) -> None:
    """Those of libpq, and asyncpg's own."""
    url = postgres.create_database()
    Metadata(url).add(b"1")
    if driver == "asyncpg":
        options = "ssl=prefer&timeout=3&command_timeout=9&prepared_statement_cache_size=0"
    text = url.replace("postgresql+psycopg2:", f"postgresql+{driver}:")
    assert f"+{driver}:" in text
    done = run("list", env={"XCOMCTL_URL": f"{text}?{options}"})
    assert done.code == 0, done.err


@pytest.mark.parametrize(
    ("driver", "options"),
    [
        ("mysqldb", "charset=utf8&compress=1&use_unicode=1&connect_timeout=5&sql_mode=ANSI"),
        (
            "mysqlconnector",
            "use_pure=True&buffered=True&connection_timeout=5&collation=utf8mb4_bin",
        ),
        ("aiomysql", "minsize=1&maxsize=2&echo=0&init_command=SELECT+1"),
        ("asyncmy", "read_timeout=9&stmt_cache_size=3"),
        ("pymysql", "charset=utf8mb4&program_name=x&autocommit=true&max_allowed_packet=1048576"),
    ],
)
def test_options_of_mysqls_drivers_work(
    run: Run, mysql_like: Server, driver: str, options: str
) -> None:
    """Those that PyMySQL does not have are left out."""
    url = mysql_like.create_database()
    Metadata(url).add(b"1")
    text = url.partition("?")[0].replace("mysql+pymysql:", f"mysql+{driver}:")
    done = run("list", env={"XCOMCTL_URL": f"{text}?{options}"})
    assert done.code == 0, done.err
