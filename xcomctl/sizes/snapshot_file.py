"""The file of a snapshot: gzipped JSON, written the same for the same database, and read with care."""

from __future__ import annotations

import json
import zlib
from datetime import date
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final, cast

from xcomctl import __version__
from xcomctl.errors import RefusedError, UsageError
from xcomctl.model import KeyRange, Limit, Size
from xcomctl.sizes import histogram
from xcomctl.sizes.snapshot import NO_DAY, GroupSizes, PartOf, Snapshot, Source

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import BinaryIO

SCHEMA: Final = "xcomctl.snapshot/1"
MAX_BYTES: Final = 256 * 1024 * 1024
"""A snapshot is not larger than this when unpacked."""
MAX_PARTS: Final = 10_000
GZIP_MAGIC: Final = b"\x1f\x8b"
_PIECE: Final = 256 * 1024
_GZIP: Final = 16 + zlib.MAX_WBITS
_MAX_NUMBER: Final = 2**63 - 1


# --- writing ----------------------------------------------------------------------------------


def dump(snapshots: Sequence[Snapshot]) -> Iterator[bytes]:
    """Yield the file of these snapshots, of several deployments or stores.

    Raises:
        RefusedError: it would be larger than what is read.
    """
    # Parts are merged soon, and then packed again.
    level = 3 if any(one.part for one in snapshots) else 9
    packer = zlib.compressobj(level, zlib.DEFLATED, _GZIP)
    length = 0
    for text in _texts(snapshots):
        length += len(text)
        if length > MAX_BYTES:
            raise RefusedError(
                f"the snapshot is larger than {Size(MAX_BYTES)} when unpacked",
                hint="Take one of fewer DAGs (-d) or days (--since).",
            )
        yield packer.compress(text.encode())
    yield packer.flush()


def _texts(snapshots: Sequence[Snapshot]) -> Iterator[str]:
    yield f'{{"schema":{_json(SCHEMA)},"written_by":{_json(f"xcomctl {__version__}")},"snapshots":['
    for number, one in enumerate(snapshots):
        head = _json(_head(one))
        yield f'{"," if number else ""}\n{head[:-1]},"groups":['
        index = {day: at for at, day in enumerate(one.days())}
        for at, (name, sizes) in enumerate(one.ordered()):
            yield f"{',' if at else ''}\n{_json(_group(name, sizes, index))}"
        yield "]}"
    yield "]}\n"


def _json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))


def _head(one: Snapshot) -> dict[str, object]:
    source = one.source
    days = one.days()
    return {
        "deployment": source.name,
        "store": source.store,
        "database_id": source.database_id,
        "backend": {
            "name": source.backend,
            "server_version": source.server_version,
            "airflow": source.airflow,
            "column_type": source.column_type,
        },
        "limits": [
            {"name": limit.name, "bytes": limit.size, "source": limit.source}
            for limit in source.limits
        ],
        "filters": dict(source.filters),
        "rules": list(source.rules),
        "part": None if one.part is None else _part_row(one.part),
        "summary": {
            "groups": len(one.groups),
            "count": sum(sizes.histogram().total() for sizes in one.groups.values()),
            "total_bytes": sum(sizes.total for sizes in one.groups.values()),
            "max_bytes": max((max(sizes.largest) for sizes in one.groups.values()), default=None),
        },
        "days": [None if day == NO_DAY else date.fromordinal(day).isoformat() for day in days],
    }


def _part_row(part: PartOf) -> dict[str, object]:
    ends = {"start": part.range.start, "end": part.range.end}
    return {"number": part.number, "of": part.of, **ends}


def _group(
    name: tuple[str, str, str | None], sizes: GroupSizes, index: Mapping[int, int]
) -> dict[str, object]:
    """Return a group for JSON; `index` says where each day is in the list of all."""
    group: dict[str, object] = dict(zip(("dag_id", "task_id", "key"), name, strict=True))
    group |= {
        "count": sizes.histogram().total(),
        "total_bytes": sizes.total,
        "max_bytes": max(sizes.largest),
        "days": _ranges([index[day] for day in sizes.days]),
        "largest": sizes.largest,
        "others": sizes.others,
        "sizes": " ".join(sizes.histograms),
    }
    if sizes.findings:
        group["findings"] = dict(sorted(sizes.findings.items()))
    return group


def _ranges(numbers: Sequence[int]) -> list[list[int]]:
    """Return ascending numbers as ranges: the first and how many."""
    found: list[list[int]] = []
    for number in numbers:
        if found and number == sum(found[-1]):
            found[-1][1] += 1
        else:
            found.append([number, 1])
    return found


# --- reading ----------------------------------------------------------------------------------


class _DamagedError(ValueError):
    """What is wrong with a file, in a few words."""


def is_snapshot(start: bytes) -> bool:
    """Return whether a file that begins so is gzipped, as snapshots are and exports are not."""
    return start.startswith(GZIP_MAGIC)


def load(file: BinaryIO, name: str) -> list[Snapshot]:
    """Return the snapshots of a file, one of each deployment and store.

    Raises:
        UsageError: it is not one that `snapshot` or `merge` wrote.
    """
    try:
        document = json.loads(_unpack(file))
        return _snapshots(document)
    except _DamagedError as error:
        raise _unreadable(name, str(error)) from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise _unreadable(name, f"its JSON cannot be read ({type(error).__name__})") from None


def _unreadable(name: str, why: str) -> UsageError:
    return UsageError(
        f'cannot read "{name}" as a snapshot',
        detail=f"{why[:1].upper()}{why[1:]}.",
        hint='"xcomctl snapshot FILE" writes one.',
    )


def _unpack(file: BinaryIO) -> bytes:
    """Return the JSON of a file."""
    unpacker = zlib.decompressobj(_GZIP)
    found = bytearray()
    start = f'{{"schema":"{SCHEMA}"'.encode()
    try:
        while not unpacker.eof:
            piece = unpacker.unconsumed_tail or file.read(_PIECE)
            if not piece:
                raise _DamagedError("the file is empty" if not found else "the file is cut short")
            found += unpacker.decompress(piece, 16 * _PIECE)
            if len(found) >= len(start) and not found.startswith(start):
                # Nothing more of it is read.
                raise _DamagedError(f"it does not begin with the schema {SCHEMA}")
            if len(found) > MAX_BYTES:
                raise _DamagedError(f"it is larger than {Size(MAX_BYTES)} when unpacked")
    except zlib.error:
        why = "it is damaged" if found else "it is not gzipped"
        raise _DamagedError(why) from None
    if unpacker.unused_data or file.read(1):
        raise _DamagedError("something follows its end")
    return bytes(found)


def _is(value: object, kind: type, what: str) -> Any:
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise _DamagedError(f"{what} is not {_KINDS[kind]}")
    return value


_KINDS: Final = {dict: "an object", list: "a list", str: "a text", int: "a whole number"}


def _number(value: object, what: str) -> int:
    number: int = _is(value, int, what)
    if not 0 <= number <= _MAX_NUMBER:
        raise _DamagedError(f"{what} is out of range")
    return number


def _numbers(value: object, what: str) -> list[int]:
    numbers: list[int] = _is(value, list, what)
    # A million of them: not one call each.
    if not {*map(type, numbers)} <= {int}:
        raise _DamagedError(f"something in {what} is not a whole number")
    if numbers and not 0 <= min(numbers) <= max(numbers) <= _MAX_NUMBER:
        raise _DamagedError(f"something in {what} is out of range")
    return numbers


def _name(value: object, what: str) -> str | None:
    return None if value is None else cast("str", _is(value, str, what))


def _snapshots(document: object) -> list[Snapshot]:
    given = _is(document, dict, "it")
    found = [_snapshot(_is(one, dict, "a snapshot")) for one in _is(
        given.get("snapshots"), list, '"snapshots"'
    )]  # fmt: skip
    if not found:
        raise _DamagedError("it has no snapshot")
    return found


def _snapshot(given: dict[str, Any]) -> Snapshot:
    days = _days(given.get("days"))
    groups: dict[tuple[str, str, str | None], GroupSizes] = {}
    for one in _is(given.get("groups"), list, '"groups"'):
        group = _is(one, dict, "a group")
        name = (
            _is(group.get("dag_id"), str, "a dag_id"),
            _is(group.get("task_id"), str, "a task_id"),
            _name(group.get("key"), "a key"),
        )
        if name in groups:
            raise _DamagedError("a group appears twice")
        groups[name] = _sizes(group, days)
    return Snapshot(_source(given), groups, _part(given.get("part")))


def _source(given: dict[str, Any]) -> Source:
    backend = _is(given.get("backend"), dict, '"backend"')
    limits = [
        Limit(
            _is(one.get("name"), str, "a limit's name"),
            Size(_number(one.get("bytes"), "a limit")),
            _is(one.get("source"), str, "a limit's source"),
        )
        for one in (_is(one, dict, "a limit") for one in _is(given.get("limits"), list, '"limits"'))
    ]
    if not limits:
        raise _DamagedError("it has no limits")
    return Source(
        name=_is(given.get("deployment"), str, '"deployment"'),
        database_id=_is(given.get("database_id"), str, '"database_id"'),
        backend=_is(backend.get("name"), str, "the backend's name"),
        server_version=_is(backend.get("server_version"), str, "the server's version"),
        airflow=_is(backend.get("airflow"), str, "the version of Airflow"),
        column_type=_is(backend.get("column_type"), str, "the column's type"),
        limits=tuple(limits),
        store=_is(given.get("store"), str, '"store"'),
        filters=_is(given.get("filters"), dict, '"filters"'),
        rules=tuple(_is(one, str, "a rule") for one in _is(given.get("rules"), list, '"rules"')),
    )


def _part(given: object) -> PartOf | None:
    if given is None:
        return None
    part = _is(given, dict, '"part"')
    number, of = (_number(part.get(one), "a part") for one in ("number", "of"))
    if not 1 <= number <= of <= MAX_PARTS:
        raise _DamagedError("a part is out of range")
    return PartOf(number, of, KeyRange(_key(part.get("start")), _key(part.get("end"))))


def _key(given: object) -> int | str | None:
    """Return a key of the table, None where its range has no end."""
    if given is not None and (isinstance(given, bool) or not isinstance(given, int | str)):
        raise _DamagedError("a part's range is not one of keys")
    return given


def _days(given: object) -> list[int]:
    """Return the ordinals of all days of a snapshot."""
    days = []
    for one in _is(given, list, '"days"'):
        text = _name(one, "a day")
        try:
            days.append(NO_DAY if text is None else date.fromisoformat(text).toordinal())
        except ValueError:
            raise _DamagedError("a day is not a date") from None
    if not all(one < other for one, other in pairwise(days)):
        raise _DamagedError("its days are not in order")
    return days


def _sizes(group: dict[str, Any], days: Sequence[int]) -> GroupSizes:
    at: list[int] = []
    for one in _is(group.get("days"), list, "a group's days"):
        pair = _is(one, list, "a range of days")
        if len(pair) != 2:
            raise _DamagedError("a range of days has not two numbers")
        first, count = (_number(number, "a range of days") for number in pair)
        if first + count > len(days) or count < 1 or (at and first <= at[-1]):
            raise _DamagedError("a range of days is out of range")
        at.extend(range(first, first + count))
    largest = _numbers(group.get("largest"), '"largest"')
    others = _numbers(group.get("others"), '"others"')
    shorts = _is(group.get("sizes"), str, '"sizes"').split(" ")
    if not len(at) == len(largest) == len(others) == len(shorts):
        raise _DamagedError("a group's lists are of different lengths")
    if not all(map(histogram.SHORT_FORM.fullmatch, {*shorts})):
        raise _DamagedError("a histogram cannot be read")
    findings = _is(group.get("findings", {}), dict, "a group's findings")
    sizes = GroupSizes(
        [days[one] for one in at],
        largest,
        others,
        shorts,
        {rule: _number(count, "a count") for rule, count in findings.items()},
    )
    told = group.get("count"), group.get("total_bytes"), group.get("max_bytes")
    if told != (sizes.histogram().total(), sizes.total, max(largest)):
        raise _DamagedError("a group's sums are wrong")
    return sizes
