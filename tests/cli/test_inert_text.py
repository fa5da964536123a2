"""Ids and values are shown as text: what a terminal, a parser or a page would obey is inert."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.conftest import clean_environment
from tests.metadata import Metadata

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Run
    from tests.servers import Server

ACTIVE = {
    "ansi": "\x1b[31mred\x1b]8;;http://x\x07link",
    "c1": "\x9b31mred",
    "markup": "[bold]loud[/bold] [link=http://x]y[/link] :smile:",
    "newline": "one\ntwo\r\nthree\ttab\x0bvt",
    "bidi": "abc\u202eexe.txt\u2066x\u2069\u200f",
    "hidden": "zero\u200bwidth\ufeff\U000e0041tag",
    "separators": "a\u2028b\u2029c\x85d",
    "markdown": "|pipe| <script>alert(1)</script> `tick` [a](http://x) @all #1 *s*",
    "formula": "=cmd|' /C calc'!A0",
    "quotes": "\"a\" 'b' \\n , ; #",
    "yaml": "yes: no",
    "option": "--help",
    "emoji": "💥 é ☃ 日本",
}
NUL = "nul\x00end"
SURROGATE = "half\ud83dpair"

TEXT_FORMATS = ("table", "csv", "tsv", "yaml", "markdown", "json", "jsonl")
COMMANDS = {
    "list": ("list", "-n", "0", "--value", "--columns", "dag_id,task_id,run_id,key,value"),
    "audit": ("audit", "--size-limit", "1", "--exit-zero"),
    "top": ("top", "-n", "0"),
}
FORBIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff\U000e0000-\U000e0fff]"
)


@pytest.fixture
def db(tmp_path: Path) -> Path:
    """A metadata DB with every active text as dag, task, run, key and value."""
    path = tmp_path / "airflow.db"
    metadata = Metadata(str(path))
    for name, text in {**ACTIVE, "nul": NUL}.items():
        value = json.dumps({name: text}, ensure_ascii=False).encode()
        metadata.add(value, dag_id=text, task_id=text, run_id=text, key=text)
    metadata.add(json.dumps(SURROGATE).encode(), dag_id="surrogate")
    # Ids that are no UTF-8: SQLite keeps whatever it is given.
    metadata.execute(
        "INSERT INTO xcom (dag_run_id, task_id, map_index, key, dag_id, run_id, value, timestamp)"
        " VALUES (77, CAST(X'61ff62' AS TEXT), -1, 'k', 'broken', 'r', X'31', '2026-01-01 00:00:00')"
    )
    return path


@pytest.mark.parametrize("form", TEXT_FORMATS)
@pytest.mark.parametrize("command", COMMANDS)
def test_nothing_active_reaches_the_output(run: Run, db: Path, command: str, form: str) -> None:
    """No control, direction or half character but the format's own line ends and tabs."""
    done = run(*COMMANDS[command], "--url", db, "-o", form)
    assert done.code == 0, done.err
    out = done.out
    assert not FORBIDDEN.search(out)
    if form != "tsv":
        assert "\t" not in out
    rows = len(ACTIVE) + 3
    if form in ("csv", "tsv", "jsonl"):
        assert len(out.splitlines()) == rows + (form != "jsonl")
    if form == "table" and command == "list":
        assert len(out.splitlines()) == rows + 1
        assert "[bold]loud[/bold]" in out
    if form == "markdown":
        assert "<script" not in out
        assert all(line.startswith("|") for line in out.splitlines()[: rows + 2])
    assert not FORBIDDEN.search(done.err)


@pytest.mark.parametrize("form", ["json", "jsonl"])
def test_json_holds_it_intact(run: Run, db: Path, form: str) -> None:
    """Escaped, and the same text again after parsing."""
    done = run("list", "-n", "0", "--url", db, "-o", form)
    entries: list[Any] = (
        done.json()["xcom_entries"]
        if form == "json"
        else [json.loads(line) for line in done.out.splitlines()]
    )
    ids = {entry["dag_id"] for entry in entries}
    assert ids >= {*ACTIVE.values(), NUL}
    assert "a\udcffb" in {entry["task_id"] for entry in entries}


def test_csv_reads_back_as_rows(run: Run, db: Path) -> None:
    """A field never breaks its row, and a spreadsheet runs no formula unless it is asked to."""
    read = {}
    for form in ("csv", "tsv"):
        for more in ((), ("--raw-cells",)):
            done = run("list", "-n", "0", "--url", db, "-o", form, *more)
            lines = csv.reader(io.StringIO(done.out), delimiter="," if form == "csv" else "\t")
            header, *rows = lines
            assert len(rows) == len(ACTIVE) + 3
            dags = read[form, bool(more)] = {row[header.index("dag_id")] for row in rows}
            marked = "" if more else "'"
            assert {f"{marked}--help", f"{marked}{ACTIVE['formula']}", "yes: no"} <= dags
            # A number is not text.
            assert {row[header.index("map_index")] for row in rows} == {"-1"}
    assert not [dag for dag in read["csv", False] if dag[0] in "=+-@"]


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_an_export_to_a_terminal_is_inert(tmp_path: Path, form: str) -> None:
    """No control character, and no line that begins with a workflow command of a CI system."""
    db = tmp_path / "airflow.db"
    metadata = Metadata(str(db))
    for text in ACTIVE.values():
        metadata.add(json.dumps(text).encode(), dag_id=text, task_id=text, run_id=text, key=text)
    for text in ("::error::x", "\n::error::x", "a\n##[error]x"):
        metadata.add(b'"\xc2\x9b31m"', dag_id=text, key=text)
    main, terminal = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "xcomctl", "export", "-o", form, "--url", str(db)],
        stdout=terminal, stderr=subprocess.DEVNULL, env=clean_environment(tmp_path),
    )  # fmt: skip
    os.close(terminal)
    data = b""
    with contextlib.suppress(OSError):
        while piece := os.read(main, 65536):
            data += piece
    os.close(main)
    assert process.wait(60) == 0
    out = data.decode().replace("\r\n", "\n")
    assert not FORBIDDEN.search(out)
    lines = out.splitlines()
    assert len(lines) == len(ACTIVE) + 3 + (form == "csv")
    assert all(line.startswith('"' if form == "csv" else '{"') for line in lines)
    if form == "jsonl":
        assert "\x9b31m" in {json.loads(line).get("value") for line in lines if "u009b31m" in line}


def test_pull_takes_such_names_and_gives_the_value(run: Run, db: Path) -> None:
    """Strict JSON without active characters, and the very value after parsing."""
    for name, text in ACTIVE.items():
        done = run("pull", "--url", db, "-q", "--", text, text, text)
        assert done.json() == {name: text}
        assert not FORBIDDEN.search(done.out.rstrip("\n"))
    assert run("pull", "--url", db, "-q", "surrogate", "task").json() == SURROGATE
    raw = run("pull", "--url", db, "-q", "-o", "raw", "--", *[ACTIVE["ansi"]] * 3)
    assert json.loads(raw.stdout) == {"ansi": ACTIVE["ansi"]}
    assert (
        b"\x1b[31m"
        not in run("pull", "--url", db, "-o", "repr", "--", *[ACTIVE["ansi"]] * 3).stdout
    )


def test_errors_are_inert_too(run: Run, db: Path) -> None:
    """A name is repeated in the error, written out."""
    for text in ACTIVE.values():
        done = run("pull", "--url", db, "--", text + "x", text, text)
        assert done.code == 4
        assert not FORBIDDEN.search(done.err)
        for line in done.err.splitlines():
            assert line.startswith("xcomctl: ")


def test_servers_hold_them_as_well(run: Run, server: Server) -> None:
    """The same names, as far as the server takes them."""
    url = server.create_database()
    metadata = Metadata(url)
    texts = {
        name: text
        for name, text in ACTIVE.items()
        if server.backend == "postgresql" or all(ord(char) < 0x10000 for char in text)
    }
    for name, text in texts.items():
        metadata.add(json.dumps(name).encode(), dag_id=text, task_id=text, run_id=text, key=text)
    listed = run("list", "-n", "0", "--url", url, "-o", "json").json()["xcom_entries"]
    assert {entry["dag_id"] for entry in listed} == set(texts.values())
    for name, text in texts.items():
        assert run("pull", "--url", url, "-q", "--", text, text, text).json() == name
    assert not FORBIDDEN.search(run("list", "-n", "0", "--url", url).out)
