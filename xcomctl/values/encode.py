"""Encodes a value as the `xcom_push` of the owning Airflow does, or says why that Airflow cannot.

The inverse of `decode`: property tests check that decoding an encoded value returns it.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from xcomctl.errors import RefusedError, UsageError
from xcomctl.values import strictjson
from xcomctl.values.envelopes import pull_errors
from xcomctl.values.health import describe_error
from xcomctl.values.typed import make_envelope

if TYPE_CHECKING:
    from collections.abc import Iterator

    from xcomctl.values.context import Context
    from xcomctl.values.typed import Type

RESERVED = frozenset({"__classname__", "__version__", "__data__", "__type", "__var", "__id__"})
"""Keys by which Airflow recognises serialized objects."""

_MAX_DEPTH = {"bytes": 250, "sqlite": 195, "postgresql": 195, "mysql": 100, "mariadb": 31}
"""Levels of nesting that can be read back: from a bytes column, and from each backend's JSON column.

MySQL refuses more than 100 levels (error 3157), MariaDB's JSON_VALID more than 31, and the JSON
parser of Airflow 3's tasks about 200, including its own message around the value. Airflow 2
recurses in Python, with several frames per level, under a limit of 1,000.
"""
_SMALLEST_INT, _LARGEST_INT = -(2**63), 2**64 - 1
"""The range of msgpack, in which Airflow 3 sends values to its tasks."""


@dataclass(frozen=True, slots=True)
class Traits:
    """How the owning Airflow writes a value."""

    context: Context
    backend: str


@dataclass(frozen=True, slots=True)
class Encoded:
    """A value in the form in which it is stored."""

    text: str
    """JSON text, as Airflow's own `json.dumps` writes it: ASCII."""
    value: object
    """The text, parsed; envelopes are not opened."""
    notes: tuple[str, ...] = ()

    @property
    def data(self) -> bytes:
        """Return the text as bytes."""
        return self.text.encode("ascii")


def parse(text: str) -> object:
    """Return the value of a JSON text; NaN and Infinity are allowed.

    Raises:
        UsageError: the text is not JSON.
        RefusedError: it is nested too deeply.
    """
    try:
        with strictjson.long_numbers(), strictjson.deep():
            return json.loads(text, object_pairs_hook=_unique, parse_float=strictjson.to_float)
    except RecursionError:
        raise RefusedError("cannot push a value that is nested too deeply") from None
    except ValueError as error:
        reason = describe_error(error)
        raise UsageError(
            "cannot read the value: it is not JSON",
            detail=f"{reason[:1].upper()}{reason[1:]}.",
            hint="Use --string to push it as text. A JSON string needs its own quotes: '\"rows\"'.",
        ) from None


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f'an object has the key "{twice}" twice')
    return found


def encode(
    value: object, kind: Type, traits: Traits, *, allow_reserved_keys: bool = False
) -> Encoded:
    """Return what `xcom_push` of the owning Airflow stores for a value.

    `value` is what `parse` returned; `kind` is the type that it stands for.

    Raises:
        UsageError: the value does not describe a value of that type.
        RefusedError: this Airflow cannot push it, or cannot read it back.
    """
    checked = _Checked(traits, allow_reserved_keys)
    with strictjson.long_numbers(), strictjson.deep():
        try:
            checked.walk(value)
            if kind != "json":
                value = make_envelope(value, kind, traits.context, checked.notes)
            _check_depth(value, traits)
        except RecursionError:
            raise RefusedError("cannot push a value that is nested too deeply") from None
        if checked.has_reserved_keys:
            checked.notes += pull_errors(value, traits.context)
        text = json.dumps(value)
    return Encoded(text, value, tuple(checked.notes))


def _check_depth(value: object, traits: Traits) -> None:
    """Raise RefusedError if a value is nested more deeply than can be read back."""
    in_json_column = traits.context.storage == "json"
    most = _MAX_DEPTH[traits.backend if in_json_column else "bytes"]
    if _depth(value) > most:
        raise RefusedError(
            f"cannot push a value of more than {most} levels of nesting",
            detail="This is the maximum of the database."
            if in_json_column and most <= 100
            else "This is the maximum of Airflow's own reader.",
        )


def _depth(value: object) -> int:
    """Return the number of nested arrays and objects."""
    if isinstance(value, dict | list):
        inner = value.values() if isinstance(value, dict) else value
        return 1 + max(map(_depth, inner), default=0)
    return 0


@dataclass(slots=True)
class _Checked:
    """Walks a value, and refuses what the database or Airflow cannot return unchanged."""

    traits: Traits
    allow_reserved_keys: bool
    notes: list[str] = field(default_factory=list)
    has_reserved_keys: bool = False

    def walk(self, value: object) -> None:
        if isinstance(value, dict):
            self._keys(value)
            for key, one in value.items():
                self._text(key)
                self.walk(one)
        elif isinstance(value, list):
            for one in value:
                self.walk(one)
        elif isinstance(value, str):
            self._text(value)
        elif self._json and isinstance(value, int | float):
            self._json_number(value)

    @property
    def _json(self) -> bool:
        return self.traits.context.storage == "json"

    def _keys(self, value: dict[str, object]) -> None:
        found = sorted(RESERVED & value.keys())
        self.has_reserved_keys |= bool(found)
        if found and not self.allow_reserved_keys:
            raise RefusedError(
                f'cannot push a value with the key "{found[0]}"',
                detail="Airflow reserves this key for serialized objects: it would read back "
                "another value, or raise an error.",
                hint="Use --type to push a datetime, Decimal, tuple or set, or "
                "--allow-reserved-keys to push the keys as they are.",
            )

    def _text(self, text: str) -> None:
        if not self._json or (text.isascii() and "\0" not in text):
            return
        if any("\ud800" <= char <= "\udfff" for char in text):
            raise RefusedError(
                "cannot push a text with a lone surrogate",
                detail="It is not valid Unicode: JSON columns and Airflow 3 refuse it.",
            )
        if "\0" in text and self.traits.backend == "postgresql":
            raise RefusedError(
                "cannot push a text with a NUL character",
                detail="The column is a jsonb, and PostgreSQL cannot store \\u0000 there.",
            )

    def _json_number(self, number: int | float) -> None:
        if isinstance(number, float):
            if not math.isfinite(number):
                raise RefusedError(
                    f"cannot push {json.dumps(number)}",
                    detail="JSON has no such number, and Airflow 3 refuses it.",
                    hint="Push null or a string.",
                )
        elif not _SMALLEST_INT <= number <= _LARGEST_INT:
            raise RefusedError(
                "cannot push an integer of more than 64 bits",
                detail="Airflow 3 cannot send it to a task: msgpack is limited to 64 bits.",
                hint="Push it as a string.",
            )


def same(sent: object, found: object) -> bool:
    """Return whether two JSON values are equal, including types, but not the order of keys."""
    if isinstance(sent, dict):
        return (
            isinstance(found, dict)
            and sent.keys() == found.keys()
            and all(same(one, found[key]) for key, one in sent.items())
        )
    if isinstance(sent, list):
        return (
            isinstance(found, list)
            and len(sent) == len(found)
            and all(same(one, other) for one, other in zip(sent, found, strict=True))
        )
    if type(sent) is not type(found):
        return False
    if isinstance(sent, float) and isinstance(found, float):
        return sent == found or (math.isnan(sent) and math.isnan(found))
    return sent == found


def floats_spelled_out(value: object) -> str:
    """Return JSON text in which every float has a decimal point.

    PostgreSQL's jsonb stores decimals: it would return 1e+16 as an integer.
    """
    return "".join(_spelled(value))


def _spelled(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield "{"
        for index, (key, one) in enumerate(value.items()):
            yield f"{', ' if index else ''}{json.dumps(key)}: "
            yield from _spelled(one)
        yield "}"
    elif isinstance(value, list):
        yield "["
        for index, one in enumerate(value):
            yield ", " if index else ""
            yield from _spelled(one)
        yield "]"
    elif isinstance(value, float) and value.is_integer():
        yield f"{Decimal(repr(value)):f}".partition(".")[0] + ".0"
    else:
        yield json.dumps(value)


def least_size(value: object) -> int:
    """Return a lower bound of a value's size in any JSON column, in bytes: its strings in UTF-8."""
    if isinstance(value, dict):
        return sum(len(key.encode()) + least_size(one) for key, one in value.items())
    if isinstance(value, list):
        return sum(map(least_size, value))
    return len(value.encode()) if isinstance(value, str) else 0
