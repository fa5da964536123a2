"""How the Airflow that owns a database reads the values stored there."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from xcomctl.model import Storage

Release = tuple[int, int, int]
"""A release of Airflow; 999 stands for the newest patch of a minor release."""

NEWEST: Release = (3, 3, 999)
"""The newest release whose serialization is covered."""


class Reader(Enum):
    """How `xcom_pull` interprets stored JSON."""

    PLAIN = "plain"
    """Airflow 1.10 to 2.4: plain JSON."""
    CLASSES = "classes"
    """Airflow 2.5: `__classname__` names a class to import; builtin classes are not allowed."""
    SERDE = "serde"
    """Airflow 2.6 and newer: `__classname__` envelopes, and the older `__type` ones."""


@dataclass(frozen=True, slots=True)
class Context:
    """How the owning Airflow reads a value."""

    reader: Reader = Reader.SERDE
    storage: Storage = "bytes"
    null_fails: bool = False
    """Whether `xcom_pull` raises an error on SQL NULL (Airflow 2.2 and older)."""
    release: Release = NEWEST
    """The newest release that the database may belong to: it decides which classes are read."""
