"""Recognises which Airflow created an xcom table, by its columns rather than a version number.

Half-migrated databases exist, so columns decide how rows are read. `alembic_version` only says
which releases share that layout, and how they read stored values.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from xcomctl.errors import DatabaseError
from xcomctl.values.context import Reader

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from xcomctl.model import Storage
    from xcomctl.values.context import Release


@dataclass(frozen=True, slots=True)
class Column:
    """A column as the database describes it."""

    name: str
    type: str
    """The database's name for it, in lower case: `bytea`, `longblob`, `json`."""
    nullable: bool = True
    has_default: bool = False
    charset: str | None = None
    """MySQL's character set of a text column."""
    collation: str | None = None
    """Of a text column, as SQL names it; None where it is the database's default or unknown."""
    exact: bool = True
    """Whether only identical texts are equal under the collation (PostgreSQL)."""
    primary: bool = False
    """Whether it belongs to the primary key, as far as the backend asks (MySQL)."""


@dataclass(frozen=True, slots=True)
class Generation:
    """A layout of the xcom table that several releases of Airflow share."""

    name: str
    needs: frozenset[str]
    """Columns that distinguish it from older generations."""
    identity: tuple[str, ...]
    """The primary key, or the columns that identify a row where there is none."""
    mapped: bool
    """Whether rows carry run_id and map_index; older rows identify a run by its date only."""
    columns: frozenset[str]
    """Every column that xcomctl can fill."""
    split: bool = False
    """Whether XComs are in two tables, and belong to attempts of task instances in regions."""


_COMMON = frozenset({"key", "value", "timestamp", "task_id", "dag_id"})

GENERATIONS = (
    Generation(
        "3.4",
        frozenset({"region_id", "region_index", "store"}),
        (
            *("dag_run_id", "task_id", "map_index", "region_id", "region_index"),
            *("key", "try_number", "store"),
        ),
        mapped=True,
        columns=_COMMON
        | {"dag_run_id", "run_id", "map_index", "region_id", "region_index", "try_number"}
        | {"store", "xcom_id", "is_current", "in_loop", "task_instance_id"}
        | {"dag_result", "mapped_length"},
        split=True,
    ),
    Generation(
        "2.3",
        frozenset({"dag_run_id", "run_id", "map_index"}),
        ("dag_run_id", "task_id", "map_index", "key"),
        mapped=True,
        columns=_COMMON | {"dag_run_id", "run_id", "map_index", "dag_result"},
    ),
    Generation(
        "1.10",
        frozenset({"id", "execution_date"}),
        ("id",),
        mapped=False,
        columns=_COMMON | {"id", "execution_date"},
    ),
    Generation(
        "2.0",
        frozenset({"execution_date"}),
        ("dag_id", "task_id", "key", "execution_date"),
        mapped=False,
        columns=_COMMON | {"execution_date"},
    ),
)
"""Newest first. The first whose `needs` are all in the table is the table's generation."""


@dataclass(frozen=True, slots=True)
class Schema:
    """Traits of the xcom table of one metadata database, for code to branch on."""

    generation: Generation
    storage: Storage
    value_type: str
    """The value column's type in the database's words."""
    airflow: str
    """The releases with this layout: `2.8.1-2.8.4`."""
    heads: tuple[str, ...]
    """The rows of `alembic_version`."""
    reader: Reader
    """How that Airflow reads stored values."""
    run_date: str | None
    """dag_run's column with the run's date; None without the table."""
    tables: frozenset[str]
    """Airflow's other tables that exist, among those that xcomctl reads."""
    unknown_required: tuple[str, ...] = ()
    """NOT NULL columns without default that no known Airflow has: nothing may be written."""

    @property
    def mapped(self) -> bool:
        """Return whether rows carry run_id and map_index."""
        return self.generation.mapped

    @property
    def split(self) -> bool:
        """Return whether XComs are in two tables, as from Airflow 3.4 on."""
        return self.generation.split

    @property
    def major(self) -> int:
        """Return 1, 2 or 3."""
        if self.storage == "json":
            return 3
        return 1 if self.generation.name == "1.10" else 2

    @property
    def release(self) -> Release:
        """Return the newest release that leaves this database so; 999 is its newest patch."""
        numbers = re.findall(r"\d+", self.airflow.rpartition("-")[2])
        major, minor, patch, *_ = [*map(int, numbers), 999, 999, 999]
        return major, minor, patch

    @property
    def null_fails(self) -> bool:
        """Return whether this Airflow raises where the value is SQL NULL."""
        return not self.mapped


_RELEASES_BY_HEAD = {
    "9635ae0956e7": "1.10.0-1.10.1",
    "41f5f12752f8": "1.10.2",
    "a56c9515abdc": "1.10.3-1.10.6",
    "004c1210f153": "1.10.3-1.10.6",
    "74effc47d867": "1.10.3-1.10.6",
    "b3b105409875": "1.10.3-1.10.6",
    "fe461863935f": "1.10.7",
    "7939bcff74ba": "1.10.8-1.10.9",
    "952da73b5eff": "1.10.10",
    "a66efa278eea": "1.10.11",
    "da3f683c3a5a": "1.10.12",
    "03afc6b6f902": "1.10.13-1.10.15",
    "e959f08ac86c": "2.0.0",
    "82b7c48c147f": "2.0.1",
    "2e42bb497a22": "2.0.2",
    "a13f7613ad25": "2.1.0-2.1.2",
    "97cdd93827b8": "2.1.3",
    "ccde3e26fe78": "2.1.4",
    "7b2661a43ba3": "2.2.0-2.2.2",
    "be2bfac3da23": "2.2.3",
    "587bdf053233": "2.2.4-2.2.5",
    "b1b348e02d07": "2.3.0",
    "1de7bc13c950": "2.3.1",
    "3c94c427fdf6": "2.3.2",
    "f5fcbda3e651": "2.3.3-2.3.4",
    "ecb43d2a1842": "2.4.0-2.4.1",
    "b0d31815b5a6": "2.4.2",
    "e07f49787c9d": "2.4.3",
    "290244fb8b83": "2.5.0-2.5.3",
    "98ae134e6fff": "2.6.0-2.6.1",
    "c804e5c76e3e": "2.6.2-2.6.3",
    "4bc4d934e2bc": "2.6.2-2.6.3",
    "405de8318b3a": "2.7.0-2.7.3",
    "10b52ebd31f7": "2.8.0",
    "88344c1d9134": "2.8.1-2.8.4",
    "1949afb29106": "2.9.0-2.9.1",
    "686269002441": "2.9.2-2.9.3",
    "22ed7efa9da2": "2.10.0-2.10.2",
    "5f2621c13b39": "2.10.3-2.11",
    "29ce7909c52b": "3.0.0-3.0.2",
    "fe199e1abd77": "3.0.3-3.0.6",
    "cc92b33c6709": "3.1.0-3.1.7",
    "509b94a1042d": "3.1.8",
    "1d6611b6ab7c": "3.2",
    "d2f4e1b3c5a7": "3.3",
    "9cffe90fa0c0": "3.4.0b2",
}

_JSON_TYPES = ("json", "jsonb")


def detect(
    columns: Mapping[str, Column],
    dag_run_columns: Collection[str],
    tables: Collection[str],
    heads: Collection[str],
) -> Schema:
    """Return the traits that the columns of `xcom` and `dag_run` imply.

    Raises:
        DatabaseError: it is not a table of an Airflow from 1.10 to 3.4.
    """
    generation = next((one for one in GENERATIONS if one.needs <= columns.keys()), None)
    if generation is None or not columns.keys() >= _COMMON:
        raise DatabaseError(
            "cannot read this xcom table: no Airflow from 1.10 to 3.4 has such columns",
            detail=f"Its columns are {', '.join(sorted(columns)) or 'none'}.",
            hint="Check that --url and --schema name Airflow's metadata DB.",
        )
    value_type = columns["value"].type
    # MariaDB has no JSON type: Airflow 3's column is a LONGTEXT with a check there. No older
    # Airflow has a text column for values.
    storage: Storage = (
        "json" if value_type in _JSON_TYPES or value_type.endswith("text") else "bytes"
    )
    run_date = next(
        (name for name in ("logical_date", "execution_date") if name in dag_run_columns), None
    )
    required = [one for one in columns.values() if not one.nullable and not one.has_default]
    airflow = _releases(generation, storage, columns, heads)
    return Schema(
        generation=generation,
        storage=storage,
        value_type=value_type,
        airflow=airflow,
        heads=tuple(sorted(heads)),
        reader=_reader(generation, storage, airflow),
        run_date=run_date,
        tables=frozenset(tables),
        unknown_required=tuple(one.name for one in required if one.name not in generation.columns),
    )


def _releases(
    generation: Generation,
    storage: Storage,
    columns: Mapping[str, Column],
    heads: Collection[str],
) -> str:
    """Return the releases that `alembic_version` names, unless the columns contradict it."""
    prefixes: tuple[str, ...]
    if generation.name == "1.10":
        fallback, prefixes = "1.10", ("1.",)
    elif generation.name == "2.0":
        fallback, prefixes = "2.0-2.2", ("2.0", "2.1.", "2.2")
    elif storage == "bytes":
        fallback, prefixes = "2.3-2.11", ("2.",)
    elif generation.split:
        fallback, prefixes = "3.4", ("3.4",)
    elif "dag_result" in columns:
        fallback, prefixes = "3.3", ("3.",)
    else:
        fallback, prefixes = "3.0-3.2", ("3.",)
    named = {_RELEASES_BY_HEAD[head] for head in heads if head in _RELEASES_BY_HEAD}
    fitting = sorted(one for one in named if one.startswith(prefixes))
    return fitting[-1] if fitting else fallback


def _reader(generation: Generation, storage: Storage, airflow: str) -> Reader:
    if storage == "json":
        return Reader.SERDE
    if not generation.mapped or airflow.startswith(("2.3.", "2.4.")):
        return Reader.PLAIN
    return Reader.CLASSES if airflow.startswith("2.5.") else Reader.SERDE
