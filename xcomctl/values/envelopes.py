"""Envelopes: the JSON objects in which Airflow serializes what JSON cannot express.

`Envelopes` follows Airflow's own `deserialize` step by step, except that it imports nothing. Which
class is read since which release is in `envelope_types`.

https://airflow.apache.org/docs/apache-airflow/stable/authoring-and-scheduling/serializers.html
"""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Any

from xcomctl.text import visible
from xcomctl.values.context import Reader
from xcomctl.values.envelope_data import AirflowError, open_data
from xcomctl.values.envelope_types import (
    ENVELOPE_TYPES,
    MODULES,
    OBJECT_HOOK_BEFORE,
    OLD_TYPES,
)
from xcomctl.values.render import Opaque, to_json

if TYPE_CHECKING:
    from xcomctl.values.context import Context

_CLASS, _VERSION, _DATA = "__classname__", "__version__", "__data__"
_ESCAPED_NAME = re.compile(r"\\u00(?:5[fF]|6[1-9a-fA-F]|7[0-9aA])")
"""An escaped letter or underscore: the key may be that of an envelope."""
_RAISES = "xcom_pull raises "
_OLD_TYPE, _OLD_DATA = "__type", "__var"


def may_have_envelopes(text: str) -> bool:
    """Return whether a JSON text can contain an envelope; nearly free compared with opening it."""
    if f'"{_CLASS}"' in text or f'"{_OLD_TYPE}"' in text:
        return True
    return "\\u00" in text and _ESCAPED_NAME.search(text) is not None


def pull_errors(value: object, context: Context) -> list[str]:
    """Return the errors that `xcom_pull` raises on parsed JSON, for people."""
    notes: Counter[str] = Counter()
    Envelopes(context, notes).open(value)
    return [note for note in notes if note.startswith(_RAISES)]


class Envelopes:
    """Opens Airflow's serialized objects: turns each envelope into the value that it stands for.

    Nothing is imported. An envelope that Airflow itself cannot read, or whose class is unknown,
    becomes an `Opaque`.
    """

    def __init__(self, context: Context, notes: Counter[str]) -> None:
        self._context = context
        self._notes = notes
        self._inside_out = context.release < OBJECT_HOOK_BEFORE
        self._has_frozensets = False

    def open(self, value: Any) -> Any:
        """Return parsed JSON with its envelopes opened; adds to the notes what is uncertain.

        Raises:
            RecursionError: the value is nested too deeply.
        """
        if self._context.reader is Reader.PLAIN:
            return value
        if isinstance(value, list):
            return [self.open(one) for one in value]
        if not isinstance(value, dict):
            return value
        if self._context.reader is Reader.CLASSES:
            return self._open_2_5(value)
        if self._inside_out:
            return self._open_dict({key: self.open(one) for key, one in value.items()})
        return self._open_dict(value)

    def _open_2_5(self, value: dict[str, Any]) -> object:
        if isinstance(value.get(_CLASS), str) and isinstance(value.get(_VERSION), int):
            problem = "Airflow 2.5 imports such a class only if its configuration allows it"
            data = self.open(value.get(_DATA))
            return self._opaque(value[_CLASS], value[_VERSION], data, problem)
        return {key: self.open(one) for key, one in value.items()}

    def _open_dict(self, value: dict[str, Any]) -> object:
        if _OLD_TYPE in value and _OLD_DATA in value:
            kind, data = value[_OLD_TYPE], value[_OLD_DATA]
            if kind != "dict":
                return self._open_old(kind, self._open_inner(data))
            if not isinstance(data, dict):
                name = (
                    "TypeError"
                    if data is None or isinstance(data, int | float)
                    else "AttributeError"
                )
                error = AirflowError(name, "its data is not an object")
                return self._unreadable("dict", 0, self._open_inner(data), error)
            # Not opened once more: newer Airflows leave an old envelope directly inside closed.
            value = data
        if _CLASS not in value or _VERSION not in value:
            if self._inside_out:
                return self._open_inner(value)
            return {key: self.open(one) for key, one in value.items()}
        name, version = value[_CLASS], value[_VERSION]
        data = self._open_inner(value.get(_DATA))
        if not isinstance(name, str) or not isinstance(version, int):
            error = AirflowError("ValueError", "its class name or version is not valid")
            return self._unreadable(name, version, data, error)
        return self._open_class(name, name, version, data)

    def _open_inner(self, value: Any) -> Any:
        """Return what is inside an object, opened.

        From the inside out it is open already. But Airflow 2 visits it again for every object
        around it, which turns frozensets into lists.
        """
        if not self._inside_out:
            return self.open(value)
        return _without_frozensets(value) if self._has_frozensets else value

    def _open_old(self, kind: Any, data: Any) -> object:
        if not isinstance(kind, str):
            hashed = isinstance(kind, list) and self._context.release >= OLD_TYPES["tuple"].since
            error = AirflowError("TypeError" if hashed else "ValueError", "its type is not text")
            return self._unreadable(kind, 0, data, error)
        old = OLD_TYPES.get(kind)
        if old is None:
            return self._open_class(kind, kind, 0, data)
        if self._context.release < old.since:
            return self._unreadable(kind, 0, data, _not_allowed(kind))
        return self._open_class(kind, old.classname, 0, data)

    def _open_class(self, shown: str, classname: str, version: int, data: Any) -> object:
        """Return the value that an envelope stands for; `shown` is the class as it is stored."""
        if classname != "builtins.tuple" and _has_opaque(data):
            # Airflow fails at what is inside.
            return self._opaque(shown, version, data)
        known = ENVELOPE_TYPES.get(classname)
        try:
            if known is None:
                self._check_module(classname)
                return self._opaque_frame(shown, version, data)
            if self._context.release < known.since:
                raise _not_allowed(classname)
            if known.max_version is not None and version > known.max_version:
                raise AirflowError(
                    "TypeError", f"version {version} is newer than {known.max_version}"
                )
            if known.kind == "frame":
                return self._opaque_frame(shown, version, data)
            opened = open_data(known.kind, classname, version, data, self._context.release)
        except (
            AirflowError,
            ValueError,
            TypeError,
            OverflowError,
            ArithmeticError,
            LookupError,
            AttributeError,
        ) as error:
            return self._unreadable(shown, version, data, error)
        if opened.note:
            self._notes[opened.note] += 1
        if opened.value is None:
            return self._opaque(shown, version, data)
        self._has_frozensets |= isinstance(opened.value, frozenset)
        return opened.value

    def _check_module(self, classname: str) -> None:
        if not classname:
            raise AirflowError("TypeError", "its class name is empty")
        for module in MODULES:
            if classname.startswith(module.prefix) and not (
                module.since <= self._context.release < module.before
            ):
                raise AirflowError(
                    "ModuleNotFoundError", f"this Airflow has no module {module.prefix.rstrip('.')}"
                )

    def _opaque_frame(self, name: object, version: object, data: Any) -> Opaque:
        """Return an object as it is; of a DataFrame, with its shape instead of its data."""
        if not isinstance(name, str) or "DataFrame" not in name or not isinstance(data, str):
            return self._opaque(name, version, data)
        from xcomctl.values.dataframe_footer import frame_shape

        facts: dict[str, object] = {"classname": name, "version": version}
        try:
            parquet = bytes.fromhex(data)
        except ValueError:
            facts["problem"] = "its data is not hexadecimal"
            return Opaque("object", facts)
        facts["parquet_bytes"] = len(parquet)
        found = frame_shape(parquet)
        if found is None:
            return Opaque("object", facts)
        facts |= {"rows": found.rows, "columns": list(found.types), "types": found.types}
        return Opaque("object", facts, parquet)

    def _unreadable(self, name: object, version: object, data: Any, error: Exception) -> Opaque:
        """Return an object on which `xcom_pull` raises an error."""
        kind = error.kind if isinstance(error, AirflowError) else type(error).__name__
        message = visible(str(error))[:200]
        self._notes[f'{_RAISES}{kind} on "{visible(str(name))[:200]}": {message}'] += 1
        opaque = self._opaque_frame(name, version, data)
        opaque.facts["problem"] = f"Airflow cannot read it back: {kind}: {message}"
        return opaque

    @staticmethod
    def _opaque(name: object, version: object, data: Any, problem: str | None = None) -> Opaque:
        facts: dict[str, object] = {"classname": to_json(name)[0], "version": to_json(version)[0]}
        facts["data"] = to_json(data)[0]
        if problem:
            facts["problem"] = problem
        return Opaque("object", facts)


def _not_allowed(classname: str) -> AirflowError:
    return AirflowError("ImportError", f"this Airflow does not read {visible(classname)[:200]}")


def _has_opaque(data: Any) -> bool:
    """Return whether data, or an element of it, could not be opened."""
    if isinstance(data, list | dict):
        elements = data.values() if isinstance(data, dict) else data
        return any(isinstance(one, Opaque) for one in elements)
    return isinstance(data, Opaque)


def _without_frozensets(value: Any) -> Any:
    if isinstance(value, frozenset | list):
        return [_without_frozensets(one) for one in value]
    if isinstance(value, tuple):
        return tuple([_without_frozensets(one) for one in value])
    if isinstance(value, dict):
        return {key: _without_frozensets(one) for key, one in value.items()}
    # A set with a frozenset in it fails in Airflow: lists have no hash.
    return {_without_frozensets(one) for one in value} if isinstance(value, set) else value
