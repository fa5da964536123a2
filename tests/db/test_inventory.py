"""What a database holds: sizes, rows, ages, archives and state stores, on every backend."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from tests.db.test_store import DAY, GENERATIONS, opened
from tests.metadata import Metadata
from xcomctl.db.backends import sqlite_storage
from xcomctl.db.read import inventory
from xcomctl.db.read.inventory import take_inventory

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers import Server

VALUE = b'"' + b"0123456789abcdef" * 4_000 + b'"'
ARCHIVES = (
    "_airflow_deleted__xcom__20260201000000",
    "_airflow_moved__2_3__dangling__xcom",
    "_xcom_archive",
)


def filled(url: str, generation: str = "2.3", rows: int = 20) -> Metadata:
    metadata = Metadata(url, generation)
    value = VALUE.decode() if metadata.json else VALUE
    for number in range(rows):
        day = DAY + dt.timedelta(days=number)
        metadata.add(
            value,
            dag_id=f"dag_{number % 3}",
            run_id=f"run_{number}",
            date=day,
            timestamp=day,
        )
    return metadata


def analyze(metadata: Metadata) -> None:
    """Bring the statistics up to date, which a server does by itself in a while."""
    if metadata.backend == "postgresql":
        metadata.execute("ANALYZE")
    elif metadata.backend == "mysql":
        tables = "xcom_v1, xcom_v2" if metadata.generation == "3.4" else "xcom"
        metadata.execute(f"ANALYZE TABLE {tables}")


@pytest.mark.parametrize("generation", GENERATIONS)
def test_sizes_rows_and_ages(empty_url: str, generation: str) -> None:
    """The parts add up to the total, which holds every value."""
    metadata = filled(empty_url, generation)
    analyze(metadata)
    for exact in (False, True):
        with opened(empty_url) as store:
            found = take_inventory(store, exact=exact)
        assert (found.rows, found.dags, found.has_exact_times) == (20, 3, True)
        assert found.oldest == DAY.replace(tzinfo=dt.UTC)
        assert found.newest == found.oldest + dt.timedelta(days=19)
        xcom = found.xcom
        assert xcom.total_bytes == (
            (xcom.table_bytes or 0) + (xcom.index_bytes or 0) + (xcom.toast_bytes or 0)
        )
        # PostgreSQL compresses such values to a hundredth.
        least = 20_000 if metadata.backend == "postgresql" else 20 * len(VALUE)
        assert least < (xcom.total_bytes or 0) < 100 * len(VALUE)
        assert (xcom.toast_bytes is None) == (metadata.backend != "postgresql")
        assert 10 <= (xcom.rows or 0) <= 40
        assert found.archives == found.state_stores == ()


def test_archives_and_state_stores(empty_url: str) -> None:
    """Found by their names, with their sizes; other tables of such names are left out."""
    metadata = filled(empty_url, rows=3)
    for name in (*ARCHIVES, "_airflow_deleted__log__20260201000000", "xxcom_archive"):
        metadata.execute(f"CREATE TABLE {name} AS SELECT * FROM xcom")
    metadata.execute("CREATE TABLE task_state_store (id INTEGER)")
    with opened(empty_url) as store:
        found = take_inventory(store, exact=False)
    assert tuple(one.name for one in found.archives) == ARCHIVES
    assert all((one.total_bytes or 0) > 0 for one in found.archives)
    assert [one.name for one in found.state_stores] == ["task_state_store"]


def test_a_server_that_is_no_replica(server: Server) -> None:
    url = server.create_database()
    Metadata(url)
    with opened(url) as store:
        storage = take_inventory(store, exact=False).storage
    assert (storage.replica, storage.lag_s) == (False, None)


def test_an_empty_table(empty_url: str) -> None:
    Metadata(empty_url)
    with opened(empty_url) as store:
        found = take_inventory(store, exact=False)
    assert (found.rows, found.dags, found.oldest, found.newest) == (0, 0, None, None)


def test_a_large_table_is_not_counted(empty_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without `exact` the times are those of the first and the last runs."""
    monkeypatch.setattr(inventory, "BAND", 5)
    filled(empty_url)
    with opened(empty_url) as store:
        found = take_inventory(store, exact=False)
        exact = take_inventory(store, exact=True)
    assert (found.rows, found.has_exact_times) == (None, False)
    assert (exact.rows, exact.has_exact_times) == (20, True)
    assert (found.oldest, found.newest) == (exact.oldest, exact.newest)


def test_a_large_sqlite_file_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite has no sums of a table's pages; rows are known from an ANALYZE."""
    path = str(tmp_path / "airflow.db")
    metadata = filled(path)
    metadata.execute("ANALYZE")
    monkeypatch.setattr(sqlite_storage, "MOST_READ", 0)
    with opened(path) as store:
        found = take_inventory(store, exact=False)
        exact = take_inventory(store, exact=True)
    assert (found.xcom.rows, found.xcom.total_bytes) == (20, None)
    assert found.storage.file_bytes == (tmp_path / "airflow.db").stat().st_size
    assert exact.xcom.total_bytes


def test_a_role_that_may_only_read_xcom(server: Server) -> None:
    """What it may not ask is left out, and nothing fails."""
    url = server.create_database()
    metadata = filled(url, rows=3)
    name = f"only_{metadata.engine.url.database}"[:30]
    if metadata.backend == "postgresql":
        metadata.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'pw'")
        metadata.execute(f"GRANT SELECT ON xcom TO {name}")
    else:
        metadata.execute(f"CREATE USER '{name}'@'%' IDENTIFIED BY 'pw'")
        metadata.execute(f"GRANT SELECT ON {metadata.engine.url.database}.xcom TO '{name}'@'%'")
    limited = sa.make_url(url).set(username=name, password="pw")
    with opened(limited.render_as_string(hide_password=False)) as store:
        found = take_inventory(store, exact=False)
        assert found.storage.replica is (False if metadata.backend == "postgresql" else None)
        # The connection is still of use.
        assert take_inventory(store, exact=True).rows == found.rows == 3
    assert (found.xcom.total_bytes or 0) > 0
