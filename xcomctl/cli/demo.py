"""`xcomctl demo`: create a demo database and take a tour of it."""

from __future__ import annotations

import shlex
import shutil
import sys
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from xcomctl.cli.options import Manners
from xcomctl.errors import UsageError
from xcomctl.text import suggestion

if TYPE_CHECKING:
    from collections.abc import Iterator

    from xcomctl.cli.console import Console
    from xcomctl.demo.build import Layout

EXAMPLES = (
    ("Create xcomctl-demo.db, and take the tour", "xcomctl demo"),
    (
        "A month of runs as Airflow 2.8 stored them, without the tour",
        "xcomctl demo old.db --layout 2.8 --days 30 --no-tour",
    ),
)
DEFAULT_PATH = "xcomctl-demo.db"


def command(
    manners: Manners,
    path: Annotated[
        str,
        typer.Argument(
            metavar="[PATH]",
            help=f"SQLite file to create; an existing demo is replaced. [default: {DEFAULT_PATH}]",
        ),
    ] = DEFAULT_PATH,
    layout: Annotated[
        str | None,
        typer.Option(
            "--layout",
            metavar="AIRFLOW",
            help="Airflow release whose tables to create: 3.x, 2.10, 2.8, 2.2 or 1.10. [default: 3.x]",
        ),
    ] = None,
    days: Annotated[
        int | None,
        typer.Option(
            "--days", metavar="N", min=1, max=366, help="Number of days with runs. [default: 90]"
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option("--seed", metavar="N", help="Seed of the random accuracies. [default: 0]"),
    ] = None,
    last_day: Annotated[
        str | None,
        typer.Option("--last-day", metavar="DATE", help="Day of the last run. [default: today]"),
    ] = None,
    no_tour: Annotated[bool, typer.Option("--no-tour", help="Only create the database.")] = False,
) -> None:
    """Create a demo database and take a tour of it."""
    from xcomctl.cli import console

    manners.apply(console)

    from xcomctl.demo.build import build

    facts = build(
        Path(path),
        layout=_layout(layout or "3.x"),
        days=90 if days is None else days,
        seed=seed or 0,
        last_day=_day(last_day),
    )
    console.paragraph(
        f"Created {path}: {facts.rows:,} XComs of {facts.runs:,} runs of {' and '.join(facts.dags)}, "
        f"as Airflow {facts.layout} stores them."
    )
    if not no_tour:
        _take_tour(console, path)


def _take_tour(console: Console, path: str) -> None:
    """Run the commands of the tour, and print what to try next."""
    for words, arguments in _steps(path):
        console.text("\n")
        console.paragraph(words, style="bold")
        console.command_line(_shown(arguments))
        _run(console, arguments)
    console.text(f"\n{console.styled('Try next', 'bold')}\n")
    for words, arguments in _next_steps(path):
        console.command_line(_shown(arguments))
        console.paragraph(words, indent="    ")


def _day(text: str | None) -> date | None:
    if text is None:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise UsageError(
            f'invalid --last-day "{text}"', hint="Use a date such as 2026-03-31."
        ) from None


def _layout(text: str) -> Layout:
    from xcomctl.demo.build import LAYOUTS

    for layout in LAYOUTS:
        if text == layout:
            return layout
    raise UsageError(f'unknown layout "{text}"', hint=suggestion(text, LAYOUTS))


def _steps(path: str) -> Iterator[tuple[str, list[str]]]:
    """Yield what each step of the tour shows, and the command that shows it."""
    url = ["--url", path]
    yield "1. The largest XComs", ["list", *url, "--sort", "-size", "-n", "5"]
    yield "2. What a task pushed in its newest run", ["pull", "xcom_dag", "task_4", *url]
    yield "3. Does everything fit into this database?", ["audit", *url]
    yield (
        "4. Would it fit into MySQL with Airflow 2.8? Exit code 1 fails a CI job",
        ["audit", *url, "--as", "mysql:2.8"],
    )


def _next_steps(path: str) -> Iterator[tuple[str, list[str]]]:
    """Yield what is worth trying after the tour, and the command for it."""
    url = ["--url", path]
    yield (
        "Which tasks use the most space, and when each reaches the limit.",
        ["top", *url, "--forecast", "--as", "mysql:2.8"],
    )
    yield "One HTML page to show to others.", ["report", "xcoms.html", *url]
    yield "How large a value may be here and on other databases.", ["limits", *url]
    yield (
        "The same on your own metadata database: without --url where Airflow is configured.",
        ["audit", "--url", "postgresql://reader@host/airflow"],
    )


def _shown(arguments: list[str]) -> str:
    return shlex.join([*_program(), *arguments])


def _program() -> list[str]:
    """Return how the program was called, where its name alone would not be found."""
    called = Path(sys.argv[0])
    if shutil.which("xcomctl") or str(called) == "xcomctl":
        return ["xcomctl"]
    return ["python", "-m", "xcomctl"] if called.name == "__main__.py" else [sys.argv[0]]


def _run(console: Console, arguments: list[str]) -> None:
    """Run a command as the user would, and print its exit code if it is not 0."""
    from xcomctl.cli import build_app

    app = build_app(arguments[0])
    code = app(args=arguments, prog_name="xcomctl", standalone_mode=False)
    if code:
        console.text(f"(exit code {code})\n")
