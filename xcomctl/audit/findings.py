"""Findings in the making: violations grouped by rule and name, and the messages they become."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

from xcomctl.audit import rules
from xcomctl.audit.report import Finding
from xcomctl.audit.rule import SEVERITY_BY_NAME
from xcomctl.model import Size, XComRef, format_percent
from xcomctl.sizes.notation import size_and_limit

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from xcomctl.audit.budgets import Total
    from xcomctl.audit.policy import Policy
    from xcomctl.audit.rule import Rule, Severity
    from xcomctl.model import Budget, XComEntry

_Name: TypeAlias = tuple[object, ...]


@dataclass(slots=True)
class _Group:
    """The XComs of one name that violate one rule."""

    rule: Rule
    occurrences: int
    example: XComEntry
    """The largest so far."""
    detail: str
    budget: Budget | None = None

    @property
    def severity(self) -> Severity:
        """Return the budget's severity if it is one that is exceeded, else the rule's."""
        return SEVERITY_BY_NAME[self.budget.severity] if self.budget else self.rule.severity


class FindingGroups:
    """Collects violations, and turns each group of them into one finding.

    Groups are by rule, dag_id, task_id and key, so memory grows with the number of tasks that
    have a problem, not with the number of rows.
    """

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._groups: dict[_Name, _Group] = {}
        self._leading: dict[_Name, _Group] = {}
        """Of the XComs whose gravest violation it is."""

    def add(
        self, entry: XComEntry, violations: Iterable[tuple[Rule, str]], budget: Budget | None = None
    ) -> None:
        """Add the violations of an XCom: rules with a detail, and the budget that it exceeds."""
        found = [
            _Group(rule, 1, entry, detail)
            for rule, detail in violations
            if rule.id in self._policy.enabled
        ]
        if budget is not None and rules.OVER_BUDGET.id in self._policy.enabled:
            found.append(_Group(rules.OVER_BUDGET, 1, entry, "", budget))
        for group in found:
            self._merge(self._groups, group)
        if found:
            self._merge(self._leading, max(found, key=lambda one: one.severity))

    def _merge(self, groups: dict[_Name, _Group], one: _Group) -> None:
        ref = one.example.ref
        name: _Name = (one.rule.id, ref.dag_id, ref.task_id, ref.key)
        if self._policy.per_entry:
            name = (*name, ref.run, ref.map_index, one.example.row)
        group = groups.get(name)
        if group is None:
            groups[name] = replace(one)
            return
        group.occurrences += 1
        if _rank(one.example) < _rank(group.example):
            group.example, group.detail = one.example, one.detail

    def findings(self) -> Iterator[Finding]:
        """Yield a finding for each group, in no particular order."""
        for name, group in self._groups.items():
            finding = _finding(group, self._policy)
            lead = self._leading.get(name)
            if lead is None:
                finding = replace(finding, lead=replace(finding, occurrences=0))
            elif lead.occurrences < group.occurrences:
                finding = replace(finding, lead=_finding(lead, self._policy))
            yield finding


def _rank(entry: XComEntry) -> tuple[int, str, int, str]:
    """Return a sort key: the largest first, ties in a fixed order."""
    return -(entry.size or 0), entry.ref.run, entry.ref.map_index, repr(entry.row)


def _finding(group: _Group, policy: Policy) -> Finding:
    entry = group.example
    size, limit = _size(group, policy), _limit(group, policy)
    return Finding(
        rule=group.rule,
        severity=group.severity,
        dag_id=entry.ref.dag_id,
        task_id=entry.ref.task_id,
        key=entry.ref.key,
        occurrences=group.occurrences,
        max_size=size,
        limit=limit,
        message=_message(group, size, limit),
        example=entry.ref,
    )


def _size(group: _Group, policy: Policy) -> Size | None:
    text = policy.measure == "text" and group.rule is rules.OVER_BUDGET
    return group.example.text_size if text else group.example.size


def _limit(group: _Group, policy: Policy) -> Size | None:
    if group.rule in (rules.OVER_LIMIT, rules.NEAR_LIMIT):
        return policy.limit.size
    if group.rule is rules.TRUNCATED:
        return policy.capacity
    return group.budget.max_size if group.budget else None


def _message(group: _Group, size: Size | None, limit: Size | None) -> str:
    shown = shown_limit = ""
    if size is not None:
        shown, shown_limit = (str(size), "") if limit is None else size_and_limit(size, limit)
    rule = group.rule
    if rule is rules.OVER_LIMIT:
        return f"{shown} exceeds the limit of {shown_limit}"
    if rule is rules.OVER_BUDGET and group.budget:
        note = f": {group.budget.message}" if group.budget.message else ""
        return f"{shown} exceeds the budget of {shown_limit}{note}"
    if rule is rules.NEAR_LIMIT:
        percent = format_percent(100 * (size or 0) / limit if limit else 0)
        return f"{shown} is {percent} of the limit of {shown_limit}"
    if rule is rules.TRUNCATED:
        full = (size or Size(0)).exactly()
        return f"truncated: the value fills the column ({full}) and cannot be decoded"
    if rule is rules.PICKLED:
        return f"{shown} pickle: loading it runs code, and the upgrade to Airflow 3 drops it"
    if rule is rules.UNDECODABLE:
        detail = group.detail or "unknown encoding"
        if size == 65_535:
            detail += "; 65,535 bytes is the capacity of a MySQL BLOB, which may have truncated it"
        return f"cannot decode {shown}: {detail}"
    if rule.find is not None:
        return rule.message.format(group.detail)
    return "a string that contains JSON text: double-encoded, unless the task pushed such a string"


def total_finding(total: Total) -> Finding:
    """Return the finding for a sum or a count that exceeds its budget."""
    budget = total.budget
    if total.bound_bytes is not None:
        shown, bound = size_and_limit(total.size, total.bound_bytes)
        text = f"{shown} in {total.entries:,} XComs exceed the budget of {bound}"
    else:
        text = f"{total.entries:,} XComs exceed the budget of {budget.max_count:,}"
    if total.run is not None:
        text += f" per run (in {total.runs:,} runs)" if total.runs > 1 else " per run"
    return Finding(
        rule=rules.TOTAL_OVER_BUDGET,
        severity=SEVERITY_BY_NAME[budget.severity],
        dag_id=total.dag_id,
        task_id=budget.task_id,
        key=budget.key,
        occurrences=total.runs,
        max_size=total.size,
        limit=total.bound_bytes,
        message=f"{text}: {budget.message}" if budget.message else text,
        example=XComRef(total.dag_id, budget.task_id, total.run, budget.key),
        variant="count" if total.bound_bytes is None else "run" if total.run else "",
    )
