"""Arrow arrays made of Python's objects without `pyarrow.array`.

That imports pandas where it is installed, which takes as long as writing 100 MB, and copies texts
one by one.
"""

from __future__ import annotations

from array import array
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence


def to_array(values: Sequence[Any], kind: Any) -> Any:
    """Return an Arrow array of a type that Parquet exports have; None becomes null.

    Texts come as bytes in UTF-8, and times as RFC 3339 text in UTC.
    """
    import pyarrow as pa

    count = len(values)
    missing = None in values
    if missing and not any(value is not None for value in values):
        return pa.nulls(count, kind)
    validity = pa.py_buffer(_bits([value is not None for value in values])) if missing else None
    if pa.types.is_boolean(kind):
        return pa.Array.from_buffers(kind, count, [validity, pa.py_buffer(_bits(values))])
    if pa.types.is_timestamp(kind):
        values = microseconds(values)
    if pa.types.is_primitive(kind):
        code = "d" if pa.types.is_floating(kind) else "q"
        numbers = array(code, [value or 0 for value in values] if missing else values)
        return pa.Array.from_buffers(kind, count, [validity, pa.py_buffer(numbers)])
    texts = [value or b"" for value in values] if missing else values
    width = "q" if kind in (pa.large_string(), pa.large_binary()) else "i"
    ends = array(width, accumulate(map(len, texts), initial=0))
    data = pa.py_buffer(b"".join(texts))
    return pa.Array.from_buffers(kind, count, [validity, pa.py_buffer(ends), data])


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_UNIT = timedelta(microseconds=1)


def microseconds(times: Sequence[str | None]) -> list[int | None]:
    """Return each time, `2026-01-31T07:08:09.123456Z`, in microseconds since 1970.

    Casting in Arrow is faster, but it takes `pyarrow.compute`, whose import costs more.
    """
    minutes: dict[str, int] = {}
    found: list[int | None] = []
    for time in times:
        if time is None:
            found.append(None)
            continue
        minute = time[:17]
        start = minutes.get(minute)
        if start is None:
            start = minutes[minute] = (datetime.fromisoformat(f"{minute}00Z") - _EPOCH) // _UNIT
        found.append(start + round(float(time[17:-1]) * 1e6))
    return found


def _bits(values: Sequence[Any]) -> bytes:
    """Return a bitmap of the truth of each value, the first one in the lowest bit."""
    digits = "0" + "".join(["1" if value else "0" for value in reversed(values)])
    return int(digits, 2).to_bytes((len(values) + 7) // 8, "little")
