"""README and the reference: every block runs, nothing generated is stale, no link is dead."""

from __future__ import annotations

import html
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from tests import picture, reference
from xcomctl.cli.commands import COMMANDS
from xcomctl.cli.topics import DOCS, TOPICS

if TYPE_CHECKING:
    from tests.conftest import Run
    from tests.servers import Server

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = {path.name: path.read_text(encoding="utf-8") for path in DOCS.glob("*.md")}
GATE = 1
"""Exit code of a command that finds what it looks for."""


def blocks(text: str, language: str) -> list[str]:
    """Return the fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def test_every_command_of_readme_runs_on_the_demo(run: Run) -> None:
    """In order, as a reader would type them; a gate may trip, and nothing else fails."""
    assert run("demo", "--no-tour").code == 0
    lines = [line for block in blocks(README, "console") for line in block.splitlines()]
    assert len(lines) > 15
    for line in lines:
        program, *arguments = shlex.split(line.removeprefix("$ "))
        assert program == "xcomctl"
        done = run(*arguments, env={"XCOMCTL_URL": "xcomctl-demo.db"})
        assert done.code in (0, GATE), f"{line}\n{done.err}"
        gates = arguments[0] in ("audit", "preflight")
        assert gates or done.code == 0, f"{line}\n{done.err}"
        assert done.out or done.err, line


@pytest.mark.parametrize("library", ["duckdb", "pandas"])
def test_python_of_readme_reads_an_export(run: Run, tmp_path: Path, library: str) -> None:
    """DuckDB and pandas read the file that the recipe exports."""
    (code,) = (one for one in blocks(README, "python") if library in one)
    run("demo", "--no-tour", "--days", "3")
    assert run("export", "--url", "xcomctl-demo.db", "-o", "jsonl=xcoms.jsonl").code == 0
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", ["README.md", *sorted(PAGES)])
def test_configuration_works_as_pasted(run: Run, tmp_path: Path, page: str) -> None:
    """Each TOML block is a valid configuration file."""
    for block in blocks(README if page == "README.md" else PAGES[page], "toml"):
        (tmp_path / "xcomctl.toml").write_text(block, encoding="utf-8")
        done = run("config", "check", env={"PROD_AIRFLOW_URL": "sqlite:///a.db"})
        assert done.code == 0, done.err


def test_yaml_and_shell_blocks_parse() -> None:
    """They are valid; what they run is tested where it is defined."""
    for block in blocks(README, "yaml"):
        assert yaml.safe_load(block)
    for block in blocks(README, "sh"):
        subprocess.run(["bash", "-n"], input=block.encode(), check=True)


def test_grants_are_valid_sql(postgres: Server) -> None:
    """PostgreSQL takes the statement that gives a role what reading needs."""
    database = postgres.create_database().rsplit("/", 1)[1]
    for table in ("xcom", "dag_run", "task_instance", "dag", "alembic_version"):
        postgres.execute(f"CREATE TABLE {table} (id int)", database)
    postgres.execute("CREATE ROLE xcomctl_reader", database)
    try:
        for block in {*blocks(README, "sql"), *blocks(PAGES["security.md"], "sql")}:
            postgres.execute(block, database)
        (row,) = postgres.execute(
            "SELECT has_table_privilege('xcomctl_reader', 'xcom', 'SELECT'),"
            " has_table_privilege('xcomctl_reader', 'xcom', 'DELETE')",
            database,
        )
        assert tuple(row) == (True, False)
    finally:
        postgres.execute("DROP OWNED BY xcomctl_reader", database)
        postgres.execute("DROP ROLE xcomctl_reader", database)


def test_readme_is_short() -> None:
    """What is longer belongs into the reference."""
    assert len(README.split()) < 2_500


@pytest.mark.parametrize("page", ["README.md", *(f"xcomctl/docs/{one}" for one in sorted(PAGES))])
def test_links_lead_somewhere(page: str) -> None:
    """Files that a page links to exist."""
    path = ROOT / page
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", path.read_text(encoding="utf-8")):
        assert (path.parent / target).exists(), target


@pytest.mark.parametrize("file", reference.GENERATED)
def test_generated_pages_are_up_to_date(file: str) -> None:
    """`python -m tests.reference` writes them anew."""
    assert PAGES[file] == reference.GENERATED[file]()


def test_the_picture_shows_what_a_run_prints() -> None:
    """`python -m tests.picture` draws it anew."""
    cells = re.findall(r"<text[^>]*>([^<]*)</text>", picture.PICTURE.read_text("utf-8"))
    drawn = html.unescape("".join(cells)).replace("\xa0", " ")
    printed = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", picture.recorded())
    assert "".join(drawn.split()) == "xcomctl" + "".join(printed.split())


def test_the_picture_loads_nothing_from_elsewhere() -> None:
    """No font, no script, no address but the names of XML."""
    text = picture.PICTURE.read_text(encoding="utf-8")
    assert set(re.findall(r"https?://[^\"' )]+", text)) <= {"http://www.w3.org/2000/svg"}


def words(text: str) -> set[str]:
    """Return the words of a page, without the targets of its links and the languages of its code."""
    return set(re.findall(r"\w+", re.sub(r"\]\([^)]+\)|^```\w*$", "", text, flags=re.MULTILINE)))


def test_help_lists_topics_and_shows_each(run: Run) -> None:
    """Every page is a topic, and every topic a page."""
    assert {f"{topic}.md" for topic in TOPICS} == PAGES.keys()
    listed = run("help")
    assert listed.code == 0
    for topic in TOPICS:
        assert f"  {topic}  " in listed.out + "  "
        shown = run("help", topic)
        assert (shown.code, shown.err) == (0, "")
        if topic != "commands":
            assert words(shown.out) == words(PAGES[f"{topic}.md"])
    every = run("help", "commands").out
    assert all(f"\nUsage: xcomctl {name} " in every for name in COMMANDS)
    assert "Usage: xcomctl list" in run("help", "list").out
    wrong = run("help", "exit-code")
    assert (wrong.code, 'Did you mean "exit-codes"' in wrong.err) == (2, True)
