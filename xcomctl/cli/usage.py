"""Errors in what was typed, in our words: what is wrong, the nearest right one, and the usage."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from xcomctl.cli.commands import ALIASES, COMMANDS
from xcomctl.errors import UsageError
from xcomctl.text import nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def usage_error(
    problem: Any, arguments: Sequence[str], program: Callable[[str], Any]
) -> UsageError:
    """Return the error to print for one of click's exceptions.

    click has a class for each kind of problem; what it says of the others is passed on. `program`
    returns click's group of commands, with the one that is named complete.
    """
    first = next((word for word in arguments if word in COMMANDS or word in ALIASES), "")
    group = program(first)
    command = _Command(
        f"xcomctl {first}".strip(), (group.commands[first] if first else group).params
    )
    error = _explained(problem, command) or UsageError(_sentence(problem))
    error.hint = error.hint or f'"{command.path} --help" shows the usage and examples.'
    error.message = without_passwords(error.message, arguments)
    return error


@dataclass(frozen=True, slots=True)
class _Command:
    """The command that was typed, or the program."""

    path: str
    params: Sequence[Any]

    def usage(self) -> str:
        """Return how it is called."""
        words = [one.metavar for one in self.params if one.param_type_name == "argument"]
        return f"Usage: {' '.join([self.path, *words, '[OPTIONS]'])}"

    def usage_of(self, name: str) -> str | None:
        """Return how an option is given."""
        option = next((one for one in self.params if name in one.opts), None)
        return None if option is None or not option.metavar else f"{name} {option.metavar}"


def _explained(problem: Any, command: _Command) -> UsageError | None:
    """Return the error for a kind of problem that is known here."""
    kind = type(problem).__name__
    text = _sentence(problem)
    if kind == "NoSuchOption":
        return _unknown_option(problem.option_name, command)
    if kind == "MissingParameter" and problem.param is not None:
        return UsageError(f"missing argument {problem.param.metavar}", hint=command.usage())
    if kind == "BadParameter" and problem.param is not None:
        return UsageError(_bad_value(problem.param, str(problem.message)))
    if needs := re.fullmatch(r"option '(-[^']*)' requires an argument", text):
        return UsageError(f"{needs[1]} needs a value", hint=command.usage_of(needs[1]))
    if unknown := re.match(r"no such command '(.*?)'", text, re.DOTALL):
        near = nearest(unknown[1], COMMANDS)
        return UsageError(
            f'unknown command "{unknown[1]}"', hint=f'Did you mean "{near}"?' if near else None
        )
    if extra := re.match(r"got unexpected extra argument\S* \((.*)\)", text, re.DOTALL):
        return UsageError(f'unexpected argument "{extra[1]}"', hint=command.usage())
    return None


def _sentence(problem: Any) -> str:
    """Return what click says, without its capital letter and its full stop."""
    says = problem.format_message() if hasattr(problem, "format_message") else str(problem)
    text = str(says).strip().rstrip(".")
    return text[:1].lower() + text[1:] if text else "no command was given"


def _unknown_option(name: str, command: _Command) -> UsageError:
    hint = None
    if re.match(r"-[\d.]", name):
        hint = (
            f'A negative number needs "--" before it, after the options: {command.path} … -- {name}'
        )
    elif name.startswith("--"):
        near = nearest(name, [one for param in command.params for one in param.opts])
        hint = f'Did you mean "{near}"?' if near else None
    return UsageError(f'unknown option "{name}"', hint=hint)


def _bad_value(param: Any, says: str) -> str:
    """Return what is wrong with the value of an option."""
    name = next((one for one in param.opts if one.startswith("--")), param.metavar)
    if number := re.match(r"'?(.*?)'? is not a valid (?:int|float)", says, re.DOTALL):
        return f'{name} takes a number, not "{number[1]}"'
    if least := re.match(r"(.*) is not in the range x>=(\d+)", says):
        return f"{name} must be at least {least[2]}, not {least[1]}"
    if bounds := re.match(r"(.*) is not in the range (\d+)<=x<=(\d+)", says):
        return f"{name} must be from {bounds[2]} to {bounds[3]}, not {bounds[1]}"
    return f"invalid value for {name}: {says.rstrip('.')}"


def without_passwords(text: str, arguments: Sequence[str]) -> str:
    """Return a message that may quote a database URL that was typed in the wrong place."""
    from xcomctl.config import redact

    for argument in sorted(arguments, key=len, reverse=True):
        if argument in text and redact.is_connection(argument):
            text = text.replace(argument, redact.shown(argument))
    return text
