"""The generated part of the reference, in `xcomctl/docs/`; `python -m tests.reference` writes it anew."""

from __future__ import annotations

import io
import os
from contextlib import redirect_stdout
from pathlib import Path

from xcomctl.audit.rules import AIRFLOW3_RULES, RULES
from xcomctl.cli import build_app
from xcomctl.cli.commands import GROUPS

DOCS = Path(__file__).parents[1] / "xcomctl" / "docs"


def commands() -> str:
    """Return every command with its help, as Markdown."""
    parts = ["# Commands\n\nGenerated from `xcomctl COMMAND --help`."]
    for heading, group in GROUPS.items():
        parts.append(f"## {heading}")
        parts += (f"### {name}\n\n```text\n{help_of(name)}\n```" for name in group)
    return "\n\n".join(parts) + "\n"


def help_of(command: str) -> str:
    """Return the help of a command at 100 columns."""
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = "100"
    try:
        with redirect_stdout(io.StringIO()) as out:
            build_app(command)(args=[command, "--help"], prog_name="xcomctl", standalone_mode=False)
    finally:
        del os.environ["COLUMNS"]
        if before is not None:
            os.environ["COLUMNS"] = before
    return out.getvalue().strip()


def rules() -> str:
    """Return every rule of the audit and of preflight, as Markdown."""
    parts = [
        "# Rules\n\nGenerated from the rules in `xcomctl/audit`. Severity *error* fails the gate by default."
    ]
    for heading, some in (("Audit", RULES), ("Preflight", AIRFLOW3_RULES)):
        parts.append(f"## {heading}")
        for rule in some:
            deep = ", with `--deep`" if rule.deep else ""
            parts.append(f"### {rule.id}\n\n*{rule.severity}{deep}*: {rule.title}\n\n{rule.help}")
            parts.append(f"```text\n{rule.example}\n```")
    return "\n\n".join(parts) + "\n"


GENERATED = {"commands.md": commands, "rules.md": rules}
"""File in `xcomctl/docs/` → what makes its text."""

if __name__ == "__main__":
    for file, make in GENERATED.items():
        (DOCS / file).write_text(make(), encoding="utf-8")
