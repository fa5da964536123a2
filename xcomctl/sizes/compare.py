"""What changed between two sets of XComs: what was added, what is gone, what grew or shrank."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from xcomctl.errors import UsageError
from xcomctl.model import Size, parse_size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

Name = tuple[str, str | None, str, int, str | None]
"""dag_id, run_id (None where the two sides are one run each), task_id, map_index, key."""

Kind = Literal["added", "gone", "changed", "grown", "shrunk", "same"]
KINDS: tuple[Kind, ...] = ("added", "gone", "changed", "grown", "shrunk", "same")


@dataclass(frozen=True, slots=True)
class Item:
    """An XCom of one side."""

    size: Size | None
    """None for SQL NULL."""
    digest: bytes | None = None
    """Of the stored value; None where only sizes are compared."""
    read: Callable[[], bytes] | None = None
    """Returns the stored JSON text; None where it is too large to compare part by part, or is not JSON."""


@dataclass(frozen=True, slots=True)
class Change:
    """An XCom that is not the same on both sides."""

    kind: Kind
    name: Name
    old: Size | None
    new: Size | None
    paths: tuple[str, ...] = ()
    """Where the values differ, if both are JSON."""
    types: tuple[str, ...] = ()
    """Paths whose type changed: `rows: number -> string`."""
    total_paths: int = 0

    @property
    def delta(self) -> int:
        """Return by how many bytes it grew; negative where it shrank."""
        return (self.new or 0) - (self.old or 0)


@dataclass(frozen=True, slots=True)
class Threshold:
    """The smallest change of size that counts."""

    size: Size = field(default=Size(0))
    share: float | None = None
    """Of the old size. Anything added or gone counts then."""

    def counts(self, change: Change) -> bool:
        """Return whether a change is large enough."""
        if self.share is None:
            return abs(change.delta) >= self.size
        if change.kind in ("added", "gone"):
            return True
        return abs(change.delta) >= self.share * (change.old or 0) and change.delta != 0


def parse_threshold(text: str) -> Threshold:
    """Return the threshold that `--min-change` names: `1 KiB` or `10%`.

    Raises:
        UsageError: it is neither a size nor a percentage.
    """
    number = text.strip().removesuffix("%").strip()
    if text.strip().endswith("%"):
        try:
            share = float(number) / 100
        except ValueError:
            share = -1.0
        if not 0 < share < 1e9:
            raise UsageError(
                f'invalid --min-change "{text}"', hint="Give a size (1KiB) or a share (10%)."
            )
        return Threshold(share=share)
    return Threshold(parse_size(text))


@dataclass(frozen=True, slots=True)
class Comparison:
    """The changes between two sets of XComs, the largest first, and how many there are of each kind."""

    changes: tuple[Change, ...]
    summary: Mapping[Kind, int]
    total_delta: int
    """By how many bytes all of them together grew, those that do not count included."""


def compare(
    old: Mapping[Name, Item],
    new: Mapping[Name, Item],
    differ: Callable[[Name, Item, Item], Change | None],
    threshold: Threshold | None = None,
) -> Comparison:
    """Return the changes from `old` to `new`.

    `differ` compares what both sides have, and returns None where it is the same.
    """
    summary: dict[Kind, int] = dict.fromkeys(KINDS, 0)
    changes: list[Change] = []
    total = 0
    for change in _changes(old, new, differ):
        total += 0 if change is None else change.delta
        if change is None or (threshold is not None and not threshold.counts(change)):
            summary["same"] += 1
            continue
        summary[change.kind] += 1
        changes.append(change)
    changes.sort(key=lambda one: (-abs(one.delta), *map(str, one.name)))
    return Comparison(tuple(changes), summary, total)


def _changes(
    old: Mapping[Name, Item],
    new: Mapping[Name, Item],
    differ: Callable[[Name, Item, Item], Change | None],
) -> Iterator[Change | None]:
    for name, item in old.items():
        if name in new:
            yield differ(name, item, new[name])
        else:
            yield Change("gone", name, item.size, None)
    for name, item in new.items():
        if name not in old:
            yield Change("added", name, None, item.size)


def kind_of(old: Size | None, new: Size | None) -> Kind:
    """Return what a change of size is; `changed` where the size is the same."""
    delta = (new or 0) - (old or 0)
    return "grown" if delta > 0 else "shrunk" if delta < 0 else "changed"
