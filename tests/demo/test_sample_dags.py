"""The sample DAGs: that both majors of Airflow can load them, and that the demo is what they leave.

`tests/data/real_runs.json` was recorded from real Airflows, 2.10.5 and 3.3.2 on SQLite:

* `dags_test`: what `left()` returns for the metadata DB after `airflow db migrate`, `airflow dags
  test xcom_dag` and `airflow dags test file_list_dag 2026-03-05`. The tests that take an Airflow
  compare a new run with it, so a failing one shows what to record instead.
* `scheduler`: the same after a scheduler (`airflow scheduler`, `airflow standalone`) had created
  and run one scheduled run of each, with the run of `xcom_dag` and the accuracies it pushed.

XCOM_DAG_SEED was 0 in all of them.
"""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import re
import sqlite3
import sys
from contextlib import closing
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import pytest

from tests.left_out import real_airflow
from tests.real_airflow import airflow
from xcomctl.demo.build import MODELS, Layout, accuracy, build, file_names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import ModuleType


SAMPLE_DAGS = Path(__file__).parents[2] / "sample_dags"
DAG_FILES = sorted(SAMPLE_DAGS.glob("*.py"))
RECORDED: dict[str, dict[str, Any]] = json.loads(
    (Path(__file__).parents[1] / "data" / "real_runs.json").read_text()
)

every_file = pytest.mark.parametrize("file", DAG_FILES, ids=lambda file: file.stem)


# The files, without Airflow


@every_file
def test_file_is_python_that_old_airflows_read(file: Path) -> None:
    """Airflow 2.4 runs on Python 3.7, so nothing newer stands in the syntax."""
    ast.parse(file.read_text(), feature_version=(3, 7))


@every_file
def test_imports_have_a_way_for_both_majors(file: Path) -> None:
    """Each import from Airflow stands in a `try` whose two branches bring the same names."""
    tree = ast.parse(file.read_text())
    guarded: set[ast.stmt] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Try):
            (handler,) = node.handlers
            assert isinstance(handler.type, ast.Name)
            assert handler.type.id == "ImportError"
            assert names_bound(node.body) == names_bound(handler.body)
            guarded |= {*node.body, *handler.body}
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    packages = {one: package(one) for one in imports}
    assert {packages[one] for one in imports if one in guarded} == {"airflow"}
    # Pendulum comes with every Airflow.
    unguarded = {packages[one] for one in imports if one not in guarded} - {"pendulum"}
    assert unguarded <= sys.stdlib_module_names


def names_bound(statements: Iterable[ast.stmt]) -> set[str]:
    """Return the names that import statements bring."""
    return {
        alias.asname or alias.name
        for statement in statements
        if isinstance(statement, ast.Import | ast.ImportFrom)
        for alias in statement.names
    }


def package(node: ast.Import | ast.ImportFrom) -> str:
    """Return the top-level package that is imported."""
    name = node.names[0].name if isinstance(node, ast.Import) else str(node.module)
    return name.partition(".")[0]


def test_both_list_the_same_files(tmp_path: Path) -> None:
    """The demo's list of a day is the DAG's, on both sides of the start and of the limit."""
    rule: Callable[[date], list[str]] = pure_part("file_list_dag", tmp_path).file_names
    for day in ("2025-12-20", "2025-12-27", "2026-01-01", "2026-03-01", "2026-03-02", "2028-02-29"):
        assert rule(date.fromisoformat(day)) == file_names(date.fromisoformat(day))
    assert rule(date(2026, 1, 5))[123] == "s3-like/landing/2026/01/05/part-000123.parquet"


def test_both_reach_the_same_accuracy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the demo's seed in the environment, the DAG draws the demo's numbers."""
    rule: Callable[[str, str], float] = pure_part("xcom_dag", tmp_path).accuracy
    monkeypatch.setenv("XCOM_DAG_SEED", "3")
    for model in MODELS:
        assert rule(model, "run") == accuracy(3, "run", model)
    monkeypatch.delenv("XCOM_DAG_SEED")
    assert rule("training_model_a", "run") != rule("training_model_a", "run")


def pure_part(name: str, tmp_path: Path) -> ModuleType:
    """Return a DAG file's constants and undecorated functions as a module, without its DAG."""
    tree = ast.parse((SAMPLE_DAGS / f"{name}.py").read_text())
    body: list[ast.stmt] = [
        node
        for node in tree.body
        if (isinstance(node, ast.Import | ast.ImportFrom) and package(node) != "pendulum")
        or isinstance(node, ast.Assign)
        or (isinstance(node, ast.FunctionDef) and not node.decorator_list)
    ]
    source = tmp_path / f"{name}_pure.py"
    source.write_text(ast.unparse(ast.Module(body, type_ignores=[])))
    spec = importlib.util.spec_from_file_location(source.stem, source)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# What real runs left


def left(database: Path) -> list[dict[str, object]]:
    """Return what every distinct kind of row of the xcom table is like, without its content."""
    with closing(sqlite3.connect(database)) as connection:
        connection.row_factory = sqlite3.Row
        rows = [
            dict(row) for row in connection.execute("SELECT *, typeof(value) AS type FROM xcom")
        ]
    kinds = {
        json.dumps(
            {
                "dag_id": row["dag_id"],
                "task_id": row["task_id"],
                "key": row["key"],
                "map_index": row["map_index"],
                "dag_result": row.get("dag_result"),
                "type": row["type"],
                "shape": shape(decoded(row["value"])),
                "timestamp": re.sub(r"\d", "9", row["timestamp"]),
            }
        )
        for row in rows
    }
    return [json.loads(kind) for kind in sorted(kinds)]


def decoded(value: bytes | str | float) -> object:
    """Return the value that is stored."""
    return json.loads(value) if isinstance(value, bytes | str) else value


def as_sqlite_keeps(number: float, value: object) -> float:
    """Return the number that SQLite makes of its JSON text, where the column made it a number."""
    if not isinstance(value, float):
        return number
    with closing(sqlite3.connect(":memory:")) as connection:
        (kept,) = connection.execute("SELECT CAST(? AS NUMERIC)", (json.dumps(number),)).fetchone()
    return float(kept)


def shape(value: object) -> object:
    """Return the value with types in the place of what may differ from run to run."""
    if isinstance(value, dict):
        return {key: shape(one) for key, one in value.items()}
    if isinstance(value, list):
        return sorted({str(shape(one)) for one in value})
    return value if value == "" else type(value).__name__


@pytest.mark.parametrize("layout", RECORDED)
@pytest.mark.parametrize("way", ["dags_test", "scheduler"])
def test_demo_has_the_rows_that_real_runs_left(tmp_path: Path, layout: Layout, way: str) -> None:
    """Tasks, keys, flags, storage classes, JSON shapes and time formats are the real ones."""
    assert layout in get_args(Layout)
    path = build(tmp_path / "demo.db", layout=layout).path
    recorded = RECORDED[layout][way]
    assert left(path) == (recorded if way == "dags_test" else recorded["rows"])


@pytest.mark.parametrize("layout", RECORDED)
def test_demo_has_the_runs_that_a_scheduler_creates(tmp_path: Path, layout: Layout) -> None:
    """Run id, type and flags are the real ones; dates lie as far from the run's day."""
    recorded: dict[str, object] = RECORDED[layout]["scheduler"]["dag_run"]
    path = build(tmp_path / "demo.db", layout=layout, days=1).path
    with closing(sqlite3.connect(path)) as connection:
        connection.row_factory = sqlite3.Row
        (row,) = connection.execute(
            f"SELECT {', '.join(recorded)} FROM dag_run WHERE dag_id = 'xcom_dag'"
        )
    assert relative(dict(row)) == relative(recorded)


def relative(run: dict[str, object]) -> dict[str, object]:
    """Return the run with its dates as distances from the date in its run id."""
    day = datetime.strptime(str(run["run_id"]), "scheduled__%Y-%m-%dT00:00:00+00:00")
    return {
        name: str(datetime.strptime(value, "%Y-%m-%d %H:%M:%S.%f") - day)
        if isinstance(value, str) and re.match(r"\d{4}-", value)
        else value
        for name, value in run.items()
        if name != "run_id"
    }


@pytest.mark.parametrize("layout", RECORDED)
def test_demo_draws_what_a_real_run_drew(layout: Layout) -> None:
    """For a seed and a run id, the accuracies are those that real Airflow pushed."""
    recorded = RECORDED[layout]["scheduler"]
    for model in MODELS:
        drawn = accuracy(0, recorded["dag_run"]["run_id"], model)
        assert drawn == recorded["accuracies"][model]


# Real runs, where an Airflow is given

AIRFLOW_BY_LAYOUT: dict[Layout, str] = {
    "2.10": "2",
    "3.x": "3",
}
DAY = date(2026, 3, 5)


@pytest.fixture(scope="module", params=AIRFLOW_BY_LAYOUT)
def real_run(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Layout, Path, str]:
    """Return the layout, the database and the output of an Airflow that ran both DAGs."""
    layout: Layout = request.param
    program = real_airflow(AIRFLOW_BY_LAYOUT[layout])
    home = tmp_path_factory.mktemp("airflow")
    database = home / "airflow.db"
    environment = {
        **{name: text for name, text in os.environ.items() if not name.startswith("AIRFLOW")},
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(SAMPLE_DAGS),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{database}",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONWARNINGS": "always",
        "XCOM_DAG_SEED": "0",
    }
    output = ""
    for arguments in (
        ("db", "migrate"),
        ("dags", "test", "xcom_dag"),
        ("dags", "test", "file_list_dag", DAY.isoformat()),
    ):
        output += airflow(program, *arguments, environment=environment, folder=home)
    return layout, database, output


def test_real_run_leaves_the_rows_of_the_demo(
    real_run: tuple[Layout, Path, str], tmp_path: Path
) -> None:
    """Row kinds are the recorded ones and the demo's, and values are exactly the demo's rules."""
    layout, database, _ = real_run
    assert left(database) == RECORDED[layout]["dags_test"]
    assert left(database) == left(build(tmp_path / "demo.db", layout=layout).path)
    with closing(sqlite3.connect(database)) as connection:
        rows = connection.execute("SELECT run_id, task_id, value FROM xcom").fetchall()
    for run_id, task_id, value in rows:
        assert re.fullmatch(r"manual__\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{6})?\+00:00", run_id)
        model = task_id.removeprefix("processing_tasks.")
        if model in MODELS:
            assert decoded(value) == as_sqlite_keeps(accuracy(0, run_id, model), value)
        if task_id == "list_files":
            assert decoded(value) == file_names(DAY)


def test_real_xcom_table_is_that_of_the_demo(
    real_run: tuple[Layout, Path, str], tmp_path: Path
) -> None:
    """Columns, types, nullability, defaults, keys, indexes and foreign keys are the real ones."""
    layout, database, _ = real_run
    assert table(database) == table(build(tmp_path / "demo.db", layout=layout, days=1).path)


def table(database: Path) -> dict[str, object]:
    """Return how SQLite describes the xcom table."""
    with closing(sqlite3.connect(database)) as connection:
        (head,) = connection.execute("SELECT version_num FROM alembic_version").fetchall()
        indexes = connection.execute(
            "SELECT origin, seqno, info.name FROM pragma_index_list('xcom') AS list,"
            " pragma_index_info(list.name) AS info ORDER BY list.origin, list.name, seqno"
        ).fetchall()
        return {
            "head": head,
            "columns": connection.execute("PRAGMA table_info(xcom)").fetchall(),
            "indexes": indexes,
            "foreign keys": connection.execute("PRAGMA foreign_key_list(xcom)").fetchall(),
        }


def test_real_airflow_has_no_warning_about_the_files(
    real_run: tuple[Layout, Path, str],
) -> None:
    """Nothing that the DAG files use is deprecated."""
    _, _, output = real_run
    warned = [
        line
        for line in output.splitlines()
        if "warning" in line.lower() and any(file.name in line for file in DAG_FILES)
    ]
    assert warned == []
