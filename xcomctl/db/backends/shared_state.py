"""How several connections read one state of the database."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True)
class SharedState:
    """What one connection does to share what it reads, and what others do to adopt it."""

    share: Callable[[], Any]
    """Begins to read, and returns what `adopt` on other connections takes."""
    adopt: Callable[[Any, Any], bool]
    """Begins to read what another connection shares, given what `look` returned and what it shares.

    Returns False if that state is gone.
    """
    look: Callable[[], Any] = lambda: None
    """Returns what `adopt` needs to know of the state before the other connection shares it."""
    exact: bool = True
    """Whether all read the same state, even if others write meanwhile."""


def begin_together(begin: Callable[[], object]) -> SharedState:
    """Return what begins to read at about the same time, where connections cannot share a state."""

    def share() -> None:
        begin()

    def adopt(_seen: object, _shared: object) -> bool:
        begin()
        return True

    return SharedState(share, adopt, exact=False)
