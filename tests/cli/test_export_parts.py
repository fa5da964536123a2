"""`export --part`: the files of all parts, joined, are the whole table."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from pyarrow import parquet

from tests.db.test_table_parts import ROWS, fill
from tests.metadata import Metadata

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Run


@pytest.mark.parametrize("generation", ["1.10", "2.0", "2.3", "3.0"])
def test_joined_parts_are_the_whole(
    empty_url: str, run: Run, tmp_path: Path, generation: str
) -> None:
    """Byte for byte, in every generation on every backend."""
    fill(empty_url, generation)
    for form in ("jsonl", "csv"):
        plain = run("export", "--url", empty_url, "-o", form).stdout
        whole = run("export", "--url", empty_url, "-o", form, "--part", "1/1").stdout
        assert sorted(whole.splitlines()) == sorted(plain.splitlines())
        parts = [run("export", "--url", empty_url, "-o", form, "--part", f"{part}/3") for part in (1, 2, 3)]  # fmt: skip
        assert b"".join(part.stdout for part in parts) == whole
        assert sum(int(re.findall(r"exported (\d+)", part.err)[0]) for part in parts) == ROWS
        for number, part in enumerate(parts, 1):
            assert f"note: part {number} of 3: " in part.err
    rows = 0
    for half in ("1/2", "2/2"):
        assert run("export", "--url", empty_url, "-o", "parquet=out", "--part", half).code == 0
        rows += parquet.read_table(tmp_path / "out").num_rows
    assert rows == ROWS


def test_parts_are_refused_in_plain_words(tmp_path: Path, run: Run) -> None:
    path = tmp_path / "airflow.db"
    Metadata(str(path)).add(b"1")
    for text in ("0/4", "5/4", "2", "1/0", "a/b", "1/10001", "-1/4", "1/4/2"):
        done = run("export", "--url", path, f"--part={text}")
        assert done.code == 2, text
        assert f'cannot read the part "{text}"' in done.err
    done = run("export", "--url", path, "--part", "1/2", "--resume", "-o", "jsonl=out")
    assert done.code == 2
    assert "--resume cannot be combined with --part" in done.err


def test_filters_apply_to_a_part(tmp_path: Path, run: Run) -> None:
    """A part where they match nothing is no reason to warn."""
    path = tmp_path / "airflow.db"
    fill(str(path), "2.3")
    found = [run("export", "--url", path, "--part", f"{part}/9", "-d", "plain") for part in range(1, 10)]  # fmt: skip
    assert sum(len(part.out.splitlines()) for part in found) == 2
    assert not any("warning" in part.err for part in found)
