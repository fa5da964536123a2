"""What commands share that measure values: which limit is in force."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from xcomctl import limits

if TYPE_CHECKING:
    from xcomctl.db.store import Store
    from xcomctl.model import Limit


def airflow_version(store: Store) -> tuple[int, int]:
    """Return the oldest release, as major and minor, that this database can be of."""
    match = re.match(r"(\d+)\.(\d+)", store.schema.airflow)
    assert match, "every generation has a release"
    return int(match[1]), int(match[2])


def limit_in_force(store: Store, as_: str | None) -> Limit:
    """Return the limit that the live database enforces, or another backend's with `--as`.

    Raises:
        UsageError: `--as` names no backend.
    """
    if as_ is None:
        return store.limits()[0]
    return limits.typical(*limits.parse_as(as_, airflow_version(store)))
