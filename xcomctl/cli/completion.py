"""What the shell offers on TAB: the words of the command line, and ids from the database.

Nothing here fails: where candidates cannot be found in time, none are offered.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, get_type_hints

from xcomctl.cli.commands import ALIASES, COMMANDS, load
from xcomctl.cli.references import complete_reference
from xcomctl.cli.shells import SHELLS, Candidate
from xcomctl.errors import XcomctlError

if TYPE_CHECKING:
    from xcomctl.config.target import Target
    from xcomctl.db.read.suggest import Column, Suggest
    from xcomctl.model import Selection

_STARTED: Final = time.monotonic()
TIMEOUT_VARIABLE: Final = "XCOMCTL_COMPLETION_TIMEOUT"
"""A duration, for those whose database is far away."""
_TIMEOUT: Final = "0.85s"
"""When to give up, counted from the start of the program."""
_DATABASE_S: Final = 0.4
"""Time that the database gets even if loading its driver took longer than expected."""

_MOMENTS: Final = ("1h", "24h", "7d", "30d")
_FILES: Final = ("FILE", "[FILE]", "FILE...", "PATH", "[PATH]", "DIR", "URL")
"""Metavars of options and arguments that name a file or a directory."""
_COLUMN_BY_NAME: Final[Mapping[str, Column]] = {
    "dag_id": "dag_id",
    "run_id": "run_id",
    "new_run_id": "run_id",
    "task_id": "task_id",
    "key": "key",
    "map_index": "map_index",
}
"""Parameter → the ids that it takes."""
_TAKE_REFERENCES: Final = ("pull", "why")
"""Commands whose DAG may be a whole name, `DAG/RUN/TASK[INDEX]:KEY`."""
_LISTS: Final = ("columns", "by", "rules", "skip_rules")
"""Options that take several values, separated by commas."""


Program = Callable[[str | None], Any]
"""Returns click's group of all commands, of which the one that is named is complete."""


@dataclass(frozen=True, slots=True)
class Line:
    """A command line up to the cursor."""

    command: str
    """Empty where none was typed yet."""
    param: Any
    """The option or argument whose value is being typed, None where it is neither."""
    start: str
    """What stands in front of that value in the same word: `--sort=`, `-d`."""
    incomplete: str
    """What was typed of the value, or of the word."""
    options: tuple[Any, ...] = ()
    """The options that may follow."""
    given: Mapping[str, list[str]] = field(default_factory=dict)
    """The values typed so far, by the name of their parameter."""
    globs: frozenset[str] = frozenset()
    """The parameters whose values may be globs."""

    def first(self, name: str) -> str | None:
        """Return the value given to a parameter that takes one, with variables expanded."""
        values = self.given.get(name)
        return os.path.expandvars(values[-1]) if values else None


def complete(words: Sequence[str], program: Program) -> list[Candidate]:
    """Return what may stand in place of the last word, which is incomplete.

    `words` are the arguments of the program up to the cursor.
    """
    line = parse(words, program)
    if line.param is not None:
        return [
            replace(one, value=line.start + one.value)
            for one in _values(line)
            if one.value.startswith(line.incomplete)
        ]
    found: list[Candidate] = []
    if not line.command:
        found = [Candidate(name, text) for name, text in COMMANDS.items()]
    if line.incomplete.startswith("-") or not found:
        found += [
            Candidate(name, one.help or "")
            for one in line.options
            for name in one.opts
            if name.startswith("--") or line.incomplete == name
        ]
    return [one for one in found if one.value.startswith(line.incomplete)]


# --- reading the line -------------------------------------------------------------------------


def parse(words: Sequence[str], program: Program) -> Line:
    """Return what is being typed by the last of the words."""
    *typed, incomplete = words or [""]
    at = next((index for index, word in enumerate(typed) if not word.startswith("-")), None)
    name = "" if at is None else typed[at]
    group = program(name or None)
    if name and name not in group.commands:
        return Line(name, None, "", incomplete)
    command = group.commands[name] if name else group
    reader = _Reader([one for one in command.params if not getattr(one, "hidden", False)])
    for word in typed if at is None else typed[at + 1 :]:
        reader.read(word)
    return reader.line(ALIASES.get(name, name), incomplete)


class _Reader:
    """Reads the words after a command as the command will."""

    def __init__(self, params: Sequence[Any]) -> None:
        self._arguments = [one for one in params if one.param_type_name == "argument"]
        self._options = [one for one in params if one.param_type_name == "option"]
        self._by_name = {name: one for one in self._options for name in one.opts}
        self._given: dict[str, list[str]] = {}
        self._count = 0
        self._pending: Any = None
        self._only_arguments = False

    def read(self, word: str) -> None:
        """Take a complete word."""
        if self._pending is not None:
            self._give(self._pending, word)
            self._pending = None
        elif self._only_arguments or not word.startswith("-") or word == "-":
            argument = self._argument()
            if argument is not None:
                self._give(argument, word)
            self._count += 1
        elif word == "--":
            self._only_arguments = True
        else:
            option, start = self._option(word)
            if option is not None and len(word) > len(start):
                self._give(option, word[len(start) :])
            elif option is not None and not start.endswith("="):
                self._pending = option

    def line(self, command: str, incomplete: str) -> Line:
        """Return what an incomplete word is."""
        options = () if self._only_arguments else tuple(self._options)
        param, start = self._pending, ""
        if param is None and options and incomplete.startswith("-"):
            param, start = self._option(incomplete)
            if param is not None and start == incomplete and not start.endswith("="):
                # The name is being typed, not the value.
                param, start = None, ""
        elif param is None:
            param = self._argument()
        globs = frozenset(one.name for one in self._options if one.metavar == "GLOB")
        return Line(command, param, start, incomplete[len(start) :], options, self._given, globs)

    def _give(self, param: Any, value: str) -> None:
        self._given.setdefault(param.name, []).append(value)

    def _argument(self) -> Any:
        if self._count < len(self._arguments):
            return self._arguments[self._count]
        last = self._arguments[-1] if self._arguments else None
        return last if last is not None and last.nargs == -1 else None

    def _option(self, word: str) -> tuple[Any, str]:
        """Return the option of a word that takes a value, and the part before the value."""
        if word.startswith("--"):
            name, equals, _ = word.partition("=")
            option = self._by_name.get(name)
            return (None, "") if option is None or option.is_flag else (option, name + equals)
        for index, letter in enumerate(word[1:], 2):
            option = self._by_name.get(f"-{letter}")
            if option is None:
                break
            if not option.is_flag:
                return option, word[:index]
        return None, ""


# --- words ------------------------------------------------------------------------------------


def _values(line: Line) -> Iterable[Candidate]:
    """Return the candidates for the value of a parameter; the caller drops those that do not fit."""
    name: str = line.param.name
    if name in _LISTS:
        return _lists(line)
    if name == "output":
        form, equals, path = line.incomplete.partition("=")
        if equals:
            return (replace(one, value=f"{form}={one.value}") for one in _paths(path))
    if name == "map_dag":
        old, equals, new = line.incomplete.partition("=")
        if equals:
            return [Candidate(f"{old}={one}") for one in _ids(line, "dag_id", new)]
        return [Candidate(f"{one}=", final=False) for one in _ids(line, "dag_id", old)]
    name = {"new_run_id": "run_id"}.get(name, name)
    if name == "dag_id" and line.command in _TAKE_REFERENCES and "/" in line.incomplete:
        with _suggesting(line) as suggest:
            return list(complete_reference(suggest, line.incomplete))
    column = _COLUMN_BY_NAME.get(name)
    if column is not None:
        found = [*_paths(line.incomplete)] if "FILE" in (line.param.metavar or "") else []
        with contextlib.suppress(XcomctlError) if found else contextlib.nullcontext():
            found += [Candidate(one) for one in _ids(line, column, line.incomplete)]
        return found
    if name == "words":
        first = not line.given.get("words")
        return [Candidate(one) for one in _ids(line, "key", line.incomplete)] if first else ()
    words = _closed(line)
    if not words and line.param.metavar in _FILES:
        return _paths(line.incomplete)
    return words


def _lists(line: Line) -> Iterator[Candidate]:
    """Yield the last of several values, behind those that were typed before it."""
    before, comma, _ = line.incomplete.rpartition(",")
    typed = before.split(",")
    for one in _closed(line):
        if one.value not in typed:
            yield replace(one, value=before + comma + one.value, final=False)


def _closed(line: Line) -> list[Candidate]:
    """Return the words of a closed set; none where the value is free."""
    name: str = line.param.name
    shared: Mapping[str, Callable[[Line], Iterable[tuple[str, str]]]] = {
        "profile": _profiles,
        "output": _formats,
        "rules": _rules,
        "skip_rules": _rules,
        "rule": _all_rules,
        "as_": _backends,
        "type_": _types,
        "layout": _layouts,
    }
    choices = getattr(load(line.command), "CHOICES", {}) if line.command else {}
    words = choices.get(name)
    pairs: Iterable[tuple[str, str]]
    # The metavar may say them: `auto|nominal|SIZE`.
    metavar: str = (line.param.metavar or "").strip("[]")
    if "|" in metavar:
        pairs = ((word, "") for word in metavar.split("|") if word.islower())
    elif words is not None:
        pairs = words.items() if isinstance(words, Mapping) else ((word, "") for word in words)
    elif name in shared:
        pairs = shared[name](line)
    elif name in ("since", "until", "older_than"):
        pairs = ((word, "") for word in _MOMENTS)
    else:
        return []
    if name == "sort" and line.incomplete.startswith("-"):
        pairs = ((f"-{word}", text) for word, text in pairs)
    return [Candidate(word, text) for word, text in pairs]


def _formats(line: Line) -> Iterable[tuple[str, str]]:
    group = get_type_hints(load(line.command).command).get("output")
    return ((name, "") for name in getattr(group, "formats", ()))


def _profiles(line: Line) -> Iterable[tuple[str, str]]:
    from xcomctl.config.file import load_config

    return ((name, "") for name in load_config(line.first("config")).profiles)


def _rules(_line: Line) -> Iterable[tuple[str, str]]:
    from xcomctl.audit.rules import RULES

    return ((rule.id, rule.title) for rule in RULES)


def _backends(_line: Line) -> Iterable[tuple[str, str]]:
    from xcomctl.sizes.limits import BACKENDS

    return ((name, "") for name in (*BACKENDS, "mysql:2.8"))


def _types(_line: Line) -> Iterable[tuple[str, str]]:
    from xcomctl.values.typed import TYPES

    return ((name, "") for name in TYPES)


def _layouts(_line: Line) -> Iterable[tuple[str, str]]:
    from xcomctl.demo.build import LAYOUTS

    return ((name, f"Airflow {name}") for name in LAYOUTS)


def _all_rules(_line: Line) -> Iterable[tuple[str, str]]:
    from xcomctl.audit.rules import AIRFLOW3_RULES, RULES

    return ((rule.id, rule.title) for rule in (*RULES, *AIRFLOW3_RULES))


def _paths(start: str) -> Iterator[Candidate]:
    """Yield the files and directories whose path begins so."""
    folder, slash, name = start.rpartition("/")
    where = Path(os.path.expanduser(folder + slash) or ".")  # noqa: PTH111 - also "~name"
    try:
        entries = sorted(os.scandir(where), key=lambda entry: entry.name)
    except OSError:
        return
    for entry in entries:
        if entry.name.startswith(name) and (name or not entry.name.startswith(".")):
            directory = entry.is_dir()
            end = "/" if directory else ""
            yield Candidate(f"{folder}{slash}{entry.name}{end}", final=not directory)


# --- ids --------------------------------------------------------------------------------------


def _ids(line: Line, column: Column, start: str) -> list[str]:
    """Return the ids that begin so, those that fit what was typed before."""
    names = ["latest"] if column == "run_id" and "latest".startswith(start) else []
    with _suggesting(line) as suggest:
        return names + suggest.ids(column, start, _selection(line, column))


@contextlib.contextmanager
def _suggesting(line: Line) -> Iterator[Suggest]:
    """Open the database that the command will use, for as long as there is time."""
    # Most of the libraries' load time comes before the time of the database is counted.
    import xcomctl.db.read.store  # noqa: F401
    from xcomctl.config.target import parse_duration
    from xcomctl.db import open_store

    target = _target(line)
    answer_s = parse_duration(os.environ.get(TIMEOUT_VARIABLE, _TIMEOUT)).total_seconds()
    left_s = max(_STARTED + answer_s - time.monotonic(), _DATABASE_S)
    _exit_after(left_s)
    quick = replace(target, timeout_s=left_s, connect_timeout_s=left_s)
    with open_store(quick) as store:
        yield store.suggest


def _target(line: Line) -> Target:
    """Return the database that the command will use."""
    from xcomctl.config.file import load_config
    from xcomctl.config.target import resolve_target

    return resolve_target(
        url=line.first("url"),
        profile=line.first("profile"),
        airflow_home=line.first("airflow_home"),
        schema=line.first("schema"),
        config=load_config(line.first("config")),
        # It may ask for a password, and a tab is pressed often.
        run_commands=False,
    )


def _selection(line: Line, column: str) -> Selection:
    """Return the filters that were typed, but for the one that is being completed."""
    from xcomctl.model import Selection, exactly

    given = {
        name: tuple(values if name in line.globs else map(exactly, values))
        for name, values in line.given.items()
        if name != column
    }
    return Selection(
        dag_ids=given.get("dag_id", ()),
        run_ids=given.get("run_id", ()),
        task_ids=given.get("task_id", ()),
        keys=given.get("key", ()),
    )


def _exit_after(seconds: float) -> None:
    """End the process after a while, also where a driver or the network is being waited for."""
    import threading

    def wait() -> None:
        time.sleep(seconds)
        os._exit(0)

    threading.Thread(target=wait, daemon=True).start()


def _can_be_typed(text: str) -> bool:
    """Return whether a name is UTF-8 and holds no NUL, which no argument can."""
    try:
        return b"\0" not in text.encode()
    except UnicodeEncodeError:
        return False


# --- the shell's question ---------------------------------------------------------------------


def answer(shell: str, arguments: Sequence[str], program: Program) -> int:
    """Print the candidates for a shell, nothing where there are none, and return the exit code."""
    try:
        # What a library prints would stand in the middle of the command line.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        asked = SHELLS[shell].read(arguments)
        found = complete(asked.words, program)
        text = SHELLS[shell].write(asked, [one for one in found if _can_be_typed(one.value)])
        sys.stdout.buffer.write(text.encode())
        sys.stdout.flush()
    except BaseException:  # noqa: BLE001 - whatever it is, the user has not asked for it yet
        return 0
    return 0
