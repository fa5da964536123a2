"""A real Airflow, run as its own program in its own environment."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def airflow(program: str, *arguments: str, environment: Mapping[str, str], folder: Path) -> str:
    """Run a command of it, which must succeed, and return its output."""
    done = subprocess.run(
        [program, *arguments],
        env=environment,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout
