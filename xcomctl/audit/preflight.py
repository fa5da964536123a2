"""Preflight: what the upgrade to Airflow 3 does to every XCom of a database, as findings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from xcomctl.audit import rules
from xcomctl.audit.airflow3 import check_readable, check_value
from xcomctl.audit.json_column import REORDERED as _REORDERED
from xcomctl.audit.migration_screening import screen, unreadable_suspects
from xcomctl.audit.outcome import Outcome, Problem
from xcomctl.audit.policy import Policy
from xcomctl.audit.report import Finding, Report, in_order
from xcomctl.audit.rule import Severity
from xcomctl.model import Limit, Size, XComRef

if TYPE_CHECKING:
    from collections.abc import Sequence

    from xcomctl.audit.airflow3 import Migration
    from xcomctl.exchange.pages import Page
    from xcomctl.model import Raw, XComEntry
    from xcomctl.values.context import Release


@dataclass(slots=True)
class _Group:
    """XComs of one name with the same problem."""

    problem: Problem
    occurrences: int
    example: XComEntry
    total: int


class Preflight:
    """Collects what the migration does to each XCom, and reports it.

    `mapped` says whether rows carry a run_id, `joined` whether each entry was joined with its
    run. `owner` is the release of the database if it is an Airflow 3 one already: then nothing is
    migrated, and only what its tasks can read and those of the new release cannot is a problem.
    """

    def __init__(
        self,
        migration: Migration,
        *,
        mapped: bool = True,
        joined: bool = True,
        per_entry: bool = False,
        owner: Release | None = None,
    ) -> None:
        self.migration = migration
        self.mapped, self.joined, self.per_entry = mapped, joined, per_entry
        self.owner = owner
        self.rows_by_outcome = dict.fromkeys(Outcome, 0)
        """An XCom counts once for the worst of what happens to it, and once for each way of being
        kept and yet different."""
        self.bytes_by_outcome = dict.fromkeys(Outcome, 0)
        self.scanned = self.total_bytes = 0
        self._groups: dict[tuple[object, ...], _Group] = {}

    def add(self, entry: XComEntry, raw: Raw) -> Problem | None:
        """Check an XCom; return the problem for which its row should be moved away, or None."""
        self.scanned += 1
        self.total_bytes += entry.size or 0
        problems = self._value_problems(raw) + self._row_problems(entry)
        for problem in problems:
            self._add_problem(problem, entry)
        self._count(problems, 1, entry.size or 0)
        return _reason_to_move(problems)

    def add_page(self, page: Page) -> list[tuple[XComEntry, Problem]]:
        """Check a page of XComs as `add` does; return those whose rows should be moved away, and why."""
        sizes = [row[7] or 0 for row in page.rows]
        self.scanned += len(sizes)
        self.total_bytes += sum(sizes)
        doubtful, reordered = self._screen(page)
        everywhere = {rule.id: list[int]() for rule in _EVERYWHERE}
        moved: list[tuple[XComEntry, Problem]] = []
        alone = doubtful | self._odd_rows(page)
        for at in sorted(alone):
            entry = page.entry(at)
            problems = [_REORDERED] if at in reordered else []
            if at in doubtful:
                problems = self._value_problems(page.raw(at))
            problems += self._row_problems(entry)
            for problem in problems:
                if problem.rule in _EVERYWHERE:
                    everywhere[problem.rule.id].append(at)
                else:
                    self._add_problem(problem, entry)
            self._count(problems, 1, sizes[at])
            why = _reason_to_move(problems)
            if why is not None:
                moved.append((entry, why))
        others = [at for at in range(len(sizes)) if at not in alone]
        lost = others if self.owner is None and self.migration.backend == "sqlite" else []
        for problem, places in ((_LOST, lost), (_REORDERED, [*(reordered - alone)])):
            self._count([problem], len(places), sum(sizes[at] for at in places))
            everywhere[problem.rule.id] += places
            self._add_everywhere(problem, page, everywhere[problem.rule.id])
        return moved

    def _screen(self, page: Page) -> tuple[set[int], set[int]]:
        """Return which values to check one by one, and which others lose the order of keys."""
        if self.owner is not None:
            return unreadable_suspects(page), set()
        return screen(page, self.migration)

    def _odd_rows(self, page: Page) -> set[int]:
        """Return the indexes of the rows that may have a problem of their own."""
        if self.owner is not None:
            return set()
        run = 6 if self.mapped else 2
        return {
            at
            for at, row in enumerate(page.rows)
            if row[4] is None or (self.joined and row[run] is None)
        }

    def _value_problems(self, raw: Raw) -> list[Problem]:
        if self.owner is None:
            return check_value(raw, self.migration)
        return check_readable(raw, self.owner, self.migration.release)

    def _count(self, problems: list[Problem], rows: int, size: int) -> None:
        """Count rows with these problems, and the bytes of their values."""
        found = {problem.outcome for problem in problems}
        changes = [outcome for outcome in Outcome if outcome in found and not outcome.is_kept]
        for outcome in {*changes[:1], *(one for one in found if one.is_kept)}:
            self.rows_by_outcome[outcome] += rows
            self.bytes_by_outcome[outcome] += size

    def _row_problems(self, entry: XComEntry) -> list[Problem]:
        found: list[Problem] = []
        if self.owner is not None:
            return found
        dangling = self.joined and (
            entry.ref.logical_date is None if self.mapped else entry.ref.run_id is None
        )
        if dangling:
            outcome = Outcome.ALTERED if self.mapped else Outcome.ARCHIVED
            reason = (
                "its dag_run_id is not that of its run_id, so no task reads it"
                if self.mapped
                else "its run does not exist; moved to _airflow_moved__2_3__dangling__xcom"
            )
            found.append(Problem(rules.AIRFLOW3_DANGLING, outcome, reason))
        elif self.migration.backend == "sqlite":
            found.append(_LOST)
        if entry.ref.key is None:
            reason = "its key is NULL, which a primary key does not allow"
            found.append(Problem(rules.AIRFLOW3_DUPLICATE_ROW, Outcome.STOPS, reason))
        return found

    def add_duplicates(self, entries: Sequence[XComEntry]) -> Problem:
        """Add rows of the same name; the first is the one that Airflow 1.10 reads."""
        reason = f"{len(entries)} rows have this name, and the upgrade to 2.0 stops"
        problem = Problem(rules.AIRFLOW3_DUPLICATE_ROW, Outcome.STOPS, reason)
        for entry in entries[1:]:
            self._add_problem(problem, entry)
            self.rows_by_outcome[Outcome.STOPS] += 1
            self.bytes_by_outcome[Outcome.STOPS] += entry.size or 0
        return problem

    def _add_problem(self, problem: Problem, entry: XComEntry) -> None:
        ref = entry.ref
        name: tuple[object, ...] = (
            problem.rule.id,
            problem.outcome,
            ref.dag_id,
            ref.task_id,
            ref.key,
        )
        if self.per_entry:
            name = (*name, entry.row)
        if problem.rule in _EVERYWHERE:
            # It affects all rows alike, so one finding is enough.
            name = (problem.rule.id,)
        group = self._groups.get(name)
        if group is None:
            self._groups[name] = _Group(problem, 1, entry, entry.size or 0)
            return
        group.occurrences += 1
        group.total += entry.size or 0
        if (entry.size or 0) > (group.example.size or 0):
            group.example, group.problem = entry, problem

    def _add_everywhere(self, problem: Problem, page: Page, places: list[int]) -> None:
        """Add a problem that has one finding for all XComs to those at these places."""
        if not places:
            return
        sizes = {at: page.rows[at][7] or 0 for at in sorted(places)}
        largest = max(sizes, key=sizes.__getitem__)
        group = self._groups.get((problem.rule.id,))
        if group is None or sizes[largest] > (group.example.size or 0):
            example = page.entry(largest)
        else:
            example = group.example
        if group is None:
            group = self._groups[(problem.rule.id,)] = _Group(problem, 0, example, 0)
        group.example = example
        group.occurrences += len(sizes)
        group.total += sum(sizes.values())

    def report(self) -> Report:
        """Return the report, the most severe and largest findings first."""
        ids = frozenset(
            rule.id for rule in (*rules.AIRFLOW3_RULES, *rules.UPKEEP, rules.HIDDEN_ROWS)
        )
        policy = Policy(
            Limit("none", Size(0), ""), deep=True, enabled=ids, per_entry=self.per_entry
        )
        report = Report(policy, scanned=self.scanned, total_bytes=self.total_bytes, complete=True)
        found = [_finding(group) for group in self._groups.values()]
        if self.migration.fails_anyway and self.owner is None:
            found.append(_backend_finding(self.migration))
        report.findings = in_order(found)
        return report


_EVERYWHERE = (rules.AIRFLOW3_LOST, rules.AIRFLOW3_KEY_ORDER)
"""Rules with one finding for all XComs, always with the same reason."""
_LOST = Problem(
    rules.AIRFLOW3_LOST,
    Outcome.LOST,
    "SQLite deletes it with its task instance when the migration rebuilds dag_run",
)
_VERB = {
    Outcome.STOPS: "stops the migration",
    Outcome.LOST: "is lost",
    Outcome.ARCHIVED: "is archived",
    Outcome.UNREADABLE: "is kept but cannot be pulled",
    Outcome.ALTERED: "is altered",
    Outcome.REORDERED: "is kept in another order",
}


def _reason_to_move(problems: list[Problem]) -> Problem | None:
    return next((problem for problem in problems if problem.better_moved), None)


def _finding(group: _Group) -> Finding:
    entry, problem = group.example, group.problem
    everywhere = problem.rule in _EVERYWHERE
    total = f" ({Size(group.total)} in total)" if group.occurrences > 1 else ""
    return Finding(
        rule=problem.rule,
        severity=problem.outcome.severity,
        dag_id="*" if everywhere else entry.ref.dag_id,
        task_id="*" if everywhere else entry.ref.task_id,
        key="*" if everywhere else entry.ref.key,
        occurrences=group.occurrences,
        max_size=entry.size,
        limit=None,
        message=f"{_VERB[problem.outcome]}: {problem.reason}{total}",
        example=entry.ref,
        variant=problem.outcome.value,
    )


def _backend_finding(migration: Migration) -> Finding:
    return Finding(
        rule=rules.AIRFLOW3_BACKEND,
        severity=Severity.ERROR,
        dag_id="*",
        task_id="*",
        key="*",
        occurrences=1,
        max_size=None,
        limit=None,
        message="stops the migration: it calls REGEXP_REPLACE with MySQL's arguments, which MariaDB refuses",
        example=XComRef("*", "*", None, "*"),
    )
