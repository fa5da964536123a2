"""Entries with their values as lines that a script reads: what `export` writes.

A value stands as it is stored: JSON text goes through untouched, and what is no strict JSON
(pickles, NaN, broken bytes) as base64 of its bytes. Nothing is decoded, so nothing is lost.
"""

from __future__ import annotations

import base64
import csv
import io
import json
from typing import TYPE_CHECKING, Literal

from xcomctl import codec
from xcomctl.model import format_time

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from xcomctl.model import Raw, Storage, XComEntry, XComRef

Form = Literal["jsonl", "csv"]

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


def lines(
    entries: Iterable[tuple[XComEntry, Raw]], storage: Storage, form: Form
) -> Iterator[bytes]:
    """Yield the entries as JSON Lines, or as CSV under a header; each piece ends a line."""
    if form == "jsonl":
        for entry, raw in entries:
            yield json_line(entry, raw, storage)
        return
    yield _csv([*FIELDS, "stored_as", "value", "value_base64"])
    for entry, raw in entries:
        text, other = told(raw)
        fields = [_cell(one) for one in _facts(entry)]
        stored_as = _stored_as(raw, storage) or ""
        plain = "" if text is None else text.decode("utf-8")
        yield _csv([*fields, stored_as, plain, "" if other is None else other])


def undo_line(entry: XComEntry, raw: Raw, storage: Storage, run: object) -> bytes:
    """Return an entry as `json_line` does, marked as one that an undo file keeps.

    `run` is the row's dag_run_id, which no run of that name may have.
    """
    extra = {"dag_run_id": run} if isinstance(run, int) else {}
    return json_line(entry, raw, storage, {"undo": "restore"}, extra)


def absence_line(ref: XComRef) -> bytes:
    """Return the line of an undo file that says: there was no such entry."""
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
    named = {"undo": "remove", **dict(zip(FIELDS, facts, strict=True))}
    return codec.dumps(named).encode() + b"\n"


def json_line(
    entry: XComEntry,
    raw: Raw,
    storage: Storage,
    before: Mapping[str, object] | None = None,
    after: Mapping[str, object] | None = None,
) -> bytes:
    """Return one entry as a line of JSON.

    `value` where the stored text is strict JSON, `value_base64` where it is not, and a `value` of
    null with the encoding `null` where there is none. `stored_as` only where SQLite holds the
    value in another storage class than this Airflow writes.
    """
    named = dict(zip(FIELDS, _facts(entry), strict=True))
    facts: dict[str, object] = {**(before or {}), **named, **(after or {})}
    stored_as = _stored_as(raw, storage)
    if stored_as is not None:
        facts["stored_as"] = stored_as
    text, other = told(raw)
    if text is None and other is not None:
        facts["value_base64"] = other
        return codec.dumps(facts).encode() + b"\n"
    return codec.dumps(facts).encode()[:-1] + b', "value": ' + (text or b"null") + b"}\n"


def told(raw: Raw) -> tuple[bytes | None, str | None]:
    """Return the value as strict JSON text of one line, or else as base64; both None for NULL."""
    if raw is None:
        return None, None
    if isinstance(raw, int | float):
        try:
            return json.dumps(raw, allow_nan=False).encode(), None
        except ValueError:
            # SQLite's infinity, which only its text tells apart.
            return None, base64.b64encode(repr(raw).encode()).decode()
    data = codec.to_bytes(raw)
    if _is_strict(data):
        return data, None
    return None, base64.b64encode(data).decode()


def _is_strict(data: bytes) -> bool:
    """Return whether the bytes are one line of JSON, without Python's NaN and Infinity."""
    if not data or b"\n" in data or b"\r" in data:
        return False
    try:
        text = data.decode("utf-8")
        with codec.deep():
            json.loads(text, parse_constant=_refuse, parse_int=len, parse_float=len)
    except (ValueError, RecursionError):
        return False
    return True


def _refuse(token: str) -> None:
    raise ValueError(token)


def _stored_as(raw: Raw, storage: Storage) -> str | None:
    if isinstance(raw, int | float):
        return "real" if isinstance(raw, float) else "integer"
    if isinstance(raw, str) and storage == "bytes":
        return "text"
    return "blob" if isinstance(raw, bytes) and storage == "json" else None


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


def _cell(value: object) -> str:
    if value is None:
        return ""
    # A Size says itself for people.
    return str(int(value)) if isinstance(value, int) else str(value)


def _csv(fields: Iterable[str]) -> bytes:
    out = io.StringIO()
    write: Callable[[Iterable[str]], object] = csv.writer(out, lineterminator="\n").writerow
    write(fields)
    return out.getvalue().encode("utf-8", "backslashreplace")
