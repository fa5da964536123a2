"""The members of a line of an export or an undo file, taken apart by msgspec."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable


class Members(msgspec.Struct, forbid_unknown_fields=True):
    """A line that xcomctl wrote, its value as it stands there. Other members are an error."""

    dag_id: str
    task_id: str
    key: str
    encoding: str
    run_id: str | None = None
    map_index: int = -1
    timestamp: str | None = None
    logical_date: str | None = None
    size_bytes: int | None = None
    orphan: bool = True
    dag_run_id: int | None = None
    stored_as: str | None = None
    value_base64: str | None = None
    value: msgspec.Raw = msgspec.Raw()
    undo: str | None = None
    id: int | None = None
    dag_result: bool | None = None


def decoder() -> Callable[[bytes], Members]:
    """Return what takes a line apart.

    It raises ValueError where the line is not JSON, or of other types. A value may be invalid UTF-8.
    """
    return msgspec.json.Decoder(Members).decode
