"""The benchmark itself works; how fast anything is, is not for tests to say."""

from __future__ import annotations

import contextlib
import re
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from tests.left_out import need_program

PROJECT = Path(__file__).resolve().parents[1]


@pytest.fixture
def sqlite_client() -> None:
    """SQLite's own client, which the benchmark compares with."""
    need_program("sqlite3")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.benchmarks", "--backend", "sqlite", "--storage", "bytes", "--rows", "2000",
         "--runs", "1", "--startup-runs", "1", *arguments],
        capture_output=True, text=True, cwd=PROJECT, check=False,
    )  # fmt: skip


@pytest.mark.usefixtures("sqlite_client")
def test_benchmark_reports_each_operation_against_its_floor(tmp_path: Path) -> None:
    """Every operation that was asked for has its line: seconds, a ratio or difference, and no failure."""
    report = tmp_path / "report.md"
    done = run(
        "--only", "audit", "list", "list-glob", "export", "startup", "--markdown", str(report)
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lines = {
        cells[4]: cells
        for cells in (
            [cell.strip() for cell in line.split("|")] for line in done.stdout.splitlines()
        )
        if len(cells) == 15
    }
    for name in ("audit", "list", "export", "startup-version", "startup-help", "startup-list"):
        assert re.fullmatch(r"\d+\.\d\d ×", lines[name][11]), lines[name]
        assert float(lines[name][6]) > 0
        assert float(lines[name][7]) > 0
    assert re.fullmatch(r"[+-]\d+ ms", lines["list-glob"][11])
    assert re.fullmatch(r"\d+\.\d × faster", lines["export-peer"][11])
    assert re.search(r"^\d of 6 bars met$", done.stdout, re.MULTILINE)
    assert report.read_text(encoding="utf-8") == done.stdout


def test_benchmark_shows_a_command_that_fails(tmp_path: Path) -> None:
    """What a command cannot do is its line, with the first line of its stderr; nothing is dropped."""
    database = tmp_path / "bench"
    assert run("--only", "list", "--data", str(database)).returncode == 0
    with contextlib.closing(
        sqlite3.connect(database / "xcomctl_bench_bytes_2000.db")
    ) as connection:
        connection.execute("UPDATE xcom SET dag_id = 'other' WHERE dag_id = 'dag_017'")
        connection.commit()
    done = run("--only", "list", "pull", "--data", str(database))
    assert done.returncode == 1
    assert "FAILED: xcomctl: xcomctl: error: " in done.stdout
    assert re.search(r"^[01] of 1 bars met, 1 FAILED$", done.stdout, re.MULTILINE)


def test_benchmark_takes_no_half_built_database(tmp_path: Path) -> None:
    """A file with other rows is reported and left alone, and the exit code is 1."""
    (tmp_path / "xcomctl_bench_bytes_0.db").touch()
    (tmp_path / "xcomctl_bench_bytes_2000.db").write_bytes(b"")
    done = run("--only", "pull", "--data", str(tmp_path))
    assert done.returncode == 1
    assert "FAILED: xcomctl_bench_bytes_2000 holds 0 rows of 0 runs, not 2000" in done.stdout
    assert "0 of 0 bars met, 1 FAILED" in done.stdout


@pytest.mark.usefixtures("sqlite_client")
def test_benchmark_measures_values_in_units_of_an_export() -> None:
    """With an older build beside it; rows that were deleted come back."""
    older = Path(sys.executable).with_name("xcomctl")
    done = run("--only", "values-csv", "values-delete", "--before", str(older), "--rows", "200")
    assert done.returncode == 0, done.stdout + done.stderr
    for name in ("values-csv", "values-csv before", "values-delete", "values-import"):
        assert re.search(rf"\| {name} \| E: .* \| \d+\.\d\d E \|", done.stdout), done.stdout
