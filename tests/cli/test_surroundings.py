"""What the system does to a program: none of it is reported as a bug."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
from pyarrow import parquet

from tests.conftest import clean_environment
from tests.metadata import Metadata

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Run

INTERRUPTED = """
import os, signal, sys

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == os.environ["AT"]:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Finder())
from xcomctl.__main__ import main
main()
"""


@pytest.fixture
def db(tmp_path: Path) -> Path:
    """A metadata database with one XCom."""
    path = tmp_path / "airflow.db"
    Metadata(str(path)).add(b"1")
    return path


@pytest.mark.parametrize(
    "module", ["gc", "xcomctl.cli", "typer", "xcomctl.cli.list", "xcomctl.db", "sqlalchemy.pool"]
)
def test_an_interrupt_during_the_imports(db: Path, tmp_path: Path, module: str) -> None:
    """One line and exit code 130, whichever library is being imported."""
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, "list", "--url", str(db)],
        capture_output=True, text=True, check=False, env=clean_environment(tmp_path) | {"AT": module},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr == "xcomctl: warning: interrupted\n"


def test_a_pipe_that_does_not_block(tmp_path: Path) -> None:
    """As some parents hand it on: a slow reader gets everything."""
    Metadata(str(tmp_path / "large.db")).add(b'"' + b"x" * 3_000_000 + b'"')
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    process = subprocess.Popen(
        [sys.executable, "-m", "xcomctl", "pull", "dag", "task", "-o", "raw", "--url", "large.db"],
        stdout=writer, cwd=tmp_path, env=clean_environment(tmp_path),
    )  # fmt: skip
    os.close(writer)
    time.sleep(0.5)
    with os.fdopen(reader, "rb") as out:
        assert len(out.read()) == 3_000_002
    assert process.wait(60) == 0


def test_a_working_directory_that_is_gone(db: Path, tmp_path: Path) -> None:
    """What needs it says so; what is named absolutely works."""
    gone = tmp_path / "gone"
    for arguments, code in {
        ("list", "--url", str(db)): 0,
        ("audit", "--url", str(db), "-o", f"json={tmp_path}/out"): 0,
        ("config", "show", "--url", str(db)): 0,
        ("--help",): 0,
        ("list", "--url", "airflow.db"): 3,
        ("list", "--url", str(db), "-o", "json=out"): 3,
        ("demo", "demo.db"): 3,
        ("config", "init"): 3,
    }.items():
        gone.mkdir()
        line = f'rmdir "$PWD"; exec "{sys.executable}" -m xcomctl "$@"'
        done = subprocess.run(
            ["bash", "-c", line, "bash", *arguments],
            cwd=gone, capture_output=True, text=True, check=False, env=clean_environment(tmp_path),
        )  # fmt: skip
        assert done.returncode == code, (arguments, done.stderr)


@pytest.mark.parametrize("locale", [{"LC_ALL": "C.UTF-8"}, {"LC_ALL": "C", "PYTHONUTF8": "0"}])
def test_arguments_that_are_not_utf8(
    db: Path, tmp_path: Path, run: Run, locale: dict[str, str]
) -> None:
    """A name is looked for; anything else is refused or read as it is."""
    for words, codes in {
        (b"list", b"-d", b"caf\xe9"): {0},
        (b"list", b"-d", b"\xe9*"): {0},
        (b"pull", b"caf\xe9", b"t"): {4},
        (b"list", b"-o", b"json=caf\xe9"): {0},
        (b"list", b"--since", b"\xe9"): {2},
        (b"list", b"--schema", b"\xe9"): {2, 3},
        (b"audit", b"--baseline", b"\xe9"): {2},
        (b"\xe9",): {2},
    }.items():
        done = subprocess.run(
            [sys.executable, "-m", "xcomctl", *words],
            cwd=tmp_path, capture_output=True, check=False,
            env=clean_environment(tmp_path) | {"XCOMCTL_URL": str(db), "PYTHONCOERCECLOCALE": "0"} | locale,
        )  # fmt: skip
        assert done.returncode in codes, (words, done.stderr)
    assert (tmp_path / os.fsdecode(b"caf\xe9")).exists()


def test_what_is_read_and_is_no_file(db: Path, tmp_path: Path, run: Run) -> None:
    """A loop of links, a directory, a name that is too long: a message that names it."""
    (tmp_path / "loop").symlink_to("loop")
    for path in ("loop", ".", "x" * 300, "none/x", "airflow.db/x"):
        for command in (
            ("list", "--config", path),
            ("audit", "--baseline", path),
            ("import", path),
            ("push", "dag", "task", "k", f"@{path}"),
            ("list", "--airflow-home", path),
            ("demo", path),
            ("delete", "-d", "*", "--undo-file", path, "--yes", "--include-active"),
        ):
            done = run(*command, env={"XCOMCTL_URL": str(db)})
            assert done.code in (0, 2, 3, 5), (command, done.err)
            assert "bug" not in done.err
    assert run("list", "--url", "loop").code == 3


def test_a_byte_order_mark_is_skipped(db: Path, tmp_path: Path, run: Run) -> None:
    """Editors on Windows put one at the start of a text file."""
    mark = b"\xef\xbb\xbf"
    assert run("audit", "--url", db, "--baseline", "base.json", "--update-baseline").code == 0
    assert run("export", "--url", db, "-o", "jsonl=x.jsonl", "-o", "jsonl=x.jsonl").code == 2
    for form in ("jsonl", "csv"):
        assert run("export", "--url", db, "-o", f"{form}=x.{form}").code == 0
    (tmp_path / "xcomctl.toml").write_text(f'[profiles.p]\nurl = "{db}"\n')
    (tmp_path / "airflow.cfg").write_text(f"[database]\nsql_alchemy_conn = sqlite:///{db}\n")
    for name in ("base.json", "x.jsonl", "x.csv", "xcomctl.toml", "airflow.cfg"):
        path = tmp_path / name
        path.write_bytes(mark + path.read_bytes())
    assert run("audit", "-P", "p", "--baseline", "base.json").code == 0
    assert run("list", "--airflow-home", tmp_path).code == 0
    for form in ("jsonl", "csv"):
        done = run("import", "-P", "p", f"x.{form}", "--dry-run", "-o", "json")
        assert done.json()["unchanged"] == 1, done.err


def test_no_room_for_temporary_files(db: Path, tmp_path: Path, run: Run) -> None:
    """The plan of a deletion and an import from stdin need some."""
    assert run("delete", "--url", db, "-d", "*", env={"TMPDIR": "/nowhere"}).code == 0
    line = (
        "ulimit -f 0; mkdir gone; cd gone; rmdir ../gone;"
        f' TMPDIR=/nowhere exec "{sys.executable}" -B -m xcomctl "$@"'
    )
    for arguments in (("delete", "--url", str(db), "-d", "*"), ("import", "-", "--url", str(db))):
        done = subprocess.run(
            ["bash", "-c", line, "bash", *arguments], input=b"x" * 100_000,
            cwd=tmp_path, capture_output=True, check=False, env=clean_environment(tmp_path),
        )  # fmt: skip
        assert done.returncode in (3, 5), done.stderr
        assert b"bug" not in done.stderr
        assert b"stdout" not in done.stderr


@pytest.mark.parametrize(
    "command",
    [
        "list -m {}",
        "list -n {}",
        "top -n {}",
        "pull dag task -m {}",
        "pull dag/run_1/task[{}]",
        "push dag task 1 -m {}",
        "delete --keep-last {}",
        "delete -d x --batch-size {}",
        "import x --batch-size {}",
        "why dag task -m {}",
        "list --min-size {}",
        "list --max-size 1.{}GB --min-size {}",
        "audit --size-limit {}",
        "audit --warn-at {}",
        "audit --as mysql:2.{}",
        "preflight --to 3.{}.1",
    ],
)
def test_a_number_that_no_column_holds(db: Path, run: Run, command: str) -> None:
    """It is refused as an argument, however long."""
    for number in ("9" * 30, "9" * 5000):
        done = run(*command.replace("{}", number).split(), "--url", db)
        assert done.code == 2 or (done.code == 4 and "[" in command), done.err


def test_a_default_that_is_nested_too_deeply(db: Path, run: Run) -> None:
    """It is refused before the database is opened."""
    done = run("pull", "dag", "none", "--url", db, "--default", "[" * 100_000)
    assert (done.code, done.out) == (2, "")
    assert "--default" in done.err


def test_an_index_of_64_bits_is_exported(db: Path, tmp_path: Path, run: Run) -> None:
    """SQLite holds it; a file has it as it is."""
    Metadata(str(tmp_path / "wide.db")).add(b"1", map_index=2**40)
    assert run("export", "--url", "wide.db", "-o", "parquet=x.parquet").code == 0
    assert parquet.read_table(tmp_path / "x.parquet").column("map_index").to_pylist() == [2**40]


@pytest.mark.parametrize(
    ("arguments", "environment"),
    [
        (("info",), {"AIRFLOW_CONFIG": "/dev/zero"}),
        (("list", "--config", "/dev/zero"), {}),
        (("audit", "--baseline", "/dev/zero", "--url", "airflow.db"), {}),
        (("list", "--url", "mysql+mysqldb://127.0.0.1:1/x?read_default_file=/dev/zero"), {}),
    ],
)
def test_settings_without_end_are_not_read(
    db: Path, run: Run, arguments: tuple[str, ...], environment: dict[str, str]
) -> None:
    """A device that was named by mistake is an error, and does not fill the memory."""
    done = run(*arguments, env=environment, timeout=60)
    assert done.code == 2, done.err
    assert '"/dev/zero"' in done.err
