#!/usr/bin/env bash
# SQLAlchemy 2.0.54 (and 1.4.54, 2.1.9): an "@" in a URL's option moves the whole URL.
#
# RFC 3986 allows "@" as it is in a query, and urllib.parse reads such a URL as one would guess.
# SQLAlchemy looks for the password first: from the first ":" (here the one in front of the port)
# to the next "@", over "/" and "?". It only does so where the URL has no password of its own.
# With a password in its usual place, the same option is harmless.
#
# Seen:
#   postgresql://airflow@db.example:5432/airflow?application_name=etl@prod
#     urllib     user airflow              host db.example  database /airflow
#     sqlalchemy user airflow@db.example   host prod        database None      options {}
#   postgresql://airflow:pw@db.example:5432/airflow?application_name=etl@prod
#     sqlalchemy user airflow              host db.example  database airflow   options {'application_name': 'etl@prod'}
#
# So Airflow connects to the host "prod". Written %40, the option means what it says.
set -eu
W=$(mktemp -d); trap 'rm -rf "$W"' EXIT
python3 -m venv "$W/venv"
"$W/venv/bin/pip" install -q --disable-pip-version-check 'sqlalchemy==2.0.54'
"$W/venv/bin/python" - <<'PY'
import sys
from urllib.parse import urlsplit

import sqlalchemy
from sqlalchemy.engine import make_url

print("SQLAlchemy", sqlalchemy.__version__)
tail = "db.example:5432/airflow?application_name=etl@prod"
bare, full = f"postgresql://airflow@{tail}", f"postgresql://airflow:pw@{tail}"
parts = urlsplit(bare)
print(bare)
print("  urllib     user", parts.username, "host", parts.hostname, "database", parts.path)
seen = {}
for url in (bare, full, bare.replace("etl@", "etl%40")):
    made = make_url(url)
    seen[url] = (made.username, made.host, made.database, dict(made.query))
    print(url)
    print("  sqlalchemy user", made.username, "host", made.host, "database", made.database, "options", dict(made.query))
right = ("airflow", "db.example", "airflow", {"application_name": "etl@prod"})
expected = [("airflow@db.example", "prod", None, {}), right, right]
sys.exit([*seen.values()] != expected)
PY
