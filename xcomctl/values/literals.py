"""Search for any of many literals at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class Literals:
    """Byte strings to search for.

    With the package `ahocorasick_rs` (the extra `fast`) a text is read once for all of them, at
    about 3 GB/s; without, once for each. Both find the same: no literal may begin as another one,
    or it itself, ends, because only one of two occurrences that overlap would be found.
    """

    def __init__(self, literals: Sequence[bytes]) -> None:
        self.literals = tuple(literals)
        self._find: Callable[[bytes], list[int]] | None = None

    def ends(self, text: bytes) -> list[int]:
        """Return where each occurrence of a literal ends, in no particular order."""
        if self._find is None:
            self._find = _compiled(self.literals) or self.ends_one_by_one
        return self._find(text)

    def ends_one_by_one(self, text: bytes) -> list[int]:
        """Return the same as `ends`, found without another package."""
        found: list[int] = []
        for literal in self.literals:
            at = text.find(literal)
            while at >= 0:
                at += len(literal)
                found.append(at)
                at = text.find(literal, at)
        return found


def _compiled(literals: Sequence[bytes]) -> Callable[[bytes], list[int]] | None:
    """Return what finds the ends of literals in one pass, None where it is not installed."""
    try:
        # Imported late: only commands that read many values need it.
        from ahocorasick_rs import BytesAhoCorasick, MatchKind
    except ImportError:
        return None
    # "Leftmost" is the kind that skips ahead with vector instructions.
    find = BytesAhoCorasick(literals, matchkind=MatchKind.LeftmostFirst).find_matches_as_indexes
    return lambda text: [end for _, _, end in find(text)]
