"""JUnit XML for GitLab and Jenkins: a finding that trips the gate is a failed test case.

Other findings are passing cases with output; ignored and known ones are skipped cases. A run
without findings has one passing case, because readers reject a report without cases.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.sax.saxutils import escape, quoteattr

from xcomctl.formats import SUPPRESSED
from xcomctl.formats.findings import located, message_of, rules_of
from xcomctl.text import visible

if TYPE_CHECKING:
    from xcomctl.formats import Destination, Layout, Row, Writer


def writer(name: str, layout: Layout, destination: Destination) -> Writer:
    """Return a writer of `junit`."""
    return JUnit(layout, destination)


class JUnit:
    """Writes one suite. Its counts come first, so cases are kept until the end."""

    def __init__(self, layout: Layout, destination: Destination) -> None:
        self._layout = layout
        self._out = destination.out
        self._cases: list[str] = []
        self._failures = 0
        self._skipped = 0

    def row(self, row: Row) -> None:
        text = message_of(row)
        rule = str(row["rule"])
        advice = rules_of(self._layout)[rule]["help"]
        if row.get("state") in SUPPRESSED:
            self._skipped += 1
            reason = visible(str(row.get("reason") or row["state"]))
            inner = (
                f"<skipped message={quoteattr(reason)}/>\n<system-out>{escape(text)}</system-out>"
            )
        elif row.get("trips"):
            self._failures += 1
            kind = f"{row['severity']}: {rule}"
            inner = (
                f"<failure message={quoteattr(text)} type={quoteattr(kind)}>"
                f"{escape(text)}\n{escape(advice)}</failure>"
            )
        else:
            inner = f"<system-out>{row['severity']}: {escape(text)}</system-out>"
        # Distinct names for several findings of one task, also with --per-entry.
        classname = visible(f"{row['dag_id']}.{row['task_id']}")
        name = visible(f"{rule} {row['key']}{_entry(row)}")
        file = "" if row.get("file") is None else f" file={quoteattr(located(row))}"
        self._cases.append(
            f"<testcase classname={quoteattr(classname)} name={quoteattr(name)}{file}>\n"
            f"{inner}\n</testcase>"
        )

    def end(self) -> None:
        if not self._cases:
            self._cases.append('<testcase classname="xcomctl" name="audit"/>')
        counts = f'tests="{len(self._cases)}" failures="{self._failures}" errors="0"'
        self._out.write(
            f'<?xml version="1.0" encoding="UTF-8"?>\n<testsuites name="xcomctl" {counts}>\n'
            f'<testsuite name="xcomctl audit" {counts} skipped="{self._skipped}">\n'
        )
        for case in self._cases:
            self._out.write(f"{case}\n")
        self._out.write("</testsuite>\n</testsuites>\n")


def _entry(row: Row) -> str:
    example = row["example"]
    if not row.get("per_entry") or not isinstance(example, dict):
        return ""
    return f" {example['run_id']}[{example['map_index']}]"
