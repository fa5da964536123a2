"""A password that is given to us is shown nowhere, whatever goes wrong."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
import sqlalchemy as sa

from tests.servers import free_port

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Run
    from tests.servers import Server

CANARY = "c4n@ry/p:ss %w0rd"
"""Every character that a URL treats specially."""

WAYS_TO_WRITE_IT = (CANARY, quote(CANARY, safe=""), quote(CANARY), "c4n", "w0rd")

URLS = (
    "postgresql://user:{p}@127.0.0.1:{port}/airflow",
    "postgres://user:{p}@127.0.0.1:{port}/airflow",
    "postgresql+asyncpg://user:{p}@127.0.0.1:{port}/airflow?ssl=require",
    "postgresql+psycopg2://user:{p}@no-such-host.invalid/airflow",
    "postgresql://user@127.0.0.1:{port}/airflow?password={p}",
    "postgresql://user:{p}@127.0.0.1:notaport/airflow",
    "postgresql://user:{p}@127.0.0.1:99999/airflow",
    "postgresql://user:{p}@[::1/airflow",
    "postgresql://user:{p}@127.0.0.1:{port}/airflow?no_such_option=1",
    "mysql://user:{p}@127.0.0.1:{port}/airflow",
    "mysql+pymysql://user:{p}@no-such-host.invalid/airflow",
    "mysql+mysqldb://user:{p}@127.0.0.1:notaport/airflow",
    "mysql://user:{p}@127.0.0.1:{port}/airflow?no_such_option=1",
    "mysql://user:{p}@127.0.0.1:{port}/airflow?ssl_ca=/no/such/file",
    "mysql://user@127.0.0.1:{port}/airflow?passwd={p}",
    "mariadb+mariadbconnector://user:{p}@127.0.0.1:{port}/airflow",
    "oracle://user:{p}@127.0.0.1/airflow",
    "postgresql:/user:{p}@127.0.0.1/airflow",
    "postgresql//user:{p}@127.0.0.1/airflow",
    "user:{p}@127.0.0.1/airflow",
)


def assert_hidden(*texts: str) -> None:
    for text in texts:
        for written in WAYS_TO_WRITE_IT:
            assert written not in text, text


@pytest.mark.parametrize("shape", URLS)
@pytest.mark.parametrize("encoded", [True, False], ids=["encoded", "as it is"])
def test_no_url_error_shows_it(run: Run, shape: str, encoded: bool) -> None:
    """Unreachable, malformed, misspelled: with --verbose, too."""
    url = shape.format(p=quote(CANARY, safe="") if encoded else CANARY, port=free_port())
    for arguments in (("list", "-v"), ("info", "-v")):
        done = run(*arguments, "--connect-timeout", "2s", env={"XCOMCTL_URL": url})
        assert done.code in (2, 3), done.err
        assert done.stdout == b""
        assert "Traceback" not in done.err
        assert_hidden(done.err, done.out)


@pytest.mark.parametrize("wrong", ["password", "database", "user", "no xcom"])
def test_no_server_error_shows_it(run: Run, server: Server, wrong: str) -> None:
    """Whatever a server says in its refusal."""
    secret = quote(CANARY, safe="")
    user, database = "canary", server.url.database
    create = {
        "postgresql": f"CREATE ROLE canary LOGIN PASSWORD '{CANARY}'",
    }.get(server.backend, f"CREATE USER 'canary'@'%%' IDENTIFIED BY '{CANARY}'")
    drop = "DROP ROLE canary" if server.backend == "postgresql" else "DROP USER 'canary'@'%%'"
    server.execute(create.replace("%w", "%%w"))
    if wrong == "database":
        database = "no_such_database"
    if wrong == "no xcom":
        database = sa.make_url(server.create_database()).database
        if server.backend != "postgresql":
            server.execute(f"GRANT ALL ON {database}.* TO 'canary'@'%%'")
    try:
        scheme = "postgresql" if server.backend == "postgresql" else "mysql"
        given = secret + ("x" if wrong == "password" else "")
        name = "nobody" if wrong == "user" else user
        url = f"{scheme}://{name}:{given}@{server.url.host}:{server.url.port}/{database or ''}"
        for arguments in (("list", "-v"), ("info", "-v"), ("audit",)):
            done = run(*arguments, env={"XCOMCTL_URL": url})
            assert done.code == 3, done.err
            assert_hidden(done.err, done.out)
    finally:
        if wrong == "no xcom" and server.backend == "postgresql":
            server.execute(f"DROP DATABASE {database}")
        server.execute(drop)


def test_no_place_that_names_a_url_shows_it(run: Run, tmp_path: Path) -> None:
    """airflow.cfg, its command, the environment, a profile: found, unreachable, and hidden."""
    url = f"postgresql://user:{quote(CANARY, safe='')}@127.0.0.1:{free_port()}/airflow"
    home = tmp_path / "airflow"
    home.mkdir()
    (home / "airflow.cfg").write_text(f"[database]\nsql_alchemy_conn = {url.replace('%', '%%')}\n")
    command = f"{sys.executable} -c 'print(\"{url}\")'"
    fails = f'{sys.executable} -c \'import sys; print("{url}"); sys.exit("{url}")\''
    (tmp_path / "xcomctl.toml").write_text(
        f'[profiles.a]\nurl = "{url}"\n[profiles.b]\nurl_env = "B"\n'
    )
    for env, code in (
        ({"AIRFLOW_HOME": str(home)}, 3),
        ({"AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": url}, 3),
        ({"AIRFLOW__CORE__SQL_ALCHEMY_CONN_CMD": command}, 3),
        ({"AIRFLOW__CORE__SQL_ALCHEMY_CONN_CMD": fails}, 2),
        ({"XCOMCTL_PROFILE": "a"}, 3),
        ({"XCOMCTL_PROFILE": "b", "B": url}, 3),
    ):
        for arguments in (("list", "-v"), ("info", "-v")):
            done = run(*arguments, env=env)
            assert done.code == code, done.err
            assert_hidden(done.err, done.out)


def test_a_broken_airflow_cfg_shows_no_line_of_it(run: Run, tmp_path: Path) -> None:
    """The parser of such files quotes what it cannot read."""
    (tmp_path / "airflow.cfg").write_text(
        f"[database\nsql_alchemy_conn = postgresql://u:{CANARY}@h/d\n"
    )
    done = run("list", "-v", env={"AIRFLOW_HOME": str(tmp_path)})
    assert done.code == 2
    assert_hidden(done.err)


def test_info_hides_it_where_all_is_well(run: Run, server: Server) -> None:
    """What worked, and what it beat."""
    from tests.metadata import Metadata

    url = server.create_database()
    Metadata(url).add(b"1")
    overridden = f"postgresql://u:{quote(CANARY, safe='')}@h/d"
    for form in ("table", "json", "yaml"):
        done = run(
            "info",
            "-v",
            "-o",
            form,
            env={"XCOMCTL_URL": url, "AIRFLOW__CORE__SQL_ALCHEMY_CONN": overridden},
        )
        assert done.code == 0, done.err
        assert server.url.password is not None
        assert str(server.url.password) not in done.out + done.err
        assert_hidden(done.err, done.out)


def test_a_bug_shows_it_not_even_in_a_traceback(run: Run, tmp_path: Path) -> None:
    """What a driver's frame prints goes through the same sieve."""
    url = f"postgresql://user:{quote(CANARY, safe='')}@127.0.0.1:1/airflow"
    (tmp_path / "sitecustomize.py").write_text(
        "from xcomctl.db.backends.postgresql import PostgreSQL\n"
        "def fail(self, target, *_): raise RuntimeError(target.url)\n"
        "PostgreSQL.__init__ = fail\n"
    )
    from pathlib import Path

    path = f"{tmp_path}:{Path(__file__).parents[2]}"
    done = run("list", "-v", env={"PYTHONPATH": path, "XCOMCTL_URL": url})
    assert done.code == 70, done.err
    assert "Traceback" in done.err
    assert_hidden(done.err)
