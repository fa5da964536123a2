"""The audit's limits, to the byte, on the databases that set them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.metadata import Metadata

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Run
    from tests.servers import Server

BLOB = 65_535


def json_of(length: int) -> bytes:
    """Return valid JSON of exactly this many bytes."""
    return b'"' + b"x" * (length - 2) + b'"'


def rules(report: Any) -> dict[str, list[str]]:
    """Return the rules that an audit reports of each task."""
    found: dict[str, list[str]] = {}
    for finding in report["findings"]:
        found.setdefault(finding["task_id"], []).append(finding["rule"])
    return found


def audit(run: Run, url: object, *arguments: str) -> Any:
    done = run("audit", "--url", str(url), "-o", "json", "--exit-zero", *arguments)
    return done.json()


def test_blob_is_near_from_80_percent_and_cut_at_its_capacity(run: Run, mysql_like: Server) -> None:
    """52,427 bytes pass, 52,428 and 65,535 are close to the limit; a truncated value is distinguished from a full one."""
    url = mysql_like.create_database()
    metadata = Metadata(url, "2.3", "BLOB")
    for length in (52_427, 52_428, BLOB):
        metadata.add(json_of(length), task_id=f"json_{length}")
    with mysql_like.variable("sql_mode", "''"):
        metadata.add(json_of(70_000), task_id="cut")
        metadata.add(b"\x80\x04\x95" + b"\x00" * 70_000, task_id="cut_pickle")
        warned = run("audit", "--url", url, "--exit-zero")
    report = audit(run, url)
    assert report["limits"][0]["bytes"] == BLOB
    assert report["backend"]["column_type"] == "blob"
    assert rules(report) == {
        "json_52428": ["xcom-near-limit"],
        "json_65535": ["xcom-near-limit"],
        "cut": ["xcom-truncated", "xcom-near-limit"],
        "cut_pickle": ["xcom-truncated", "xcom-near-limit", "xcom-pickled"],
    }
    assert rules(audit(run, url, "--deep")) == rules(report)
    for depth in ([], ["--deep"]):
        shown = run("audit", "--url", url, "-q", *depth)
        assert shown.code == 1
        lines = [line.split()[:3] for line in shown.out.splitlines() if "  cut" in line]
        assert sorted(lines) == [
            ["error", "xcom-truncated", "cut"],
            ["error", "xcom-truncated", "cut_pickle"],
        ]
    assert "strict" in warned.err
    assert "strict" not in run("audit", "--url", url).err


def test_longblob_is_limited_by_the_servers_packet(run: Run, mysql_like: Server) -> None:
    """LONGBLOB holds 4 GB; with a smaller max_allowed_packet the same values are over the limit."""
    url = mysql_like.create_database()
    metadata = Metadata(url, "2.3", "LONGBLOB")
    for length in (52_427, 52_428, BLOB, 70_000):
        metadata.add(json_of(length), task_id=f"json_{length}")
    report = audit(run, url)
    assert rules(report) == {}
    assert report["limits"][0]["name"] == "max_allowed_packet"
    assert report["limits"][0]["bytes"] in (16 * 2**20, 64 * 2**20)
    with mysql_like.variable("max_allowed_packet", str(64 * 1024)):
        lowered = audit(run, url)
        assert lowered["limits"][0]["bytes"] == 65_536
        assert rules(lowered) == {
            "json_65535": ["xcom-near-limit"],
            "json_70000": ["xcom-over-limit"],
        }
        pulled = run("pull", "dag", "json_70000", "--url", url).json()
    assert pulled == "x" * 69_998


def test_as_compares_with_another_backend(run: Run, tmp_path: Path) -> None:
    """65,536 bytes fit SQLite, but not the BLOB of Airflow 2.8 on MySQL."""
    path = tmp_path / "airflow.db"
    metadata = Metadata(str(path))
    metadata.add(json_of(BLOB), task_id="fits")
    metadata.add(json_of(BLOB + 1), task_id="over")
    assert rules(audit(run, path)) == {}
    assert rules(audit(run, path, "--as", "mysql:2.8")) == {
        "fits": ["xcom-near-limit"],
        "over": ["xcom-over-limit"],
    }
    assert rules(audit(run, path, "--as", "mysql:2.10")) == {}


@pytest.mark.parametrize(
    ("limit", "warn_at", "expected"),
    [
        ("1000", "80%", {"b800": "xcom-near-limit", "c1000": "xcom-near-limit", "d1001": "xcom-over-limit"}),
        ("1000", "801", {"c1000": "xcom-near-limit", "d1001": "xcom-over-limit"}),
        ("1001", "100%", {"d1001": "xcom-near-limit"}),
        ("1kB", "1KiB", {"d1001": "xcom-over-limit"}),
    ],
)  # fmt: skip
def test_own_limits_hold_to_the_byte(
    run: Run, tmp_path: Path, limit: str, warn_at: str, expected: dict[str, str]
) -> None:
    """A value at the limit is close to it, and one byte more exceeds it."""
    path = tmp_path / "airflow.db"
    metadata = Metadata(str(path))
    for name, length in (("a799", 799), ("b800", 800), ("c1000", 1000), ("d1001", 1001)):
        metadata.add(json_of(length), task_id=name)
    report = audit(run, path, "--size-limit", limit, "--warn-at", warn_at)
    assert rules(report) == {task: [rule] for task, rule in expected.items()}


def test_nominal_figures_are_powers_of_ten(run: Run, tmp_path: Path) -> None:
    """The commonly quoted figures: 1 GB for SQLite, 64 KB for MySQL."""
    path = tmp_path / "airflow.db"
    metadata = Metadata(str(path))
    metadata.add(json_of(64_000), task_id="fits")
    metadata.add(json_of(64_001), task_id="over")
    report = audit(run, path, "--size-limit", "nominal")
    assert [one["bytes"] for one in report["limits"]] == [1_000_000_000]
    report = audit(run, path, "--size-limit", "nominal", "--as", "mysql")
    assert [one["bytes"] for one in report["limits"]] == [64_000]
    assert rules(report) == {"fits": ["xcom-near-limit"], "over": ["xcom-over-limit"]}


def test_findings_are_grouped_and_named_alike_from_run_to_run(run: Run, tmp_path: Path) -> None:
    """Ten runs of a task are one finding, whose fingerprint contains neither run nor size."""
    path = tmp_path / "airflow.db"
    metadata = Metadata(str(path))
    for number in range(10):
        metadata.add(json_of(2000 + number), run_id=f"run_{number}")
    (finding,) = audit(run, path, "--size-limit", "1000")["findings"]
    assert finding["occurrences"] == 10
    assert finding["max_size_bytes"] == 2009
    assert finding["example"] == {"run_id": "run_9", "map_index": -1}
    assert finding["percent"] == 200.9
    only = audit(run, path, "--size-limit", "1500", "-r", "run_3")["findings"]
    assert [one["fingerprint"] for one in only] == [finding["fingerprint"]]
    each = audit(run, path, "--size-limit", "1000", "--per-entry")["findings"]
    assert [one["example"]["run_id"] for one in each] == [f"run_{n}" for n in range(9, -1, -1)]


def test_two_outputs_agree(run: Run, tmp_path: Path) -> None:
    """One command prints a table and writes files with the same findings."""
    path, report, rows = tmp_path / "airflow.db", tmp_path / "a.json", tmp_path / "a.jsonl"
    Metadata(str(path)).add(json_of(2000))
    done = run("audit", "--url", path, "--size-limit", "1000", "-o", "table",
               "-o", f"json={report}", "-o", f"jsonl={rows}")  # fmt: skip
    assert done.code == 1
    assert "xcom-over-limit" in done.out
    document = json.loads(report.read_text())
    assert document["summary"]["errors"] == 1
    assert [json.loads(line) for line in rows.read_text().splitlines()] == document["findings"]
    assert sorted(one.name for one in tmp_path.iterdir() if one.is_file()) == [
        "a.json",
        "a.jsonl",
        "airflow.db",
    ]
