"""Snapshots as commands use them: taken from the database, or read from files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from xcomctl.errors import RefusedError, UsageError
from xcomctl.model import Size

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from xcomctl.cli.console import Console
    from xcomctl.cli.options import Connection, Filters
    from xcomctl.config.target import Target
    from xcomctl.db.read.store import Store
    from xcomctl.model import Limit, Selection
    from xcomctl.sizes.snapshot import GroupName, GroupSizes, PartOf, Snapshot, Source


def take(
    store: Store,
    target: Target,
    selection: Selection,
    *,
    filters: Mapping[str, object] | None = None,
    part: PartOf | None = None,
) -> Snapshot:
    """Return the sizes of the selected XComs by group and day."""
    from xcomctl.sizes.snapshot import Snapshot, add_up

    found: dict[GroupName, list[GroupSizes]] = {}
    for name, sizes in store.day_sizes.by_group(selection):
        found.setdefault(name, []).append(sizes)
    groups = {name: add_up(some) for name, some in found.items()}
    return Snapshot(_source(store, target, filters or {}), groups, part)


def _source(store: Store, target: Target, filters: Mapping[str, object]) -> Source:
    from xcomctl.sizes.snapshot import Source

    facts = store.facts()
    name, database_id = store.identity()
    return Source(
        name=target.profile or name,
        database_id=database_id,
        backend=facts.backend,
        server_version=facts.server_version,
        airflow=facts.airflow,
        column_type=facts.column_type,
        limits=tuple(store.limits()),
        filters=filters,
    )


def load_files(console: Console, paths: Sequence[str]) -> list[tuple[str, Snapshot]]:
    """Return every snapshot of these files, each with the name of its file.

    Raises:
        UsageError: a file cannot be read, or is not a snapshot.
    """
    from xcomctl.sizes.snapshot_file import load

    found = []
    for path in paths:
        console.protect(path)
        try:
            with Path(path).open("rb") as file:
                found += [(path, one) for one in load(file, path)]
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or "It is not a file name"
            raise UsageError(f'cannot read "{path}"', detail=f"{why}.") from None
    return found


def load(console: Console, paths: Sequence[str]) -> list[Snapshot]:
    """Return the snapshots of these files, one of each deployment; parts are added up.

    Raises:
        UsageError: a file cannot be read, or is not a snapshot.
        RefusedError: a part is missing, or two files are of one deployment.
    """
    from xcomctl.sizes.snapshot import merge

    by_database: dict[tuple[str, str], list[tuple[str, Snapshot]]] = {}
    for path, one in load_files(console, paths):
        place = one.source.database_id, one.source.store
        by_database.setdefault(place, []).append((path, one))
    found = [merge(some) for some in by_database.values()]
    names = [one.source.name for one in found]
    for name in names:
        if names.count(name) > 1:
            raise RefusedError(
                f'two deployments are called "{name}"',
                detail="They are different databases.",
                hint="Take their snapshots with --profile, whose name a snapshot bears.",
            )
    return found


def limit_of(snapshot: Snapshot, as_: str | None) -> Limit:
    """Return the limit that was in force, or the one of another backend with `--as`.

    Raises:
        UsageError: `--as` is not a known backend.
    """
    from xcomctl.sizes import limits

    if as_ is None:
        return snapshot.source.limits[0]
    return limits.typical(*limits.parse_as(as_, airflow_of(snapshot)))


def airflow_of(snapshot: Snapshot) -> tuple[int, int]:
    """Return the oldest release, as (major, minor), that the database can belong to."""
    version = re.match(r"([123])\.(\d{1,3})(?!\d)", snapshot.source.airflow)
    return (int(version[1]), int(version[2])) if version else (3, 3)


def refuse_connection(connection: Connection, option: str = "--from") -> None:
    """Raise UsageError if options name a database although files are read.

    The environment and the configuration may name one all the same.
    """
    for name in ("url", "profile", "all_profiles", "airflow_home", "schema"):
        if getattr(connection, name, None):
            raise UsageError(
                f"--{name.replace('_', '-')} cannot be combined with {option}",
                detail=f"{option} reads files, and no database.",
            )


def given_filters(filters: Filters, selection: Selection) -> dict[str, object]:
    """Return the filters that were given, by name, with times as they were understood."""
    from xcomctl.model import format_time

    given: dict[str, object] = {
        "dag_id": filters.dag_id,
        "run_id": filters.run_id,
        "task_id": filters.task_id,
        "key": filters.key,
        "map_index": filters.map_index,
        "attempts": filters.attempts,
        "region": filters.region,
        "contains": filters.contains,
        "since": format_time(selection.since),
        "until": format_time(selection.until),
        "min_size": selection.min_size,
        "max_size": selection.max_size,
    }
    return {name: value for name, value in given.items() if value not in (None, [])}


def count_rows(snapshot: Snapshot) -> int:
    """Return the number of XComs of a snapshot."""
    return sum(group.histogram().total() for group in snapshot.groups.values())


def describe(snapshot: Snapshot) -> str:
    """Return what a snapshot holds, in a few words."""
    from xcomctl.sizes.snapshot import NO_DAY

    days = len([day for day in snapshot.days() if day != NO_DAY])
    total = Size(sum(group.total for group in snapshot.groups.values()))
    groups = len(snapshot.groups)
    rows = count_rows(snapshot)
    return (
        f"{rows:,} XCom{'' if rows == 1 else 's'} ({total}) in {groups:,} "
        f"group{'' if groups == 1 else 's'} on {days:,} day{'' if days == 1 else 's'}"
    )
