"""Which metadata database is used, and which ones it overrides."""

from __future__ import annotations

import stat
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from xcomctl.config.file import Config, load_config, parse_share
from xcomctl.config.target import parse_moment, resolve_target
from xcomctl.errors import DatabaseError, UsageError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No variable of Airflow's or ours, and an empty home."""
    import os

    for name in os.environ:
        if name.startswith(("AIRFLOW", "XCOMCTL")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    monkeypatch.chdir(tmp_path)


def airflow_home(tmp_path: Path, text: str | None, *, database: bool = False) -> Path:
    """Return a directory as Airflow leaves one."""
    home = tmp_path / "airflow_home"
    home.mkdir(exist_ok=True)
    if text is not None:
        (home / "airflow.cfg").write_text(text)
    if database:
        (home / "airflow.db").touch()
    return home


def test_chain_takes_the_first_that_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """--url, --profile, XCOMCTL_URL, XCOMCTL_PROFILE, the default profile, then Airflow."""
    config = Config(
        path=tmp_path / "xcomctl.toml",
        default_profile="d",
        profiles={"p": {"url": "p.db"}, "e": {"url": "e.db"}, "d": {"url": "d.db"}},
    )
    home = airflow_home(tmp_path, "[database]\nsql_alchemy_conn = sqlite:///cfg.db\n")
    monkeypatch.setenv("AIRFLOW_HOME", str(home))
    monkeypatch.setenv("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", "sqlite:///env.db")
    monkeypatch.setenv("XCOMCTL_URL", "x.db")
    monkeypatch.setenv("XCOMCTL_PROFILE", "e")

    def winner(**typed: Any) -> list[str]:
        target = resolve_target(config=config, **typed)
        return [target.url, *(one.url for one in target.overridden)]

    everything = [
        "u.db", "p.db", "x.db", "e.db", "d.db",
        "sqlite:///env.db", "sqlite:///cfg.db", f"sqlite:///{home}/airflow.db",
    ]  # fmt: skip
    assert winner(url="u.db", profile="p") == everything
    assert winner(profile="p") == everything[1:]
    assert winner() == everything[2:]
    monkeypatch.delenv("XCOMCTL_URL")
    assert winner() == everything[3:]
    monkeypatch.delenv("XCOMCTL_PROFILE")
    assert winner() == everything[4:]
    target = resolve_target()
    assert target.url == "sqlite:///env.db"
    assert target.origin == "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"


def script(tmp_path: Path, url: str) -> str:
    """Return a command that prints the URL and a line end, as any command does."""
    path = tmp_path / "conn.py"
    path.write_text(f"print({url!r})\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return f"{sys.executable} {path}"


def test_an_empty_url_is_no_url(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a script has not set must not become another database."""
    monkeypatch.setenv("XCOMCTL_URL", "other.db")
    for empty in ("", " "):
        with pytest.raises(UsageError, match="--url is empty"):
            resolve_target(url=empty)
    monkeypatch.setenv("XCOMCTL_URL", "")
    assert resolve_target(url="a.db").origin == "--url"


def test_an_empty_variable_of_airflows_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Airflow takes it as set, too."""
    monkeypatch.setenv("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", "")
    with pytest.raises(UsageError, match="SQL_ALCHEMY_CONN is empty"):
        resolve_target()


def test_a_named_configuration_that_is_missing_is_an_error() -> None:
    """Also in the home of nobody."""
    for path in ("no.toml", "~no-such-user/x.toml"):
        with pytest.raises(UsageError, match="could not read the configuration"):
            load_config(path)


def test_a_working_directory_that_is_gone_holds_no_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one of the user is still read, where there is a home."""
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert load_config().path is None
    config = tmp_path / "home" / ".config" / "xcomctl"
    config.mkdir(parents=True)
    (config / "xcomctl.toml").touch()
    assert load_config().path == config / "xcomctl.toml"


def test_airflows_own_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Environment [database] with its _CMD and _SECRET, [core] likewise, then airflow.cfg."""
    home = airflow_home(
        tmp_path,
        "[core]\nsql_alchemy_conn = sqlite:///core.db\n"
        f"[database]\nsql_alchemy_conn = sqlite:///database.db\n"
        f"sql_alchemy_conn_cmd = {script(tmp_path, 'sqlite:///cmd.db')}\n",
    )
    monkeypatch.setenv("AIRFLOW_HOME", str(home))

    def url() -> str:
        return resolve_target().url

    assert url() == "sqlite:///database.db"
    monkeypatch.setenv("AIRFLOW__CORE__SQL_ALCHEMY_CONN", "sqlite:///env_core.db")
    assert url() == "sqlite:///env_core.db"
    monkeypatch.setenv(
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_CMD", script(tmp_path, "sqlite:///env_cmd.db")
    )
    assert url() == "sqlite:///env_cmd.db"
    monkeypatch.setenv("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", "sqlite:///env.db")
    assert url() == "sqlite:///env.db"


def test_core_is_read_where_database_has_no_url(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before 2.3 the URL was in [core]; then the command, then the default file."""
    home = airflow_home(tmp_path, "[core]\nsql_alchemy_conn = sqlite:///core.db\n[database]\n")
    monkeypatch.setenv("AIRFLOW_HOME", str(home))
    assert resolve_target().url == "sqlite:///core.db"
    (home / "airflow.cfg").write_text(
        f"[core]\nsql_alchemy_conn_cmd = {script(tmp_path, 'sqlite:///cmd.db')}\n"
    )
    assert resolve_target().url == "sqlite:///cmd.db"
    (home / "airflow.cfg").write_text("[core]\ndags_folder = x\n")
    assert resolve_target().url == f"sqlite:///{home}/airflow.db"


def test_percent_is_doubled_in_the_file_and_variables_are_expanded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`%%` means `%` in airflow.cfg only; `$VAR` and `~` are expanded in both places."""
    home = airflow_home(
        tmp_path, "[database]\nsql_alchemy_conn = postgresql://u:a%%40b@$DBHOST/db\n"
    )
    monkeypatch.setenv("AIRFLOW_HOME", str(home))
    monkeypatch.setenv("DBHOST", "db.example")
    assert resolve_target().url == "postgresql://u:a%40b@db.example/db"
    monkeypatch.setenv("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", "postgresql://u:a%%40b@$DBHOST/db")
    assert resolve_target().url == "postgresql://u:a%%40b@db.example/db"


def test_airflow_config_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """AIRFLOW_CONFIG beats AIRFLOW_HOME/airflow.cfg, and a typed --airflow-home beats both."""
    home = airflow_home(tmp_path, "[database]\nsql_alchemy_conn = sqlite:///home.db\n")
    other = tmp_path / "other.cfg"
    other.write_text("[database]\nsql_alchemy_conn = sqlite:///other.db\n")
    monkeypatch.setenv("AIRFLOW_HOME", str(home))
    monkeypatch.setenv("AIRFLOW_CONFIG", str(other))
    assert resolve_target().url == "sqlite:///other.db"
    assert resolve_target(airflow_home=str(home)).url == "sqlite:///home.db"


def test_secrets_backend_is_refused_only_where_it_would_win(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A secrets backend needs Airflow; a URL in front of it makes it irrelevant."""
    monkeypatch.setenv("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_SECRET", "path/to/secret")
    with pytest.raises(UsageError, match="secrets backend"):
        resolve_target()
    assert resolve_target(url="x.db").url == "x.db"


def test_failing_command_repeats_nothing_it_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    """What Airflow's command prints may hold the password."""
    command = f"{sys.executable} -c 'print(\"c4n4ry\"); raise SystemExit(3)'"
    monkeypatch.setenv("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_CMD", command)
    with pytest.raises(UsageError) as caught:
        resolve_target()
    assert "c4n4ry" not in f"{caught.value.message}{caught.value.detail}{caught.value.hint}"
    assert "code 3" in (caught.value.detail or "")


def test_broken_airflow_cfg_does_not_quote_its_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The parser's own message would show the line with the password."""
    monkeypatch.setenv("AIRFLOW_HOME", str(airflow_home(tmp_path, "postgres://u:c4n4ry@h/db\n")))
    with pytest.raises(UsageError) as caught:
        resolve_target()
    assert "c4n4ry" not in f"{caught.value.message}{caught.value.detail}{caught.value.hint}"


def test_nothing_given_says_what_to_give() -> None:
    """No URL, no airflow.cfg, no airflow.db."""
    with pytest.raises(DatabaseError, match="could not find a metadata database") as caught:
        resolve_target()
    assert "xcomctl demo" in (caught.value.hint or "")


def test_profile_takes_its_url_from_a_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """url_env names a variable, not the secret; schema, bounds and read_only come along."""
    (tmp_path / "xcomctl.toml").write_text(
        '[profiles.prod]\nurl_env = "PROD_URL"\nread_only = true\nschema = "af"\ntimeout = "5m"\n'
    )
    config = load_config()
    with pytest.raises(UsageError, match="not set"):
        resolve_target(profile="prod", config=config)
    monkeypatch.setenv("PROD_URL", "postgresql://u:s3cret@h/db")
    target = resolve_target(profile="prod", config=config)
    assert (target.schema, target.timeout_s, target.read_only) == ("af", 300.0, True)
    assert target.shown == "postgresql://u:***@h/db"
    with pytest.raises(UsageError, match="unknown profile") as caught:
        resolve_target(profile="prd", config=config)
    assert caught.value.hint == 'Did you mean "prod"?'


def test_a_profile_that_is_not_used_never_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With --url neither the default profile's variable nor its Airflow's command is needed."""
    home = airflow_home(tmp_path, f"[core]\nsql_alchemy_conn_cmd = touch {tmp_path}/ran\n")
    for location in ({"url_env": "NOT_SET"}, {"airflow_home": str(home)}):
        config = Config(default_profile="d", profiles={"d": location})
        assert resolve_target(url="u.db", config=config).overridden == ()
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("how", ["default_profile", "XCOMCTL_PROFILE"])
def test_a_profile_does_not_override_itself(monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    """`-P p` where p is the default anyway is listed once."""
    default = "p" if how == "default_profile" else None
    config = Config(default_profile=default, profiles={"p": {"url": "p.db"}})
    if default is None:
        monkeypatch.setenv("XCOMCTL_PROFILE", "p")
    target = resolve_target(profile="p", config=config)
    assert (target.url, target.overridden) == ("p.db", ())


def test_byte_order_mark_is_skipped(tmp_path: Path) -> None:
    """Editors on Windows put one in front of a file."""
    (tmp_path / "xcomctl.toml").write_text('[audit]\nwarn_at = "70%"\n', encoding="utf-8-sig")
    assert load_config().audit.warn_at == "70%"


def test_a_strange_pyproject_is_not_ours(tmp_path: Path) -> None:
    """Whatever `tool` is there, it holds no [tool.xcomctl]."""
    (tmp_path / "pyproject.toml").write_text('tool = "x"\n')
    assert load_config().path is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[audti]\n", 'unknown key "audti"'),
        ('[audit]\nwarn_a = "1"\n', 'unknown key "warn_a"'),
        ('[profiles.x]\nurll = "1"\n', 'unknown key "urll"'),
        ("[profiles.x]\nread_only = true\n", "exactly one of"),
        ('[profiles.x]\nurl = "a"\nurl_env = "B"\n', "exactly one of"),
        ('default_profile = "nope"\n', "unknown default_profile"),
        ("not toml", "could not read the configuration"),
        ('[profiles.x]\nurl = "a"\nread_only = "yes"\n', "must be true or false"),
    ],
)
def test_bad_configuration_is_an_error(tmp_path: Path, text: str, message: str) -> None:
    """Nothing in a configuration is silently ignored."""
    (tmp_path / "xcomctl.toml").write_text(text)
    with pytest.raises(UsageError, match=message):
        load_config()


def test_configuration_is_found_upward_and_stops_at_the_repository(tmp_path: Path) -> None:
    """The nearest file wins; what lies above the repository is not this project's."""
    (tmp_path / "xcomctl.toml").write_text('[audit]\nwarn_at = "50%"\n')
    repository = tmp_path / "repo"
    inner = repository / "a" / "b"
    inner.mkdir(parents=True)
    assert load_config(start=inner).audit.warn_at == "50%"
    (repository / ".git").mkdir()
    assert load_config(start=inner).path is None
    (repository / "pyproject.toml").write_text('[tool.xcomctl.audit]\nwarn_at = "70%"\n')
    assert load_config(start=inner).audit.warn_at == "70%"
    (repository / "a" / "xcomctl.toml").write_text('[audit]\nwarn_at = "60%"\n')
    assert load_config(start=inner).audit.warn_at == "60%"


NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("7d", NOW - timedelta(days=7)),
        ("90m", NOW - timedelta(minutes=90)),
        ("2w", NOW - timedelta(weeks=2)),
        ("2026-01-01", datetime(2026, 1, 1, tzinfo=UTC)),
        ("2026-01-01T07:00", datetime(2026, 1, 1, 7, tzinfo=UTC)),
        ("2026-01-01T07:00:00Z", datetime(2026, 1, 1, 7, tzinfo=UTC)),
        ("2026-01-01T07:00:00+05:30", datetime(2026, 1, 1, 1, 30, tzinfo=UTC)),
    ],
)
def test_moment_is_read(text: str, moment: datetime) -> None:
    """A duration back from now, or ISO 8601, naive meaning UTC."""
    assert parse_moment(text, NOW) == moment


@pytest.mark.parametrize("text", ["", "yesterday", "7", "7 days", "2026-13-01", "-3d"])
def test_broken_moment_is_refused(text: str) -> None:
    """Better no filter at all than one that means something else."""
    with pytest.raises(UsageError, match="cannot read the time"):
        parse_moment(text, NOW)


@pytest.mark.parametrize(("text", "share"), [("80%", 0.8), ("100%", 1.0), ("48 KiB", 49_152)])
def test_share_is_read(text: str, share: float) -> None:
    """A percentage, or a size."""
    assert parse_share(text) == share


@pytest.mark.parametrize("text", ["0%", "101%", "x%", "80 percent"])
def test_broken_share_is_refused(text: str) -> None:
    """Above 0 and at most all of the limit."""
    with pytest.raises(UsageError):
        parse_share(text)
