"""Tests that need a program which this machine lacks: skipped, and counted at the end of the run.

XCOMCTL_REQUIRE_SERVERS=1 makes a missing server or program a failure, and XCOMCTL_REQUIRE_AIRFLOW
("2 30 3 34") does the same for the real Airflows that it lists. `.ci/run` sets both.
"""

from __future__ import annotations

import os
import shutil
from typing import NoReturn

import pytest

LEFT_OUT: dict[str, tuple[str, int]] = {}
"""What is missing: why, and the number of tests that were skipped."""
AIRFLOWS = {"2.10": "2", "3.0": "30", "3.3": "3", "3.4": "34"}
"""The release that each XCOMCTL_TEST_AIRFLOW<number> names."""


def leave_out(
    missing: str,
    reason: str,
    *,
    required: bool | None = None,
) -> NoReturn:
    """Skip this test and count it, or fail it where what is missing is required."""
    if required is None:
        required = os.environ.get("XCOMCTL_REQUIRE_SERVERS") == "1"
    if required:
        pytest.fail(f"{reason}, and it is required", pytrace=False)
    LEFT_OUT[missing] = (reason, LEFT_OUT.get(missing, ("", 0))[1] + 1)
    pytest.skip(reason)


def need_program(name: str, package: str | None = None) -> None:
    """Leave this test out where a program is not installed."""
    if shutil.which(name) is None:
        leave_out(name, f"{name} is not installed: apt-get install {package or name}")


def real_airflow(number: str) -> str:
    """Return the path of the `airflow` that XCOMCTL_TEST_AIRFLOW<number> names, or leave this test out."""
    variable = f"XCOMCTL_TEST_AIRFLOW{number}"
    program = os.environ.get(variable)
    if not program:
        required = number in os.environ.get("XCOMCTL_REQUIRE_AIRFLOW", "").split()
        release = next(one for one, its in AIRFLOWS.items() if its == number)
        leave_out(
            f"Airflow {release}", f"{variable} names no `airflow` of {release}", required=required
        )
    return program
