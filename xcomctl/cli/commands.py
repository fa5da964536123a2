"""The commands: their groups in the help, what each does, and the modules that implement them."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from types import ModuleType

GROUPS: Final = {
    "Look": {
        "list": "List the XComs that match the filters.",
        "pull": "Print the value of an XCom.",
        "top": "Show which DAGs and tasks use the most space.",
        "why": "Explain why pulling an XCom returns nothing.",
        "diff": "Show what changed between two runs, exports or snapshots.",
        "report": "Write sizes, growth and findings as one HTML page.",
        "info": "Show which metadata database is used, and what is in it.",
        "limits": "Show the size limits that apply.",
    },
    "Check": {
        "audit": "Check XCom sizes and health (for CI).",
        "rules": "Explain the rules of audit and preflight.",
        "preflight": "Find XComs that an upgrade to Airflow 3 would break.",
    },
    "Change": {
        "push": "Write an XCom as Airflow would.",
        "delete": "Delete old, oversized or orphaned XComs (shows a plan first).",
        "import": "Restore XComs from an export or an undo file.",
    },
    "Move": {
        "export": "Export XComs with their values.",
        "snapshot": "Save sizes by DAG, task, key and day to a file, without values.",
        "merge": "Add up the parts of a snapshot.",
    },
    "Set up": {
        "config": "Check, show or create the configuration.",
        "demo": "Create a demo database and take a tour of it.",
        "help": "Show a topic of the reference, or the help of a command.",
    },
}
"""Heading → command → what it does, in the order of the help."""

COMMANDS: Final = {name: text for group in GROUPS.values() for name, text in group.items()}

ALIASES: Final = {"get": "pull", "stats": "top", "add": "push", "edit": "push"}
"""Hidden names, for users of other tools. `edit` also implies --replace."""

TRY_FIRST: Final = {
    "xcomctl demo": "Create a demo database and take a tour of it",
    "xcomctl list --sort -size -n 10": "List the ten largest XComs",
    "xcomctl audit": "Check every XCom against the limit of your database",
}


COMPLETION_VARIABLE: Final = "_XCOMCTL_COMPLETE"
"""Set by a shell's completion function to the name of the shell."""


_MODULES: Final = {"import": "import_", "help": "topics"}
"""Command → module, where the name is a keyword or taken by the layout of the help."""


def load(name: str) -> ModuleType:
    """Import the module of a command, given by its name or an alias.

    The module has a function `command`; `EXAMPLES`, pairs of what an example does and its command
    line; and it may have `CHOICES`, the words that completion offers by the name of a parameter.
    """
    name = ALIASES.get(name, name)
    return import_module(f"xcomctl.cli.{_MODULES.get(name, name)}")
