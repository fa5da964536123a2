"""Reads the two XCom tables of Airflow 3.4 as one, in the way that Airflow itself does.

New XComs are in `xcom_v2`, which knows no names but the id of a task instance. Rows from before the
upgrade stay in `xcom_v1`, and `legacy_task_data_owner` says which task instance they belong to. A
task instance is one attempt: `working_set` is true for the current one and NULL for archived ones.
A row of `xcom_v2` hides a row of `xcom_v1` with the same task instance and key.

https://github.com/apache/airflow/blob/3.4.0b2/airflow-core/src/airflow/models/xcom.py
"""

from __future__ import annotations

import functools
import uuid
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from xcomctl.db.schema import Column
from xcomctl.errors import DatabaseError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from xcomctl.db.backends.base import Element

    Columns = Mapping[str, Column]

XCOM_TABLES: Final = ("xcom_v1", "xcom_v2")
TABLES: Final = (*XCOM_TABLES, "legacy_task_data_owner", "dynamic_region")
"""The tables that make up Airflow 3.4's XComs, besides dag_run and task_instance."""

NO_REGION: Final = str(uuid.UUID(int=0))
"""The region of a task that is neither mapped nor in a loop."""

_NEEDED: Final[Mapping[str, frozenset[str]]] = {
    "xcom_v1": frozenset({"dag_id", "task_id", "run_id", "map_index", "key", "value", "timestamp"}),
    "xcom_v2": frozenset({"id", "task_instance_id", "key", "value", "timestamp"}),
    "legacy_task_data_owner": frozenset(
        {"dag_id", "task_id", "run_id", "map_index", "task_instance_id"}
    ),
    "dynamic_region": frozenset({"id", "node_id", "parent_region_id"}),
    "task_instance": frozenset(
        {"id", "dag_id", "task_id", "run_id"}
        | {"region_id", "region_index", "working_set", "try_number"}
    ),
    "dag_run": frozenset({"id", "dag_id", "run_id"}),
}
"""The columns that reading takes."""

ATTEMPT: Final = ("try_number", "region_id", "region_index", "store", "xcom_id")
"""Columns of the source that say which attempt a row is of, and where it lies.

An export and an undo file have them as further columns, so that `import` puts each row back.
`xcom_id` is the id of a row of xcom_v2.
"""

OTHERS: Final = ("dag_result", "mapped_length")
"""Columns of both XCom tables that are no part of an XCom's name, value or time."""


def described(tables: Mapping[str, Columns]) -> Columns:
    """Return the columns of the source as if it were a table.

    Raises:
        DatabaseError: the tables have not the columns of Airflow 3.4.
    """
    missing = [
        f'"{table}.{name}"'
        for table, names in _NEEDED.items()
        for name in sorted(names - tables[table].keys())
    ]
    if missing:
        raise DatabaseError(
            "cannot read these xcom tables: their columns are neither Airflow 3.3's nor 3.4's",
            detail=f"Missing: {', '.join(missing[:6])}{' and more' if len(missing) > 6 else ''}.",
            hint="A downgrade that stopped half way leaves such tables: finish it, or upgrade "
            "again. A newer xcomctl may know a newer Airflow.",
        )
    instance, newer = tables["task_instance"], tables["xcom_v2"]
    found = {name: instance[name] for name in ("dag_id", "task_id", "run_id", "region_index")}
    found |= {name: newer[name] for name in ("key", "value", "timestamp", "task_instance_id")}
    found |= {name: newer[name] for name in OTHERS if name in newer}
    found["try_number"] = instance["try_number"]
    for name in ("dag_run_id", "map_index", "is_current", "in_loop"):
        found[name] = Column(name, "integer")
    for name in ("region_id", "store", "xcom_id"):
        found[name] = Column(name, "text")
    # None of them is one that a writer has to fill.
    return {name: replace(one, name=name, nullable=True) for name, one in found.items()}


def source(
    tables: Mapping[str, Columns],
    named: Callable[[str], sa.TableClause],
    *,
    all_attempts: bool,
    likely: Callable[[Element], Element],
) -> sa.Subquery:
    """Return both tables as one, with the columns that `described` returns.

    `likely` returns a condition that most rows meet, in a form that tells the planner so.
    With `all_attempts` every row, otherwise only those that Airflow reads. `map_index` is the one
    that Airflow's REST API shows, `is_current` says whether Airflow reads the row, and `in_loop`
    whether several of one name and map_index can exist.
    """
    both = (
        _newer(tables, named, likely, all_attempts=all_attempts),
        _older(tables, named, likely, all_attempts=all_attempts),
    )
    return sa.union_all(*both).subquery("x")


def _newer(
    tables: Mapping[str, Columns],
    named: Callable[[str], sa.TableClause],
    likely: Callable[[Element], Element],
    *,
    all_attempts: bool,
) -> sa.Select[Any]:
    """Return the rows of xcom_v2."""
    xcom, instance = named("xcom_v2").alias("y"), named("task_instance").alias("t")
    statement, attempts = _joined(tables, named, xcom, instance)
    rows = sa.join(xcom, instance, instance.c.id == xcom.c.task_instance_id)
    is_current = likely(instance.c.working_set.is_(sa.true()))
    number = _as_uuid(xcom.c.id, tables["xcom_v2"]["id"].type).label("xcom_id")
    statement = statement.add_columns(sa.literal_column("'xcom_v2'").label("store"), number)
    statement = statement.select_from(attempts(rows))
    if not all_attempts:
        return statement.add_columns(sa.literal_column("1").label("is_current")).where(is_current)
    return statement.add_columns(sa.case((is_current, 1), else_=0).label("is_current"))


def _older(
    tables: Mapping[str, Columns],
    named: Callable[[str], sa.TableClause],
    likely: Callable[[Element], Element],
    *,
    all_attempts: bool,
) -> sa.Select[Any]:
    """Return the rows of xcom_v1."""
    xcom, instance = named("xcom_v1").alias("v"), named("task_instance").alias("t")
    owner, newer = named("legacy_task_data_owner").alias("o"), named("xcom_v2").alias("n")
    statement, attempts = _joined(tables, named, xcom, instance)
    names = ("dag_id", "task_id", "run_id", "map_index")
    is_owner = sa.and_(*(owner.c[name] == xcom.c[name] for name in names))
    rows = sa.join(xcom, owner, is_owner)
    # The names say nothing new, but lead from one table's index to the other's.
    is_its = sa.and_(
        instance.c.id == owner.c.task_instance_id,
        *(owner.c[name] == instance.c[name] for name in names[:3]),
    )
    rows = sa.join(rows, instance, is_its)
    is_shadowed = sa.exists().where(
        newer.c.task_instance_id == owner.c.task_instance_id, newer.c.key == xcom.c.key
    )
    is_current = sa.and_(likely(instance.c.working_set.is_(sa.true())), ~is_shadowed)
    no_id = sa.cast(sa.null(), sa.String(36)).label("xcom_id")
    statement = statement.add_columns(sa.literal_column("'xcom_v1'").label("store"), no_id)
    statement = statement.select_from(attempts(rows))
    if not all_attempts:
        return statement.add_columns(sa.literal_column("1").label("is_current")).where(is_current)
    return statement.add_columns(sa.case((is_current, 1), else_=0).label("is_current"))


def _joined(
    tables: Mapping[str, Columns],
    named: Callable[[str], sa.TableClause],
    xcom: sa.FromClause,
    instance: sa.FromClause,
) -> tuple[sa.Select[Any], Callable[[sa.FromClause], sa.FromClause]]:
    """Return the columns that both have in common, and what joins an attempt's run and region."""
    run, region = named("dag_run").alias("dr"), named("dynamic_region").alias("d")
    t = instance.c
    map_index, region_id, in_loop = coordinates(tables, instance, region)
    others = (xcom.c[name] for name in OTHERS if name in tables["xcom_v2"])
    statement = sa.select(
        run.c.id.label("dag_run_id"),
        *(t[name] for name in ("dag_id", "task_id", "run_id")),
        map_index,
        region_id,
        t.region_index,
        t.try_number,
        in_loop,
        *(xcom.c[name] for name in ("key", "value", "timestamp")),
        t.id.label("task_instance_id"),
        *others,
    )

    def attempts(rows: sa.FromClause) -> sa.FromClause:
        of_run = sa.and_(run.c.dag_id == t.dag_id, run.c.run_id == t.run_id)
        return sa.outerjoin(sa.join(rows, run, of_run), region, region.c.id == t.region_id)

    return statement, attempts


def coordinates(
    tables: Mapping[str, Columns], instance: sa.FromClause, region: sa.FromClause
) -> tuple[sa.Label[Any], sa.Label[Any], sa.Label[Any]]:
    """Return map_index, region_id and in_loop of an attempt that is joined with its region."""
    t, kind = instance.c, tables["task_instance"]["region_id"].type
    outside = t.region_id == _native(NO_REGION, kind)
    region_id = sa.case(
        (outside, sa.literal_column(f"'{NO_REGION}'")), else_=_as_uuid(t.region_id, kind)
    )
    is_mapped = region.c.node_id == t.task_id
    map_index = sa.case((sa.or_(outside, is_mapped), t.region_index), else_=-1)
    one_of_several = sa.or_(~is_mapped, region.c.parent_region_id.is_not(None))
    in_loop = sa.case((outside, 0), (one_of_several, 1), else_=0)
    return map_index.label("map_index"), region_id.label("region_id"), in_loop.label("in_loop")


def bound_uuid(text: str, kind: str) -> str:
    """Return a UUID as the driver takes it for a column of this type that is not binary."""
    return text if kind == "uuid" else uuid.UUID(text).hex


def unknown_required(tables: Mapping[str, Columns]) -> tuple[str, ...]:
    """Return the columns of both XCom tables that must be filled and that Airflow 3.4 has not."""
    known = {*_NEEDED["xcom_v1"], *_NEEDED["xcom_v2"], *OTHERS, "dag_run_id"}
    return tuple(
        f"{table}.{one.name}"
        for table in XCOM_TABLES
        for one in tables[table].values()
        if not one.nullable and not one.has_default and one.name not in known
    )


def _as_uuid(column: Element, kind: str) -> Element:
    """Return a UUID column as text with hyphens."""
    if kind == "uuid":
        return sa.cast(column, sa.Text)
    digits: Element = sa.func.lower(sa.func.hex(column)) if kind == "binary" else column
    parts = [sa.func.substr(digits, at, size, type_=sa.String) for at, size in _UUID_PARTS]
    return functools.reduce(lambda text, part: text.concat("-").concat(part), parts)


_UUID_PARTS: Final = ((1, 8), (9, 4), (13, 4), (17, 4), (21, 12))
"""Where the parts of a UUID are among its digits, from one, and how long each is."""


def _native(text: str, kind: str) -> Element:
    """Return a UUID as a column of this type has it."""
    literal: Element = sa.literal_column(f"'{uuid.UUID(text).hex}'")
    if kind == "uuid":
        return sa.cast(literal, sa.Uuid)
    return sa.func.unhex(literal) if kind == "binary" else literal
