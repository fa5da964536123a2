"""The architecture, held by tests: who may import what, how long things may be, what start-up loads."""

from __future__ import annotations

import ast
import graphlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.metadata import Metadata

PACKAGE = Path(__file__).parent.parent / "xcomctl"
MODULES = sorted(PACKAGE.rglob("*.py"))

FLOORS = (
    "__main__",
    "cli",
    "demo",
    "report",
    "db",
    "audit",
    "exchange",
    "formats",
    "values",
    "sizes",
    "config",
    "model",
    "text",
    "errors",
)
"""Packages and loose modules from top to bottom. A module imports its own package and lower ones."""


def name_of(path: Path) -> str:
    """Return the dotted name of a module's file: `xcomctl.db.schema`."""
    parts = ("xcomctl", *path.relative_to(PACKAGE).with_suffix("").parts)
    return ".".join(parts).removesuffix(".__init__")


NAMES = {name_of(path): path for path in MODULES}


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


def our_imports(path: Path) -> set[str]:
    """Return the modules of ours that a file names; of `from package import module`, the module."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module in NAMES:
            for alias in node.names:
                module = f"{node.module}.{alias.name}"
                found.add(module if module in NAMES else node.module)
        elif isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names if alias.name in NAMES)
    return found - {name_of(path)}


def users_of(*names: str) -> set[str]:
    """Return the files, relative to the package, that import any of the modules."""
    return {
        path.relative_to(PACKAGE).as_posix()
        for path in MODULES
        for module in imports(path)
        if module in names or module.startswith(tuple(f"{name}." for name in names))
    }


def floor_of(module: str) -> str:
    """Return the package or loose module on whose floor a module of ours is."""
    return module.split(".")[1] if "." in module else ""


def test_the_scan_sees_modules_and_their_imports() -> None:
    """The package was found, and the scan sees what it imports."""
    assert len(MODULES) > 20
    assert "db/read/store.py" in users_of("sqlalchemy")
    assert "xcomctl.values.health" in our_imports(NAMES["xcomctl.values.encode"])


def test_imports_run_down() -> None:
    """The arrows between packages, printed; none points up."""
    arrows = {
        (floor_of(name), floor_of(used), name)
        for name, path in NAMES.items()
        for used in our_imports(path)
        if floor_of(used) and floor_of(name) != floor_of(used)
    }
    for upper, lower in sorted(
        {arrow[:2] for arrow in arrows}, key=lambda two: FLOORS.index(two[0])
    ):
        print(f"{upper} -> {lower}")
    wrong = [
        f"{name} imports {lower}: move what it needs down to {lower}'s floor or below, "
        f"or what needs it up to {upper}'s users"
        for upper, lower, name in sorted(arrows)
        if FLOORS.index(upper) >= FLOORS.index(lower)
    ]
    assert not wrong, "\n".join(wrong)


def test_no_circle_of_imports() -> None:
    """Modules can be read from the bottom up; imports for types count, too."""
    graph = {name: our_imports(path) - {"xcomctl"} for name, path in NAMES.items()}
    try:
        order = list(graphlib.TopologicalSorter(graph).static_order())
    except graphlib.CycleError as error:
        pytest.fail(f"a circle of imports: {' -> '.join(error.args[1])}", pytrace=False)
    assert len(order) >= len(NAMES) - 1


LONGEST_FUNCTION, LONGEST_MODULE = 60, 500
MOST_BASES = 2
TOO_LONG: dict[str, str] = {}
"""Functions (`path:name`) and modules above the limits, each with its reason."""


def test_functions_fit_a_screen() -> None:
    """A longer function has steps: give each a name."""
    longer = {
        f"{path.relative_to(PACKAGE).as_posix()}:{node.name}": node.end_lineno - node.lineno + 1
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno is not None
        and node.end_lineno - node.lineno >= LONGEST_FUNCTION
    }
    assert not longer.keys() - TOO_LONG, longer


def test_modules_have_one_subject() -> None:
    """A longer module holds more than one: split it."""
    lines = {
        path.relative_to(PACKAGE).as_posix(): len(path.read_text(encoding="utf-8").splitlines())
        for path in MODULES
    }
    longer = {name: count for name, count in lines.items() if count > LONGEST_MODULE}
    assert not longer.keys() - TOO_LONG, longer


def test_composition_over_inheritance() -> None:
    """No class has more than two of ours above it; an object holds others instead."""
    bases: dict[str, set[str]] = {}
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                named = {base.id for base in node.bases if isinstance(base, ast.Name)}
                bases.setdefault(node.name, set()).update(named)

    def above(name: str) -> set[str]:
        ours = {base for base in bases[name] if base in bases and base != name}
        return ours.union(*map(above, ours))

    # Errors are found by their class: main() catches XcomctlError, callers what is above.
    deep = {name: above(name) for name in bases if not name.endswith("Error")}
    assert not {name for name, found in deep.items() if len(found) > MOST_BASES}


BANNED = r"twin|halves|telling|taker|pour(ed)?|spell(ing|ed)?|victim|fate|beaten"
"""Names that this project once used for workers, parts, sinks, encoded names and outcomes."""

KEPT_IN_OUTPUT = {"formats/openmetrics.py": '"fate"', "cli/info.py": '"beaten"'}
"""A label and a field that scripts read: documents only grow within a version."""


def test_names_are_those_that_people_grep_for() -> None:
    """Metaphors hide what a thing is: it is called what it does."""
    found = [
        f"{name}:{number}: {line.strip()}"
        for path in MODULES
        for name in [path.relative_to(PACKAGE).as_posix()]
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if re.search(rf"\b({BANNED})\b", line, re.IGNORECASE)
        and KEPT_IN_OUTPUT.get(name, "?") not in line
    ]
    assert not found, "\n".join(found)


def test_few_loose_modules() -> None:
    """What is not in a package is the entry and what every package uses."""
    loose = {path.name for path in PACKAGE.glob("*.py")}
    plugin = {"pytest_plugin.py"}
    assert loose == {"__init__.py", "__main__.py", "errors.py", "model.py", "text.py"} | plugin


def test_the_pytest_plugin_runs_the_command_and_imports_nothing_of_it() -> None:
    """It is imported beside other versions of our libraries."""
    assert not our_imports(PACKAGE / "pytest_plugin.py")
    assert {"pytest"} >= {
        one
        for one in imports(PACKAGE / "pytest_plugin.py")
        if one.split(".")[0] not in sys.stdlib_module_names and not one.startswith("airflow")
    }


def test_sqlalchemy_and_drivers_stay_under_db() -> None:
    """Only `db` asks the database; the demo builds its file with the standard library."""
    users = users_of("sqlalchemy", "psycopg2", "pymysql", "sqlite3")
    assert {user for user in users if not user.startswith("db/")} <= {"demo/build.py"}


def test_typer_stays_under_cli() -> None:
    """Only `cli` speaks the command line's language: options and help belong there."""
    assert all(user.startswith("cli/") for user in users_of("typer", "click"))


def test_rich_stays_in_two_places() -> None:
    """The width of text belongs to the formats; progress and colours of notes to the console."""
    assert users_of("rich") <= {"formats/width.py", "cli/console.py"}


def test_pyarrow_stays_in_three_places() -> None:
    """An extra, for Parquet that is written, from arrays, and DataFrames that are read."""
    users = {"exchange/parquet.py", "exchange/arrow.py", "exchange/frames.py"}
    assert users_of("pyarrow") == users


def test_nothing_unpickles_or_imports_what_a_value_names() -> None:
    """No loader of code is in reach of a value; importlib only takes names that we wrote."""
    assert (
        users_of("pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve") == set()
    )
    # The plugin asks importlib.metadata for versions only.
    named = {"cli/commands.py", "formats/__init__.py", "pytest_plugin.py"}
    assert users_of("importlib") <= named
    for path in MODULES:
        calls = {
            node.func.id
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        }
        assert not calls & {"eval", "exec", "__import__", "compile"}, path


@pytest.mark.parametrize("package", ["formats", "audit", "report"])
def test_formats_and_audit_never_see_db(package: str) -> None:
    """They are given their rows: a command asks the database and hands them over."""
    users = users_of("xcomctl.db", "xcomctl.cli")
    assert not {user for user in users if user.startswith(f"{package}/")}


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
        ["help", "rules"],
        ["help", "commands"],
        ["--version"],
    ],
)
def test_help_and_version_load_nothing_heavy(arguments: list[str]) -> None:
    """Help and version load no database library."""
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
