"""Real metadata DBs, read by us and by the Airflow that wrote them."""

from __future__ import annotations

import contextlib
import io
import json
import re
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from tests.fixture_databases import Fixture, Row, all_fixtures, needed, parse_time
from xcomctl.cli import main

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = needed

FIXTURES = all_fixtures()


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory, any_server: Any) -> Callable[[Fixture], str]:
    """Load a fixture once for all the tests of it."""
    folder: Path = tmp_path_factory.mktemp("fixtures")
    loaded: dict[Fixture, str] = {}

    def call(fixture: Fixture) -> str:
        if fixture not in loaded:
            server = None if fixture.backend == "sqlite" else any_server(fixture.backend)
            loaded[fixture] = fixture.load(folder, server)
        return loaded[fixture]

    return call


def call(*arguments: str) -> tuple[int, bytes, str]:
    """Run a command line in this process: thousands of them would take an hour otherwise."""
    out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", newline="\n")
    err = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(arguments)
        out.flush()
    assert isinstance(out.buffer, io.BytesIO)
    return code, out.buffer.getvalue(), err.getvalue()


@pytest.mark.parametrize("fixture", FIXTURES, ids=str)
def test_list_holds_every_row_and_no_other(
    fixture: Fixture, load: Callable[[Fixture], str]
) -> None:
    """Orphans, duplicates, NULLs and text-class values included; sizes to the byte."""
    code, out, err = call(
        "list", "-n", "0", "-o", "json", "--text", *fixture.scope, "--url", load(fixture)
    )
    assert code == 0, err
    entries = json.loads(out)["xcom_entries"]
    measure = "size_bytes"
    if fixture.json_storage and fixture.backend == "postgresql":
        measure = "text_bytes"
    seen = Counter(
        (
            (
                entry["dag_id"],
                entry["task_id"],
                entry["run_id"],
                entry["key"],
                entry["map_index"],
                None if fixture.mapped else parse_time(entry["logical_date"]),
            ),
            entry[measure],
        )
        for entry in entries
    )
    assert seen == Counter((row.identity, row.length) for row in fixture.rows())


def normalised(text: str) -> str:
    """Return a repr with time zones and datetime classes written one way."""
    text = re.sub(r"(?:zoneinfo\.ZoneInfo\(key=|Timezone\()('[^']+')\)", r"ZONE(\1)", text)
    text = text.replace("'Etc/UTC'", "'UTC'").replace("datetime.timezone.utc", "ZONE('UTC')")
    seconds = r"datetime\.timezone\(datetime\.timedelta\(seconds=(\d+)\)\)"
    text = re.sub(rf"(?:{seconds}|FixedTimezone\((\d+), name=\"[^\"]+\"\))", r"ZONE(\1\2)", text)
    return text.replace("datetime.datetime(", "DateTime(").replace("datetime.date(", "Date(")


def agrees(row: Row, out: bytes, shown: str) -> bool:
    """Return whether our JSON or our repr is what Airflow returned."""
    if row.repr is not None and normalised(row.repr) == normalised(shown):
        return True
    value = json.loads(out)
    if isinstance(row.json, float) and row.json in (float("inf"), float("-inf")):
        return value is None
    return row.has_json and bool(value == row.json or (value is None and row.json != row.json))


def not_comparable(row: Row) -> str | None:
    """Return why Airflow's own answer is not the row's value."""
    if row.key == "":
        return "Airflow treats an empty key as None, and returns another row"
    if row.key == "ext_bad_dagrun_id":
        return "Airflow does not find a row whose dag_run_id is wrong"
    if row.repr is None and not row.has_json:
        return "the oracle has only the start of it"
    if row.repr is not None and "v_np_" in row.key:
        return "numpy's repr differs between its versions"
    return None


@pytest.mark.parametrize("fixture", FIXTURES, ids=str)
def test_pull_gives_what_airflow_returned(fixture: Fixture, load: Callable[[Fixture], str]) -> None:
    """Every row can be pulled; what JSON cannot tell is a marker that says what it is."""
    url = load(fixture)
    compared = 0
    for row in fixture.rows():
        run = row.run_id or row.date_text or ""
        name = [row.dag_id, row.task_id, row.key]
        where = ["--url", url, "-r", run, "-m", str(row.map_index), "-q"]
        code, out, err = call("pull", *where, "-o", "json", "--", *name)
        assert code == 0, (row.key, err)
        if row.error is not None or not_comparable(row):
            continue
        compared += 1
        if b'{"__xcomctl__": ' in out:
            assert {one["encoding"] for one in markers(json.loads(out))} <= {"pickle", "object"}
            continue
        shown = b""
        if not row.has_json:
            code, shown, err = call("pull", *where, "-o", "repr", "--", *name)
            assert code == 0, (row.key, err)
        assert agrees(row, out, shown.decode("utf-8", "surrogateescape").rstrip("\n")), (
            row.key,
            out[:200],
            row.repr,
        )
    assert compared > 60


def markers(value: Any) -> list[dict[str, Any]]:
    """Return what stands for the parts of a value that cannot be represented."""
    if isinstance(value, dict):
        if "__xcomctl__" in value:
            return [value["__xcomctl__"]]
        value = list(value.values())
    return [one for inner in value for one in markers(inner)] if isinstance(value, list) else []


def kinds(fixture: Fixture) -> dict[str, Counter[tuple[object, ...]]]:
    """Return the rows of each kind, told from the oracle's stored bytes alone."""
    found: dict[str, Counter[tuple[object, ...]]] = {
        rule: Counter()
        for rule in ("xcom-truncated", "xcom-undecodable", "xcom-pickled", "xcom-double-encoded")
    }
    for row in fixture.rows():
        name = (row.dag_id, row.task_id, row.key)
        if row.text is not None and len(row.text.encode()) == row.length:
            text: str | None = row.text
        elif fixture.json_storage:
            continue
        elif row.raw is None:
            # The oracles leave out large values; of these, those that Airflow could not read
            # are the ones that were cut.
            if row.error is not None and row.length == 65_535:
                found["xcom-truncated"][name] += 1
            if row.length is not None and fixture.airflow.endswith("pickled"):
                found["xcom-pickled"][name] += 1
            continue
        else:
            if row.raw[:1] == b"\x80" or row.raw == b"I7\n.":
                found["xcom-pickled"][name] += 1
                continue
            try:
                text = row.raw.decode("utf-8")
                json.loads(text)
            except ValueError:
                found["xcom-undecodable"][name] += 1
                continue
        try:
            inner = json.loads(text or "")
            json.loads(inner)
        except (ValueError, TypeError):
            continue
        if isinstance(inner, str) and isinstance(json.loads(inner), dict | list | str):
            found["xcom-double-encoded"][name] += 1
    return found


@pytest.mark.parametrize("fixture", FIXTURES, ids=str)
def test_deep_audit_finds_the_broken_rows_and_no_other(
    fixture: Fixture, load: Callable[[Fixture], str]
) -> None:
    """Cut, broken, pickled and double-encoded rows, told from the oracle's bytes."""
    code, out, err = call("audit", "--deep", "-o", "json", *fixture.scope, "--url", load(fixture))
    assert code in (0, 1), err
    report = json.loads(out)
    seen: dict[str, Counter[tuple[object, ...]]] = {rule: Counter() for rule in kinds(fixture)}
    for finding in report["findings"]:
        if finding["rule"] in seen:
            name = (finding["dag_id"], finding["task_id"], finding["key"])
            seen[finding["rule"]][name] += finding["occurrences"]
    assert seen == kinds(fixture)
    assert report["complete"] is True
    assert report["summary"]["scanned"] == len(fixture.rows())
    assert report["summary"]["not_looked_at"] == []


@pytest.mark.parametrize("fixture", FIXTURES, ids=str)
def test_audit_by_sizes_finds_the_cut_and_the_pickled(
    fixture: Fixture, load: Callable[[Fixture], str]
) -> None:
    """Without --deep the rest is not looked at, and the summary says so."""
    code, out, err = call("audit", "-o", "json", *fixture.scope, "--url", load(fixture))
    assert code in (0, 1), err
    report = json.loads(out)
    for rule in ("xcom-truncated", "xcom-pickled"):
        seen: Counter[tuple[object, ...]] = Counter()
        for finding in report["findings"]:
            if finding["rule"] == rule:
                name = (finding["dag_id"], finding["task_id"], finding["key"])
                seen[name] += finding["occurrences"]
        assert seen == kinds(fixture)[rule]
    left_out = {"xcom-undecodable", "xcom-double-encoded", "xcom-secret", "xcom-external"}
    assert set(report["summary"]["not_looked_at"]) == left_out


def test_references_into_object_storage_are_pulled_and_noted(tmp_path: Path) -> None:
    """Of a real XComObjectStorageBackend: the value is the URL, and a note says what it may be."""
    fixture = Fixture("3.3.2-objectstore", "sqlite")
    url = fixture.load(tmp_path, None)
    external = 0
    for row in fixture.rows():
        where = ["--url", url, "-r", row.run_id or "", "-m", str(row.map_index)]
        code, out, err = call("pull", *where, "-o", "json", "--", row.dag_id, row.task_id, row.key)
        assert code == 0, err
        value = json.loads(out)
        assert len(json.dumps(value).encode()) == row.length, row.key
        is_url = value.startswith(("file://", "s3://"))
        assert ("URL of an object store" in err) is is_url, row.key
        external += is_url
    assert external == 8
    code, out, err = call("audit", "--deep", "--rules", "xcom-external", "-o", "json", "--url", url)
    assert code == 0, err
    assert len(json.loads(out)["findings"]) >= external


def test_the_fixtures_are_many() -> None:
    """None was lost on the way to the tests."""
    assert len(FIXTURES) >= 36
    assert {fixture.backend for fixture in FIXTURES} == {"sqlite", "postgresql", "mysql", "mariadb"}
