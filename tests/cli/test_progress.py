"""What a terminal shows of a command that takes a while."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.conftest import clean_environment
from tests.db.test_parts import fill
from tests.program import at_terminal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

LINE = "\r\x1b[K"
EXPORT = ("export", "-o", "jsonl=xcoms.jsonl")


def slow() -> None:
    """Make the program read slowly, and show progress soon. Runs in its process."""
    from xcomctl.cli import progress
    from xcomctl.db.read.entries import Entries
    from xcomctl.db.read.pages import Pages
    from xcomctl.db.read.sizes import Sizes
    from xcomctl.db.write.delete import Delete
    from xcomctl.db.write.restore import Restore
    from xcomctl.exchange.lines import JsonLines

    progress.FIRST_AFTER_S = progress.EVERY_S = 0.02  # type: ignore[misc]
    progress._AT_LEAST_S = 0.03  # type: ignore[misc]

    def delay(owner: type, name: str) -> None:
        real = getattr(owner, name)

        def slowly(*arguments: Any, **options: Any) -> Any:
            time.sleep(0.1)
            return real(*arguments, **options)

        setattr(owner, name, slowly)

    def delay_items(name: str) -> None:
        real = getattr(Entries, name)

        def slowly(*arguments: Any, **options: Any) -> Iterator[Any]:
            for number, item in enumerate(real(*arguments, **options)):
                if number in (0, 50, 100, 150):
                    time.sleep(0.1)
                yield item

        setattr(Entries, name, slowly)

    real_stream = Pages.stream

    def stream_slowly(
        self: Pages, selection: Any, take: Callable[[Any], object], **options: Any
    ) -> None:
        def take_slowly(page: Any) -> None:
            take(page)
            time.sleep(0.1)

        real_stream(self, selection, take_slowly, **options)

    Pages.stream = stream_slowly  # type: ignore[method-assign]
    delay_items("values")
    delay_items("scan")
    delay_items("read_pieces")
    delay(Sizes, "survey")
    delay(Sizes, "by_group")
    delay(Delete, "delete")
    delay(Delete, "rows_to_delete")
    delay(Restore, "apply")
    delay(JsonLines, "end")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a demo database and the export of two XComs of it."""
    home = tmp_path_factory.mktemp("home")
    build = ("demo", "demo.db", "--no-tour", "--last-day", "2026-03-31")
    at_terminal(build, width=80, env=environment(home), cwd=home)
    at_terminal(
        ("export", "-d", "xcom_dag", "-r", "latest", "-o", "jsonl=two.jsonl", "--url", "demo.db"),
        width=80, env=environment(home), cwd=home,
    )  # fmt: skip
    return home


def environment(home: Path) -> dict[str, str]:
    return clean_environment(home) | {"NO_COLOR": "1", "TERM": "xterm-256color"}


def shown(
    home: Path,
    *command: str,
    width: int = 80,
    redirected: bool = False,
    url: str = "demo.db",
    **env: str,
) -> str:
    return at_terminal(
        (*command, "--url", url),
        width=width, env=environment(home) | env, cwd=home, prepare=slow,
        stdout=home / "out" if redirected else None,
    )  # fmt: skip


@pytest.mark.parametrize("redirected", [False, True])
@pytest.mark.parametrize(
    ("command", "work"),
    [
        (("audit",), "audit: measuring sizes … 0 s"),
        (("audit", "--deep"), "audit: checking values … "),
        (("top",), "top: measuring sizes … 0 s"),
        (("list", "-n", "0"), "list: reading XComs … "),
        (("import", "two.jsonl", "--dry-run"), "import: checking lines … "),
        (("import", "two.jsonl", "--replace", "--yes"), "import: writing XComs … "),
        (("delete",), "delete: finding XComs … "),
        (("pull", "xcom_dag", "processing_tasks.training_model_a", "model_accuracy", "-o", "raw"), "pull: reading the value … "),
    ],
)  # fmt: skip
def test_progress_is_shown_and_removed(
    home: Path, command: tuple[str, ...], work: str, redirected: bool
) -> None:
    """Whatever stdout is, and it is gone before anything else is printed."""
    text = shown(home, *command, redirected=redirected)
    assert f"{LINE}{work}" in text
    for line in text.split("\n"):
        before, _, after = line.rpartition(LINE)
        assert not before or "…" in before
        assert work not in after


def test_shares_rates_and_the_time_left(home: Path) -> None:
    """Of an estimated total."""
    text = shown(home, "audit", "--deep", redirected=True)
    assert "XComs, " in text
    assert " of about " in text
    assert "%" in text
    assert "/s, " in text
    assert " left" in text


def test_preflight_says_how_far_it_is(home: Path) -> None:
    """On a database that an upgrade is ahead of."""
    fill(home / "old.db", rows=200)
    text = shown(home, "preflight", url="old.db")
    assert f"{LINE}preflight: checking values … " in text
    assert LINE not in text[text.index("of 200 XComs, ", text.rindex(LINE)) :]


def test_nothing_once_rows_flow(home: Path) -> None:
    """The terminal that they are written to has no room for it."""
    text = shown(home, "list", "-n", "0", "-o", "jsonl")
    first = text.index('{"dag_id"')
    assert LINE in text[:first]
    assert LINE not in text[first:]


def test_an_export_to_a_file_says_how_far_it_is(home: Path) -> None:
    """While it goes on."""
    text = shown(home, *EXPORT)
    assert text.rpartition(LINE)[2].startswith("xcomctl: note: exported ")


@pytest.mark.parametrize("option", ["-q", "--no-progress"])
def test_nothing_is_shown_where_it_is_not_wanted(home: Path, option: str) -> None:
    """By the option."""
    assert LINE not in shown(home, "audit", option)


def test_nothing_is_shown_at_a_dumb_terminal(home: Path) -> None:
    """It cannot show a line anew."""
    assert LINE not in shown(home, "audit", TERM="dumb")


def test_the_line_fits_a_narrow_terminal(home: Path) -> None:
    """Rates and counts go before the share and the time left."""
    text = shown(home, "audit", "--deep", width=40, redirected=True)
    lines = [one.split("\n")[0] for one in text.split(LINE)[1:]]
    assert any("%" in one for one in lines)
    assert all(len(one) < 40 for one in lines)
