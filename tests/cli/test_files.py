"""Output files are complete and on disk, or as they were before."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from xcomctl.cli import files

if TYPE_CHECKING:
    from pathlib import Path


def write(path: Path, data: bytes = b"x", *, private: bool = False) -> None:
    """Write one file."""
    with files.OutputFiles() as group:
        group.open(path, private=private).write(data)


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sync files every kilobyte."""
    monkeypatch.setattr(files, "_SYNC_EVERY", 1000)


def test_a_large_file_is_synced_while_it_grows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, often: None
) -> None:
    """So that its end has little to wait for; and it is complete."""
    early: list[int] = []
    synced = threading.Event()
    fdatasync = os.fdatasync

    def sync(fileno: int) -> None:
        early.append(os.fstat(fileno).st_size)
        fdatasync(fileno)
        synced.set()

    monkeypatch.setattr(os, "fdatasync", sync)
    path = tmp_path / "out"
    with files.OutputFiles() as group:
        out = group.open(path)
        for number in range(200):
            out.write(b"%03d" % number * 5_000)
            if number == 100:
                assert synced.wait(60)
        assert not path.exists()
    assert path.read_bytes() == b"".join(b"%03d" % number * 5_000 for number in range(200))
    assert min(early) < 3_000_000
    assert [one.name for one in tmp_path.iterdir()] == ["out"]


def test_a_disk_that_fails_early_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, often: None
) -> None:
    """The kernel reports a failed sync once, which the end of the file must not miss."""

    failed = threading.Event()

    def fail(_: int) -> None:
        failed.set()
        raise OSError(5, "Input/output error")

    def fill(path: Path) -> None:
        with files.OutputFiles() as group:
            out = group.open(path)
            for _ in range(20):
                out.write(b"x" * 20_000)
            assert failed.wait(60)

    monkeypatch.setattr(os, "fdatasync", fail)
    path = tmp_path / "out"
    path.write_bytes(b"before")
    with pytest.raises(OSError, match="Input/output") as raised:
        fill(path)
    assert raised.value.filename == str(path)
    assert path.read_bytes() == b"before"
    assert [one.name for one in tmp_path.iterdir()] == ["out"]


def test_an_interrupted_write_leaves_no_file(tmp_path: Path) -> None:
    """Also where some of it is on disk already."""

    def interrupted() -> None:
        with files.OutputFiles() as group:
            group.open(tmp_path / "out").write(b"x" * 100_000)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []


def test_several_files_are_replaced_together(tmp_path: Path) -> None:
    """The first one stays as it was when the last one cannot be written."""
    first, full = tmp_path / "first", "/dev/full"
    first.write_bytes(b"before")

    def both() -> None:
        with files.OutputFiles() as group:
            for path in (first, full):
                group.open_text(path).write("after")

    with pytest.raises(OSError, match="No space left") as raised:
        both()
    assert raised.value.filename == full
    assert first.read_bytes() == b"before"
    assert [one.name for one in tmp_path.iterdir()] == ["first"]


@pytest.mark.parametrize(("private", "mode"), [(True, 0o600), (False, 0o640)])
def test_a_new_file_has_the_mode_of_its_kind(tmp_path: Path, private: bool, mode: int) -> None:
    """What holds values is its owner's; an existing file keeps its mode."""
    mask = os.umask(0o027)
    try:
        write(tmp_path / "out", private=private)
    finally:
        os.umask(mask)
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == mode
    (tmp_path / "out").chmod(0o604)
    write(tmp_path / "out", private=private)
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == 0o604


def test_the_target_of_a_link_is_replaced(tmp_path: Path) -> None:
    """The link stays, also where its target does not exist yet."""
    (tmp_path / "target").write_bytes(b"before")
    for name in ("target", "new"):
        (tmp_path / f"{name}.link").symlink_to(name)
        write(tmp_path / f"{name}.link", b"after")
        assert (tmp_path / f"{name}.link").is_symlink()
        assert (tmp_path / name).read_bytes() == b"after"


def test_temporary_files_of_killed_processes_are_removed(tmp_path: Path) -> None:
    """Those of the same target; one that is being written is left alone."""
    path = tmp_path / "out"
    killed = (
        "import os, sys\nfrom xcomctl.cli.files import OutputFiles\n"
        "group = OutputFiles()\ngroup.open(sys.argv[1]).write(b'x')\nos._exit(1)\n"
    )
    subprocess.run([sys.executable, "-c", killed, path], check=False)
    subprocess.run([sys.executable, "-c", killed, tmp_path / "other"], check=False)
    assert len(list(tmp_path.iterdir())) == 2
    with files.OutputFiles() as slow:
        slow.open(path).write(b"slow")
        write(path, b"fast")
        assert path.read_bytes() == b"fast"
    assert path.read_bytes() == b"slow"
    assert sorted(one.name[:7] for one in tmp_path.iterdir()) == [".other.", "out"]


@pytest.mark.parametrize("name", ["ä" * 127, "x" * 255, "\udce9"])
def test_any_name_that_the_system_takes(tmp_path: Path, name: str) -> None:
    """As long as a file's name may be, and one that is not UTF-8."""
    write(tmp_path / name)
    assert [one.name for one in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("loop", "symbolic links"),
        ("none/out", "No such file"),
        ("file/out", "Not a directory"),
        ("", "Is a directory"),
        ("x" * 256, "too long"),
        ("a\0b", "Invalid argument"),
        ("\ud800", "Invalid argument"),
    ],
)
def test_what_cannot_be_written_is_named(tmp_path: Path, name: str, reason: str) -> None:
    """The path as given, whatever is wrong with it."""
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=reason) as raised:
        write(tmp_path / name)
    assert raised.value.filename == str(tmp_path / name)


def test_a_descriptor_of_our_own_is_not_written_to(tmp_path: Path) -> None:
    """It may be the database: only what the parent process passed on is output."""
    own = os.open(tmp_path / "database", os.O_RDWR | os.O_CREAT)
    with pytest.raises(OSError, match="Bad file descriptor"):
        write(f"/dev/fd/{own}")  # type: ignore[arg-type]
    os.set_inheritable(own, True)
    write(f"/dev/fd/{own}", b"passed on")  # type: ignore[arg-type]
    os.close(own)
    assert (tmp_path / "database").read_bytes() == b"passed on"


def test_another_process_s_stream_is_added_to(tmp_path: Path) -> None:
    """A path in /proc is never a file of its own."""
    log = tmp_path / "log"
    log.write_text("before\n")
    with log.open("a") as out, subprocess.Popen(["sleep", "60"], stdout=out) as process:
        write(f"/proc/{process.pid}/fd/1", b"after\n")  # type: ignore[arg-type]
        process.kill()
    assert log.read_text() == "before\nafter\n"
