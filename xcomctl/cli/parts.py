"""The option `--part I/N`: one of N ranges of the table's key."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from xcomctl.errors import UsageError

if TYPE_CHECKING:
    from xcomctl.db.read.store import Store
    from xcomctl.model import KeyRange

MOST_PARTS = 10_000


@dataclass(frozen=True, slots=True)
class Part:
    """Which part, from one, of how many."""

    number: int
    count: int

    def __str__(self) -> str:
        return f"part {self.number:,} of {self.count:,}"

    def find(self, store: Store) -> KeyRange:
        """Return its range of the key in an open database."""
        return store.parts.plan(self.count)[self.number - 1]


def parse_part(text: str | None) -> Part | None:
    """Return the part that an option names.

    Raises:
        UsageError: it does not name one.
    """
    if text is None:
        return None
    match = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text, re.ASCII)
    part = Part(int(match[1]), int(match[2])) if match else None
    if part is None or not 1 <= part.number <= part.count <= MOST_PARTS:
        raise UsageError(
            f'cannot read the part "{text}"',
            hint=f"Use I/N: --part 2/4 is the second of four parts. N is at most {MOST_PARTS:,}.",
        )
    return part


def describe(part: KeyRange, key: str) -> str:
    """Return a range for people: `dag_run_id from 12, before 40`."""
    bounds = []
    if part.start is not None:
        bounds.append(f"from {part.start}")
    if part.end is not None:
        bounds.append(f"before {part.end}")
    return f"{key} {', '.join(bounds)}" if bounds else f"every {key}"
