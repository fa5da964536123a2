"""All XComs of one run with the digests of their values, for comparison with another run."""

from __future__ import annotations

from functools import partial
from hashlib import blake2b
from typing import TYPE_CHECKING

from xcomctl.db.read.entries import PLAIN_BYTES
from xcomctl.db.read.runs import Runs
from xcomctl.errors import NotFoundError
from xcomctl.model import Encoding, Selection, Size, exactly
from xcomctl.sizes.compare import Item
from xcomctl.text import nearest
from xcomctl.values.sniff import to_bytes

if TYPE_CHECKING:
    from collections.abc import Callable

    from xcomctl.db.read.store import Store
    from xcomctl.model import Raw, XComEntry
    from xcomctl.sizes.compare import Name

KEPT_BYTES = 64 * 1024 * 1024
"""Small values of one run that are kept until they are compared; others are read again."""

MAX_COMPARED = 16 * 1024 * 1024
"""Larger values are compared as a whole only."""


def find_run(store: Store, dag_id: str, run_id: str) -> str:
    """Return the id of a run that is given by its id, or as `latest` or `latest~1`.

    Raises:
        NotFoundError: the DAG has no such run.
    """
    runs = Runs(store, dag_id)
    named = store.suggest.run_id(dag_id, run_id)
    if not store.table.joined or runs.find(named) is not None:
        return named
    if not runs.knows_dag():
        near = nearest(dag_id, runs.dag_ids())
        raise NotFoundError(
            f'no DAG "{dag_id}" in this database', hint=f'Did you mean "{near}"?' if near else None
        )
    known = runs.newest()
    near = nearest(run_id, [*known, "latest"])
    raise NotFoundError(
        f'DAG "{dag_id}" has no run "{run_id}"',
        detail=f'Its newest run is "{known[0]}".' if known else "It has no run.",
        hint=f'Did you mean "{near}"?'
        if near
        else "latest is the newest run, latest~1 the one before it.",
    )


def read_run(
    store: Store, dag_id: str, run_id: str, *, sizes_only: bool = False
) -> dict[Name, Item]:
    """Return the XComs of a run by name, without the run.

    `Item.read` works as long as the store is open. Of several rows with one name, which only
    Airflow 1.10 has, the one pushed last counts.

    Raises:
        DatabaseError: the database cannot be read.
    """
    entries = store.entries
    of_run = Selection(dag_ids=(exactly(dag_id),), run_ids=(exactly(run_id),))
    newest: dict[Name, XComEntry] = {}
    for entry in entries.scan(of_run):
        name = _name(entry)
        if name not in newest or _pushed_before(newest[name], entry):
            newest[name] = entry
    if sizes_only:
        return {name: Item(entry.size) for name, entry in newest.items()}
    found: dict[Name, Item] = {}
    kept = 0
    small = Selection(dag_ids=of_run.dag_ids, run_ids=of_run.run_ids, max_size=Size(PLAIN_BYTES))
    for entry, raw in entries.values(small):
        name = _name(entry)
        if newest.get(name) is None or newest[name].row != entry.row:
            continue
        data = _bytes(raw)
        kept += len(data)
        found[name] = Item(
            entry.size, _digest(data), _reader(store, entry, data if kept <= KEPT_BYTES else None)
        )
    for name, entry in newest.items():
        if name not in found:
            digest = blake2b(digest_size=16)
            if entry.size is not None:
                for piece in entries.read_pieces(entry):
                    digest.update(piece)
            found[name] = Item(entry.size, digest.digest(), _reader(store, entry, None))
    return found


def _name(entry: XComEntry) -> Name:
    ref = entry.ref
    return ref.dag_id, None, ref.task_id, ref.map_index, ref.key


def _pushed_before(one: XComEntry, other: XComEntry) -> bool:
    return (one.timestamp is None) or (
        other.timestamp is not None and one.timestamp < other.timestamp
    )


def _reader(store: Store, entry: XComEntry, data: bytes | None) -> Callable[[], bytes] | None:
    """Return what reads the value again, None where it cannot be compared part by part."""
    is_json = entry.encoding is Encoding.JSON and entry.size is not None
    if not is_json or (entry.size or 0) > MAX_COMPARED:
        return None
    if data is not None:
        return partial(bytes, data)
    return lambda: _bytes(store.entries.read(entry))


def _bytes(raw: Raw) -> bytes:
    if raw is None:
        return b""
    return to_bytes(raw) if isinstance(raw, bytes | str) else str(raw).encode()


def _digest(data: bytes) -> bytes:
    return blake2b(data, digest_size=16).digest()
