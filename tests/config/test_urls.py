"""Database URLs: what may be shown, and the spelling that our drivers take."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xcomctl.config import urls
from xcomctl.errors import UsageError

CANARY = "c4n4ry-s3cret"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql://u:p@h/db", "postgresql+psycopg2://u:p@h/db"),
        ("postgres://u:p@h:5433/db", "postgresql+psycopg2://u:p@h:5433/db"),
        ("postgres+psycopg2://u@h/db", "postgresql+psycopg2://u@h/db"),
        ("postgresql+asyncpg://u@h/db?ssl=require", "postgresql+psycopg2://u@h/db?sslmode=require"),
        (
            "postgresql+psycopg://u@h/db?sslmode=verify-full",
            "postgresql+psycopg2://u@h/db?sslmode=verify-full",
        ),
        (
            "postgresql:///db?host=/var/run/postgresql",
            "postgresql+psycopg2:///db?host=/var/run/postgresql",
        ),
        ("postgresql://h/db?service=prod", "postgresql+psycopg2://h/db?service=prod"),
        ("mysql://u:p@h/db?charset=utf8mb4", "mysql+pymysql://u:p@h/db?charset=utf8mb4"),
        ("mysql+mysqldb://u:p@h/db", "mysql+pymysql://u:p@h/db"),
        ("mysql+mysqlconnector://u:p@h/db", "mysql+pymysql://u:p@h/db"),
        ("mysql+aiomysql://u:p@h/db", "mysql+pymysql://u:p@h/db"),
        ("mariadb://u:p@h/db", "mysql+pymysql://u:p@h/db"),
        (
            "mysql:///db?read_default_file=~/.my.cnf",
            "mysql+pymysql:///db?read_default_file=~/.my.cnf",
        ),
        ("mysql://u@h/db?ssl_mode=DISABLED", "mysql+pymysql://u@h/db?ssl_disabled=true"),
        ("mysql://u@h/db?ssl_mode=PREFERRED", "mysql+pymysql://u@h/db"),
        ("mysql+mysqlconnector://u@h/db?ssl_disabled=False", "mysql+pymysql://u@h/db"),
        ("mysql://u@h/db?ssl_disabled=true", "mysql+pymysql://u@h/db?ssl_disabled=true"),
        ("sqlite+aiosqlite:////a/b.db", "sqlite:////a/b.db"),
        ("mysql://u:a/b?c@h/db", "mysql+pymysql://u:a/b?c@h/db"),
    ],
)
def test_url_is_spelled_for_our_driver(url: str, expected: str) -> None:
    """Every driver's URL means the same database through ours."""
    assert urls.with_our_driver(url) == expected


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://user:{CANARY}@host/db",
        f"postgresql://user:{CANARY}@x@host/db",
        f"postgresql://user:x@{CANARY}@host/db",
        f"mysql://user:a?{CANARY}@host/db",
        f"mysql://user:a/{CANARY}@host:3306/db?charset=utf8",
        f"postgresql://host/db?user=u&password={CANARY}",
        f"postgresql://host/db?sslpassword={CANARY}",
        f"mysql://u:{CANARY}@[::1]:99999/db",
        f"nonsense://u:{CANARY}@h",
    ],
)
def test_password_is_hidden_in_every_form_of_url(url: str) -> None:
    """The password is neither shown nor forgotten among the secrets, also where it is malformed."""
    assert CANARY not in urls.hide_password(url)
    assert any(CANARY in secret for secret in urls.secrets_of(url))


def test_decoded_password_is_a_secret_too() -> None:
    """A driver's message holds the decoded password, not what the URL says."""
    assert urls.secrets_of("mysql://u:p%40ss@h/db") == {"p%40ss", "p@ss"}


def test_password_equal_to_the_user_is_no_secret() -> None:
    """Blotting out `airflow` everywhere would hide the user and the database, and no secret."""
    assert urls.secrets_of("postgresql://airflow:airflow@h/airflow") == frozenset()


@pytest.mark.parametrize("url", ["mssql://h/db", "oracle+cx_oracle://h/db", "nonsense://x"])
def test_unknown_product_is_refused(url: str) -> None:
    """What Airflow, or xcomctl, does not run on is named, with what it does."""
    with pytest.raises(UsageError, match="cannot read a metadata DB on"):
        urls.with_our_driver(url)


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:///relative/x.db", "relative/x.db"),
        ("sqlite:////abs/x.db", "/abs/x.db"),
        ("/abs/x.db", "/abs/x.db"),
        ("x.db", "x.db"),
        ("sqlite:///file:/abs/a%20b.db?mode=ro&uri=true", "/abs/a b.db"),
    ],
)
def test_sqlite_url_names_its_file(url: str, path: str) -> None:
    """A URL or a plain path, relative or not."""
    assert str(urls.sqlite_path(url)) == path


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "sqlite:///"])
def test_sqlite_in_memory_is_refused(url: str) -> None:
    """There is nothing to read in a database that only this process has."""
    with pytest.raises(UsageError, match="in memory"):
        urls.sqlite_path(url)


@given(st.text(max_size=60), st.text(min_size=1, max_size=20))
def test_hiding_never_fails_and_never_shows(noise: str, password: str) -> None:
    """Whatever the text, it can be shown, and a password between `:` and `@` never is."""
    urls.hide_password(noise)
    urls.secrets_of(noise)
    shown = urls.hide_password(f"postgresql://u:QQ{password}QQ@h/db")
    assert f"QQ{password}QQ" not in shown


@pytest.mark.parametrize(
    "url", ["postgresql:/user:secret@h/d", "postgresql//user:secret@h/d", "user:secret@h/d"]
)
def test_url_without_its_slashes_is_no_path(url: str) -> None:
    """A password in it is hidden, and it is called what it is."""
    with pytest.raises(UsageError) as error:
        urls.backend_of(url)
    assert url.replace("secret", "***") in error.value.message
    assert urls.secrets_of(url) == {"secret"}
