"""What real Airflows leave where no XCom is, and whether `why` names the cause."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.left_out import AIRFLOWS, real_airflow
from tests.real_airflow import airflow

if TYPE_CHECKING:
    from tests.conftest import Run

HERE = Path(__file__).parents[1]

RELEASES = ("2.10", "3.0", "3.3")
"""Release → the variable that names its `airflow`."""

CAUSES = {
    "gives": "exists",
    "gives rows": "key",
    "none": "returned-none",
    "quiet": "not-pushed",
    "many": "exists",
    "many x": "exists",
    "many z": "key",
    "fails": "failed",
    "half": "failed",
    "half early": "exists",
    "half erly": "key",
    "after": "not-run",
    "choose": "exists",
    "left": "returned-none",
    "right": "skipped",
    "skips": "skipped",
    "gap": "map-index",
    "gap -m 0": "exists",
    "gap -m 1": "returned-none",
    "gap -m 3": "map-index",
    "gives -m 0": "map-index",
    "gap_of_nothing": "skipped",
    "null nothing": "null",
    "inner": "group-prefix",
    "group.inner": "exists",
    "group.iner": "task",
    "cleared": "cleared",
    "gives -r latest~1": "run",
}
"""What follows `xcomctl why why_dag` → the cause."""

DIFFERENT = {
    # A branch that skips something stores no return value any more.
    "3.0": {"choose": "not-pushed", "null nothing": "failed"},
    "3.3": {"choose": "not-pushed"},
}
"""Those that are different from some release on. 3.0 refuses to push None, so that task fails."""


@pytest.mark.parametrize("release", RELEASES)
def test_causes_of_a_real_run(release: str, tmp_path: Path, run: Run) -> None:
    """None of the guesses is wrong."""
    program = real_airflow(AIRFLOWS[release])
    database = tmp_path / "airflow.db"
    dags = tmp_path / "dags"
    dags.mkdir()
    shutil.copy(HERE / "dags" / "why_dag.py", dags)
    environment = {
        **{name: text for name, text in os.environ.items() if not name.startswith("AIRFLOW")},
        "AIRFLOW_HOME": str(tmp_path),
        "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{database}",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    airflow(program, "db", "migrate", environment=environment, folder=tmp_path)
    airflow(program, "dags", "reserialize", environment=environment, folder=tmp_path)
    airflow(program, "dags", "test", "why_dag", environment=environment, folder=tmp_path)
    python = str(Path(program).with_name("python"))
    clearing = str(HERE / "clearing.py")
    airflow(python, clearing, "why_dag", "cleared", environment=environment, folder=tmp_path)
    expected = CAUSES | DIFFERENT.get(release, {})
    found = {}
    for asked in expected:
        done = run("why", "why_dag", *asked.split(), "--url", database, "-o", "json")
        found[asked] = done.json()["cause"]
    assert found == expected
