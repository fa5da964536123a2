"""Single XComs as lines of JSON: the lines of an undo file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xcomctl.exchange.stored import encode_value, stored_as
from xcomctl.model import format_time
from xcomctl.values import strictjson

if TYPE_CHECKING:
    from collections.abc import Mapping

    from xcomctl.model import Raw, Storage, XComEntry, XComRef

FIELDS = (
    "dag_id",
    "task_id",
    "run_id",
    "map_index",
    "key",
    "timestamp",
    "logical_date",
    "size_bytes",
    "encoding",
)
"""The fields of every line, in order; the value follows."""


def undo_line(entry: XComEntry, raw: Raw, storage: Storage) -> bytes:
    """Return the line of an undo file that restores this XCom.

    Airflow 1.10 can have several rows of one name; there, `id` says which one it is.
    """
    marks: dict[str, object] = {"undo": "restore"}
    if len(entry.row) == 1:
        marks["id"] = entry.row[0]
    return json_line(entry, raw, storage, marks)


def absence_line(ref: XComRef, others: Mapping[str, object] | None = None) -> bytes:
    """Return the line of an undo file that removes an XCom which did not exist before.

    `others` are further members, which say where the row lies.
    """
    facts = (
        ref.dag_id,
        ref.task_id,
        ref.run_id,
        ref.map_index,
        ref.key,
        None,
        format_time(ref.logical_date),
        None,
        "absent",
    )
    named = {"undo": "remove", **dict(zip(FIELDS, facts, strict=True)), **(others or {})}
    return strictjson.dumps(named).encode() + b"\n"


def json_line(
    entry: XComEntry,
    raw: Raw,
    storage: Storage,
    before: Mapping[str, object] | None = None,
) -> bytes:
    """Return one XCom as a line of JSON, the members of `before` first.

    The value is in `value` if its stored text is strict JSON, else in `value_base64`; SQL NULL
    is a `value` of null with the encoding `null`. `stored_as` is set only if SQLite holds the
    value in another storage class than Airflow writes; `orphan` and `dag_run_id` only if the
    row's run or task instance does not exist.
    """
    named = dict(zip(FIELDS, _facts(entry), strict=True))
    facts: dict[str, object] = {**(before or {}), **named}
    if entry.orphan:
        facts |= {"orphan": True, "dag_run_id": entry.row[0]}
    facts |= {name: one for name, one in entry.others if name not in facts}
    storage_class = stored_as(raw, storage)
    if storage_class is not None:
        facts["stored_as"] = storage_class
    text, encoded = encode_value(raw)
    if text is None and encoded is not None:
        facts["value_base64"] = encoded
        return strictjson.dumps(facts).encode() + b"\n"
    return strictjson.dumps(facts).encode()[:-1] + b', "value": ' + (text or b"null") + b"}\n"


def _facts(entry: XComEntry) -> tuple[object, ...]:
    ref = entry.ref
    return (
        ref.dag_id,
        ref.task_id,
        ref.run_id,
        ref.map_index,
        ref.key,
        format_time(entry.timestamp),
        format_time(ref.logical_date),
        entry.size,
        entry.encoding.value,
    )
