"""What people see at terminals of every width, in files that a reviewer can look at.

`XCOMCTL_UPDATE_GOLDEN=1` writes them anew; look at every one before you commit it.
"""

from __future__ import annotations

import os
import re
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests import fixture_databases
from tests.conftest import clean_environment
from tests.fixture_databases import Fixture
from tests.program import at_terminal
from xcomctl.formats.width import cell_width

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.conftest import Run

GOLDEN = Path(__file__).parent / "golden" / "terminal"
WIDTHS = (40, 60, 80, 100, 120, 160)

ON_DEMO = (
    ("list", "-n", "5"),
    ("list", "-d", "xcom_dag", "--value", "-n", "3"),
    ("top", "-n", "4"),
    ("top", "--by", "dag_id", "--forecast"),
    ("audit",),
    ("audit", "--as", "mysql:2.8"),
    ("audit", "--as", "mysql:2.8", "--per-entry", "-q", "--min-size", "90KiB"),
    ("limits",),
    ("info",),
    ("preflight",),
    ("delete", "--keep-last", "80"),
    ("config", "show"),
)
ON_FIXTURE = (
    ("list", "-n", "4", "-k", "K*", "-k", "side", "-k", ""),
    ("top", "-n", "4"),
    ("audit", "--deep", "--as", "mysql:2.8"),
    ("preflight",),
    ("delete",),
)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


def environment(home: Path) -> dict[str, str]:
    return clean_environment(home) | {"NO_COLOR": "1", "TERM": "xterm-256color"}


def session(home: Path, width: int, commands: Sequence[Sequence[str]], url: str) -> str:
    """Return what a terminal shows of the commands, without what differs from day to day."""
    shown = at_terminal(
        *((*command, "--url", url) for command in commands),
        width=width, env=environment(home), cwd=home,
    )  # fmt: skip
    shown = re.sub(r"took \d+\.\d s", "took 0.0 s", shown)
    return shown.replace(sqlite3.sqlite_version, "3.40.1")


def check(name: str, shown: str, width: int) -> None:
    """Compare with the golden file; no line is wider than the terminal but a long word."""
    path = GOLDEN / name
    if os.environ.get("XCOMCTL_UPDATE_GOLDEN"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(shown, encoding="utf-8")
    for line in shown.splitlines():
        assert cell_width(line) <= width or line.startswith("$ "), line
    assert shown == path.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def demo(home: Path) -> str:
    """The demo database."""
    build = ("demo", "demo.db", "--no-tour", "--last-day", "2026-03-31")
    at_terminal(build, width=80, env=environment(home), cwd=home)
    return "demo.db"


@pytest.mark.parametrize("width", WIDTHS)
def test_the_demo_at_a_terminal(home: Path, demo: str, width: int) -> None:
    """As it was."""
    check(f"demo-{width}.txt", session(home, width, ON_DEMO, demo), width)


@fixture_databases.needed
@pytest.mark.parametrize("width", WIDTHS)
def test_a_real_database_with_a_key_of_512_characters(home: Path, width: int) -> None:
    """A row is one line all the same."""
    path = Path(Fixture("2.10.5", "sqlite").load(home, None))
    check(f"airflow-2.10.5-{width}.txt", session(home, width, ON_FIXTURE, path.name), width)


@fixture_databases.needed
@pytest.mark.parametrize("command", ["list", "top", "audit", "preflight", "delete"])
def test_a_long_key_widens_no_pipe(home: Path, run: Run, command: str) -> None:
    """A table is capped off a terminal, too; machine formats are not."""
    path = Fixture("2.10.5", "sqlite").load(home, None)
    done = run(command, "--url", path)
    assert max(map(len, done.out.splitlines())) < 250
    if command in ("list", "top"):
        assert "K" * 512 in run(command, "--url", path, "-n", "0", "-o", "csv").out


def test_notes_wrap_at_a_terminal_though_stdout_is_not_one(home: Path, demo: str) -> None:
    """At words, and what is redirected is not cut."""
    shown = at_terminal(
        ("list", "--url", demo, "-n", "3"),
        width=50, env=environment(home), cwd=home, stdout=home / "out",
    )  # fmt: skip
    assert len(shown.splitlines()) > 2
    assert all(len(line) <= 50 for line in shown.splitlines())
    assert shown.replace("\n  ", " ").startswith("xcomctl: note: showing 3 entries, and more")
    assert "processing_tasks.training_model_c" in (home / "out").read_text()


def test_labels_and_verdicts_have_colours_at_a_terminal(home: Path, demo: str) -> None:
    """Unless NO_COLOR or --color says otherwise; the words are the same."""
    env = environment(home)
    audit = ("audit", "--url", demo, "--as", "mysql:2.8")
    plain = at_terminal(audit, width=80, env=env, cwd=home)
    never = at_terminal((*audit, "--color", "never"), width=80, env=env, cwd=home)
    del env["NO_COLOR"]
    colored = at_terminal(audit, width=80, env=env, cwd=home)
    assert "\x1b[1;31mfailed\x1b[0m: 1 error" in colored
    assert re.sub(r"\x1b\[[\d;]*m", "", colored) == plain == never
    listed = at_terminal(("list", "--url", demo, "-n", "1"), width=80, env=env, cwd=home)
    assert "xcomctl: \x1b[1mnote\x1b[0m: showing 1 entry" in listed
    mistake = at_terminal(("list", "--sort", "sze"), width=80, env=env, cwd=home)
    assert mistake.startswith("xcomctl: \x1b[1;31merror\x1b[0m: cannot sort by")
