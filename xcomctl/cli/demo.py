"""`xcomctl demo`: create a demo database and take a tour of it."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from xcomctl.cli.options import Manners
from xcomctl.errors import UsageError
from xcomctl.text import suggestion

if TYPE_CHECKING:
    from collections.abc import Iterator

    from xcomctl.cli.console import Console
    from xcomctl.demo.build import DemoFacts, Layout

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
    )
    console.text(
        f"{path}: {facts.rows:,} XComs of {facts.runs:,} runs of {', '.join(facts.dags)}, "
        f"as Airflow {facts.layout} leaves them.\n"
    )
    if no_tour:
        return
    for words, arguments in _steps(path, facts):
        console.text(f"\n{words}\n\n$ {_shown(arguments)}\n")
        _run(console, arguments)
    console.text(
        "\nThat was the first minute. Against your own metadata DB, leave --url out where Airflow's\n"
        'configuration is at hand, or set XCOMCTL_URL; "xcomctl --help" lists the commands.\n'
    )


def _layout(text: str) -> Layout:
    from xcomctl.demo.build import LAYOUTS

    for layout in LAYOUTS:
        if text == layout:
            return layout
    raise UsageError(f'unknown layout "{text}"', hint=suggestion(text, LAYOUTS))


def _steps(path: str, facts: DemoFacts) -> Iterator[tuple[str, list[str]]]:
    url = ["--url", path]
    yield "1. What is there? The newest runs first:", ["list", *url, "-n", "5"]
    yield "2. Which values are largest?", ["list", *url, "--sort", "-size", "-n", "3"]
    yield (
        "3. What did a task push? The newest run's, decoded:",
        ["pull", "xcom_dag", "task_4", *url],
    )
    yield "4. How large may a value be here, and elsewhere?", ["limits", *url]
    yield (
        "5. Is any too large for this database?",
        ["audit", *url],
    )
    yield (
        "6. And if this were MySQL under Airflow 2.8? list_files grows by the day, and is past\n"
        "   what a BLOB holds; the exit code, 1, is what makes a CI job fail:",
        ["audit", *url, "--as", "mysql:2.8"],
    )


def _shown(arguments: list[str]) -> str:
    return shlex.join(["xcomctl", *arguments])


def _run(console: Console, arguments: list[str]) -> None:
    """Run a command as the user would, and print its exit code if it is not 0."""
    from xcomctl.cli import build_app

    app = build_app(arguments[0])
    code = app(args=arguments, prog_name="xcomctl", standalone_mode=False)
    if code:
        console.text(f"(exit code {code})\n")
