"""MySQL over TLS: each driver's URL checks what that driver checks, and a failure says it is TLS."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from tests.metadata import Metadata

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Run
    from tests.servers import Server


@pytest.fixture
def authorities(mysql: Server, tmp_path: Path) -> dict[str, Path]:
    """The CA that signed the server's certificate, which is for no host's name, and another."""
    if mysql.folder is None:
        pytest.skip("the CA of a server that the tests did not start is not known")
    other = tmp_path / "other.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=other",
         "-keyout", tmp_path / "other.key", "-out", other],
        check=True, capture_output=True,
    )  # fmt: skip
    return {"ca": mysql.folder / "data" / "ca.pem", "other": other}


@pytest.mark.parametrize(
    ("driver", "query", "works"),
    [
        ("mysqldb", "ssl_ca={ca}", True),
        ("mysqldb", "ssl_ca={other}", False),
        ("mysqldb", "ssl_mode=REQUIRED", True),
        ("mysqldb", "ssl_mode=VERIFY_CA", False),
        ("mysqldb", "ssl_mode=VERIFY_IDENTITY&ssl_ca={ca}", False),
        ("mysqlconnector", "ssl_ca={ca}", True),
        ("mysqlconnector", "ssl_ca={ca}&ssl_verify_cert=true", True),
        ("mysqlconnector", "ssl_ca={ca}&ssl_verify_identity=true", False),
        ("pymysql", "ssl_ca={ca}", False),
        ("pymysql", "ssl_ca={ca}&ssl_check_hostname=false", True),
        ("pymysql", "ssl_ca={other}&ssl_check_hostname=false", False),
        ("asyncmy", "ssl_ca={ca}", False),
    ],
)
def test_a_certificate_is_checked_as_the_driver_does(
    run: Run, mysql: Server, authorities: dict[str, Path], driver: str, query: str, works: bool
) -> None:
    """As seen on each of them with this server's own certificates."""
    url = mysql.create_database()
    Metadata(url).add(b"1")
    address = sa.make_url(url).set(drivername=f"mysql+{driver}", query={})
    text = f"{address.render_as_string(hide_password=False)}?{query.format(**authorities)}"
    done = run("list", env={"XCOMCTL_URL": text})
    assert done.code == (0 if works else 3), done.err
    assert ("TLS failed" in done.err) is not works
    assert "no server is listening" not in done.err


@pytest.mark.parametrize(
    ("driver", "query", "works"),
    [
        ("mysqldb", "ssl_ca={ca}", True),
        ("mysqldb", "ssl_mode=PREFERRED", True),
        ("mysqldb", "ssl_mode=REQUIRED", False),
        ("mysqlconnector", "ssl_ca={ca}", True),
        ("mysqlconnector", "ssl_ca={ca}&ssl_verify_cert=true", False),
        ("pymysql", "ssl_ca={ca}", False),
    ],
)
def test_a_server_without_tls_is_used_as_the_driver_does(
    run: Run, any_server: object, tmp_path: Path, driver: str, query: str, works: bool
) -> None:
    """MariaDB here has no certificate."""
    assert callable(any_server)
    server: Server = any_server("mariadb")
    if dict(server.execute("SHOW VARIABLES LIKE 'have_ssl'")).get("have_ssl") == "YES":
        pytest.skip("this MariaDB has TLS")
    url = server.create_database()
    Metadata(url).add(b"1")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=x",
         "-keyout", tmp_path / "x.key", "-out", tmp_path / "x.pem"],
        check=True, capture_output=True,
    )  # fmt: skip
    address = sa.make_url(url).set(drivername=f"mysql+{driver}", query={})
    given = query.format(ca=tmp_path / "x.pem")
    text = f"{address.render_as_string(hide_password=False)}?{given}"
    done = run("info", env={"XCOMCTL_URL": text})
    assert done.code == (0 if works else 3), done.err
    assert ("TLS failed" in done.err) is not works
    assert ("the connection is not encrypted" in done.err) is works


@pytest.mark.parametrize("option", ["ssl_ca=/no/such", "ssl_capath=/no/such&ssl_cert=/no/such", "ssl_cipher=NONE"])  # fmt: skip
def test_certificates_that_cannot_be_used_are_refused(run: Run, option: str) -> None:
    """Before anything is connected to."""
    done = run("list", env={"XCOMCTL_URL": f"mysql://u:p@127.0.0.1:1/d?{option}"})
    assert done.code == 2
    assert "cannot use the TLS options" in done.err


def test_a_postgresql_server_without_tls_says_so(run: Run, postgres: Server) -> None:
    """Not that nothing answers."""
    url = postgres.create_database()
    done = run("list", env={"XCOMCTL_URL": f"{url}?sslmode=require"})
    assert done.code == 3
    assert "TLS failed" in done.err


@pytest.mark.parametrize("password", ["pä€ss", "päss"])
def test_a_password_is_sent_as_the_driver_sends_it(
    run: Run, mysql_like: Server, password: str
) -> None:
    """In UTF-8 by mysqlclient, also where Latin-1 could say it."""
    url = mysql_like.create_database()
    Metadata(url).add(b"1")
    mysql_like.execute(f"CREATE USER 'umlaut'@'%%' IDENTIFIED BY '{password}'")
    mysql_like.execute("GRANT SELECT ON *.* TO 'umlaut'@'%%'")
    try:
        address = sa.make_url(url).set(
            drivername="mysql+mysqldb", username="umlaut", password=password, query={}
        )
        done = run("list", env={"XCOMCTL_URL": address.render_as_string(hide_password=False)})
        assert done.code == 0, done.err
    finally:
        mysql_like.execute("DROP USER 'umlaut'@'%%'")
