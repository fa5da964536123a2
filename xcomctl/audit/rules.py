"""The rules of the audit and of preflight: what each finds, how severe it is, and how to fix it."""

from __future__ import annotations

from typing import Final

from xcomctl.audit import secrets
from xcomctl.audit.rule import Rule, Severity
from xcomctl.values.references import stored_reference

OVER_LIMIT: Final = Rule(
    "xcom-over-limit",
    Severity.ERROR,
    "XCom larger than the limit",
    "The value is larger than what can be stored and read back. Store the data elsewhere (object "
    "storage, a table) and push its location, or configure an object storage XCom backend.",
)
NEAR_LIMIT: Final = Rule(
    "xcom-near-limit",
    Severity.WARNING,
    "XCom close to the limit",
    "The value still fits, but a slightly larger one will not. Store the data elsewhere before "
    "the task starts to fail.",
)
TRUNCATED: Final = Rule(
    "xcom-truncated",
    Severity.ERROR,
    "XCom truncated by the database",
    "The value fills its column to the last byte and cannot be decoded: MySQL truncates silently "
    "unless sql_mode is strict. The rest is lost. Store the data elsewhere, run the task again, "
    "and set a strict sql_mode.",
)
UNDECODABLE: Final = Rule(
    "xcom-undecodable",
    Severity.WARNING,
    "XCom that cannot be decoded",
    "The value is not valid JSON and not in another known encoding. A task that pulls it fails.",
    deep=True,
)
PICKLED: Final = Rule(
    "xcom-pickled",
    Severity.NOTE,
    "Pickled XCom",
    "Loading a pickle runs code, and the upgrade to Airflow 3 drops pickles. Set "
    "enable_xcom_pickling to False and push JSON.",
)
DOUBLE_ENCODED: Final = Rule(
    "xcom-double-encoded",
    Severity.WARNING,
    "XCom that contains JSON text as a string",
    "The value is a string whose text is a JSON object, array or string. xcom_pull returns that "
    "text, not the object. Push the object itself instead of the result of json.dumps. Airflow's "
    "triggerer, and its REST API before 3.2, write such values too. A string that was meant to "
    "contain JSON looks the same.",
    deep=True,
)

OVER_BUDGET: Final = Rule(
    "xcom-over-budget",
    Severity.ERROR,
    "XCom larger than its budget",
    "The value is larger than the team's budget for it. Make it smaller, store the data "
    "elsewhere, or raise the budget in the configuration.",
)
TOTAL_OVER_BUDGET: Final = Rule(
    "xcom-total-over-budget",
    Severity.ERROR,
    "XComs over their total budget",
    "The XComs of one run, or all XComs that the budget covers, exceed the team's budget in bytes "
    "or in number. Delete old runs, push less, or raise the budget in the configuration.",
)
GREW: Final = Rule(
    "xcom-grew",
    Severity.WARNING,
    "XCom larger than in the baseline",
    "The finding is in the baseline, and its XCom has grown by more than both growth caps since. "
    "Make it smaller, or accept the new size with --update-baseline.",
)
IGNORE_EXPIRED: Final = Rule(
    "ignore-expired",
    Severity.WARNING,
    "Expired ignore",
    "The date of this ignore has passed, so its findings are reported again. Fix them, or move "
    "the date.",
)
IGNORE_UNUSED: Final = Rule(
    "ignore-unused",
    Severity.WARNING,
    "Unused ignore",
    "No finding matches this ignore any more. Remove it, so that it cannot hide a new finding.",
)


def _scheme(raw: bytes | str, key: str | None) -> str | None:
    """Return the scheme of the URL that a value is, or None where it is no such URL."""
    try:
        url = stored_reference(raw)
    except ValueError:
        return None
    return None if url is None else url.partition("://")[0]


EXTERNAL: Final = Rule(
    "xcom-external",
    Severity.NOTE,
    "XCom that may be stored outside the database",
    "The value is a single URL of an object store. If an object storage XCom backend wrote it, "
    "the data is there: its size is not counted here, and deleting the XCom leaves the object.",
    deep=True,
    find=_scheme,
    message="the value is a single {}:// URL: a reference, if an object storage backend wrote it",
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
    secrets.RULE,
    EXTERNAL,
    IGNORE_EXPIRED,
    IGNORE_UNUSED,
)
_MOVE = "Delete or repair it before the upgrade; `preflight --sql` writes SQL that moves it away."


def _airflow3(name: str, title: str, text: str) -> Rule:
    return Rule(f"xcom-airflow3-{name}", Severity.ERROR, title, text)


AIRFLOW3_PICKLE: Final = _airflow3(
    "pickle",
    "Pickle that does not survive the upgrade",
    "The migration moves pickles of protocol 2 and newer to the table _xcom_archive, which no "
    "task reads. It treats older pickles as JSON and stops. Push JSON instead.",
)
AIRFLOW3_NAN: Final = _airflow3(
    "nan",
    "NaN or Infinity",
    "These are not JSON. Depending on the release the migration stops, or turns them into strings "
    "or null. Some releases also change the letters NaN inside strings, and stop at the result.",
)
AIRFLOW3_NUL: Final = _airflow3(
    "nul",
    "NUL character",
    "PostgreSQL's jsonb cannot store it. The migration stops, or drops the character.",
)
AIRFLOW3_SURROGATE: Final = _airflow3(
    "surrogate",
    "Lone surrogate",
    f"It is not valid Unicode, and the database refuses it. {_MOVE}",
)
AIRFLOW3_ENCODING: Final = _airflow3(
    "encoding",
    "Bytes that are not UTF-8",
    f"JSON in the database must be UTF-8. {_MOVE}",
)
AIRFLOW3_INVALID: Final = _airflow3(
    "invalid",
    "Value that is not JSON",
    f"It is empty, truncated or malformed, so the migration cannot convert it. {_MOVE}",
)
AIRFLOW3_NUMBER: Final = _airflow3(
    "number",
    "Number that the new column cannot store exactly",
    "The database's JSON type has a limited range and precision. A number beyond it stops the "
    "migration, is rounded, or comes back as another type.",
)
AIRFLOW3_UNREADABLE: Final = _airflow3(
    "unreadable",
    "XCom that cannot be pulled after the upgrade",
    "The migration keeps the value, but xcom_pull of the new release raises an error on it: its "
    "class no longer exists, was serialized by a newer version, or holds a value that is not read "
    "back. Pull it before the upgrade, or push it in another form.",
)
AIRFLOW3_KEY_ORDER: Final = _airflow3(
    "key-order",
    "Objects that lose the order of their keys",
    "PostgreSQL's jsonb and MySQL's JSON sort the keys of every object by length, then by bytes. "
    "A task that relies on the order of a dict must sort it itself.",
)
AIRFLOW3_TOO_LARGE: Final = _airflow3(
    "too-large",
    "Value too large or too deep for the new column",
    f"The JSON type holds less than the binary column did. {_MOVE}",
)
AIRFLOW3_DANGLING: Final = _airflow3(
    "dangling",
    "XCom whose run does not exist",
    "No task reads it. When Airflow 2.3 and newer upgrade an older database, they move such rows "
    "to a separate table, or stop. Afterwards Airflow does not show them.",
)
AIRFLOW3_DUPLICATE_ROW: Final = _airflow3(
    "duplicate-row",
    "Duplicate XCom",
    f"Airflow 2.0 makes the XCom's name the primary key, and that upgrade stops. {_MOVE}",
)
AIRFLOW3_LOST: Final = _airflow3(
    "lost",
    "XCom that the upgrade deletes",
    "On SQLite the migration rebuilds dag_run with foreign keys enabled. That deletes every task "
    "instance and XCom, and reports success. Keep a copy of the file, or move to a server first.",
)
AIRFLOW3_BACKEND: Final = _airflow3(
    "backend",
    "Database that this release cannot migrate",
    "A statement of the migration fails on this database, whatever is stored. Move to PostgreSQL "
    "or MySQL.",
)

AIRFLOW3_RULES: Final = (
    AIRFLOW3_PICKLE,
    AIRFLOW3_NAN,
    AIRFLOW3_NUL,
    AIRFLOW3_SURROGATE,
    AIRFLOW3_ENCODING,
    AIRFLOW3_INVALID,
    AIRFLOW3_NUMBER,
    AIRFLOW3_UNREADABLE,
    AIRFLOW3_KEY_ORDER,
    AIRFLOW3_TOO_LARGE,
    AIRFLOW3_DANGLING,
    AIRFLOW3_DUPLICATE_ROW,
    AIRFLOW3_LOST,
    AIRFLOW3_BACKEND,
)
"""The rules of `preflight`: an error if the migration stops or loses the value, else a warning."""

UPKEEP: Final = (IGNORE_EXPIRED, IGNORE_UNUSED)
"""Rules about the configuration, not about an XCom."""
RULE_BY_ID: Final = {rule.id: rule for rule in RULES}
RETIRED_IDS: Final = ("xcom-airflow3-duplicate-key",)
"""Rules that no longer exist; ignores may still name them."""
KNOWN_IDS: Final = (*RULE_BY_ID, *(rule.id for rule in AIRFLOW3_RULES), *RETIRED_IDS)
"""Rule ids that the configuration may name."""
