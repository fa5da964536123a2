"""The rules of the audit and of preflight: what each finds, how severe it is, and how to fix it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from xcomctl.audit import secrets
from xcomctl.audit.rule import Rule, Severity
from xcomctl.values.references import stored_reference

if TYPE_CHECKING:
    from xcomctl.exchange.pages import Page

HIDDEN_ROWS: Final = Rule(
    "xcom-hidden-rows",
    Severity.ERROR,
    "XComs hidden from this role",
    why="Row-level security or a view can hide rows from the role that xcomctl connects as. The "
    "audit is not complete then, and exits with 3.",
    fix="Connect as a role that sees every row: give it BYPASSRLS, or a policy FOR SELECT USING "
    "(true).",
    example="ALTER TABLE xcom ENABLE ROW LEVEL SECURITY;  -- and no policy",
)
OVER_LIMIT: Final = Rule(
    "xcom-over-limit",
    Severity.ERROR,
    "XCom larger than the limit",
    why="The value is larger than what can be stored and read back.",
    fix="Store the data elsewhere (object storage, a table) and push its location, or "
    "configure an object storage XCom backend.",
    example='return df.to_dict("records")  # 80 KB, and the limit is 65,535 bytes',
)
NEAR_LIMIT: Final = Rule(
    "xcom-near-limit",
    Severity.WARNING,
    "XCom close to the limit",
    why="The value still fits, but a slightly larger one will not.",
    fix="Store the data elsewhere before the task starts to fail.",
    example="return list_files(day)  # 52 KB of 65,535 bytes, and more every day",
)
TRUNCATED: Final = Rule(
    "xcom-truncated",
    Severity.ERROR,
    "XCom truncated by the database",
    why="The value fills its column to the last byte and cannot be decoded: MySQL "
    "truncates silently unless sql_mode is strict. The rest is lost.",
    fix="Store the data elsewhere, run the task again, and set a strict sql_mode.",
    example='["part-000.parquet", …, "part-13  # cut off at 65,535 bytes',
)
UNDECODABLE: Final = Rule(
    "xcom-undecodable",
    Severity.WARNING,
    "XCom that cannot be decoded",
    why="The value is not valid JSON and not in another known encoding. A task that "
    "pulls it fails.",
    fix="Run the task again, or delete the XCom.",
    example='{"rows": 12,  # cut off, or written by another program',
    deep=True,
)
PICKLED: Final = Rule(
    "xcom-pickled",
    Severity.NOTE,
    "Pickled XCom",
    why="Loading a pickle runs code, and the upgrade to Airflow 3 drops pickles.",
    fix="Set enable_xcom_pickling to False and push JSON.",
    example="return SomeObject()  # with enable_xcom_pickling = True",
)
DOUBLE_ENCODED: Final = Rule(
    "xcom-double-encoded",
    Severity.WARNING,
    "JSON text stored as a string",
    why="The value is a string whose text is a JSON object, array or string. "
    "xcom_pull returns that text, not the object.",
    fix="Push the object itself instead of the result of json.dumps. Airflow's "
    "triggerer, and its REST API before 3.2, write such values too. A string that "
    "was meant to contain JSON looks the same.",
    example='return json.dumps({"rows": 12})  # stored as "{\\"rows\\": 12}"',
    deep=True,
)

OVER_BUDGET: Final = Rule(
    "xcom-over-budget",
    Severity.ERROR,
    "XCom larger than its budget",
    why="The value is larger than the team's budget for it.",
    fix="Make it smaller, store the data elsewhere, or raise the budget in the configuration.",
    example='max_size = "48 KiB"  # in [[audit.budget]], and a value has 50 KiB',
)
TOTAL_OVER_BUDGET: Final = Rule(
    "xcom-total-over-budget",
    Severity.ERROR,
    "XComs over their total budget",
    why="The XComs of one run, or all XComs that the budget covers, exceed the team's "
    "budget in bytes or in number.",
    fix="Delete old runs, push less, or raise the budget in the configuration.",
    example='max_total_per_run = "1 MiB"  # and 40 mapped tasks push 32 KiB each',
)
GREW: Final = Rule(
    "xcom-grew",
    Severity.WARNING,
    "XCom grown past the baseline",
    why="The finding is in the baseline, and its XCom has grown by more than both "
    "growth caps since.",
    fix="Make it smaller, or accept the new size with --update-baseline.",
    example="60 KiB in the baseline, 95 KiB now  # more than 50% and 16 KiB",
)
IGNORE_EXPIRED: Final = Rule(
    "ignore-expired",
    Severity.WARNING,
    "Expired ignore",
    why="The date of this ignore has passed, so its findings are reported again.",
    fix="Fix them, or move the date.",
    example="until = 2026-01-31  # in [[audit.ignore]]",
)
IGNORE_UNUSED: Final = Rule(
    "ignore-unused",
    Severity.WARNING,
    "Unused ignore",
    why="No finding matches this ignore any more.",
    fix="Remove it, so that it cannot hide a new finding.",
    example='dag_id = "legacy_*"  # in [[audit.ignore]], and no such DAG is left',
)


_MAY_BE_URL = re.compile(rb'\n[ \t\r\n]*"[^" :\\\r\n]*(?::?/?\\|://)')
"""The start of a string in which `://`, or an escape, comes before any space."""


def _may_be_url(page: Page) -> set[int]:
    """Return the indexes of the values that may be a single URL."""
    return page.holders(match.end() - 1 for match in _MAY_BE_URL.finditer(page.text))


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
    "Reference to an object store",
    why="The value is a single URL of an object store. If an object storage XCom "
    "backend wrote it, the data is there: its size is not counted here, and "
    "deleting the XCom leaves the object.",
    fix="Nothing needs to be fixed; delete the object when you delete the XCom.",
    example="s3://bucket/xcom/etl/run_1/extract/7f3a.json",
    deep=True,
    find=_scheme,
    suspects=_may_be_url,
    message="the value is a single {}:// URL: a reference, if an object storage backend wrote it",
)

RULES: Final = (
    HIDDEN_ROWS,
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


def _airflow3(name: str, title: str, *, why: str, fix: str, example: str) -> Rule:
    rule_id = f"xcom-airflow3-{name}"
    return Rule(rule_id, Severity.ERROR, title, why=why, fix=fix, example=example)


AIRFLOW3_PICKLE: Final = _airflow3(
    "pickle",
    "Pickle that the upgrade drops",
    why="The migration moves pickles of protocol 2 and newer to the table "
    "_xcom_archive, which no task reads. It treats older pickles as JSON and "
    "stops.",
    fix="Push JSON instead.",
    example="return SomeObject()  # with enable_xcom_pickling = True",
)
AIRFLOW3_NAN: Final = _airflow3(
    "nan",
    "NaN or Infinity",
    why="These are not JSON. Depending on the release the migration stops, or turns "
    "them into strings or null. Some releases also change the letters NaN inside "
    "strings, and stop at the result.",
    fix="Push None instead, or delete the XCom before the upgrade.",
    example='return {"mean": float("nan")}',
)
AIRFLOW3_NUL: Final = _airflow3(
    "nul",
    "NUL character",
    why="PostgreSQL's jsonb cannot store it. The migration stops, or drops the character.",
    fix="Remove the character before the value is pushed.",
    example='return "a\\u0000b"',
)
AIRFLOW3_SURROGATE: Final = _airflow3(
    "surrogate",
    "Lone surrogate",
    why="It is not valid Unicode, and the database refuses it.",
    fix=_MOVE,
    example='return os.fsdecode(b"caf\\xe9")  # stored as "caf\\udce9"',
)
AIRFLOW3_ENCODING: Final = _airflow3(
    "encoding",
    "Bytes that are not UTF-8",
    why="JSON in the database must be UTF-8.",
    fix=_MOVE,
    example='"caf\\xe9" in Latin-1, written by another program',
)
AIRFLOW3_INVALID: Final = _airflow3(
    "invalid",
    "Value that is not JSON",
    why="It is empty, truncated or malformed, so the migration cannot convert it.",
    fix=_MOVE,
    example='["a", "b"  # cut off',
)
AIRFLOW3_NUMBER: Final = _airflow3(
    "number",
    "Number that cannot stay exact",
    why="The database's JSON type has a limited range and precision. A number beyond "
    "it stops the migration, is rounded, or comes back as another type.",
    fix="Push such a number as a string.",
    example="return 12345678901234567890123",
)
AIRFLOW3_UNREADABLE: Final = _airflow3(
    "unreadable",
    "Value that cannot be read back",
    why="The migration keeps the value, but xcom_pull of the new release raises an "
    "error on it: its class no longer exists, was serialized by a newer version, "
    "or holds a value that is not read back.",
    fix="Pull it before the upgrade, or push it in another form.",
    example='{"__classname__": "my_plugin.Result", …}  # a class that is not allowed',
)
AIRFLOW3_KEY_ORDER: Final = _airflow3(
    "key-order",
    "Object whose keys are reordered",
    why="PostgreSQL's jsonb and MySQL's JSON sort the keys of every object by length, "
    "then by bytes.",
    fix="A task that relies on the order of a dict must sort it itself.",
    example='return {"first": 1, "b": 2}  # comes back as {"b": 2, "first": 1}',
)
AIRFLOW3_TOO_LARGE: Final = _airflow3(
    "too-large",
    "Value too large or too deep",
    why="The JSON type holds less than the binary column did.",
    fix=_MOVE,
    example='return "x" * 300_000_000  # jsonb holds 268,435,455 bytes',
)
AIRFLOW3_DANGLING: Final = _airflow3(
    "dangling",
    "XCom whose run does not exist",
    why="No task reads it. When Airflow 2.3 and newer upgrade an older database, they "
    "move such rows to a separate table, or stop. Afterwards Airflow does not "
    "show them.",
    fix="Delete it.",
    example="DELETE FROM dag_run …  # by hand, and the XComs of the run stayed",
)
AIRFLOW3_DUPLICATE_ROW: Final = _airflow3(
    "duplicate-row",
    "Duplicate XCom",
    why="Airflow 2.0 makes the XCom's name the primary key, and that upgrade stops.",
    fix=_MOVE,
    example="two rows of Airflow 1.10 with the same DAG, task, key and date",
)
AIRFLOW3_LOST: Final = _airflow3(
    "lost",
    "XCom that the upgrade deletes",
    why="On SQLite the migration rebuilds dag_run with foreign keys enabled. That "
    "deletes every task instance and XCom, and reports success.",
    fix="Keep a copy of the file, or move to a server first.",
    example="airflow db migrate  # from Airflow 2 to 3, with sqlite:////…/airflow.db",
)
AIRFLOW3_BACKEND: Final = _airflow3(
    "backend",
    "Database that cannot migrate",
    why="A statement of the migration fails on this database, regardless of its contents.",
    fix="Move to PostgreSQL or MySQL.",
    example="airflow db migrate  # from Airflow 2 to 3.0, with MariaDB",
)

AIRFLOW3_TABLES: Final = _airflow3(
    "tables",
    "Tables that cannot migrate",
    why="The upgrade to Airflow 3.4 checks the foreign keys between task instances and their XComs, "
    "and a downgrade from it checks that the names of task instances stay unique. Where a check "
    "fails the migration stops; a downgrade then leaves tables that no Airflow reads.",
    fix="Before an upgrade, create the foreign key as Airflow does and validate it. Before a "
    "downgrade, delete the DAG runs that the message is about.",
    example="ALTER TABLE xcom DROP CONSTRAINT xcom_task_instance_fkey;",
)
AIRFLOW3_DOWNGRADE: Final = _airflow3(
    "downgrade",
    "XComs that a downgrade deletes",
    why="A downgrade from Airflow 3.4 keeps what the latest attempt of each task pushed. What "
    "earlier attempts pushed is deleted, even if the latest has not pushed that key.",
    fix="Export them first: xcomctl export --attempts all.",
    example="airflow db downgrade --to-version 3.3.2",
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
    AIRFLOW3_TABLES,
    AIRFLOW3_DOWNGRADE,
)
"""The rules of `preflight`: an error if the migration stops or loses the value, else a warning."""

UPKEEP: Final = (IGNORE_EXPIRED, IGNORE_UNUSED)
"""Rules about the configuration, not about an XCom."""
RULE_BY_ID: Final = {rule.id: rule for rule in RULES}
RETIRED_IDS: Final = ("xcom-airflow3-duplicate-key",)
"""Rules that no longer exist; ignores may still name them."""
KNOWN_IDS: Final = (*RULE_BY_ID, *(rule.id for rule in AIRFLOW3_RULES), *RETIRED_IDS)
"""Rule ids that the configuration may name."""
