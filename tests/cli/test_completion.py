"""Completion: words and real ids, in the real shells; silent, and soon over, whatever happens."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.cli import interactive
from tests.conftest import clean_environment
from tests.metadata import WHEN, Metadata
from xcomctl.cli import click_group, completion
from xcomctl.cli.commands import COMMANDS
from xcomctl.cli.shells import SHELLS, Candidate, Question
from xcomctl.config.target import Target
from xcomctl.db import open_store
from xcomctl.model import Selection

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Run
    from tests.servers import Server

ODD = 'it\'s "odd" $HOME `touch hacked` *[a]? ;:&|<>(){}!! #~\\ =@, ünï→'
"""A DAG with every character that some shell has trouble with."""
RUN = "manual__2026-01-01T00:00:00.000000+00:00"


@pytest.fixture
def odd(tmp_path: Path) -> Metadata:
    """A database with names that shells have trouble with."""
    db = Metadata(str(tmp_path / "odd name.db"))
    db.add(b"1", dag_id=ODD, task_id="a task", run_id=RUN, key="a:key")
    db.add(b"1", dag_id="plain", task_id="other", run_id=RUN)
    return db


@pytest.fixture(autouse=True)
def _no_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep this process, which is not the shell's, from being ended after a second."""
    monkeypatch.setattr(completion, "_exit_after", lambda _seconds: None)


def offered(*words: str) -> list[str]:
    """Return what is offered in place of the last word."""
    return [one.value for one in completion.complete(words, click_group)]


def environment(tmp_path: Path, url: str) -> dict[str, str]:
    """Return the variables of a shell in which xcomctl is a program."""
    home = tmp_path / "home"
    home.mkdir(exist_ok=True)
    path = f"{interactive.program(tmp_path)}:{os.environ['PATH']}"
    # Other tests run at the same time.
    patient = {"XCOMCTL_COMPLETION_TIMEOUT": "30s"}
    return clean_environment(home) | {"PATH": path, "XCOMCTL_URL": url} | patient


# --- in the shells ----------------------------------------------------------------------------


@pytest.mark.parametrize("shell", interactive.SHELLS)
def test_a_shell_completes_words_and_real_ids(
    run: Run, tmp_path: Path, odd: Metadata, shell: str
) -> None:
    """As installed, in a new shell: commands, closed sets, and ids with any character."""
    assert run("--install-completion", shell).code == 0
    env = environment(tmp_path, odd.url)
    (tmp_path / "sp-file").touch()
    with interactive.started(shell, tmp_path / "home", tmp_path, env) as session:
        words = session.words
        assert words("xcomctl pus\t") == ["xcomctl", "push"]
        assert words("xcomctl audit --fail-on=w\t")[2:] == ["--fail-on=warning"]
        assert words("xcomctl list -o js\tl=sp-\t")[2:] == ["-o", "jsonl=sp-file"]
        assert words("xcomctl pull it\ta\ta\t") == ["xcomctl", "pull", ODD, "a task", "a:key"]
        assert words("xcomctl pull \"it's \\\"o\t 'a\t")[2:] == [ODD, "a task"]
        assert words("xcomctl list --run-id=manual__2026-01-01T00:0\t")[2:] == [f"--run-id={RUN}"]
        assert words("xcomctl pull plain/man\tot\tre\t")[2:] == [f"plain/{RUN}/other:return_value"]
    assert not (tmp_path / "hacked").exists()


@pytest.mark.parametrize("shell", interactive.SHELLS)
def test_a_shell_offers_nothing_where_the_database_cannot_be_reached(
    run: Run, tmp_path: Path, shell: str
) -> None:
    """Neither an error nor a file's name appears, and the line stays as it is."""
    assert run("--install-completion", shell).code == 0
    env = environment(tmp_path, "postgresql://127.0.0.1:1/none")
    (tmp_path / "aa-file").touch()
    with interactive.started(shell, tmp_path / "home", tmp_path, env) as session:
        session.output = b""
        assert session.words("xcomctl pull a\t") == ["xcomctl", "pull", "a"]
        for unwanted in (b"error", b"Traceback", b"aa-file"):
            assert unwanted not in session.output


def test_bash_lists_ids_and_nothing_else(run: Run, tmp_path: Path, odd: Metadata) -> None:
    """Two tabs list the ids."""
    run("--install-completion", "bash")
    env = environment(tmp_path, odd.url)
    with interactive.started("bash", tmp_path / "home", tmp_path, env) as session:
        session.see("xcomctl pull \t\t", "plain")
        assert b"it\\'s\\ " in session.output
        assert b"sp-file" not in session.output


@settings(max_examples=20, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20))
def test_what_bash_is_given_means_the_name(name: str) -> None:
    """Bash reads every name as it was meant, also behind an open quote."""
    given = Candidate(name)
    line = []
    for quote in ("", "'", '"'):
        typed = SHELLS["bash"].write(Question([""], quote), [given]).removesuffix("\n")
        line.append(f"{quote}{typed}{quote}")
    script = f"printf '%s\\0' {line[1]} {line[2]} x{line[0]}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, check=True)
    assert done.stdout.decode() == f"{name}\0{name}\0x{name}\0"


# --- words ------------------------------------------------------------------------------------

WORDS = {
    "": set(COMMANDS),
    "pu": {"pull", "push"},
    "--show-completion ": {"bash", "zsh", "fish"},
    "config ": {"check", "show", "init", "schema"},
    "list --sort ": {"size", "timestamp", "dag_id", "run"},
    "list --sort -": {"-size", "-timestamp", "-dag_id", "-run"},
    "list --sort=t": {"--sort=timestamp"},
    "list --colo": {"--color"},
    "list --color ": {"auto", "always", "never"},
    "list -o ": {"table", "plain", "json", "jsonl", "csv", "tsv", "yaml", "markdown"},
    "list -oj": {"-ojson", "-ojsonl"},
    "audit -o s": {"sarif"},
    "list -o s": set(),
    "export --output ": {"jsonl", "csv", "parquet"},
    "pull dag task -o ": {"json", "raw", "pretty", "repr", "csv", "parquet"},
    "list --columns dag_id,t": {
        "dag_id,task_id",
        "dag_id,try_number",
        "dag_id,timestamp",
        "dag_id,text_bytes",
    },
    "top --by dag_id,": {"dag_id,task_id", "dag_id,key", "dag_id,run_id", "dag_id,day"},
    "stats --sort ": {"bytes", "rows", "max", "growth"},
    "audit --fail-on ": {"error", "warning", "note", "never"},
    "audit --size-limit ": {"auto", "nominal"},
    "audit --measure ": {"size", "text"},
    "audit --rules xcom-near-limit,xcom-over-l": {"xcom-near-limit,xcom-over-limit"},
    "audit --skip-rules xcom-p": {"xcom-pickled"},
    "list --as m": {"mysql", "mariadb", "mysql:2.8"},
    "push dag task v --type d": {"datetime", "date", "decimal"},
    "demo --layout 2": {"2.2", "2.8", "2.10"},
    "list --since ": {"1h", "24h", "7d", "30d"},
    "list -n ": set(),
    "list -qn ": set(),
    "list -- --so": set(),
    "nonsense ": set(),
    "nonsense --": set(),
}


@pytest.mark.parametrize("line", WORDS)
def test_words_of_a_closed_set_are_offered(line: str) -> None:
    """Commands, formats, columns, sort keys, rules and the like, and nothing where none fits."""
    assert set(offered(*line.split(" "))) == WORDS[line]


@pytest.mark.usefixtures("two")
def test_every_option_of_every_command_can_be_completed() -> None:
    """No option makes completion fail."""
    for command in COMMANDS:
        for name in offered(command, "--"):
            offered(command, name, "")
            assert name in offered(command, name)


def test_profiles_come_from_the_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The nearest file, or the one that was named."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "xcomctl.toml").write_text(
        '[profiles.prod]\nurl = "a.db"\n[profiles.dev]\nurl = "b.db"\n'
    )
    (tmp_path / "other.toml").write_text('[profiles.elsewhere]\nurl = "a.db"\n')
    assert offered("list", "-P", "") == ["prod", "dev"]
    assert offered("list", "--config", "other.toml", "--profile=") == ["--profile=elsewhere"]


def test_files_are_offered_only_where_a_file_is_meant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A directory can be gone on with; hidden files come when asked for."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dir").mkdir()
    (tmp_path / "dir" / "undo.jsonl").touch()
    (tmp_path / ".hidden").touch()
    found = completion.complete(["import", ""], click_group)
    assert [(one.value, one.final) for one in found] == [("dir/", False)]
    assert offered("import", "dir/") == ["dir/undo.jsonl"]
    assert offered("push", "--undo-file=dir/u") == ["--undo-file=dir/undo.jsonl"]
    assert offered("import", ".h") == [".hidden"]
    assert offered("import", "no/such/") == []
    assert offered("diff", "--url=no such file.db", "di") == ["dir/"]


def test_words_load_no_database_library() -> None:
    """Only ids do."""
    code = (
        "import sys; from xcomctl.cli import main; main(['audit', '--rules', '']);"
        "assert not {'sqlalchemy', 'psycopg2', 'pymysql', 'rich'} & set(sys.modules)"
    )
    env = os.environ | {"_XCOMCTL_COMPLETE": "fish"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=env, capture_output=True, check=True, text=True)
    assert "\nxcom-over-limit\t" in f"\n{done.stdout}"


# --- ids --------------------------------------------------------------------------------------


@pytest.fixture
def two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Metadata:
    """A database with two DAGs."""
    db = Metadata(str(tmp_path / "two.db"))
    fill(db)
    monkeypatch.setenv("XCOMCTL_URL", db.url)
    return db


def fill(db: Metadata) -> None:
    """Fill a database with two DAGs, of which one has two runs and a mapped task."""
    value = "1" if db.json else b"1"
    for day, run_id in ((1, "run_1"), (2, "run_2")):
        date = WHEN.replace(day=day)
        for task_id in ("extract", "load"):
            db.add(value, dag_id="etl", task_id=task_id, run_id=run_id, date=date)
    if db.mapped:
        db.add(value, dag_id="etl", task_id="mapped", run_id="run_2", map_index=2, key="part")
        db.add(value, dag_id="etl", task_id="mapped", run_id="run_2", map_index=10, key="part")
    db.add(value, dag_id="[odd]*", task_id="only", run_id="other", key="k_?")


IDS = {
    "list -d ": ["[odd]*", "etl"],
    "list -d e": ["etl"],
    "list -t ": ["extract", "load", "mapped", "only"],
    "list -k ": ["k_?", "part", "return_value"],
    "list -r ": ["latest", "other", "run_2", "run_1"],
    "list -r run": ["run_2", "run_1"],
    "list -m ": ["-1", "2", "10"],
    "list -d [[]odd* -t ": ["only"],
    "list -d e* -d other -t l": ["load"],
    "list --dag-id=etl -r ": ["latest", "run_2", "run_1"],
    "list -t mapped -k ": ["part"],
    "list -r run_1 -t ": ["extract", "load"],
    "pull ": ["[odd]*", "etl"],
    "pull etl ": ["extract", "load", "mapped"],
    "get etl mapped ": ["part"],
    "pull [odd]* only ": ["k_?"],
    "pull -q -n etl mapped -r ": ["latest", "run_2"],
    "pull etl mapped part -m ": ["2", "10"],
    "pull etl mapped part x": [],
    "push etl extract ": ["return_value"],
    "push etl extract return_value ": [],
    "diff e": ["etl"],
    "diff etl run_1 ": ["latest", "run_2", "run_1"],
    "why etl mapped ": ["part"],
    "pull etl/": [
        "etl/latest/",
        "etl/run_2/",
        "etl/run_1/",
        "etl/extract",
        "etl/load",
        "etl/mapped",
    ],
    "pull etl/r": ["etl/run_2/", "etl/run_1/"],
    "pull etl/lat": ["etl/latest/", "etl/latest~1/"],
    "why etl/run_1/": ["etl/run_1/extract", "etl/run_1/load"],
    "pull etl/latest/l": ["etl/latest/load:"],
    "get etl/run_2/m": ["etl/run_2/mapped["],
    "pull etl/run_2/mapped[": ["etl/run_2/mapped[2]:", "etl/run_2/mapped[10]:"],
    "pull etl/run_2/mapped[1": ["etl/run_2/mapped[10]:"],
    "pull etl/run_2/mapped[10]": ["etl/run_2/mapped[10]:"],
    "pull etl/run_2/mapped[10]:": ["etl/run_2/mapped[10]:part"],
    "pull etl/run_1/extract:r": ["etl/run_1/extract:return_value"],
    "pull etl/mapped:": ["etl/mapped:part"],
    "pull [odd]*/other/only:": ["[odd]*/other/only:k_?"],
    "pull no/such/": [],
    "push etl/": [],
    "import --map-dag e": ["etl="],
    "import --map-dag etl=e": ["etl=etl"],
}


@pytest.mark.parametrize("line", IDS)
@pytest.mark.usefixtures("two")
def test_ids_fit_what_was_typed_before(line: str) -> None:
    """Those of the DAG, task and run that are named, by globs or exactly."""
    assert offered(*line.split(" ")) == IDS[line]


@pytest.mark.parametrize("generation", ["1.10", "2.0", "2.3", "3.0", "3.4"])
def test_ids_of_every_generation(server: Server, generation: str) -> None:
    """Servers and old layouts offer the same."""
    db = Metadata(server.create_database(), generation)
    fill(db)
    with open_store(Target(db.url, "test")) as store:
        ids = store.suggest.ids
        assert ids("dag_id", "", Selection()) == ["[odd]*", "etl"]
        assert ids("task_id", "e", Selection(dag_ids=("etl",))) == ["extract"]
        assert ids("task_id", "", Selection(dag_ids=("[[]odd]*",))) == ["only"]
        assert ids("key", "", Selection(task_ids=("only",))) == ["k_?"]
        assert ids("run_id", "run", Selection()) == ["run_2", "run_1"]
        assert ids("run_id", "", Selection(task_ids=("extract",))) == ["run_2", "run_1"]
        assert ids("map_index", "", Selection()) == (["-1", "2", "10"] if db.mapped else [])


def test_a_server_that_does_not_answer_is_not_waited_for(run: Run) -> None:
    """It accepts the connection, and is silent; so is completion, soon."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql://airflow@127.0.0.1:{silent.getsockname()[1]}/airflow"
        started = time.monotonic()
        done = run("list", "-d", "", env={"XCOMCTL_URL": url, "_XCOMCTL_COMPLETE": "zsh"})
        assert time.monotonic() - started < 8
    assert (done.code, done.stdout, done.stderr) == (0, b"", b"")


def test_a_locked_table_is_not_waited_for(run: Run, postgres: Server) -> None:
    """The statement waits for another session; completion does not."""
    db = Metadata(postgres.create_database())
    with db.engine.connect() as other:
        other.exec_driver_sql("LOCK TABLE xcom")
        started = time.monotonic()
        done = run("list", "-d", "", env={"XCOMCTL_URL": db.url, "_XCOMCTL_COMPLETE": "bash"})
        assert time.monotonic() - started < 8
    assert (done.code, done.stdout, done.stderr) == (0, b"", b"")


def test_a_command_that_names_the_database_is_not_run(run: Run, tmp_path: Path) -> None:
    """It may ask for a password."""
    env = {"AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_CMD": f"touch {tmp_path}/ran"}
    done = run("list", "-d", "", env=env | {"_XCOMCTL_COMPLETE": "fish"})
    assert (done.code, done.stdout, done.stderr) == (0, b"", b"")
    assert not (tmp_path / "ran").exists()
    run("list", env=env)
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish", "powershell", ""])
def test_odd_questions_are_answered_with_nothing(run: Run, shell: str) -> None:
    """Whatever the shell's function sends, completion prints nothing and ends with 0."""
    for words in ([], ["list", "-d", "x"], ["\udcff", ""]):
        env = {"XCOMCTL_URL": "no such file.db", "_XCOMCTL_COMPLETE": shell}
        done = run(*words, env=env)
        assert (done.code, done.stderr) == (0, b"")


# --- the script -------------------------------------------------------------------------------


def test_the_script_of_a_shell_is_printed(run: Run) -> None:
    """For the shell that is named; an unknown one is an error that names those there are."""
    for shell in SHELLS:
        assert run("--show-completion", shell).out == SHELLS[shell].script
        assert run(f"--show-completion={shell}").out == SHELLS[shell].script
    done = run("--show-completion", "tcsh")
    assert done.code == 2
    assert "Valid values: bash, zsh, fish." in done.err
    done = run("--install-completion", env={"SHELL": "/bin/tcsh"})
    assert done.code == 2


@pytest.mark.parametrize("shell", SHELLS)
def test_completion_is_installed_once(run: Run, tmp_path: Path, shell: str) -> None:
    """A second time changes nothing, and startup files keep what they held."""
    home = tmp_path / "home"
    startup, lines = SHELLS[shell].startup
    if startup:
        (home / startup).write_text("# mine")
    for _ in range(2):
        assert run("--install-completion", shell).code == 0
    assert (home / SHELLS[shell].file).read_text() == SHELLS[shell].script
    if startup:
        assert (home / startup).read_text() == f"# mine\n{lines}\n"
