"""`xcomctl import`: restore the XComs of an export or an undo file."""

from __future__ import annotations

import contextlib
import errno
import itertools
import shutil
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO, TypeVar

import typer

from xcomctl.cli.console import parse_outputs
from xcomctl.cli.files import temporary_errors
from xcomctl.cli.options import Connection, Manners, Output, Writing
from xcomctl.cli.partial_file import place_of
from xcomctl.cli.undo_file import undo_file
from xcomctl.errors import RefusedError, UsageError
from xcomctl.formats import Column
from xcomctl.model import MAX_INTEGER

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from xcomctl.cli.console import Console
    from xcomctl.cli.progress import Progress
    from xcomctl.cli.undo_file import UndoFile
    from xcomctl.db.read.store import Store
    from xcomctl.db.write.restore import Restore
    from xcomctl.exchange.records import Fault, Record

_Line = TypeVar("_Line")

EXAMPLES = (
    ("What would be restored?", "xcomctl import xcoms.jsonl --dry-run"),
    (
        "Restore what delete or push saved, and overwrite what exists",
        "xcomctl import undo.jsonl --replace --yes",
    ),
)
OUTCOMES = ("added", "replaced", "removed", "unchanged", "refused")
_COLUMNS = (
    Column("dag_id", "id", aliases=("dag",)),
    *(Column(name, "number") for name in OUTCOMES),
)
_REASONS_SHOWN = 20
_PAGE_LINES = 1000
_PAGE_BYTES = 8 * 1024 * 1024
"""Lines that are looked up and written together, and the size of their values."""

CHOICES = {"columns": [one.name for one in _COLUMNS]}


@dataclass(frozen=True, slots=True)
class Options:
    """The arguments and options of `import` alone."""

    file: Annotated[
        str,
        typer.Argument(metavar="FILE", help="File written by export or --undo-file (- = stdin)."),
    ]
    map_dag: Annotated[
        list[str] | None,
        typer.Option(
            "--map-dag",
            metavar="OLD=NEW",
            help="Import the XComs of DAG OLD into DAG NEW. Repeatable.",
        ),
    ] = None
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be imported, without writing it.")
    ] = False
    replace: Annotated[bool, typer.Option("--replace", help="Replace existing values.")] = False
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Do not ask before replacing values.")
    ] = False
    batch_size: Annotated[
        int | None,
        typer.Option(
            "--batch-size",
            metavar="N",
            min=1,
            max=MAX_INTEGER,
            help="Commit every N lines, and skip lines that do not fit. [default: all or nothing]",
        ),
    ] = None


def command(
    connection: Connection,
    writing: Writing,
    output: Output,
    manners: Manners,
    options: Options,
) -> None:
    """Restore XComs from an export or an undo file."""
    from xcomctl.cli import console

    manners.apply(console)
    outputs = parse_outputs(output.output)
    layout = output.layout("xcomctl.import/1", "dags", _COLUMNS)
    dags = _parse_map(options.map_dag or [])
    wait_s = writing.wait_s()
    target, _ = connection.resolve(console)
    if not options.dry_run:
        writing.refuse_read_only(target)
    if options.file != "-":
        console.protect(options.file)

    from xcomctl.db import open_for_writing

    with (
        _opened(options.file) as source,
        open_for_writing(
            target, lock_timeout_s=None if options.dry_run else wait_s, all_attempts=True
        ) as store,
    ):
        job = _Job(console, store, source, dags, options.replace)
        asked = {
            "command": "import",
            **place_of(target),
            "file": options.file,
            "map_dag": options.map_dag or [],
            "replace": options.replace,
        }
        _run(console, job, options, writing.undo_file, asked)

    counts = {name: job.total(name) for name in OUTCOMES}
    layout = replace(layout, before=lambda: {"dry_run": options.dry_run, **counts})
    console.write(layout, job.rows(), outputs)
    job.refuse_unless(False, done=not options.dry_run)


def _run(
    console: Console, job: _Job, options: Options, undo_path: str | None, asked: dict[str, object]
) -> None:
    """Check every line, and without --dry-run import them.

    `asked` identifies the command for an undo file that it goes on with.
    """
    job.look()
    if not options.dry_run:
        job.refuse_unless(options.batch_size is not None)
        _confirm(console, job, options.yes, stdin=options.file == "-")
        with (
            undo_file(undo_path, asked) as undo,
            console.working("import: writing XComs") as work,
        ):
            job.do(options.batch_size, undo, work)


def _parse_map(given: list[str]) -> dict[str, str]:
    dags: dict[str, str] = {}
    for text in given:
        old, equals, new = text.partition("=")
        if not (equals and old and new):
            raise UsageError(f'cannot read --map-dag "{text}"', hint="Use the form OLD=NEW.")
        dags[old] = new
    return dags


def _copy_stdin(kept: BinaryIO) -> None:
    from xcomctl.exchange.records import BEGINNING_BYTES

    try:
        start = sys.stdin.buffer.read(BEGINNING_BYTES)
        kept.write(start)
        if b"\0" not in start:
            # Otherwise it is no text, which reading it reports, and may have no end.
            shutil.copyfileobj(sys.stdin.buffer, kept)
        kept.flush()
    except OSError as error:
        if error.errno in (errno.EBADF, errno.EISDIR, errno.EIO):
            raise UsageError("could not read stdin", detail=error.strerror) from None
        raise


@contextlib.contextmanager
def _opened(file: str) -> Iterator[BinaryIO]:
    """Open the file. It is read twice, so stdin is copied to a temporary file."""
    try:
        if file == "-":
            with temporary_errors(), tempfile.TemporaryFile() as kept:
                _copy_stdin(kept)
                yield kept
        else:
            with Path(file).open("rb") as source:
                yield source
    except OSError as error:
        raise UsageError(f'could not read "{file}"', detail=error.strerror) from None


def _confirm(console: Console, job: _Job, yes: bool, *, stdin: bool) -> None:
    """Raise unless values may be replaced or removed.

    Raises:
        RefusedError: there is no --yes, and nobody at a terminal agrees.
    """
    lost = job.total("replaced") + job.total("removed")
    if not lost or yes:
        return
    if not stdin and console.confirmed(f"Replace or remove {lost:,} XComs?"):
        return
    raise RefusedError(
        "imported nothing: not confirmed", hint="Use --yes to confirm without a prompt."
    )


class _Job:
    """One import: every line is checked first, then imported."""

    def __init__(
        self,
        console: Console,
        store: Store,
        source: BinaryIO,
        dags: dict[str, str],
        replace: bool,
    ) -> None:
        self._console = console
        from xcomctl.db.write.restore_target import RestoreTarget
        from xcomctl.db.write.split_restore import SplitTarget

        self._target = SplitTarget(store) if store.schema.split else RestoreTarget(store)
        self._source = source
        self._dags = dags
        self._replace = replace
        self._tally: dict[str, Counter[str]] = {}

    def total(self, outcome: str) -> int:
        """Return how many lines had this outcome."""
        return sum(counts[outcome] for counts in self._tally.values())

    def rows(self) -> Iterator[dict[str, object]]:
        """Yield the counts of each DAG."""
        for dag_id, counts in sorted(self._tally.items()):
            yield {"dag_id": dag_id, **{name: counts[name] for name in OUTCOMES}}

    def look(self) -> None:
        """Determine the outcome of each line without writing; print which ones do not fit."""
        from xcomctl.db.write.restore import Restore
        from xcomctl.exchange.records import Record

        restore = Restore(self._target, self._dags, write=False, replace_=self._replace)
        pickles = 0
        with self._console.working("import: checking lines") as work:
            lines = work.counting("import: checking lines", self._lines(report=True))
            for page in _pages(lines):
                pickles += sum(one.encoding == "pickle" for one in page if isinstance(one, Record))
                self._take(restore, page, report=True)
        if pickles:
            self._console.warn(
                f"{pickles} of the values are pickles, which run code when Airflow loads them: "
                "import only files that you trust"
            )

    def do(self, batch_size: int | None, undo: UndoFile | None, work: Progress) -> None:
        """Write the lines that fit: all in one transaction, or in batches."""
        from xcomctl.db.write.restore import Restore
        from xcomctl.db.write.undo import ending

        lines = sum(counts.total() for counts in self._tally.values())
        self._tally.clear()
        kept: list[bytes] = []
        restore = Restore(
            self._target,
            self._dags,
            write=True,
            replace_=self._replace,
            keep=kept.append if undo else None,
        )
        records = work.counting("import: writing XComs", self._lines(report=False), rows=lines)
        changed = 0

        def committed() -> None:
            nonlocal changed
            changed = sum(map(self.total, ("added", "replaced", "removed")))

        try:
            for batch in _batches(records, batch_size):
                with self._target.transaction(ending(undo, committed)):
                    for page in _pages(batch):
                        self._take(restore, page, report=False, skip=batch_size is not None)
                        if undo and kept:
                            undo.write(kept)
                            kept.clear()
        except BaseException:
            if changed:
                self._console.warn(
                    f"imported {changed:,} lines before it stopped; run the same command to continue"
                )
            raise

    def _lines(self, *, report: bool) -> Iterator[Record | Fault]:
        """Yield the lines of the file but a cut off one; with `report` print that one."""
        from xcomctl.exchange.records import Fault, records

        self._source.seek(0)
        for one in records(self._source):
            if not isinstance(one, Fault) or not one.cut_off:
                yield one
            elif report:
                self._console.warn(
                    f"line {one.line} is cut off and was skipped: the command that wrote this undo file was "
                    "interrupted before it changed that XCom"
                )

    def _take(
        self, restore: Restore, page: list[Record | Fault], *, report: bool, skip: bool = True
    ) -> None:
        """Import a page of lines, and count what became of each."""
        from xcomctl.db.write.restore import MisfitError
        from xcomctl.exchange.records import Fault

        fitting = [one for one in page if not isinstance(one, Fault)]
        outcomes = iter(restore.apply(fitting))
        for one in page:
            if isinstance(one, Fault):
                self._refuse("", one.line, one.reason, report=report)
                continue
            dag_id = self._dags.get(one.ref.dag_id, one.ref.dag_id)
            outcome = next(outcomes)
            if not isinstance(outcome, MisfitError):
                self._tally.setdefault(dag_id, Counter())[outcome] += 1
            elif skip:
                self._refuse(dag_id, one.line, str(outcome), report=report)
            else:
                raise RefusedError(
                    f"imported nothing: line {one.line} no longer applies", detail=str(outcome)
                )

    def _refuse(self, dag_id: str, line: int, reason: str, *, report: bool) -> None:
        counts = self._tally.setdefault(dag_id, Counter())
        counts["refused"] += 1
        number = self.total("refused")
        if report and number <= _REASONS_SHOWN:
            self._console.warn(f"line {line}: {reason}")
        elif report and number == _REASONS_SHOWN + 1:
            self._console.warn("more lines cannot be imported (not shown)")

    def refuse_unless(self, allowed: bool, *, done: bool = False) -> None:
        """Raise RefusedError if lines do not fit, unless that is allowed."""
        refused = self.total("refused")
        if not refused or allowed:
            return
        noun = "line" if refused == 1 else "lines"
        raise RefusedError(
            f"imported nothing: {refused:,} {noun} cannot be imported"
            if not done
            else f"skipped {refused:,} {noun} that cannot be imported",
            hint=None
            if done
            else "--batch-size N imports the other lines; --replace overwrites existing XComs.",
        )


def _batches(lines: Iterable[_Line], size: int | None) -> Iterator[Iterator[_Line]]:
    """Yield the lines in batches. Each has to be consumed before the next."""
    lines = iter(lines)
    if size is None:
        yield lines
        return
    for first in lines:
        yield itertools.chain([first], itertools.islice(lines, size - 1))


def _pages(lines: Iterable[Record | Fault]) -> Iterator[list[Record | Fault]]:
    """Yield the lines in pages that are held in memory."""
    page: list[Record | Fault] = []
    size = 0
    for line in lines:
        page.append(line)
        size += len(getattr(line, "data", None) or b"")
        if len(page) == _PAGE_LINES or size >= _PAGE_BYTES:
            yield page
            page, size = [], 0
    if page:
        yield page
