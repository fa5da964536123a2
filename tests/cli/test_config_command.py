"""`xcomctl config`: for people, and for editors."""

from __future__ import annotations

import re
import tomllib
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Run

FULL = """
default_profile = "prod"
[profiles.prod]
url_env = "PROD_URL"
timeout = "5m"
[audit]
warn_at = "70%"
source_root = { "/opt" = "dags" }
[[audit.budget]]
dag_id = "etl"
max_size = "48 KiB"
max_count = 3
severity = "warning"
[[audit.ignore]]
rule = "xcom-pickled"
reason = "OPS-1"
until = "2027-01-31"
"""


def test_init_writes_what_check_accepts_and_never_twice(run: Run, tmp_path: Path) -> None:
    """A first file to fill in; what is there is not overwritten."""
    assert run("config", "check").code == 2
    assert run("config", "init").code == 0
    path = tmp_path / "xcomctl.toml"
    assert run("config", "check").code == 0
    uncommented = re.sub("(?m)^# ", "", path.read_text().split("\n\n", 1)[1])
    path.write_text(uncommented)
    done = run("config", "check")
    assert done.code == 2
    assert 'could not read the baseline "' in done.err
    baseline = tmp_path / "xcom-baseline.json"
    baseline.write_text('{"schema": "xcomctl.baseline/1", "findings": []}')
    done = run("config", "check")
    assert done.code == 0, done.err
    assert "1 profile, 1 budget, 1 ignore" in done.out
    assert run("config", "init").code == 5
    assert path.read_text() == uncommented


def test_show_tells_each_value_and_its_origin(run: Run, tmp_path: Path) -> None:
    """The winner and what it beat, the file, the default; no password."""
    (tmp_path / "xcomctl.toml").write_text(FULL)
    env = {
        "PROD_URL": "postgresql://u:canary@h/d",
        "AIRFLOW__CORE__SQL_ALCHEMY_CONN": "sqlite:////x",
    }
    done = run("config", "show", "-o", "json", "--connect-timeout", "3s", env=env)
    rows: dict[str, Any] = {one["key"]: one for one in done.json()["settings"]}
    assert rows["url"]["value"] == "postgresql://u:***@h/d"
    assert "default_profile" in rows["url"]["origin"]
    assert rows["url (overridden)"]["origin"] == "AIRFLOW__CORE__SQL_ALCHEMY_CONN"
    assert (rows["timeout"]["value"], rows["timeout"]["origin"]) == ("300s", "[profiles.prod]")
    assert (rows["connect_timeout"]["value"], rows["connect_timeout"]["origin"]) == (
        "3s",
        "--connect-timeout",
    )
    assert rows["audit.warn_at"]["value"] == "70%"
    assert rows["audit.warn_at"]["origin"].endswith("xcomctl.toml")
    assert rows["audit.fail_on"] == {"key": "audit.fail_on", "value": "error", "origin": "default"}
    assert "48.0 KiB" in rows["audit.budget 1"]["value"]
    assert "OPS-1" in rows["audit.ignore 1"]["value"]
    assert "canary" not in done.out + done.err
    unset = run("config", "show")
    assert unset.code == 0
    assert '"PROD_URL", which is not set' in unset.out


def test_show_lists_every_value_of_every_section(run: Run, tmp_path: Path) -> None:
    """Also of profiles that are not used, without their passwords."""
    path = tmp_path / "xcomctl.toml"
    path.write_text(
        "default_profile = 'a'\n"
        "[profiles.a]\nurl = 'postgresql://u:canary@h/d'\nread_only = true\n"
        "[profiles.b]\nurl_env = 'B_URL'\nschema = 'af'\ntimeout = '5m'\nconnect_timeout = '3s'\n"
        "[profiles.c]\nairflow_home = '/opt/airflow'\n"
        "[[audit.budget]]\ndag_id = 'etl'\nmax_total = '1 MB'\nmax_total_per_run = '9 kB'\n"
        "message = 'Use S3.'\n"
        "[[audit.ignore]]\nrule = 'xcom-pickled'\ntask_id = 't*'\nmax_size = '9 kB'\n"
        "until = 2099-01-31\nreason = 'OPS-1'\n"
    )
    done = run("config", "show", "-o", "json", "--schema", "mine")
    rows = {one["key"]: (one["value"], one["origin"]) for one in done.json()["settings"]}
    file = str(path)
    expected = {
        "default_profile": ("a", file),
        "profiles.a.url": ("postgresql://u:***@h/d", file),
        "profiles.a.read_only": (True, file),
        "profiles.b.url_env": ("B_URL", file),
        "profiles.b.schema": ("af", file),
        "profiles.b.timeout": ("5m", file),
        "profiles.b.connect_timeout": ("3s", file),
        "profiles.c.airflow_home": ("/opt/airflow", file),
        "read_only": (True, "[profiles.a]"),
        "schema": ("mine", "--schema"),
        "timeout": ("60s", "default"),
    }
    assert {key: rows[key] for key in expected} == expected
    assert rows["audit.budget 1"][0] == (
        'etl/*:*: max_total_per_run 8.8 KiB, max_total 976.6 KiB, severity error, message "Use S3."'
    )
    assert rows["audit.ignore 1"][0] == (
        "xcom-pickled of */t*:* up to 8.8 KiB until 2099-01-31: OPS-1"
    )
    assert "canary" not in done.out + done.err


def test_the_chosen_profile_is_not_overridden_by_itself(run: Run, tmp_path: Path) -> None:
    """It is the default one, too."""
    (tmp_path / "xcomctl.toml").write_text("default_profile = 'a'\n[profiles.a]\nurl = 'x.db'\n")
    done = run("config", "show", "-P", "a", "-o", "json")
    assert "url (overridden)" not in {one["key"] for one in done.json()["settings"]}


@pytest.mark.parametrize(
    ("toml", "problem"),
    [
        ("[audit]\nbaseline = 'none.json'\n", "could not read the baseline"),
        ("[audit]\nbaseline = 'xcomctl.toml'\n", "could not read the baseline"),
        (
            "[profiles.a]\nurl = 'postgresql://u:canary@h:x/d'\n",
            "[profiles.a]: cannot read the url",
        ),
        ("[profiles.a]\nurl = 'mysql://h/d?sslca=x'\n", '"sslca"'),
        ("[profiles.a]\nurl = 'x.db'\ntimeout = 'soon'\n", 'cannot read the duration "soon"'),
    ],
)
def test_check_finds_what_no_command_could_use(
    run: Run, tmp_path: Path, toml: str, problem: str
) -> None:
    """A baseline that cannot be read, a malformed URL, a duration that is none."""
    (tmp_path / "xcomctl.toml").write_text(toml)
    done = run("config", "check")
    assert done.code == 2
    assert problem in done.err
    assert "canary" not in done.err


@pytest.mark.parametrize(
    ("toml", "good"),
    [
        (FULL, True),
        ("", True),
        ("[audit]\nwarn_att = 1", False),
        ("[[audit.budget]]\nmax_sise = 1", False),
        ('[[audit.ignore]]\nrule = "x"', False),
        ('[profiles.a]\nurl = "x"\nurl_env = "y"', False),
        ('[audit]\nfail_on = "panic"', False),
    ],
)
def test_schema_agrees_with_check(run: Run, tmp_path: Path, toml: str, good: bool) -> None:
    """What an editor underlines is what the program refuses."""
    schema = run("config", "schema").json()
    jsonschema.Draft202012Validator.check_schema(schema)
    valid = jsonschema.Draft202012Validator(schema).is_valid(tomllib.loads(toml))
    assert valid is good
    (tmp_path / "xcomctl.toml").write_text(toml)
    code = run("config", "check").code
    assert code == (0 if good else 2)


def test_an_unknown_action_names_the_nearest(run: Run) -> None:
    """Exit 2, nothing written."""
    done = run("config", "chek")
    assert done.code == 2
    assert '"check"' in done.err
