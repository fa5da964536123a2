"""SARIF 2.1.0, with what GitHub code scanning requires.

https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html
https://docs.github.com/en/code-security/code-scanning/integrating-with-code-scanning/sarif-support-for-code-scanning
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote

from xcomctl.formats import SUPPRESSED
from xcomctl.formats.findings import located, message_of, name_of, rules_of
from xcomctl.text import visible
from xcomctl.values.strictjson import dumps

if TYPE_CHECKING:
    from collections.abc import Mapping

    from xcomctl.formats import Destination, Layout, Row, Writer

_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
MOST_RESULTS = 25_000
"""GitHub rejects a file with more results in one run.

https://docs.github.com/en/code-security/reference/code-scanning/sarif-files/sarif-support-for-code-scanning
"""
_SEVERITIES = ("error", "warning", "note")
_HELP_URI = "https://airflow.apache.org/docs/apache-airflow/stable/core-concepts/xcoms.html"


def writer(name: str, layout: Layout, destination: Destination) -> Writer:
    """Return a writer of `sarif`."""
    return Sarif(layout, destination)


class Sarif:
    """Writes one run with its rules, and a result per finding, up to `MOST_RESULTS` of the worst."""

    def __init__(self, layout: Layout, destination: Destination) -> None:
        self._layout = layout
        self._out = destination.out
        self._rules = rules_of(layout)
        self._index = {rule: index for index, rule in enumerate(self._rules)}
        self._results: dict[str, list[dict[str, object]]] = {one: [] for one in _SEVERITIES}
        self._kept = 0
        self._left_out = 0

    def row(self, row: Row) -> None:
        severity = str(row["severity"])
        if self._kept == MOST_RESULTS:
            self._left_out += 1
            least = next(one for one in reversed(_SEVERITIES) if self._results[one])
            if _SEVERITIES.index(severity) >= _SEVERITIES.index(least):
                return
            self._results[least].pop()
            self._kept -= 1
        self._results[severity].append(self._result(row))
        self._kept += 1

    def _result(self, row: Row) -> dict[str, object]:
        rule = str(row["rule"])
        result: dict[str, object] = {
            "ruleId": rule,
            "ruleIndex": self._index[rule],
            "level": row["severity"],
            "message": {"text": message_of(row)},
            "locations": [
                {
                    "physicalLocation": {
                        "artifactLocation": {"uri": quote(located(row), safe="/")},
                        "region": {"startLine": 1},
                    },
                    "logicalLocations": [{"fullyQualifiedName": name_of(row), "kind": "resource"}],
                }
            ],
            "partialFingerprints": {
                "xcomctlFinding/v1": row["fingerprint"],
                "primaryLocationLineHash": f"{row['fingerprint']}:1",
            },
            "properties": {
                name: row.get(name)
                for name in (
                    "dag_id",
                    "task_id",
                    "key",
                    "occurrences",
                    "max_size_bytes",
                    "limit_bytes",
                    "percent",
                    "example",
                )
            },
        }
        state = row.get("state")
        if state in SUPPRESSED:
            suppression = {"kind": "external", "status": "accepted"}
            if row.get("reason"):
                suppression["justification"] = visible(str(row["reason"]))
            result["suppressions"] = [suppression]
        return result

    def end(self) -> str | None:
        warning = None
        if self._left_out:
            warning = (
                f"SARIF has the worst {MOST_RESULTS:,} findings, the most that GitHub accepts; "
                f"{self._left_out:,} were left out"
            )
        before = cast("Mapping[str, Any]", self._layout.before())
        document = {
            "$schema": _SCHEMA,
            "version": "2.1.0",
            "runs": [
                {
                    "tool": {
                        "driver": {
                            "name": "xcomctl",
                            "semanticVersion": self._layout.context["version"],
                            "rules": [self._rule(rule) for rule in self._rules.items()],
                        }
                    },
                    "columnKind": "unicodeCodePoints",
                    "invocations": [_invocation(bool(before.get("complete", True)), warning)],
                    "results": [one for kept in self._results.values() for one in kept],
                }
            ],
        }
        self._out.write(dumps(document, indent=2) + "\n")
        return warning

    @staticmethod
    def _rule(item: tuple[str, Mapping[str, str]]) -> dict[str, object]:
        rule, texts = item
        return {
            "id": rule,
            "name": "".join(part.capitalize() for part in rule.split("-")),
            "shortDescription": {"text": texts["title"]},
            "fullDescription": {"text": texts["help"]},
            "help": {"text": texts["help"], "markdown": texts["help"]},
            "helpUri": _HELP_URI,
            "defaultConfiguration": {"level": texts["severity"]},
            "properties": {
                "tags": ["airflow", "xcom"],
                "precision": "high",
                "problem.severity": "recommendation"
                if texts["severity"] == "note"
                else texts["severity"],
            },
        }


def _invocation(complete: bool, warning: str | None) -> dict[str, object]:
    invocation: dict[str, object] = {"executionSuccessful": complete}
    if warning:
        notification = {"level": "warning", "message": {"text": warning}}
        invocation["toolExecutionNotifications"] = [notification]
    return invocation
