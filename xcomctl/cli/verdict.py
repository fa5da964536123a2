"""What an audit says of its findings as a whole: the summary, the totals and the verdict."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xcomctl.cli.findings import pointer, severity_counts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from xcomctl.audit import Report
    from xcomctl.audit.rule import Severity
    from xcomctl.formats import Row


def group_rows(report: Report) -> list[Row]:
    """Return the totals of each dag_id, task_id and key, the most bytes first."""
    groups = sorted(report.totals.items(), key=lambda one: (-one[1].total, *map(str, one[0])))
    return [
        {
            "dag_id": dag_id,
            "task_id": task_id,
            "key": key,
            "entries": totals.entries,
            "total_bytes": totals.total,
            "max_size_bytes": totals.largest,
        }
        for (dag_id, task_id, key), totals in groups
    ]


def summary(report: Report) -> dict[str, object]:
    """Return the `summary` of the JSON document."""
    from xcomctl.audit.rule import Severity

    return {
        "scanned": report.scanned,
        "total_bytes": report.total_bytes,
        "largest_bytes": report.largest,
        "errors": report.count(Severity.ERROR),
        "warnings": report.count(Severity.WARNING),
        "notes": report.count(Severity.NOTE),
        "ignored": sum(one.state == "ignored" for one in report.findings),
        "known": sum(one.state == "known" for one in report.findings),
        "depth": "deep" if report.policy.deep else "sizes",
        "not_looked_at": report.skipped_rules(),
        "pickles_sampled": report.sampled,
    }


def closing_lines(report: Report, threshold: Severity | None, *, quiet: bool) -> list[str]:
    """Return what was not checked, and the verdict; nothing if it passed and `quiet` is set."""
    failed = report.verdict(threshold) != 0
    if quiet and not failed:
        return []
    found = [] if quiet else pointer(report)
    return [*_scope(report), *found, _verdict(report, failed=failed)]


def _scope(report: Report) -> Iterator[str]:
    if report.skipped_rules():
        yield (
            f"checked sizes and headers; skipped {', '.join(report.skipped_rules())} (use --deep)"
        )
    if report.sampled:
        yield "no pickles found (large values sampled; --deep checks every value)"


def _verdict(report: Report, *, failed: bool) -> str:
    """Return one sentence: `passed: 630 XComs, largest 92.8 KiB, limit 1 GB`."""
    from xcomctl.sizes.notation import limit_text, size_and_limit, xcoms

    found = severity_counts(report)
    parts = [f"{found} in {xcoms(report.scanned)}" if found else xcoms(report.scanned)]
    limit = report.policy.limit.size
    if report.largest is None:
        parts.append(f"limit {limit_text(limit)}")
    else:
        largest, bound = size_and_limit(report.largest, limit)
        parts += [f"largest {largest}", f"limit {bound}"]
    for state in ("ignored", "known"):
        number = sum(one.state == state for one in report.findings)
        parts += [f"{number:,} {state}"] * bool(number)
    word = "failed" if failed else "passed" if report.complete else "incomplete"
    return f"{word}: {', '.join(parts)}"
