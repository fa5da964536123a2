"""Preflight on values that the migration keeps: whether they can be pulled, and are the same."""

from __future__ import annotations

import base64
import json
import math
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.audit.test_preflight import airflow
from tests.metadata import Metadata
from tests.values.forms import envelope
from xcomctl.audit import airflow3, rules
from xcomctl.audit.airflow3 import Migration
from xcomctl.audit.outcome import Outcome

if TYPE_CHECKING:
    from tests.conftest import Run
    from tests.servers import Server

KEPT = {
    "dataset": envelope("airflow.datasets.Dataset", {"uri": "s3://bucket/a", "extra": None}),
    "newer": envelope("builtins.tuple", [1], 2),
    "nan_decimal": envelope("decimal.Decimal", math.nan),
    "decimal": envelope("decimal.Decimal", "1.5"),
    "last_moment": envelope("datetime.datetime", {"timestamp": 253402300799.999999, "tz": None}, 2),
    "moment": envelope("datetime.datetime", {"timestamp": 1.5, "tz": None}, 2),
    "old_set": {"__type": "set", "__var": [1]},
    "old_dict": {"__type": "dict", "__var": {"a": 1}},
    "nested": [{"a": envelope("builtins.set", [[1]])}],
    "plain": {"__version__": 1, "__type": "dict"},
}
"""Values that every migration keeps, and of which some cannot be pulled afterwards."""


@pytest.mark.parametrize(
    ("release", "unreadable"),
    [
        ((3, 0, 6), {"newer", "nan_decimal", "last_moment", "old_set", "nested"}),
        ((3, 1, 8), {"newer", "last_moment", "old_set", "nested"}),
        ((3, 3, 2), {"dataset", "newer", "nan_decimal", "last_moment", "nested"}),
    ],
)
def test_values_that_cannot_be_pulled_after_the_upgrade_are_named(
    release: tuple[int, int, int], unreadable: set[str]
) -> None:
    """Classes that no longer exist, newer versions, and values that are not read back."""
    migration = Migration("postgresql", release)
    found = {
        name
        for name, value in KEPT.items()
        for problem in airflow3.check_value(json.dumps(value).encode(), migration)
        if problem.rule is rules.AIRFLOW3_UNREADABLE or problem.outcome is Outcome.STOPS
    }
    assert found == unreadable


def test_real_airflow_cannot_pull_what_preflight_reports(postgres: Server) -> None:
    """Checked with the migration of Airflow 3.3.2, then with its deserializer."""
    python = airflow(3).with_name("python")
    folder = Path(__file__).parents[1]

    def call(script: str, given: object, *arguments: str) -> Any:
        done = subprocess.run(
            [python, folder / script, *arguments], input=json.dumps(given),
            capture_output=True, text=True, check=False, timeout=300,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    stored = {name: json.dumps(value).encode() for name, value in KEPT.items()}
    encoded = {name: base64.b64encode(value).decode() for name, value in stored.items()}
    migrated = call("real_migration.py", encoded, postgres.create_database())
    assert {kind for kind, _ in migrated.values()} == {"kept"}
    read = call("real_serde.py", {name: text for name, (_, text) in migrated.items()})
    failed = {name for name, (kind, _) in read.items() if kind == "error"}
    migration = Migration("postgresql", (3, 3, 2))
    named = {
        name
        for name, value in stored.items()
        if any(one.outcome is Outcome.UNREADABLE for one in airflow3.check_value(value, migration))
    }
    assert named == failed == {"dataset", "newer", "nan_decimal", "last_moment", "nested"}


def test_an_airflow_3_database_is_checked_for_what_a_newer_one_cannot_read(
    tmp_path: Path, run: Run
) -> None:
    """Not for values that it cannot read itself."""
    path = tmp_path / "airflow.db"
    metadata = Metadata(str(path), "3.0")
    metadata.execute("CREATE TABLE alembic_version (version_num VARCHAR(32))")
    metadata.execute("INSERT INTO alembic_version VALUES ('509b94a1042d')")
    for name, value in KEPT.items():
        if name != "nan_decimal":
            metadata.add(json.dumps(value), task_id=name)
    report = run("preflight", "--url", path, "--to", "3.3.2", "-o", "json").json()
    assert [(one["rule"], one["task_id"]) for one in report["findings"]] == [
        ("xcom-airflow3-unreadable", "dataset")
    ]
    assert report["summary"]["scanned"] == len(KEPT) - 1
    assert report["summary"]["fates"] == {"stops": 0, "lost": 0, "archived": 0, "altered": 0}
    same = run("preflight", "--url", path, "--to", "3.1.8", "-o", "json").json()
    assert (same["findings"], same["summary"]["scanned"]) == ([], 0)


@pytest.mark.parametrize(
    ("text", "backends"),
    [
        ('{"b": 1, "a": 2}', {"postgresql", "mysql"}),
        ('{"aa": 1, "b": 2}', {"postgresql", "mysql"}),
        ('{"\\u00e9": 1, "zz": 2, "a": 3}', {"postgresql", "mysql"}),
        ('{"a": 1, "b": 2, "aa": 3}', set()),
        ('[{"a": 1}, {}]', set()),
        ('{"a": 1, "a": 2}', set()),
    ],
)
def test_objects_whose_keys_are_sorted_are_reported(text: str, backends: set[str]) -> None:
    """Keys are sorted by length, then by bytes; a duplicate key reads the same afterwards."""
    for backend in ("postgresql", "mysql", "mariadb", "sqlite"):
        problems = airflow3.check_value(text.encode(), Migration(backend, (3, 3, 2)))
        expected = [rules.AIRFLOW3_KEY_ORDER] if backend in backends else []
        assert [one.rule for one in problems] == expected


def test_key_order_is_one_finding_for_all(postgres: Server, run: Run) -> None:
    """It is a note with the number of XComs, and does not fail the check."""
    url = postgres.create_database()
    metadata = Metadata(url)
    for name in ("one", "two"):
        metadata.add(b'{"b": 1, "a": 2}', task_id=name)
    metadata.add(b'{"__classname__": "airflow.datasets.Dataset", "__version__": 1, "__data__": 1}', task_id="x")  # fmt: skip
    report = run("preflight", "--url", url, "-o", "json").json()
    found = {one["rule"]: one for one in report["findings"]}
    order = found["xcom-airflow3-key-order"]
    assert (order["severity"], order["task_id"], order["occurrences"]) == ("note", "*", 3)
    assert found["xcom-airflow3-unreadable"]["severity"] == "warning"
    assert report["summary"]["unreadable"] == 1
    assert report["summary"]["reordered"] == 3
    assert set(report["summary"]["fates"].values()) == {0}
