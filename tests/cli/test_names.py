"""The printed form of an XCom's name, `DAG/RUN/TASK[INDEX]:KEY`, is read back by `pull`."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.metadata import Metadata
from xcomctl.cli.names import XComName, resolve
from xcomctl.config.target import Target
from xcomctl.db import open_store
from xcomctl.errors import UsageError
from xcomctl.model import Selection
from xcomctl.text import unescaped, visible

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.conftest import Run
    from xcomctl.model import XComRef

RUN = "scheduled__2026-01-01T00:00:00+00:00"
odd = st.text("a/:[1]. ", min_size=1, max_size=8)
plain = st.text("at.", min_size=1, max_size=2)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.tuples(plain | odd, odd, plain | odd, st.sampled_from([-1, 0, 12]), odd),
        min_size=1,
        max_size=5,
        unique=True,
    )
)
def test_a_printed_name_is_read_back(names: list[tuple[str, str, str, int, str]]) -> None:
    """Whatever the ids contain; a text that names several XComs is an error."""
    with tempfile.TemporaryDirectory() as directory:
        db = Metadata(str(Path(directory) / "a.db"))
        for dag_id, run_id, task_id, index, key in names:
            db.add(b"1", dag_id=dag_id, run_id=run_id, task_id=task_id, map_index=index, key=key)
        with open_store(Target(db.url, "test")) as store:
            refs = [entry.ref for entry in store.entries.scan(Selection())]
            for ref in refs:
                mapped = None if ref.map_index == -1 else ref.map_index
                wanted = XComName(ref.dag_id, ref.task_id, ref.key or "", ref.run_id, mapped)
                try:
                    assert resolve(store, str(ref)) == wanted
                except UsageError:
                    assert _readings(refs, str(ref)) > 1


def _readings(refs: Sequence[XComRef], text: str) -> int:
    """Return how many of the XComs the text names, with or without the parts that may be left out."""
    return sum(text in _texts(ref) for ref in refs)


def _texts(ref: XComRef) -> set[str]:
    full = str(ref)
    without_run = f"{ref.dag_id}/{full[len(ref.dag_id) + len(ref.run) + 2 :]}"
    texts = {full, without_run}
    return texts | {text.removesuffix(":return_value") for text in texts}


def test_pull_takes_the_form_that_is_printed(run: Run, tmp_path: Path) -> None:
    """With and without run, index and key; `latest` too."""
    db = Metadata(str(tmp_path / "a.db"))
    db.add(b"1", dag_id="etl", task_id="group.load", run_id=RUN)
    db.add(b"2", dag_id="etl", task_id="group.load", run_id=RUN, key="a/b:c")
    db.add(b"3", dag_id="etl", task_id="group.load", run_id=RUN, map_index=3, key="m")
    db.add(b"4", dag_id="etl", task_id="group.load", run_id="a/b:c[1]/d\n", key="k\x1b")
    for text, value in {
        f"etl/{RUN}/group.load:return_value": "1",
        f"etl/{RUN}/group.load": "1",
        "etl/group.load": "1",
        "etl/latest~1/group.load": "1",
        f"etl/{RUN}/group.load:a/b:c": "2",
        "etl/group.load:a/b:c": "2",
        f"etl/{RUN}/group.load[3]:m": "3",
        "etl/group.load[3]:m": "3",
        "etl/a/b:c[1]/d\n/group.load:k\x1b": "4",
        "etl/a/b:c[1]/d\\n/group.load:k\\x1b": "4",
        "etl/latest/group.load:k\\x1b": "4",
    }.items():
        done = run("pull", text, "--url", db.url)
        assert (done.code, done.out) == (0, f"{value}\n"), (text, done.err)


def test_the_run_of_pull_may_be_a_glob(run: Run, tmp_path: Path) -> None:
    """The newest that matches and has the XCom; a run that is called so comes first."""
    db = Metadata(str(tmp_path / "a.db"))
    for number, run_id in enumerate(("day_1", "day_2", "other", "day_3", "d[ay]_*"), 1):
        key = "x" if run_id == "day_3" else "k"
        db.add(b"%d" % number, dag_id="[a]*", run_id=run_id, key=key)
    url = ("--url", db.url)
    found = run("pull", "[a]*", "task", "k", "-r", "day_*", *url)
    assert (found.out, 'from run "day_2"' in found.err) == ("2\n", True)
    assert run("pull", "[a]*", "task", "k", "-r", "d[ay]_*", *url).out == "5\n"
    assert run("pull", "[a]*", "task", "k", "-r", "night_*", *url).code == 4


def test_a_name_that_nothing_has_is_explained(run: Run, tmp_path: Path) -> None:
    """As one that is given in parts."""
    db = Metadata(str(tmp_path / "a.db"))
    db.add(b"1", dag_id="etl", task_id="load", run_id="run_1")
    db.run("etl", "run_3", None)
    for text, hint in {
        "elt/run_1/load:return_value": 'Did you mean the DAG "etl"?',
        "etl/run_1/laod:return_value": 'Did you mean the task "load"?',
        "etl/run_1/load:return": 'Did you mean the key "return_value"?',
        "etl/run_2/load": 'Run "run_1" has it.',
        "etl/run_3/load": "xcomctl why etl load return_value -r run_3",
        "etl/run_1/load[2]": "Existing indexes: -1.",
    }.items():
        done = run("pull", text, "--url", db.url)
        assert (done.code, hint in done.err) == (4, True), done.err


@pytest.mark.parametrize(
    "words",
    [["etl"], ["etl/"], ["etl/r/t", "-r", "r"], ["etl/r/t", "-m", "1"], ["/"], ["a//b"]],
)
def test_other_forms_are_usage_errors(run: Run, tmp_path: Path, words: list[str]) -> None:
    """With the forms that there are."""
    db = Metadata(str(tmp_path / "a.db"))
    done = run("pull", *words, "--url", db.url)
    assert done.code == 2, done.err
    assert "DAG_ID TASK_ID [KEY]" in done.err


def test_an_ambiguous_name_says_how_to_be_exact(run: Run, tmp_path: Path) -> None:
    """The parts can always be given on their own."""
    db = Metadata(str(tmp_path / "a.db"))
    db.add(b"1", dag_id="d", run_id="r", task_id="t", key="x/t:k")
    db.add(b"2", dag_id="d", run_id="r/t:x", task_id="t", key="k")
    done = run("pull", "d/r/t:x/t:k", "--url", db.url)
    assert (done.code, "names 2 XComs" in done.err) == (2, True)
    assert run("pull", "d", "t", "k", "-r", "r/t:x", "--url", db.url).out == "2\n"


@given(st.text())
def test_escapes_are_undone(text: str) -> None:
    """What `visible` escapes comes back, unless the text looked like an escape itself."""
    if "\\" not in text:
        assert unescaped(visible(text)) == text
