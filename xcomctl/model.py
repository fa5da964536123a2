"""Types that every package uses: names, sizes and rows of XComs, filters, limits, budgets.

Imports nothing of ours but the errors.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, runtime_checkable

from xcomctl.errors import UsageError

if TYPE_CHECKING:
    from datetime import date, datetime

RETURN_VALUE = "return_value"
"""The key under which Airflow stores what a task returns."""

UNMAPPED = -1
"""The map_index of a task that is not mapped."""
MIN_INTEGER, MAX_INTEGER = -(2**31), 2**31 - 1
"""Range of an INTEGER column such as `map_index`, and of every number on the command line."""

Storage = Literal["bytes", "json"]
"""How the value column holds a value: encoded bytes (Airflow 1 and 2) or JSON (Airflow 3)."""

Raw = bytes | str | int | float | None
"""A value as the driver returns it, not decoded. Only SQLite returns numbers."""


class Size(int):
    """A number of bytes."""

    __slots__ = ()

    def __str__(self) -> str:
        """Return the size rounded, with a unit: `512 B`, `48.0 KiB`."""
        if self < 1024:
            return f"{int(self)} B"
        number = float(self)
        for unit in ("KiB", "MiB", "GiB", "TiB"):
            number /= 1024
            if number < 1024 or unit == "TiB":
                break
        return f"{number:.1f} {unit}"

    def exactly(self) -> str:
        """Return the size with every digit: `65,535 B`."""
        return f"{int(self):,} B"


def format_percent(percent: float) -> str:
    """Return a percentage for people, rounded, but never to 100 or to 0 where it is neither."""
    if 0 < percent < 0.1:
        return "<0.1%"
    if percent >= 1000:
        return f"{percent:,.0f}%"
    text = f"{percent:.1f}%"
    if text == "100.0%" and percent != 100:
        text = f"{percent:.2f}%"
        if text == "100.00%":
            return "<100%" if percent < 100 else ">100%"
    return text


_UNITS = {
    "B": 1,
    "kB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
}
_UNIT_BY_LOWER = {unit.lower(): factor for unit, factor in _UNITS.items()}


def parse_size(text: str) -> Size:
    """Return the number of bytes of a size such as `48 KiB`, `1.5 MB` or `65535`.

    Raises:
        UsageError: it has no number, an unknown unit, or a bare K, M or G.
    """
    match = re.fullmatch(r"\s*(\d+(?:[_,]\d{3})*)(\.\d+)?\s*([A-Za-z]*)\s*", text)
    if not match:
        raise UsageError(
            f'cannot read the size "{text}"',
            hint="Give bytes, or a number with B, kB, MB, GB, KiB, MiB or GiB: 48KiB.",
        )
    whole, fraction, unit = match.groups()
    factor = _UNIT_BY_LOWER.get((unit or "B").lower())
    if factor is None:
        bare = unit.upper() in ("K", "M", "G", "T")
        raise UsageError(
            f'cannot read the size "{text}"',
            detail=f'Tools disagree on whether "{unit}" means powers of ten or of two.'
            if bare
            else f'"{unit}" is not a unit of size.',
            hint=f'Use "{unit.upper()}B" for powers of ten or "{unit.upper()}iB" for powers of two.'
            if bare
            else "The units are B, kB, MB, GB, KiB, MiB and GiB.",
        )
    digits = re.sub("[,_]", "", whole)
    # More digits than this neither int() nor float() takes, and no database can compare.
    size = 2**63
    if len(digits) < 20:
        exact = fraction is None
        size = int(digits) * factor if exact else round(float(f"{digits}{fraction}") * factor)
    if size >= 2**63:
        raise UsageError(f'the size "{text[:40]}" is too large', hint="Sizes go up to 8 EiB.")
    return Size(size)


class Encoding(Enum):
    """What a stored value is, judged by its first bytes."""

    JSON = "json"
    PICKLE = "pickle"
    NULL = "null"
    """SQL NULL, which is not JSON's null."""
    EMPTY = "empty"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class XComRef:
    """The name of an XCom, in every Airflow."""

    dag_id: str
    task_id: str
    run_id: str | None
    """None where the run no longer exists (Airflow 2.2 and older)."""
    key: str | None
    """None is possible in Airflow 1.10 only."""
    map_index: int = UNMAPPED
    logical_date: datetime | None = None
    """In UTC. Identifies the run where `run_id` is None."""
    region: str | None = None
    """`ID:INDEX` of a task in a loop (Airflow 3.4), where the rest names several XComs."""

    @property
    def run(self) -> str:
        """Return the run's id, or its date in ISO form."""
        if self.run_id is not None:
            return self.run_id
        return format_time(self.logical_date) or "?"

    def __str__(self) -> str:
        """Return `dag/run/task[3]#REGION:2:key`, without what does not apply."""
        index = "" if self.map_index == UNMAPPED else f"[{self.map_index}]"
        region = "" if self.region is None else f"#{self.region}"
        return f"{self.dag_id}/{self.run}/{self.task_id}{index}{region}:{self.key}"


@dataclass(frozen=True, slots=True)
class Attempt:
    """Which attempt of which task instance pushed an XCom (Airflow 3.4)."""

    region_id: str
    """A UUID; zeros for a task that is neither mapped nor in a loop."""
    region_index: int
    """The map index or the pass of a loop; -1 outside."""
    try_number: int
    is_current: bool
    """Whether Airflow reads it: neither of an earlier attempt nor hidden by a newer row."""
    store: Literal["xcom_v1", "xcom_v2"]
    """The table that holds it."""


@dataclass(frozen=True, slots=True)
class XComEntry:
    """A row of the xcom table without its value."""

    ref: XComRef
    size: Size | None
    """Bytes that the database stores, before compression. None for SQL NULL."""
    timestamp: datetime | None
    encoding: Encoding
    row: tuple[object, ...]
    """The row's primary key. Only `db` reads it."""
    text_size: Size | None = None
    """Length of the value as JSON text, if requested."""
    stored_size: Size | None = None
    """Bytes on disk after compression, if requested and known to the database."""
    head: Raw = None
    """The first bytes of the value, if requested."""
    orphan: bool = False
    """Whether the row's run or task instance is missing; False if not requested."""
    position: tuple[object, ...] = ()
    """Where the row stands in the order of runs. Only `db` reads it."""
    attempt: Attempt | None = None
    """Known from Airflow 3.4 on."""
    others: tuple[tuple[str, object], ...] = ()
    """Further columns of the row with their values, if requested: Airflow 3.3's dag_result."""


StoredRow: TypeAlias = tuple[
    Any,
    Any,
    Any,
    int,
    Any,
    str | None,
    Any,
    int | None,
    int,
    bool,
    Any,
    str | None,
    bytes | float | None,
]
"""A row of the xcom table with its whole value, not decoded, on its way into a file.

dag_id, task_id, run_id, map_index, key, timestamp (RFC 3339), logical_date, size in bytes,
dag_run_id, whether the row's run or task instance is missing, further columns, SQLite's storage
class where it differs from the one that Airflow writes, and the value: bytes, or the UTF-8 of a
text; a number only in SQLite. Names, logical_date and further columns are as `RowSink.encode_name`
returned them. A plain tuple, because there may be a hundred million.
"""


class Write(Protocol):
    """Writes output to a file. Must not keep what it is given: the buffer is reused."""

    def __call__(self, data: bytes | memoryview, /) -> object:
        """Write all of the data."""


class RowSink(Protocol):
    """Receives the rows of an export."""

    def encode_name(self, name: str, text: str | None) -> Any:
        """Return a name or logical_date as `write_row` takes it; called once for many rows.

        `others` holds the remaining columns, in the form that `exchange.others.read` expects.
        """

    def write_row(self, row: StoredRow) -> object:
        """Write one row."""


@runtime_checkable
class LineSink(RowSink, Protocol):
    """Writes independent lines, so that other processes can write some of them (see `sqlite_parts`)."""

    def flush(self) -> None:
        """Write what is buffered."""

    def divert(self, write: Write) -> None:
        """Write to another place from now on, and start counting anew."""

    def counted(self) -> tuple[int, int]:
        """Return the number and bytes of rows written since the last call."""

    def write(self, data: bytes | memoryview) -> object:
        """Write a piece of finished lines."""

    def count(self, rows: int, size: int) -> None:
        """Count rows whose lines were written elsewhere."""


@dataclass(frozen=True, slots=True)
class Limit:
    """The largest size that some software allows."""

    name: str
    size: Size
    source: str
    """Where the number comes from, as text: `column xcom.value is a BLOB`."""
    beyond: str = ""
    """What happens to a larger value."""
    hard: bool = True


@dataclass(frozen=True, slots=True)
class Budget:
    """What the team allows for the XComs that its globs match; None is no bound."""

    dag_id: str = "*"
    task_id: str = "*"
    key: str = "*"
    max_size: Size | None = None
    """Of one value."""
    max_total_per_run: Size | None = None
    """Of all values together in one run of one DAG."""
    max_total: Size | None = None
    max_count: int | None = None
    severity: Literal["note", "warning", "error"] = "error"
    message: str | None = None

    def matches(self, dag_id: str, task_id: str, key: str | None) -> bool:
        """Return whether the budget applies to XComs of this name."""
        return _matches(self, dag_id, task_id, key)

    @property
    def specificity(self) -> tuple[int, int]:
        """Return how narrow the globs are: how many are exact names, then their literal letters."""
        globs = (self.dag_id, self.task_id, self.key)
        letters = sum(len(re.sub(r"\[[^]]+\]|[*?]", "", glob)) for glob in globs)
        return sum(not is_glob(glob) for glob in globs), letters


@dataclass(frozen=True, slots=True)
class Ignore:
    """Findings that the team accepts, and why."""

    rule: str
    reason: str
    dag_id: str = "*"
    task_id: str = "*"
    key: str = "*"
    max_size: Size | None = None
    """Above this the finding is reported again."""
    until: date | None = None
    """The last day on which it is ignored."""

    def matches(self, dag_id: str, task_id: str, key: str | None) -> bool:
        """Return whether it applies to XComs of this name."""
        return _matches(self, dag_id, task_id, key)


def _matches(globs: Budget | Ignore, dag_id: str, task_id: str, key: str | None) -> bool:
    return (
        fnmatchcase(dag_id, globs.dag_id)
        and fnmatchcase(task_id, globs.task_id)
        and fnmatchcase(key or "", globs.key)
    )


def format_time(moment: datetime | None) -> str | None:
    """Return a UTC time in RFC 3339 form: `2026-01-31T07:08:09.123456Z`."""
    if moment is None:
        return None
    return f"{moment.isoformat().removesuffix('+00:00')}Z"


@dataclass(frozen=True, slots=True)
class KeyRange:
    """A range of xcom's leading key: `dag_run_id`, Airflow 1.10's `id`, or 2.0-2.2's `dag_id`.

    `db.read.parts` plans such ranges. Texts are in the order of the database.
    """

    start: int | str | None = None
    """The first key of the range, None from the beginning."""
    end: int | str | None = None
    """The first key behind the range, None up to the end."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Filters; without any, everything is selected.

    Texts are exact, or shell globs where they hold one of `* ? [`. Among the runs, `latest` is the
    newest of each DAG, and `latest~1` the one before it.
    """

    dag_ids: tuple[str, ...] = ()
    run_ids: tuple[str, ...] = ()
    task_ids: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    map_indexes: tuple[int, ...] = ()
    since: datetime | None = None
    until: datetime | None = None
    min_size: Size | None = None
    max_size: Size | None = None
    current: bool | None = None
    """Of Airflow 3.4, only XComs that Airflow reads, or only those that it does not."""
    regions: tuple[tuple[str, int], ...] = ()
    """Regions of Airflow 3.4, UUIDs, each with an index."""
    contains: str | None = None
    """A text that the stored value holds, case counting."""
    part: KeyRange | None = None
    """Only rows of this part of the table."""

    @property
    def touches_values(self) -> bool:
        """Return whether it takes a look at the values to know what is selected."""
        return any(one is not None for one in (self.min_size, self.max_size, self.contains))

    @property
    def narrows(self) -> bool:
        """Return whether it names DAGs, runs, tasks, keys or a part, so that an index may help."""
        names = self.dag_ids, self.run_ids, self.task_ids, self.keys
        return any((*names, self.map_indexes, self.regions, self.part is not None))


def is_glob(text: str) -> bool:
    """Return whether a filter is a pattern rather than an exact text."""
    return any(char in text for char in "*?[")


def runs_back(text: str) -> int | None:
    """Return 0 for `latest`, 1 for `latest~1` and so on, None for a run id."""
    match = re.fullmatch(r"latest(?:~(\d{1,9}))?", text)
    return int(match[1] or 0) if match else None


def exactly(text: str) -> str:
    """Return the filter that matches only this text, a glob if the text looks like one."""
    return re.sub(r"([*?[])", r"[\1]", text)


@dataclass(frozen=True, slots=True)
class Facts:
    """Product, version and generation of an open metadata database."""

    backend: str
    """`sqlite`, `postgresql`, `mysql` or `mariadb`."""
    product: str
    """With its version: `PostgreSQL 15.18`."""
    server_version: str
    airflow: str
    """The releases of Airflow with this layout: `2.8.1-2.8.4`."""
    generation: str
    column_type: str
    storage: Storage
    heads: tuple[str, ...]


SortKey = Literal["run", "size", "timestamp", "dag_id"]
"""What entries can be sorted by."""
