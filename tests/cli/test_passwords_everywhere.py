"""No form of a connection text shows its password, whatever is asked, from wherever it comes."""

from __future__ import annotations

import contextlib
import signal
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
import sqlalchemy as sa

from tests.cli.connection_texts import CANARY, connection_texts, leaks
from tests.metadata import Metadata
from xcomctl.cli import commands, main

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.servers import Server

COMMANDS = (
    ("list",),
    ("pull", "d", "t"),
    ("push", "d", "t", "1", "--yes"),
    ("delete", "--older-than", "1d"),
    ("audit", "--baseline", "none.json"),
    ("preflight",),
    ("top",),
    ("why", "d", "t"),
    ("diff", "d", "r1", "r2"),
    ("export", "-o", "jsonl"),
    ("import", "dump.jsonl"),
    ("limits",),
    ("info",),
    ("config", "show"),
    ("config", "check"),
    ("snapshot", "sizes"),
    ("report", "page.html"),
)


WITHOUT_A_DATABASE = {"demo", "help", "rules", "merge"}


def test_every_command_is_tried() -> None:
    """A new command is added here, or needs no database that somebody names."""
    assert {words[0] for words in COMMANDS} == commands.COMMANDS.keys() - WITHOUT_A_DATABASE


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory that names no database, with the signals' handlers kept."""
    import os

    for name in [*os.environ]:
        if name.startswith(("AIRFLOW", "XCOMCTL", "PG", "MYSQL")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dump.jsonl").touch()
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    handlers = {number: signal.getsignal(number) for number in numbers}
    yield tmp_path
    for number, handler in handlers.items():
        signal.signal(number, handler)


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Return all that a command prints."""
    with contextlib.suppress(SystemExit):
        assert main([*arguments]) not in (70, 141), capsys.readouterr()
    done = capsys.readouterr()
    return done.out + done.err


@pytest.mark.parametrize("command", COMMANDS, ids=lambda words: " ".join(words[:2]))
def test_a_failing_connection_shows_no_password(
    home: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    command: tuple[str, ...],
) -> None:
    """Every form, for every command; --verbose says all that is said without it, and more."""
    for text in connection_texts(COMMANDS.index(command)):
        monkeypatch.setenv("XCOMCTL_URL", text)
        assert not leaks(said(capsys, *command, "-v")), text


@pytest.mark.parametrize("option", ["--url", "-P", "--airflow-home", "--config", "--schema"])
def test_an_option_shows_no_password(
    home: Path, capsys: pytest.CaptureFixture[str], option: str
) -> None:
    """Typed, also where another thing is asked for."""
    for text in connection_texts(len(option)):
        assert not leaks(said(capsys, "list", "-v", option, text)), text


@pytest.mark.parametrize("words", ["list {}", "{}", "pull d t k {}", "list -m {}", "config {}"])
def test_an_argument_in_the_wrong_place_shows_no_password(
    home: Path, capsys: pytest.CaptureFixture[str], words: str
) -> None:
    """An argument too many, an unknown command, or a number that is none."""
    for text in connection_texts(len(words)):
        arguments = [word.format(text) for word in words.split()]
        assert not leaks(said(capsys, *arguments)), text


@pytest.mark.parametrize(
    "variable",
    ["XCOMCTL_PROFILE", "XCOMCTL_CONFIG", "AIRFLOW_HOME", "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"],
)
def test_a_variable_shows_no_password(
    home: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
) -> None:
    """Airflow's, and ours that take something else."""
    for text in connection_texts(len(variable)):
        monkeypatch.setenv(variable, text)
        assert not leaks(said(capsys, "info", "-v")), text


def test_a_working_connection_shows_no_password_of_what_it_overrides(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`info` and `config show` name all the places that lost."""
    path = home / "airflow.db"
    Metadata(str(path)).add(b"1")
    for text in connection_texts():
        monkeypatch.setenv("XCOMCTL_URL", text)
        monkeypatch.setenv("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", text)
        for command in ("info", "info -o json", "config show -o yaml", "audit", "list"):
            printed = said(capsys, *command.split(), "-v", "--url", str(path))
            assert str(path) in printed or command == "audit"
            assert not leaks(printed), text


def test_a_working_connection_shows_no_password_of_its_own(
    # First: a server is looked for in the real home.
    server: Server,
    home: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In the place of the password, and among the options, for every command."""
    url = sa.make_url(server.create_database())
    Metadata(url.render_as_string(hide_password=False)).add(b"1")
    awkward = server.backend == "postgresql"
    account = "canary" if awkward else "'canary'@'%%'"
    kind = "ROLE canary LOGIN PASSWORD" if awkward else f"USER {account} IDENTIFIED BY"
    server.execute(f"CREATE {kind} '{CANARY.replace('%w', '%%w')}'")
    grant = "TO canary" if awkward else f"TO {account}"
    tables = "ALL TABLES IN SCHEMA public" if awkward else f"{url.database}.*"
    server.execute(f"GRANT SELECT ON {tables} {grant}", url.database)
    secret = quote(CANARY, safe="")
    scheme, name = ("postgresql", "password") if awkward else ("mysql", "passwd")
    place = f"{url.host}:{url.port}/{url.database}"
    try:
        for text in (
            f"{scheme}://canary:{secret}@{place}",
            f"{scheme}://canary@{place}?{name}={secret}",
        ):
            monkeypatch.setenv("XCOMCTL_URL", text)
            for command in COMMANDS:
                assert not leaks(said(capsys, *command, "-v")), command
            assert '"dag_id"' in said(capsys, "list", "-o", "json", "-v")
    finally:
        drops = (
            ("DROP OWNED BY canary", "DROP ROLE canary") if awkward else (f"DROP USER {account}",)
        )
        for statement in drops:
            server.execute(statement, url.database)


def test_a_file_shows_no_password(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A profile's keys, the default profile's name, and airflow.cfg, whole and broken."""
    import json

    for text in connection_texts(1):
        quoted = json.dumps(text)
        for toml in (
            f"default_profile = 'p'\n[profiles.p]\nurl = {quoted}\n",
            f"default_profile = 'p'\n[profiles.p]\nairflow_home = {quoted}\n",
            f"default_profile = 'p'\n[profiles.p]\nurl_env = {quoted}\n",
            f"default_profile = {quoted}\n",
            f"url = {quoted}\n",
            f"{text}\n",
        ):
            (home / "xcomctl.toml").write_text(toml)
            for command in (("list",), ("config", "show")):
                assert not leaks(said(capsys, *command, "-v")), toml
        (home / "xcomctl.toml").unlink()
        folder = home / "airflow"
        folder.mkdir(exist_ok=True)
        for cfg in (f"[core]\nsql_alchemy_conn = {text.replace('%', '%%')}\n", f"{text}\n[core]\n"):
            (folder / "airflow.cfg").write_text(cfg)
            assert not leaks(said(capsys, "list", "-v")), cfg
