"""What a rule is: its name, its severity, its words, and how it finds what is wrong in a value."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from xcomctl.exchange.pages import Page


class Severity(IntEnum):
    """How severe a finding is; comparable."""

    NOTE = 1
    WARNING = 2
    ERROR = 3

    def __str__(self) -> str:
        return self.name.lower()


SEVERITY_BY_NAME: Final = {str(severity): severity for severity in Severity}


@dataclass(frozen=True, slots=True)
class Rule:
    """Something that can be wrong with an XCom."""

    id: str
    severity: Severity
    title: str
    """What is wrong, in a few words."""
    why: str
    """Why it matters."""
    fix: str
    """How to fix it."""
    example: str
    """What it looks like: code of a task, a value, or a setting."""
    deep: bool = False
    """Whether the rule needs values, which only `--deep` reads."""
    find: Callable[[bytes | str, str | None], str | None] | None = None
    """For a rule about whole values: called with a stored value and the XCom's key, returns what is
    wrong in a few words, which no secret may be part of, or None. None for rules about anything
    else, which `audit.checks` and `audit.findings` apply."""
    suspects: Callable[[Page], Iterable[int]] | None = None
    """For speed only: called with a page of values, returns the indexes of those that `find` has to
    look at. `find` must return None for every other value of the page, whatever its bytes are.
    None: `find` looks at every value."""
    message: str = "{}"
    """The finding's message; `{}` is what `find` returned."""

    @property
    def help(self) -> str:
        """Return why it matters and how to fix it."""
        return f"{self.why} {self.fix}"
