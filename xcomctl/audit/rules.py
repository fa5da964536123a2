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

EXTERNAL: Final = Rule(
    "xcom-external",
    Severity.NOTE,
    "XCom stored outside the database",
    "The value is only a reference into object storage: its size here says nothing of the data, "
    "and deleting the XCom leaves the object there.",
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
    EXTERNAL,
    IGNORE_EXPIRED,
    IGNORE_UNUSED,
)
_LEAVE = "Delete it or set it right before the upgrade; `preflight --sql` writes SQL that moves it."


def _airflow3(name: str, title: str, text: str) -> Rule:
    return Rule(f"xcom-airflow3-{name}", Severity.ERROR, title, text)


AIRFLOW3_PICKLE: Final = _airflow3(
    "pickle",
    "Pickle that does not survive the upgrade",
    "The migration moves pickles of protocol 2 and newer to the table _xcom_archive, where no "
    "task finds them, and stops at older ones, which it takes for JSON. Push JSON instead.",
)
AIRFLOW3_NAN: Final = _airflow3(
    "nan",
    "NaN or Infinity",
    "They are no JSON. Depending on the release the migration stops, or makes them strings or "
    "null; some releases also change the letters NaN inside texts, and stop at what that leaves.",
)
AIRFLOW3_NUL: Final = _airflow3(
    "nul",
    "NUL character",
    "PostgreSQL's jsonb cannot hold it. The migration stops, or drops the character.",
)
AIRFLOW3_SURROGATE: Final = _airflow3(
    "surrogate",
    "Half of a surrogate pair",
    f"It is no Unicode, and the database refuses it. {_LEAVE}",
)
AIRFLOW3_ENCODING: Final = _airflow3(
    "encoding",
    "Bytes that are no UTF-8",
    f"No JSON is in another encoding. {_LEAVE}",
)
AIRFLOW3_INVALID: Final = _airflow3(
    "invalid",
    "Value that is no JSON",
    f"Empty, cut or broken: the migration cannot convert it. {_LEAVE}",
)
AIRFLOW3_NUMBER: Final = _airflow3(
    "number",
    "Number that the new column cannot hold",
    "The JSON type of the database has bounds of its own, and forms: what is beyond them stops "
    "the migration, and some numbers come back as another type or rounded.",
)
AIRFLOW3_DUPLICATE_KEY: Final = _airflow3(
    "duplicate-key",
    "Object with a key twice",
    "Only the last of them is kept, which is also the one that a task reads.",
)
AIRFLOW3_TOO_LARGE: Final = _airflow3(
    "too-large",
    "Value larger or deeper than the new column takes",
    f"The JSON type holds less than the binary column did. {_LEAVE}",
)
AIRFLOW3_DANGLING: Final = _airflow3(
    "dangling",
    "XCom of a run that is not there",
    "No task reads it. Airflow 2.3 and newer move such rows to a table of their own when they "
    "upgrade an older database, or stop; afterwards Airflow does not show them.",
)
AIRFLOW3_DUPLICATE_ROW: Final = _airflow3(
    "duplicate-row",
    "XCom that is there twice",
    f"Airflow 2.0 makes its name the primary key, and that upgrade stops. {_LEAVE}",
)
AIRFLOW3_LOST: Final = _airflow3(
    "lost",
    "XCom that the upgrade deletes",
    "On SQLite the migration rebuilds dag_run with foreign keys on, which deletes every task "
    "instance and XCom, and reports success. Keep a copy of the file, or move to a server first.",
)
AIRFLOW3_BACKEND: Final = _airflow3(
    "backend",
    "Database that this release cannot migrate",
    "The migration's own statement fails there, whatever is stored. Move to PostgreSQL or MySQL.",
)

AIRFLOW3_RULES: Final = (
    AIRFLOW3_PICKLE,
    AIRFLOW3_NAN,
    AIRFLOW3_NUL,
    AIRFLOW3_SURROGATE,
    AIRFLOW3_ENCODING,
    AIRFLOW3_INVALID,
    AIRFLOW3_NUMBER,
    AIRFLOW3_DUPLICATE_KEY,
    AIRFLOW3_TOO_LARGE,
    AIRFLOW3_DANGLING,
    AIRFLOW3_DUPLICATE_ROW,
    AIRFLOW3_LOST,
    AIRFLOW3_BACKEND,
)
"""What `preflight` looks for. An error where the migration stops or loses the value, else a warning."""

UPKEEP: Final = (IGNORE_EXPIRED, IGNORE_UNUSED)
"""What is wrong with the configuration rather than with an XCom."""
RULE_BY_ID: Final = {rule.id: rule for rule in RULES}
KNOWN_IDS: Final = (*RULE_BY_ID, *(rule.id for rule in AIRFLOW3_RULES))
"""Of the audit and of preflight."""
