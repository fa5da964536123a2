"""Follows a table while eight writers commit out of order: nothing is missed, nothing is doubled.

`python -m tests.follow_campaign 60 SEED [URL]` writes for 60 seconds, by default to a SQLite file
of its own; URL names an empty database. The tests run a short one on each backend.
"""

from __future__ import annotations

import datetime as dt
import json
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa

from tests.conftest import clean_environment
from tests.metadata import Metadata

if TYPE_CHECKING:
    from collections.abc import Iterable

WRITERS = 8
RUNS = 40
QUIET_S = 5
"""Time without another line after which everything was shown."""

Version = tuple[str, str, str, str]
"""run_id, task_id, key and timestamp of one push."""


@dataclass
class Pushed:
    """What the writers committed."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    committed: list[Version] = field(default_factory=list)
    replaced: set[Version] = field(default_factory=set)


def main() -> None:
    """Run the campaign, and print what it found."""
    seconds, seed = float(sys.argv[1]), int(sys.argv[2])
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        url = sys.argv[3] if len(sys.argv) > 3 else str(home / "airflow.db")
        print(campaign(home, url, seconds, seed))


def campaign(home: Path, url: str, seconds: float, seed: int, every: str = "0.5s") -> str:
    """Follow while eight writers push, and return what was shown; fails if that is not right."""
    metadata = Metadata(url)
    for number in range(RUNS):
        metadata.add(b"0", run_id=f"run_{number}", key="before")
    process = subprocess.Popen(
        [sys.executable, "-m", "xcomctl", "list", "--url", metadata.url, "--follow",
         "--every", every, "-o", "jsonl"],
        cwd=home, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=clean_environment(home) | {"PYTHONPATH": str(Path.cwd())},
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stderr is not None
    assert "waiting for new XComs" in process.stderr.readline()
    shown: list[str] = []
    reader = threading.Thread(target=shown.extend, args=(process.stdout,), daemon=True)
    reader.start()
    pushed = Pushed()
    until = time.monotonic() + seconds
    writers = [
        threading.Thread(target=write, args=(metadata, until, random.Random(seed + at), at, pushed))
        for at in range(WRITERS)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    lines = -1
    while len(shown) > lines:
        lines = len(shown)
        time.sleep(QUIET_S)
    process.send_signal(signal.SIGINT)
    said = process.stderr.read()
    assert process.wait(30) == 130, said
    reader.join(30)
    return check(pushed, map(json.loads, shown))


def check(pushed: Pushed, rows: Iterable[dict[str, str]]) -> str:
    """Compare what was shown with what was committed, and return the counts.

    What was replaced by another writer may have gone before it could be seen.
    """
    seen = Counter((row["run_id"], row["task_id"], row["key"], row["timestamp"]) for row in rows)
    committed = set(pushed.committed)
    assert len(committed) == len(pushed.committed)
    missed = committed - seen.keys() - pushed.replaced
    doubled = [version for version, count in seen.items() if count > 1]
    unknown = seen.keys() - committed
    counts = (
        f"{len(committed):,} pushes committed, {len(pushed.replaced):,} of them replaced, {len(seen):,} shown:"
        f" {len(missed)} missed, {len(doubled)} doubled, {len(unknown)} that were never committed"
    )
    assert not [*missed, *doubled, *unknown], counts
    return counts


def write(metadata: Metadata, until: float, chance: random.Random, at: int, pushed: Pushed) -> None:
    """Push in transactions that take from no time to some seconds, and of which some fail."""
    engine = sa.create_engine(metadata.engine.url, poolclass=sa.pool.NullPool)
    one_at_a_time = metadata.backend == "sqlite"
    number = 0
    with engine.connect() as connection:
        if metadata.backend == "mysql":
            connection.exec_driver_sql("SET time_zone = '+00:00'")
            connection.commit()
        while time.monotonic() < until:
            with pushed.lock if one_at_a_time else threading.Lock():
                versions, replaced = [], set()
                for _ in range(chance.choice((1, 1, 1, 3, 20))):
                    number += 1
                    run = chance.randrange(RUNS)
                    # Keys of its own, so that writers do not wait for each other.
                    key = f"key_{at}_{number if chance.random() < 0.8 else chance.randrange(5)}"
                    savepoint = not one_at_a_time and chance.random() < 0.2
                    nested = connection.begin_nested() if savepoint else None
                    old, new = push(connection, metadata, run, key)
                    if nested is not None:
                        nested.commit()
                    replaced |= old
                    versions.append(new)
                if not one_at_a_time:
                    time.sleep(chance.choice((0, 0, 0.05, 0.3, 1, 3)))
                if chance.random() < 0.1:
                    connection.rollback()
                    continue
                connection.commit()
                note(pushed, versions, replaced, locked=one_at_a_time)
            time.sleep(chance.choice((0, 0.01, 0.1)))


def note(pushed: Pushed, versions: list[Version], replaced: set[Version], *, locked: bool) -> None:
    """Take note of a transaction; a version that it replaced itself was never committed."""
    with threading.Lock() if locked else pushed.lock:
        pushed.committed += [one for one in versions if one not in replaced]
        pushed.replaced |= replaced


def push(
    connection: sa.Connection, metadata: Metadata, run: int, key: str
) -> tuple[set[Version], Version]:
    """Delete and insert, as Airflow does; return the versions that went, and the new one."""
    name = "`key`" if metadata.backend == "mysql" else '"key"'
    now = dt.datetime.now(dt.UTC).replace(tzinfo=None)
    given = {"run": run + 1, "key": key}
    where = f"dag_run_id = :run AND task_id = 'task' AND map_index = -1 AND {name} = :key"
    found = connection.execute(
        sa.text(f"SELECT timestamp FROM xcom WHERE {where}"), given
    ).scalars()
    old = {version(run, key, one) for one in found}
    if old:
        connection.execute(sa.text(f"DELETE FROM xcom WHERE {where}"), given)
    insert = (
        f"INSERT INTO xcom (dag_run_id, task_id, map_index, {name}, dag_id, run_id, value, timestamp)"
        " VALUES (:run, 'task', -1, :key, 'dag', :run_id, :value, :now)"
    )
    stamp = now.replace(tzinfo=dt.UTC) if metadata.backend == "postgresql" else now
    text = now.strftime("%Y-%m-%d %H:%M:%S.%f") if metadata.backend == "sqlite" else stamp
    given |= {"run_id": f"run_{run}", "value": b'"pushed"', "now": text}
    connection.execute(sa.text(insert), given)
    return old, version(run, key, now)


def version(run: int, key: str, moment: dt.datetime | str) -> Version:
    """Return a push as the program shows it."""
    if isinstance(moment, str):
        moment = dt.datetime.fromisoformat(moment)
    text = moment.replace(tzinfo=None).isoformat()
    return (f"run_{run}", "task", key, f"{text}Z")


if __name__ == "__main__":
    main()
