"""What a reader does not see is said: hidden rows, filters that match nothing, missing indexes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from tests.metadata import Metadata
from xcomctl.db.backends.views import hides_rows, selected_from

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Run
    from tests.servers import Server


@pytest.fixture
def secured(postgres: Server) -> tuple[Metadata, str]:
    """A table with row-level security, and the URL of a role that it applies to."""
    metadata = Metadata(postgres.create_database(), with_instances=True)
    for task_id in ("one", "two"):
        metadata.instance("dag", task_id, "run")
        metadata.add(b'"' + b"x" * 100 + b'"', task_id=task_id, run_id="run")
    role = f"r{metadata.engine.url.database}"
    metadata.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'secret'")
    metadata.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON xcom TO {role}")
    metadata.execute(f"GRANT SELECT ON dag_run, task_instance, dag TO {role}")
    metadata.execute("ALTER TABLE xcom ENABLE ROW LEVEL SECURITY")
    url = sa.make_url(metadata.url).set(username=role, password="secret")
    return metadata, url.render_as_string(hide_password=False)


def test_an_audit_of_hidden_rows_is_not_complete(secured: tuple[Metadata, str], run: Run) -> None:
    """Exit 3 with a finding, whatever is allowed to pass; the owner sees every row."""
    metadata, url = secured
    for more in ([], ["--exit-zero"], ["--fail-on", "never"], ["--deep"]):
        done = run("audit", "--url", url, "-o", "json", *more)
        assert done.code == 3, done.err
        found = json.loads(done.out)
        assert found["complete"] is False
        assert [one["rule"] for one in found["findings"]] == ["xcom-hidden-rows"]
        assert "row-level security" in found["findings"][0]["message"]
        assert "the check is not complete" in done.err
    assert run("audit", "--url", metadata.url).code == 0
    skipped = run("audit", "--url", url, "--skip-rules", "xcom-hidden-rows")
    assert skipped.code == 0, skipped.err
    assert "the result may be incomplete" in skipped.err
    done = run("preflight", "--url", url, "--exit-zero", "-o", "json")
    assert (done.code, json.loads(done.out)["complete"]) == (3, False), done.err


def test_hidden_rows_get_into_no_baseline(
    secured: tuple[Metadata, str], run: Run, tmp_path: Path
) -> None:
    """What was not seen is never known; an ignore with a reason lets it pass."""
    _, url = secured
    given = ("audit", "--url", url, "--baseline", "known.json")
    assert run(*given, "--update-baseline").code == 3
    assert not (tmp_path / "known.json").exists()
    (tmp_path / "known.json").write_text('{"schema": "xcomctl.baseline/1", "findings": []}')
    assert run(*given).code == 3
    (tmp_path / "xcomctl.toml").write_text(
        '[[audit.ignore]]\nrule = "xcom-hidden-rows"\nreason = "one team\'s rows are enough"\n'
    )
    done = run(*given, "--show-ignored", "-o", "json")
    assert done.code == 0, done.err
    assert [one["state"] for one in json.loads(done.out)["findings"]] == ["ignored"]


@pytest.mark.parametrize("command", ["list", "top", "export", "delete -d dag", "pull dag one"])
def test_other_commands_warn_of_hidden_rows(
    secured: tuple[Metadata, str], run: Run, command: str
) -> None:
    """They show what they see."""
    _, url = secured
    done = run(*command.split(), "--url", url)
    assert done.code == (4 if command.startswith("pull") else 0), done.err
    assert 'row-level security can hide rows of "xcom"' in done.err


@pytest.mark.parametrize(
    ("policy", "hides"),
    [
        ("CREATE POLICY p ON xcom FOR SELECT USING (true)", False),
        ("CREATE POLICY p ON xcom FOR SELECT USING (task_id = 'one')", True),
        ("CREATE POLICY p ON xcom FOR UPDATE USING (true)", True),
        ("CREATE POLICY p ON xcom TO pg_monitor USING (true)", True),
        ("CREATE POLICY p ON xcom USING (true);"
         " CREATE POLICY q ON xcom AS RESTRICTIVE USING (task_id = 'one')", True),
        ("ALTER TABLE xcom DISABLE ROW LEVEL SECURITY", False),
    ],
)  # fmt: skip
def test_a_policy_that_shows_every_row_hides_none(
    secured: tuple[Metadata, str], run: Run, policy: str, hides: bool
) -> None:
    """Security that is switched on is no reason by itself."""
    metadata, url = secured
    for statement in policy.split(";"):
        metadata.execute(statement)
    done = run("audit", "--url", url)
    assert done.code == (3 if hides else 0), done.err


def test_hidden_runs_count_too(secured: tuple[Metadata, str], run: Run) -> None:
    """Without its run a row has no name in old Airflows, and looks like an orphan in others."""
    metadata, url = secured
    metadata.execute("ALTER TABLE xcom DISABLE ROW LEVEL SECURITY")
    metadata.execute("ALTER TABLE dag_run ENABLE ROW LEVEL SECURITY")
    done = run("audit", "--url", url)
    assert (done.code, 'hide rows of "dag_run"' in done.err) == (3, True), done.err


@pytest.mark.parametrize(
    ("view", "hides"),
    [
        ("SELECT * FROM xcom_table", False),
        ("SELECT * FROM xcom_table WHERE task_id <> 'two'", True),
        ("SELECT * FROM xcom_table LIMIT 1", True),
        ("SELECT DISTINCT * FROM xcom_table", True),
        ("SELECT * FROM (SELECT * FROM xcom_table) AS inner_", True),
        ("SELECT * FROM xcom_inner", True),
    ],
)
def test_a_view_that_can_hide_rows_is_reported(
    empty_url: str, run: Run, view: str, hides: bool
) -> None:
    """Also one upon another; a plain one is as good as its table."""
    metadata = Metadata(empty_url)
    metadata.add(b"1", task_id="one")
    metadata.add(b"1", task_id="two")
    metadata.execute("ALTER TABLE xcom RENAME TO xcom_table")
    metadata.execute("CREATE VIEW xcom_inner AS SELECT * FROM xcom_table WHERE task_id <> 'two'")
    metadata.execute(f"CREATE VIEW xcom AS {view}")
    done = run("audit", "--url", metadata.url, "-o", "json")
    assert done.code == (3 if hides else 0), done.err
    assert json.loads(done.out)["complete"] is not hides
    assert ('"xcom" is a view that can hide rows' in run("list", "--url", metadata.url).err) is hides  # fmt: skip


@pytest.mark.parametrize(
    ("definition", "hides", "source"),
    [
        ('SELECT "where" AS a FROM "limit"', False, "limit"),
        ("select `x`.`a` AS `a` from `db`.`where`", False, "where"),
        ("SELECT 'where' FROM t -- where\n", False, "t"),
        ("SELECT [a] FROM [main].[t]", False, "t"),
        ("SELECT a FROM t, u", True, "t"),
        ("SELECT a FROM t UNION ALL SELECT a FROM u", True, "t"),
        ("", True, None),
    ],
)
def test_a_view_is_judged_by_its_words(definition: str, hides: bool, source: str | None) -> None:
    """Names and texts are no clauses."""
    assert hides_rows(definition) is hides
    assert selected_from(definition) == source


# --- filters ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("filters", "warning"),
    [
        ("-d extrakt", 'no XComs found for DAG "extrakt"; did you mean "extract"?'),
        ("-d extract -d laod", 'no XComs found for DAG "laod"; did you mean "load"?'),
        ("-d ext* -d zz*", 'no XComs matching DAG "zz*"'),
        ("-d extract -t rowz", 'no XComs found for task "rowz"; did you mean "rows"?'),
        ("-d load -t rows", 'no XComs found for task "rows"'),
        ("-k return_valeu", 'no XComs found for key "return_valeu"; did you mean "return_value"?'),
        ("-k return_value -k other", 'no XComs found for key "other"'),
        ("-d extract -r run_2", 'no XComs found for run "run_2"; did you mean "run_1"?'),
        ("-d extract", None),
        ("-d extract -t rows -k return_value", None),
        ("-d extract --min-size 1MB", None),
    ],
)
@pytest.mark.parametrize("command", ["list", "top", "audit", "export", "delete", "preflight --exit-zero"])  # fmt: skip
def test_a_filter_that_names_nothing_is_said(
    tmp_path: Path, run: Run, command: str, filters: str, warning: str | None
) -> None:
    """With the nearest name; one that only other filters leave nothing of is none."""
    metadata = Metadata(str(tmp_path / "airflow.db"))
    metadata.add(b"1", dag_id="extract", task_id="rows", run_id="run_1")
    metadata.add(b"1", dag_id="load", task_id="write", run_id="run_1")
    done = run(*command.split(), *filters.split(), "--url", metadata.url)
    assert done.code == 0, done.err
    said = [line for line in done.err.splitlines() if "no XComs" in line]
    assert said == ([f"xcomctl: warning: {warning}"] if warning else []), done.err


def test_a_filter_of_old_runs_is_looked_for_by_run_and_date(empty_url: str, run: Run) -> None:
    """Of Airflow 2.0, whose rows name their run by its date."""
    metadata = Metadata(empty_url, "2.0")
    metadata.add(b"1", run_id="run_1")
    for text, found in (("run_1", True), ("2026-01-31T07:08:09.123456Z", True), ("run_9", False)):
        done = run("list", "-r", text, "--url", metadata.url)
        assert done.code == 0, done.err
        assert ("no XComs found for run" in done.err) is not found


def test_a_delete_warns_before_it_deletes(tmp_path: Path, run: Run) -> None:
    """Not of what it has deleted itself."""
    metadata = Metadata(str(tmp_path / "airflow.db"))
    metadata.add(b"1", dag_id="one")
    metadata.add(b"1", dag_id="two")
    done = run("delete", "-d", "one", "-d", "tow", "--yes", "--url", metadata.url)
    assert done.code == 0, done.err
    assert 'for DAG "tow"; did you mean "two"?' in done.err
    assert 'DAG "one"' not in done.err


# --- mapped tasks -----------------------------------------------------------------------------


def test_missing_indexes_of_a_mapped_task_are_named(empty_url: str, run: Run) -> None:
    """Those between others, and those of task instances at the end that pushed nothing."""
    metadata = Metadata(empty_url, with_instances=True)
    for index in range(8):
        metadata.instance("dag", "task", "run_1", index)
        if index not in (1, 4, 5, 7):
            metadata.add(b"%d" % index, map_index=index)
    done = run("pull", "dag", "task", "--all-map-indexes", "--url", metadata.url)
    assert json.loads(done.out) == [0, 2, 3, 6]
    assert "no value for map_index 1, 4-5, 7: the list leaves it out" in done.err


def test_indexes_are_missing_without_task_instances_too(tmp_path: Path, run: Run) -> None:
    """An old dump may have no such table; a task that is not mapped misses none."""
    metadata = Metadata(str(tmp_path / "airflow.db"))
    for index in range(0, 100, 2):
        metadata.add(b"%d" % index, map_index=index)
    metadata.add(b"1", task_id="single")
    done = run("pull", "dag", "task", "--all-map-indexes", "--url", metadata.url)
    assert "no value for map_index 1, 3, 5" in done.err
    assert "37, 39, ...:" in done.err
    done = run("pull", "dag", "single", "--all-map-indexes", "--url", metadata.url)
    assert "no value" not in done.err


CHANGES: tuple[tuple[str, ...], ...] = (
    ("push", "dag", "task", "return_value", "2", "--run-id", "run_1", "--replace", "--yes"),
    ("delete", "-d", "dag", "--include-active", "--yes"),
    ("import", "file", "--replace", "--yes"),
)


def test_a_view_is_read_and_not_written(empty_url: str, run: Run) -> None:
    """Every way to read works; a change is refused with the reason and a hint."""
    metadata = Metadata(empty_url, with_instances=True)
    for number in range(3):
        metadata.instance("dag", f"task_{number}", "run_1")
        metadata.add(b'"%s"' % (b"x" * 3000), task_id=f"task_{number}")
    metadata.instance("dag", "task", "run_1")
    metadata.add(b"1")
    exported = run("export", "--url", empty_url, "-o", "jsonl=file")
    assert exported.code == 0
    file = run("export", "--url", empty_url).stdout
    metadata.execute("ALTER TABLE xcom RENAME TO held")
    metadata.execute(
        "CREATE VIEW xcom AS SELECT * FROM held UNION ALL SELECT * FROM held WHERE 1 = 0"
    )
    assert run("pull", "dag", "task", "--url", empty_url).json() == 1
    assert len(run("pull", "dag", "task_1", "--url", empty_url).json()) == 3000
    assert (
        run("list", "--url", empty_url, "--value", "--text", "-o", "json").json()["returned"] == 4
    )
    assert sorted(run("export", "--url", empty_url).stdout.splitlines()) == sorted(
        file.splitlines()
    )
    for command in (("top",), ("audit", "--deep"), ("info", "--count"), ("why", "dag", "task")):
        done = run(*command, "--url", empty_url)
        assert done.code in (0, 3), done.err
        assert "Traceback" not in done.err
    metadata.execute("UPDATE held SET value = NULL WHERE task_id = 'task_0'")
    for change in CHANGES:
        done = run(*change, "--url", empty_url)
        assert done.code in (3, 5), done.err
        assert "xcom is a view that cannot be written to" in done.err
        assert "hint: Write to the table that it shows" in done.err
