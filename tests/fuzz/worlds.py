"""Folders to run the program in: databases with odd contents, damaged files, odd kinds of files."""

from __future__ import annotations

import contextlib
import gzip
import json
import socket
import sqlite3
import subprocess
import sys
from typing import TYPE_CHECKING

from tests.fuzz import inputs
from tests.metadata import Metadata

if TYPE_CHECKING:
    import random
    from pathlib import Path

CONFIG = """\
default_profile = "a"
[profiles.a]
url = "a.db"
timeout = "20s"
[profiles.b]
url_env = "B_URL"
read_only = true
[audit]
size_limit = "100 B"
warn_at = "80%"
fail_on = "error"
baseline = "base.json"
max_growth = "50%"
min_growth = "16 KiB"
source_root = { "/opt" = "dags" }
[[audit.budget]]
dag_id = "d*"
max_size = "10 B"
max_total_per_run = "1 KiB"
max_count = 3
severity = "warning"
message = "m"
[[audit.ignore]]
rule = "xcom-over-limit"
dag_id = "legacy_*"
until = 2027-01-31
reason = "r"
"""
AIRFLOW_CFG = "[database]\nsql_alchemy_conn = sqlite:///a.db\nsql_alchemy_schema = main\n[core]\nsql_alchemy_conn = x\n"


def build(rng: random.Random, folder: Path) -> None:
    """Fill the folder."""
    folder.mkdir()
    _database(rng, folder / "a.db")
    (folder / "b.db").write_bytes(inputs.mutated(rng, (folder / "a.db").read_bytes()))
    for name in ("jsonl", "csv"):
        data = _exported(folder, name)
        (folder / f"export.{name}").write_bytes(_perhaps_mutated(rng, data))
    (folder / "undo.jsonl").write_bytes(
        _perhaps_mutated(rng, _exported(folder, "jsonl").replace(b"{", b'{"undo": "restore", ', 1))
    )
    for name, part in (("all.gz", ()), ("part-1.gz", ("--part", "1/2")), ("odd.gz", ())):
        data = _run(folder, "snapshot", "-", *part)
        if name == "odd.gz" and data:
            # Damage that gzip's checksum does not reveal.
            data = gzip.compress(inputs.mutated(rng, gzip.decompress(data)))
        (folder / name).write_bytes(_perhaps_mutated(rng, data) if name == "part-1.gz" else data)
    baseline = {
        "schema": "xcomctl.baseline/1",
        "findings": [{"fingerprint": "0" * 64, "max_size_bytes": rng.choice((1, None, "x", -1))}],
    }
    (folder / "base.json").write_bytes(_perhaps_mutated(rng, json.dumps(baseline).encode()))
    (folder / "x.toml").write_bytes(_perhaps_mutated(rng, CONFIG.encode()))
    if rng.random() < 0.5:
        config = CONFIG.encode()
        (folder / "xcomctl.toml").write_bytes(
            inputs.mutated(rng, config) if rng.random() < 0.3 else config
        )
    (folder / "airflow.cfg").write_bytes(_perhaps_mutated(rng, AIRFLOW_CFG.encode()))
    (folder / "dir").mkdir()
    (folder / "loop").symlink_to("loop")
    (folder / "file").write_text("x")
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as made:
        made.bind(str(folder / "socket"))


def _perhaps_mutated(rng: random.Random, data: bytes) -> bytes:
    return inputs.mutated(rng, data) if rng.random() < 0.6 else data


def _exported(folder: Path, form: str) -> bytes:
    return _run(folder, "export", "-o", form)


def _run(folder: Path, *arguments: str) -> bytes:
    done = subprocess.run(
        [sys.executable, "-m", "xcomctl", *arguments, "--url", "a.db", "-q"],
        cwd=folder, capture_output=True, check=False,
    )  # fmt: skip
    return done.stdout


def _database(rng: random.Random, path: Path) -> None:
    """Make a metadata database of any generation with odd rows and odd facts about itself."""
    generation = rng.choice(("1.10", "2.0", "2.3", "2.3", "3.0", "3.0"))
    # Only tables of 2.3 and newer refer to instances.
    metadata = Metadata(
        str(path), generation, with_instances=generation >= "2.3" and rng.random() < 0.7
    )
    if metadata.with_instances:
        metadata.instance("dag", "task", "run_1")
    metadata.add(b"1" if not metadata.json else "1")
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA foreign_keys = OFF")
        columns = [row[1:3] for row in connection.execute("PRAGMA table_info(xcom)")]
        for _ in range(rng.randrange(25)):
            row = [_cell(rng, name, kind) for name, kind in columns]
            marks = ", ".join(
                "CAST(? AS TEXT)" if isinstance(cell, bytes) and name != "value" else "?"
                for (name, _), cell in zip(columns, row, strict=True)
            )
            with contextlib.suppress(sqlite3.Error, OverflowError):
                connection.execute(f"INSERT INTO xcom VALUES ({marks})", row)
        for statement in _oddities(rng):
            with contextlib.suppress(sqlite3.Error):
                connection.execute(statement)
        connection.commit()


def _cell(rng: random.Random, name: str, kind: str) -> object:
    if name == "value":
        value = inputs.value(rng)
        return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value
    if name == "timestamp" or name.endswith("date"):
        return rng.choice(
            ("2026-01-31 07:08:09.123456", "2026-01-31T07:08:09", "2026-01-31 07:08:09+00:00", "x", "", 12,
             1769843289.5, "9999-12-31 23:59:59.999999", "0000-00-00 00:00:00", b"\xff", 10**17)
        )  # fmt: skip
    if "INT" in kind:
        return rng.choice((0, 1, 2, 3, -1, -1, -1, 99, 2**40, rng.randrange(1000)))
    text = rng.choice((*("dag", "task", "return_value", "run_1") * 3, *inputs.HOSTILE))
    return text.encode("utf-8", "surrogateescape") if "\ud800" not in text else b"\xed\xa0\x80"


def _oddities(rng: random.Random) -> list[str]:
    every = [
        "INSERT INTO dag VALUES ('dag', '/opt/../../etc/x.py')",
        "INSERT INTO dag VALUES (X'FF', X'FE')",
        "CREATE TABLE alembic_version (version_num)",
        "INSERT INTO alembic_version VALUES ('x'), (NULL), (1), (X'FF')",
        "INSERT INTO alembic_version VALUES ('1d6611b6ab7c')",
        "DROP TABLE dag_run",
        "DROP TABLE dag",
        "ALTER TABLE xcom ADD COLUMN extra",
        "ALTER TABLE xcom ADD COLUMN needed INTEGER NOT NULL DEFAULT 1",
        "ALTER TABLE xcom DROP COLUMN timestamp",
        "ALTER TABLE xcom RENAME COLUMN value TO worth",
        "UPDATE dag_run SET state = NULL, run_id = X'FF'",
        "DELETE FROM dag_run",
        "CREATE VIEW y AS SELECT * FROM xcom",
        "ALTER TABLE xcom RENAME TO xcom_t",
        "CREATE VIEW xcom AS SELECT * FROM xcom_t",
        "PRAGMA journal_mode = WAL",
    ]
    return [one for one in every if rng.random() < 0.12]
