"""Limits for people: one number, one notation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from xcomctl.model import Size
from xcomctl.sizes.notation import format_sizes, limit_exactly, limit_text, size_and_limit

if TYPE_CHECKING:
    from tests.conftest import Run


def test_sizes_that_round_alike_are_shown_exactly() -> None:
    """`64.0 KiB exceeds 64.0 KiB` would say nothing."""
    assert format_sizes(Size(65_536), Size(65_535)) == ("65,536 B", "65,535 B")
    assert format_sizes(Size(2048), Size(1024)) == ("2.0 KiB", "1.0 KiB")


@pytest.mark.parametrize(
    ("limit", "text", "exactly"),
    [
        (10**9, "1 GB", "1 GB (1,000,000,000 B)"),
        (64_000, "64 kB", "64 kB (64,000 B)"),
        (65_535, "64.0 KiB", "64.0 KiB (65,535 B)"),
        (64 * 2**20, "64.0 MiB", "64.0 MiB (67,108,864 B)"),
        (512, "512 B", "512 B"),
        (0, "0 B", "0 B"),
    ],
)
def test_a_limit_is_written_as_it_is_documented(limit: int, text: str, exactly: str) -> None:
    """Round powers of ten in those, all others in powers of two."""
    assert (limit_text(limit), limit_exactly(limit)) == (text, exactly)


@pytest.mark.parametrize(
    ("size", "limit", "texts"),
    [
        (95_040, 65_535, ("92.8 KiB", "64.0 KiB")),
        (65_536, 65_535, ("65,536 B", "65,535 B")),
        (95_040, 10**9, ("92.8 KiB", "1 GB")),
        (900_000_000, 10**9, ("858.3 MiB", "1 GB (953.7 MiB)")),
        (10**9, 10**9, ("953.7 MiB", "1 GB (953.7 MiB)")),
        (10**9 + 1, 10**9, ("1,000,000,001 B", "1,000,000,000 B")),
        (5 * 10**9, 10**9, ("4.7 GiB", "1 GB")),
    ],
)
def test_a_size_can_be_compared_with_its_limit(
    size: int, limit: int, texts: tuple[str, str]
) -> None:
    """Both units are shown where the size is close, every digit where it is very close."""
    assert size_and_limit(Size(size), Size(limit)) == texts


def test_info_limits_and_audit_agree(run: Run) -> None:
    """The limit of one database looks the same, whichever command shows it."""
    assert run("demo", "demo.db", "--no-tour", "--days", "1").code == 0
    assert "up to 1 GB (1,000,000,000 B)\n" in run("info", "--url", "demo.db").out
    first, *_ = run("limits", "--url", "demo.db").out.splitlines()
    assert first == "An XCom in this database can be up to 1 GB (1,000,000,000 B)."
    assert "limit 1 GB\n" in run("audit", "--url", "demo.db").out
    cell = run("list", "--url", "demo.db", "-n", "1", "--columns", "limit", "--no-header").out
    assert cell == "1 GB (1,000,000,000 B)\n"


def test_limits_of_another_backend_begin_with_the_answer(run: Run) -> None:
    """`limits --as` says in its first line how large an XCom may be there."""
    run("demo", "demo.db", "--no-tour", "--days", "1")
    first, *_ = run("limits", "--url", "demo.db", "--as", "mysql:2.8").out.splitlines()
    assert first == "An XCom on MySQL with Airflow 2.8 can be up to 64.0 KiB (65,535 B)."
