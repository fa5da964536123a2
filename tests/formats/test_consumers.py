"""What we write, read by the programs that it is written for."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING

import pytest
from prometheus_client.parser import text_string_to_metric_families
from sarif import loader

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
    if shutil.which(NODE_EXPORTER) is None:
        reason = f"{NODE_EXPORTER} is not installed: apt-get install {NODE_EXPORTER}"
        if os.environ.get("XCOMCTL_REQUIRE_SERVERS") == "1":
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
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
