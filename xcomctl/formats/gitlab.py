"""GitLab's Code Quality report.

https://docs.gitlab.com/ci/testing/code_quality/#code-quality-report-format
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from xcomctl.formats.findings import located, message_of
from xcomctl.values.strictjson import dumps

if TYPE_CHECKING:
    from xcomctl.formats import Layout, Paper, Row, Writer

_SEVERITY = {"error": "critical", "warning": "minor", "note": "info"}


def writer(name: str, layout: Layout, paper: Paper) -> Writer:
    """Return a writer of `gitlab`."""
    return GitLab(paper)


class GitLab:
    """An array, a line for each finding. GitLab takes each fingerprint once."""

    def __init__(self, paper: Paper) -> None:
        self._out = paper.out
        self._seen: dict[str, int] = {}

    def row(self, row: Row) -> None:
        self._out.write(",\n" if self._seen else "[\n")
        fingerprint = str(row["fingerprint"])
        again = self._seen[fingerprint] = self._seen.get(fingerprint, 0) + 1
        if again > 1:
            fingerprint = hashlib.sha256(f"{fingerprint} {again}".encode()).hexdigest()
        issue = {
            "description": message_of(row),
            "check_name": f"xcomctl/{row['rule']}",
            "fingerprint": fingerprint,
            "severity": _SEVERITY[str(row["severity"])],
            "location": {"path": located(row), "lines": {"begin": 1}},
        }
        self._out.write(dumps(issue))

    def end(self) -> None:
        self._out.write("\n]\n" if self._seen else "[]\n")
