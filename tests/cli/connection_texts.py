"""Every form in which a password gets into a connection text, with a canary for the password."""

from __future__ import annotations

import os
from urllib.parse import quote, quote_plus

CANARY = "c4n@ry/p:ss %w0rd?&x"
"""Every character that a URL treats specially."""
PLAIN = "C4n4ryS3cret"

LEAKS = (PLAIN, CANARY, quote(CANARY, safe=""), quote(CANARY), quote_plus(CANARY), "c4n", "w0rd")
"""What may be printed nowhere: the canaries, their spellings and pieces."""

FORMS = (
    # URLs as they should be, to nobody, and to somebody who is not there
    "postgresql://user:{p}@127.0.0.1:1/airflow",
    "postgres://user:{p}@127.0.0.1:1/airflow",
    "postgresql+psycopg2://user:{p}@127.0.0.1:1/airflow?sslmode=require",
    "postgresql+asyncpg://user:{p}@127.0.0.1:1/airflow?ssl=require",
    "postgresql+psycopg://user:{p}@127.0.0.1:1/airflow?application_name=x",
    "postgresql://user:{p}@%2Fno%2Fsocket/airflow",
    "postgresql://user:{p}@[::1]:1/airflow",
    "postgresql://user@server:{p}@127.0.0.1:1/airflow",
    "postgresql://:{p}@127.0.0.1:1/airflow",
    "mysql://user:{p}@127.0.0.1:1/airflow",
    "mysql+mysqldb://user:{p}@127.0.0.1:1/airflow?charset=utf8mb4",
    "mysql+mysqlconnector://user:{p}@127.0.0.1:1/airflow?use_pure=True",
    "mariadb+mariadbconnector://user:{p}@127.0.0.1:1/airflow",
    "mysql+aiomysql://user:{p}@127.0.0.1:1/airflow?unix_socket=/no/socket",
    # the password among the options
    "postgresql://user@127.0.0.1:1/airflow?password={p}",
    "postgresql://127.0.0.1:1/airflow?user=u&password={p}&sslmode=disable",
    "postgresql://user@127.0.0.1:1/airflow?sslpassword={p}",
    "postgresql://user@127.0.0.1:1/airflow?pwd={p}",
    "postgresql://user@127.0.0.1:1/airflow?PASSWORD={p}",
    "postgresql://user@127.0.0.1:1/airflow?pass%77ord={p}",
    "mysql://user@127.0.0.1:1/airflow?passwd={p}",
    "mysql+mysqlconnector://user@127.0.0.1:1/airflow?password1={p}",
    "mysql://user@127.0.0.1:1/airflow?ssl_key_password={p}",
    "mysql://user@127.0.0.1:1/airflow?no_such_option={p}",
    "postgresql://user@127.0.0.1:1/airflow?sslmode={p}",
    "postgresql://user@127.0.0.1:1/airflow?port={p}",
    "sqlite:///no.db?password={p}",
    # malformed
    "postgresql://user:{p}@127.0.0.1:notaport/airflow",
    "postgresql://user:{p}@127.0.0.1:99999/airflow",
    "postgresql://user:{p}@127.0.0.1:0/airflow",
    "postgresql://user:{p}@[::1/airflow",
    "postgresql://user:{p}@",
    "postgresql://user:{p}@/",
    "postgresql://user:{p}/airflow",
    "postgresql://user:{p}",
    "postgresql:///user:{p}@127.0.0.1:1/airflow",
    "mysql:///user:{p}@127.0.0.1:1/airflow",
    "postgresql:/user:{p}@127.0.0.1/airflow",
    "postgresql//user:{p}@127.0.0.1/airflow",
    "postgresql:user:{p}@127.0.0.1/airflow",
    "postgres///user:{p}@127.0.0.1:1/airflow",
    "//user:{p}@127.0.0.1/airflow",
    "user:{p}@127.0.0.1/airflow",
    "user:{p}@127.0.0.1:5432:airflow",
    "sqlite:///user:{p}@127.0.0.1/airflow",
    "sqlite://user:{p}@/airflow.db",
    "'postgresql://user:{p}@127.0.0.1/airflow'",
    "postgresql+nodriver://user:{p}@127.0.0.1/airflow",
    "oracle://user:{p}@127.0.0.1/airflow",
    "nonsense://user:{p}@127.0.0.1",
    # other tools' forms
    "jdbc:postgresql://127.0.0.1:1/airflow?user=u&password={p}",
    "jdbc:mysql://127.0.0.1:1/airflow?user=u&password={p}&useSSL=false",
    "jdbc:mysql:loadbalance://127.0.0.1:1/airflow?password={p}",
    "jdbc:sqlserver://127.0.0.1:1433;databaseName=airflow;user=u;password={p}",
    "jdbc:oracle:thin:u/{p}@127.0.0.1:1521/airflow",
    "host=127.0.0.1 port=1 user=u password={p} dbname=airflow",
    "host=127.0.0.1 password='{p}'",
    "password={p}",
    "Server=127.0.0.1;Uid=u;Pwd={p}",
    "Server=127.0.0.1;Database=airflow;User Id=u;Password={p};",
    "Driver={{PostgreSQL}};Server=127.0.0.1;Port=1;PWD={p};UID=u",
    "mysql -h 127.0.0.1 -u u -p{p}",
    "psql 'host=127.0.0.1 password={p}'",
    "127.0.0.1:5432:airflow:u:{p}",
    "//user:{p}/airflow",
    "sqlite:///user:{p}/airflow",
    "/password={p}",
    '{{"conn_type": "postgres", "login": "u", "password": "{p}"}}',
    "sql_alchemy_conn = postgresql://user:{p}@127.0.0.1/airflow",
    "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN=postgresql://user:{p}@127.0.0.1/airflow",
    "export URL=mysql://user:{p}@127.0.0.1/airflow",
    "postgresql%3A%2F%2Fuser%3A{p}%40127.0.0.1%2Fairflow",
    "user%3A{p}%40127.0.0.1",
)


def connection_texts(turn: int = 0) -> list[str]:
    """Return each form with a plain canary, an awkward one, or that percent-encoded, by turns.

    All three of each with XCOMCTL_EVERY_SPELLING=1, which takes three times as long.
    """
    spellings = (PLAIN, CANARY, quote(CANARY, safe=""))
    every = [form.format(p=password) for form in FORMS for password in spellings]
    return every if os.environ.get("XCOMCTL_EVERY_SPELLING") == "1" else every[turn % 3 :: 3]


def leaks(text: str) -> list[str]:
    """Return the lines that hold a canary or a piece of one."""
    return [line for line in text.splitlines() if any(leak in line for leak in LEAKS)]
