"""`xcomctl diff` of two snapshots: how the bytes and the number of XComs of each group changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xcomctl.cli.snapshots import load
from xcomctl.model import UNMAPPED, Size
from xcomctl.sizes.compare import Change, Item, compare, kind_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from xcomctl.cli.console import Console
    from xcomctl.sizes.compare import Comparison, Name, Threshold
    from xcomctl.sizes.snapshot import GroupSizes, Snapshot

    Groups = Mapping[Name, GroupSizes]

GZIP_MAGIC = b"\x1f\x8b"
"""How a snapshot begins, and no export."""


def are_snapshots(paths: Sequence[Path]) -> bool:
    """Return whether these files begin as snapshots do."""
    starts = []
    for path in paths:
        with path.open("rb") as file:
            starts.append(file.read(2))
    return any(start == GZIP_MAGIC for start in starts)


def compare_snapshots(
    console: Console, old: Path, new: Path, threshold: Threshold | None
) -> tuple[Comparison, Mapping[Name, tuple[int | None, int | None]]]:
    """Return what changed between two snapshots, and the number of XComs before and after.

    Sizes are those of all XComs of a DAG, task and key together.
    """
    before, after = (_by_name(load(console, [str(path)])) for path in (old, new))

    def find_change(name: Name, old: Item, new: Item) -> Change | None:
        if before[name].histograms == after[name].histograms and old.size == new.size:
            return None
        return Change(kind_of(old.size, new.size), name, old.size, new.size)

    comparison = compare(_items(before), _items(after), find_change, threshold)
    counts = {
        change.name: (_count(before, change.name), _count(after, change.name))
        for change in comparison.changes
    }
    return comparison, counts


def _by_name(snapshots: Sequence[Snapshot]) -> dict[Name, GroupSizes]:
    """Return the groups by name; of several deployments each DAG behind its deployment's name."""
    found: dict[Name, GroupSizes] = {}
    for snapshot in snapshots:
        front = f"{snapshot.source.name}: " if len(snapshots) > 1 else ""
        for (dag_id, task_id, key), sizes in snapshot.groups.items():
            found[f"{front}{dag_id}", None, task_id, UNMAPPED, key] = sizes
    return found


def _items(groups: Groups) -> dict[Name, Item]:
    return {name: Item(Size(sizes.total)) for name, sizes in groups.items()}


def _count(groups: Groups, name: Name) -> int | None:
    return groups[name].histogram().total() if name in groups else None
