"""Several deployments: side by side, one down, one slow, and the rest complete."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import time
from typing import TYPE_CHECKING

import pytest

from tests.metadata import Metadata
from tests.servers import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.conftest import Run
    from tests.servers import Server

ALL = ("list", "top", "audit", "info")


@contextlib.contextmanager
def locked(metadata: Metadata) -> Iterator[None]:
    """Hold a lock for which every reader waits."""
    with metadata.engine.begin() as connection:
        connection.exec_driver_sql("LOCK TABLE xcom IN ACCESS EXCLUSIVE MODE")
        yield


@pytest.fixture
def good(tmp_path: Path) -> Path:
    """A configuration with two deployments."""
    for name, size in (("one", 900), ("two", 2000)):
        metadata = Metadata(str(tmp_path / f"{name}.db"))
        metadata.add(b'"' + b"x" * size + b'"', task_id=f"task_{name}")
        metadata.add(b"1", task_id="same")
    config = tmp_path / "xcomctl.toml"
    profiles = [f'[profiles.{name}]\nurl = "{tmp_path}/{name}.db"\n' for name in ("one", "two")]
    config.write_text("".join(profiles))
    return config


@pytest.fixture
def three(good: Path, postgres: Server) -> Iterator[Path]:
    """One that answers, one that is down, and one that is slow."""
    slow = Metadata(postgres.create_database())
    slow.add(b"1")
    url = slow.url.replace("postgresql+psycopg2", "postgresql")
    good.write_text(
        f'[profiles.one]\nurl = "{good.parent}/one.db"\n'
        f'[profiles.down]\nurl = "postgresql://u:s3cret@127.0.0.1:{free_port()}/x"\n'
        f'[profiles.slow]\nurl = "{url}"\ntimeout = "1s"\n'
    )
    with locked(slow):
        yield good


def test_rows_of_all_deployments_stand_in_one_order(run: Run, good: Path) -> None:
    """With a column that names the deployment, in every format."""
    done = run("list", "-P", "two", "-P", "one", "--sort", "-size", "-o", "csv")
    assert done.code == 0, done.err
    rows = list(csv.DictReader(io.StringIO(done.out)))
    assert [(row["deployment"], row["task_id"], row["reason"]) for row in rows] == [
        ("two", "task_two", ""), ("one", "task_one", ""), ("two", "same", ""), ("one", "same", ""),
    ]  # fmt: skip
    few = run("list", "--all-profiles", "--sort", "-size", "-n", "1", "-o", "json").json()
    assert (few["returned"], few["truncated"], few["total_entries"]) == (1, True, None)
    assert few["xcom_entries"][0]["deployment"] == "two"
    top = run("top", "--all-profiles", "--by", "task_id", "-o", "json").json()
    assert top["by"] == ["deployment", "task_id"]
    assert top["summary"] == {"scanned": 4, "total_bytes": 902 + 2002 + 2}
    assert [one["deployment"] for one in top["groups"]][:2] == ["two", "one"]
    tree = json.loads(run("top", "--all-profiles", "-o", "ncdu").out)[3]
    assert [one[0]["name"] for one in tree[1:]] == ["two", "one"]
    info = run("info", "--all-profiles", "-o", "json").json()["deployments"]
    assert [(one["deployment"], one["rows"]) for one in info] == [("one", 2), ("two", 2)]
    assert info[0]["server"]["backend"] == "sqlite"
    table = run("top", "--all-profiles", "--columns", "deployment,total")
    assert table.out.split()[:2] == ["deployment", "total"]


def test_one_profile_is_as_before(run: Run, good: Path) -> None:
    """No column more."""
    rows = run("list", "-P", "one", "-o", "json").json()["xcom_entries"]
    assert "deployment" not in rows[0]
    assert "deployment" not in run("top", "--profile", "one").out
    assert "deployment" not in run("list", "-P", "one", "-P", "one").out


def test_the_audit_adds_up_and_trips_for_any(run: Run, good: Path) -> None:
    """Findings name their deployment; what is known of one is not known of the other."""
    arguments = ("audit", "--all-profiles", "--size-limit", "1000", "-o", "json")
    report = json.loads(run(*arguments).out)
    assert run(*arguments).code == 1
    assert report["summary"]["scanned"] == 4
    found = {(one["deployment"], one["rule"]) for one in report["findings"]}
    assert found == {("two", "xcom-over-limit"), ("one", "xcom-near-limit")}
    assert run("audit", "-P", "one", "--size-limit", "1000").code == 0
    for name in ("sarif", "junit", "github", "gitlab", "openmetrics"):
        done = run(*arguments[:-1], name)
        assert done.code == 1, (name, done.err)
        assert done.out


@pytest.mark.parametrize("command", ALL)
def test_one_down_and_one_slow_are_rows_with_their_reason(
    run: Run, three: Path, command: str
) -> None:
    """The rest is complete, and the exit code is 3; with --keep-going it is not."""
    began = time.monotonic()
    done = run(command, "--all-profiles", "-o", "json")
    assert time.monotonic() - began < 30
    assert done.code == 3
    assert "s3cret" not in done.out + done.err
    assert "xcomctl: warning: down: could not connect" in done.err
    assert "xcomctl: warning: slow: " in done.err
    assert "2 of 3 deployments could not be read" in done.err
    document = json.loads(done.out)
    name = {"list": "xcom_entries", "top": "groups", "audit": "findings", "info": "deployments"}
    rows = document[name[command]]
    reason = "message" if command == "audit" else "reason"
    failed = {one["deployment"]: one[reason] for one in rows if one["deployment"] != "one"}
    assert failed.keys() == {"down", "slow"}
    assert failed["down"].startswith("could not connect")
    assert all(failed.values())
    if command == "audit":
        assert document["complete"] is False
        assert document["summary"]["scanned"] == 2
    else:
        assert any(one["deployment"] == "one" and one[reason] is None for one in rows)
    assert run(command, "--all-profiles", "--keep-going").code == 0


def test_a_failure_outranks_findings(run: Run, three: Path) -> None:
    """Unless it is left out."""
    arguments = ("audit", "--all-profiles", "--size-limit", "100")
    assert run(*arguments).code == 3
    assert run(*arguments, "--keep-going").code == 1
    assert run(*arguments, "-o", "sarif").code == 3


def test_a_snapshot_holds_those_that_answered(run: Run, three: Path, tmp_path: Path) -> None:
    """Which top reads."""
    assert run("snapshot", "--all-profiles", "sizes.gz").code == 3
    groups = run("top", "--from", "sizes.gz", "-o", "json").json()["groups"]
    assert {one["deployment"] for one in groups} == {"one"}


def test_a_report_shows_those_that_answered(run: Run, good: Path, three: Path) -> None:
    """By their names."""
    assert run("report", "--all-profiles", "page.html").code == 3
    page = (three.parent / "page.html").read_text()
    assert "task_one" in page
    assert "task_two" not in page
    assert run("report", "--all-profiles", "--keep-going", "page.html").code == 0


def test_none_that_answers_is_an_error(run: Run, tmp_path: Path) -> None:
    """Also with --keep-going. A profile that cannot be resolved has its reason, too."""
    (tmp_path / "xcomctl.toml").write_text(
        f'[profiles.a]\nurl = "{tmp_path}/none.db"\n[profiles.b]\nurl_env = "NOT_SET"\n'
    )
    for command in ALL:
        done = run(command, "--all-profiles", "--keep-going")
        assert done.code == 3, (command, done.err)
        assert "2 of 2 deployments" in done.err
        assert "NOT_SET" in done.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["list", "-P", "one", "-P", "tow"], 'unknown profile "tow"'),
        (["top", "--all-profiles", "--url", "x.db"], "--all-profiles cannot be combined with --url"),
        (["list", "--all-profiles", "--follow"], "--follow cannot be combined with several"),
        (["list", "--all-profiles", "--after", "x"], "invalid cursor"),
        (["snapshot", "--all-profiles", "x.gz", "--part", "1/2"], "--part cannot be combined"),
        (["top", "--all-profiles", "--from", "x.gz"], "--all-profiles cannot be combined with --from"),
    ],
)  # fmt: skip
def test_mistakes_are_told(run: Run, good: Path, arguments: list[str], said: str) -> None:
    """Before any database is asked."""
    done = run(*arguments)
    assert (done.code, said in done.err) == (2, True), done.err


def test_no_profiles_is_a_mistake(run: Run) -> None:
    """It does not read whatever the environment names."""
    done = run("list", "--all-profiles")
    assert done.code == 2
    assert "needs profiles" in done.err
