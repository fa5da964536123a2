"""Turns the option groups of a command's parameters into single options for typer."""

from __future__ import annotations

import copy
import dataclasses
import inspect
from dataclasses import MISSING
from functools import wraps
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_type_hints

from xcomctl.cli.help import OWN

if TYPE_CHECKING:
    from collections.abc import Callable


def spread(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function for typer: the fields of its option groups as parameters of their own.

    The help shows the fields below the group's `heading`, or with the command's own options.
    """
    hints = get_type_hints(function, include_extras=True)
    own: list[inspect.Parameter] = []
    shared: list[inspect.Parameter] = []
    groups: dict[str, type] = {}
    for parameter in inspect.signature(function).parameters.values():
        annotation = hints[parameter.name]
        if not dataclasses.is_dataclass(annotation):
            own.append(parameter.replace(annotation=annotation))
            continue
        assert isinstance(annotation, type)  # which is_dataclass does not say to mypy
        groups[parameter.name] = annotation
        fields = get_type_hints(annotation, include_extras=True)
        # The help shows a command's own options first.
        place = shared if hasattr(annotation, "heading") else own
        place += [
            inspect.Parameter(
                field.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=inspect.Parameter.empty if field.default is MISSING else field.default,
                annotation=_below(getattr(annotation, "heading", OWN), fields[field.name]),
            )
            for field in dataclasses.fields(annotation)
        ]
    parameters = own + shared

    @wraps(function)
    def gather(**given: Any) -> Any:
        for name, group in groups.items():
            fields = [field.name for field in dataclasses.fields(group)]
            given[name] = group(**{field: given.pop(field) for field in fields})
        return function(**given)

    for index, parameter in enumerate(parameters):
        parameters[index] = parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
    gather.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    gather.__annotations__ = {one.name: one.annotation for one in parameters}
    del gather.__wrapped__
    return gather


def _below(heading: str, annotation: Any) -> Any:
    """Return the annotation of an option with the heading below which the help shows it."""
    kind, option = get_args(annotation)
    shown = copy.copy(option)
    shown.rich_help_panel = heading
    return Annotated[kind, shown]
