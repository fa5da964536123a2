"""Commands that are printed to be run next, on the same database."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from xcomctl.cli.options import Connection


def connection_words(connection: Connection) -> list[str]:
    """Return the options that were typed to name the database, unless they hold a password."""
    from xcomctl.config.redact import shown

    words: list[str] = []
    if connection.url is not None and shown(connection.url) == connection.url:
        words += ["--url", connection.url]
    for option, value in (
        ("--profile", connection.profile),
        ("--airflow-home", connection.airflow_home),
        ("--schema", connection.schema),
        ("--config", connection.config),
    ):
        words += [option, value] if value is not None else []
    return words


def undo_note(connection: Connection, path: str, *, replace: bool) -> str:
    """Return the note that says how an undo file is used."""
    words = ["xcomctl", "import", path, *(["--replace"] if replace else [])]
    return f"to undo this: {shlex.join([*words, *connection_words(connection)])}"
