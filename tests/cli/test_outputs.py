"""Where output goes: the process's own streams, pipes and devices are written to, never replaced."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.conftest import clean_environment
from tests.metadata import Metadata

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Run


@pytest.fixture
def db(tmp_path: Path) -> Path:
    """A metadata database with one XCom."""
    path = tmp_path / "airflow.db"
    Metadata(str(path)).add(b'"a value"')
    return path


def shell(command: str, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    """Run a line of bash, in which `xcomctl` is the program."""
    line = f'xcomctl() {{ "{sys.executable}" -m xcomctl "$@"; }}; {command}'
    return subprocess.run(
        ["bash", "-c", line], cwd=tmp_path, capture_output=True, text=True, check=False,
        env=clean_environment(tmp_path) | {"XCOMCTL_URL": str(tmp_path / "airflow.db")},
    )  # fmt: skip


@pytest.mark.parametrize(
    "command",
    [
        "list -o json=/dev/stdout",
        "list -o json=/dev/fd/1",
        "list -o json=link",
        "list -o json=./log",
        "export -o jsonl=/proc/self/fd/1",
        "pull dag task -o pretty --file /dev/stdout",
    ],
)
def test_our_own_stdout_is_added_to(db: Path, tmp_path: Path, command: str) -> None:
    """A log file that a shell appends to keeps what is in it, whatever it is called."""
    (tmp_path / "link").symlink_to("/dev/stdout")
    (tmp_path / "log").write_text("earlier\n")
    done = shell(f"{{ xcomctl {command}; echo later; }} >> log", tmp_path)
    assert done.returncode == 0, done.stderr
    lines = (tmp_path / "log").read_text().splitlines()
    assert (lines[0], lines[-1]) == ("earlier", "later")
    assert "a value" in lines[-2] or "xcom_entries" in "".join(lines)


def test_our_own_stderr_is_added_to(db: Path, tmp_path: Path) -> None:
    """Between the notes, which go there too."""
    (tmp_path / "log").write_text("earlier\n")
    done = shell("xcomctl audit -o json -o tsv=/dev/stderr 2>> log", tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "log").read_text().startswith("earlier\n")
    assert "severity\trule" in (tmp_path / "log").read_text()


def test_a_pipe_and_a_device_stay_what_they_are(db: Path, tmp_path: Path) -> None:
    """A FIFO, bash's process substitution, and /dev/null twice."""
    done = shell(
        "mkfifo fifo; cat fifo > read & xcomctl list -o json=fifo && wait && "
        "xcomctl list -o csv=/dev/null -o tsv=/dev/null -o json=>(cat > read2) && sleep 0.5",
        tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert stat.S_ISFIFO((tmp_path / "fifo").stat().st_mode)
    for name in ("read", "read2"):
        assert '"xcomctl.list/1"' in (tmp_path / name).read_text()


@pytest.mark.parametrize(
    "outputs",
    [
        "-o json=out -o csv=./out",
        "-o json=out -o csv=link",
        "-o json=there -o csv=hard",
        "-o json -o csv=/dev/stdout",
        "-o json=/dev/fd/1 -o csv=/proc/self/fd/1",
    ],
)
def test_two_names_of_one_place_are_refused(db: Path, tmp_path: Path, outputs: str) -> None:
    """The second would replace the first; nothing is written."""
    (tmp_path / "link").symlink_to("out")
    (tmp_path / "there").write_text("before")
    (tmp_path / "hard").hardlink_to(tmp_path / "there")
    done = shell(f"xcomctl list {outputs} > stdout", tmp_path)
    assert done.returncode == 2, done.stderr
    assert "two outputs would" in done.stderr
    assert not (tmp_path / "out").exists()
    assert (tmp_path / "there").read_text() == "before"
    assert (tmp_path / "stdout").read_text() == ""


def test_a_closed_stdout_is_no_obstacle_to_files(db: Path, tmp_path: Path) -> None:
    """As some services start their children. What has no place to go is an error."""
    for command in ("list -o json=out", "export -o jsonl=out", "pull dag task --file out"):
        done = shell(f"xcomctl {command} >&-", tmp_path)
        assert done.returncode == 0, done.stderr
        assert (tmp_path / "out").stat().st_size
        (tmp_path / "out").unlink()
    commands = ("list", "export", "pull dag task", "--help", "--version", "config schema", "top -h")
    for command in (*commands, "list -o json=/dev/stdout"):
        done = shell(f"xcomctl {command} >&-", tmp_path)
        assert (done.returncode, done.stdout) == (3, ""), command
        assert "could not write" in done.stderr
        assert "bug" not in done.stderr
    # Its messages are lost, not its result.
    done = shell("xcomctl list -o json 2>&-", tmp_path)
    assert done.returncode == 0
    assert '"xcomctl.list/1"' in done.stdout
    assert shell("xcomctl list --no-such 2>&-", tmp_path).returncode == 2
    assert shell("xcomctl list --no-such 2>/dev/full", tmp_path).returncode == 2
    assert shell("xcomctl push dag task k - <&-", tmp_path).returncode == 2
    assert shell("xcomctl list <&- >&- 2>&-", tmp_path).returncode == 3


@pytest.mark.parametrize(
    "command", ["--help", "-h", "--version", "-V", "list", "list --help", "delete -d '*'", "limits",
                "config schema", "config check", "pull dag task",
                "export", "demo d.db --no-tour", "--show-completion bash"],
)  # fmt: skip
def test_a_full_device_is_an_error_of_the_output(db: Path, tmp_path: Path, command: str) -> None:
    """Whatever is printed: exit 3, and no complaint of the interpreter's."""
    (tmp_path / "xcomctl.toml").write_text("")
    done = shell(f"xcomctl {command} > /dev/full", tmp_path)
    assert done.returncode == 3, done.stderr
    assert "No space left" in done.stderr
    for word in ("Traceback", "Exception ignored", "bug"):
        assert word not in done.stderr


def test_files_with_values_are_their_owner_s(run: Run, db: Path, tmp_path: Path) -> None:
    """Exports and pulled values; a report without values has an ordinary mode."""
    mask = os.umask(0o022)
    try:
        for command, mode in {
            "export -o jsonl={}": 0o600,
            "export -o csv={}": 0o600,
            "export -o parquet={}": 0o600,
            "export --resume -o jsonl={}": 0o600,
            "pull dag task --file {}": 0o600,
            "pull dag task -o raw --file {}": 0o600,
            "list --value -o json={}": 0o600,
            "list -o json={}": 0o644,
            "audit -o json={}": 0o644,
        }.items():
            out = tmp_path / "out"
            assert run(*command.format(out).split(), "--url", db).code == 0
            assert stat.S_IMODE(out.stat().st_mode) == mode, command
            out.unlink()
    finally:
        os.umask(mask)


@pytest.mark.parametrize("command", ["list -o json=", "export -o jsonl=", "pull dag task --file="])
def test_the_database_is_not_written_over(run: Run, db: Path, tmp_path: Path, command: str) -> None:
    """Nor what else the command reads."""
    before = db.read_bytes()
    done = run(*f"{command}{db}".split(), "--url", db)
    assert done.code == 5
    assert f'"{db}"' in done.err
    assert db.read_bytes() == before
    config = tmp_path / "xcomctl.toml"
    config.write_text("# mine")
    assert run(*f"{command}{config}".split(), "--url", db).code == 5
    assert config.read_text() == "# mine"
