"""The pytest plugin: a fixture that checks the XComs that a test's DAG runs have pushed.

It runs the command `xcomctl`, wherever that is installed, and imports nothing of it: so it works
in an environment with another SQLAlchemy, such as Airflow 2's.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

COMMAND_VARIABLE = "XCOMCTL_COMMAND"
"""The command line of xcomctl, where it is not on the PATH."""
_URL_VARIABLE = "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"
_THROWAWAY = pytest.StashKey[Path]()
_MIGRATED = pytest.StashKey[bool]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the setting `xcoms_throwaway_db`."""
    parser.addini(
        "xcoms_throwaway_db",
        "let Airflow use a new SQLite database in a temporary AIRFLOW_HOME (xcomctl)",
        type="bool",
        default=False,
    )


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Point Airflow to a throwaway database, if asked to, before anything imports it."""
    if not early_config.getini("xcoms_throwaway_db"):
        return
    if "airflow" in sys.modules:
        raise pytest.UsageError("xcoms_throwaway_db: a plugin has imported Airflow already")
    home = Path(tempfile.mkdtemp(prefix="xcoms-"))
    early_config.stash[_THROWAWAY] = home
    os.environ["AIRFLOW_HOME"] = str(home)
    os.environ[_URL_VARIABLE] = f"sqlite:///{home}/airflow.db"
    os.environ.setdefault("AIRFLOW__CORE__LOAD_EXAMPLES", "False")
    dags = early_config.rootpath / "dags"
    if dags.is_dir():
        # Airflow 3's `dag.test()` finds DAGs of its folder only.
        os.environ.setdefault("AIRFLOW__CORE__DAGS_FOLDER", str(dags))


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove the throwaway database."""
    home = config.stash.get(_THROWAWAY, None)
    if home is not None:
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
def xcoms(request: pytest.FixtureRequest) -> XComs:
    """The XComs that are pushed during this test."""
    config = request.config
    if _THROWAWAY in config.stash and _MIGRATED not in config.stash:
        _migrate()
        config.stash[_MIGRATED] = True
    return XComs(datetime.now(UTC))


class XComs:
    """The XComs that were pushed to Airflow's database since a moment."""

    def __init__(self, since: datetime, url: str | None = None) -> None:
        """Look at what is pushed from now on. `url` is Airflow's own database by default."""
        self._since = since
        self._url = url

    def assert_within(
        self,
        budget: str | None = None,
        *,
        as_: str | None = None,
        deep: bool = False,
        allow_none: bool = False,
        **filters: str,
    ) -> None:
        """Fail the test if an XCom is too large, with what `xcomctl audit` says.

        Args:
            budget: the largest size that an XCom may have: `48 KiB`. By default the limit of the
                database.
            as_: the database that production runs on, whose limit counts, too: `mysql:2.8`.
            deep: whether to check values as well, such as for secrets.
            allow_none: whether the test passes if nothing was pushed.
            filters: `dag_id`, `run_id`, `task_id` or `key`, each an id or a glob.
        """
        __tracebackhide__ = True
        with tempfile.TemporaryDirectory(prefix="xcoms-") as folder:
            # A configuration that the tests find would add its own budgets.
            config = Path(folder) / "xcomctl.toml"
            wanted = (
                "" if budget is None else f"[[audit.budget]]\nmax_size = {json.dumps(budget)}\n"
            )
            config.write_text(wanted, encoding="utf-8")
            arguments = ["audit", "--config", str(config), "--color", "never", "--per-entry"]
            arguments += [] if as_ is None else ["--as", as_]
            arguments += ["--deep"] if deep else []
            arguments += [] if allow_none else ["--fail-on-empty"]
            done = self._run([*arguments, *self._selected(filters)])
        if done.returncode == 0:
            return
        if done.returncode == 1:
            limits = [f"budget {budget}" if budget else "", f"as {as_}" if as_ else ""]
            shown = ", ".join(filter(None, limits)) or "limit of the database"
            pytest.fail(f"XComs are not within limits ({shown}):\n\n{done.stdout}", pytrace=False)
        if done.returncode == 4:
            pytest.fail(
                "no XCom was pushed since the test began (allow_none=True lets it pass)",
                pytrace=False,
            )
        _fail(done)

    def entries(self, **filters: str) -> list[dict[str, Any]]:
        """Return the XComs as `xcomctl list -o json` does, oldest run first.

        Each has `dag_id`, `task_id`, `run_id`, `map_index`, `key`, `size_bytes` and so on.
        """
        __tracebackhide__ = True
        arguments = ["list", "-n", "0", "--sort", "run", "-o", "json", *self._selected(filters)]
        done = self._run(arguments)
        if done.returncode:
            _fail(done)
        found: list[dict[str, Any]] = json.loads(done.stdout)["xcom_entries"]
        return found

    def _selected(self, filters: Mapping[str, str]) -> list[str]:
        """Return the options for what was pushed since the start and matches the filters."""
        options = {"dag_id": "--dag-id", "run_id": "--run-id"}
        options |= {"task_id": "--task-id", "key": "--key"}
        unknown = filters.keys() - options.keys()
        if unknown:
            raise TypeError(f"unknown filter {min(unknown)!r}; there are {', '.join(options)}")
        given = [one for name, text in filters.items() for one in (options[name], text)]
        return ["--since", self._since.isoformat(), *given]

    def _run(self, arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
        environment = {
            # What this interpreter imports is not for another one.
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("PYTHON", "XCOMCTL_"))
        }
        environment |= {"XCOMCTL_URL": self._url or _airflow_url(), "COLUMNS": "100"}
        return subprocess.run(
            [*_command(), *arguments],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            check=False,
        )


def _fail(done: subprocess.CompletedProcess[str]) -> None:
    __tracebackhide__ = True
    pytest.fail(f"xcomctl ended with exit code {done.returncode}:\n{done.stderr}", pytrace=False)


def _airflow_url() -> str:
    """Return the URL of the database that Airflow uses in this process."""
    if url := os.environ.get(_URL_VARIABLE):
        return url
    from airflow.configuration import conf

    return str(conf.get("database", "sql_alchemy_conn"))


def _migrate() -> None:
    """Create Airflow's tables."""
    done = subprocess.run(
        [sys.executable, "-m", "airflow", "db", "migrate"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        check=False,
    )
    if done.returncode:
        pytest.fail(f"airflow db migrate failed:\n{done.stdout}", pytrace=False)


def _command() -> list[str]:
    """Return the command line of xcomctl: the variable's, the PATH's, or through uvx."""
    __tracebackhide__ = True
    if given := os.environ.get(COMMAND_VARIABLE):
        return shlex.split(given)
    own = Path(sysconfig.get_path("scripts"))
    for folder in os.get_exec_path():
        found = shutil.which("xcomctl", path=folder)
        # Installed beside Airflow 2 without its dependencies, the command does not run.
        if found and (Path(folder) != own or _runs_here()):
            return [found]
    if uvx := shutil.which("uvx"):
        return [uvx, "--from", f"xcomctl=={importlib.metadata.version('xcomctl')}", "xcomctl"]
    pytest.fail(
        "the command xcomctl was not found: install it with `uv tool install xcomctl` or"
        f" `pipx install xcomctl`, or set {COMMAND_VARIABLE}",
        pytrace=False,
    )


def _runs_here() -> bool:
    """Return whether this environment has the libraries that the command needs."""
    try:
        importlib.metadata.version("typer")
        return importlib.metadata.version("sqlalchemy").startswith("2.")
    except importlib.metadata.PackageNotFoundError:
        return False
