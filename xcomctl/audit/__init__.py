"""Judges entries against a policy. Pure: rows come in, a report comes out, no database is seen.

Findings are gathered by rule, dag, task and key, so that what is held grows with the number of
tasks that have a problem, not with the number of rows.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from xcomctl.audit import rules, secrets
from xcomctl.audit.budgets import Tally
from xcomctl.model import Encoding, Limit, Size, XComRef, format_sizes
from xcomctl.values import decode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from xcomctl.audit.budgets import Total
    from xcomctl.audit.rules import Rule, Severity
    from xcomctl.model import Budget, Raw, Storage, XComEntry
    from xcomctl.sizes.statistics import Summary, Survey


State = Literal["open", "ignored", "known"]


@dataclass(frozen=True, slots=True)
class Policy:
    """What is judged, and against what."""

    limit: Limit
    """The one that sizes are held against."""
    warn_at: float | int = 0.8
    """A share of the limit, or bytes."""
    storage: Storage = "bytes"
    capacity: Size | None = None
    """What the value column holds; None where no database cuts silently."""
    deep: bool = False
    """Whether values are read whole."""
    enabled: frozenset[str] = frozenset(rules.RULE_BY_ID)
    per_entry: bool = False
    measured: bool = False
    """Whether the report tells count, bytes and largest of each dag, task and key."""
    budgets: tuple[Budget, ...] = ()
    measure: Literal["size", "text"] = "size"
    """What budgets speak of: text is the same on every backend."""

    @property
    def near(self) -> int:
        """Return the smallest size that is close to the limit."""
        if isinstance(self.warn_at, int):
            return self.warn_at
        # In whole numbers: a product of floats can miss the boundary by a byte.
        parts = round(self.warn_at * 1_000_000)
        return -(-int(self.limit.size) * parts // 1_000_000)


@dataclass(frozen=True, slots=True)
class Finding:
    """What one rule found of one task's key."""

    rule: Rule
    severity: Severity
    dag_id: str
    task_id: str
    key: str | None
    occurrences: int
    max_size: Size | None
    limit: Size | None
    message: str
    example: XComRef
    file: str | None = None
    state: State = "open"
    """Ignored by the team's decision, known from the baseline, or open: only these count."""
    reason: str | None = None
    """Why it is ignored."""
    variant: str = ""
    """What tells it from another finding of its rule on the same XComs."""

    @property
    def fingerprint(self) -> str:
        """Return what stays the same from run to run: neither run nor size is in it."""
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
class Measure:
    """What is there of one dag, task and key, in bytes."""

    entries: int = 0
    total: int = 0
    largest: int = 0


@dataclass(slots=True)
class Report:
    """What an audit found."""

    policy: Policy
    findings: list[Finding] = field(default_factory=list)
    scanned: int = 0
    total_bytes: int = 0
    complete: bool = False
    sampled: bool = False
    """Whether of the large values only one of each task and key was looked at for a pickle."""
    measures: dict[tuple[str, str, str | None], Measure] = field(default_factory=dict)

    def count(self, severity: Severity) -> int:
        """Return how many findings are exactly so grave."""
        return sum(finding.severity is severity for finding in self.open)

    @property
    def open(self) -> list[Finding]:
        """Return the findings that count."""
        return [finding for finding in self.findings if finding.state == "open"]

    def verdict(self, fail_on: Severity | None) -> int:
        """Return the exit code: 1 where a finding is at least so grave."""
        if fail_on is None:
            return 0
        return int(any(finding.severity >= fail_on for finding in self.open))

    def not_looked_at(self) -> list[str]:
        """Return the ids of the rules that this audit's depth could not apply."""
        if self.policy.deep:
            return []
        return [rule.id for rule in rules.RULES if rule.deep and rule.id in self.policy.enabled]


@dataclass(slots=True)
class _Group:
    """A finding in the making."""

    rule: Rule
    occurrences: int
    example: XComEntry
    reason: str
    budget: Budget | None = None


def run(
    policy: Policy,
    entries: Iterable[tuple[XComEntry, Raw]],
    suspects: Callable[[], Iterable[tuple[XComEntry, Raw]]] | None = None,
) -> Report:
    """Return what is wrong with the entries, the gravest and largest first.

    With `policy.deep` each entry comes with its whole value. Otherwise values are None, and
    `suspects` yields, once more and whole, those that fill the column to the last byte.
    """
    report = Report(policy)
    groups: dict[tuple[object, ...], _Group] = {}
    tally = Tally(policy.budgets, policy.measure) if policy.budgets else None
    near = policy.near
    for entry, raw in entries:
        report.scanned += 1
        report.total_bytes += entry.size or 0
        if policy.measured:
            _measure(report.measures, entry)
        for rule, reason in _judge(policy, near, entry, raw):
            _gather(groups, policy, rule, entry, reason)
        if tally is not None and (over := tally.add(entry)) is not None:
            _gather(groups, policy, rules.OVER_BUDGET, entry, "", over)
    _gather_cut(groups, policy, suspects() if suspects else ())
    return _finished(report, groups, tally)


def run_on_groups(
    policy: Policy,
    survey: Survey,
    doubtful: Callable[[int, bool], Iterable[XComEntry]],
    runs: Callable[[], Iterable[tuple[tuple[str | None, ...], Summary]]],
    suspects: Callable[[], Iterable[tuple[XComEntry, Raw]]],
) -> Report:
    """Return what `run` would, without `deep`, of entries that the database has summed up.

    `doubtful` yields the entries of at least so many bytes and, where it is told, those that may
    be pickles; `runs` what is there of each dag, task, key and run; `suspects` as for `run`. Each
    is called only where the sums call for it.
    """
    report = Report(policy, sampled=survey.sampled)
    groups: dict[tuple[object, ...], _Group] = {}
    tally = Tally(policy.budgets)
    at_least = closer = min(policy.near, policy.limit.size + 1)
    largest = 0
    for name, summary in survey.groups.items():
        report.scanned += summary.rows
        report.total_bytes += summary.total
        largest = max(largest, summary.largest or 0)
        if policy.measured:
            report.measures[name] = Measure(summary.rows, summary.total, summary.largest or 0)
        over = tally.add_group(name, summary)
        if over is not None and over.max_size is not None:
            closer = min(closer, over.max_size + 1)
    if largest >= at_least or closer < at_least or survey.may_hold_pickles:
        for entry in doubtful(closer, survey.may_hold_pickles):
            for rule, reason in _judge(policy, policy.near, entry, None):
                _gather(groups, policy, rule, entry, reason)
            if (budget := tally.exceeded_by(entry)) is not None:
                _gather(groups, policy, rules.OVER_BUDGET, entry, "", budget)
    if policy.capacity is not None and largest >= policy.capacity:
        _gather_cut(groups, policy, suspects())
    if any(budget.max_total_per_run is not None for budget in policy.budgets):
        for (dag_id, task_id, key, run), summary in runs():
            tally.add_run((str(dag_id), str(task_id), key), str(run), summary)
    return _finished(report, groups, tally)


def _gather_cut(
    groups: dict[tuple[object, ...], _Group],
    policy: Policy,
    suspects: Iterable[tuple[XComEntry, Raw]],
) -> None:
    for entry, raw in suspects:
        if policy.capacity is not None and _cut(policy, entry, raw) is not None:
            _gather(groups, policy, rules.TRUNCATED, entry, "")


def _finished(
    report: Report, groups: Mapping[tuple[object, ...], _Group], tally: Tally | None
) -> Report:
    found = [_finding(group, report.policy) for group in groups.values()]
    if tally is not None:
        found += map(_total_finding, tally.exceeded())
    report.findings = in_order(one for one in found if one.rule.id in report.policy.enabled)
    report.complete = True
    return report


def in_order(findings: Iterable[Finding]) -> list[Finding]:
    """Return the findings, the gravest and largest first, always in the same order."""
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


def _measure(measures: dict[tuple[str, str, str | None], Measure], entry: XComEntry) -> None:
    ref, size = entry.ref, entry.size or 0
    measure = measures.setdefault((ref.dag_id, ref.task_id, ref.key), Measure())
    measure.entries += 1
    measure.total += size
    measure.largest = max(measure.largest, size)


def _gather(
    groups: dict[tuple[object, ...], _Group],
    policy: Policy,
    rule: Rule,
    entry: XComEntry,
    reason: str,
    budget: Budget | None = None,
) -> None:
    ref = entry.ref
    group: tuple[object, ...] = (rule.id, ref.dag_id, ref.task_id, ref.key)
    if policy.per_entry:
        group = (*group, ref.run, ref.map_index, entry.row)
    found = groups.get(group)
    if found is None:
        groups[group] = _Group(rule, 1, entry, reason, budget)
        return
    found.occurrences += 1
    if _rank(entry) < _rank(found.example):
        found.example, found.reason = entry, reason


def _rank(entry: XComEntry) -> tuple[int, str, int, str]:
    """Return what puts the largest first, and of equal ones always the same."""
    return -(entry.size or 0), entry.ref.run, entry.ref.map_index, repr(entry.row)


def _judge(policy: Policy, near: int, entry: XComEntry, raw: Raw) -> Iterator[tuple[Rule, str]]:
    size = entry.size
    if size is not None:
        if size > policy.limit.size:
            yield rules.OVER_LIMIT, ""
        elif size >= near:
            yield rules.NEAR_LIMIT, ""
    if entry.encoding is Encoding.PICKLE:
        yield rules.PICKLED, ""
    if not policy.deep:
        return
    verdict = decode.check(raw, policy.storage)
    if verdict.health is decode.Health.PICKLED and entry.encoding is not Encoding.PICKLE:
        yield rules.PICKLED, ""
    cut = _cut(policy, entry, raw) if policy.capacity is not None else None
    if cut is not None:
        yield rules.TRUNCATED, cut
    elif verdict.health is decode.Health.BROKEN:
        yield rules.UNDECODABLE, verdict.reason
    elif verdict.health is decode.Health.DOUBLE:
        yield rules.DOUBLE_ENCODED, ""
    if not isinstance(raw, bytes | str):
        return
    if rules.SECRET.id in policy.enabled:
        kind = secrets.find(raw, entry.ref.key)
        if kind is not None:
            yield rules.SECRET, kind
    if verdict.health is decode.Health.VALID and rules.EXTERNAL.id in policy.enabled:
        url = decode.stored_reference(raw)
        if url is not None:
            yield rules.EXTERNAL, url.partition("://")[0]


def _cut(policy: Policy, entry: XComEntry, raw: Raw) -> str | None:
    """Return why the value is one that the database cut, None where it is not."""
    if entry.size != policy.capacity or raw is None:
        return None
    verdict = decode.check(raw, policy.storage)
    if verdict.health is decode.Health.BROKEN:
        return verdict.reason
    if verdict.health is decode.Health.PICKLED and isinstance(raw, bytes):
        # A pickle says where it ends, and a cut one does not get there.
        from xcomctl.values.pickles import describe_pickle

        return None if describe_pickle(raw, most=0)["complete"] else "the pickle has no end"
    return None


def _finding(group: _Group, policy: Policy) -> Finding:
    entry = group.example
    size = _measured(group, policy)
    measured = group.rule in (rules.OVER_LIMIT, rules.NEAR_LIMIT)
    limit = (
        policy.limit.size
        if measured
        else policy.capacity
        if group.rule is rules.TRUNCATED
        else group.budget.max_size
        if group.budget
        else None
    )
    return Finding(
        rule=group.rule,
        severity=rules.SEVERITY_BY_NAME[group.budget.severity]
        if group.budget
        else group.rule.severity,
        dag_id=entry.ref.dag_id,
        task_id=entry.ref.task_id,
        key=entry.ref.key,
        occurrences=group.occurrences,
        max_size=size,
        limit=limit,
        message=_message(group, size, limit),
        example=entry.ref,
    )


def _measured(group: _Group, policy: Policy) -> Size | None:
    text = policy.measure == "text" and group.rule is rules.OVER_BUDGET
    return group.example.text_size if text else group.example.size


def _message(group: _Group, size: Size | None, limit: Size | None) -> str:
    shown, *of = (
        format_sizes(*(one for one in (size, limit) if one is not None))
        if size is not None
        else ("",)
    )
    rule = group.rule
    if rule is rules.OVER_LIMIT:
        return f"{shown} exceeds the limit of {of[0]}"
    if rule is rules.OVER_BUDGET and group.budget:
        said = f": {group.budget.message}" if group.budget.message else ""
        return f"{shown} exceeds the budget of {of[0]}{said}"
    if rule is rules.NEAR_LIMIT:
        percent = int(1000 * (size or 0) / limit) / 10 if limit else 0
        return f"{shown} is {percent}% of the limit of {of[0]}"
    if rule is rules.TRUNCATED:
        return f"{(size or Size(0)).exactly()} fill the column, and the value cannot be decoded: it was cut"
    if rule is rules.PICKLED:
        return f"a pickle of {shown}: loading it runs code, and Airflow 3 drops it"
    if rule is rules.UNDECODABLE:
        reason = group.reason or "it is in no known encoding"
        if size == 65_535:
            reason += "; 65,535 bytes is what a MySQL BLOB holds, so one may have cut it"
        return f"{shown} that cannot be decoded: {reason}"
    if rule is rules.EXTERNAL:
        return f"a reference into object storage ({group.reason}), which holds the data itself"
    if rule is rules.SECRET:
        return f"looks like {group.reason}, which is not shown here"
    return "a string that holds JSON text: encoded twice, or a genuine string, which looks the same"


def _total_finding(total: Total) -> Finding:
    budget = total.budget
    if total.bound_bytes is not None:
        shown, bound = format_sizes(total.size, total.bound_bytes)
        text = f"{shown} in {total.entries:,} XComs exceed the budget of {bound}"
    else:
        text = f"{total.entries:,} XComs exceed the budget of {budget.max_count:,}"
    if total.run is not None:
        text += f" for a run ({total.runs:,} such runs)" if total.runs > 1 else " for a run"
    return Finding(
        rule=rules.TOTAL_OVER_BUDGET,
        severity=rules.SEVERITY_BY_NAME[budget.severity],
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


def with_files(
    report: Report,
    file_by_dag: Mapping[str, tuple[str | None, str | None]],
    source_root: Mapping[str, str],
) -> Report:
    """Return the report with the DAG's own file, as the repository knows it, on each finding."""
    found = [
        one
        if one.file is not None
        else replace(one, file=source_path(*file_by_dag.get(one.dag_id, (None, None)), source_root))
        for one in report.findings
    ]
    return replace(report, findings=found)


def source_path(
    path: str | None, relative: str | None, source_root: Mapping[str, str]
) -> str | None:
    """Return the repository's path of a DAG's file.

    The longest of the roots that the database's path lies in decides; without one it is the path
    relative to the DAG bundle, which Airflow 3 knows, else the path as it is.
    """
    if path is None:
        return relative
    roots = [root for root in source_root if _inside(path, root)]
    if not roots:
        return relative or path
    root = max(roots, key=len)
    rest = path[len(root.rstrip("/")) :].lstrip("/")
    return "/".join(part for part in (source_root[root].strip("/"), rest) if part not in ("", "."))


def _inside(path: str, root: str) -> bool:
    return path == root or path.startswith(root.rstrip("/") + "/")
