"""Several deployments in one command: read side by side, each with its own timeouts."""

from __future__ import annotations

import queue
import threading
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, Final, Generic, TypeVar

import typer

from xcomctl.cli.options import Connection
from xcomctl.config.file import Config, load_config
from xcomctl.errors import DatabaseError, UsageError, XcomctlError
from xcomctl.formats import Column

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from xcomctl.cli.console import Console
    from xcomctl.config.target import Target
    from xcomctl.formats import Layout, Row

MOST_AT_ONCE: Final = 8
"""Databases that are read at the same time."""

DEPLOYMENT: Final = Column("deployment", "id", machine=False, people=False)
REASON: Final = Column("reason", machine=False, people=False)
"""Why a deployment could not be read. Both are shown of several deployments only."""

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Deployments(Connection):
    """Which metadata databases."""

    profile: Annotated[
        list[str] | None,
        typer.Option(
            "--profile",
            "-P",
            metavar="NAME",
            help="Connection named in the configuration. Repeatable: several are read side by side. [env: XCOMCTL_PROFILE]",
        ),
    ] = None  # type: ignore[assignment]  # several of what others take one of
    all_profiles: Annotated[
        bool, typer.Option("--all-profiles", help="Read every connection of the configuration.")
    ] = False
    keep_going: Annotated[
        bool,
        typer.Option(
            "--keep-going",
            help="Do not exit with 3 if some of several deployments could not be read.",
        ),
    ] = False

    def resolve(self, console: Console) -> tuple[Target, Config]:
        """Return the only metadata database to use, and the configuration."""
        name = self.profile[0] if self.profile else None
        return self.one(name).resolve(console)

    def one(self, profile: str | None) -> Connection:
        """Return the options for one of the profiles."""
        return Connection(
            url=self.url,
            profile=profile,
            airflow_home=self.airflow_home,
            schema=self.schema,
            timeout=self.timeout,
            connect_timeout=self.connect_timeout,
            config=self.config,
        )

    def several(self) -> tuple[str, ...]:
        """Return the profiles to read side by side, none where one database is meant.

        Raises:
            UsageError: there are none, or an option names one database.
        """
        names = tuple(dict.fromkeys(self.profile or ()))
        option = "--profile" if len(names) > 1 else "--all-profiles"
        if self.all_profiles:
            config = load_config(self.config)
            names = tuple(config.profiles)
            if not names:
                raise UsageError(
                    "--all-profiles needs profiles in the configuration",
                    detail=f'There are none in "{config.path}".' if config.path else None,
                    hint='"xcomctl config init" writes an example.',
                )
        elif len(names) < 2:
            return ()
        for given, value in (("--url", self.url), ("--airflow-home", self.airflow_home)):
            if value is not None:
                raise UsageError(f"{option} cannot be combined with {given}")
        return names


@dataclass(frozen=True, slots=True)
class Answer(Generic[_T]):
    """What one deployment answered."""

    deployment: str
    found: _T | None
    reason: str = ""
    """Why there is no answer."""


class Answers(Generic[_T]):
    """What the deployments answered, in the order in which they were named."""

    def __init__(self, answers: Sequence[Answer[_T]], *, keep_going: bool) -> None:
        self._answers = answers
        self._keep_going = keep_going

    def found(self) -> list[tuple[str, _T]]:
        """Return the answers by deployment."""
        return [(one.deployment, one.found) for one in self._answers if one.found is not None]

    def failed(self) -> list[Row]:
        """Return a row for each deployment that did not answer."""
        return [
            {"deployment": one.deployment, "reason": one.reason}
            for one in self._answers
            if one.found is None
        ]

    def layout(self, layout: Layout) -> Layout:
        """Return a command's layout with those of its columns shown that several deployments need."""
        failed = bool(self.failed())
        shown = {
            DEPLOYMENT: replace(DEPLOYMENT, machine=True, people=True),
            REASON: replace(REASON, machine=True, people=failed),
        }
        return replace(layout, columns=tuple(shown.get(one, one) for one in layout.columns))

    def check(self) -> None:
        """Raise DatabaseError if a deployment did not answer, unless told to keep going."""
        failed, number = len(self.failed()), len(self._answers)
        if failed == number or (failed and not self._keep_going):
            raise DatabaseError(
                f"{failed} of {number} deployments could not be read",
                hint=None
                if failed == number
                else "Use --keep-going to exit as if they had not been asked for.",
            )


def ask(
    console: Console,
    options: Deployments,
    names: Sequence[str],
    what: str,
    question: Callable[[Named, Target, Config], _T],
) -> Answers[_T]:
    """Ask each deployment, several at once, and warn about those that fail.

    Args:
        console: where warnings go.
        options: where the deployments are.
        names: their profiles.
        what: what is being done, for the progress line: `top: measuring sizes`.
        question: asks one. It may run in another thread, with a console that names the deployment.

    Raises:
        UsageError: a profile does not exist, or an option is invalid.
    """
    answers: dict[str, Answer[_T]] = {}
    targets: dict[str, tuple[Target, Config]] = {}
    known = load_config(options.config).profiles
    for name in names:
        try:
            targets[name] = options.one(name).resolve(console)
        except XcomctlError as error:
            if name not in known:
                raise
            answers[name] = _failed(console, name, error)
    with console.working(f"{what} of {len(names)} deployments"):
        for name, result in _side_by_side(
            {
                name: lambda name=name, of=of: question(Named(console, name), *of)  # type: ignore[misc]
                for name, of in targets.items()
            }
        ):
            if isinstance(result, XcomctlError):
                answers[name] = _failed(console, name, result)
            elif isinstance(result, BaseException):
                raise result
            else:
                answers[name] = Answer(name, result)
    return Answers([answers[name] for name in names], keep_going=options.keep_going)


def _failed(console: Console, name: str, error: XcomctlError) -> Answer[Any]:
    detail = "" if error.detail is None else f" ({error.detail.rstrip('.')})"
    console.warn(f"{name}: {error.message}{detail}")
    return Answer(name, None, error.message)


def _side_by_side(work: dict[str, Callable[[], _T]]) -> Any:
    """Yield the name and the result, or the exception, of each piece of work as it ends."""
    done: queue.Queue[tuple[str, object]] = queue.Queue()
    waiting = iter(work.items())

    def start() -> None:
        name, one = next(waiting, ("", None))
        if one is not None:
            # A daemon, because Ctrl-C must not wait for a server that does not answer.
            threading.Thread(target=_run, args=(name, one, done), daemon=True).start()

    for _ in range(MOST_AT_ONCE):
        start()
    for _ in work:
        yield done.get()
        start()


def _run(name: str, work: Callable[[], object], done: queue.Queue[tuple[str, object]]) -> None:
    try:
        done.put((name, work()))
    except BaseException as error:  # noqa: BLE001 - it is raised where the results are taken
        done.put((name, error))


class Named:
    """A console whose warnings and notes name a deployment."""

    def __init__(self, console: Console, name: str) -> None:
        self._console = console
        self._name = name

    def warn(self, text: str) -> None:
        """Print a warning."""
        self._console.warn(f"{self._name}: {text}")

    def note(self, text: str) -> None:
        """Print a note."""
        self._console.note(f"{self._name}: {text}")
