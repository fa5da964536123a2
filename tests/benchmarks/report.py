"""Results as a Markdown table, with what they were measured on."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.benchmarks.operations import Result

HEADER = ("backend", "storage", "rows", "operation", "against", "its s", "xcomctl s", "CPU s", "server CPU s", "peak MB", "result", "bar", "met")  # fmt: skip
_RIGHT = {"rows", "its s", "xcomctl s", "CPU s", "server CPU s", "peak MB", "result"}


def cells(result: Result) -> tuple[str, ...]:
    """Return a result in the order of `HEADER`."""
    sample = result.sample
    told = result.missing or result.told
    if result.failure:
        told = f"FAILED: {result.failure}".replace("|", "\\|")
    met = "" if result.met is None else ("yes" if result.met else "**no**")
    return (
        result.backend,
        result.storage,
        "" if result.rows is None else f"{result.rows:,}",
        result.operation,
        result.floor,
        "" if result.floor_s is None else f"{result.floor_s:.3f}",
        f"{sample.wall_s:.3f}" if sample else "",
        f"{sample.cpu_s:.2f}" if sample else "",
        f"{sample.server_s:.2f}" if sample and sample.server_s else "",
        f"{sample.peak_bytes / 1e6:.0f}" if sample else "",
        told,
        result.bar,
        met,
    )


def markdown(results: Sequence[Result], versions: Mapping[str, str]) -> str:
    """Return the whole report."""
    lines = [
        f"{platform.system()} {platform.machine()}, Python {platform.python_version()}, "
        + ", ".join(f"{backend} {version}" for backend, version in versions.items()),
        "",
        "| " + " | ".join(HEADER) + " |",
        "|" + "|".join("---:" if name in _RIGHT else "---" for name in HEADER) + "|",
        *("| " + " | ".join(cells(result)) + " |" for result in results),
        "",
        verdict(results),
    ]
    return "\n".join(lines) + "\n"


def verdict(results: Sequence[Result]) -> str:
    """Return how many bars are met, and how many operations failed."""
    judged = [result.met for result in results if result.met is not None]
    failed = sum(bool(result.failure) for result in results)
    told = f"{sum(judged)} of {len(judged)} bars met"
    return f"{told}, {failed} FAILED" if failed else told
