"""What an upgrade does to one XCom: the outcomes, the rule and the reason."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from xcomctl.audit import rules
from xcomctl.audit.rule import Severity

if TYPE_CHECKING:
    from xcomctl.audit.rule import Rule


class Outcome(Enum):
    """What the migration does to an XCom, the most severe first."""

    STOPS = "stops"
    """The migration fails at it, and nothing is migrated."""
    LOST = "lost"
    ARCHIVED = "archived"
    UNREADABLE = "unreadable"
    """The value is kept, but `xcom_pull` of the new release raises an error on it."""
    ALTERED = "altered"
    REORDERED = "reordered"
    """Only the order of an object's keys changes."""

    @property
    def is_kept(self) -> bool:
        """Return whether the migration itself leaves the value as it is."""
        return self in (Outcome.UNREADABLE, Outcome.REORDERED)

    @property
    def severity(self) -> Severity:
        """Return error if the upgrade fails or the value is lost, note if only keys are sorted."""
        if self is Outcome.REORDERED:
            return Severity.NOTE
        severe = self in (Outcome.STOPS, Outcome.LOST)
        return Severity.ERROR if severe else Severity.WARNING


@dataclass(frozen=True, slots=True)
class Problem:
    """What happens to one XCom, and why."""

    rule: Rule
    outcome: Outcome
    reason: str

    @property
    def better_moved(self) -> bool:
        """Return whether the row should be moved away before the upgrade."""
        if self.rule is rules.AIRFLOW3_LOST:
            return False
        return self.rule is rules.AIRFLOW3_DANGLING or self.outcome in (Outcome.STOPS, Outcome.LOST)
