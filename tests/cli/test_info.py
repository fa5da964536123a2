"""`xcomctl info`: sections for people, a document that only grows for programs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.metadata import Metadata
from xcomctl.cli.info_sections import paragraphs, sections

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Run


@pytest.fixture
def path(tmp_path: Path) -> str:
    path = str(tmp_path / "airflow.db")
    metadata = Metadata(path)
    metadata.add(b'"value"')
    metadata.execute("CREATE TABLE _xcom_archive AS SELECT * FROM xcom")
    return path


def lines(out: str) -> dict[str, str]:
    """Return the text of each label."""
    return {line[2:15].strip(): line[15:] for line in out.splitlines() if line.startswith("  ")}


def test_sections_for_people(run: Run, path: str) -> None:
    done = run("info", "--url", path)
    titles = [line for line in done.out.splitlines() if line and not line.startswith(" ")]
    assert titles == ["Database", "Airflow", "Size", "Limit", "Privileges"]
    shown = lines(done.out)
    assert shown["rows"] == "1"
    assert shown["xcom table"] == "layout of 2.3 to 3.3"
    assert shown["archived"] == "_xcom_archive: 4.0 KiB, about 1 row"
    assert "push works" in shown["access"]
    assert not {"overrides", "profile", "schema", "states", "replication"} & shown.keys()


def test_old_facts_stay(run: Run, path: str) -> None:
    """Programs that read them by name go on."""
    document = json.loads(run("info", "--url", path, "-o", "json").out)
    facts = {one["fact"]: one["value"] for one in document["facts"]}
    assert facts["connection.read_only"] == "True"
    assert facts["xcom.rows"] == "1"
    assert facts["storage.archived"] == "_xcom_archive: 4.0 KiB, about 1 row"
    assert document["connection"]["beaten"] == document["connection"]["overridden"] == []
    assert document["storage"]["archived"] == [
        {"table": "_xcom_archive", "rows_estimate": 1, "total_bytes": 4096}
    ]
    assert run("info", "--url", path, "--columns", "fact", "-o", "csv").out.startswith("fact")


def test_a_profile_is_not_overridden_by_itself(run: Run, path: str, tmp_path: Path) -> None:
    """And `read_only` is said to be of the profile."""
    config = tmp_path / "xcomctl.toml"
    config.write_text(
        f'default_profile = "a"\n[profiles.a]\nurl = "{path}"\nread_only = true\n'
        '[profiles.b]\nurl = "other.db"\n',
        encoding="utf-8",
    )
    done = run("info", "-P", "a", env={"XCOMCTL_CONFIG": str(config)})
    shown = lines(done.out)
    assert shown["profile"] == "a"
    assert "the profile says read_only" in shown["access"]
    assert "overrides" not in shown
    by_url = run("info", "--url", path, env={"XCOMCTL_CONFIG": str(config)})
    assert lines(by_url.out)["overrides"] == f'{path} from default_profile "a"'


def test_innodb_sizes_are_estimates(run: Run, path: str) -> None:
    """They come from statistics, which are a while behind."""
    document: dict[str, Any] = json.loads(run("info", "--url", path, "-o", "json").out)
    document["server"]["backend"] = "mariadb"
    printed = [one for _, one in paragraphs(sections(document)[2])]
    assert printed[1].startswith("on disk      about ")


@pytest.mark.parametrize(
    ("replica", "lag_s", "text"),
    [
        (True, 3.2, "a read replica, 3 s behind"),
        (True, None, "a read replica"),
        (False, None, "not a replica"),
        (None, None, None),
    ],
)
def test_replication(
    run: Run, path: str, replica: bool | None, lag_s: float | None, text: str | None
) -> None:
    document: dict[str, Any] = json.loads(run("info", "--url", path, "-o", "json").out)
    document["server"] |= {"backend": "mysql", "replica": replica, "replica_lag_s": lag_s}
    printed = [one for _, one in paragraphs(sections(document)[0])]
    found = [one[13:] for one in printed if one.startswith("replication")]
    assert found == ([text] if text else [])
    assert any("a replica accepts no push" in one for one in printed) == (replica is True)
