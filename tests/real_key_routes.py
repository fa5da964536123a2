"""Which key each route of a real Airflow's execution API is asked for; for that Airflow's Python.

Reads a JSON list of keys from stdin, and writes the key that the route of `xcom_pull` gets for each,
or null where another route, or none, is met.
"""

import json
import sys
from urllib.parse import unquote

import httpx
from airflow.api_fastapi.execution_api.routes import xcoms
from starlette.routing import Match


def asked(key: str) -> "str | None":
    url = httpx.Client(base_url="http://x/").build_request("GET", f"dag/run/task/{key}").url
    for path in (unquote(url.raw_path.decode().split("?")[0]),):
        for candidate in (path, path.rstrip("/")):
            scope = {
                "type": "http",
                "method": "GET",
                "path": candidate,
                "root_path": "",
                "headers": [],
            }
            for route in xcoms.router.routes:
                match, found = route.matches(scope)
                if match is Match.FULL:
                    name = found["endpoint"].__name__
                    value: str = found["path_params"].get("key", "")
                    return value if name == "get_xcom" and value else None
    return None


print(json.dumps({key: asked(key) for key in json.load(sys.stdin)}))
