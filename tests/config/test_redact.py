"""What is shown of a connection text, and of messages that quote one."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.cli.connection_texts import connection_texts, leaks
from xcomctl.config.redact import hide, is_connection, secrets_of, shown, shown_name

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("turn", range(3))
def test_no_form_shows_its_password(turn: int) -> None:
    """Every form, however the password is written."""
    for text in connection_texts(turn):
        assert not leaks(shown(text)), text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("postgresql://u:p@h:5432/db", "postgresql://u:***@h:5432/db"),
        ("postgresql://u@srv:p@h/db", "postgresql://u@srv:***@h/db"),
        ("postgresql://u@h/db", "postgresql://u@h/db"),
        ("postgresql://u:p@[::1]:5432/db", "postgresql://u:***@[::1]:5432/db"),
        ("postgresql://h1:5432,h2:5433/db", "postgresql://h1:5432,h2:5433/db"),
        ("postgresql:///db?host=/var/run/postgresql", "postgresql:///db?host=/var/run/postgresql"),
        ("postgresql://u:a@b/c@h/db", "postgresql://u:***@h/db"),
        ("postgresql://u:secret/db", "postgresql://u:***/db"),
        ("postgresql://u@h/db?sslmode=verify-full&sslrootcert=/etc/ca.pem&password=p",
         "postgresql://u@h/db?sslmode=verify-full&sslrootcert=/etc/ca.pem&password=***"),
        ("mysql://u:a?b@h/db?charset=utf8mb4", "mysql://u:***@h/db?charset=utf8mb4"),
        ("postgresql:/u:p@h/d", "postgresql:/u:***@h/d"),
        ("u:p@h/d", "u:***@h/d"),
        ("jdbc:postgresql://h/d?user=u&password=p", "jdbc:postgresql://h/d?user=u&password=***"),
        ("host=h port=1 user=u password=p dbname=d", "host=h port=1 user=u password=*** dbname=d"),
        ("Server=h;Uid=u;Pwd=p", "Server=h;Uid=u;Pwd=***"),
        ("sqlite:////a/b.db?timeout=3", "sqlite:////a/b.db?timeout=3"),
        ("sqlite:////home/me@work/airflow.db", "sqlite:////home/me@work/airflow.db"),
        ("/data/env=prod/airflow.db", "/data/env=prod/airflow.db"),
        ("my airflow.db", "my airflow.db"),
        ("C:\\airflow\\airflow.db", "C:\\airflow\\airflow.db"),
    ],
)  # fmt: skip
def test_what_is_public_is_shown(text: str, expected: str) -> None:
    """The scheme, user, host, port, database and known options; a path as it is."""
    assert shown(text) == expected


def test_a_file_that_exists_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever its name looks like."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "user=me;x@y.db").touch()
    assert shown("user=me;x@y.db") == "user=me;x@y.db"
    assert shown("user=me;z@y.db") != "user=me;z@y.db"


def test_a_name_is_shown_unless_it_is_a_connection_text() -> None:
    """A profile's name, for one."""
    assert shown_name("prod eu (2)") == "prod eu (2)"
    assert shown_name("postgresql://u:p@h/d") == "postgresql://u:***@h/d"


def test_a_drivers_message_loses_the_password_only() -> None:
    """As it is written in the URL, decoded, and in Python's notation."""
    secrets = secrets_of("mysql://u:p%40ss%27w0rd@h/db")
    assert hide("""cannot use 'p%40ss%27w0rd', "p@ss'w0rd", 'p@ss\\'w0rd'""", secrets) == (
        """cannot use '***', "***", '***'"""
    )
    assert hide("could not reach h", secrets) == "could not reach h"


@pytest.mark.parametrize(
    ("password", "message"),
    [
        ("password", 'FATAL: password authentication failed for user "airflow"'),
        ("postgres", 'connection to server "postgresql" failed'),
        ("1", 'connection to server at "127.0.0.1", port 1 failed'),
        ("FATAL", "FATAL: the database system is starting up"),
    ],
)
def test_a_password_that_is_a_word_does_not_garble_a_message(password: str, message: str) -> None:
    """The gaps would tell what it is."""
    assert hide(message, secrets_of(f"postgresql://airflow:{password}@127.0.0.1:1/db")) == message


def test_a_password_that_is_a_word_is_hidden_where_it_is_quoted() -> None:
    """A driver that quotes it means it."""
    secrets = secrets_of("postgresql://airflow:postgres@h/db")
    assert hide('invalid value "postgres"', secrets) == 'invalid value "***"'


def test_a_password_that_is_public_anyway_is_no_secret() -> None:
    """The user's, the host's or the database's own name."""
    assert secrets_of("postgresql://airflow:airflow@airflow/airflow") == frozenset()


@pytest.mark.parametrize(
    "message",
    [
        "connect(host='h', password='c4n4ry')",
        "{'user': 'u', 'password': 'c4n4ry'}",
        'invalid dsn "host=h password=c4n4ry"',
        "cannot parse postgresql://u:c4n4ry@h/d",
        "cannot parse mysql:/u:c4@n4ry@h/d",
        "PWD=c4n4ry;UID=u",
    ],
)
def test_what_stands_where_a_password_does_is_hidden(message: str) -> None:
    """Also when nobody told us the password."""
    assert "n4ry" not in hide(message)


def test_using_a_password_is_no_password() -> None:
    """MySQL's own words."""
    text = "Access denied for user 'u'@'h' (using password: YES)"
    assert hide(text, ["YES!"]) == text


@given(st.text(max_size=60), st.text(min_size=1, max_size=20))
def test_hiding_never_fails_and_never_shows(noise: str, password: str) -> None:
    """Whatever the text, it can be shown, and a password between `:` and `@` never is."""
    shown(noise)
    hide(noise, secrets_of(noise))
    assert f"QQ{password}QQ" not in shown(f"postgresql://u:QQ{password}QQ@h/db")


@pytest.mark.parametrize("text", ["x" * 100_000, "x-" * 50_000, " " * 100_000, "=" * 100_000])
def test_long_texts_take_no_time(text: str) -> None:
    """As long as a command line can be: in proportion to it, not to its square."""
    begin = time.process_time()
    hide(text)
    is_connection(text)
    assert time.process_time() - begin < 5


def test_a_password_behind_a_long_name_is_hidden() -> None:
    for text in ("x" * 200 + "_password=geheim", "x" * 200 + "mysql://user:geheim@host/db"):
        assert "geheim" not in hide(text)
