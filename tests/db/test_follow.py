"""`list --follow`: what is committed is shown once, and nothing is missed."""

from __future__ import annotations

import datetime as dt
import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.db.test_store import opened
from tests.follow_campaign import campaign
from tests.metadata import WHEN, Metadata
from xcomctl.db.read import areas
from xcomctl.db.read.follow import Follow
from xcomctl.db.read.sorting import Details
from xcomctl.db.read.versions import RowIds, Transactions, Versions, versions_of
from xcomctl.model import Selection, Size

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers import Server


def now() -> dt.datetime:
    return dt.datetime.now(dt.UTC).replace(tzinfo=None)


def test_eight_writers_committing_out_of_order(empty_url: str, tmp_path: Path) -> None:
    """Late commits, replacements, roll-backs and savepoints: 0 missed, 0 doubled."""
    assert "0 missed, 0 doubled" in campaign(tmp_path, empty_url, 4, 1, every="0.3s")


# --- what a look finds ------------------------------------------------------------------------


@pytest.mark.parametrize("generation", ["1.10", "2.0", "2.3", "3.0"])
def test_new_replaced_and_matching_rows_are_found_once(empty_url: str, generation: str) -> None:
    """In every generation, whatever the timestamps say; what was there before is not new."""
    metadata = Metadata(empty_url, generation)
    some: Any = (lambda size: json.dumps("x" * size)) if metadata.json else (lambda size: b"x" * size)  # fmt: skip
    metadata.add(some(50), key="old")
    selection = Selection(keys=("k*", "old"), min_size=Size(20))
    with opened(metadata.url) as store:
        follow = Follow(selection, Details())
        assert follow.start(store, existing=False) == []
        assert follow.look(store) == []
        metadata.add(some(50), key="k1", timestamp=WHEN - dt.timedelta(days=1))
        metadata.add(some(50), key="k2", task_id="other")
        metadata.add(some(3), key="k3")
        metadata.add(some(50), key="other")
        assert [one.ref.key for one in follow.look(store)] == ["k1", "k2"]
        assert follow.look(store) == []
        metadata.execute("DELETE FROM xcom WHERE task_id = 'other'")
        metadata.add(some(60), key="k2", task_id="other", timestamp=now())
        assert [(one.ref.key, one.ref.task_id) for one in follow.look(store)] == [("k2", "other")]
        assert follow.look(store) == []


def test_two_tables_are_followed_as_one(empty_url: str) -> None:
    """Airflow 3.4: a push to either is found, and so is the one of a later attempt."""
    metadata = Metadata(empty_url, "3.4")
    metadata.add('"old"', key="old", store="xcom_v1")
    with opened(metadata.url) as store:
        follow = Follow(Selection(), Details())
        follow.start(store, existing=False)
        metadata.add('"1"', key="legacy", store="xcom_v1", timestamp=now())
        metadata.add('"1"', key="new", store="xcom_v2", timestamp=now())
        assert {one.ref.key for one in follow.look(store)} == {"legacy", "new"}
        assert follow.look(store) == []
        metadata.add(
            '"2"', key="again", task_id="retried", try_number=2, store="xcom_v2", timestamp=now()
        )
        assert [one.ref.key for one in follow.look(store)] == ["again"]
        assert follow.look(store) == []


def test_it_can_begin_with_what_there_is(empty_url: str) -> None:
    """Each of them once, too."""
    metadata = Metadata(empty_url)
    metadata.add(b"1", key="old")
    metadata.add(b"1", key="recent", timestamp=now())
    follow = Follow(Selection(since=dt.datetime.now(dt.UTC) - dt.timedelta(hours=1)), Details())
    with opened(metadata.url) as store:
        assert [one.ref.key for one in follow.start(store, existing=True)] == ["recent"]
        metadata.add(b"1", key="new", timestamp=now())
    with opened(metadata.url) as store:
        # Over another connection.
        follow.forget_connection()
        assert [one.ref.key for one in follow.look(store)] == ["new"]
        assert follow.look(store) == []


@pytest.fixture
def small_areas(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a table of some hundred rows be a large one."""
    for kind in (Versions, Transactions):
        monkeypatch.setattr(kind, "recent_rows", 20)
    monkeypatch.setattr(areas, "SLICE_ROWS", 30)


@pytest.mark.usefixtures("small_areas")
def test_every_row_of_a_large_table_gets_its_turn(server: Server) -> None:
    """A push to any run is found: at once if the run is new or not finished, else soon."""
    metadata = Metadata(server.create_database())
    for number in range(60):
        for key in ("a", "b", "c"):
            metadata.add(b"1", run_id=f"run_{number}", key=key)
    metadata.execute("UPDATE dag_run SET state = 'running' WHERE id = 3")
    with opened(metadata.url) as store:
        follow = Follow(Selection(), Details())
        follow.start(store, existing=False)
        assert follow.look(store) == []
        for run in ("run_2", "run_59"):
            metadata.add(b"1", run_id=run, key="new", timestamp=now())
        metadata.add(b"1", run_id="run_60", key="new", timestamp=now())
        # Its own timestamp is not looked at in such a run.
        metadata.add(b"1", run_id="run_2", key="skewed", timestamp=WHEN)
        found = {(one.ref.run_id, one.ref.key) for one in follow.look(store)}
        assert found == {("run_2", "new"), ("run_2", "skewed"), ("run_59", "new"), ("run_60", "new")}  # fmt: skip
        later = now() + dt.timedelta(seconds=5)
        for number in range(0, 40, 7):
            metadata.add(b"1", run_id=f"run_{number}", key="late", timestamp=later)
        turns = [one.ref.run for _ in range(15) for one in follow.look(store)]
        assert sorted(turns) == sorted(f"run_{number}" for number in range(0, 40, 7))
        for number in range(61, 90):
            metadata.add(b"1", run_id=f"run_{number}", key="new", timestamp=later)
            assert [one.ref.run_id for one in follow.look(store)] == [f"run_{number}"]


def test_each_backend_tells_versions_in_its_way(empty_url: str) -> None:
    """Where xcom is a view, by the timestamp."""
    metadata = Metadata(empty_url)
    kinds = {"sqlite": RowIds, "postgresql": Transactions}
    with opened(metadata.url) as store:
        assert type(versions_of(store.table)) is kinds.get(metadata.backend, Versions)
    metadata.execute("ALTER TABLE xcom RENAME TO xcom_table")
    metadata.execute("CREATE VIEW xcom AS SELECT * FROM xcom_table")
    with opened(metadata.url) as store:
        assert type(versions_of(store.table)) is Versions
        follow = Follow(Selection(), Details())
        follow.start(store, existing=False)
        metadata.execute(
            "INSERT INTO xcom_table SELECT 1, 'task', -1, 'k', 'dag', 'run_1', NULL, CURRENT_TIMESTAMP"
        )
        assert [one.ref.key for one in follow.look(store)] == ["k"]
        assert follow.look(store) == []
