"""`snapshot`, `merge` and `--from`: the numbers of the database, in a file without values."""

from __future__ import annotations

import datetime as dt
import gzip
import json
import stat
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest

from tests.metadata import WHEN, Metadata

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Run

MIDNIGHT = dt.datetime(2026, 1, 31, 23, 59, 59, 999999)
DIMENSIONS = ("dag_id", "dag_id,task_id,key", "day", "task_id,day")


def fill(metadata: Metadata) -> None:
    """Add XComs of several days, names and sizes, with what is rare."""
    number = 0
    for dag_id in ("etl", "Etl", 'ha"rm\u202eless'):
        for day in range(4):
            for size in (2, 3, 70, 5000 * day + 4):
                number += 1
                when = MIDNIGHT + dt.timedelta(days=day, microseconds=size % 2)
                value = json.dumps("s" * (size - 2))
                metadata.add(
                    value if metadata.json else value.encode(), dag_id=dag_id, task_id=f"t{size % 3}",
                    run_id=f"r{number}", date=WHEN + dt.timedelta(days=number), timestamp=when,
                )  # fmt: skip
    metadata.add(None, dag_id="etl", key="nothing", run_id="r1")


def rows(done: Any, by: str) -> list[tuple[object, ...]]:
    """Return what is exact in the groups of `top -o json`."""
    facts = ("count", "total_bytes", "mean_bytes", "max_bytes", "share")
    return [tuple(row[name] for name in (*by.split(","), *facts)) for row in done.json()["groups"]]


@pytest.mark.parametrize("generation", ["1.10", "2.0", "3.0"])
def test_top_of_a_snapshot_is_top_of_the_database(
    empty_url: str, run: Run, generation: str
) -> None:
    """In every dimension, on each backend and generation."""
    metadata = Metadata(empty_url, generation)
    fill(metadata)
    if generation == "1.10":
        metadata.add(b"1", key=None, dag_id="etl")
    url = ("--url", empty_url)
    assert run("snapshot", "a.gz", *url).code == 0
    for by in DIMENSIONS:
        asked = ("top", "-n", "0", "-o", "json", "--by", by)
        assert rows(run(*asked, "--from", "a.gz"), by) == rows(run(*asked, *url), by)
    forecast = ("top", "-n", "0", "-o", "json", "--forecast", "--by", "dag_id")
    live, saved = run(*forecast, *url).json(), run(*forecast, "--from", "a.gz").json()
    for name in ("trend", "growth_bytes_per_day", "meets_limit_on"):
        assert [row[name] for row in saved["groups"]] == [row[name] for row in live["groups"]]
    assert [saved[name] for name in ("limit_bytes", "by")] == [
        live[name] for name in ("limit_bytes", "by")
    ]
    assert saved["percentiles"].startswith("upper bounds")


def test_the_same_database_gives_the_same_bytes(run: Run, tmp_path: Path) -> None:
    """Readable by their owner only, valid by the schema that is shipped, and without values."""
    metadata = Metadata(str(tmp_path / "airflow.db"))
    fill(metadata)
    metadata.add(b'"a secret value"', run_id="r9")
    done = run("snapshot", "a.gz", "--url", "airflow.db")
    assert done.err.endswith("wrote the sizes of 50 XComs (88.8 KiB) in 11 groups on 5 days\n")
    (tmp_path / "again").mkdir()
    stdout = run("snapshot", "-", "--url", f"{tmp_path}/again/../airflow.db").stdout
    data = (tmp_path / "a.gz").read_bytes()
    assert stdout == data
    assert stat.S_IMODE((tmp_path / "a.gz").stat().st_mode) == 0o600
    text = gzip.decompress(data)
    assert b"secret" not in text
    schema = run("config", "schema", "snapshot").json()
    jsonschema.validate(json.loads(text), schema)


def test_filters_of_a_snapshot_and_of_reading_it(run: Run, tmp_path: Path) -> None:
    """A snapshot holds what was selected; `top` selects again, by names and days."""
    fill(Metadata(str(tmp_path / "airflow.db")))
    url = ("--url", "airflow.db")
    run("snapshot", "a.gz", *url)
    run("snapshot", "large.gz", *url, "--min-size", "5000", "-d", "e*")
    top = ("top", "-o", "json", "--by", "dag_id")
    assert rows(run(*top, "--from", "large.gz"), "dag_id") == rows(
        run(*top, *url, "--min-size", "5000", "-d", "e*"), "dag_id"
    )
    chosen = (
        "-t",
        "t1",
        "--since",
        "2026-02-01T00:00:00Z",
        "--until",
        "2026-02-02T23:59:59.999999Z",
    )
    assert rows(run(*top, *chosen, "--from", "a.gz"), "dag_id") == rows(
        run(*top, *chosen, *url), "dag_id"
    )
    for arguments, message in (
        (("--min-size", "1"), "--min-size cannot be applied to a snapshot"),
        (("--by", "run_id"), "cannot group a snapshot by run_id"),
        (("--url", "airflow.db"), "--url cannot be combined with --from"),
    ):
        done = run("top", "--from", "a.gz", *arguments)
        assert (done.code, message in done.err) == (2, True), done.err


def test_several_deployments_side_by_side(run: Run, tmp_path: Path) -> None:
    """Files may follow one --from; a column names the deployment, and two of a kind are refused."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        Metadata(str(tmp_path / name / "airflow.db")).add(b"1" * len(name), dag_id=name)
        run("snapshot", f"{name}.gz", "--url", f"{name}/airflow.db")
    Metadata(str(tmp_path / "other.db")).add(b"12", dag_id="etl")
    run("snapshot", "other.gz", "--url", "other.db")
    done = run("top", "-o", "csv", "--columns", "deployment,dag", "--from", "one.gz", "other.gz")
    assert done.out.splitlines() == ["deployment,dag_id", "airflow,one", "other,etl"]
    refused = run("top", "--from", "one.gz", "two.gz")
    assert (refused.code, 'two deployments are called "airflow"' in refused.err) == (5, True)
    doubled = run("top", "--from", "one.gz", "--from", "one.gz")
    assert (doubled.code, "are both the whole database" in doubled.err) == (5, True)


@pytest.mark.parametrize("name", ["missing.gz", ".", "airflow.db", "a/b"])
def test_a_file_that_is_no_snapshot_is_a_usage_error(run: Run, tmp_path: Path, name: str) -> None:
    """Whatever is there instead."""
    Metadata(str(tmp_path / "airflow.db"))
    done = run("top", "--from", name)
    assert done.code == 2
    assert f'cannot read "{name}"' in done.err


def test_an_empty_database(run: Run, tmp_path: Path) -> None:
    """Is a snapshot without groups."""
    Metadata(str(tmp_path / "airflow.db"))
    assert run("snapshot", "a.gz", "--url", "airflow.db").code == 0
    done = run("top", "--from", "a.gz", "-o", "json", "--forecast")
    assert done.json()["groups"] == []


# --- audit ------------------------------------------------------------------------------------


def findings(done: Any) -> list[tuple[object, ...]]:
    names = (
        "rule",
        "severity",
        "dag_id",
        "task_id",
        "key",
        "max_size_bytes",
        "limit_bytes",
        "fingerprint",
    )
    return [tuple(one[name] for name in names) for one in json.loads(done.stdout)["findings"]]


def test_audit_of_a_snapshot_is_audit_of_the_database(run: Run) -> None:
    """The same findings on sizes, the same verdict, and a baseline that fits both."""
    run("demo", "airflow.db", "--no-tour")
    run("snapshot", "a.gz", "--url", "airflow.db")
    audit = ("audit", "--as", "mysql:2.8", "-o", "json")
    live, saved = run(*audit, "--url", "airflow.db"), run(*audit, "--from", "a.gz")
    assert findings(saved) == findings(live)
    assert (saved.code, live.code) == (1, 1)
    assert run("audit", "--from", "a.gz").code == 0
    update = ("--baseline", "b.json", "--update-baseline")
    assert run(*audit, "--url", "airflow.db", *update, "--exit-zero").code == 0
    assert run(*audit, "--from", "a.gz", "--baseline", "b.json").code == 0
    empty = run("audit", "--from", "a.gz", "-d", "none", "--fail-on-empty")
    assert empty.code == 4


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--per-entry", "--per-entry cannot be applied to a snapshot"),
        ("--measure=text", "--measure text cannot be applied"),
        ("--deep", "--deep needs a snapshot that was taken with it"),
        ("--url=a.db", "--url cannot be combined with --from"),
    ],
)
def test_audit_refuses_what_a_snapshot_does_not_hold(
    run: Run, tmp_path: Path, option: str, message: str
) -> None:
    """With the option's name."""
    Metadata(str(tmp_path / "airflow.db")).add(b"1")
    run("snapshot", "a.gz", "--url", "airflow.db")
    done = run("audit", "--from", "a.gz", option)
    assert (done.code, message in done.err) == (2, True), done.err


# --- diff -------------------------------------------------------------------------------------


def test_diff_of_two_snapshots(run: Run, tmp_path: Path) -> None:
    """By DAG, task and key: the bytes of all XComs together, and how many there are."""
    metadata = Metadata(str(tmp_path / "airflow.db"))
    metadata.add(b"12345", dag_id="etl", run_id="r1")
    metadata.add(b"1", dag_id="gone")
    metadata.add(b"12", dag_id="same")
    run("snapshot", "a.gz", "--url", "airflow.db")
    metadata.execute("DELETE FROM xcom WHERE dag_id = 'gone'")
    metadata.add(b"1234567", dag_id="etl", run_id="r2")
    metadata.add(b"1", dag_id="new")
    run("snapshot", "b.gz", "--url", "airflow.db")
    done = run("diff", "a.gz", "b.gz", "-o", "json").json()
    facts = ("change", "dag_id", "old_bytes", "new_bytes", "old_count", "new_count")
    assert [tuple(one[name] for name in facts) for one in done["changes"]] == [
        ("grown", "etl", 5, 12, 1, 2),
        ("gone", "gone", 1, None, 1, None),
        ("added", "new", None, 1, None, 1),
    ]
    assert done["summary"]["same"] == 1
    assert run("diff", "a.gz", "a.gz", "--exit-code").code == 0
    assert run("diff", "a.gz", "b.gz", "--exit-code").code == 1
    wrong = run("diff", "a.gz", "airflow.db")
    assert (wrong.code, 'cannot read "airflow.db" as a snapshot' in wrong.err) == (2, True)


# --- merge ------------------------------------------------------------------------------------


def test_parts_merged_are_the_whole_to_the_byte(empty_url: str, run: Run) -> None:
    """In any order, on each backend; one that is missing or doubled is refused."""
    fill(Metadata(empty_url, "2.0" if "postgres" in empty_url else "3.0"))
    url = ("--url", empty_url)
    whole = run("snapshot", "-", *url).stdout
    files = [f"part-{number}.gz" for number in (3, 1, 4, 2)]
    for file in files:
        done = run("snapshot", file, *url, "--part", f"{file[5]}/4")
        assert done.code == 0, done.err
    done = run("merge", *files, "-o", "all.gz")
    assert done.code == 0, done.err
    assert run("merge", *files, "-o", "-").stdout == whole
    top = ("top", "-o", "json", "--from")
    assert run(*top, *files).json() == run(*top, "all.gz").json()
    for some, message in (
        (files[1:], "part 3 of 4 is missing"),
        ((*files, files[0]), "are both part 3 of 4"),
        (("all.gz", *files), "parts of different divisions"),
    ):
        refused = run("merge", *some, "-o", "no.gz")
        assert (refused.code, message in refused.err) == (5, True), refused.err
        assert "hint: " in refused.err


def test_merge_refuses_two_databases(run: Run, tmp_path: Path) -> None:
    """With exit code 5; one file alone is the same again."""
    for name in ("a", "b"):
        Metadata(str(tmp_path / f"{name}.db")).add(b"1")
        run("snapshot", f"{name}.gz", "--url", f"{name}.db")
    done = run("merge", "a.gz", "b.gz", "-o", "all.gz")
    assert (done.code, "are of different databases" in done.err) == (5, True)
    assert not (tmp_path / "all.gz").exists()
    assert run("merge", "a.gz", "-o", "-").stdout == (tmp_path / "a.gz").read_bytes()
    assert run("merge", "a.gz").code == 2
    assert run("merge", "a.gz", "-o", "a.gz").code == 5


# --- deep -------------------------------------------------------------------------------------


def test_a_deep_snapshot_counts_what_values_hold(run: Run, tmp_path: Path) -> None:
    """Per group and rule, the same in parts; never the values. Audit and report show it."""
    metadata = Metadata(str(tmp_path / "airflow.db"))
    secret = b'{"aws_secret_access_key": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYzzTESTKEY9"}'
    for number in range(4):
        metadata.add(secret, dag_id="leaky", run_id=f"r{number}")
        metadata.add(b'"[1]"', dag_id="etl", run_id=f"r{number}")
    url = ("--url", "airflow.db", "--deep")
    assert run("snapshot", "a.gz", *url).code == 0
    text = gzip.decompress((tmp_path / "a.gz").read_bytes())
    assert b"wJalr" not in text
    groups = json.loads(text)["snapshots"][0]["groups"]
    assert [one["findings"] for one in groups] == [
        {"xcom-double-encoded": 4},
        {"xcom-secret": 4},
    ]
    jsonschema.validate(json.loads(text), run("config", "schema", "snapshot").json())
    for part in ("1", "2"):
        assert run("snapshot", f"{part}.gz", *url, "--part", f"{part}/2").code == 0
    assert run("merge", "1.gz", "2.gz", "-o", "-").stdout == (tmp_path / "a.gz").read_bytes()
    audit = run("audit", "--from", "a.gz", "--deep", "-o", "json").json()
    assert {(one["rule"], one["occurrences"]) for one in audit["findings"]} == {
        ("xcom-secret", 4),
        ("xcom-double-encoded", 4),
    }
    assert audit["summary"]["not_looked_at"] == []
    for source in (("--from", "a.gz"), url):
        page = run("report", "-", *source).out
        assert 'id="xcom-secret"' in page
        assert "wJalr" not in page
