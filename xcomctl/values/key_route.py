"""How tasks of Airflow 3 address an XCom: by a URL, which cannot carry every key.

The task SDK puts the key into the path of a URL without quoting it, and the API server decodes it:
https://github.com/apache/airflow/blob/main/task-sdk/src/airflow/sdk/api/client.py (`XComOperations`).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import unquote

if TYPE_CHECKING:
    from xcomctl.values.context import Release

_FIRST: Release = (3, 0, 0)
_SLASHES_SINCE: Release = (3, 1, 0)
"""The first release whose route takes a key with slashes."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_OTHER_ROUTE = re.compile(r".*/(?:slice|item/[^/]*)", re.DOTALL)
"""Paths that mean elements of a mapped XCom."""


def key_problem(key: str, release: Release) -> str | None:
    """Return what `xcom_pull` of a release does with a key that it cannot address, else None."""
    if release < _FIRST:
        return None
    if _CONTROL.search(key):
        return "xcom_pull raises InvalidURL: a URL cannot carry the control characters of the key"
    asked = _addressed(key, release)
    if asked == key:
        return None
    if asked is None:
        return "xcom_pull does not find it: a task asks for the key in a URL, which cannot carry it"
    return f'xcom_pull asks for the key "{asked}" instead: a task asks for it in a URL'


def _addressed(key: str, release: Release) -> str | None:
    """Return the key that the API server looks up; None if it looks up none."""
    path = re.split(r"[?#]", key, maxsplit=1)[0]
    segments: list[str] = []
    for segment in path.split("/"):
        if segment == ".." and not segments:
            return None
        if segment == "..":
            segments.pop()
        elif segment != ".":
            segments.append(segment)
    asked = unquote("/".join(segments), errors="replace")
    if release < _SLASHES_SINCE:
        # A slash at the end is redirected to the key without it.
        asked = asked.removesuffix("/")
        return None if "/" in asked or not asked else asked
    return None if not asked or _OTHER_ROUTE.fullmatch(asked) else asked
