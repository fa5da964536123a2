"""The pytest plugin: in plain pytest, and in the environments of real Airflows."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.conftest import clean_environment
from tests.left_out import AIRFLOWS, real_airflow
from tests.metadata import Metadata

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).parent.parent
RELEASES = ("2.10", "3.3")
"""Release → the variable that names its `airflow`."""
COMMAND = f"{sys.executable} -m xcomctl"
PUSHING = """
import datetime as dt
import sqlite3

import pytest

def push(task_id, size, key="return_value"):
    with sqlite3.connect("airflow.db") as db:
        now = dt.datetime.now(dt.timezone.utc).strftime("%Y-%m-%d %H:%M:%S.%f")
        value = b'"' + b"x" * (size - 2) + b'"'
        row = (1, task_id, -1, key, "dag", "run_1", value, now)
        db.execute("INSERT INTO xcom VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)

"""


def run_pytest(
    folder: Path,
    test: str,
    *,
    python: str = sys.executable,
    env: Mapping[str, str],
    settings: str = "",
) -> tuple[int, str]:
    """Run a test file with the plugin, and return exit code and output."""
    (folder / "pytest.ini").write_text(f"[pytest]\n{settings}\n")
    (folder / "test_it.py").write_text(test)
    done = subprocess.run(
        [python, "-m", "pytest", "-p", "xcomctl.pytest_plugin", "-p", "no:cacheprovider",
         "--show-capture=no", "-q", "test_it.py"],
        cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        encoding="utf-8", check=False, timeout=600,
        env=clean_environment(folder) | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"} | dict(env),
    )  # fmt: skip
    return done.returncode, done.stdout


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a database that holds an old XCom of 2 MB."""
    metadata = Metadata(str(tmp_path / "airflow.db"))
    metadata.add(b'"' + b"x" * 2_000_000 + b'"', key="old")
    return tmp_path


def checked(folder: Path, body: str, **env: str) -> tuple[int, str]:
    """Run a test with this body against that database."""
    given = {"AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{folder}/airflow.db"}
    given |= {"XCOMCTL_COMMAND": COMMAND} | env
    return run_pytest(folder, PUSHING + body, env=given)


def test_what_the_test_pushed_is_checked_and_nothing_older(folder: Path) -> None:
    """Within its budget it passes, and can be looked at."""
    code, out = checked(
        folder,
        """
def test_small(xcoms):
    push("extract", 1000)
    push("load", 10)
    xcoms.assert_within(budget="48 KiB", as_="mysql:2.8")
    xcoms.assert_within()
    assert {one["task_id"]: one["size_bytes"] for one in xcoms.entries()} == {"extract": 1000, "load": 10}
    assert len(xcoms.entries(task_id="l*")) == 1
""",
    )
    assert code == 0, out


def test_a_failure_says_what_the_audit_says(folder: Path) -> None:
    """The finding, the limit and the verdict, without a traceback."""
    code, out = checked(
        folder,
        """
def test_budget(xcoms):
    push("extract", 60_000)
    xcoms.assert_within(budget="48 KiB", as_="mysql:2.8")

def test_limit(xcoms):
    push("load", 70_000)
    xcoms.assert_within(as_="mysql:2.8", task_id="load")

def test_nothing(xcoms):
    xcoms.assert_within()

def test_nothing_is_allowed(xcoms):
    xcoms.assert_within(allow_none=True)

def test_bad_budget(xcoms):
    push("more", 7)
    xcoms.assert_within(budget="48 K")

def test_bad_filter(xcoms):
    with pytest.raises(TypeError, match="unknown filter 'dag'"):
        xcoms.assert_within(dag="x")
""",
        XCOMCTL_PROFILE="none",
    )
    assert code == 1
    assert "XComs are not within limits (budget 48 KiB, as mysql:2.8)" in out
    assert "xcom-over-budget" in out
    assert "58.6 KiB" in out
    assert "XComs are not within limits (as mysql:2.8)" in out
    assert "68.4 KiB exceeds the limit of 64.0 KiB" in out
    assert "no XCom was pushed since the test began" in out
    assert 'cannot read the size "48 K"' in out
    assert "Traceback" not in out
    assert "pytest_plugin.py" not in out
    assert "4 failed, 2 passed" in out


def test_the_command_is_found_and_its_absence_told(folder: Path) -> None:
    """On the PATH; through uvx; else the test fails with how to install it."""
    body = "\ndef test_it(xcoms):\n    push('a', 5)\n    xcoms.assert_within()\n"
    empty, bin_ = folder / "empty", folder / "bin"
    for one in (empty, bin_):
        one.mkdir()
    code, out = checked(folder, body, XCOMCTL_COMMAND="", PATH=str(empty))
    assert code == 1
    assert "the command xcomctl was not found" in out
    assert "uv tool install xcomctl" in out
    for name in ("uvx", "xcomctl"):
        script = bin_ / name
        skips = "shift 3; " if name == "uvx" else ""
        script.write_text(f'#!/bin/sh\n{skips}echo {name} >> used\nexec {COMMAND} "$@"\n')
        script.chmod(0o755)
        code, out = checked(folder, body.replace("'a'", f"'{name}'"), XCOMCTL_COMMAND="", PATH=str(bin_))  # fmt: skip
        assert code == 0, out
    assert (folder / "used").read_text().split() == ["uvx", "xcomctl"]


def test_the_entry_point_names_a_module_that_needs_pytest_only() -> None:
    """Neither Airflow's environment nor a start without the fixture pays for more."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (module,) = project["entry-points"]["pytest11"].values()
    code = f"import sys, {module}; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert not loaded & {"typer", "sqlalchemy", "rich", "msgspec", "xcomctl.cli", "xcomctl.db"}


DAG_TESTS = """
from xcoms_dag import large, small

def test_small(xcoms):
    small.test()
    xcoms.assert_within(budget="48 KiB", as_="mysql:2.8")
    found = xcoms.entries(dag_id="small")
    assert sorted(one["task_id"] for one in found) == ["count", "extract"]

def test_large(xcoms):
    large.test()
    xcoms.assert_within(budget="48 KiB", as_="mysql:2.8")
"""


@pytest.mark.parametrize("release", RELEASES)
def test_a_dag_test_in_a_real_airflow(tmp_path: Path, release: str) -> None:
    """`dag.test()` on a throwaway database passes, and fails with a message worth reading."""
    airflow = real_airflow(AIRFLOWS[release])
    site = tmp_path / "site"
    site.mkdir()
    libraries = Path(sysconfig.get_path("purelib"))
    for name in ("pytest", "_pytest", "py.py", "pluggy", "iniconfig", "packaging"):
        (site / name).symlink_to(libraries / name)
    (site / "xcomctl").symlink_to(ROOT / "xcomctl")
    (tmp_path / "dags").mkdir()
    shutil.copy(ROOT / "tests/dags/xcoms_dag.py", tmp_path / "dags")
    code, out = run_pytest(
        tmp_path,
        DAG_TESTS,
        python=str(Path(airflow).parent / "python"),
        env={"PYTHONPATH": str(site), "XCOMCTL_COMMAND": COMMAND},
        settings="xcoms_throwaway_db = true\npythonpath = dags",
    )
    assert code == 1, out
    assert re.search("1 failed, 1 passed", out), out
    assert "68.4 KiB exceeds the limit of 64.0 KiB" in out
    assert "failed: 1 error in 2 XComs" in out
    assert not list(tmp_path.glob("*.db"))
