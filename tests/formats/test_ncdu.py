"""`top -o ncdu`: every group is in the tree, and ncdu itself opens it."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import struct
import termios
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.left_out import need_program
from tests.metadata import Metadata

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Run

ODD = ("with/slash", "", "..", 'quote"d', "new\nline", "é💥", "\x1b[31m")
_WAIT_S = 20


def leaves(node: Any, path: tuple[str, ...] = ()) -> dict[tuple[str, ...], int]:
    """Return the sizes of the files of a tree by their paths, as ncdu's format has them."""
    if isinstance(node, dict):
        assert node["asize"] == node["dsize"]
        return {(*path, node["name"]): node["asize"]}
    first, *children = node
    here = (*path, first["name"])
    return {name: size for child in children for name, size in leaves(child, here).items()}


@pytest.fixture
def db(tmp_path: Path) -> Path:
    path = tmp_path / "airflow.db"
    metadata = Metadata(str(path))
    for number in range(30):
        metadata.add(b"1" * (1024 * (number + 1)), dag_id=f"dag_{number}")
        metadata.add(b"1" * 100, dag_id=f"dag_{number}", run_id="run_2")
    for name in ODD:
        metadata.add(b"1" * 500, dag_id=name, task_id=name, key=name)
    return path


def test_the_tree_holds_every_group(db: Path, run: Run) -> None:
    """Twenty groups would make wrong totals."""
    head, version, about, tree = json.loads(run("top", "--url", db, "-o", "ncdu").out)
    assert (head, version, about["progname"]) == (1, 2, "xcomctl")
    found = leaves(tree)
    assert len(found) == 30 + len(ODD)
    assert found["xcom", "dag_4", "task", "return_value"] == 5 * 1024 + 100
    assert all(all(path) for path in found)
    by_run = json.loads(run("top", "--url", db, "--by", "run_id", "-o", "ncdu").out)[3]
    assert leaves(by_run)["xcom", "run_2"] == 30 * 100
    one = run("top", "--url", db, "-n", "1", "-o", "ncdu")
    assert list(leaves(json.loads(one.out)[3])) == [("xcom", "dag_29", "task", "return_value")]
    none = run("top", "--url", db, "-d", "none", "-o", "ncdu")
    assert leaves(json.loads(none.out)[3]) == {}


def test_ncdu_opens_it(db: Path, run: Run, tmp_path: Path) -> None:
    """It shows the total, and goes down into the largest DAG."""
    need_program("ncdu")
    file = tmp_path / "xcom.ncdu"
    assert run("top", "--url", db, "-o", f"ncdu={file}").code == 0
    pid, terminal = pty.fork()
    if pid == 0:
        os.execvpe("ncdu", ["ncdu", "-f", str(file)], {**os.environ, "TERM": "xterm"})
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 60, 80, 0, 0))
    shown = _read_until(terminal, "Items:")
    assert "rror" not in shown
    total = 30 * 31 // 2 * 1024 + 30 * 100 + len(ODD) * 500
    assert f"{total / 1024:.1f} KiB" in shown
    assert "/dag_29" in shown
    os.write(terminal, b"\r")
    assert "/task" in _read_until(terminal, "/task")
    os.write(terminal, b"q")
    _read_until(terminal, "")
    assert os.waitpid(pid, 0)[1] == 0
    os.close(terminal)


def _read_until(terminal: int, wanted: str) -> str:
    """Return what the terminal shows, without its commands, until it shows a text or ends."""
    shown, end = "", time.monotonic() + _WAIT_S
    while time.monotonic() < end and not (wanted and wanted in shown):
        if select.select([terminal], [], [], 0.1)[0]:
            try:
                data = os.read(terminal, 65_536).decode()
            except OSError:
                # Linux reports the end of a terminal so.
                break
            shown += re.sub(r"\x1b(\[[0-9;?]*[A-Za-z]|\([A-Z0-9])", "", data)
    return shown
