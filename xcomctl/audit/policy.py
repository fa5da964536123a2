"""The audit's policy: which rules apply, and the limits and budgets that sizes are compared with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from xcomctl.audit import rules

if TYPE_CHECKING:
    from xcomctl.model import Budget, Limit, Size, Storage


@dataclass(frozen=True, slots=True)
class Policy:
    """What an audit checks, and against what."""

    limit: Limit
    """The limit that every size is compared with."""
    warn_at: float | int = 0.8
    """Warn from this size on: a share of the limit (float), or bytes (int)."""
    storage: Storage = "bytes"
    capacity: Size | None = None
    """Capacity of the value column, if the database may have truncated values to it silently."""
    deep: bool = False
    """Whether every value is read in full."""
    enabled: frozenset[str] = frozenset(rules.RULE_BY_ID)
    """Ids of the rules to apply."""
    per_entry: bool = False
    """Whether each XCom has a finding of its own, instead of one per dag_id, task_id and key."""
    with_totals: bool = False
    """Whether the report contains the totals of each dag_id, task_id and key."""
    budgets: tuple[Budget, ...] = ()
    measure: Literal["size", "text"] = "size"
    """What budgets count: stored bytes, or the length as JSON text, the same on every backend."""

    @property
    def suspicious_size(self) -> Size | None:
        """Return the size at which values must be read to know whether they were truncated."""
        return self.capacity if rules.TRUNCATED.id in self.enabled else None

    @property
    def warn_from(self) -> int:
        """Return the smallest size, in bytes, that is close to the limit."""
        if isinstance(self.warn_at, int):
            return self.warn_at
        # In integers: a product of floats can miss the boundary by a byte.
        parts = round(self.warn_at * 1_000_000)
        return -(-int(self.limit.size) * parts // 1_000_000)
