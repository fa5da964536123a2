"""GitLab's Code Quality report.

https://docs.gitlab.com/ci/testing/code_quality/#code-quality-report-format
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from xcomctl.formats.findings import located, message_of
from xcomctl.values.strictjson import dumps

if TYPE_CHECKING:
    from xcomctl.formats import Destination, Layout, Row, Writer

_SEVERITY = {"error": "critical", "warning": "minor", "note": "info"}


def writer(name: str, layout: Layout, destination: Destination) -> Writer:
    """Return a writer of `gitlab`."""
    return GitLab(destination)


class GitLab:
    """Writes an array, one finding a line. Fingerprints are unique, as GitLab demands."""

    def __init__(self, destination: Destination) -> None:
        self._out = destination.out
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
