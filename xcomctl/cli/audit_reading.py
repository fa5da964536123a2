"""Reads of a database what the policy of an audit needs."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from xcomctl.audit import Policy, Report
    from xcomctl.cli.progress import Progress
    from xcomctl.db.read.store import Store
    from xcomctl.model import Raw, Selection, Size, XComEntry


def check(store: Store, selection: Selection, policy: Policy, work: Progress) -> Report:
    """Return the findings of a policy, from as few values as it allows."""
    from xcomctl import audit
    from xcomctl.audit.rules import PICKLED, TRUNCATED

    text = policy.measure == "text"
    if policy.deep:
        return _check_deeply(store, selection, policy, work)

    def suspects() -> Iterator[tuple[XComEntry, Raw]]:
        full = policy.capacity
        if full is None or TRUNCATED.id not in policy.enabled:
            return iter(())
        if selection.max_size is not None and selection.max_size < full:
            return iter(())
        if selection.min_size is not None and selection.min_size > full:
            return iter(())
        return store.entries.values(replace(selection, min_size=full, max_size=full), text=text)

    by_run = any(budget.max_total_per_run is not None for budget in policy.budgets)
    if text or (by_run and not store.sizes.groups_in_server):
        scanned = work.counting("audit: measuring sizes", store.entries.scan(selection, text=text))
        entries = ((entry, None) for entry in scanned)
        return audit.run(policy, entries, suspects)
    return audit.run_on_groups(
        policy,
        store.sizes.survey(selection, pickles=PICKLED.id in policy.enabled),
        lambda size, pickles: store.sizes.candidates(selection, at_least=size, pickles=pickles),
        lambda: store.sizes.by_group(selection, ("dag_id", "task_id", "key", "run_id")),
        suspects,
    )


def _check_deeply(store: Store, selection: Selection, policy: Policy, work: Progress) -> Report:
    """Return the findings of a policy that needs every value."""
    from xcomctl.audit import Audit

    audit = Audit(policy, strict=store.holds_strict_json)
    if work.is_shown:
        counted = lambda: (audit.report.scanned, audit.report.total_bytes)  # noqa: E731
        rows = store.entries.estimate(selection)
        work.begin("audit: checking values", counted, rows=rows, about=True)
    text = policy.measure == "text"
    store.pages.stream(selection, audit.add_page, text=text, times=False)
    return audit.finish()


def capacity(store: Store) -> Size | None:
    """Return the capacity of the value column if a server may have cut values to it, else None."""
    from xcomctl.sizes.limits import CAPACITY_BY_TYPE

    if store.schema.storage == "json":
        return None
    return CAPACITY_BY_TYPE.get(store.schema.value_type)
