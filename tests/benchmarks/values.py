"""Everything that reads or writes values, in units of one pass over them.

The unit E is the client CPU of `export -o jsonl` of the same rows in the same run. CPU, because it
survives a busy machine.
"""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa

from tests.benchmarks.databases import LARGE_BYTES, MYSQL_LIKE
from tests.benchmarks.measure import Command, FailedError, race, run
from tests.benchmarks.operations import PULL_PEAK_BYTES, Result, xcomctl

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from tests.benchmarks.databases import Database
    from tests.benchmarks.measure import Sample

UNIT = "E: export -o jsonl"
JUDGED_FROM_ROWS = 50_000
"""On smaller tables the start of the program hides what the bars are about."""
WRITTEN_ROWS = 50_000
"""Rows that `delete` removes and `import` restores."""
AIRFLOW = "XCOMCTL_BENCH_AIRFLOW"
"""The program `airflow`, for `airflow db clean`; it takes the database's URL as it is."""
PEERS = "XCOMCTL_BENCH_PEERS"
"""The Python that has connectorx, adbc-driver-postgresql and duckdb; this one by default."""


@dataclass(frozen=True, slots=True)
class Reading:
    """A command that reads the values of a table."""

    name: str
    arguments: tuple[str, ...]
    """`{file}` becomes the file to write."""
    bar: float | None
    """How many E at most."""
    prints: bool = False
    """Whether its stdout goes into a file."""
    is_new: bool = False
    """Whether an older build may not have it."""


READING = (
    Reading("values-deep", ("audit", "--deep", "--exit-zero", "--no-progress"), 1.5),
    Reading("values-preflight", ("preflight", "--to", "3.3.2", "--exit-zero", "--no-progress"), 2.0),
    Reading("values-csv", ("export", "-o", "csv", "--no-progress"), 1.3, prints=True),
    Reading("values-jobs", ("export", "-o", "jsonl", "--jobs", "2", "--no-progress"), None, prints=True, is_new=True),
    Reading("values-snapshot", ("snapshot", "{file}", "--no-progress"), None, is_new=True),
)  # fmt: skip
_EXPORT = ("export", "-o", "jsonl", "--no-progress")
_PARQUET = ("export", "-o", "parquet={file}", "--no-progress")
_PARQUET_PEERS = ("connectorx", "adbc", "duckdb")
PARQUET_BAR = 1.5
"""Client and server CPU, as a multiple of `psql COPY` text."""
DELETE_BAR, IMPORT_BAR, PULL_BAR, PARTS_BAR = 5.0, 6.0, 2.0, 1.1

NAMES = (
    *(one.name for one in READING),
    "values-parts", "values-parquet", "values-delete", "values-import", "values-pull",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Values:
    """How to measure: what else runs beside this checkout, how often, and where files go."""

    before: str | None
    """The program of an older build."""
    runs: int
    scratch: Path
    meter: Callable[[], float] | None
    """Returns the CPU seconds that the server has used."""

    @property
    def output(self) -> Path:
        """Return the file that commands write."""
        return self.scratch / "output"

    def of_before(self, command: Command) -> Command:
        """Return the command as the older build runs it."""
        assert self.before is not None
        environment = {**command.environment, "PYTHONPATH": ""}
        return replace(
            command, arguments=(self.before, *command.arguments[3:]), environment=environment
        )

    def both(self, name: str, command: Command) -> dict[str, Command]:
        """Return the command of this checkout and, where there is one, of the older build."""
        commands = {name: command}
        if self.before:
            commands[f"{name} before"] = self.of_before(command)
        return commands

    # --- reading ------------------------------------------------------------------------------

    def reading(self, database: Database, chosen: Callable[[str], bool]) -> Iterator[Result]:
        """Yield what each command took in E, all of them run in turn."""
        readings = [one for one in READING if chosen(one.name)]
        if not readings:
            return
        unit = xcomctl(*_EXPORT, database=database, output=self.output, prints=True)
        for one in readings:
            ours = xcomctl(*one.arguments, database=database, output=self.output, prints=one.prints)
            both = {one.name: ours} if one.is_new else self.both(one.name, ours)
            commands = {UNIT: unit, **both}
            yield from self._raced(commands, database, one.bar)

    def _raced(
        self, commands: Mapping[str, Command], database: Database, bar: float | None
    ) -> Iterator[Result]:
        try:
            took = race(commands, self.runs, meter=self.meter)
        except FailedError as error:
            *_, name = commands
            yield self._result(name.removesuffix(" before"), database, failure=str(error))
            return
        for name in commands:
            if name != UNIT:
                judged = None if name.endswith(" before") else bar
                yield self.in_units(name, database, took[UNIT], took[name], judged)

    def in_units(
        self, name: str, database: Database, unit: Sample, sample: Sample, bar: float | None
    ) -> Result:
        """Return a result in E."""
        ratio = sample.cpu_s / unit.cpu_s
        result = self._result(name, database, sample=sample)
        result = replace(result, floor=UNIT, floor_s=unit.cpu_s, told=f"{ratio:.2f} E")
        return (
            result
            if bar is None or database.rows < JUDGED_FROM_ROWS
            else replace(result, bar=f"≤ {bar:g} E", met=ratio <= bar)
        )

    @staticmethod
    def _result(name: str, database: Database, sample: Sample | None = None, failure: str = "") -> Result:  # fmt: skip
        return Result(name, database.backend, database.storage, database.rows, sample=sample, failure=failure)  # fmt: skip

    def parts(self, database: Database) -> Iterator[Result]:
        """Yield the CPU of four parts of a snapshot and their merge, against one snapshot."""
        whole = xcomctl(
            "snapshot", "{file}", "--no-progress", database=database, output=self.output
        )
        program = " ".join(whole.arguments[:3])
        files = [str(self.scratch / f"part-{number}") for number in range(1, 5)]
        steps = [f"{program} snapshot {file} --part {number}/4 --no-progress --timeout 0" for number, file in enumerate(files, 1)]  # fmt: skip
        steps += [f"{program} merge {' '.join(files)} -o {self.output}", f"rm {' '.join(files)}"]
        in_parts = replace(whole, arguments=("sh", "-c", " && ".join(steps)))
        try:
            took = race({"whole": whole, "parts": in_parts}, self.runs, meter=self.meter)
        except FailedError as error:
            yield self._result("values-parts", database, failure=str(error))
            return
        both = [took[name].cpu_s + took[name].server_s for name in ("whole", "parts")]
        ratio = both[1] / both[0]
        result = self._result("values-parts", database, sample=took["parts"])
        result = replace(result, floor="snapshot (both ends' CPU)", floor_s=both[0], told=f"{ratio:.2f} ×")  # fmt: skip
        if database.rows >= JUDGED_FROM_ROWS:
            result = replace(result, bar=f"≤ {PARTS_BAR:g} ×", met=ratio <= PARTS_BAR)
        yield result

    # --- Parquet ------------------------------------------------------------------------------

    def parquet(self, database: Database) -> Iterator[Result]:
        """Yield the CPU of the whole, server included, beside the client's dump and peers."""
        dump = "client: every column"
        ours = xcomctl(*_PARQUET, database=database, output=self.output)
        commands = {dump: database.dump(self.output), **self.both("values-parquet", ours)}
        try:
            took = race(commands, self.runs, meter=self.meter)
        except FailedError as error:
            yield self._result("values-parquet", database, failure=str(error))
            return
        floor = took[dump].cpu_s + took[dump].server_s
        for name in commands:
            if name == dump:
                continue
            judged = (
                name == "values-parquet"
                and database.backend == "postgresql"
                and database.rows >= JUDGED_FROM_ROWS
            )
            yield self._of_both_ends(name, database, floor, took[name], judged=judged)
        for peer in _PARQUET_PEERS if database.backend == "postgresql" else ():
            command = _parquet_peer(peer, database, self.output)
            try:
                sample = race({peer: command}, self.runs, meter=self.meter)[peer]
            except FailedError as error:
                yield replace(self._result(f"values-parquet {peer}", database), missing=str(error))
                continue
            yield self._of_both_ends(f"values-parquet {peer}", database, floor, sample)

    def _of_both_ends(
        self, name: str, database: Database, floor: float, sample: Sample, *, judged: bool = False
    ) -> Result:
        ratio = (sample.cpu_s + sample.server_s) / floor
        result = self._result(name, database, sample=sample)
        result = replace(
            result, floor="client: every column (both ends' CPU)", floor_s=floor, told=f"{ratio:.2f} ×"
        )  # fmt: skip
        if not judged:
            return result
        return replace(result, bar=f"≤ {PARQUET_BAR:g} ×", met=ratio <= PARQUET_BAR)

    # --- writing ------------------------------------------------------------------------------

    def writing(self, database: Database, rows: Callable[[], int]) -> Iterator[Result]:
        """Yield what deleting every row took, and restoring them; the table is then as before.

        `rows` returns the number of rows in the table.
        """
        undo = self.scratch / "undo.jsonl"
        unit = xcomctl(*_EXPORT, database=database, output=self.output, prints=True)
        delete = xcomctl(
            "delete", "--until", "2100-01-01", "--include-active", "--yes", "--undo-file", str(undo),
            "--no-progress", "-o", "json", database=database,
        )  # fmt: skip
        restore = xcomctl("import", str(undo), "--replace", "--yes", "--no-progress", database=database)  # fmt: skip
        clean = _airflow_db_clean(database)
        steps = {
            **self.both("values-delete", delete),
            **({"airflow db clean": clean} if clean else {}),
        }
        samples: dict[str, list[Sample]] = {}
        name = ""
        try:
            for _ in range(self.runs):
                samples.setdefault(UNIT, []).append(run(unit, meter=self.meter))
                for name, step in steps.items():
                    if name != "airflow db clean":
                        undo.unlink(missing_ok=True)
                    samples.setdefault(name, []).append(run(step, meter=self.meter))
                    if rows():
                        raise FailedError(f"left {rows():,} rows")
                    back, again = "values-import", restore
                    if name.endswith(" before"):
                        back, again = "values-import before", self.of_before(restore)
                    samples.setdefault(back, []).append(run(again, meter=self.meter))
                    if rows() != database.rows:
                        raise FailedError(f"{rows():,} of {database.rows:,} rows came back")
        except FailedError as error:
            yield self._result("values-delete", database, failure=f"{name}: {error}")
            return
        yield from self._written(database, {name: _fastest(some) for name, some in samples.items()})

    def _written(self, database: Database, took: Mapping[str, Sample]) -> Iterator[Result]:
        bars = {"values-delete": DELETE_BAR, "values-import": IMPORT_BAR}
        for name, sample in took.items():
            if name != UNIT:
                yield self.in_units(name, database, took[UNIT], sample, bars.get(name))
        clean = took.get("airflow db clean")
        if clean:
            ours = took["values-delete"]
            ratio = ours.wall_s / clean.wall_s
            result = self._result("values-delete-wall", database, sample=ours)
            yield replace(
                result, floor="airflow db clean", floor_s=clean.wall_s,
                told=f"{ratio:.2f} ×", bar="≤ 1 ×", met=ratio <= 1,
            )  # fmt: skip

    # --- one large value ----------------------------------------------------------------------

    def pull(self, database: Database) -> Iterator[Result]:
        """Yield how long one large value takes, against the client's own SELECT of it."""
        client = "client: SELECT value"
        ours = xcomctl("pull", "dag", "task", "-o", "raw", "--file", "{file}", database=database, output=self.output)  # fmt: skip
        commands = {client: database.client("SELECT value FROM xcom", self.output)}
        commands |= self.both("values-pull", ours)
        try:
            took = race(commands, self.runs, meter=self.meter)
        except FailedError as error:
            yield self._result("values-pull", database, failure=str(error))
            return
        for name in commands:
            if name == client:
                continue
            ratio, sample = took[name].wall_s / took[client].wall_s, took[name]
            result = self._result(name, database, sample=sample)
            told = f"{ratio:.2f} × ({LARGE_BYTES[database.backend] / 1e6:.0f} MB)"
            result = replace(result, floor=client, floor_s=took[client].wall_s, told=told)
            if name == "values-pull" and database.backend in MYSQL_LIKE:
                small = sample.peak_bytes <= PULL_PEAK_BYTES
                result = replace(result, bar=f"≤ {PULL_BAR:g} ×, 120 MB", met=ratio <= PULL_BAR and small)  # fmt: skip
            yield result


def _fastest(samples: list[Sample]) -> Sample:
    return min(samples, key=lambda sample: sample.cpu_s)


def _parquet_peer(peer: str, database: Database, output: Path) -> Command:
    python = os.environ.get(PEERS) or sys.executable
    url = database.url.set(drivername="postgresql").render_as_string(hide_password=False)
    return Command((python, "-m", "tests.benchmarks.parquet_peer", peer, url, str(output)), output=output, stdout=False)  # fmt: skip


def _airflow_db_clean(database: Database) -> Command | None:
    program = os.environ.get(AIRFLOW)
    if not program or not shutil.which(program):
        return None
    url = sa.make_url(database.environment["XCOMCTL_URL"])
    shown = url.render_as_string(hide_password=False)
    if database.backend == "sqlite":
        shown = f"sqlite:///{Path(str(url.database)).resolve()}"
    environment = {"AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": shown, "PYTHONPATH": "", "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}  # fmt: skip
    arguments = ("db", "clean", "-t", "xcom", "--clean-before-timestamp", "2100-01-01", "--skip-archive", "-y")  # fmt: skip
    return Command((program, *arguments), environment)
