"""What we write, read by the programs that it is written for."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING

import duckdb
import polars
import pytest
from prometheus_client.parser import text_string_to_metric_families
from sarif import loader

from tests.conftest import clean_environment
from tests.left_out import need_program
from tests.metadata import Metadata
from tests.servers import free_port
from xcomctl.formats import Destination, Layout, sarif

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.conftest import Run

NODE_EXPORTER = "prometheus-node-exporter"
HOSTILE = {
    "quotes": 'a "b" \\ c',
    "newline": "a\nb",
    "escaped newline": "a\\nb",
    "escape": "\x1b[31m",
    "escaped escape": "\\x1b[31m",
    "unicode": "é💥\u202e",
    "empty": "",
}


@pytest.fixture
def db(tmp_path: Path) -> Path:
    """A metadata database with an error, a warning, and ids that a format may get wrong."""
    path = tmp_path / "airflow.db"
    metadata = Metadata(str(path))
    metadata.add(b'"' + b"x" * 2000 + b'"', dag_id="etl", task_id="big")
    metadata.add(b'"' + b"x" * 900 + b'"', dag_id="etl", task_id="near")
    for name in HOSTILE.values():
        metadata.add(b'"' + b"x" * 1500 + b'"', dag_id=name, task_id=name, key=name, run_id="r")
    metadata.add(b"1" * 1500, dag_id="../../etc", task_id="../x", run_id="r")
    metadata.execute("INSERT INTO dag VALUES ('etl', '/opt/airflow/dags/../dags/etl.py')")
    return path


# --- Prometheus ---------------------------------------------------------------------------------


@pytest.fixture
def scrape(tmp_path: Path) -> Iterator[Callable[[bytes], str]]:
    """Return a function that serves a text file with the real node exporter, and scrapes it."""
    need_program(NODE_EXPORTER)
    folder, port = tmp_path / "textfiles", free_port()
    folder.mkdir()
    process = subprocess.Popen(
        [NODE_EXPORTER, "--collector.disable-defaults", "--collector.textfile",
         f"--collector.textfile.directory={folder}", f"--web.listen-address=127.0.0.1:{port}"],
        stderr=subprocess.DEVNULL,
    )  # fmt: skip

    def get(data: bytes) -> str:
        (folder / "xcomctl.prom").write_bytes(data)
        end = time.monotonic() + 30
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
                    text: str = answer.read().decode()
                    return text
            except urllib.error.URLError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.05)

    yield get
    process.terminate()
    process.wait()


def samples(text: str) -> dict[str, list[tuple[dict[str, str], float]]]:
    """Return labels and value of each of our series, by metric, all of which must be gauges."""
    read: dict[str, list[tuple[dict[str, str], float]]] = {}
    for family in text_string_to_metric_families(text):
        if family.name.startswith("xcomctl_"):
            assert family.type == "gauge", family.name
            assert family.documentation
            read[family.name] = [(one.labels, one.value) for one in family.samples]
    return read


@pytest.mark.parametrize("command", [("audit",), ("audit", "-d", "none"), ("preflight",)], ids=str)
def test_node_exporter_serves_every_series(
    run: Run, db: Path, scrape: Callable[[bytes], str], command: tuple[str, ...]
) -> None:
    """None is dropped, untyped or merged with another, and no value differs."""
    done = run(*command, "--exit-zero", "--url", db, "-o", "openmetrics")
    assert done.code == 0, done.err
    text = scrape(done.stdout)
    assert "node_textfile_scrape_error 0" in text
    written, served = samples(done.out), samples(text)
    assert {name for name, series in written.items() if series} == set(served)
    for name, series in served.items():
        assert sorted(series, key=str) == sorted(written[name], key=str), name
    if command == ("audit",):
        assert len(served["xcomctl_xcoms"]) == 10
        assert {labels["task_id"]: value for labels, value in served["xcomctl_xcom_bytes"]}["big"] == 2002  # fmt: skip


# --- SARIF --------------------------------------------------------------------------------------


def test_a_sarif_reader_agrees_with_json(run: Run, db: Path, tmp_path: Path) -> None:
    """Numbers by severity, and locations within the repository."""
    outputs = ("-o", f"sarif={tmp_path}/x.sarif", "-o", f"json={tmp_path}/x.json")
    done = run("audit", "--size-limit", "1000", "--url", db, *outputs, "-o", "table")
    assert done.code == 1, done.err
    document = json.loads((tmp_path / "x.json").read_text())
    read = loader.load_sarif_file(f"{tmp_path}/x.sarif")
    assert read.get_result_count() == len(document["findings"])
    counts = read.get_report().get_issue_count_for_severity
    assert (counts("error"), counts("warning"), counts("note")) == tuple(
        document["summary"][name] for name in ("errors", "warnings", "notes")
    )
    for record in read.get_records():
        assert ".." not in record["Location"].split("/"), record
        assert not record["Location"].startswith("/")
    assert {record["Location"] for record in read.get_records()} >= {
        "opt/airflow/dags/etl.py",
        "metadata-db/etc/x",
    }


def test_a_sarif_reader_sees_suppressed_findings_only_on_request(
    run: Run, db: Path, tmp_path: Path
) -> None:
    """It takes a suppressed result for an open one, as many readers do."""
    (tmp_path / "xcomctl.toml").write_text(
        '[[audit.ignore]]\nrule = "xcom-over-limit"\ndag_id = "etl"\nreason = "known"\n'
    )
    counts = {}
    for more in ((), ("--show-ignored",)):
        done = run(
            "audit", "--size-limit", "1000", "--url", db, "-o", f"sarif={tmp_path}/x.sarif", *more
        )
        assert done.code == 1, done.err
        counts[more] = loader.load_sarif_file(f"{tmp_path}/x.sarif").get_result_count()
        suppressed = [
            one
            for one in loader.load_sarif_file(f"{tmp_path}/x.sarif").get_results()
            if "suppressions" in one
        ]
        assert len(suppressed) == len(more)
    assert counts["--show-ignored",] == counts[()] + 1


def test_sarif_keeps_the_worst_results_that_github_accepts(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the order given, and says how many it left out; GitHub would reject the whole file."""
    monkeypatch.setattr(sarif, "MOST_RESULTS", 4)
    rules = {
        name: {"severity": name, "title": name, "help": name}
        for name in ("error", "warning", "note")
    }
    layout = Layout("x/1", "findings", (), context={"rules": rules, "version": "1"})
    out = io.StringIO()
    writer = sarif.writer("sarif", layout, Destination(out))
    for number, severity in enumerate(
        ["note", "error", "note", "warning", "error", "note", "warning"]
    ):
        example = {"run_id": "r", "map_index": -1}
        writer.row(
            {"rule": severity, "severity": severity, "dag_id": "d", "task_id": f"t{number}", "key": "k",
             "message": "m", "occurrences": 1, "fingerprint": str(number), "example": example}
        )  # fmt: skip
    warning = writer.end()
    assert warning is not None
    assert "3 were left out" in warning
    run_ = json.loads(out.getvalue())["runs"][0]
    kept = [one["properties"]["task_id"] for one in run_["results"]]
    assert kept == ["t1", "t4", "t3", "t6"]
    (notification,) = run_["invocations"][0]["toolExecutionNotifications"]
    assert notification["message"]["text"] == warning


# --- DuckDB and polars --------------------------------------------------------------------------

ORDINARY = 21_000
"""More rows than DuckDB and polars look at to infer the columns."""


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export whose rare fields first appear in its last lines."""
    folder = tmp_path_factory.mktemp("late")
    metadata = Metadata(f"{folder}/airflow.db")
    metadata.add(b'{"a": 1}', task_id="first")
    metadata.execute(
        "INSERT INTO xcom SELECT dag_run_id, 'bulk', n, key, dag_id, run_id, value, timestamp FROM xcom,"
        f" (WITH RECURSIVE c(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM c WHERE n < {ORDINARY})"
        " SELECT n FROM c)"
    )
    metadata.add(b"\x80\x04K\x01.", task_id="pickled", run_id="z1")
    metadata.add(b'{"a": 2}', task_id="orphan", run_id="z2", with_run=False)
    metadata.add('{"a": 3}', task_id="text", run_id="z3")
    path = folder / "x.jsonl"
    with path.open("wb") as out:
        subprocess.run(
            [sys.executable, "-m", "xcomctl", "export", "--url", metadata.url],
            stdout=out, env=clean_environment(folder), check=True,
        )  # fmt: skip
    return path


def test_every_line_of_an_export_has_every_field(export: Path) -> None:
    """In one order, and none is null in an ordinary line."""
    lines = [json.loads(line) for line in export.read_text().splitlines()]
    assert len(lines) > ORDINARY
    names = list(lines[0])
    assert all(list(line) == names for line in lines)
    ordinary = [line for line in lines if line["task_id"] in ("bulk", "first")]
    assert all(value is not None for line in ordinary for value in line.values())


RARE = {
    "pickled": ("gARLAS4=", "", False),
    "orphan": ("", "", True),
    "text": ("", "text", False),
}
"""value_base64, stored_as and orphan of each odd row."""


def test_duckdb_reads_what_only_late_lines_have(export: Path) -> None:
    """It drops fields that the first 20,480 lines lack, without a word."""
    query = (
        "SELECT task_id, value_base64, stored_as, orphan, dag_run_id, value.a FROM read_json_auto(?)"
        " WHERE task_id NOT IN ('bulk', 'first')"
    )
    rows = duckdb.execute(query, [str(export)]).fetchall()
    assert {row[0]: row[1:4] for row in rows} == RARE
    assert {row[0]: row[5] for row in rows} == {"pickled": None, "orphan": 2, "text": 3}
    assert all(isinstance(row[4], int) for row in rows)


def test_polars_reads_what_only_late_lines_have(export: Path) -> None:
    """It looks at 100 lines."""
    frame = polars.read_ndjson(export).filter(~polars.col("task_id").is_in(["bulk", "first"]))
    rows = {row["task_id"]: row for row in frame.to_dicts()}
    assert {
        name: (row["value_base64"], row["stored_as"], row["orphan"]) for name, row in rows.items()
    } == RARE
    assert rows["text"]["value"] == {"a": 3}
    assert rows["orphan"]["dag_run_id"] > 0
