"""The team's decisions about findings: ignores in the configuration, and the baseline."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from xcomctl.audit import rules
from xcomctl.audit.report import Finding, Report, in_order
from xcomctl.config.settings_file import read_text
from xcomctl.errors import UsageError
from xcomctl.model import Size, XComRef
from xcomctl.sizes.notation import format_sizes

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import date
    from pathlib import Path

    from xcomctl.audit.rule import Rule
    from xcomctl.model import Ignore

SCHEMA = "xcomctl.baseline/1"
MAX_BASELINE_BYTES = 256 * 1024 * 1024
"""Of a million findings."""


# --- ignores ----------------------------------------------------------------------------------


def apply_ignores(
    report: Report,
    ignores: Sequence[Ignore],
    *,
    today: date,
    complete: bool,
    file: str | None = None,
) -> Report:
    """Return the report with ignored findings marked, and with expired and unused ignores added.

    `complete` says that no filter was set: only then is an ignore without a finding unused.
    `file` is the configuration file, where ignores are to be fixed.
    """
    used: set[int] = set()
    wanted: set[int] = set()
    found: list[Finding] = []
    for finding in report.findings:
        marked = finding
        for index, ignore in enumerate(ignores):
            if not _applies(ignore, finding):
                continue
            wanted.add(index)
            if _has_expired(ignore, today) or _is_larger(ignore, finding):
                continue
            used.add(index)
            marked = replace(finding, state="ignored", reason=ignore.reason)
            break
        found.append(marked)
    for index, ignore in enumerate(ignores):
        if not _was_checked(ignore, report):
            continue
        if _has_expired(ignore, today) and index in wanted:
            text = f"the ignore of {ignore.rule} expired on {ignore.until}: {ignore.reason}"
            found.append(_upkeep(rules.IGNORE_EXPIRED, ignore, text, file))
        elif complete and index not in wanted:
            text = f"no {ignore.rule} finding matches this ignore: {ignore.reason}"
            found.append(_upkeep(rules.IGNORE_UNUSED, ignore, text, file))
    return replace(report, findings=in_order(_enabled(report, found)))


def _enabled(report: Report, findings: Iterable[Finding]) -> Iterable[Finding]:
    return (one for one in findings if one.rule.id in report.policy.enabled)


def _applies(ignore: Ignore, finding: Finding) -> bool:
    return fnmatchcase(finding.rule.id, ignore.rule) and ignore.matches(
        finding.dag_id, finding.task_id, finding.key
    )


def _has_expired(ignore: Ignore, today: date) -> bool:
    return ignore.until is not None and today > ignore.until


def _is_larger(ignore: Ignore, finding: Finding) -> bool:
    return ignore.max_size is not None and (finding.max_size or 0) > ignore.max_size


def _was_checked(ignore: Ignore, report: Report) -> bool:
    skipped = report.skipped_rules()
    return any(
        fnmatchcase(rule, ignore.rule) for rule in report.policy.enabled if rule not in skipped
    )


def _upkeep(rule: Rule, ignore: Ignore, message: str, file: str | None) -> Finding:
    return Finding(
        rule=rule,
        severity=rule.severity,
        dag_id=ignore.dag_id,
        task_id=ignore.task_id,
        key=ignore.key,
        occurrences=1,
        max_size=None,
        limit=None,
        message=message,
        example=XComRef(ignore.dag_id, ignore.task_id, None, ignore.key),
        file=file,
        variant=ignore.rule,
    )


# --- the baseline -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Growth:
    """How much a known value may grow: a finding is reported again above both caps."""

    share: float = 0.5
    size: Size = field(default_factory=lambda: Size(16 * 1024))

    def exceeded(self, before: int, now: int) -> bool:
        """Return whether a value that grew from `before` to `now` bytes exceeds both caps."""
        parts = round(self.share * 1_000_000)
        return now - before > self.size and (now - before) * 1_000_000 > before * parts


@dataclass(frozen=True, slots=True)
class Baseline:
    """Known findings: the largest size in bytes (None without a size) by fingerprint."""

    sizes: Mapping[str, int | None]


def read_baseline(path: Path) -> Baseline:
    """Return the baseline in a file.

    Raises:
        UsageError: the file cannot be read, or is not a baseline.
    """
    try:
        document: Any = json.loads(read_text(path, MAX_BASELINE_BYTES))
        if document["schema"] != SCHEMA:
            raise ValueError(f'its schema is "{document["schema"]}", not "{SCHEMA}"')
        sizes = {one["fingerprint"]: one["max_size_bytes"] for one in document["findings"]}
        if not all(size is None or isinstance(size, int) for size in sizes.values()):
            raise ValueError("a size in it is not an integer")
    except OSError as error:
        raise UsageError(
            f'could not read the baseline "{path}"',
            detail=error.strerror,
            hint="--update-baseline writes one.",
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        detail = f'"{error.args[0]}" is missing' if isinstance(error, KeyError) else str(error)
        raise UsageError(f'could not read the baseline "{path}"', detail=detail) from None
    return Baseline(sizes)


def apply_baseline(report: Report, baseline: Baseline, growth: Growth) -> Report:
    """Return the report with known findings marked, and a new finding for each that grew."""
    found: list[Finding] = []
    for finding in report.findings:
        known = finding.fingerprint in baseline.sizes and finding.rule is not rules.HIDDEN_ROWS
        if finding.state != "open" or not known:
            found.append(finding)
            continue
        found.append(replace(finding, state="known"))
        before = baseline.sizes[finding.fingerprint]
        if before is not None and growth.exceeded(before, finding.max_size or 0):
            was, now = format_sizes(Size(before), finding.max_size or Size(0))
            found.append(
                replace(
                    finding,
                    rule=rules.GREW,
                    severity=rules.GREW.severity,
                    limit=None,
                    message=f"grew from {was} in the baseline to {now}",
                    variant=finding.rule.id,
                    lead=None,
                )
            )
    return replace(report, findings=in_order(_enabled(report, found)))


def gone(report: Report, baseline: Baseline) -> int:
    """Return how many findings of the baseline no longer exist."""
    found = {finding.fingerprint for finding in report.findings}
    return sum(fingerprint not in found for fingerprint in baseline.sizes)


_NEVER_KNOWN = (rules.GREW, rules.HIDDEN_ROWS, *rules.UPKEEP)
"""Rules whose findings are in no baseline."""


def baseline_text(report: Report) -> str:
    """Return the baseline file for every finding that is not ignored: sorted, one per line."""
    kept = [
        one for one in report.findings if one.state != "ignored" and one.rule not in _NEVER_KNOWN
    ]
    kept.sort(key=lambda one: (one.dag_id, one.task_id, one.key or "", one.rule.id, one.variant))
    size_by_fingerprint: dict[str, int | None] = {}
    for one in kept:
        size = max(size_by_fingerprint.get(one.fingerprint) or 0, one.max_size or 0)
        size_by_fingerprint[one.fingerprint] = None if one.max_size is None else size
    lines: dict[str, str] = {}
    for one in kept:
        entry = {
            "rule": one.rule.id,
            "dag_id": one.dag_id,
            "task_id": one.task_id,
            "key": one.key,
            "max_size_bytes": size_by_fingerprint[one.fingerprint],
            "fingerprint": one.fingerprint,
        }
        lines.setdefault(one.fingerprint, json.dumps(entry))
    body = ",\n    ".join(lines.values())
    inner = f"[\n    {body}\n  ]" if lines else "[]"
    return f'{{\n  "schema": "{SCHEMA}",\n  "findings": {inner}\n}}\n'
