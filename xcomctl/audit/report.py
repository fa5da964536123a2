"""The audit's result: findings, how many XComs were checked, and the verdict."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from xcomctl.audit import rules
from xcomctl.model import Size

if TYPE_CHECKING:
    from collections.abc import Iterable

    from xcomctl.audit.policy import Policy
    from xcomctl.audit.rule import Rule, Severity
    from xcomctl.model import XComRef

State = Literal["open", "ignored", "known"]
"""Whether a finding counts: `ignored` by the configuration, `known` from the baseline, or `open`."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A rule that the XComs of one dag_id, task_id and key violate."""

    rule: Rule
    severity: Severity
    dag_id: str
    task_id: str
    key: str | None
    occurrences: int
    """How many XComs violate it."""
    max_size: Size | None
    limit: Size | None
    message: str
    example: XComRef
    """The largest of those XComs."""
    file: str | None = None
    """The DAG's source file, as a path in the repository."""
    state: State = "open"
    """Only open findings affect the verdict."""
    reason: str | None = None
    """Why it is ignored."""
    variant: str = ""
    """Distinguishes findings of one rule on the same XComs."""
    deployment: str | None = None
    """Where it is, among several."""
    lead: Finding | None = None
    """The same finding of only those XComs that violate no graver rule, if they are fewer.

    Its `occurrences` is 0 if there are none. Tables for people show each XCom once, this way.
    """

    @property
    def fingerprint(self) -> str:
        """Return an identifier that is stable between runs: it contains neither run nor size."""
        names = (self.rule.id, self.dag_id, self.task_id, repr(self.key), self.variant)
        name = "\0".join(name for name in names if name)
        return hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()

    @property
    def percent(self) -> float | None:
        """Return the largest size as a percentage of the limit."""
        if self.max_size is None or not self.limit:
            return None
        return round(100 * self.max_size / self.limit, 2)


@dataclass(slots=True)
class GroupTotals:
    """Totals of the XComs of one dag_id, task_id and key; sizes in bytes."""

    entries: int = 0
    total: int = 0
    largest: int = 0


@dataclass(slots=True)
class Report:
    """Everything an audit found."""

    policy: Policy
    findings: list[Finding] = field(default_factory=list)
    scanned: int = 0
    """How many XComs were checked."""
    total_bytes: int = 0
    largest: Size | None = None
    """Of one XCom; None if there is none."""
    complete: bool = False
    """False if the audit was cut short."""
    sampled: bool = False
    """Whether only one large value per dag_id, task_id and key was checked for a pickle."""
    totals: dict[tuple[str, str, str | None], GroupTotals] = field(default_factory=dict)
    """By dag_id, task_id and key; filled if the policy says `with_totals`."""

    def add_size(self, size: int | None) -> None:
        """Note that an XCom has this size, or that a group's largest has."""
        if size is not None and (self.largest is None or size > self.largest):
            self.largest = Size(size)

    def count(self, severity: Severity) -> int:
        """Return the number of open findings of exactly this severity."""
        return sum(finding.severity is severity for finding in self.open)

    @property
    def open(self) -> list[Finding]:
        """Return the findings that affect the verdict."""
        return [finding for finding in self.findings if finding.state == "open"]

    def verdict(self, fail_on: Severity | None) -> int:
        """Return the exit code: 1 if an open finding has at least this severity, else 0."""
        if fail_on is None:
            return 0
        return int(any(finding.severity >= fail_on for finding in self.open))

    def skipped_rules(self) -> list[str]:
        """Return the ids of the enabled rules that need values, which this audit did not read."""
        if self.policy.deep:
            return []
        return [rule.id for rule in rules.RULES if rule.deep and rule.id in self.policy.enabled]


def in_order(findings: Iterable[Finding]) -> list[Finding]:
    """Return the findings by descending severity and size, in a deterministic order."""
    return sorted(
        findings,
        key=lambda one: (
            -one.severity,
            -(one.max_size or 0),
            one.rule.id,
            one.dag_id,
            one.task_id,
            one.key or "",
            one.example.run,
            one.example.map_index,
        ),
    )
