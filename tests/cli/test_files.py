"""Files that are whole and on disk, or not there."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

import pytest

from xcomctl.cli import files

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have files go to disk every kilobyte."""
    monkeypatch.setattr(files, "_SETTLED_AT_ONCE", 1000)


def test_a_large_file_goes_to_disk_while_it_grows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that its end has little to wait for; and it is whole."""
    early: list[int] = []
    synced = threading.Event()
    fdatasync = os.fdatasync

    def sync(fileno: int) -> None:
        early.append(os.fstat(fileno).st_size)
        fdatasync(fileno)
        synced.set()

    monkeypatch.setattr(os, "fdatasync", sync)
    path = tmp_path / "out"
    with files.whole_binary_file(path) as out:
        for number in range(200):
            out.write(b"%03d" % number * 5_000)
            if number == 100:
                assert synced.wait(60)
        assert not path.exists()
    assert path.read_bytes() == b"".join(b"%03d" % number * 5_000 for number in range(200))
    assert min(early) < 3_000_000
    assert [one.name for one in tmp_path.iterdir()] == ["out"]


def test_a_disk_that_fails_early_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system tells of a failure once, which the end of the file must not miss."""

    failed = threading.Event()

    def fail(_: int) -> None:
        failed.set()
        raise OSError(5, "Input/output error")

    def write(path: Path) -> None:
        with files.whole_binary_file(path) as out:
            for _ in range(20):
                out.write(b"x" * 20_000)
            assert failed.wait(60)

    monkeypatch.setattr(os, "fdatasync", fail)
    path = tmp_path / "out"
    path.write_bytes(b"before")
    with pytest.raises(OSError, match="Input/output"):
        write(path)
    assert path.read_bytes() == b"before"
    assert [one.name for one in tmp_path.iterdir()] == ["out"]


def test_what_is_abandoned_leaves_no_file(tmp_path: Path) -> None:
    """Whatever was on its way to disk."""

    def write() -> None:
        with files.whole_binary_file(tmp_path / "out") as out:
            out.write(b"x" * 100_000)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write()
    assert list(tmp_path.iterdir()) == []
