"""Decodes stored values into what a task gets from `xcom_pull`.

Never runs code of a value: classes that a value names are shown, not imported, and pickles are read
by an interpreter of our own (`pickle_values`), which cannot import or call anything.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from xcomctl.model import Encoding
from xcomctl.text import visible
from xcomctl.values.envelopes import Envelopes, may_have_envelopes
from xcomctl.values.health import describe_error, holds_json, text_of
from xcomctl.values.references import reference
from xcomctl.values.render import Opaque, to_json
from xcomctl.values.sniff import is_old_pickle, sniff, to_bytes
from xcomctl.values.strictjson import MAX_DIGITS, deep, long_numbers

if TYPE_CHECKING:
    from xcomctl.model import Raw
    from xcomctl.values.context import Context


_MAX_NOTES = 5
_MAX_SHOWN_OPCODES = 200


@dataclass(frozen=True, slots=True)
class Decoded:
    """A value as `xcom_pull` returns it, as far as possible without running code."""

    encoding: Encoding
    value: object
    notes: tuple[str, ...] = ()


def decode(raw: Raw, context: Context, *, opcodes: bool = False) -> Decoded:
    """Return a stored value as the `xcom_pull` of the owning Airflow does.

    With `opcodes` a pickle is not decoded, but described with the opcodes at its beginning. Never
    raises: what cannot be decoded is an `Opaque` that says why.
    """
    if raw is None:
        if context.null_fails:
            problem = "the value is SQL NULL, and xcom_pull of this Airflow raises an error on it"
            return Decoded(Encoding.NULL, Opaque("null", {"problem": problem}))
        return Decoded(Encoding.NULL, None, ("the value is SQL NULL",))
    if context.storage == "bytes" and not isinstance(raw, bytes):
        return _wrong_class(raw, context)
    if isinstance(raw, int | float):
        return Decoded(Encoding.JSON, raw)
    if isinstance(raw, bytes) and sniff(raw, len(raw), context.storage) is Encoding.PICKLE:
        return _decode_pickle(raw, opcodes=opcodes)
    return _decode_json(raw, context, opcodes=opcodes)


def _wrong_class(raw: str | int | float, context: Context) -> Decoded:
    """Return a value that SQLite stores as text or number, where Airflow expects bytes."""
    kind = "text" if isinstance(raw, str) else type(raw).__name__
    facts: dict[str, object] = {"storage_class": kind}
    if isinstance(raw, str):
        inner = _decode_json(to_bytes(raw), context).value
        if not (isinstance(inner, Opaque) and inner.encoding == "unknown"):
            facts["value"] = to_json(inner)[0]
    else:
        facts["value"] = to_json(raw)[0]
    facts["problem"] = f"it is stored as {kind}, not as bytes, and xcom_pull raises TypeError on it"
    return Decoded(Encoding.JSON, Opaque("text", facts))


def _decode_pickle(raw: bytes, *, opcodes: bool) -> Decoded:
    """Return the value of a pickle if it needs no import, else what the pickle is."""
    from xcomctl.values.pickle_objects import TooMuchError, foreign_names
    from xcomctl.values.pickle_opcodes import PickleError
    from xcomctl.values.pickle_summary import array_facts, summarize
    from xcomctl.values.pickle_values import read_pickle
    from xcomctl.values.pickles import describe_pickle

    if opcodes:
        facts = describe_pickle(raw, most=_MAX_SHOWN_OPCODES)
        return Decoded(Encoding.PICKLE, Opaque("pickle", facts))
    problem: Exception | None = None
    value: object = None
    try:
        with long_numbers():
            value = read_pickle(raw)
    except (PickleError, TooMuchError) as error:
        problem = error
    if problem is None and not foreign_names(value):
        note = "the value is a pickle, decoded without loading it"
        return Decoded(Encoding.PICKLE, value, (note,))
    facts = describe_pickle(raw, most=0)
    del facts["opcodes"]
    if problem is None:
        facts["summary"] = summarize(value, facts["protocol"])
        facts |= array_facts(value)
    else:
        facts.setdefault("problem", f"not decoded: {problem}")
    return Decoded(Encoding.PICKLE, Opaque("pickle", facts))


def _decode_json(raw: bytes | str, context: Context, *, opcodes: bool = False) -> Decoded:
    size = len(raw)
    try:
        with long_numbers(), deep():
            text = text_of(raw, context.storage)
            value = json.loads(text)
            notes: Counter[str] = Counter()
            if may_have_envelopes(text):
                value = Envelopes(context, notes).open(value)
    except RecursionError:
        facts = {"size_bytes": size, "problem": "it is nested too deeply"}
        return Decoded(Encoding.JSON, Opaque("json", facts))
    except ValueError as error:
        if isinstance(raw, bytes) and context.storage == "bytes" and is_old_pickle(raw):
            return _decode_pickle(raw, opcodes=opcodes)
        if "digits" in str(error):
            facts = {
                "size_bytes": size,
                "problem": f"a number has more than {MAX_DIGITS:,} digits",
            }
            return Decoded(Encoding.JSON, Opaque("json", facts))
        return _broken(raw, error)
    texts = _first(notes)
    if isinstance(value, str):
        url = reference(value)
        if url:
            texts.append(f"the value is a URL of an object store: {url}")
        elif holds_json(value):
            texts.append(
                "the value is a string that contains JSON text, possibly double-encoded; "
                "`jq fromjson` decodes it"
            )
    return Decoded(Encoding.JSON, value, tuple(texts))


def _first(notes: Counter[str]) -> list[str]:
    """Return the notes, but only the first few: a value may cause one for each of its envelopes."""
    texts = list(notes)
    if len(texts) > _MAX_NOTES:
        texts[_MAX_NOTES:] = [f"{len(texts) - _MAX_NOTES:,} more notes of this kind"]
    return texts


def _broken(raw: bytes | str, error: ValueError) -> Decoded:
    data = to_bytes(raw)
    # Not "bytes": old pickles were ruled out before.
    encoding = sniff(data[:64], len(data), "json") if data else Encoding.EMPTY
    facts: dict[str, object] = {"size_bytes": len(data), "problem": describe_error(error)}
    if data:
        try:
            facts["head"] = visible(data[:60].decode("utf-8"))
        except UnicodeDecodeError:
            facts["head_hex"] = data[:32].hex()
    broken = {Encoding.JSON: "broken-json", Encoding.EMPTY: "empty"}
    name = broken.get(encoding, "unknown")
    return Decoded(
        encoding if encoding is Encoding.EMPTY else Encoding.UNKNOWN, Opaque(name, facts)
    )
