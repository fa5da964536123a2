#!/usr/bin/env bash
# Airflow 3's task SDK puts the key of an XCom into a URL without quoting it. A key with "?" or "#" is
# cut there: a task that pushes "rows?" writes the XCom "rows", over whatever was there, and without an
# error. "%2F" in a key becomes a slash.
#
# Seen with apache-airflow-task-sdk 1.3.2 (Airflow 3.3.2) on Python 3.11: the requests of its own client,
# as an HTTP server gets them.
#
#   key 'rows'       is written to /xcoms/dag/run/task/rows
#   key 'rows?'      is written to /xcoms/dag/run/task/rows
#   key 'rows#1'     is written to /xcoms/dag/run/task/rows
#   key '100%25'     is written to /xcoms/dag/run/task/100%
#   key 'a b'        is written to /xcoms/dag/run/task/a b
#
# xcomctl relies on it in values/key_route.py: pull says so, and push refuses such a key.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" -q install --disable-pip-version-check apache-airflow-task-sdk==1.3.2 apache-airflow-core==3.3.2
AIRFLOW_HOME="$folder" "$folder/venv/bin/python" - <<'PYTHON'
import sys
from urllib.parse import unquote

import httpx
from airflow.sdk.api.client import Client

asked = []


def answer(request: httpx.Request) -> httpx.Response:
    # What a server looks at: the path, decoded, without the query.
    asked.append(unquote(request.url.raw_path.decode().split("?")[0]))
    return httpx.Response(201, json={})


client = Client(base_url="http://server", token="", transport=httpx.MockTransport(answer))
expected = {"rows": "rows", "rows?": "rows", "rows#1": "rows", "100%25": "100%", "a b": "a b"}
for key in expected:
    client.xcoms.set("dag", "run", "task", key, "1")
    print(f"key {key!r:12} is written to {asked[-1]}")
sys.exit([path.rpartition("/")[2] for path in asked] != list(expected.values()))
PYTHON
