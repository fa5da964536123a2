"""Budgets: which one applies to an XCom, and the totals of the XComs that each covers.

Only the most specific matching budget applies to an XCom; of equally specific ones the first.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Literal

from xcomctl.model import Size

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from xcomctl.model import Budget, XComEntry
    from xcomctl.sizes.statistics import Summary


@dataclass(slots=True)
class _Sum:
    entries: int = 0
    size: int = 0


@dataclass(frozen=True, slots=True)
class Total:
    """A sum or a count that exceeds its budget."""

    budget: Budget
    dag_id: str
    """The budget's glob if the sum covers several DAGs."""
    run: str | None
    """The run with the largest sum; None if the sum covers all runs."""
    runs: int
    """How many runs exceed the budget."""
    entries: int
    size: Size
    bound_bytes: Size | None
    """None if it is the count that exceeds its bound."""


class Tally:
    """Adds up the XComs that budgets cover, in one pass.

    Memory grows with the number of DAGs, tasks and keys, and with the number of runs if a budget
    is per run.
    """

    def __init__(
        self, budgets: Sequence[Budget], measure: Literal["size", "text"] = "size"
    ) -> None:
        self._text = measure == "text"
        # The sort is stable: of equally specific budgets the first stays in front.
        self._budgets = sorted(budgets, key=lambda one: one.specificity, reverse=True)
        self._by_dag: dict[str, list[Budget]] = {}
        self._governing: dict[tuple[str, str, str | None], Budget | None] = {}
        self._sums: dict[int, _Sum] = {}
        self._runs: dict[tuple[int, str, str], _Sum] = {}

    def add(self, entry: XComEntry) -> Budget | None:
        """Count an XCom; return its budget if this value alone exceeds it."""
        ref = entry.ref
        budget = self._budget_of(ref.dag_id, ref.task_id, ref.key)
        if budget is None:
            return None
        size = (entry.text_size if self._text else entry.size) or 0
        if budget.max_total is not None or budget.max_count is not None:
            total = self._sums.setdefault(id(budget), _Sum())
            total.entries += 1
            total.size += size
        if budget.max_total_per_run is not None:
            run = (id(budget), ref.dag_id, ref.run)
            total = self._runs.get(run) or self._runs.setdefault(run, _Sum())
            total.entries += 1
            total.size += size
        return budget if budget.max_size is not None and size > budget.max_size else None

    def add_group(self, name: tuple[str, str, str | None], summary: Summary) -> Budget | None:
        """Count the XComs of one name; return their budget if the largest value exceeds it.

        Budgets per run are counted by `add_run`.
        """
        budget = self._budget_of(*name)
        if budget is None:
            return None
        if budget.max_total is not None or budget.max_count is not None:
            total = self._sums.setdefault(id(budget), _Sum())
            total.entries += summary.rows
            total.size += summary.total
        over = budget.max_size is not None and (summary.largest or 0) > budget.max_size
        return budget if over else None

    def add_run(self, name: tuple[str, str, str | None], run: str, summary: Summary) -> None:
        """Count the XComs of one name in one run."""
        budget = self._budget_of(*name)
        if budget is not None and budget.max_total_per_run is not None:
            total = self._runs.setdefault((id(budget), name[0], run), _Sum())
            total.entries += summary.rows
            total.size += summary.total

    def exceeded_by(self, entry: XComEntry) -> Budget | None:
        """Return the XCom's budget if this value alone exceeds it, without counting it."""
        budget = self._budget_of(entry.ref.dag_id, entry.ref.task_id, entry.ref.key)
        if budget is None or budget.max_size is None:
            return None
        size = (entry.text_size if self._text else entry.size) or 0
        return budget if size > budget.max_size else None

    def _budget_of(self, dag_id: str, task_id: str, key: str | None) -> Budget | None:
        # Globs are matched once per DAG, not once per key: there may be as many keys as rows.
        of_dag = self._by_dag.get(dag_id)
        if of_dag is None:
            of_dag = [one for one in self._budgets if fnmatchcase(dag_id, one.dag_id)]
            self._by_dag[dag_id] = of_dag
        if not of_dag:
            return None
        if of_dag[0].task_id == "*" and of_dag[0].key == "*":
            return of_dag[0]
        name = (dag_id, task_id, key)
        if name not in self._governing:
            self._governing[name] = next((one for one in of_dag if one.matches(*name)), None)
        return self._governing[name]

    def exceeded(self) -> Iterator[Total]:
        """Yield every sum and count that exceeds its budget."""
        for budget in self._budgets:
            total = self._sums.get(id(budget), _Sum())
            if budget.max_total is not None and total.size > budget.max_total:
                yield _total(budget, budget.dag_id, None, 1, total, budget.max_total)
            if budget.max_count is not None and total.entries > budget.max_count:
                yield _total(budget, budget.dag_id, None, 1, total, None)
            yield from self._exceeded_runs(budget)

    def _exceeded_runs(self, budget: Budget) -> Iterator[Total]:
        bound = budget.max_total_per_run
        if bound is None:
            return
        worst: dict[str, tuple[int, str, _Sum]] = {}
        for (owner, dag_id, run), total in self._runs.items():
            if owner != id(budget) or total.size <= bound:
                continue
            runs, most, largest = worst.get(dag_id, (0, run, total))
            # Ties are broken by name, so that the order of the rows does not matter.
            if (-total.size, run) < (-largest.size, most):
                most, largest = run, total
            worst[dag_id] = (runs + 1, most, largest)
        for dag_id, (runs, run, total) in worst.items():
            yield _total(budget, dag_id, run, runs, total, bound)


def _total(
    budget: Budget, dag_id: str, run: str | None, runs: int, total: _Sum, bound: Size | None
) -> Total:
    return Total(budget, dag_id, run, runs, total.entries, Size(total.size), bound)
