"""The fences of the house: who may import what, and what start-up may load."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.metadata import Metadata

PACKAGE = Path(__file__).parent.parent / "xcomctl"
MODULES = sorted(PACKAGE.rglob("*.py"))


def imports(path: Path) -> set[str]:
    """Return every module that a file imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


def users_of(*names: str) -> set[str]:
    """Return the files, relative to the package, that import any of the modules."""
    return {
        path.relative_to(PACKAGE).as_posix()
        for path in MODULES
        for module in imports(path)
        if module in names or module.startswith(tuple(f"{name}." for name in names))
    }


def test_there_is_something_to_fence() -> None:
    """The package was found, and the scan sees its imports."""
    assert len(MODULES) > 20
    assert "db/read/store.py" in users_of("sqlalchemy")


def test_sqlalchemy_and_drivers_stay_under_db() -> None:
    """Only `db` asks the database; the demo builds its file with the standard library."""
    users = users_of("sqlalchemy", "psycopg2", "pymysql", "sqlite3")
    assert {user for user in users if not user.startswith("db/")} <= {"demo/build.py"}


def test_typer_stays_under_cli() -> None:
    """Only `cli` speaks the command line's language."""
    assert all(user.startswith("cli/") for user in users_of("typer", "click"))


def test_rich_stays_in_two_places() -> None:
    """A format for people, and the console."""
    assert users_of("rich") <= {"formats/table.py", "cli/console.py"}


def test_pyarrow_stays_in_one_place() -> None:
    """An extra, for Parquet."""
    assert users_of("pyarrow") == {"exchange/parquet.py"}


def test_nothing_unpickles_or_imports_what_a_value_names() -> None:
    """No loader of code is in reach of a value; importlib only takes names that we wrote."""
    assert (
        users_of("pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve") == set()
    )
    assert users_of("importlib") <= {"cli/__init__.py", "formats/__init__.py"}
    for path in MODULES:
        calls = {
            node.func.id
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        }
        assert not calls & {"eval", "exec", "__import__", "compile"}, path


@pytest.mark.parametrize("package", ["formats", "audit"])
def test_formats_and_audit_never_see_db(package: str) -> None:
    """What writes and what judges is given its rows."""
    assert not {user for user in users_of("xcomctl.db", "xcomctl.cli") if user.startswith(package)}


def test_imports_run_down() -> None:
    """The nouns know nobody, and nobody but the entry knows the command line."""
    for name, allowed in {
        "errors.py": set[str](),
        "text.py": set[str](),
        "model.py": {"xcomctl.errors"},
    }.items():
        ours = {module for module in imports(PACKAGE / name) if module.startswith("xcomctl")}
        assert {module for module in ours if module.count(".") == 1} <= allowed, name
    users = {user for user in users_of("xcomctl.cli") if not user.startswith("cli/")}
    assert users <= {"__main__.py"}


def at_the_end(told: str, *arguments: str) -> list[str]:
    """Return what an expression says, in words, when a run of the program ends."""
    code = (
        "import atexit, gc, sys\n"
        f"sys.argv = ['xcomctl', *{list(arguments)!r}]\n"
        f"atexit.register(lambda: print('TOLD', *{told}, file=sys.stderr))\n"
        "from xcomctl.__main__ import main\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    line = next(line for line in done.stderr.splitlines() if line.startswith("TOLD"))
    assert done.returncode == 0, done.stderr
    return line.split()[1:]


def loaded_by(*arguments: str) -> set[str]:
    """Return the modules that a run of the program has loaded at its end."""
    return set(at_the_end("sys.modules", *arguments))


HEAVY = {"sqlalchemy", "psycopg2", "pymysql", "sqlite3", "pydantic", "rich.console", "pyarrow"}


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["list", "--help"],
        ["pull", "-h"],
        ["audit", "--help"],
        ["preflight", "-h"],
        ["top", "-h"],
        ["export", "-h"],
        ["--version"],
    ],
)
def test_help_and_version_load_nothing_heavy(arguments: list[str]) -> None:
    """Asking what there is touches no database library."""
    assert not loaded_by(*arguments) & HEAVY


@pytest.mark.parametrize("option", ["--version", "-V"])
def test_version_loads_not_even_the_command_line(option: str) -> None:
    """A script may ask for the version in a loop."""
    modules = loaded_by(option)
    assert not modules & {"typer", "xcomctl.cli", "re", "dataclasses"}
    assert len(modules) < 70


def test_garbage_is_looked_for_in_what_comes_after_the_imports(tmp_path: Path) -> None:
    """Not before, which would take a tenth of a short command, nor when all of it ends."""
    Metadata(str(tmp_path / "airflow.db")).add(b"1")
    told = "(gc.isenabled(), gc.get_freeze_count() > 10_000, sum(map(len, map(gc.get_objects, range(3)))) < 100)"
    assert at_the_end(told, "list", "--url", str(tmp_path / "airflow.db")) == ["True"] * 3
    assert at_the_end(told, "--help") == ["False", "True", "True"]
