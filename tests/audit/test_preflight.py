"""Preflight: that it says of each value what the real migration to Airflow 3 does with it.

`tests/data/migrations.json` was recorded by running the value-column migration of Airflow 3.0.0,
3.1.0, 3.1.3, 3.1.8 and 3.3.2, which stand for the releases up to the next of them, on one value
after the other, on SQLite 3.40, PostgreSQL 15, MySQL 9.7 and MariaDB 10.11. What is in none of
its lists stays as it is. MariaDB runs none from 3.1.3 on.
"""

from __future__ import annotations

import base64
import contextlib
import json
import pickle
import sqlite3
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from lxml import etree

from tests.conftest import clean_environment
from tests.left_out import real_airflow
from tests.metadata import Metadata
from tests.program import at_terminal
from xcomctl.audit import airflow3
from xcomctl.audit.airflow3 import Migration
from xcomctl.audit.outcome import Outcome

if TYPE_CHECKING:
    from tests.conftest import Run
    from tests.servers import Server

RECORDED: dict[str, dict[str, str]] = json.loads(
    (Path(__file__).parents[1] / "data" / "migrations.json").read_text()
)

VALUES: dict[str, bytes] = {
    "nan": b"NaN",
    "inf": b"Infinity",
    "ninf": b"-Infinity",
    "nan_list": b"[1.0, NaN, 2]",
    "inf_list": b"[Infinity, -Infinity, NaN]",
    "nan_dict": b'{"a": NaN, "b": -Infinity}',
    "nan_tight": b"[NaN]",
    "str_nan": b'"NaN"',
    "str_nan_in": b'"NaN detected"',
    "str_nan_pos": b'"a: NaN, b"',
    "str_inf": b'"Infinity"',
    "str_inf_in": b'{"m": "x: Infinity, y"}',
    "banana": b'"BaNaNa"',
    "dbl_nan": b'"[1.0, NaN]"',
    "dbl_nan2": b'"{\\"a\\": NaN}"',
    "mixed": b'{"s": "a: NaN, b", "v": NaN}',
    "nul": b'"a\\u0000b"',
    "nul_only": b'"\\u0000"',
    "nul_key": b'{"a\\u0000": 1}',
    "bs_nul": b'"\\\\u0000"',
    "bs_nul3": b'"\\\\\\u0000"',
    "p0": pickle.dumps([1], 0),
    "p1": pickle.dumps([1], 1),
    "p2": pickle.dumps([1], 2),
    "p5": pickle.dumps([1], 5),
    "p0int": pickle.dumps(5, 0),
    "latin1": b'"caf\xe9"',
    "rawnul": b'"a\x00b"',
    "trunc": b'"' + b"x" * 99,
    "empty": b"",
    "space": b" ",
    "bom": b'\xef\xbb\xbf"x"',
    "lone_hi": b'"x\\ud83dy"',
    "lone_lo": b'"x\\udca5y"',
    "pair": b'"\\ud83d\\udca5"',
    "lone_key": b'{"\\ud83d": 1}',
    "rev": b'"\\udca5\\ud83d"',
    "bs_sur": b'"\\\\ud83d"',
    "cesu": b'"\xed\xa0\xbd"',
    "1e308": b"1.79e+308",
    "1e16": b"1e+16",
    "1e400": b"1e400",
    "e131071": b"1e131071",
    "e131072": b"1e131072",
    "em16383": b"1e-16383",
    "em16384": b"1e-16384",
    "big40": b"1000000000000000000000000000000000000007",
    "neg0f": b"-0.0",
    "neg0": b"-0",
    "ten0": b"10.0",
    "p63": b"9223372036854775808",
    "p64": b"18446744073709551616",
    "m63": b"-9223372036854775809",
    "digits5000": b"1" * 5000,
    "digits131073": b"1" * 131073,
    "l63": b"[9223372036854775808, 18446744073709551616, 10.0, -0.0, 1e+16]",
    "e400l": b"[1e400]",
    "0.1": b"0.1",
    "pi": b"[3.141592653589793, 1e-07, 5e-324]",
    "dup": b'{"a": 1, "a": 2}',
    "ctl": b'"a\x01b"',
    "nl": b'"a\nb"',
    "del": b'"\x7f"',
    "single": b"{'a': 1}",
    "comma": b"[1,]",
    "lead0": b"01",
    "dot": b"1.",
    "true": b"True",
    "two": b"1 2",
    "none": b"None",
    "emptykey": b'{"": 1}',
    "spaces": b" [ 1 ] ",
    "order": b'{"b": 1, "a": 2}',
    "esc": b'"\\u00e9\\/"',
    "ff": b'"\xff"',
    "emoji": '"\N{COLLISION SYMBOL}"'.encode(),
    "badesc": b'"\\x41"',
    "u4": b'"\\u12"',
    **{
        f"deep{depth}": b"[" * depth + b"]" * depth
        for depth in (30, 31, 32, 33, 99, 100, 101, 500, 1000, 2000, 5000, 10000)
    },
}

LENIENT = {"dot", "badesc"}
"""What MariaDB takes for JSON and no Airflow can read; here it stops the migration."""


def outcome(value: bytes, migration: Migration) -> str:
    """Return the most severe outcome that preflight reports for a value."""
    problems = airflow3.check_value(value, migration)
    outcomes = {one.outcome for one in problems if not one.outcome.is_kept}
    return next((one.value for one in Outcome if one in outcomes), "kept")


@pytest.mark.parametrize("recorded", RECORDED)
def test_outcomes_are_those_that_were_recorded_from_every_release(recorded: str) -> None:
    """Each value stops the migration, is archived, lost, altered or kept."""
    release, backend = recorded.split("/")
    migration = Migration(backend, airflow3.parse_release(release))
    expected = {name: kind for kind, names in RECORDED[recorded].items() for name in names.split()}
    judged = {name: outcome(value, migration) for name, value in VALUES.items()}
    # Whether a number of 5,000 digits is the same afterwards, no Airflow can tell.
    unknown = {"digits5000", "digits131073"} | (LENIENT if backend == "mariadb" else set())
    wrong = {
        name: (judged[name], expected.get(name, "kept"))
        for name in VALUES.keys() - unknown
        if judged[name] != expected.get(name, "kept")
    }
    assert wrong == {}
    for name in unknown & expected.keys():
        assert judged[name] == expected[name]


@pytest.mark.parametrize(
    ("release", "step"),
    [("3.0", 0), ("3.0.6", 0), ("3.1.0", 1), ("3.1.2", 1), ("3.1.3", 2), ("3.1.7", 2), ("3.1.8", 3),
     ("3.1", 3), ("3.2.2", 3), ("3.3.1", 3), ("3.3.2", 4), ("3.3", 4), ("3.9.0", 4)],
)  # fmt: skip
def test_releases_differ_in_what_they_replace(release: str, step: int) -> None:
    """A release without a patch number means the newest of its line."""
    assert Migration("postgresql", airflow3.parse_release(release)).step == step


def test_sizes_beyond_jsonb_stop_the_migration() -> None:
    """A long string, many elements, and numbers that are long when written out."""
    migration = Migration("postgresql", (3, 3, 2))
    assert outcome(b'"' + b"x" * 268_435_455 + b'"', migration) == "kept"
    assert outcome(b'"' + b"x" * 268_435_456 + b'"', migration) == "stops"
    numbers = b"[" + b",".join([b"1e131071"] * 5000) + b"]"
    assert outcome(numbers, migration) == "stops"


def airflow(major: int) -> Path:
    return Path(real_airflow(str(major)))


def test_outcomes_are_those_of_the_real_migration(postgres: Server) -> None:
    """Airflow 3.3.2 migrates one value after the other on PostgreSQL."""
    python = airflow(3).with_name("python")
    done = subprocess.run(
        [python, Path(__file__).parents[1] / "real_migration.py", postgres.create_database()],
        input=json.dumps(
            {name: base64.b64encode(value).decode() for name, value in VALUES.items()}
        ),
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    real = {name: kind for name, (kind, _) in json.loads(done.stdout.splitlines()[-1]).items()}
    migration = Migration("postgresql", (3, 3, 2))
    judged = {
        name: kind.replace("altered", "kept")
        for name, kind in ((name, outcome(value, migration)) for name, value in VALUES.items())
    }
    assert judged == real


def run_airflow(major: int, url: str, home: Path, *arguments: str) -> tuple[int, str]:
    done = subprocess.run(
        [airflow(major), *arguments],
        env={
            **clean_environment(home),
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": url.replace("+psycopg2", ""),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=400,
        check=False,
    )
    return done.returncode, done.stdout


def fill(url: str, values: dict[str, bytes | None]) -> None:
    """Insert a run, and a task instance with one XCom for each value."""
    engine = sa.create_engine(url, poolclass=sa.pool.NullPool)
    with engine.begin() as connection:
        connection.exec_driver_sql("INSERT INTO log_template (id, filename, elasticsearch_id, created_at) VALUES (77, 'f', 'e', now())")  # fmt: skip
        connection.exec_driver_sql(
            "INSERT INTO dag_run (id, dag_id, run_id, execution_date, run_type, state,"
            " log_template_id) VALUES (1, 'dag', 'run_1', now(), 'manual', 'success', 77)"
        )
        for name, value in values.items():
            given = {"task": name, "value": value}
            connection.execute(
                sa.text(
                    "INSERT INTO task_instance (task_id, dag_id, run_id, map_index, state,"
                    " pool, pool_slots) VALUES (:task, 'dag', 'run_1', -1, 'success', 'default', 1)"
                ),
                given,
            )
            connection.execute(
                sa.text(
                    'INSERT INTO xcom (dag_run_id, task_id, map_index, "key", dag_id, run_id,'
                    " value, timestamp)"
                    " VALUES (1, :task, -1, 'return_value', 'dag', 'run_1', :value, now())"
                ),
                given,
            )


def test_a_real_upgrade_stops_where_preflight_said_and_passes_after_its_sql(
    postgres: Server, run: Run, tmp_path: Path
) -> None:
    """From Airflow 2.10.5 with a bad row of each kind to 3.3.2, on PostgreSQL."""
    airflow(3)
    url, home = postgres.create_database(), tmp_path / "airflow"
    code, said = run_airflow(2, url, home, "db", "migrate")
    assert code == 0, said
    names = ["nan", "nan_dict", "nul", "lone_hi", "latin1", "p0", "p2", "p5", "trunc", "empty", "ctl",
             "bom", "e131072", "em16384", "1e308", "neg0f", "dup", "order", "single", "emoji", "mixed"]  # fmt: skip
    quoted = "it's 100% \\ odd"
    values = {**{name: VALUES[name] for name in names}, "null": None, quoted: b"?"}
    fill(url, values)

    before = run("preflight", "--url", url, "--to", "3.3.2", "-o", "json", "--sql", "move.sql")
    assert before.code == 1
    found = json.loads(before.out)["findings"]
    by_outcome: dict[str, set[str]] = {}
    for one in found:
        verb = one["message"].split(":")[0]
        by_outcome.setdefault(verb, set()).add(one["task_id"])
    stops = by_outcome["stops the migration"]
    assert stops == {
        "lone_hi", "latin1", "p0", "trunc", "empty", "ctl", "bom", "e131072", "em16384", "single", quoted,
    }  # fmt: skip
    assert by_outcome["is archived"] == {"p2", "p5"}
    assert by_outcome["is altered"] == {"nan", "nan_dict", "nul", "1e308", "neg0f", "mixed"}

    code, said = run_airflow(3, url, home, "db", "migrate")
    assert code != 0
    engine = sa.create_engine(url, poolclass=sa.pool.NullPool)
    with engine.begin() as connection:
        rows = connection.exec_driver_sql("SELECT count(*), max(pg_typeof(value)::text) FROM xcom")
        assert tuple(rows.one()) == (len(values), "bytea"), said

    driver = engine.raw_connection()
    driver.cursor().execute((tmp_path / "move.sql").read_text())
    driver.close()
    after = run("preflight", "--url", url, "--to", "3.3.2", "-o", "json").json()
    assert after["summary"]["fates"]["stops"] == 0
    code, said = run_airflow(3, url, home, "db", "migrate")
    assert code == 0, said
    with engine.begin() as connection:
        rows = connection.exec_driver_sql("SELECT task_id, value::text FROM xcom")
        kept: dict[str, str | None] = {task: text for task, text in rows}  # noqa: C416
        tables = ("_xcom_archive", "xcom_quarantine")
        archived, moved = (
            set(connection.exec_driver_sql(f"SELECT task_id FROM {table}").scalars())
            for table in tables
        )
    assert archived == {"p2", "p5"}
    assert moved == stops
    assert kept.keys() == values.keys() - stops - archived
    for name, text in kept.items():
        said_altered = name in by_outcome["is altered"]
        value = values[name]
        same = text is None if value is None else text is not None and _same(value, text)
        assert same != said_altered, name


def _same(before: bytes, after: str) -> bool:
    """Return whether both JSON texts have the same value and types."""
    return canonical(json.loads(before)) == canonical(json.loads(after))


def canonical(value: Any) -> str:
    return repr(sorted(value.items()) if isinstance(value, dict) else value)


# --- rows, reports and refusals ---------------------------------------------------------------


def test_moving_is_the_same_on_every_backend(empty_url: str, run: Run, tmp_path: Path) -> None:
    """The SQL moves the rows that it names, whatever characters their names have, and no others."""
    metadata = Metadata(empty_url)
    odd = ["it's", "100%", "back\\slash", 'quo"te', "a:b", "trail "]
    # A healthy row has the name of one that is moved, with a space for its line end.
    odd += [
        "line\nend",
        "return\r\nend",
        "tab\tend",
        "\u2028",
        "\x7f",
        "\u00e9",
        "-- comment",
        "\\'\n",
    ]
    metadata.add(b"1", task_id="line end", key="good")
    for name in odd:
        metadata.add(b"", task_id=name)
        metadata.add(b"1", task_id=name, key="good")
    done = run("preflight", "--url", empty_url, "--sql", "move.sql", "-o", "json")
    assert done.code == 1
    moving = (tmp_path / "move.sql").read_text()
    assert all(line.startswith(("--", "SET", "CREATE", "BEGIN", "START", "INSERT", "DELETE", "COMMIT")) for line in moving.splitlines())  # fmt: skip
    with metadata.engine.begin() as connection:
        cursor = connection.connection.cursor()
        if metadata.backend == "mysql":
            cursor.execute("SELECT VERSION()")
            if "MariaDB" not in str(cursor.fetchone()):
                cursor.execute("SET SESSION sql_require_primary_key = ON")
        for statement in moving.split(";\n"):
            if statement.strip():
                cursor.execute(statement)
    with metadata.engine.begin() as connection:
        left = connection.exec_driver_sql("SELECT value FROM xcom").scalars().all()
        moved = connection.exec_driver_sql("SELECT task_id FROM xcom_quarantine").scalars().all()
    assert [bytes(one) for one in left] == [b"1"] * (len(odd) + 1)
    assert sorted(moved) == sorted(odd)


def test_ids_that_are_no_utf_8_can_be_moved_too(tmp_path: Path, run: Run) -> None:
    """SQLite stores any bytes, and the SQL names them exactly."""
    path = tmp_path / "airflow.db"
    metadata = Metadata(str(path))
    metadata.add(b"", task_id="odd")
    metadata.add(b"1", task_id="good")
    metadata.execute("UPDATE xcom SET task_id = CAST(X'61ff62' AS TEXT) WHERE task_id = 'odd'")
    assert run("preflight", "--url", path, "--sql", "move.sql").code == 1
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript((tmp_path / "move.sql").read_text("utf-8"))
        moved = connection.execute("SELECT CAST(task_id AS BLOB) FROM xcom_quarantine").fetchall()
        left = connection.execute("SELECT task_id FROM xcom").fetchall()
    assert (moved, left) == ([(b"a\xffb",)], [("good",)])


def test_what_is_lost_comes_with_its_cause_and_with_what_sql_cannot_do(
    tmp_path: Path, run: Run
) -> None:
    """At 80 columns too: why, where it is explained, and that the SQL moves none of it."""
    metadata = Metadata(str(tmp_path / "airflow.db"))
    metadata.add(b"1")
    arguments = ("preflight", "--url", "airflow.db", "--sql", "move.sql")
    shown = at_terminal(arguments, width=80, env=clean_environment(tmp_path), cwd=tmp_path)
    said = " ".join(shown.split())
    assert "is lost: SQLite deletes it with its task instance when the migration rebuilds" in said
    assert '"xcomctl rules xcom-airflow3-lost" explains it and how to fix it' in said
    assert 'wrote "move.sql", which moves nothing: no XCom stops the migration' in said
    assert "it cannot keep the 1 that SQLite deletes, so copy the database file first" in said
    assert "DELETE" not in (tmp_path / "move.sql").read_text()
    metadata.add(b"", task_id="empty")
    assert "moves 1 XCom to the table xcom_quarantine" in run(*arguments).err


def test_a_message_that_has_no_room_stands_below_the_table(tmp_path: Path) -> None:
    """Once for findings of a rule that differ in numbers only; wide terminals show it in its row."""
    metadata = Metadata(str(tmp_path / "airflow.db"))
    for task, value in (("a", b"NaN"), ("b", b"[NaN]"), ("c", b"3.0"), ("d", b"1" * 40)):
        metadata.add(value, task_id=task)
    for width in (60, 80, 100, 240):
        shown = at_terminal(
            ("preflight", "--url", "airflow.db"),
            width=width, env=clean_environment(tmp_path) | {"NO_COLOR": "1"}, cwd=tmp_path,
        )  # fmt: skip
        said = " ".join(shown.split())
        wide = width == 240
        assert said.count("NaN or Infinity becomes null") == (2 if wide else 1)
        assert said.count("a float comes back as an integer") == 1
        assert said.count("an integer beyond 64 bits is rounded") == 1
        assert all(len(line) <= width for line in shown.splitlines())


def test_rows_without_a_run_and_duplicate_rows(empty_url: str, run: Run) -> None:
    """Airflow 1.10 leaves both; of duplicates all but the one that a task reads are moved."""
    metadata = Metadata(empty_url, "1.10")
    metadata.run("dag", "run_1")
    for value in (b"1", b"2", b"3"):
        metadata.add(value)
    metadata.add(b"4", task_id="alone", with_run=False, dag_id="other")
    metadata.add(b"5", task_id="nameless", key=None)
    report = run("preflight", "--url", empty_url, "-o", "json", "--exit-zero").json()
    found = {(one["rule"], one["task_id"]): one for one in report["findings"]}
    assert found["xcom-airflow3-duplicate-row", "task"]["occurrences"] == 2
    assert found["xcom-airflow3-duplicate-row", "nameless"]["severity"] == "error"
    assert found["xcom-airflow3-dangling", "alone"]["severity"] == "warning"
    assert report["summary"]["fates"]["stops"] == 3


def test_a_wrong_dag_run_id_is_found(tmp_path: Path, run: Run) -> None:
    """Every database accepts it, and no Airflow reads the row."""
    path = tmp_path / "airflow.db"
    metadata = Metadata(str(path))
    metadata.add(b"1", run_id="run_1")
    metadata.add(b"2", run_id="run_2", dag_run_id=1, task_id="wrong")
    report = run("preflight", "--url", path, "-o", "json", "--exit-zero").json()
    dangling = [one for one in report["findings"] if one["rule"] == "xcom-airflow3-dangling"]
    assert [one["task_id"] for one in dangling] == ["wrong"]


def test_the_upgrade_of_mariadb_fails_from_3_1_3_on(any_server: Any, run: Run) -> None:
    """MariaDB refuses a statement of the migration."""
    url = any_server("mariadb").create_database()
    Metadata(url).add(b"1")
    old = run("preflight", "--url", url, "--to", "3.1.2", "-o", "json")
    assert (old.code, old.json()["findings"]) == (0, [])
    new = run("preflight", "--url", url, "--to", "3.1.3", "-o", "json")
    assert new.code == 1
    assert [one["rule"] for one in json.loads(new.out)["findings"]] == ["xcom-airflow3-backend"]


def test_reports_agree_in_every_format(postgres: Server, run: Run, tmp_path: Path) -> None:
    """All formats show the findings of one pass."""
    url = postgres.create_database()
    metadata = Metadata(url)
    for name in ("nan", "p2", "empty", "lone_hi", "ten0"):
        metadata.add(VALUES[name], task_id=name)
    names = ("sarif", "junit", "gitlab", "openmetrics", "csv", "markdown", "github")
    files = [part for name in names for part in ("-o", f"{name}=out.{name}")]
    done = run("preflight", "--url", url, "--to", "3.0.6", "-o", "json", *files)
    assert done.code == 1
    report = json.loads(done.out)
    assert report["schema"] == "xcomctl.preflight/1"
    assert report["summary"]["fates"] == {"stops": 3, "lost": 0, "archived": 1, "altered": 0}
    count = len(report["findings"])
    assert count == 4
    sarif = json.loads((tmp_path / "out.sarif").read_text())
    assert len(sarif["runs"][0]["results"]) == count
    assert len(json.loads((tmp_path / "out.gitlab").read_text())) == count
    junit = etree.parse(tmp_path / "out.junit")
    assert len(junit.findall(".//failure")) == report["summary"]["errors"] == 3
    assert 'xcomctl_upgrade{fate="stops"} 3' in (tmp_path / "out.openmetrics").read_text()
    assert len((tmp_path / "out.csv").read_text().splitlines()) == count + 1
    assert run("preflight", "--url", url, "--exit-zero").code == 0


def test_an_airflow_3_database_has_no_migration_ahead(tmp_path: Path, run: Run) -> None:
    """Nothing is reported, and a note says why."""
    path = tmp_path / "airflow.db"
    Metadata(str(path), "3.0").add("1")
    done = run("preflight", "--url", path, "-o", "json")
    assert (done.code, done.json()["findings"]) == (0, [])
    assert "already an Airflow 3 database" in done.err


@pytest.mark.parametrize("release", ["2.11.0", "3", "three", "4.0.0", ""])
def test_an_invalid_release_is_refused(tmp_path: Path, run: Run, release: str) -> None:
    """Only releases of Airflow 3 are accepted."""
    path = tmp_path / "airflow.db"
    Metadata(str(path)).add(b"1")
    done = run("preflight", "--url", path, "--to", release)
    assert done.code == 2
    assert "not a release of Airflow 3" in done.err


def test_an_upgrade_to_3_4_needs_the_foreign_key(run: Run, empty_url: str) -> None:
    """As Airflow created it, and validated: its own check, asked of the same catalogue."""

    def refused() -> list[str]:
        done = run("preflight", "--to", "3.4", "-o", "json", "--url", empty_url)
        found = json.loads(done.out)["findings"]
        return [one["message"] for one in found if one["rule"] == "xcom-airflow3-tables"]

    metadata = Metadata(empty_url, "3.0", with_instances=True)
    assert refused() == []
    if metadata.backend == "sqlite":
        # It cannot drop a key.
        for table in ("xcom", "dag_run", "dag"):
            metadata.execute(f"DROP TABLE {table}")
        Metadata(empty_url, "3.0")
    else:
        kind = "FOREIGN KEY" if metadata.backend == "mysql" else "CONSTRAINT"
        metadata.execute(f"ALTER TABLE xcom DROP {kind} xcom_task_instance_fkey")
    assert refused() == ['the foreign key "xcom.xcom_task_instance_fkey" is missing']
    if metadata.backend == "postgresql":
        names = "(dag_id, task_id, run_id, map_index)"
        added = f"ALTER TABLE xcom ADD CONSTRAINT xcom_task_instance_fkey FOREIGN KEY {names}"
        added += f" REFERENCES task_instance {names} ON DELETE CASCADE"
        metadata.execute(f"{added} NOT VALID")
        assert refused() == ['the foreign key "xcom.xcom_task_instance_fkey" is not validated']
        metadata.execute("ALTER TABLE xcom VALIDATE CONSTRAINT xcom_task_instance_fkey")
        assert refused() == []
