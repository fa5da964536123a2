"""What CI systems read: checked by independent readers of each format.

The official SARIF schema and the others are looked for in `../shared/schemas`.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
from lxml import etree
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from tests.fixture_databases import all_fixtures
from tests.metadata import Metadata
from xcomctl.audit import source_path
from xcomctl.formats import AUDIT_FORMATS

if TYPE_CHECKING:
    from tests.conftest import Run
    from tests.program import Done

SCHEMAS = Path(__file__).parents[3] / "shared" / "schemas"
needs_schemas = pytest.mark.skipif(not SCHEMAS.exists(), reason="no ../shared/schemas here")

HOSTILE = "\x1b[31m%0A::error::x\n<b>&\u202e\"'|,:💥\x00\uffff]]>"


@pytest.fixture
def db(tmp_path: Path) -> Path:
    """Two errors, warnings and a note, one under a name that every format must escape."""
    path = tmp_path / "airflow.db"
    metadata = Metadata(str(path))
    for run_id in ("run_1", "run_2"):
        metadata.add(b'"' + b"x" * 2000 + b'"', dag_id="etl", task_id="big", run_id=run_id)
    metadata.add(b'"' + b"x" * 900 + b'"', dag_id="etl", task_id="near")
    metadata.add(b"x" * 1500, dag_id=HOSTILE, task_id=HOSTILE, key=HOSTILE, run_id=HOSTILE)
    metadata.add(b"\x80\x04K\x01.", dag_id="other", task_id="pickled")
    metadata.execute("INSERT INTO dag VALUES ('etl', '/opt/airflow/dags/team/etl.py')")
    return path


def audit(run: Run, db: Path, form: str, *arguments: str) -> Done:
    return run("audit", "--url", db, "--size-limit", "1000", "-o", form, *arguments)


def parse_junit(data: bytes) -> Any:
    return etree.fromstring(data)


def check_sarif(document: Any) -> None:
    schema = json.loads((SCHEMAS / "sarif-schema-2.1.0.json").read_text())
    jsonschema.validators.validator_for(schema)(schema).validate(document)


def check_junit(data: bytes) -> None:
    schema = etree.XMLSchema(etree.parse(str(SCHEMAS / "junit-subset.xsd")))
    schema.assertValid(parse_junit(data))


def check_gitlab(document: Any) -> None:
    schema = json.loads((SCHEMAS / "gitlab-codequality.schema.json").read_text())
    jsonschema.validate(document, schema)


def families(text: str) -> dict[str, Any]:
    read = text_string_to_metric_families(text)  # type: ignore[no-untyped-call]
    return {family.name: family for family in read}


@needs_schemas
@pytest.mark.parametrize(
    "arguments", [(), ("--deep",), ("--per-entry",), ("-d", "nothing")], ids=str
)
def test_schemas_accept_it(run: Run, db: Path, arguments: tuple[str, ...]) -> None:
    """SARIF's official schema, JUnit's, GitLab's; an empty run, too."""
    check_sarif(json.loads(audit(run, db, "sarif", *arguments).stdout))
    check_junit(audit(run, db, "junit", *arguments).stdout)
    check_gitlab(json.loads(audit(run, db, "gitlab", *arguments).stdout))
    assert families(audit(run, db, "openmetrics", *arguments).out)


def test_all_formats_agree(run: Run, db: Path) -> None:
    """The same findings and the same exit code, whichever is asked for."""
    document = json.loads(audit(run, db, "json").stdout)
    found = len(document["findings"])
    errors = document["summary"]["errors"]
    assert (found, errors) == (4, 2)
    for form in AUDIT_FORMATS:
        assert audit(run, db, form).code == 1, form
    sarif = json.loads(audit(run, db, "sarif").stdout)["runs"][0]
    assert len(sarif["results"]) == found
    junit = parse_junit(audit(run, db, "junit").stdout)
    assert junit.get("tests") == str(found)
    assert junit.get("failures") == str(errors)
    assert len(json.loads(audit(run, db, "gitlab").stdout)) == found
    github = audit(run, db, "github").out.splitlines()
    assert sum(line.startswith("::") for line in github) == found
    metrics = families(audit(run, db, "openmetrics").out)
    assert sum(sample.value for sample in metrics["xcomctl_findings"].samples) == found
    assert metrics["xcomctl_scanned"].samples[0].value == document["summary"]["scanned"]
    assert metrics["xcomctl_scanned_bytes"].samples[0].value == document["summary"]["total_bytes"]


def test_every_format_in_one_run(run: Run, db: Path, tmp_path: Path) -> None:
    """One pass over the database, a table on stdout and the others in files."""
    outputs = [f"{form}={tmp_path}/out.{form}" for form in AUDIT_FORMATS if form != "table"]
    arguments = [word for output in outputs for word in ("-o", output)]
    done = audit(run, db, "table", *arguments)
    assert done.code == 1
    for form in AUDIT_FORMATS:
        expected = audit(run, db, form).stdout
        data = done.stdout if form == "table" else (tmp_path / f"out.{form}").read_bytes()
        assert data == expected, form


def test_sarif_has_what_code_scanning_needs(run: Run, db: Path, tmp_path: Path) -> None:
    """A relative file, a region, a stable fingerprint, and the rule's whole text."""
    (tmp_path / "xcomctl.toml").write_text(
        '[audit]\nsource_root = { "/opt/airflow/dags" = "dags", "/opt" = "no" }\n'
    )
    run_ = json.loads(audit(run, db, "sarif").stdout)["runs"][0]
    rules = run_["tool"]["driver"]["rules"]
    for rule in rules:
        assert rule["help"]["markdown"]
        assert rule["fullDescription"]["text"]
    by_task = {one["properties"]["task_id"]: one for one in run_["results"]}
    big = by_task["big"]
    place = big["locations"][0]["physicalLocation"]
    assert place["artifactLocation"]["uri"] == "dags/team/etl.py"
    assert place["region"] == {"startLine": 1}
    assert rules[big["ruleIndex"]]["id"] == big["ruleId"] == "xcom-over-limit"
    assert re.fullmatch("[0-9a-f]{64}", big["partialFingerprints"]["xcomctlFinding/v1"])
    for result in run_["results"]:
        uri = result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
        assert re.fullmatch(r"[\w%.~/!$&'()*+,;=:@-]+", uri), uri
        assert not uri.startswith(("/", "."))
    assert by_task[HOSTILE]["properties"]["dag_id"] == HOSTILE


def test_github_annotations_cannot_be_forged(run: Run, db: Path) -> None:
    """One line for each finding, on the DAG's file; nothing in a name starts a command."""
    lines = audit(run, db, "github").out.splitlines()
    commands = [line for line in lines if line.startswith("::")]
    assert len(commands) == 4
    assert commands[0].startswith(
        ("::error file=opt/airflow/dags/team/etl.py,line=1,", "::error title=")
    )
    assert all(re.match(r"::(error|warning|notice) [^:\n]*::", line) for line in commands)
    assert not any("\x1b" in line for line in lines)


def test_github_shows_ten_of_a_kind_and_counts_the_rest(run: Run, tmp_path: Path) -> None:
    """GitHub would drop the eleventh silently."""
    path = tmp_path / "many.db"
    metadata = Metadata(str(path))
    for number in range(13):
        metadata.add(b'"' + b"x" * (1000 + number) + b'"', task_id=f"task_{number:02}")
    lines = audit(run, path, "github").out.splitlines()
    errors = [line for line in lines if line.startswith("::error")]
    assert len(errors) == 10
    assert "task_12" in errors[0], "the largest comes first"
    assert any(line.startswith("::notice") and "3 more errors" in line for line in lines)


def test_junit_fails_only_what_trips_the_gate(run: Run, db: Path) -> None:
    """With --fail-on warning the near one is a failure, too; without findings one case passes."""
    junit = parse_junit(audit(run, db, "junit", "--fail-on", "warning").stdout)
    assert junit.get("failures") == "3"
    assert len({(case.get("classname"), case.get("name")) for case in junit.iter("testcase")}) == 4
    empty = parse_junit(audit(run, db, "junit", "-d", "nothing").stdout)
    assert empty.get("tests") == "1"
    assert empty.get("failures") == "0"


def test_openmetrics_measures_each_task(run: Run, db: Path) -> None:
    """Entries, bytes, the largest, and its share of the limit."""
    metrics = families(audit(run, db, "openmetrics").out)

    def value(name: str) -> float:
        (sample,) = [one for one in metrics[name].samples if one.labels["task_id"] == "big"]
        return float(sample.value)

    assert value("xcomctl_xcoms") == 2
    assert value("xcomctl_xcom_bytes") == 4004
    assert value("xcomctl_xcom_max_bytes") == 2002
    assert value("xcomctl_xcom_limit_ratio") == 2.002
    assert metrics["xcomctl_limit_bytes"].samples[0].value == 1000


def test_source_root_maps_the_longest_prefix() -> None:
    """The database's path becomes the repository's; Airflow 3's relative path stands in."""
    roots = {"/opt/airflow/dags": "dags", "/opt/airflow/dags/lib/": "shared", "/x": ""}
    assert source_path("/opt/airflow/dags/a.py", None, roots) == "dags/a.py"
    assert source_path("/opt/airflow/dags/lib/a.py", "lib/a.py", roots) == "shared/a.py"
    assert source_path("/opt/airflow/dagsbag/a.py", None, roots) == "/opt/airflow/dagsbag/a.py"
    assert source_path("/x/y/a.py", None, roots) == "y/a.py"
    assert source_path("/else/a.py", "a.py", roots) == "a.py"
    assert source_path(None, None, roots) is None


@needs_schemas
@pytest.mark.parametrize("fixture", all_fixtures(), ids=str)
def test_every_fixture_makes_valid_reports(
    run: Run, tmp_path: Path, fixture: Any, any_server: Any
) -> None:
    """Real databases with every kind of bad row."""
    server = None if fixture.backend == "sqlite" else any_server(fixture.backend)
    url = fixture.load(tmp_path, server)
    forms = ("json", "sarif", "junit", "gitlab", "openmetrics")
    arguments = [word for form in forms for word in ("-o", f"{form}={tmp_path}/out.{form}")]
    done = run("audit", "--deep", "--url", url, "--as", "mysql:2.8", *arguments)
    read = {form: (tmp_path / f"out.{form}").read_bytes() for form in forms}
    document = json.loads(read["json"])
    assert done.code == int(document["summary"]["errors"] > 0)
    check_sarif(json.loads(read["sarif"]))
    check_junit(read["junit"])
    check_gitlab(json.loads(read["gitlab"]))
    metrics = families(read["openmetrics"].decode())
    found = len(document["findings"])
    assert len(json.loads(read["sarif"])["runs"][0]["results"]) == found
    assert len(json.loads(read["gitlab"])) == found
    # A report without findings has one passing case.
    assert parse_junit(read["junit"]).get("tests") == str(found or 1)
    assert parse_junit(read["junit"]).get("failures") == str(document["summary"]["errors"])
    assert sum(sample.value for sample in metrics["xcomctl_findings"].samples) == found
