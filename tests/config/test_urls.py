"""Database URLs: read as SQLAlchemy reads them, and what they mean for our drivers."""

from __future__ import annotations

import contextlib

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from xcomctl.config import urls
from xcomctl.errors import UsageError


def parts(url: urls.Url | sa.URL) -> tuple[object, ...]:
    """Return what both kinds of URL have."""
    query = {
        name: value if isinstance(value, tuple) else (value,) for name, value in url.query.items()
    }
    return url.username, url.password, url.host, url.port, url.database, query


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://u:p@h/db",
        "postgresql://u@srv:p~1@h:5433/db",
        "postgresql://u@srv@h/db",
        "postgresql://:p@h/db",
        "postgresql://u:@h/db",
        "postgresql://u:p@[::1]:5432/db",
        "postgresql:///db?host=/var/run/postgresql",
        "postgresql://u:p@/db?host=a:1&host=b:2",
        "postgresql://u:a%40b%2Fc@h/db",
        "postgresql://u:p+q@h/db?application_name=a+b",
        "postgresql://h/d@b",
        "mysql+mysqldb://u:a/b?c@h/db?charset=utf8mb4",
        "mysql://u:p:q@h",
        "mysql://",
        "sqlite:///relative/x.db",
        "sqlite:////abs/x.db?timeout=3",
    ],
)
def test_a_url_is_read_as_sqlalchemy_does(text: str) -> None:
    """Whatever works in Airflow: a raw @ in the user, any other character in the password."""
    assert parts(urls.parse(text)) == parts(sa.make_url(text))


_TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=8)


@given(_TEXT, _TEXT, _TEXT, st.integers(1, 65_535), _TEXT)
def test_any_url_means_what_it_means_to_sqlalchemy(
    user: str, password: str, host: str, port: int, database: str
) -> None:
    """Or it is refused."""
    text = f"postgresql://{user}:{password}@{host}:{port}/{database}"
    try:
        ours = urls.parse(text)
    except UsageError:
        return
    theirs = sa.make_url(text)
    # A database's name is decoded by SQLAlchemy from 2.1 on, which no Airflow has yet.
    assert parts(ours)[:4] == parts(theirs)[:4]


@pytest.mark.parametrize(
    ("text", "backend", "driver"),
    [
        ("postgresql://h/d", "postgresql", "psycopg2"),
        ("postgres://h/d", "postgresql", "psycopg2"),
        ("postgresql+asyncpg://h/d", "postgresql", "asyncpg"),
        ("mysql://h/d", "mysql", "mysqldb"),
        ("mariadb+mariadbconnector://h/d", "mysql", "mariadbconnector"),
        ("sqlite+aiosqlite:///d", "sqlite", "aiosqlite"),
        ("some/file.db", "sqlite", "pysqlite"),
        ("/data/env=prod/airflow.db", "sqlite", "pysqlite"),
        ("/home/me@work/airflow.db", "sqlite", "pysqlite"),
    ],
)
def test_product_and_driver_are_told(text: str, backend: str, driver: str) -> None:
    """Of a URL, and of a path."""
    url = urls.parse(text)
    assert (url.backend, url.driver) == (backend, driver)


@pytest.mark.parametrize("url", ["mssql://h/db", "oracle+cx_oracle://h/db", "nonsense://x"])
def test_unknown_product_is_refused(url: str) -> None:
    """The message lists the products that are supported."""
    with pytest.raises(UsageError, match="cannot read a metadata database on"):
        urls.parse(url)


def test_unknown_driver_is_refused() -> None:
    """The nearest one is offered."""
    with pytest.raises(UsageError, match='unknown driver "psycpg2"') as caught:
        urls.parse("postgresql+psycpg2://h/d")
    assert caught.value.hint == 'Did you mean "postgresql+psycopg2"?'


@pytest.mark.parametrize(
    "port", ["x", "0", "65536", "99999999999", "-1", "5_432", "٥", "1.5", "5432x"]
)
def test_an_odd_port_is_refused(port: str) -> None:
    """In the URL and among its options, without repeating it: it may be a password."""
    for text in (f"mysql://u:p@h:{port}/d", f"postgresql://u:p@h:{port}/d"):
        with pytest.raises(UsageError, match="cannot read the url") as caught:
            urls.parse(text)
        assert "65535" in (caught.value.detail or "")
    for backend in ("mysql", "postgresql"):
        with pytest.raises(UsageError, match='the option "port"'):
            urls.parse(f"{backend}://h/d?port={port}").options()


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://u:a@b/c@h/d",
        "postgresql:///u:p@h/d",
        "postgresql:/u:p@h/d",
        "postgresql//u:p@h/d",
        "u:p@h/d",
        "jdbc:postgresql://h/d",
        "host=h dbname=d",
        "sqlite://h/x.db",
        "sqlite:///u:p@h/d",
        "postgresql://h/a%00b",
        "postgresql://h/caf\udce9",
    ],
)
def test_what_is_no_url_is_refused(text: str) -> None:
    """Nothing is looked for on the disk, or connected to, by a part of a password."""
    with pytest.raises(UsageError, match="cannot read the url"):
        urls.parse(text)


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:///relative/x.db", "relative/x.db"),
        ("sqlite:////abs/x.db", "/abs/x.db"),
        ("/abs/x.db", "/abs/x.db"),
        ("x.db", "x.db"),
        ("sqlite:///file:/abs/a%20b.db?mode=ro&uri=true", "/abs/a b.db"),
        ("sqlite:///file:///abs/x.db?uri=true", "/abs/x.db"),
    ],
)
def test_sqlite_url_names_its_file(url: str, path: str) -> None:
    """A URL or a plain path, relative or not."""
    assert str(urls.sqlite_path(url)) == path


@pytest.mark.parametrize(
    "url",
    ["sqlite://", "sqlite:///:memory:", "sqlite:///", "sqlite:///file:x?mode=memory&uri=true"],
)
def test_sqlite_in_memory_is_refused(url: str) -> None:
    """There is nothing to read in a database that only this process has."""
    with pytest.raises(UsageError, match="in memory"):
        urls.sqlite_path(url)


def test_an_unknown_home_is_refused() -> None:
    """`~nobody` is nobody's."""
    with pytest.raises(UsageError, match="home directory"):
        urls.sqlite_path("~no-such-user/airflow.db")


@given(
    st.sampled_from(["", "postgresql://", "mysql://", "sqlite:///", "mysql+mysqlconnector://h/d?"]),
    st.text(max_size=40),
)
def test_whatever_is_given_is_read_or_refused(start: str, text: str) -> None:
    """With our own error: no character, number or option is a bug."""
    with contextlib.suppress(UsageError):
        url = urls.parse(start + text)
        assert isinstance(url.options().arguments, dict)
        if url.backend == "sqlite":
            urls.sqlite_path(start + text)
