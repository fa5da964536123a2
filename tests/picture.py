"""README's picture: a recorded run on the demo; `python -m tests.picture` draws it anew."""

from __future__ import annotations

import sys
import tempfile
from io import StringIO
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

from tests.conftest import clean_environment
from tests.program import at_terminal

PICTURE = Path(__file__).parents[1] / ".github" / "xcomctl.svg"
WIDTH = 100
COMMANDS = (
    ("list", "--sort", "-size", "-n", "3"),
    ("audit", "--as", "mysql:2.8"),
    ("why", "xcom_dag", "task_5"),
)


def recorded() -> str:
    """Return what a terminal shows of the commands, with its colours."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        env = clean_environment(home) | {"TERM": "xterm-256color", "XCOMCTL_URL": "airflow.db"}
        at_terminal(
            ("demo", "airflow.db", "--no-tour", "--last-day", "2026-03-31"),
            width=WIDTH, env=env, cwd=home,
        )  # fmt: skip
        return at_terminal(*COMMANDS, width=WIDTH, env=env, cwd=home)


def svg(session: str) -> str:
    """Return a terminal's content as a picture that loads nothing from elsewhere."""
    console = Console(record=True, width=WIDTH, file=StringIO(), force_terminal=True)
    console.print(Text.from_ansi(session))
    text = console.export_svg(
        title="xcomctl", theme=MONOKAI, unique_id="xcomctl", code_format=_FORMAT
    )
    return "\n".join(line.rstrip() for line in text.splitlines()) + "\n"


_FORMAT = """<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{ font-family: ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace; font-size: {char_height}px; line-height: {line_height}px; font-variant-east-asian: full-width; }}
.{unique_id}-title {{ font-size: 18px; font-weight: bold; font-family: sans-serif; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal"><rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" /></clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""
"""rich's picture of a terminal, but with the fonts of the reader's system."""

if __name__ == "__main__":
    PICTURE.write_text(svg(recorded()), encoding="utf-8")
    sys.stdout.write(f"{PICTURE}\n")
