"""Columns of the xcom table that are no part of an XCom's name, value or time.

Airflow 3.3 has `dag_result`. Whatever a later release adds is carried along under its own name.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence

Kind = Literal["boolean", "integer", "number", "text"]
Scalar = bool | int | float | str | None

_BOOLEANS: Final = {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False}


@dataclass(frozen=True, slots=True)
class OtherColumn:
    """A column by its name, and what its values are in a file."""

    name: str
    kind: Kind

    @classmethod
    def of_type(cls, name: str, sql_type: str) -> OtherColumn:
        """Return the column of a type as the database names it, in lower case.

        MySQL has numbers for booleans, and no type that says so.
        """
        if name == "dag_result" or sql_type.startswith("bool"):
            return cls(name, "boolean")
        if "int" in sql_type and sql_type != "interval":
            return cls(name, "integer")
        if sql_type.startswith(("double", "float", "real")):
            return cls(name, "number")
        return cls(name, "text")

    def read(self, value: object) -> Scalar:
        """Return a value as JSON holds it. What is not of the column's kind, which SQLite takes, is text."""
        if isinstance(value, bytes):
            value = value.decode("utf-8", "surrogateescape")
        if value is None:
            return None
        text = str(value)
        if self.kind == "boolean" and (text.lower() in _BOOLEANS):
            return _BOOLEANS[text.lower()]
        try:
            if self.kind == "integer":
                return int(text)
            if self.kind == "number" and math.isfinite(number := float(text)):
                return number
        except ValueError:
            pass
        return text


def read(columns: Sequence[OtherColumn], value: object) -> tuple[Scalar, ...]:
    """Return the values of these columns of a row.

    `value` is what the database holds if there is one column, and a JSON array of all if there
    are several.
    """
    if len(columns) < 2:
        return tuple(column.read(value) for column in columns)
    if isinstance(value, bytes):
        value = value.decode("utf-8", "surrogateescape")
    found = json.loads(str(value))
    return tuple(column.read(one) for column, one in zip(columns, found, strict=True))
