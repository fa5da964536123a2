"""The help: groups, examples that run, options in order, and a width that can be read."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

import pytest

from xcomctl.cli.commands import ALIASES, COMMANDS, GROUPS, TRY_FIRST

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.conftest import Run

HEADINGS = ["Usage", "Examples", "Arguments", "Options", "Filters", "Output", "Connection"]
DEMO = "xcomctl-demo.db"
FIRST, LAST = ("demo",), ("import",)
"""Commands whose examples create what the others need, and need what the others write."""


def help_of(run: Run, *words: str, env: Mapping[str, str] | None = None) -> str:
    """Return the help of a command."""
    done = run(*words, "--help", env=env)
    assert done.code == 0, done.err
    assert not done.stderr
    return done.out


def headings_of(text: str) -> list[str]:
    """Return the headings of a help."""
    return re.findall(r"^([A-Z][a-z ]+):", text, re.MULTILINE)


def examples_of(text: str) -> list[str]:
    """Return the command lines below the heading Examples."""
    block = text.split("Examples:\n")[1].split("\n\nArguments:")[0].split("\n\nOptions:")[0]
    block = block.replace(" \\\n     ", "")
    return [line.strip() for line in block.splitlines() if line.startswith("  xcomctl ")]


def test_the_program_lists_commands_in_groups_and_what_to_try_first(run: Run) -> None:
    """The help of the program has every command once, below its group's heading."""
    text = help_of(run)
    assert headings_of(text) == ["Usage", *GROUPS, "Options", "Try first"]
    for heading, group in GROUPS.items():
        block = text.split(f"\n{heading}:\n")[1].split("\n\n")[0]
        assert re.findall(r"^  (\S+)", block, re.MULTILINE) == list(group)
    assert len(TRY_FIRST) == 3
    assert all(command in text for command in TRY_FIRST)
    assert not any(f"\n  {alias} " in text for alias in ALIASES)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_shows_examples_then_its_own_options_then_shared_ones(
    run: Run, command: str
) -> None:
    """One sentence, usage, two to four examples, and the groups of options in order."""
    text = help_of(run, command)
    assert text.splitlines()[0] == COMMANDS[command]
    headings = headings_of(text)
    assert headings == [one for one in HEADINGS if one in headings]
    assert {"Usage", "Examples", "Options"} <= set(headings)
    examples = examples_of(text)
    assert 2 <= len(examples) <= 4
    assert all(shlex.split(one)[:2] == ["xcomctl", command] for one in examples)


@pytest.mark.parametrize(
    ("columns", "most"), [(40, 40), (60, 60), (80, 80), (100, 100), (160, 100)]
)
def test_lines_fit_the_terminal_and_stay_readable(run: Run, columns: int, most: int) -> None:
    """Text uses the width of the terminal, up to 100 columns, and long examples are continued."""
    env = {"COLUMNS": str(columns)}
    assert max(map(len, run("help", env=env).out.splitlines())) <= most
    for words in ((), ("list",), ("audit",), ("push",), ("diff",)):
        widths = list(map(len, help_of(run, *words, env=env).splitlines()))
        assert max(widths) <= most
        assert max(widths) > most - 15 or not words


@pytest.mark.parametrize("command", COMMANDS)
def test_only_formats_that_a_command_has_are_offered(run: Run, command: str) -> None:
    """Formats for findings are offered where there are findings, and every format named works."""
    text = " ".join(help_of(run, command).split())
    for name in ("sarif", "junit", "gitlab", "openmetrics"):
        assert (f" {name}" in text) == (command in ("audit", "preflight"))
    assert (" ncdu" in text) == (command == "top")


def test_every_example_runs_on_the_demo(run: Run) -> None:
    """Examples, and what to try first, run as printed after `xcomctl demo`."""
    order = sorted(COMMANDS, key=lambda command: (command in LAST, command not in FIRST))
    examples = [*TRY_FIRST, *(line for one in order for line in examples_of(help_of(run, one)))]
    assert len(examples) > 2 * len(COMMANDS)
    run("demo", "--no-tour")
    for name in ("old", "new"):
        # Exports of two days, which an example compares.
        run("export", "--url", DEMO, "-o", f"jsonl={name}.jsonl")
        run("snapshot", "--url", DEMO, f"{name}.json.gz")
    parts = [line for line in examples if line.startswith("xcomctl merge part")]
    for line in examples:
        if line in parts:
            for at in "12":
                run("snapshot", "--url", DEMO, f"part-{at}.json.gz", "--part", f"{at}/2")
        if line.startswith("xcomctl diff old.jsonl"):
            for name, which in (("old", "latest~1"), ("new", "latest")):
                written = run("export", "--url", DEMO, "-r", which, "-o", f"jsonl={name}.jsonl")
                assert written.code == 0, written.err
        # What follows new XComs would never end.
        ends = ["-n", "1"] if "--follow" in line else []
        done = run(*shlex.split(line)[1:], *ends, env={"XCOMCTL_URL": DEMO})
        # MySQL before Airflow 2.9 would have refused the demo's longest lists, which grow every day.
        gates = line == "xcomctl audit --as mysql:2.8" or "--exit-code" in line
        assert done.code == (1 if gates else 0), (line, done.err)
        assert "xcomctl: error:" not in done.err, (line, done.err)
