"""`xcomctl why` as a command: its formats, exit codes and the commands that it suggests."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa
import yaml

from tests.staged import Staged

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Run
    from tests.servers import Server


@pytest.fixture
def staged(tmp_path: Path) -> Staged:
    """A DAG whose newest run has an XCom less than the run before."""
    staged = Staged(str(tmp_path / "airflow.db"), release="2.10")
    staged.has_run("run_0", day=-1)
    staged.pushed(run_id="run_0")
    staged.has_task("success", run_id="run_0", day=-1)
    staged.has_run("run_1", "failed")
    staged.has_task("failed")
    staged.has_task("success", "extract")
    staged.pushed(task_id="extract")
    return staged


def test_answer_for_people(staged: Staged, run: Run) -> None:
    """One sentence, what supports it, and what to run next."""
    done = run("why", "etl", "load", "--url", "airflow.db")
    assert done.code == 0
    assert done.err == ""
    assert done.out == (
        'Task "load" failed before it pushed "return_value".\n'
        "\n"
        '  - DAG "etl": exists\n'
        '  - run "run_1", the newest: failed, logical date 2026-01-31T07:08:09Z,'
        " started 2026-01-31T07:08:09Z, ended 2026-01-31T08:08:09Z\n"
        "  - task instance: failed, try 1, started 2026-01-31T07:08:09Z,"
        " ended 2026-01-31T07:08:09Z\n"
        '  - XCom "return_value": no row in this run\n'
        '  - keys that the task pushed in other runs: "return_value"\n'
        '  - newest run that has "return_value": "run_0"\n'
        "\n"
        "  $ airflow tasks states-for-dag-run etl run_1\n"
        "  $ xcomctl pull etl load return_value -r run_0 --url airflow.db\n"
    )


def test_json_is_the_contract(staged: Staged, run: Run) -> None:
    """The document has no rows: the answer's fields are its own."""
    document = run("why", "etl", "load", "--url", staged.url, "-o", "json").json()
    assert list(document)[:5] == ["schema", "verdict", "cause", "evidence", "commands"]
    assert document["schema"] == "xcomctl.why/1"
    assert document["cause"] == "failed"
    assert document["run_id"] == "run_1"
    assert all(isinstance(one, str) for one in document["evidence"] + document["commands"])


def test_other_formats(staged: Staged, run: Run) -> None:
    """A line per question in machine formats; Markdown reads well in a comment."""
    asked = ("why", "etl", "load", "-r", "latest~1", "--url", staged.url, "-o")
    row = json.loads(run(*asked, "jsonl").out)
    assert row["cause"] == "exists"
    assert yaml.safe_load(run(*asked, "yaml").out)["verdict"] == row["verdict"]
    assert run(*asked, "csv", "--columns", "cause,run_id").out == "cause,run_id\nexists,run_0\n"
    title, *rest = run(*asked, "markdown").out.split("\n\n")
    assert title == '**"etl/run_0/load:return_value" exists and can be pulled.**'
    assert rest[0].startswith('- DAG "etl"\\: exists\n- run')
    assert rest[1].startswith("```sh\nxcomctl pull etl load")


@pytest.mark.parametrize(
    "asked",
    [
        ("etl", "load"),
        ("etl", "load", "-r", "run_0"),
        ("elt", "load"),
        ("etl", "laod"),
        ("etl", "load", "-r", "run_11"),
        ("etl", "load", "-m", "4"),
        ("etl", "extract", "rows"),
    ],
)
def test_suggested_commands_run(staged: Staged, run: Run, asked: tuple[str, ...]) -> None:
    """With the options that named the database."""
    document = run("why", *asked, "--url", staged.url, "-o", "json").json()
    commands = [one for one in map(shlex.split, document["commands"]) if one[0] == "xcomctl"]
    assert commands
    for program, *arguments in commands:
        assert program == "xcomctl"
        done = run(*arguments)
        assert done.code == 0, (arguments, done.err)


def test_printed_name_is_taken(staged: Staged, run: Run) -> None:
    """As notes and findings print it."""
    document = run("why", "etl/run_0/load:return_value", "--url", staged.url, "-o", "json").json()
    assert (document["cause"], document["run_id"]) == ("exists", "run_0")
    document = run("why", "etl/latest/load", "--url", staged.url, "-o", "json").json()
    assert (document["cause"], document["run_id"]) == ("failed", "run_1")
    assert run("why", "etl", "--url", staged.url).code == 2


def test_nothing_known_is_exit_code_4(staged: Staged, run: Run) -> None:
    """And says which tables are missing."""
    staged.execute("DROP TABLE task_instance")
    done = run("why", "etl", "load", "--url", staged.url)
    assert done.code == 4
    assert done.out == ""
    assert 'nothing is known about "etl/load:return_value"' in done.err
    assert "task_instance cannot be read" in done.err


def test_password_is_not_repeated(run: Run, postgres: Server) -> None:
    """A URL with a password stays out of the commands, which then need it from elsewhere."""
    url = postgres.create_database()
    staged = Staged(url, release="2.10")
    staged.has_run()
    staged.has_task("success")
    staged.pushed()
    assert sa.make_url(url).password
    commands = run("why", "etl", "load", "--url", url, "-o", "json").json()["commands"]
    assert commands == ["xcomctl pull etl load return_value -r run_1"]


def test_ids_are_inert(tmp_path: Path, run: Run) -> None:
    """Escape sequences of a name are shown, not obeyed."""
    staged = Staged(str(tmp_path / "airflow.db"), release="2.10")
    staged.has_run("run\x1b[31m")
    staged.has_task("failed", run_id="run\x1b[31m")
    done = run("why", "etl", "load", "\x1b]0;x\x07", "--url", staged.url)
    assert done.code == 0
    assert "\x1b" not in done.out
    assert "\\x1b]0;x\\x07" in done.out


def test_help_has_examples(run: Run) -> None:
    """And the list of commands has it."""
    done = run("why", "--help")
    assert done.code == 0
    assert "xcomctl why" in done.out
    assert "Explain why pulling an XCom returns nothing." in run("--help").out
