"""An exported file as an index: the name, size and digest of every XCom, and where its line is.

Memory grows with the number of XComs, not with the size of their values.
"""

from __future__ import annotations

import io
from functools import partial
from hashlib import blake2b
from typing import TYPE_CHECKING

from xcomctl.errors import UsageError
from xcomctl.exchange.records import Record, leading_members, records, ref_of
from xcomctl.model import Size
from xcomctl.sizes.compare import Item

if TYPE_CHECKING:
    from typing import BinaryIO

    from xcomctl.sizes.compare import Name

PIECE_BYTES = 64 * 1024
"""What is read of a line at once. The members before the value are all in the first piece."""

MAX_COMPARED = 16 * 1024 * 1024
"""Lines with larger values are compared as a whole only."""


def read_index(file: BinaryIO, name: str, *, sizes_only: bool = False) -> dict[Name, Item]:
    """Return the XComs of a JSON Lines export by name. The file must stay open for `Item.read`.

    Of several lines with the same name, the last one counts.

    Raises:
        UsageError: a line is not one that `export` wrote.
    """
    found: dict[Name, Item] = {}
    number, at = 0, 0
    while start := file.readline(PIECE_BYTES):
        number += 1
        digest = blake2b(digest_size=16)
        length = len(start)
        blank = not start.strip()
        try:
            given, value_at = ({}, 0) if blank else leading_members(start)
            ref = None if blank else ref_of(given)
        except ValueError as error:
            raise _unreadable(name, number, error) from None
        piece = start[value_at:]
        while not piece.endswith(b"\n"):
            digest.update(piece)
            piece = file.readline(PIECE_BYTES)
            length += len(piece)
            if not piece:
                break
        digest.update(piece.rstrip())
        if ref is not None:
            size = given.get("size_bytes")
            read = partial(_read_value, file, at, length)
            is_json = given.get("encoding") == "json" and length <= MAX_COMPARED
            found[ref.dag_id, ref.run, ref.task_id, ref.map_index, ref.key] = Item(
                Size(size) if isinstance(size, int) else None,
                None if sizes_only else digest.digest(),
                read if is_json else None,
            )
        at += length
    return found


def _read_value(file: BinaryIO, at: int, length: int) -> bytes:
    """Return the stored JSON text of the line at this place.

    Raises:
        ValueError: it cannot be read.
    """
    file.seek(at)
    record = next(iter(records(io.BytesIO(file.read(length)))), None)
    if not isinstance(record, Record) or record.data is None:
        raise ValueError("it has no value")
    return record.data


def _unreadable(name: str, number: int, error: ValueError) -> UsageError:
    return UsageError(
        f'cannot read line {number} of "{name}"',
        detail=f"It is not a line of an export: {error}.",
        hint='"xcomctl export -o jsonl=FILE" writes files that can be compared.',
    )


def match_runs(
    old: dict[Name, Item], new: dict[Name, Item]
) -> tuple[dict[Name, Item], dict[Name, Item]]:
    """Return both sides without run ids for DAGs of which each side has one run, a different one.

    So two exports of one run each are compared by task and key.
    """
    runs_old, runs_new = _runs(old), _runs(new)
    single = {
        dag_id
        for dag_id, runs in runs_old.items()
        if len(runs) == 1 and len(runs_new.get(dag_id, ())) == 1 and runs != runs_new[dag_id]
    }

    def without_runs(items: dict[Name, Item]) -> dict[Name, Item]:
        return {
            (dag_id, None if dag_id in single else run, task_id, map_index, key): item
            for (dag_id, run, task_id, map_index, key), item in items.items()
        }

    return (without_runs(old), without_runs(new)) if single else (old, new)


def _runs(items: dict[Name, Item]) -> dict[str, set[str | None]]:
    found: dict[str, set[str | None]] = {}
    for dag_id, run, *_ in items:
        found.setdefault(dag_id, set()).add(run)
    return found
