"""Airflow 3.4: XComs in two tables, of attempts in regions. What Airflow reads, and what it does not."""

from __future__ import annotations

import datetime as dt
import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.metadata import Metadata

if TYPE_CHECKING:
    import uuid

    from tests.conftest import Run

RUN = "run_1"
LATER = dt.datetime(2026, 2, 1)


@pytest.fixture
def metadata(empty_url: str) -> Metadata:
    """One run: a retried task, one cleared after the upgrade, a replaced XCom, a mapped task, a loop."""
    found = Metadata(empty_url, "3.4")
    found.add('"try 1"', task_id="flaky", store="xcom_v2", current=False)
    found.add('"only try 1"', task_id="flaky", key="early", store="xcom_v2", current=False)
    found.add('"try 2"', task_id="flaky", store="xcom_v2", try_number=2)
    found.add('"legacy"', task_id="cleared", store="xcom_v1", current=False)
    found.add('"cleared"', task_id="cleared", key="new", store="xcom_v2", try_number=2)
    found.add('"old"', task_id="replaced", store="xcom_v1")
    found.add('"new"', task_id="replaced", store="xcom_v2", timestamp=LATER)
    for index in (2, 0):
        found.add(f"{index}", task_id="mapped", map_index=index, store="xcom_v2")
        found.add(f"{index}", task_id="legacy_mapped", map_index=index, store="xcom_v1")
    return found


def loop(metadata: Metadata) -> tuple[uuid.UUID, list[uuid.UUID]]:
    """Add a loop of two passes: a task, and a mapped one of two indexes in each."""
    attempts = metadata.attempts
    metadata.run("dag", RUN)
    region = attempts.region("dag", RUN, "group")
    inner = []
    for number in range(2):
        metadata.add(
            f'"pass {number}"', task_id="group.task", store="xcom_v2", region=(region, number)
        )
        inner.append(attempts.region("dag", RUN, "group.each", (region, number)))
        for index in range(2):
            metadata.add(
                f"{10 * number + index}", task_id="group.each", store="xcom_v2",
                region=(inner[-1], index),
            )  # fmt: skip
    return region, inner


def listed(run: Run, metadata: Metadata, *options: str) -> list[dict[str, Any]]:
    done = run("list", "-n", "0", "-o", "json", "--value", *options, "--url", metadata.url)
    assert done.code == 0, done.err
    found: list[dict[str, Any]] = done.json()["xcom_entries"]
    return found


def named(entries: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    fields = ("task_id", "map_index", "key", "value", "try_number", "current", "store")
    return sorted(tuple(entry[one] for one in fields) for entry in entries)


CURRENT = [
    ("cleared", -1, "new", '"cleared"', 2, True, "xcom_v2"),
    ("flaky", -1, "return_value", '"try 2"', 2, True, "xcom_v2"),
    ("legacy_mapped", 0, "return_value", "0", 1, True, "xcom_v1"),
    ("legacy_mapped", 2, "return_value", "2", 1, True, "xcom_v1"),
    ("mapped", 0, "return_value", "0", 1, True, "xcom_v2"),
    ("mapped", 2, "return_value", "2", 1, True, "xcom_v2"),
    ("replaced", -1, "return_value", '"new"', 1, True, "xcom_v2"),
]
HIDDEN = [
    ("cleared", -1, "return_value", '"legacy"', 1, False, "xcom_v1"),
    ("flaky", -1, "early", '"only try 1"', 1, False, "xcom_v2"),
    ("flaky", -1, "return_value", '"try 1"', 1, False, "xcom_v2"),
    ("replaced", -1, "return_value", '"old"', 1, False, "xcom_v1"),
]


def test_list_shows_what_airflow_reads(run: Run, metadata: Metadata) -> None:
    """Neither earlier attempts nor what a row of xcom_v2 replaced, unless asked for."""
    assert named(listed(run, metadata)) == CURRENT
    assert named(listed(run, metadata, "--attempts", "all")) == sorted(CURRENT + HIDDEN)
    assert "--attempts all shows them" in run("list", "--url", metadata.url).err
    assert "leaves out" not in run("list", "--attempts", "all", "--url", metadata.url).err
    unknown = run("list", "--attempts", "old", "--url", metadata.url)
    assert unknown.code == 2
    assert "current, all" in unknown.err


def test_filters_apply_to_both_tables(run: Run, metadata: Metadata) -> None:
    """By task, key, index, run, time and size."""
    loop(metadata)

    def tasks(*options: str) -> list[str]:
        return sorted(entry["task_id"] for entry in listed(run, metadata, *options))

    assert tasks("-t", "*mapped", "-m", "2") == ["legacy_mapped", "mapped"]
    assert tasks("-t", "flaky") == ["flaky"]
    assert tasks("-k", "early") == []
    assert tasks("-k", "early", "--attempts", "all") == ["flaky"]
    assert tasks("--since", LATER.isoformat()) == ["replaced"]
    assert tasks("-r", "latest", "-t", "replaced") == ["replaced"]
    assert len(tasks("-r", "run_*", "-d", "dag")) == len(CURRENT) + 6
    assert tasks("-m", "1") == ["group.each", "group.each"]


def test_pull_gives_the_current_attempt(run: Run, metadata: Metadata) -> None:
    """Another one by its number, and nothing after a clear, as Airflow."""

    def pull(*arguments: str) -> Any:
        return run("pull", "dag", *arguments, "-q", "--url", metadata.url)

    assert pull("flaky").json() == "try 2"
    assert pull("flaky", "--try-number", "1").json() == "try 1"
    assert pull("flaky", "early").code == 4
    assert pull("flaky", "early", "--try-number", "1").json() == "only try 1"
    assert pull("cleared").code == 4
    assert pull("cleared", "--try-number", "1").json() == "legacy"
    assert pull("replaced").json() == "new"
    assert pull("replaced", "--try-number", "1").json() == "new"
    for task in ("mapped", "legacy_mapped"):
        assert pull(task, "-m", "2").json() == 2
        assert pull(task, "--all-map-indexes").json() == [0, 2]
        assert pull(f"{task}", "-m", "1").code == 4


def test_pull_of_a_task_in_a_loop_lists_the_choices(run: Run, metadata: Metadata) -> None:
    """Its passes have one name; the region tells them apart, in an option or in the name."""
    region, inner = loop(metadata)

    def pull(*arguments: str) -> Any:
        return run("pull", *arguments, "-q", "--url", metadata.url)

    refused = pull("dag", "group.task")
    assert refused.code == 2
    assert "names 2 XComs" in refused.err
    assert f"dag/{RUN}/group.task#{region}:1:return_value" in refused.err
    assert pull("dag", "group.task", "--region", f"{region}:1").json() == "pass 1"
    assert pull("dag", "group.task", "--region", f"{region.hex}:0").json() == "pass 0"
    assert pull(f"dag/{RUN}/group.task#{region}:1:return_value").json() == "pass 1"
    assert pull(f"dag/group.each[1]#{inner[1]}:1").json() == 11
    assert pull("dag", "group.each", "-m", "1").code == 2
    assert pull("dag", "group.task", "--region", f"{region}:7").code == 4
    assert pull("dag", "group.task", "--region", "somewhere").code == 2
    found = listed(run, metadata, "--region", f"{region}:0", "--region", f"{inner[0]}:1")
    assert sorted(entry["value"] for entry in found) == ['"pass 0"', "1"]
    assert {entry["region_id"] for entry in found} == {str(region), str(inner[0])}


def test_sizes_count_what_airflow_reads(run: Run, metadata: Metadata) -> None:
    """`top` and `audit` as `list`, with all attempts on request."""
    every = ("-o", "json", "--url", metadata.url)
    for options, rows in ((), CURRENT), (("--attempts", "all"), CURRENT + HIDDEN):
        top = run("top", "-n", "0", *options, *every).json()
        assert sum(group["count"] for group in top["groups"]) == len(rows)
        report = run("audit", "--deep", *options, *every).json()
        assert report["summary"]["scanned"] == len(rows)
        sizes = [entry["size_bytes"] for entry in listed(run, metadata, *options)]
        assert report["summary"]["total_bytes"] == sum(sizes)


def test_exports_say_where_each_row_lies(run: Run, metadata: Metadata) -> None:
    """Attempt, region and table, in lines and in CSV."""
    region, _ = loop(metadata)
    for options, rows in ((), CURRENT), (("--attempts", "all"), CURRENT + HIDDEN):
        done = run("export", *options, "--url", metadata.url)
        lines = [json.loads(line) for line in done.out.splitlines()]
        found = [
            (one["task_id"], one["map_index"], one["key"], json.dumps(one["value"]), one["try_number"], one["store"])
            for one in lines
            if not one["task_id"].startswith("group.")
        ]  # fmt: skip
        assert sorted(found) == sorted((*row[:5], row[6]) for row in rows)
        passes = {
            (one["region_id"], one["region_index"]) for one in lines if one["task_id"] == "group.task"
        }  # fmt: skip
        assert passes == {(str(region), 0), (str(region), 1)}
        assert all((one["xcom_id"] is None) is (one["store"] == "xcom_v1") for one in lines)
        table = run("export", "-o", "csv", *options, "--url", metadata.url).out.splitlines()
        assert len(table) == 1 + len(lines)
        assert {"try_number", "region_id", "region_index", "store"} <= set(table[0].split(","))


def test_info_names_the_generation(run: Run, metadata: Metadata) -> None:
    """And adds up both tables."""
    document = run("info", "--count", "-o", "json", "--url", metadata.url).json()
    assert document["airflow"]["generation"] == "3.4"
    assert document["xcom"]["rows"] == len(CURRENT)
    assert document["permissions"]["xcom_v1"] == "read"


def test_pages_follow_each_other(run: Run, metadata: Metadata) -> None:
    """A cursor takes region, attempt and table into account."""
    loop(metadata)
    whole = listed(run, metadata, "--attempts", "all")
    pages: list[dict[str, Any]] = []
    after: list[str] = []
    while True:
        done = run(
            "list", "-n", "3", "-o", "json", "--value", "--attempts", "all", *after,
            "--url", metadata.url,
        )  # fmt: skip
        document = done.json()
        pages += document["xcom_entries"]
        if document["next"] is None:
            break
        after = ["--after", document["next"]]
    assert pages == whole
    assert len(pages) == len(CURRENT + HIDDEN) + 6


def test_tables_of_a_downgrade_that_stopped_are_refused(run: Run, metadata: Metadata) -> None:
    """Columns decide: it is neither 3.3 nor 3.4, and nothing is guessed."""
    metadata.execute("ALTER TABLE task_instance RENAME COLUMN region_index TO map_index")
    done = run("list", "--url", metadata.url)
    assert done.code == 3
    assert "neither Airflow 3.3's nor 3.4's" in done.err
    assert '"task_instance.region_index"' in done.err


def test_preflight_says_what_a_downgrade_deletes_and_stops_at(run: Run, metadata: Metadata) -> None:
    """Earlier attempts go; instances of one name in several regions, and attempts without a current one, stop it."""

    def findings(release: str) -> dict[str, list[str]]:
        done = run("preflight", "--to", release, "-o", "json", "--url", metadata.url)
        assert done.code in (0, 1), done.err
        found: dict[str, list[str]] = {}
        for one in json.loads(done.out)["findings"]:
            found.setdefault(one["rule"], []).append(one["message"])
        return found

    assert findings("3.4") == {}
    lost = {"xcom-airflow3-downgrade": ["4 XComs that Airflow does not read are deleted"]}
    assert findings("3.3.2") == lost
    loop(metadata)
    metadata.add("1", task_id="alone", store="xcom_v2", current=False)
    found = findings("3.3.2")
    assert found["xcom-airflow3-downgrade"] == ["5 XComs that Airflow does not read are deleted"]
    assert sorted(found["xcom-airflow3-tables"]) == [
        "1 archived attempts have no current attempt at the same map_index",
        "2 task instances in loops or regions have one name and map_index",
    ]


def test_why_tells_earlier_attempts_from_the_current_one(run: Run, metadata: Metadata) -> None:
    """They are evidence, not further instances of the task."""
    metadata.execute(
        "UPDATE task_instance SET state = NULL WHERE task_id = 'cleared' AND try_number = 2"
    )
    done = run("why", "dag", "cleared", "-o", "json", "--url", metadata.url)
    document = done.json()
    assert document["cause"] == "cleared"
    said = [one["text"] if isinstance(one, dict) else one for one in document["evidence"]]
    assert sum("earlier try 1" in one for one in said) == 1
    assert sum(one.startswith("task instance: ") for one in said) == 1
    assert (
        run("why", "dag", "mapped", "-m", "2", "-o", "json", "--url", metadata.url).json()["cause"]
        == "exists"
    )
