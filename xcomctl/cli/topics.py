"""`xcomctl help`: the reference, a topic or a command at a time."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from xcomctl.cli.commands import ALIASES, COMMANDS, GROUPS
from xcomctl.cli.help import help_width, section
from xcomctl.cli.options import Manners
from xcomctl.errors import UsageError
from xcomctl.text import suggestion

if TYPE_CHECKING:
    from xcomctl.cli.console import Console

EXAMPLES = (
    ("List the topics", "xcomctl help"),
    ("What each exit code means", "xcomctl help exit-codes"),
)

DOCS = Path(__file__).parents[1] / "docs"
"""One Markdown file per topic, beside the code in the installed package, too."""

TOPICS = {
    "commands": "every command with its options and examples",
    "rules": "what the audit and preflight find, and how to fix it",
    "exit-codes": "what each exit code means",
    "limits": "how large an XCom may be on each database",
    "databases": "how the database is chosen, and its URLs",
    "configuration": "the configuration file, budgets, ignores, baselines",
    "export-format": "the fields of an exported file",
    "airflow-3.4": "what changes with Airflow 3.4, a pre-release",
    "following": "what list --follow guarantees, and where it looks",
    "testing": "the pytest plugin: checks what a DAG test has pushed",
    "snapshots": "sizes in a file, in parts, and the report",
    "security": "what xcomctl never does, and the privileges it needs",
    "performance": "measurements against the databases' own clients",
}
"""Topic → what it is about."""

_COMMANDS: Final = "Every command, as `xcomctl COMMAND --help` shows it."

CHOICES = {"topic": TOPICS | COMMANDS}


def command(
    manners: Manners,
    topic: Annotated[
        str | None, typer.Argument(metavar="[TOPIC]", help="Topic or command. [default: list them]")
    ] = None,
) -> None:
    """Show a topic of the reference, or the help of a command."""
    from xcomctl.cli import build_app, console

    manners.apply(console)
    if topic is None:
        listed = section("Topics", list(TOPICS.items()))
        console.text(f'{listed}\n\n"xcomctl help TOPIC" shows one.\n')
    elif topic == "commands":
        _show_commands(console)
    elif topic in TOPICS:
        console.page((DOCS / f"{topic}.md").read_text(encoding="utf-8"), help_width())
    elif topic in COMMANDS or topic in ALIASES:
        build_app(topic)(args=[topic, "--help"], prog_name="xcomctl", standalone_mode=False)
    else:
        raise UsageError(f'no help on "{topic}"', hint=suggestion(topic, [*TOPICS, *COMMANDS]))


def _show_commands(console: Console) -> None:
    """Write the help of every command, laid out for this terminal."""
    from xcomctl.cli import build_app

    width = help_width()
    console.page(f"# Commands\n\n{_COMMANDS}", width)
    for heading, group in GROUPS.items():
        console.text("\n")
        console.page(f"## {heading}", width)
        for name in group:
            console.text("\n")
            console.page(f"### xcomctl {name}", width)
            console.text("\n")
            build_app(name)(args=[name, "--help"], prog_name="xcomctl", standalone_mode=False)
