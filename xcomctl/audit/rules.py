"""The rules: what each looks for, how grave it is, and the words for it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final


class Severity(IntEnum):
    """How grave a finding is; ordered."""

    NOTE = 1
    WARNING = 2
    ERROR = 3

    def __str__(self) -> str:
        return self.name.lower()


SEVERITY_BY_NAME: Final = {str(severity): severity for severity in Severity}


@dataclass(frozen=True, slots=True)
class Rule:
    """Something that can be wrong with an XCom."""

    id: str
    severity: Severity
    title: str
    """What is wrong, in a few words."""
    help: str
    """Why it matters and what to do."""
    deep: bool = False
    """Whether only `--deep`, which reads every value whole, finds it."""


OVER_LIMIT: Final = Rule(
    "xcom-over-limit",
    Severity.ERROR,
    "XCom larger than the limit",
    "The value is larger than what fits and reads back. Store the data elsewhere (object storage, "
    "a table) and push where it is, or configure an object-storage XCom backend.",
)
NEAR_LIMIT: Final = Rule(
    "xcom-near-limit",
    Severity.WARNING,
    "XCom close to the limit",
    "The value still fits, and the next larger one may not. Store the data elsewhere before the "
    "task starts to fail.",
)
TRUNCATED: Final = Rule(
    "xcom-truncated",
    Severity.ERROR,
    "XCom cut by the database",
    "The value fills its column to the last byte and cannot be decoded: a MySQL without strict "
    "sql_mode cut it silently. The rest is lost; run the task again after moving the data "
    "elsewhere, and set a strict sql_mode.",
)
UNDECODABLE: Final = Rule(
    "xcom-undecodable",
    Severity.WARNING,
    "XCom that cannot be decoded",
    "The value is neither valid JSON nor in a known encoding, so a task that pulls it fails.",
    deep=True,
)
PICKLED: Final = Rule(
    "xcom-pickled",
    Severity.NOTE,
    "Pickled XCom",
    "A pickle runs code when it is loaded, and the upgrade to Airflow 3 drops it. Set "
    "enable_xcom_pickling to False and push JSON.",
)
DOUBLE_ENCODED: Final = Rule(
    "xcom-double-encoded",
    Severity.WARNING,
    "XCom that holds JSON text as a string",
    "The value is a string whose text is JSON: xcom_pull returns the text, not what it says. "
    "Push the object itself instead of json.dumps of it; Airflow's own REST API before 3.2 and "
    "its triggerer leave such values, too. A genuine string looks the same.",
    deep=True,
)

OVER_BUDGET: Final = Rule(
    "xcom-over-budget",
    Severity.ERROR,
    "XCom larger than its budget",
    "The value is larger than what the team allows this task. Make it smaller, store the data "
    "elsewhere, or raise the budget in the configuration.",
)
TOTAL_OVER_BUDGET: Final = Rule(
    "xcom-total-over-budget",
    Severity.ERROR,
    "XComs larger or more than their budget together",
    "The values of one run, or of all that a budget is for, are more than the team allows. Clear "
    "old runs, push less, or raise the budget in the configuration.",
)
GREW: Final = Rule(
    "xcom-grew",
    Severity.WARNING,
    "XCom grew past the baseline",
    "The value was known to be too large, and has grown since by more than both growth caps. Make "
    "it smaller, or accept the new size with --update-baseline.",
)
IGNORE_EXPIRED: Final = Rule(
    "ignore-expired",
    Severity.WARNING,
    "Ignore past its date",
    "The date until which findings were to be ignored is over, so they are reported again. Fix "
    "them, or decide anew and move the date.",
)
IGNORE_UNUSED: Final = Rule(
    "ignore-unused",
    Severity.WARNING,
    "Ignore that ignores nothing",
    "No finding matches this ignore any more. Remove it, so that it cannot hide a new one.",
)

SECRET: Final = Rule(
    "xcom-secret",
    Severity.WARNING,
    "XCom that looks like a credential",
    "XComs are stored in the clear, shown in the UI, and not masked. Keep the credential in a "
    "connection or a secrets backend, change it, and delete the XCom.",
    deep=True,
)

RULES: Final = (
    OVER_LIMIT,
    NEAR_LIMIT,
    OVER_BUDGET,
    TOTAL_OVER_BUDGET,
    GREW,
    TRUNCATED,
    UNDECODABLE,
    PICKLED,
    DOUBLE_ENCODED,
    SECRET,
    IGNORE_EXPIRED,
    IGNORE_UNUSED,
)
UPKEEP: Final = (IGNORE_EXPIRED, IGNORE_UNUSED)
"""What is wrong with the configuration rather than with an XCom."""
RULE_BY_ID: Final = {rule.id: rule for rule in RULES}
