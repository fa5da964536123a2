"""Ids are compared exactly, whatever the database's encoding, collations and views are."""

from __future__ import annotations

import datetime as dt
import json
import re
import sqlite3
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from tests.metadata import WHEN, Metadata

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.conftest import Run
    from tests.servers import Server

IDS = ("dag_id", "task_id", "run_id", "key")
DAGS = ("dag", "DAG", "other")


def filled(url: str, generation: str = "2.3") -> Metadata:
    """Make a table whose names differ in case only, without a key that would not take them."""
    metadata = Metadata(url, generation, with_instances=generation == "2.3")
    for number, dag_id in enumerate(DAGS):
        run_id = f"run_{dag_id}"
        date = WHEN + dt.timedelta(days=number)
        metadata.run(dag_id, run_id, date)
        if generation == "2.3":
            metadata.instance(dag_id, "task", run_id)
        metadata.add(b"%d" % number, dag_id=dag_id, run_id=run_id, date=date, timestamp=date)
    return metadata


def as_views(metadata: Metadata) -> None:
    """Make a view of the xcom table."""
    metadata.execute("ALTER TABLE xcom RENAME TO xcom_table")
    metadata.execute("CREATE VIEW xcom AS SELECT * FROM xcom_table")


def no_case(metadata: Metadata) -> None:
    """Give the columns of ids a collation that folds case, another one in each table."""
    if metadata.backend == "sqlite":
        engine = sqlite3.connect(metadata.url)
        tables = [name for (name,) in engine.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]  # fmt: skip
        for table in tables:
            (made,) = engine.execute("SELECT sql FROM sqlite_schema WHERE name = ?", (table,)).fetchone()  # fmt: skip
            made = re.sub(r"VARCHAR\((250|512)\)", r"\g<0> COLLATE NOCASE", made)
            made = re.sub(r", CONSTRAINT \w+ FOREIGN KEY.*CASCADE", "", made)
            made = re.sub(r", (CONSTRAINT \w+ )?PRIMARY KEY \([^)]*\)", "", made)
            engine.execute(f"ALTER TABLE {table} RENAME TO old")
            engine.execute(made.replace(" PRIMARY KEY", "") if table != "dag_run" else made)
            engine.execute(f"INSERT INTO {table} SELECT * FROM old")
            engine.execute("DROP TABLE old")
            engine.commit()
        engine.close()
    elif metadata.backend == "postgresql":
        metadata.execute("CREATE COLLATION nocase (provider = icu, locale = 'und-u-ks-level2', deterministic = false)")  # fmt: skip
        if metadata.mapped:
            metadata.execute("ALTER TABLE xcom DROP CONSTRAINT xcom_task_instance_fkey")
        ids = ", ".join(f'ALTER "{name}" TYPE VARCHAR(250) COLLATE nocase' for name in IDS if name != "run_id" or metadata.mapped)  # fmt: skip
        metadata.execute(f"ALTER TABLE xcom {ids}")
        metadata.execute('ALTER TABLE dag_run ALTER dag_id TYPE VARCHAR(250) COLLATE "C", ALTER run_id TYPE VARCHAR(250) COLLATE "C"')  # fmt: skip
    else:
        if metadata.mapped:
            metadata.execute("ALTER TABLE xcom DROP FOREIGN KEY xcom_task_instance_fkey")
        # A key has at most 3072 bytes.
        metadata.execute("ALTER TABLE xcom MODIFY `key` VARCHAR(100) NOT NULL")
        metadata.execute("ALTER TABLE xcom CONVERT TO CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci")  # fmt: skip
        metadata.execute("ALTER TABLE dag_run CONVERT TO CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci")  # fmt: skip


def check(metadata: Metadata, run: Run, *, writes: bool = True) -> None:
    """Ask everything that compares ids, and change what it finds."""

    def listed(*filters: str) -> list[str]:
        done = run("list", "--url", metadata.url, *filters, "-o", "json")
        assert done.code == 0, done.err
        return sorted(one["dag_id"] for one in done.json()["xcom_entries"])

    assert listed() == sorted(DAGS)
    assert listed("-d", "dag") == ["dag"]
    assert listed("-d", "d*") == ["dag"]
    assert listed("-d", "[D]*") == ["DAG"]
    assert listed("-d", "dag", "-d", "oth*") == ["dag", "other"]
    assert listed("-r", "run_DAG") == ["DAG"]
    assert listed("-d", "dag", "--sort", "size", "-n", "1") == ["dag"]
    # What no such database can hold, or only some can, is no match.
    for name in ("\u65e5\u672c", "\u65e5*", "[\u65e5x]*", "\u2603", "\U0001f4a5", "caf\u00e9", "d\u0141*"):  # fmt: skip
        assert listed("-d", name) == listed("-t", name) == listed("-r", name) == []
        assert run("pull", name, "task", "--url", metadata.url).code == 4
    assert listed("-d", "[!\u65e5]ag") == ["dag"]
    assert run("pull", "DAG", "task", "--url", metadata.url).out == "1\n"
    assert run("pull", "dag", "task", "-r", "run_dag", "--url", metadata.url).out == "0\n"
    for command in ("top", "audit --deep", "preflight --to 3.3.2 --exit-zero", "info --count"):
        done = run(*command.split(), "--url", metadata.url, "-o", "json")
        assert done.code == 0, done.err
    lines = [one for one in run("export", "--url", metadata.url).out.splitlines() if one]
    assert len(lines) == 3
    assert not any(json.loads(one).get("orphan") for one in lines)
    if metadata.mapped and writes:
        given = ("push", "dag", "task", '"new"', "--replace", "--yes", "--undo-file", "undo")
        done = run(*given, "--url", metadata.url)
        assert done.code == 0, done.err
        assert run("pull", "dag", "task", "--url", metadata.url).out == '"new"\n'
        assert run("pull", "DAG", "task", "--url", metadata.url).out == "1\n"
        done = run("import", "undo", "--replace", "--yes", "--url", metadata.url)
        assert done.code == 0, done.err
    if not writes:
        return
    done = run("delete", "-d", "DAG", "-d", "\u65e5", "--keep-last", "0", "--yes", "--undo-file", "gone", "--url", metadata.url)  # fmt: skip
    assert done.code == 0, done.err
    assert listed() == ["dag", "other"]
    done = run("import", "gone", "--url", metadata.url)
    assert done.code == 0, done.err
    assert sorted(run("export", "--url", metadata.url).out.splitlines()) == sorted(lines)
    assert len(listed("--sort", "run")) == 3


@pytest.mark.parametrize("generation", ["2.0", "2.3"])
def test_where_collations_fold_case_and_differ(
    empty_url: str, run: Run, tmp_path: Path, generation: str
) -> None:
    """As a migration of the server, or a careful administrator, leaves them."""
    metadata = filled(empty_url, generation)
    no_case(metadata)
    check(metadata, run)


def test_where_xcom_is_a_view(empty_url: str, run: Run, tmp_path: Path) -> None:
    """There is no row version, no row number and no primary key."""
    metadata = filled(empty_url)
    as_views(metadata)
    # SQLite's views need triggers to write, and count no rows.
    check(metadata, run, writes=metadata.backend != "sqlite")
    large = b'"' + b"x" * 9_000_000 + b'"'
    made = {
        "sqlite": f"CAST('{large.decode()}' AS BLOB)",
        "postgresql": f"convert_to('\"' || repeat('x', {len(large) - 2}) || '\"', 'UTF8')",
        "mysql": f"CONCAT('\"', REPEAT('x', {len(large) - 2}), '\"')",
    }[metadata.backend]
    metadata.execute(f"UPDATE xcom_table SET value = {made} WHERE dag_id = 'dag'")
    done = run("pull", "dag", "task", "-o", "raw", "--file", "value", "--url", metadata.url)
    assert done.code == 0, done.err
    assert (tmp_path / "value").read_bytes() == large


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
@pytest.mark.parametrize("generation", ["1.10", "2.3"])
def test_postgresql_of_another_encoding(
    postgres: Server, run: Run, tmp_path: Path, encoding: str, generation: str
) -> None:
    """A character that the database lacks is in none of its names."""
    name = f"in_{encoding.lower()}_{generation.replace('.', '_')}"
    postgres.execute(f"DROP DATABASE IF EXISTS {name}")
    postgres.execute(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C'")  # fmt: skip
    url = postgres.url.set(database=name).render_as_string(hide_password=False)
    check(filled(url, generation), run)


@pytest.mark.parametrize("generation", ["2.3", "3.0"])
def test_postgresql_with_names_that_are_not_utf8(
    postgres: Server, run: Run, generation: str
) -> None:
    """SQL_ASCII takes any bytes: they are shown escaped, found, exported, deleted and restored."""
    name = f"any_bytes_{generation.replace('.', '_')}"
    postgres.execute(f"DROP DATABASE IF EXISTS {name}")
    postgres.execute(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C'")  # fmt: skip
    url = postgres.url.set(database=name).render_as_string(hide_password=False)
    metadata = Metadata(url, generation, with_instances=True)
    metadata.instance("dag", "task", "run_1")
    metadata.add("1" if metadata.json else b"1")
    metadata.execute(
        "INSERT INTO task_instance (task_id, dag_id, run_id, map_index)"
        r" VALUES (E'caf\xe9', 'dag', 'run_1', -1)"
    )
    # A JSON column takes it, too, and "import" does not write what is not JSON.
    value = "value" if metadata.json else r"""convert_to(E'"\xe9"', 'SQL_ASCII')"""
    metadata.execute(
        "INSERT INTO xcom (dag_run_id, task_id, map_index, key, dag_id, run_id, value, timestamp)"
        rf" SELECT dag_run_id, E'caf\xe9', map_index, key, dag_id, run_id, {value}, timestamp FROM xcom"
    )

    def lines() -> list[bytes]:
        return sorted(run("export", "--url", url).stdout.splitlines())

    before = lines()
    assert len(before) == 2
    assert {json.loads(line)["task_id"] for line in before} == {"task", "caf\udce9"}
    assert run("list", "--url", url, "-t", "caf*", "-o", "json").json()["returned"] == 1
    for command in ("top", "audit", "preflight", "info"):
        assert run(command, "--url", url).code in (0, 1)
    done = run(
        "delete", "--url", url, "-d", "dag", "--include-active", "--yes", "--undo-file", "undo"
    )
    assert done.code == 0, done.err
    assert lines() == []
    done = run("import", "undo", "--url", url)
    assert done.code == 0, done.err
    assert lines() == before


@pytest.mark.parametrize("charset", ["latin1", "utf8mb3", "ascii"])
def test_mysql_of_another_character_set(
    mysql_like: Server, run: Run, tmp_path: Path, charset: str
) -> None:
    """A character that the columns lack is in none of their names."""
    url = mysql_like.create_database()
    metadata = filled(url)
    metadata.execute("ALTER TABLE xcom DROP FOREIGN KEY xcom_task_instance_fkey")
    metadata.execute(f"ALTER TABLE xcom CONVERT TO CHARACTER SET {charset}")
    check(metadata, run)
    if charset == "latin1":
        metadata.add(b"7", dag_id="caf\u00e9", run_id="run_caf\u00e9")
        assert run("pull", "caf\u00e9", "task", "--url", url).out == "7\n"


def test_the_join_with_runs_uses_their_index_although_collations_differ(
    mysql_like: Server, any_server: Callable[[str], Server]
) -> None:
    """Old rows name their run by DAG and date: each is looked up, none by a scan of all runs."""
    from xcomctl.config.target import resolve_target
    from xcomctl.db import open_store
    from xcomctl.model import Selection

    url = mysql_like.create_database()
    metadata = filled(url, "2.0")
    metadata.execute("CREATE INDEX by_date ON dag_run (dag_id, execution_date)")
    with metadata.engine.begin() as connection:
        connection.execute(
            sa.text("INSERT INTO dag_run (id, dag_id, run_id, execution_date) VALUES (:id, :dag, :dag, :date)"),
            [{"id": number, "dag": f"dag_{number}", "date": WHEN} for number in range(10, 1500)],
        )  # fmt: skip
    no_case(metadata)
    metadata.execute("ANALYZE TABLE xcom, dag_run")
    with open_store(resolve_target(url=url)) as store:
        query = store.rows.select(Selection())
        sql, parameters = store.table.backend.driver_sql(query)
        explained = f"EXPLAIN FORMAT=JSON {sql}"
        plan = store.table.connection.exec_driver_sql(explained, parameters).scalar()
    assert "by_date" in str(plan)
    assert re.search(r'"key(_name)?"\s*:\s*"by_date"|Index lookup.*by_date', str(plan)), plan


def test_without_the_sequence_a_row_of_old_gets_an_id_of_its_own(
    postgres: Server, run: Run
) -> None:
    """Airflow 1.10 numbers its rows; without USAGE ours are below 1, where its own never come."""
    url = postgres.create_database()
    metadata = Metadata(url, "1.10")
    metadata.add(b"1")
    metadata.execute("CREATE TABLE task_instance (task_id VARCHAR(250), dag_id VARCHAR(250), execution_date TIMESTAMPTZ)")  # fmt: skip
    metadata.execute("INSERT INTO task_instance SELECT 'task', dag_id, execution_date FROM dag_run")
    role = f"u{metadata.engine.url.database}"
    metadata.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'secret'")
    metadata.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON xcom TO {role}")
    metadata.execute(f"GRANT SELECT ON dag_run, task_instance, dag TO {role}")
    metadata.execute(f"GRANT UPDATE ON dag_run TO {role}")
    reader = (
        sa.make_url(url).set(username=role, password="secret").render_as_string(hide_password=False)
    )
    for key in ("a", "b"):
        done = run("push", "dag", "task", key, "1", "--url", reader)
        assert done.code == 0, done.err
    metadata.add(b"1", key="c")
    with metadata.engine.begin() as connection:
        rows = connection.exec_driver_sql("SELECT id, key FROM xcom ORDER BY id")
        assert [tuple(row) for row in rows] == [(-1, "b"), (0, "a"), (1, "return_value"), (2, "c")]
