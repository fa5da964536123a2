"""The page: its numbers are those of `top`, nothing in it runs or loads, and it stays small."""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import random
import re
import stat
from datetime import date
from typing import TYPE_CHECKING, Any

import lxml.html
import pytest

from tests.metadata import Metadata
from xcomctl.model import Limit, Size
from xcomctl.report import MAX_BYTES, gather, page
from xcomctl.sizes.snapshot import SIZE_BITS, GroupSizes, Snapshot, Source, fold

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Run

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\u202e\x1b[31m"
LIMIT = Limit("blob", Size(65_535), "BLOB")
FIRST = date(2026, 1, 1).toordinal()


def read(text: str) -> Any:
    return lxml.html.document_fromstring(text)


def data_of(document: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(document.get_element_by_id("data").text)
    return found


def groups_of(document: Any) -> dict[tuple[str, str, str], list[Any]]:
    """Return the groups that the page's script shows, by name: count, total, largest, …"""
    data = data_of(document)
    return {
        (dag, task, data["keys"][row[0]]): [
            *row[1:],
            *[0, 0, 0, 0, 0, 0, None, None][len(row) - 1 :],
        ]
        for dag, _, tasks in data["tree"]
        for task, rows in tasks
        for row in rows
    }


def test_numbers_are_those_of_top(run: Run) -> None:
    """Every group's count, bytes, largest value, growth and date, and the totals."""
    run("demo", "airflow.db", "--no-tour")
    url = ("--url", "airflow.db", "--as", "mysql:2.8")
    done = run("report", "-", *url)
    assert done.code == 0, done.err
    document = read(done.out)
    top = run("top", "-n", "0", "--forecast", "-o", "json", *url).json()
    found = groups_of(document)
    assert len(found) == len(top["groups"])
    for row in top["groups"]:
        count, total, largest, _, _, _, growth, met = found[
            row["dag_id"], row["task_id"], row["key"]
        ]
        assert (count, total, largest) == (row["count"], row["total_bytes"], row["max_bytes"])
        assert (growth, met) == (row["growth_bytes_per_day"], row["meets_limit_on"])
    total = document.xpath("//*[@class='facts']//data")[0].get("value")
    assert int(total) == top["summary"]["total_bytes"] == data_of(document)["total"]
    cells = [row.text_content() for row in document.xpath("//*[@id='groups']//tbody/tr")]
    assert len(cells) == len(found)
    first = "file_list_daglist_filesreturn_value904.3 MiB99.7%49.3 KiB92.8 KiB145.0%+1000 B"
    assert cells[0].startswith(first)
    text = document.text_content()
    assert "Above the limit" in text
    audit = json.loads(run("audit", "-o", "json", *url).stdout)
    for finding in audit["findings"]:
        assert finding["message"] in text
    days = run("top", "-n", "0", "--by", "day", "-o", "json", *url[:2]).json()["groups"]
    rows = document.xpath("//*[@id='days']//table")[0].xpath(".//tbody/tr")
    assert len(rows) == len(days)
    by_day = {row["day"]: row for row in days}
    for one in rows:
        day, count, _, _ = (cell.text_content() for cell in one)
        assert int(count) == by_day[day]["count"]


def test_every_picture_has_a_name_and_its_numbers(run: Run) -> None:
    """In a table; headings are in order, and the page has a language and a title."""
    run("demo", "airflow.db", "--no-tour")
    document = read(run("report", "-", "--url", "airflow.db").out)
    pictures = document.xpath("//svg[@role='img']")
    assert len(pictures) == 4
    assert all(one.get("aria-label") for one in pictures)
    assert all(one.xpath(".//caption") for one in document.xpath("//table"))
    levels = [int(one.tag[1]) for one in document.xpath("//h1 | //h2 | //h3")]
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    assert document.get("lang") == "en"
    assert document.findtext(".//title") == "XComs of airflow"
    for link in document.xpath("//a"):
        assert document.get_element_by_id(link.get("href").removeprefix("#")) is not None


def test_nothing_loads_and_only_its_own_script_runs(run: Run) -> None:
    """The policy allows the one style and the one script by their hashes, and nothing else."""
    run("demo", "airflow.db", "--no-tour", "--days", "3")
    text = run("report", "-", "--url", "airflow.db").out
    document = read(text)
    policy = document.xpath("//meta[@http-equiv='Content-Security-Policy']")[0].get("content")
    assert policy.startswith("default-src 'none'; ")
    for tag in ("style", "script"):
        (contents,) = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(contents.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert not document.xpath(
        "//*[@style or @src or self::link or self::iframe or self::form] | //@*[starts-with(name(), 'on')]"
    )
    assert set(re.findall(r"https?://[^\"' )]+", text)) <= {"http://www.w3.org/2000/svg"}


def test_hostile_names_are_shown_and_do_nothing(run: Run, tmp_path: Path) -> None:
    """As text, with what is invisible escaped, in the page and in its data."""
    Metadata(str(tmp_path / "airflow.db")).add(
        b"1" * 70_000, dag_id=HOSTILE, task_id=HOSTILE, key=HOSTILE
    )
    text = run("report", "-", "--url", "airflow.db", "--as", "mysql:2.8").out
    document = read(text)
    assert len(document.xpath("//script")) == 2
    assert not document.xpath("//img")
    assert text.count("<script") == 2
    assert not re.search("[\u202e\x1b]", text)
    ((dag, task, key),) = groups_of(document)
    assert dag == task == key
    assert dag.startswith("</script>")
    assert dag.endswith(r"\u202e\x1b[31m")


def test_an_empty_database(run: Run, tmp_path: Path) -> None:
    """Is a page that says so."""
    Metadata(str(tmp_path / "airflow.db"))
    done = run("report", "a.html", "--url", "airflow.db")
    assert done.code == 0, done.err
    path = tmp_path / "a.html"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "0 XComs in 0 groups" in path.read_text(encoding="utf-8")


def many(groups: int, letters: int) -> Snapshot:
    """Return a snapshot of that many groups with long names, on 90 days."""
    source = random.Random(1)
    found: dict[tuple[str, str, str | None], GroupSizes] = {}
    for number in range(groups):
        name = (f"dag_{number // 20}_{'x' * letters}", f"task_{number}_{'y' * letters}", "rows")
        days = sorted(source.sample(range(90), 8))
        sizes = [source.randrange(10, 100_000) for _ in days]
        found[name] = fold(
            ((FIRST + day) << SIZE_BITS) + size + 1 for day, size in zip(days, sizes, strict=True)
        )
    return Snapshot(Source("prod", "0", "mysql", "8.4", "2.8", "blob", (LIMIT,)), found)


@pytest.mark.parametrize("letters", [4, 60, 240])
def test_many_groups_are_folded_to_a_small_page(letters: int) -> None:
    """It says how many are left out, and its totals are those of all."""
    snapshot = many(4_000, letters)
    text = page(gather([(snapshot, LIMIT)], (), written_at="now", version="1"))
    assert len(text.encode()) < MAX_BYTES
    document = read(text)
    shown = groups_of(document)
    total = sum(one.total for one in snapshot.groups.values())
    assert data_of(document)["total"] == total
    rest = total - sum(row[1] for row in shown.values())
    left_out = f"{4_000 - len(shown):,} smaller groups ({Size(rest)}, "
    assert left_out in document.get_element_by_id("groups").text_content()
    assert len(shown) >= (1_000 if letters < 50 else 50)


def test_compare_shows_what_grew(run: Run, tmp_path: Path) -> None:
    """Against an earlier snapshot: of each group, and of all, gone ones included."""
    metadata = Metadata(str(tmp_path / "airflow.db"))
    metadata.add(b"1" * 100, dag_id="grew", run_id="r1")
    metadata.add(b"1" * 30, dag_id="gone")
    run("snapshot", "old.gz", "--url", "airflow.db")
    metadata.add(b"1" * 900, dag_id="grew", run_id="r2")
    metadata.execute("DELETE FROM xcom WHERE dag_id = 'gone'")
    done = run("report", "-", "--url", "airflow.db", "--compare", "old.gz")
    assert done.code == 0, done.err
    document = read(done.out)
    assert groups_of(document)["grew", "task", "return_value"][4] == 900
    assert document.xpath("//*[@class='facts']//data")[1].get("value") == "870"
    assert data_of(document)["change"] is True


def test_several_deployments(run: Run, tmp_path: Path) -> None:
    """Each has its row, and its name in front of its DAGs."""
    for name, size in (("eu", 5), ("us", 7)):
        Metadata(str(tmp_path / f"{name}.db")).add(b"1" * size, dag_id="etl")
        run("snapshot", f"{name}.gz", "--url", f"{name}.db")
    document = read(run("report", "-", "--from", "eu.gz", "us.gz").out)
    assert {dag for dag, _, _ in groups_of(document)} == {"eu: etl", "us: etl"}
    assert "largest 7 B of 1 GB" in document.text_content()
    assert "us: etl/task:return_value" in document.text_content()
    rows = document.xpath("//*[@id='deployments']//tbody/tr")
    assert [next(cell.text_content() for cell in row) for row in rows] == ["eu", "us"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("a.html", "-o", "b.html"), 2, "two files to write"),
        (("-", "--from", "airflow.db"), 2, "as a snapshot"),
        (("-", "--url", "airflow.db", "--compare", "none.gz"), 2, 'cannot read "none.gz"'),
        (("-", "--url", "airflow.db", "--as", "oracle"), 2, "unknown backend"),
        (("no/such/a.html", "--url", "airflow.db"), 3, "could not write"),
    ],
)
def test_mistakes_are_explained(
    run: Run, tmp_path: Path, arguments: tuple[str, ...], code: int, message: str
) -> None:
    """With the documented exit code."""
    Metadata(str(tmp_path / "airflow.db"))
    done = run("report", *arguments)
    assert (done.code, message in done.err) == (code, True), done.err


@pytest.mark.parametrize("first", [date.min.toordinal(), date.max.toordinal() - 29])
def test_days_at_the_ends_of_the_calendar(first: int) -> None:
    """A timestamp may be anything."""
    sizes = fold(((first + day) << SIZE_BITS) + 1000 * day + 1 for day in range(30))
    source = Source("prod", "0", "mysql", "8.4", "2.8", "blob", (LIMIT,))
    snapshot = Snapshot(source, {("etl", "t", None): sizes})
    document = read(page(gather([(snapshot, LIMIT)], (), written_at="now", version="1")))
    assert len(document.xpath("//svg[@role='img']")) == 4


def test_compare_with_another_database_is_a_warning(run: Run, tmp_path: Path) -> None:
    """Nothing of it is shown."""
    for name in ("a", "b"):
        Metadata(str(tmp_path / f"{name}.db")).add(b"1")
    run("snapshot", "b.gz", "--url", "b.db")
    done = run("report", "-", "--url", "a.db", "--compare", "b.gz")
    assert (done.code, '--compare has "b", which is not reported on' in done.err) == (0, True)
