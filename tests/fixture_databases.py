"""The metadata DBs that real Airflows wrote, with what their own `xcom_pull` returned.

They lie beside the project, in `../shared/fixtures` and `../shared/fixtures-new`, and are no part of it: tests that use them
run wherever they exist, and say so where they do not.
"""

from __future__ import annotations

import base64
import gzip
import json
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

if TYPE_CHECKING:
    from tests.servers import Server

FOLDER = Path(__file__).parent.parent.parent / "shared" / "fixtures"
NEW_FOLDER = FOLDER.with_name("fixtures-new")
_LEFT_OUT = ("objectstore", "states")
"""Databases whose oracle does not have every XCom."""
SUFFIX_BY_BACKEND = {"sqlite": "", "postgresql": ".pg", "mysql": ".mysql", "mariadb": ".mariadb"}

needed = pytest.mark.skipif(
    not FOLDER.is_dir(), reason=f"the real metadata DBs are not in {FOLDER}"
)


@dataclass(frozen=True)
class Fixture:
    """A metadata DB and its oracle."""

    airflow: str
    backend: str

    def __str__(self) -> str:
        return f"{self.airflow}-{self.backend}"

    @property
    def version(self) -> tuple[int, int]:
        numbers = self.airflow.partition("-")[0].split(".")
        return int(numbers[0]), int(numbers[1])

    @property
    def json_storage(self) -> bool:
        return self.version >= (3, 0)

    @property
    def mapped(self) -> bool:
        return self.version >= (2, 3)

    @property
    def scope(self) -> list[str]:
        """Return the filters for what the oracle knows: one run where it does not know all."""
        if str(self) != "3.4.0b2-sqlite":
            return []
        (run_id,) = {row.run_id for row in self.rows()}
        return ["-r", str(run_id)]

    def _path(self, suffix: str) -> Path:
        name = f"airflow-{self.airflow}{SUFFIX_BY_BACKEND[self.backend]}{suffix}"
        path = FOLDER / name
        return path if path.exists() else NEW_FOLDER / name

    def rows(self) -> list[Row]:
        """Return the oracle's rows."""
        content = json.loads(self._path(".expected.json").read_text(encoding="utf-8"))
        rows = content["rows"] if isinstance(content, dict) else content
        return [Row(row) for row in rows]

    def load(self, folder: Path, server: Server | None) -> str:
        """Return the URL of the metadata DB, loaded into a file or a new database."""
        if server is None:
            target = folder / f"{self}.db"
            target.write_bytes(gzip.decompress(self._path(".sqlite.gz").read_bytes()))
            return str(target)
        url = server.create_database()
        dump = gzip.decompress(self._path(".sql.gz").read_bytes())
        parts = sa.make_url(url)
        account = {"host": parts.host, "port": parts.port, "user": parts.username}
        if self.backend == "postgresql":
            command = ["psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-h", f"{account['host']}",
                       "-p", f"{account['port']}", "-U", f"{account['user']}", f"{parts.database}"]  # fmt: skip
        else:
            command = ["mariadb", "--no-defaults", "-h", f"{account['host']}", "-P", f"{account['port']}",
                       "-u", f"{account['user']}", "--default-character-set=utf8mb4",
                       "--protocol=tcp", f"{parts.database}"]  # fmt: skip
        secret = str(parts.password or "")
        done = subprocess.run(
            command, input=dump, capture_output=True, check=False,
            env={"PGPASSWORD": secret, "MYSQL_PWD": secret, "PATH": "/usr/bin:/bin:/usr/local/bin"},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr.decode()
        return url


class Row:
    """A row of an oracle, whichever form its version wrote."""

    def __init__(self, row: dict[str, Any]) -> None:
        self.dag_id: str = row["dag_id"]
        self.task_id: str = row["task_id"]
        self.key: str = row["key"]
        self.run_id: str | None = row["run_id"]
        self.map_index: int = -1 if row.get("map_index") is None else row["map_index"]
        self.date = parse_time(row.get("execution_date"))
        self.date_text: str | None = row.get("execution_date")
        self.length: int | None = row.get("stored_bytes_length", row.get("stored_length"))
        self.error: str | None = row.get("error")
        self.note: str | None = row.get("note")
        self.storage: str = row.get("storage", "")
        self.text: str | None = row.get("stored_text")
        cut = "python_repr_truncated_from" in row
        given: str | None = row.get("python_repr")
        whole = given is not None and not cut and row.get("repr_len", len(given)) == len(given)
        self.repr = given if whole else None
        self.has_json = "json" in row and row["json"] is not None
        self.json: Any = row.get("json")
        if isinstance(self.json, str) and "store" not in row:
            try:
                self.json = json.loads(self.json)
            except ValueError:
                self.has_json = False
        encoded = row.get("stored_b64")
        self.raw: bytes | None = base64.b64decode(encoded) if encoded is not None else None
        if row.get("stored_hex") and len(row["stored_hex"]) == 2 * (self.length or 0):
            self.raw = bytes.fromhex(row["stored_hex"])

    @property
    def identity(self) -> tuple[object, ...]:
        return (self.dag_id, self.task_id, self.run_id, self.key, self.map_index, self.date)


def parse_time(text: str | None) -> datetime | None:
    """Return a time of an oracle or of our JSON, as UTC."""
    if text is None:
        return None
    moment = datetime.fromisoformat(text)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def all_fixtures() -> list[Fixture]:
    """Return every available fixture."""
    found = []
    for path in [
        *sorted(FOLDER.glob("*.expected.json")),
        *sorted(NEW_FOLDER.glob("*.expected.json")),
    ]:
        if any(name in path.name for name in _LEFT_OUT):
            continue
        name = path.name.removeprefix("airflow-").removesuffix(".expected.json")
        for backend, suffix in reversed(SUFFIX_BY_BACKEND.items()):
            if name.endswith(suffix):
                found.append(Fixture(name.removesuffix(suffix), backend))
                break
    return found
