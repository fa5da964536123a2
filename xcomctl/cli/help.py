"""The layout of `--help`: examples first, then a command's own options before the shared ones."""

from __future__ import annotations

import shutil
import textwrap
from typing import TYPE_CHECKING, Any, Final

from typer.core import TyperCommand, TyperGroup

from xcomctl.cli.commands import ALIASES, COMMANDS, GROUPS, TRY_FIRST, load
from xcomctl.formats.width import wrap_command

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

MAX_WIDTH: Final = 100
"""Longer lines are hard to read."""

_MAX_NAMES: Final = 32
"""Width of the column of option names. The text of a longer one starts on the next line."""

_NARROW: Final = 60
"""Below this width, each text starts on the line below its names."""
_INDENT: Final = 2
"""Further columns that such a text is indented."""

OWN: Final = "Options"
SECTIONS: Final = ("Arguments", OWN, "Filters", "Output", "Connection")
"""Headings in the order of the help."""

Entry = tuple[str, str]
"""An option's names or a command, and what it does."""


class HelpfulCommand(TyperCommand):
    """A command whose help is laid out here."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help of a command."""
        name: str = ctx.info_name
        formatter.write(command_help(ALIASES.get(name, name), self.get_params(ctx)))


class HelpfulGroup(TyperGroup):
    """The program, whose help is laid out here."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help of the program."""
        formatter.write(program_help(self.help or "", self.get_params(ctx)))


def program_help(summary: str, params: Iterable[Any]) -> str:
    """Return the help of the program: the commands in groups, options, and what to try first."""
    groups: dict[str, list[Entry]] = {
        heading: list(group.items()) for heading, group in GROUPS.items()
    }
    groups |= _by_section(params)
    groups["Try first"] = list(TRY_FIRST.items())
    return _page(
        summary,
        "xcomctl COMMAND [ARGS] [OPTIONS]",
        groups,
        '"xcomctl COMMAND --help" shows the options of a command, with examples that run on the '
        "demo database after this:",
        "  export XCOMCTL_URL=xcomctl-demo.db",
    )


def command_help(name: str, params: Sequence[Any]) -> str:
    """Return the help of a command."""
    words = [one.metavar for one in params if one.param_type_name == "argument"]
    usage = " ".join(["xcomctl", name, *words, "[OPTIONS]"])
    return _page(COMMANDS[name], usage, _by_section(params), examples=load(name).EXAMPLES)


def _by_section(params: Iterable[Any]) -> dict[str, list[Entry]]:
    """Return the options by the heading below which they stand."""
    sections: dict[str, list[Entry]] = {heading: [] for heading in SECTIONS}
    for param in params:
        if param.param_type_name == "argument":
            sections["Arguments"].append((param.metavar, param.help or ""))
        elif not param.hidden:
            heading = getattr(param, "rich_help_panel", None) or OWN
            sections[heading].append((_names(param), param.help or ""))
    return sections


def _names(option: Any) -> str:
    short = [name for name in option.opts if not name.startswith("--")]
    long = [name for name in option.opts if name.startswith("--")]
    names = f"{short[0]}, {long[0]}" if short else f"    {long[0]}"
    return names if option.is_flag or option.metavar is None else f"{names} {option.metavar}"


def help_width() -> int:
    """Return the columns that help may take: those of the terminal, up to `MAX_WIDTH`."""
    return min(shutil.get_terminal_size().columns, MAX_WIDTH)


def _page(
    summary: str,
    usage: str,
    sections: dict[str, list[Entry]],
    after: str = "",
    command: str = "",
    examples: Sequence[tuple[str, str]] = (),
) -> str:
    """Return a page of help.

    Args:
        after: a sentence at the end, and `command` a command below it.
        examples: what each shows, and its command.
    """
    width = help_width()
    parts = [textwrap.fill(summary, width), textwrap.fill(f"Usage: {usage}", width)]
    parts += [_examples(examples, width)] if examples else []
    parts += [section(heading, entries) for heading, entries in sections.items() if entries]
    parts += [f"{textwrap.fill(after, width)}\n{command}"] if after else []
    return "\n\n".join(parts) + "\n"


def section(heading: str, entries: Sequence[Entry]) -> str:
    """Return a heading, and below it names with what each is or does."""
    width = help_width()
    fitting = (len(names) for names, _ in entries if len(names) <= _MAX_NAMES)
    column = max(fitting, default=0) if width >= _NARROW else _INDENT
    lines = (line for entry in entries for line in _entry(entry, column, width))
    return "\n".join([f"{heading}:", *lines])


def _examples(examples: Sequence[tuple[str, str]], width: int) -> str:
    lines: list[str] = []
    for text, example in examples:
        comment = textwrap.wrap(text, width, initial_indent="  # ", subsequent_indent="  # ")
        lines += ["", *comment, *wrap_command(example, width, prompt="  ")]
    return "\n".join(["Examples:", *lines[1:]])


def _entry(entry: Entry, column: int, width: int) -> list[str]:
    """Return the lines of an option or a command."""
    names, text = entry
    if width < _NARROW:
        names = names.lstrip()
    indent = column + 4
    lines = textwrap.wrap(
        text, max(width - indent, 20), break_long_words=False, break_on_hyphens=False
    )
    first = f"  {names.ljust(column)}"
    if len(names) > column:
        return [first, *(" " * indent + line for line in lines)]
    rest = [" " * indent + line for line in lines[1:]]
    return [f"{first}  {lines[0]}" if lines else first.rstrip(), *rest]
