"""The page in a real browser: nothing complains, it fits, and everybody can use it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests import browser
from tests.left_out import leave_out
from tests.report.test_page import LIMIT, many
from xcomctl.report import gather, page

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.conftest import Run

WIDTHS = (360, 800, 1440)


@pytest.fixture(scope="module")
def axe() -> str:
    """Return the source of axe-core."""
    script = browser.axe_script()
    if script is None or browser.program() is None:
        leave_out("a browser", "Chromium or axe-core is not installed: see .ci/run")
    return script


@pytest.fixture(scope="module")
def tab(axe: str) -> Iterator[browser.Page]:
    """Return a page of a headless Chromium."""
    with browser.open_page() as one:
        yield one


@pytest.fixture
def demo(run: Run, tmp_path: Path) -> Path:
    """Return the report of the demo, compared with MySQL's limit."""
    run("demo", "airflow.db", "--no-tour")
    assert run("report", "a.html", "--url", "airflow.db", "--as", "mysql:2.8").code == 0
    return tmp_path / "a.html"


def test_it_fits_and_nothing_complains_or_is_loaded(
    tab: browser.Page, axe: str, demo: Path
) -> None:
    """On phones, tablets and wide screens, light and dark; axe-core finds nothing serious."""
    for width in WIDTHS:
        for dark in (False, True):
            tab.show(demo, width=width, dark=dark)
            assert tab.run("document.documentElement.scrollWidth") == width
            assert not tab.check(axe)
            assert not tab.complaints()


def test_the_treemap_opens_with_keys_and_clicks(tab: browser.Page, demo: Path) -> None:
    """Enter opens a DAG and then a task, Escape goes back, and a key shows its row in the table."""
    tab.show(demo)
    label = "document.querySelector('#map-box svg').getAttribute('aria-label')"
    boxes = "document.querySelectorAll('#map-box [role=button]').length"
    assert (tab.run(boxes), "Treemap of All " in tab.run(label)) == (2, True)
    tab.run("document.querySelector('#map-box [role=button]').focus()")
    tab.press("ArrowRight")
    tab.press("Enter")
    assert "Treemap of xcom_dag " in tab.run(label)
    assert tab.run(boxes) == 5
    assert tab.run("document.querySelector('#path').textContent") == "All \u203a xcom_dag"
    tab.press("Escape")
    assert "Treemap of All " in tab.run(label)
    for _ in range(3):
        click = "document.querySelector('#map-box [role=button]').dispatchEvent(new MouseEvent('click'))"
        tab.run(click)
    assert tab.run("document.querySelector('#filter').value") == (
        "file_list_dag list_files return_value"
    )
    assert tab.run("document.querySelectorAll('#groups tbody tr').length") == 1


def test_the_table_sorts_and_filters(tab: browser.Page, demo: Path) -> None:
    """By every column, both ways, and by words in names."""
    tab.show(demo)
    column = "[...document.querySelectorAll('#groups tbody tr')].map((row) => row.cells[%d].textContent).join()"
    click = "document.querySelectorAll('#groups th button')[%d].click()"
    tasks = tab.run(column % 1)
    tab.run(click % 1)
    assert tab.run(column % 1) == ",".join(sorted(tasks.split(",")))
    assert tab.run("document.querySelector('#groups th[aria-sort]').textContent") == "Task"
    tab.run(click % 1)
    assert tab.run(column % 1) == ",".join(sorted(tasks.split(","), reverse=True))
    tab.run("""(() => {
        const filter = document.querySelector("#filter");
        filter.value = "XCOM model_accuracy";
        filter.dispatchEvent(new Event("input"));
    })()""")
    assert tab.run("document.querySelectorAll('#groups tbody tr').length") == 3
    assert tab.run("document.querySelector('#tools [role=status]').textContent").startswith(
        "3 of 7"
    )


def test_without_javascript_there_are_pictures_and_tables(tab: browser.Page, demo: Path) -> None:
    """As they are in the file."""
    tab.show(demo, scripts=False)
    tab.call("Emulation.setScriptExecutionDisabled", value=False)
    assert tab.run("document.querySelectorAll('#map-box svg path').length") >= 1
    assert tab.run("document.querySelectorAll('#groups tbody tr').length") == 7
    assert not tab.run("document.querySelectorAll('#filter').length")


def test_script_and_program_write_the_same_numbers(tab: browser.Page, demo: Path) -> None:
    """The table that the script makes shows what the one in the file does."""
    cells = "[...document.querySelectorAll('#groups tbody td')].map((cell) => cell.textContent).join('|')"
    tab.show(demo, scripts=False)
    tab.call("Emulation.setScriptExecutionDisabled", value=False)
    written = tab.run(cells)
    tab.show(demo)
    assert tab.run(cells) == written


def test_many_groups(tab: browser.Page, axe: str, tmp_path: Path) -> None:
    """A page with thousands of groups works the same, on a phone too."""
    path = tmp_path / "many.html"
    text = page(gather([(many(4_000, 20), LIMIT)], (), written_at="now", version="1"))
    path.write_text(text, encoding="utf-8")
    tab.show(path, width=360)
    assert not tab.check(axe)
    assert not tab.complaints()
    assert tab.run("document.querySelectorAll('#groups tbody tr').length") == 50
