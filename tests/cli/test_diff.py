"""`xcomctl diff`: runs of every generation on every backend, exports, formats and exit codes."""

from __future__ import annotations

import datetime as dt
import json
from typing import TYPE_CHECKING, Any

import pytest
from markdown_it import MarkdownIt

from tests.conftest import clean_environment
from tests.metadata import WHEN, Metadata
from tests.program import at_terminal

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Run

OLD = {
    "same": '{"a": [1, 2]}',
    "gone": '"x"',
    "changed": '{"a": 1, "b": 1}',
    "grown": "[1]",
    "shrunk": '"long text"',
}
NEW = {
    "same": '{"a": [1, 2]}',
    "added": "[]",
    "changed": '{"a": 2, "b": 1}',
    "grown": "[1, 22]",
    "shrunk": '"text"',
}


def fill(metadata: Metadata) -> Metadata:
    """Push two sets of values in two runs of one DAG, and noise around them."""
    for day, values in enumerate((OLD, NEW)):
        when = WHEN + dt.timedelta(days=day)
        for key, text in values.items():
            value: Any = text if metadata.json else text.encode()
            metadata.add(value, key=key, run_id=f"run_{day}", date=when)
    other: Any = "1" if metadata.json else b"1"
    metadata.add(other, dag_id="other", run_id="run_0", key="gone")
    return metadata


def kinds(document: Any) -> dict[str, tuple[str, list[str]]]:
    return {one["key"]: (one["change"], one["paths"]) for one in document["changes"]}


@pytest.mark.parametrize("generation", ["1.10", "2.0", "2.3", "3.0", "3.4"])
def test_runs_of_every_generation(empty_url: str, generation: str, run: Run) -> None:
    """Each change once, with where it is; `latest` names the newest run."""
    fill(Metadata(empty_url, generation))
    document = run("diff", "dag", "latest~1", "latest", "--url", empty_url, "-o", "json").json()
    assert document["schema"] == "xcomctl.diff/1"
    assert (document["old"], document["new"]) == ("run_0", "run_1")
    assert document["summary"] == {
        "added": 1, "gone": 1, "changed": 1, "grown": 1, "shrunk": 1, "same": 1,
    }  # fmt: skip
    assert kinds(document) == {
        "added": ("added", []),
        "gone": ("gone", []),
        "changed": ("changed", ["a"]),
        "grown": ("grown", ["[1]"]),
        "shrunk": ("shrunk", ["$"]),
    }
    assert {"dag_id", "task_id", "key", "map_index", "old_bytes", "new_bytes"} <= set(
        document["changes"][0]
    )


@pytest.fixture
def url(tmp_path: Path) -> str:
    """Return the URL of a database with two runs."""
    return fill(Metadata(str(tmp_path / "airflow.db"))).url


def test_sizes_only_sees_no_change_of_the_same_size(url: str, run: Run) -> None:
    """And reads no value."""
    document = run(
        "diff", "dag", "run_0", "run_1", "--sizes-only", "--url", url, "-o", "json"
    ).json()
    assert document["summary"]["changed"] == 0
    assert document["summary"]["same"] == 2
    assert kinds(document)["grown"] == ("grown", [])


@pytest.mark.parametrize(
    ("least", "keys"),
    [
        ("1B", {"added", "gone", "grown", "shrunk"}),
        ("4B", {"grown", "shrunk"}),
        ("100%", {"added", "gone", "grown"}),
        ("1KiB", set[str]()),
    ],
)
def test_small_changes_count_as_the_same(url: str, run: Run, least: str, keys: set[str]) -> None:
    """Below a size, or a share of the old one."""
    asked = ("diff", "dag", "run_0", "run_1", "--url", url, "--min-change", least, "--exit-code")
    done = run(*asked, "-o", "json")
    assert done.code == (1 if keys else 0)
    document = json.loads(done.stdout)
    assert set(kinds(document)) == keys
    assert sum(document["summary"].values()) == 6


def test_exit_code_is_1_only_where_it_is_asked_for(url: str, run: Run) -> None:
    """As in git."""
    assert run("diff", "dag", "run_0", "run_1", "--url", url).code == 0
    assert run("diff", "dag", "run_0", "run_1", "--url", url, "--exit-code").code == 1
    assert run("diff", "dag", "run_1", "run_1", "--url", url, "--exit-code").code == 0


def test_two_exports(url: str, run: Run, tmp_path: Path) -> None:
    """Of one run each, they say the same as the database."""
    for name in ("run_0", "run_1"):
        done = run("export", "-d", "dag", "-r", name, "--url", url, "-o", f"jsonl={name}.jsonl")
        assert done.code == 0, done.err
    of_files = run("diff", "run_0.jsonl", "run_1.jsonl", "-o", "json").json()
    of_runs = run("diff", "dag", "run_0", "run_1", "--url", url, "-o", "json").json()
    assert of_files["changes"] == of_runs["changes"]
    assert of_files["summary"] == of_runs["summary"]


def test_two_products_say_the_same(run: Run, empty_url: str, tmp_path: Path) -> None:
    """What a server makes of JSON text, its order and its blanks, is no change."""
    text = '{"b": [1, 2.50, "\\u00e9"], "a": {}}'
    for url, name in ((empty_url, "a"), (str(tmp_path / "plain.db"), "b")):
        Metadata(url, "3.0").add(text, run_id="run")
        assert run("export", "--url", url, "-o", f"jsonl={name}.jsonl").code == 0
    assert run("diff", "a.jsonl", "b.jsonl", "--exit-code").code == 0


def test_pickles_are_compared_as_a_whole(tmp_path: Path, run: Run) -> None:
    """Nothing loads them."""
    metadata = Metadata(str(tmp_path / "airflow.db"))
    for day, value in enumerate((b"\x80\x04K\x01.", b"\x80\x04K\x02.")):
        metadata.add(value, run_id=f"run_{day}", date=WHEN + dt.timedelta(days=day))
        metadata.add(None, key="null", run_id=f"run_{day}", date=WHEN + dt.timedelta(days=day))
    document = run("diff", "dag", "--url", metadata.url, "-o", "json").json()
    assert kinds(document) == {"return_value": ("changed", [])}


def test_run_ids_are_no_globs(tmp_path: Path, run: Run) -> None:
    """Nor are DAG ids."""
    metadata = Metadata(str(tmp_path / "airflow.db"))
    for number, name in enumerate(("run[1]", "run1", "run*")):
        day = WHEN + dt.timedelta(days=number)
        metadata.add(str(number).encode(), dag_id="d?", run_id=name, date=day)
    document = run("diff", "d?", "run[1]", "run*", "--url", metadata.url, "-o", "json").json()
    assert document["summary"]["changed"] == 1
    assert sum(document["summary"].values()) == 1


def test_table_ends_with_a_sentence(url: str, run: Run) -> None:
    """The largest change first."""
    done = run("diff", "dag", "run_0", "run_1", "--url", url)
    lines = done.out.splitlines()
    assert lines[0].split() == [
        "change",
        "task_id",
        "key",
        "old",
        "new",
        "difference",
        "differs",
        "in",
    ]
    assert lines[1].split()[:3] == ["shrunk", "task", "shrunk"]
    assert "-5 B" in lines[1]
    assert lines[-1] == (
        "dag: run_0 → run_1: 1 added, 1 gone, 1 changed, 1 grown, 1 shrunk, 1 same (-2 B in total)"
    )


def test_where_values_differ_is_said_at_any_width(url: str, tmp_path: Path) -> None:
    """In the row where there is room, else below the table."""
    env = clean_environment(tmp_path) | {"NO_COLOR": "1"}
    for width in (40, 60, 200):
        shown = at_terminal(("diff", "dag", "--url", url), width=width, env=env, cwd=tmp_path)
        in_rows = "differs in" in shown.splitlines()[0] or width == 40
        assert ("task:changed differs in a\n" in shown) != in_rows


def test_markdown_folds_what_is_long(tmp_path: Path, run: Run) -> None:
    """The sentence, the worst ten, and the rest behind a click: tables as GitHub renders them."""
    metadata = Metadata(str(tmp_path / "airflow.db"))
    for number in range(25):
        metadata.add(b'"' + b"x" * number + b'"', key=f"key_{number:02}", run_id="run_1")
    metadata.run("dag", "run_0", WHEN - dt.timedelta(days=1))
    text = run("diff", "dag", "run_0", "run_1", "--url", metadata.url, "-o", "markdown").out
    sentence, first, rest = text.split("\n\n", 2)
    assert sentence.startswith("dag\\: run_0 → run_1\\: 25 added")
    assert first.count("\n") == 11
    assert rest.startswith("<details><summary>15 more</summary>\n\n| change |")
    html = MarkdownIt("commonmark").enable("table").render(text)
    assert html.count("<table>") == 2
    assert html.count("<tr>") == 27
    assert html.index("<details>") < html.rindex("<table>") < html.index("</details>")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["dag", "run_0"], 2, 'cannot read "dag": it is not a file'),
        (["dag", "run_0", "run_1", "run_2"], 2, "unexpected argument"),
        (["dga", "run_0", "run_1"], 4, 'Did you mean "dag"?'),
        (["dag", "run_0", "run_11"], 4, 'Did you mean "run_1"?'),
        (["dag", "latest~9", "latest"], 4, 'has no run "latest~9"'),
        (["dag", "--min-change", "10"], 0, ""),
        (["dag", "--min-change", "x%"], 2, "--min-change"),
    ],
)
def test_mistakes(url: str, run: Run, arguments: list[str], code: int, words: str) -> None:
    """Say what is there instead."""
    done = run("diff", *arguments, "--url", url)
    assert done.code == code
    assert words in " ".join(done.err.split())


def test_file_that_is_read_is_not_written(url: str, run: Run, tmp_path: Path) -> None:
    """An output may not replace one of the two."""
    assert run("export", "--url", url, "-o", "jsonl=a.jsonl").code == 0
    before = (tmp_path / "a.jsonl").read_bytes()
    assert run("diff", "a.jsonl", "a.jsonl", "-o", "json=a.jsonl").code == 5
    assert (tmp_path / "a.jsonl").read_bytes() == before
