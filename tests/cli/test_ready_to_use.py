"""The GitHub action's steps and the GitLab job's script do what they say."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.conftest import clean_environment
from tests.metadata import Metadata

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).parents[2]


@pytest.fixture
def runner(tmp_path: Path) -> dict[str, str]:
    """An environment in which `xcomctl` is already installed where the action puts it."""
    programs = tmp_path / "xcomctl" / "bin"
    programs.mkdir(parents=True)
    program = programs / "xcomctl"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m xcomctl "$@"\n')
    program.chmod(0o755)
    path = f"{programs}:{os.environ['PATH']}"
    return clean_environment(tmp_path) | {
        "RUNNER_TEMP": str(tmp_path),
        "GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md"),
        "PYTHONPATH": str(ROOT),
        "PATH": path,
    }


def bash(script: str, env: Mapping[str, str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a script as GitHub does."""
    command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script]
    return subprocess.run(
        command, env=dict(env), cwd=folder, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(("limit", "code"), [("1000", 1), ("5000", 0), ("lots", 2)])
def test_github_action_audits(
    runner: dict[str, str], tmp_path: Path, limit: str, code: int
) -> None:
    """Annotations in the log, SARIF in a file, a table in the summary, and the gate's code."""
    action: Any = yaml.safe_load((ROOT / ".github/actions/audit/action.yml").read_text())
    step = action["runs"]["steps"][1]
    path = tmp_path / "airflow.db"
    Metadata(str(path)).add(b'"' + b"x" * 2000 + b'"')
    given = {"url": str(path), "args": f"--size-limit\n{limit}\n", "sarif": "out.sarif"}
    names = {f"${{{{ inputs.{name} }}}}": value for name, value in given.items()}
    env = runner | {name: names[value] for name, value in step["env"].items()}
    done = bash(step["run"], env, tmp_path)
    assert done.returncode == code, done.stderr
    if code == 2:
        assert not (tmp_path / "out.sarif").exists()
        return
    results = json.loads((tmp_path / "out.sarif").read_text())["runs"][0]["results"]
    assert len(results) == code
    assert done.stdout.count("::error") == code
    assert ("failed" if code else "passed") in (tmp_path / "summary.md").read_text()


def test_gitlab_job_audits(runner: dict[str, str], tmp_path: Path) -> None:
    """Both reports are where the job declares them."""
    template: Any = yaml.safe_load((ROOT / ".gitlab/xcomctl.gitlab-ci.yml").read_text())
    job = template[".xcomctl-audit"]
    path = tmp_path / "airflow.db"
    Metadata(str(path)).add(b'"' + b"x" * 2000 + b'"')
    env = runner | job["variables"]
    env |= {"XCOMCTL_URL": str(path), "XCOMCTL_AUDIT_ARGS": "--size-limit 1000"}
    done = bash(job["script"][1], env, tmp_path)
    assert done.returncode == 1, done.stderr
    for report in job["artifacts"]["reports"].values():
        assert (tmp_path / report).stat().st_size > 0
