"""Measures xcomctl against the databases' own clients: `python -m tests.benchmarks --help`."""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa

from tests.benchmarks import operations, report
from tests.benchmarks import values as of_values
from tests.benchmarks.databases import (
    BACKENDS,
    GENERATIONS,
    MYSQL_LIKE,
    MYSQL_ROWS,
    IncompleteError,
    Place,
    count_rows,
)
from tests.benchmarks.operations import LARGE, MEMORY, OPERATIONS, STARTUP, Result
from tests.benchmarks.tables import HUGE_FROM_ROWS
from tests.servers import ServerMissingError

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence

    from tests.benchmarks.databases import Database

NAMES = (
    *(operation.name for operation in OPERATIONS),
    *(name for name, _ in MEMORY),
    *(name for name, _ in LARGE),
    *(name for name, *_ in STARTUP),
    "airflowctl",
    *of_values.NAMES,
)
LARGE_FROM_ROWS = 1_000_000
STARTUP_ROWS = 10_000


def _note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks",
        description="Measure xcomctl against the databases' own clients. Servers are started, or"
        " given by XCOMCTL_TEST_POSTGRES_URL, XCOMCTL_TEST_MYSQL_URL and XCOMCTL_TEST_MARIADB_URL.",
    )
    add = parser.add_argument
    add("--rows", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    add("--backend", nargs="+", choices=BACKENDS, default=BACKENDS)
    add("--storage", nargs="+", choices=GENERATIONS, default=list(GENERATIONS))
    add("--runs", type=int, default=3, help="of which the medians are taken")
    add("--startup-runs", type=int, default=11, help="the same of the start-up operations")
    add("--only", nargs="+", metavar="NAME", help=f"operations, or what their names begin with: {', '.join(NAMES)}")  # fmt: skip
    add("--before", metavar="XCOMCTL", help="an older build's program, to run beside this one on values")  # fmt: skip
    add("--markdown", type=Path, metavar="FILE", help="write the report to a file, too")
    add("--data", type=Path, metavar="DIR", help="where SQLite files are, and stay")
    add("--keep", action="store_true", help="leave the SQLite files, and databases built on given servers")  # fmt: skip
    add("--all-rows", action="store_true", help=f"tables of more than {MYSQL_ROWS:,} rows on MySQL and MariaDB, too")  # fmt: skip
    parsed = parser.parse_args(arguments)
    for name in parsed.only or ():
        if not any(_chosen(known, [name]) for known in NAMES):
            parser.error(f'unknown operation "{name}"')
    return parsed


def _chosen(name: str, only: Sequence[str] | None) -> bool:
    """Return whether a name is asked for; what is not itself a name is what names begin with."""
    return only is None or any(
        name == one or (one not in NAMES and name.startswith(f"{one}-")) for one in only
    )


@dataclass
class Session:
    """One run of the benchmark."""

    options: argparse.Namespace
    data: Path
    scratch: Path
    versions: dict[str, str] = field(default_factory=dict)

    def results(self) -> Generator[Result]:
        """Yield every result, backend after backend."""
        startups = [one for one in STARTUP if self._chosen(one[0])]
        if startups:
            yield from self._startups(startups)
        if self._chosen("airflowctl"):
            yield operations.airflowctl(self.options.startup_runs)
        large = any(self._chosen(name) for name in ("values-pull", *(name for name, _ in LARGE)))
        if self._on_tables() or large:
            for backend in self.options.backend:
                yield from self._backend(backend)

    def _chosen(self, name: str) -> bool:
        if self.options.only is None and name.startswith(("pull-large-", "values-pull")):
            return bool(max(self.options.rows) >= LARGE_FROM_ROWS)
        return _chosen(name, self.options.only)

    def _on_tables(self) -> bool:
        """Return whether anything is asked for that runs on the large tables."""
        names = [operation.name for operation in OPERATIONS] + [name for name, _ in MEMORY]
        names += [name for name in of_values.NAMES if name != "values-pull"]
        return any(self._chosen(name) for name in names)

    def _startups(
        self, chosen: Sequence[tuple[str, tuple[str, ...], str, float]]
    ) -> Iterator[Result]:
        database = Place("sqlite", self.data, _note).database("bytes", STARTUP_ROWS)
        for one in chosen:
            yield operations.startup(*one, database, self.options.startup_runs)

    def _backend(self, backend: str) -> Iterator[Result]:
        try:
            place = Place(backend, self.data, _note)
        except ServerMissingError as error:
            yield Result("server", backend, failure=str(error))
            return
        try:
            self.versions[backend] = place.version()
            for storage in self.options.storage if self._on_tables() else ():
                yield from self._storage(place, storage)
            yield from self._large(place)
        finally:
            place.close(keep=self.options.keep)

    def _storage(self, place: Place, storage: str) -> Iterator[Result]:
        most = max(self.options.rows)
        if place.backend in MYSQL_LIKE and not self.options.all_rows:
            most = MYSQL_ROWS
        peaks: dict[str, Result] = {}
        for rows in sorted({min(rows, most) for rows in self.options.rows}):
            try:
                empty = place.database(storage, 0)
                database = place.database(storage, rows)
            except (IncompleteError, sa.exc.DBAPIError) as error:
                yield Result("database", place.backend, storage, rows, failure=_line(error))
                continue
            yield from self._operations(database, empty)
            yield from self._values(place).reading(database, self._chosen)
            if self._chosen("values-parts"):
                yield from self._values(place).parts(database)
            if self._chosen("values-parquet"):
                yield from self._values(place).parquet(database)
            if rows >= HUGE_FROM_ROWS:
                yield from self._memory(database, peaks)
        if self._chosen("values-delete") or self._chosen("values-import"):
            yield from self._writing(place, storage)

    def _values(self, place: Place) -> of_values.Values:
        options = self.options
        return of_values.Values(options.before, options.runs, self.scratch, place.meter())

    def _writing(self, place: Place, storage: str) -> Iterator[Result]:
        rows = min(of_values.WRITTEN_ROWS, max(self.options.rows))
        try:
            database = place.written(storage, rows)
        except (IncompleteError, sa.exc.DBAPIError) as error:
            yield Result("values-delete", place.backend, storage, rows, failure=_line(error))
            return
        yield from self._values(place).writing(database, lambda: count_rows(database))

    def _operations(self, database: Database, empty: Database) -> Iterator[Result]:
        for operation in OPERATIONS:
            if self._chosen(operation.name):
                yield from operations.measure(operation, database, empty, self.scratch, self.options.runs)  # fmt: skip

    def _memory(self, database: Database, peaks: dict[str, Result]) -> Iterator[Result]:
        for name, arguments in MEMORY:
            if not self._chosen(name):
                continue
            result = operations.memory(name, arguments, database)
            yield result
            if result.sample is None:
                continue
            if name in peaks:
                yield operations.growth(peaks[name], result)
            peaks.setdefault(name, result)

    def _large(self, place: Place) -> Iterator[Result]:
        chosen = [one for one in LARGE if self._chosen(one[0])]
        if not chosen and not self._chosen("values-pull"):
            return
        try:
            database = place.large()
        except (IncompleteError, sa.exc.DBAPIError) as error:
            yield Result("pull-large", place.backend, "bytes", failure=_line(error))
            return
        for name, arguments in chosen:
            yield operations.pull_large(name, arguments, database, self.scratch)
        if self._chosen("values-pull"):
            yield from self._values(place).pull(database)


def _line(error: Exception) -> str:
    return str(error).splitlines()[0]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the report, and return 1 if something failed, else 0."""
    options = _arguments(arguments)
    # Ended like by Ctrl-C, with the servers and files of this run.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with contextlib.ExitStack() as stack:
        if options.data:
            options.data.mkdir(parents=True, exist_ok=True)
            data = options.data
        elif options.keep:
            data = Path(tempfile.mkdtemp(prefix="xcomctl-bench-"))
            _note(f"SQLite files stay in {data}")
        else:
            data = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="xcomctl-bench-")))
        scratch = stack.enter_context(tempfile.TemporaryDirectory(prefix="xcomctl-bench-out-"))
        session = Session(options, data.resolve(), Path(scratch))
        results: list[Result] = []
        # Whatever ends the loop, servers that were started are to end.
        with contextlib.closing(session.results()) as measured:
            for result in measured:
                results.append(result)
                _note(" | ".join(report.cells(result)))
    text = report.markdown(results, session.versions)
    print(text, end="")
    if options.markdown:
        options.markdown.write_text(text, encoding="utf-8")
    return int(any(result.failure for result in results))


if __name__ == "__main__":
    sys.exit(main())
