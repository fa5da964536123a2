"""What commands show and take of Airflow 3.4's attempts and regions."""

from __future__ import annotations

import re
import uuid
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Final

import typer

from xcomctl.errors import UsageError
from xcomctl.formats import Column

if TYPE_CHECKING:
    from collections.abc import Sequence

    from xcomctl.db.read.store import Store
    from xcomctl.formats import Layout
    from xcomctl.model import XComEntry

RegionOption = Annotated[
    str | None,
    typer.Option(
        "--region",
        metavar="ID:INDEX",
        help="Region and pass of a task in a loop (Airflow 3.4).",
    ),
]

COLUMNS: Final = (
    Column("try_number", "index", title="try", usual=1, drop=4, people=False, machine=False),
    Column("region_id", "id", machine=False, people=False),
    Column("region_index", "index", usual=-1, machine=False, people=False),
    Column("current", "id", machine=False, people=False),
    Column("store", "id", machine=False, people=False),
)
"""Columns that a listing of Airflow 3.4 has in addition; of older ones they are empty."""


_CHOICES: Final = 12
"""XComs of one name that an error lists."""


def shown(layout: Layout, store: Store) -> Layout:
    """Return the layout with those columns in machine formats where XComs have attempts."""
    if not store.schema.split:
        return layout
    columns = (replace(one, machine=True) if one in COLUMNS else one for one in layout.columns)
    return replace(layout, columns=tuple(columns))


def cells(entry: XComEntry) -> dict[str, object]:
    """Return the values of those columns."""
    attempt = entry.attempt
    if attempt is None:
        return {}
    return {
        "try_number": attempt.try_number,
        "region_id": attempt.region_id,
        "region_index": attempt.region_index,
        "current": attempt.is_current,
        "store": attempt.store,
    }


def left_out(store: Store) -> list[str]:
    """Return the note on XComs that are not listed unless they are asked for."""
    if not store.schema.split:
        return []
    return [
        "as Airflow 3.4 does, this leaves out XComs of earlier attempts and replaced ones in xcom_v1; "
        "--attempts all shows them"
    ]


def refuse_ambiguous(entries: Sequence[XComEntry]) -> None:
    """Raise UsageError with the choices where several XComs have the name and the map_index.

    Airflow's REST API does the same for a task in a loop.
    """
    if len(entries) < 2 or entries[0].attempt is None:
        return
    choices = [f"'{entry.ref}'" for entry in entries[:_CHOICES]]
    more = f" and {len(entries) - _CHOICES} more" if len(entries) > _CHOICES else ""
    raise UsageError(
        f'"{replace(entries[0].ref, region=None)}" names {len(entries)} XComs: the task is in a loop',
        detail=f"They are {', '.join(choices)}{more}.",
        hint="Add --region ID:INDEX, or --all-map-indexes for a list of all.",
    )


def parse_region(text: str) -> tuple[str, int]:
    """Return the id, a UUID, and the index of `ID:INDEX`.

    Raises:
        UsageError: it has another form.
    """
    match = re.fullmatch(r"([0-9A-Fa-f-]{1,40}):(-?[0-9]{1,9})", text.strip())
    try:
        if match:
            return str(uuid.UUID(match[1])), int(match[2])
    except ValueError:
        pass
    raise UsageError(
        f'cannot read the region "{text}"',
        hint="Use ID:INDEX, such as 01a21fb8-b3ba-7b6a-8dc5-3ca3ed5f0961:0.",
    )
