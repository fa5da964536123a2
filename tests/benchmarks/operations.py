"""What is measured, against what, and the bar of each: a new operation is one entry of a table."""

from __future__ import annotations

import enum
import os
import shutil
import sys
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tests.benchmarks.databases import BACKENDS, LARGE_BYTES, MYSQL_LIKE
from tests.benchmarks.measure import Command, FailedError, race
from tests.benchmarks.tables import HUGE_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from tests.benchmarks.databases import Database
    from tests.benchmarks.measure import Sample

JUDGED_FROM_ROWS = 100_000
"""On smaller tables the start of a program hides what the bars of scans are about."""
PEER_ROWS = 300_000
"""Larger tables are too much for the ORM loop, which holds them whole."""
PEER_BAR = 4.0
PULL_PEAK_BYTES = 120_000_000
SCAN_PEAK_BYTES = 80_000_000 + 4 * HUGE_BYTES
AIRFLOWCTL = "XCOMCTL_BENCH_AIRFLOWCTL"


class Measure(enum.Enum):
    """What is held against the floor, and how."""

    WHOLE = "time"
    """The wall time, as a multiple of the floor's."""
    QUERY = "query part"
    """The wall time less that on the empty table, as a multiple of the floor's."""
    EXTRA = "extra time"
    """The wall time less the floor's, in ms."""


@dataclass(frozen=True, slots=True)
class Floor:
    """What xcomctl is held against."""

    name: str
    command: Callable[[Database, Path], Command]
    """Of the table and of a file to write."""
    empty: bool = False
    """Whether it runs on the empty table."""
    backends: tuple[str, ...] = BACKENDS
    """Where it counts."""


@dataclass(frozen=True, slots=True)
class Operation:
    """A command of xcomctl on a table; of several floors the fastest counts."""

    name: str
    arguments: tuple[str, ...]
    """`{file}` becomes the file to write, `{deep}` a cursor behind nine tenths of the rows."""
    floors: tuple[Floor, ...]
    measure: Measure
    bar: float | Mapping[str, float] | None
    """At most; or by `backend/storage`, by backend, or by "" for the others. None: no bar."""
    scans: bool = False
    """Whether it reads the whole table, so that its bar is one of large tables."""
    prints: bool = False
    """Whether its stdout goes into a file, as the floor's does."""
    peer: Floor | None = None
    """What xcomctl has to be `PEER_BAR` times as fast as, up to `PEER_ROWS`."""

    def limit(self, database: Database) -> float | None:
        """Return the bar on a backend and storage, None where there is none."""
        if self.bar is None or isinstance(self.bar, float):
            return self.bar
        named = (f"{database.backend}/{database.storage}", database.backend, "")
        return next(self.bar[name] for name in named if name in self.bar)


@dataclass(frozen=True, slots=True)
class Result:
    """A line of the report."""

    operation: str
    backend: str = ""
    storage: str = ""
    rows: int | None = None
    floor: str = ""
    floor_s: float | None = None
    sample: Sample | None = None
    """xcomctl's."""
    told: str = ""
    """The ratio, difference or peak that is held against the bar."""
    bar: str = ""
    met: bool | None = None
    failure: str = ""
    """Why there is nothing to tell."""
    missing: str = ""
    """What is not on this machine, so that nothing could be measured."""


def xcomctl(
    *arguments: str, database: Database | None = None, output: Path | None = None, prints: bool = False
) -> Command:  # fmt: skip
    """Return xcomctl from this checkout, its output going to `{file}` or, if it `prints`, stdout."""
    environment = database.environment if database else {}
    bound = ("--timeout", "0") if database else ()
    deep = database.cursor() if database and "{deep}" in arguments else ""
    told = tuple(part.replace("{file}", str(output)).replace("{deep}", deep) for part in arguments)
    writes = prints or any("{file}" in part for part in arguments)
    return Command(
        (sys.executable, "-m", "xcomctl", *told, *bound), environment, output if writes else None, stdout=prints
    )  # fmt: skip


def _same(*arguments: str) -> Floor:
    """Return the same command on the empty table."""
    return Floor("the same on the empty table", lambda database, _: xcomctl(*arguments, database=database), empty=True)  # fmt: skip


def _on(floor: Floor, *backends: str) -> Floor:
    return replace(floor, backends=backends)


def _peer(database: Database, output: Path) -> Command:
    arguments = (sys.executable, "-m", "tests.benchmarks.peer", database.storage)
    return Command(arguments, database.environment, output)


_SCAN = Floor("client: sum of the sizes", lambda database, _: database.scan())
_GROUPS = Floor("client: GROUP BY", lambda database, _: database.groups())
_BY_GROUP = _on(_GROUPS, "sqlite", *MYSQL_LIKE)
_PERCENTILES = Floor(
    "client: GROUP BY with percentiles",
    lambda database, _: database.percentiles(),
    backends=("postgresql",),
)
_SIZES = Floor("client: every size, streamed", lambda database, _: database.sizes())
_DUMP = Floor("client: every column", lambda database, output: database.dump(output))
_LIST, _GLOB = ("list", "-n", "50"), ("list", "--dag-id", "dag_01*", "-n", "100")
_DEEP = ("list", "-n", "50", "--after", "{deep}")
_PULL = ("pull", "dag_017", "group.task_03")
_LARGEST = ("list", "--sort", "-size", "-n", "20")
_TOP = ("top", "--by", "dag_id", "--by", "task_id", "--by", "key")
_AUDIT = ("audit", "--exit-zero")
_QUIET = ("--no-progress",)

OPERATIONS = (
    Operation("audit", _AUDIT, (_on(_GROUPS, "sqlite", "postgresql"), _on(_SCAN, *MYSQL_LIKE)), Measure.QUERY, {"sqlite": 0.4, "": 1.3}, scans=True),
    Operation("list", _LIST, (_same(*_LIST),), Measure.WHOLE, 1.1),
    Operation("list-glob", _GLOB, (_same(*_GLOB),), Measure.EXTRA, 50.0),
    Operation("list-deep", _DEEP, (Floor("the first page", lambda database, _: xcomctl(*_LIST, database=database)),), Measure.WHOLE, 3.0),
    Operation("list-largest", _LARGEST, (_SCAN,), Measure.QUERY, 1.3, scans=True),
    Operation("pull", _PULL, (_same(*_PULL, "--default", "null"),), Measure.EXTRA, 50.0),
    Operation("top", _TOP, (_BY_GROUP, _PERCENTILES, _SIZES), Measure.QUERY, 1.3, scans=True),
    Operation("top-grouped", _TOP, (_BY_GROUP, _PERCENTILES), Measure.QUERY, 1.3, scans=True),
    Operation(
        "export", ("export", "-o", "jsonl", *_QUIET), (_DUMP,), Measure.WHOLE,
        {"postgresql/bytes": 0.75, "postgresql/json": 1.3, "sqlite": 0.7, "": 1.15},
        scans=True, prints=True, peer=Floor("an ORM loop (peer.py)", _peer),
    ),
    # What the client writes is not made safe on disk; this is.
    Operation("export-file", ("export", "-o", "jsonl={file}", *_QUIET), (_DUMP,), Measure.WHOLE, None, scans=True),
)  # fmt: skip
"""On every table."""

MEMORY = (
    ("memory-list", ("list", "-n", "0", "-o", "jsonl")),
    ("memory-audit", _AUDIT),
    ("memory-export", ("export", "-o", "jsonl", *_QUIET)),
)
"""On tables that hold the huge values."""

LARGE = (
    ("pull-large-raw", ("pull", "dag", "task", "-o", "raw", "--file", "{file}")),
    ("pull-large-json", ("pull", "dag", "task", "--file", "{file}")),
)
"""On the database with one large value."""

STARTUP = (
    ("startup-version", ("--version",), "pass", 2.0),
    ("startup-help", ("--help",), "import typer, rich", 1.2),
    ("startup-list", ("list", "-n", "20"), "import sqlalchemy, typer, rich", 1.3),
)
"""What each runs, the Python that it is held against, and the bar."""


def measure(
    operation: Operation, database: Database, empty: Database, scratch: Path, runs: int
) -> list[Result]:
    """Return what an operation took on a table, and its peer."""
    output = scratch / "output"
    floors = [floor for floor in operation.floors if database.backend in floor.backends]
    ours = xcomctl(*operation.arguments, database=database, output=output, prints=operation.prints)
    commands = {"xcomctl": ours}
    for floor in floors:
        commands[floor.name] = floor.command(empty if floor.empty else database, output)
    if operation.measure is Measure.QUERY:
        commands["empty"] = xcomctl(*operation.arguments, database=empty, output=output)
    peer = operation.peer if database.rows <= PEER_ROWS else None
    if peer:
        commands[peer.name] = peer.command(database, output)
    result = Result(operation.name, database.backend, database.storage, database.rows)
    try:
        took = race(commands, runs)
    except FailedError as error:
        return [replace(result, failure=str(error))]
    name = min((floor.name for floor in floors), key=lambda floor: took[floor].wall_s)
    result = replace(result, sample=took["xcomctl"])
    results = [_against(operation, replace(result, floor=name), took, operation.limit(database))]
    if peer:
        times = took[peer.name].wall_s / took["xcomctl"].wall_s
        results.append(
            replace(
                result, operation=f"{operation.name}-peer", floor=peer.name, floor_s=took[peer.name].wall_s,
                told=f"{times:.1f} × faster", bar=f"≥ {PEER_BAR:g} ×", met=times >= PEER_BAR,
            )
        )  # fmt: skip
    return results


def _against(
    operation: Operation, result: Result, took: Mapping[str, Sample], limit: float | None
) -> Result:
    """Return the result with its ratio or difference to the floor."""
    wall, floor = took["xcomctl"].wall_s, took[result.floor].wall_s
    if operation.measure is Measure.EXTRA:
        extra, unit = (wall - floor) * 1000, "ms"
        told = f"{extra:+.0f} ms"
    else:
        part = wall - took["empty"].wall_s if operation.measure is Measure.QUERY else wall
        extra, unit = max(part, 0) / floor, "×"
        told = f"{extra:.2f} ×"
    result = replace(result, floor_s=floor, told=told)
    if limit is None or (operation.scans and (result.rows or 0) < JUDGED_FROM_ROWS):
        return result
    return replace(result, bar=f"≤ {limit:g} {unit}", met=extra <= limit)


def memory(name: str, arguments: tuple[str, ...], database: Database) -> Result:
    """Return the most memory that a command held, against what it may."""
    return _peak(name, arguments, database, None, SCAN_PEAK_BYTES, "80 MB + 4 × the largest value")


def growth(smaller: Result, larger: Result) -> Result:
    """Return how much more memory a command took on a larger table."""
    assert smaller.sample is not None
    assert larger.sample is not None
    ratio = larger.sample.peak_bytes / smaller.sample.peak_bytes
    return replace(
        larger, operation=f"{larger.operation}-growth", floor=f"its peak on {smaller.rows:,} rows",
        told=f"{ratio:.2f} ×", bar="≤ 1.1 ×", met=ratio <= 1.1,
    )  # fmt: skip


def pull_large(name: str, arguments: tuple[str, ...], database: Database, scratch: Path) -> Result:
    """Return the most memory that a pull of the one large value held."""
    value = f"a value of {LARGE_BYTES[database.backend] / 1e6:.0f} MB"
    return _peak(name, arguments, database, scratch / "output", PULL_PEAK_BYTES, value)


def _peak(
    name: str, arguments: tuple[str, ...], database: Database, output: Path | None, limit: int, floor: str
) -> Result:  # fmt: skip
    result = Result(name, database.backend, database.storage, database.rows, floor=floor)
    command = xcomctl(*arguments, database=database, output=output)
    try:
        sample = race({"xcomctl": command}, 1, warm=False)["xcomctl"]
    except FailedError as error:
        return replace(result, failure=str(error))
    peak = sample.peak_bytes
    return replace(
        result, sample=sample, told=f"peak {peak / 1e6:.0f} MB", bar=f"≤ {limit / 1e6:.0f} MB", met=peak <= limit
    )  # fmt: skip


def startup(
    name: str, arguments: tuple[str, ...], floor: str, bar: float, database: Database, runs: int
) -> Result:
    """Return how long a short command takes, against the imports that it cannot do without."""
    held = database if arguments[0] == "list" else None
    result = Result(name, floor=f'python -c "{floor}"')
    if held:
        result = replace(result, backend=held.backend, storage=held.storage, rows=held.rows)
    return _startup(result, Command((sys.executable, "-c", floor)), xcomctl(*arguments, database=held), bar, runs)  # fmt: skip


def airflowctl(runs: int) -> Result:
    """Return how long `--help` takes beside airflowctl's, where that is installed."""
    result = Result("airflowctl", floor="airflowctl --help")
    program = os.environ.get(AIRFLOWCTL) or shutil.which("airflowctl")
    if not program:
        return replace(result, missing=f"not there (PATH, {AIRFLOWCTL})")
    return _startup(result, Command((program, "--help")), xcomctl("--help"), 0.5, runs)


def _startup(result: Result, floor: Command, ours: Command, bar: float, runs: int) -> Result:
    try:
        took = race({"floor": floor, "xcomctl": ours}, runs)
    except FailedError as error:
        return replace(result, failure=str(error))
    ratio = took["xcomctl"].wall_s / took["floor"].wall_s
    return replace(
        result, sample=took["xcomctl"], floor_s=took["floor"].wall_s,
        told=f"{ratio:.2f} ×", bar=f"≤ {bar:g} ×", met=ratio <= bar,
    )  # fmt: skip
