"""One run of the program: its arguments, environment, descriptors and limits."""

from __future__ import annotations

import functools
import inspect
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, get_args

from tests.fuzz import inputs
from xcomctl.cli.commands import ALIASES, COMMANDS

if TYPE_CHECKING:
    import random


SNAPSHOTS = ("all.gz", "odd.gz", "part-1.gz")
"""Files of a world that are snapshots, or were."""


@dataclass(frozen=True)
class RunInput:
    """What a run is given."""

    arguments: list[str]
    environment: dict[str, str] = field(default_factory=dict)
    unset: tuple[str, ...] = ()
    descriptors: tuple[str, str, str] = ("null", "null", "seen")
    limits: tuple[tuple[str, int], ...] = ()
    place: str = "world"


def random_run(rng: random.Random) -> RunInput:
    """Return a random run: most are odd in one or two ways only."""
    descriptors = ["null", rng.choice(("null", "file", "terminal")), "seen"]
    if rng.random() < 0.25:
        descriptors[0] = rng.choice(
            ("closed", "text", "text", "broken", "directory", "terminal", "full")
        )
    if rng.random() < 0.25:
        descriptors[1] = rng.choice(("closed", "full", "broken", "readonly", "directory", "socket"))
    if rng.random() < 0.05:
        descriptors[2] = rng.choice(("closed", "full", "broken", "readonly", "terminal"))
    limits: tuple[tuple[str, int], ...] = ()
    if rng.random() < 0.08:
        limits = (
            rng.choice(
                (
                    ("RLIMIT_FSIZE", rng.choice((0, 100, 5000))),
                    ("RLIMIT_NOFILE", rng.choice((12, 30))),
                )
            ),
        )
    place = rng.choice(("gone", "/sys", "/proc")) if rng.random() < 0.08 else "world"
    environment, unset = _environment(rng) if rng.random() < 0.3 else ({}, ())
    return RunInput(
        _arguments(rng),
        environment,
        unset,
        (descriptors[0], descriptors[1], descriptors[2]),
        limits,
        place,
    )


def _environment(rng: random.Random) -> tuple[dict[str, str], tuple[str, ...]]:
    pools: dict[str, tuple[str, ...]] = {
        "XCOMCTL_URL": inputs.URLS, "XCOMCTL_PROFILE": ("a", "b", ""), "XCOMCTL_CONFIG": inputs.READ_PATHS,
        "AIRFLOW_HOME": inputs.READ_PATHS, "AIRFLOW_CONFIG": inputs.READ_PATHS, "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": inputs.URLS,
        "AIRFLOW__CORE__SQL_ALCHEMY_CONN": inputs.URLS, "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_CMD": ("echo a.db", "false", "", "'"),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_SECRET": ("x",), "AIRFLOW__DATABASE__SQL_ALCHEMY_SCHEMA": ("", "main", "x"),
        "B_URL": inputs.URLS, "PGPASSWORD": ("x",), "PGSERVICEFILE": inputs.READ_PATHS, "PGSSLMODE": ("x",), "PGCONNECT_TIMEOUT": ("x",),
        "HOME": inputs.PATHS, "TMPDIR": inputs.PATHS, "XDG_CONFIG_HOME": inputs.PATHS, "TZ": ("x", "UTC", "Asia/Kathmandu", ":"),
        "COLUMNS": inputs.NUMBERS, "LINES": inputs.NUMBERS, "TERM": ("dumb", "xterm", "", "x"), "NO_COLOR": ("1",), "FORCE_COLOR": ("1",),
        "LC_ALL": ("C", "x", "C.UTF-8", "de_DE.ISO-8859-1"), "PYTHONIOENCODING": ("ascii", "latin-1", "utf-8:strict"),
        "PYTHONUTF8": ("0", "1"), "PYTHONWARNINGS": ("error",), "PYTHONOPTIMIZE": ("2",), "TERMINAL_WIDTH": ("x", "1"),
        "_XCOMCTL_COMPLETE": ("complete_bash", "complete_zsh", "complete_fish", "source_bash", "x", ""), "COMP_WORDS": ("xcomctl list -d", "'"),
        "COMP_CWORD": inputs.NUMBERS, "_TYPER_COMPLETE_ARGS": ("xcomctl pull ", "xcomctl 'x"), "PAGER": ("x",),
    }  # fmt: skip
    chosen = rng.sample(list(pools), rng.randrange(1, 5))
    # Python itself refuses to start with some values of its own.
    given = {
        name: rng.choice(pools[name])
        if name.startswith("PYTHON")
        else inputs.pick(rng, pools[name])
        for name in chosen
    }
    # The system takes no more.
    given = {name: text[:20_000] for name, text in given.items() if _can_be_passed(text)}
    unset = tuple(name for name in ("HOME", "PATH", "TERM") if rng.random() < 0.1)
    return given, unset


def _can_be_passed(text: str) -> bool:
    return "\ud800" not in text and "\0" not in text


@functools.cache
def _parameters(command: str) -> tuple[list[tuple[str, ...]], int]:
    """Return the options of a command, each with its type and names, and the number of arguments."""
    from xcomctl.cli.commands import load
    from xcomctl.cli.spread import spread

    options, arguments = [], 0
    for parameter in inspect.signature(spread(load(command).command)).parameters.values():
        kind, info = get_args(parameter.annotation)
        if type(info).__name__ == "ArgumentInfo":
            arguments += 1
        else:
            # typer takes the first name for the default, which an annotation does not have.
            given: list[Any] = [info.default, *(info.param_decls or ())]
            names = [one for one in given if isinstance(one, str) and one.startswith("-")]
            options.append((str(kind), *names))
    return options, arguments


def _arguments(rng: random.Random) -> list[str]:
    if rng.random() < 0.04:
        return [inputs.pick(rng, ("--help", "-h", "--version", "-V", "--show-completion", "--install-completion", "bash")) for _ in range(rng.randrange(3))]  # fmt: skip
    command = (
        rng.choice((*COMMANDS, *ALIASES)) if rng.random() < 0.99 else rng.choice(inputs.HOSTILE)
    )
    if command not in {*COMMANDS, *ALIASES}:
        return [command]
    options, arguments = _parameters(command)
    words = [command]
    takes_url = any("--url" in names for _, *names in options)
    if rng.random() < 0.9 and takes_url and command != "config":
        words += ["--url", "a.db" if rng.random() < 0.85 else inputs.pick(rng, inputs.URLS)]
    number = arguments if rng.random() < 0.95 else rng.randrange(4)
    words += [_argument(rng, command, at) for at in range(number)]
    others = [option for option in options if option[1] != "--url"]
    for kind, *names in rng.sample(others, min(len(others), rng.choice((0, 1, 1, 2, 3, 6)))):
        words.append(rng.choice(names))
        if "bool" not in kind:
            words.append(_option_value(rng, names[0]))
    if rng.random() < 0.3 and command in ("push", "delete", "import"):
        words += ["--yes"]
    if rng.random() < 0.1:
        words.insert(
            rng.randrange(1, len(words) + 1), rng.choice(("--help", "--", "-v", "-q", "-x"))
        )
    return [word for word in words if _can_be_passed(word)]


def _argument(rng: random.Random, command: str, at: int) -> str:
    if command == "import":
        return inputs.pick(
            rng, ("export.jsonl", "export.csv", "undo.jsonl", "-"), inputs.READ_PATHS
        )
    if command in ("push", "add", "edit") and at == 2:
        return inputs.pick(rng, inputs.JSON[:15])
    if command in ("snapshot", "report"):
        return inputs.pick(rng, ("out", "-"), inputs.PATHS)
    if command == "merge" or (command == "diff" and rng.random() < 0.5):
        return inputs.pick(rng, SNAPSHOTS, inputs.READ_PATHS)
    if command == "config":
        return inputs.pick(rng, ("check", "show", "init", "schema"))
    if command == "demo":
        return inputs.pick(rng, ("demo.db", "out", "dir", "loop", "a.db"))
    good = ("dag", "task", "return_value")
    return (
        good[at]
        if at < 3 and rng.random() < 0.7
        else inputs.pick(rng, good, ("dag/run_1/task:return_value",))
    )


_GOOD = {
    "--from": SNAPSHOTS, "--compare": SNAPSHOTS, "--part": ("1/1", "1/2", "2/2"),
    "--timeout": ("5s", "0"), "--connect-timeout": ("2s",), "--schema": ("main",), "--lock-timeout": ("1s",), "--since": ("7d", "2026-01-01"),
    "--until": ("2026-12-31",), "--older-than": ("1d",), "--pause": ("0",), "--min-size": ("0", "1"), "--max-size": ("1MB",),
    "--size-limit": ("auto", "nominal", "1", "48KiB"), "--warn-at": ("80%", "1"), "--columns": ("dag_id", "dag_id,key"), "--limit": ("0", "1", "5"),
    "--rules": ("xcom-over-limit", "xcom-pickled,xcom-secret"), "--skip-rules": ("xcom-secret",), "--map-index": ("-1", "0", "3"),
    "--batch-size": ("1", "2", "1000"), "--keep-last": ("0", "1"), "--days": ("1",), "--seed": ("1",), "--baseline": ("base.json", "new.json"),
    "--undo-file": ("undo1", "undo2"), "--file": ("out",), "--sql": ("out.sql",), "--default": ("1", "{}"), "--path": ("a", "[0]"),
    "--fail-on": ("error", "warning", "note", "never"), "--measure": ("size", "text"), "--as": ("mysql:2.8", "sqlite", "postgresql"),
    "--by": ("dag_id", "day,key", "run_id"), "--to": ("3.0.0", "3.3.2"), "--color": ("always", "never", "auto"), "--type": ("tuple", "set", "datetime"),
    "--map-dag": ("dag=other",), "--layout": ("3.x", "2.10", "1.10"), "--run-id": ("run_1", "latest"), "--dag-id": ("dag", "*"),
    "--task-id": ("task", "t*"), "--key": ("return_value", "*"), "--profile": ("a",), "--config": ("x.toml",), "--airflow-home": (".",),
}  # fmt: skip
"""Values that are valid."""
_POOLS = {
    "--from": (*SNAPSHOTS, *inputs.READ_PATHS), "--compare": (*SNAPSHOTS, *inputs.READ_PATHS), "--part": ("0/1", "3/2", "1/99999", "x", "/"),
    "--url": inputs.URLS, "--profile": ("a", "b"), "--config": inputs.READ_PATHS, "--airflow-home": inputs.READ_PATHS, "--schema": ("main", "x", "temp"),
    "--timeout": inputs.TIMES, "--connect-timeout": inputs.TIMES, "--lock-timeout": ("1s", "0.1s", "0", "x"), "--since": inputs.TIMES,
    "--until": inputs.TIMES, "--older-than": inputs.TIMES, "--pause": ("0", "0.01s", "x"), "--min-size": inputs.SIZES, "--max-size": inputs.SIZES,
    "--size-limit": inputs.SIZES, "--warn-at": inputs.SHARES, "--columns": inputs.COLUMNS, "--rules": inputs.RULES, "--skip-rules": inputs.RULES,
    "--limit": inputs.NUMBERS, "--map-index": inputs.NUMBERS, "--batch-size": inputs.NUMBERS, "--keep-last": inputs.NUMBERS,
    "--days": ("1", "2", "0", "x"), "--seed": inputs.NUMBERS, "--baseline": ("base.json", "x.toml", "none"), "--undo-file": inputs.PATHS,
    "--file": inputs.PATHS, "--sql": inputs.PATHS, "--default": inputs.JSON, "--path": ("a.b[0]", "[0]", '["x"].y', "..", "[", "a" * 500, "[9999999999999999999]"),
    "--color": ("always", "never", "auto", "x"), "--map-dag": ("dag=other", "x", "=", "a=b=c"),
    "--after": ("WzEsInQiLC0xLCJrIl0", "W10", "e30", "WzFd", "W1tdLFtdXQ"), "--layout": ("3.x", "2.10", "1.10"),
}  # fmt: skip


def _option_value(rng: random.Random, name: str) -> str:
    if name in _GOOD and rng.random() < 0.6:
        return rng.choice(_GOOD[name])
    if name == "--sort":
        return inputs.pick(rng, ("size", "-size", "run", "-run", "bytes", "growth", "timestamp"))
    if name == "--output":
        form = inputs.pick(rng, inputs.FORMATS, ("table", "json", "csv", "jsonl"))
        return f"{form}={inputs.pick(rng, inputs.PATHS)}" if rng.random() < 0.6 else form
    return inputs.pick(
        rng, _POOLS.get(name, (*inputs.WORDS, "dag", "task", "return_value", "run_1"))
    )
