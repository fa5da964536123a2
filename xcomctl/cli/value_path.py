"""Paths to a part of a value, such as `a.b[0]`."""

from __future__ import annotations

import json
import re

from xcomctl.errors import NotFoundError, UsageError
from xcomctl.text import nearest


def parse_path(text: str) -> list[str | int]:
    """Return the steps of a path such as `a.b[0]` or `["a key"].b`.

    Raises:
        UsageError: it is not a path.
    """
    steps: list[str | int] = []
    rest = text.removeprefix("$").removeprefix(".")
    while rest:
        match = re.match(r"""\[(-?[0-9]{1,18})\]|\[("(?:[^"\\]|\\.)*")\]|\.?([^.\[\]]+)""", rest)
        if not match:
            raise UsageError(
                f'cannot read the path "{text}"',
                hint='Separate keys with dots, and put indexes in brackets: a.b[0], ["a key"].b',
            )
        index, quoted, name = match.groups()
        if index is not None:
            steps.append(int(index))
        else:
            steps.append(name if name is not None else str(json.loads(quoted)))
        rest = rest[match.end() :]
    return steps


def walk(value: object, steps: list[str | int]) -> object:
    """Return the part of the value that the steps lead to.

    Raises:
        NotFoundError: there is no such part.
    """
    walked = "value"
    for step in steps:
        place = f"{walked}[{step}]" if isinstance(step, int) else f"{walked}.{step}"
        if isinstance(step, int) and isinstance(value, list):
            if -len(value) <= step < len(value):
                value, walked = value[step], place
                continue
            raise NotFoundError(
                f"there is no {place}", detail=f"{walked} has {len(value)} elements."
            )
        if isinstance(value, dict):
            name = str(step)
            if name in value:
                value, walked = value[name], place
                continue
            near = nearest(name, value)
            raise NotFoundError(
                f"there is no {place}",
                detail=f"{walked} has {len(value)} keys.",
                hint=f'Did you mean "{near}"?' if near else None,
            )
        raise NotFoundError(
            f"there is no {place}",
            detail=f"{walked} is a {_json_type(value)}, which has no such parts.",
        )
    return value


def _json_type(value: object) -> str:
    names = {bool: "boolean", int: "number", float: "number", str: "string", list: "list"}
    return names.get(type(value), "null")
