"""Keys that a task of Airflow 3 cannot address, compared with its own client and routes."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.conftest import clean_environment
from tests.left_out import real_airflow
from tests.metadata import Metadata
from xcomctl.values.key_route import key_problem

if TYPE_CHECKING:
    from tests.conftest import Run
    from xcomctl.values.context import Release

OLD: dict[str, str | None] = {
    "a/b": None,
    "a/": "a",
    "a%2Fb": None,
    "a/item/3": None,
}
"""What 3.0 is asked for instead of these, where that differs from later releases."""
NEW: dict[str, str | None] = {
    **{key: key for key in ("a", "a b", "a+b", "100%", "a%zz", "\N{SNOWMAN}", "a:b@c;d=e&f", "[x]", "\\")},
    "a/b": "a/b",
    "a//b": "a//b",
    "a/": "a/",
    "a?b": "a",
    "a#b": "a",
    "a%2Fb": "a/b",
    "a%20b": "a b",
    "a%e9": "a\N{REPLACEMENT CHARACTER}",
    "..": None,
    "a/../b": "b",
    "a/.": "a",
    "a/item/3": None,
    "a/slice": None,
    "item/3": "item/3",
}  # fmt: skip


def asked(problem: str | None, key: str) -> str | None:
    """Return the key that a problem names; the key itself without one."""
    if problem is None:
        return key
    return problem.split('"')[1] if "instead" in problem else None


@pytest.mark.parametrize("release", [(3, 0, 6), (3, 1, 8), (3, 3, 2)])
def test_keys_that_a_url_cannot_carry_are_recognised(release: Release) -> None:
    """They are cut at a question mark, decoded, or match another route."""
    expected = NEW if release >= (3, 1, 0) else {**NEW, "a//b": None, "item/3": None, "a/slice": None, **OLD}  # fmt: skip
    assert {key: asked(key_problem(key, release), key) for key in expected} == expected
    assert "InvalidURL" in str(key_problem("a\nb", release))


def test_older_airflows_ask_the_database() -> None:
    """Airflow 2 finds every key."""
    assert all(key_problem(key, (2, 11, 2)) is None for key in (*NEW, "a\nb"))


@pytest.mark.parametrize("number", ["30", "3"])
def test_the_routes_of_real_airflow_are_asked_for_the_same(number: str, tmp_path: Path) -> None:
    """The real routes, with the HTTP client that tasks use."""
    program = real_airflow(number)
    done = subprocess.run(
        [Path(program).with_name("python"), Path(__file__).parents[1] / "real_key_routes.py"],
        input=json.dumps([*NEW]), capture_output=True, text=True, check=False, timeout=120,
        env={**clean_environment(tmp_path), "AIRFLOW_HOME": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    real = json.loads(done.stdout.splitlines()[-1])
    release = (3, 0, 6) if number == "30" else (3, 3, 2)
    assert {key: asked(key_problem(key, release), key) for key in NEW} == real


def test_pull_notes_and_push_refuses_such_a_key(tmp_path: Path, run: Run) -> None:
    """pull still shows the value."""
    path = tmp_path / "airflow.db"
    metadata = Metadata(str(path), "3.0", with_instances=True)
    metadata.instance("dag", "task", "run_1")
    metadata.add("1", key="a?b")
    done = run("pull", "dag", "task", "a?b", "--url", path)
    assert done.json() == 1
    assert 'xcom_pull asks for the key "a" instead' in done.err
    done = run("push", "dag", "task", "a#b", "1", "--url", path)
    assert (done.code, "asks for the key" in done.err) == (5, True)
