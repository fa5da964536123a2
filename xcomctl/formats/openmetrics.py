"""Measurements as a text file that Prometheus's node exporter serves.

Gauges only, so that the text is valid both as OpenMetrics and in Prometheus's older format.
https://github.com/prometheus/OpenMetrics/blob/main/specification/OpenMetrics.md
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, cast

from xcomctl.formats.findings import rules_of, summary_of
from xcomctl.text import visible

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from xcomctl.formats import Destination, Layout, Row, Writer

MOST_GROUPS = 1000
"""Each DAG, task and key has four series, and Prometheus slows down with many of them."""

_MEASURES = (
    ("xcomctl_xcoms", "XComs of this DAG, task and key.", "entries"),
    ("xcomctl_xcom_bytes", "Total size of its values, before compression.", "total_bytes"),
    ("xcomctl_xcom_max_bytes", "Size of its largest value.", "max_size_bytes"),
)


def writer(name: str, layout: Layout, destination: Destination) -> Writer:
    """Return a writer of `openmetrics`."""
    return OpenMetrics(layout, destination)


class OpenMetrics:
    """Writes totals, findings by rule, and the largest DAGs, tasks and keys."""

    def __init__(self, layout: Layout, destination: Destination) -> None:
        self._layout = layout
        self._out = destination.out
        self._found: Counter[tuple[str, str]] = Counter()

    def row(self, row: Row) -> None:
        self._found[str(row["rule"]), str(row["severity"])] += 1

    def end(self) -> None:
        document = cast("Mapping[str, Any]", self._layout.before())
        summary = summary_of(self._layout)
        groups = cast("list[Mapping[str, Any]]", self._layout.context.get("groups", []))
        limits = document["limits"]
        backend = document["backend"]
        self._gauge(
            "xcomctl_metadata_db_info",
            "The metadata database that was checked.",
            [({"backend": backend["name"], "airflow": backend["airflow"]}, 1)],
        )
        self._gauge("xcomctl_scanned", "XComs checked.", [({}, summary["scanned"])])
        self._gauge(
            "xcomctl_scanned_bytes", "Total size of their values.", [({}, summary["total_bytes"])]
        )
        if limits:
            limit = int(limits[0]["bytes"])
            self._gauge("xcomctl_limit_bytes", "The size limit in force.", [({}, limit)])
        outcomes = cast("Mapping[str, int]", summary.get("fates", {}))
        if outcomes:
            text = "XComs that the upgrade would change."
            self._gauge(
                "xcomctl_upgrade", text, [({"fate": one}, outcomes[one]) for one in outcomes]
            )
        for state in ("ignored", "known"):
            text = f"Findings that do not count because they are {state}."
            self._gauge(f"xcomctl_findings_{state}", text, [({}, summary[state])])
        rules = {(rule, texts["severity"]) for rule, texts in rules_of(self._layout).items()}
        self._gauge(
            "xcomctl_findings",
            "Findings by rule.",
            [
                ({"rule": rule, "severity": severity}, self._found[rule, severity])
                for rule, severity in sorted(rules | set(self._found))
            ],
        )
        if limits:
            self._measures(groups, limit)
        self._out.write("# EOF\n")

    def _measures(self, groups: list[Mapping[str, Any]], limit: int) -> None:
        shown = groups[:MOST_GROUPS]
        for name, text, field in _MEASURES:
            self._gauge(name, text, [(_labels(group), group[field]) for group in shown])
        self._gauge(
            "xcomctl_xcom_limit_ratio",
            "Size of its largest value as a share of the limit.",
            [(_labels(group), round(group["max_size_bytes"] / limit, 6)) for group in shown],
        )
        left_out = len(groups) - len(shown)
        self._gauge(
            "xcomctl_groups_left_out", "Smaller groups that are not listed.", [({}, left_out)]
        )

    def _gauge(
        self, name: str, text: str, samples: Iterable[tuple[Mapping[str, str], object]]
    ) -> None:
        self._out.write(f"# TYPE {name} gauge\n# HELP {name} {text}\n")
        for labels, value in samples:
            inner = ",".join(f'{label}="{_escaped(one)}"' for label, one in labels.items())
            braces = f"{{{inner}}}" if inner else ""
            number = int(value) if isinstance(value, int) else value
            self._out.write(f"{name}{braces} {number}\n")


def _labels(group: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(group[name]) for name in ("dag_id", "task_id", "key")}


def _escaped(text: str) -> str:
    # Backslashes first: two ids with one label would make the exporter reject the whole file.
    shown = visible(text.replace("\\", "\\\\"))
    return shown.replace("\\", "\\\\").replace('"', '\\"')
