"""A tree of sizes that `ncdu -f FILE` opens: https://dev.yorhel.nl/ncdu/jsonfmt."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, cast

from xcomctl import __version__
from xcomctl.text import visible
from xcomctl.values.strictjson import dumps

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from xcomctl.formats import Destination, Layout, Row, Writer

    Tree = dict[str, "Tree | int"]

_ROOT = "xcom"


def writer(name: str, layout: Layout, destination: Destination) -> Writer:
    """Return a writer of `ncdu`."""
    return Ncdu(layout, destination)


class Ncdu:
    """Keeps the groups, and writes them at the end: a directory per level, a file per group.

    The document names what the groups are made of in `by`.
    """

    def __init__(self, layout: Layout, destination: Destination) -> None:
        self._layout = layout
        self._out = destination.out
        self._tree: Tree = {}

    def row(self, row: Row) -> None:
        if row.get("total_bytes") is None:
            # Of a deployment that could not be read.
            return
        by = cast("Sequence[str]", self._layout.before()["by"])
        *directories, file = (_name(row[one]) for one in by)
        place = self._tree
        for directory in directories:
            place = cast("Tree", place.setdefault(directory, {}))
        place[file] = cast("int", row["total_bytes"])

    def end(self) -> None:
        program = {"progname": "xcomctl", "progver": __version__, "timestamp": int(time.time())}
        self._out.write(f"[1, 2, {dumps(program)},\n")
        self._out.writelines(_lines(_ROOT, self._tree))
        self._out.write("]\n")


def _lines(name: str, tree: Mapping[str, Tree | int], indent: str = "") -> Iterator[str]:
    """Yield the lines of a directory and of what it holds."""
    yield f"{indent}[{dumps({'name': name})}"
    for child, content in tree.items():
        yield ",\n"
        if isinstance(content, dict):
            yield from _lines(child, content, f"{indent} ")
        else:
            yield f"{indent} {dumps({'name': child, 'asize': content, 'dsize': content})}"
    yield "]" if indent else "]\n"


def _name(value: object) -> str:
    """Return a name that is not empty, which ncdu would refuse."""
    return visible(str(value)) or '""' if value is not None else "(none)"
