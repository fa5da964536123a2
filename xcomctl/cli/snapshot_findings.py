"""What a deep snapshot counts: the findings of rules about values, per group."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from xcomctl.audit import Policy
from xcomctl.audit.from_sizes import COUNTED
from xcomctl.cli.audit_reading import capacity, check

if TYPE_CHECKING:
    from xcomctl.cli.progress import Progress
    from xcomctl.db.read.store import Store
    from xcomctl.model import Selection
    from xcomctl.sizes.snapshot import Snapshot


def count_findings(
    store: Store, selection: Selection, snapshot: Snapshot, work: Progress
) -> Snapshot:
    """Return the snapshot with what the rules about values find in each group; reads every value."""
    policy = Policy(
        snapshot.source.limits[0],
        storage=store.schema.storage,
        capacity=capacity(store),
        deep=True,
        enabled=frozenset(COUNTED),
    )
    for one in check(store, selection, policy, work).findings:
        # A group that came up since its sizes were measured is not part of the snapshot.
        group = snapshot.groups.get((one.dag_id, one.task_id, one.key))
        if group is not None:
            group.findings[one.rule.id] = one.occurrences
    return replace(snapshot, source=replace(snapshot.source, rules=tuple(sorted(COUNTED))))
