"""Warnings about what a result does not show: hidden rows, and filters that match nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from xcomctl.db.read.store import Store
    from xcomctl.model import Selection


class Warns(Protocol):
    """What prints warnings: the console, or one that names a deployment."""

    def warn(self, text: str) -> None:
        """Print a warning."""


def warn_about_gaps(console: Warns, store: Store, selection: Selection, matched: int) -> None:
    """Print a warning for each reason why the result of a selection may be incomplete."""
    warn_about_hidden_rows(console, store)
    for one in store.visibility.unmatched(selection, matched):
        console.warn(str(one))


def warn_about_hidden_rows(console: Warns, store: Store) -> None:
    """Print a warning for each reason why rows may be hidden."""
    for reason in store.visibility.hidden():
        console.warn(f"{reason}: the result may be incomplete")
