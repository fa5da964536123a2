"""GitHub's workflow commands: annotations on the DAG's file, the worst first.

GitHub shows ten of each severity per step, so a last notice counts the rest.
https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from xcomctl.formats.findings import located, message_of, title_of
from xcomctl.text import visible

if TYPE_CHECKING:
    from xcomctl.formats import Destination, Layout, Row, Writer

_COMMAND = {"error": "error", "warning": "warning", "note": "notice"}
_MOST = {"error": 10, "warning": 10, "note": 9}
"""Findings per severity. One notice is reserved for the count of the rest."""


def writer(name: str, layout: Layout, destination: Destination) -> Writer:
    """Return a writer of `github`."""
    return GitHub(layout, destination)


class GitHub:
    """Writes a line per finding that GitHub will show."""

    def __init__(self, layout: Layout, destination: Destination) -> None:
        self._layout = layout
        self._out = destination.out
        self._seen: Counter[str] = Counter()

    def row(self, row: Row) -> None:
        severity = str(row["severity"])
        self._seen[severity] += 1
        if self._seen[severity] > _MOST[severity]:
            return
        place = f"file={_property(located(row))},line=1," if row.get("file") else ""
        title = _property(f"{row['rule']}: {title_of(self._layout, row)}")
        self._out.write(f"::{_COMMAND[severity]} {place}title={title}::{_data(message_of(row))}\n")

    def end(self) -> None:
        rest = {
            severity: count - _MOST[severity]
            for severity, count in self._seen.items()
            if count > _MOST[severity]
        }
        if rest:
            counts = ", ".join(f"{count} more {severity}s" for severity, count in rest.items())
            text = f"{counts} than GitHub shows; -o sarif or -o markdown has all of them"
            self._out.write(f"::notice title=xcomctl::{_data(text)}\n")
        for line in self._layout.closing():
            # Plain lines of the log: the summary.
            self._out.write(f"{visible(line)}\n")


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
