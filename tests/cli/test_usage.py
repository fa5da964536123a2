"""Mistakes in what was typed: exit code 2, what is wrong, and the nearest right one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.conftest import Run

MISTAKES = {
    "lst": ('unknown command "lst"', 'Did you mean "list"?'),
    "nonsense": ('unknown command "nonsense"', '"xcomctl --help" shows the usage and examples.'),
    "list --colr x": ('unknown option "--colr"', 'Did you mean "--color"?'),
    "list -y": ('unknown option "-y"', '"xcomctl list --help" shows the usage and examples.'),
    "push d t -1": ('unknown option "-1"', "xcomctl push … -- -1"),
    "list -n x": ('--limit takes a number, not "x"', '"xcomctl list --help"'),
    "list -n -1": ("--limit must be from 0 to 2147483647, not -1", '"xcomctl list --help"'),
    "demo --days 0": ("--days must be from 1 to 366, not 0", '"xcomctl demo --help"'),
    "pull": ("missing argument DAG_ID", "Usage: xcomctl pull DAG_ID TASK_ID [KEY] [OPTIONS]"),
    "import": ("missing argument FILE", "Usage: xcomctl import FILE [OPTIONS]"),
    "list extra": ('unexpected argument "extra"', "Usage: xcomctl list [OPTIONS]"),
    "audit --fail-on": ("--fail-on needs a value", "--fail-on error|warning|note|never"),
    "audit --deep=1": ("option '--deep' does not take a value", '"xcomctl audit --help"'),
    "list postgresql://u:s3cret@h/d": ('"postgresql://u:***@h/d"', "Usage: xcomctl list"),
}


@pytest.mark.parametrize("line", MISTAKES)
def test_a_mistake_is_named_with_what_to_type_instead(run: Run, line: str) -> None:
    """One line says what is wrong, another what to try."""
    done = run(*line.split())
    error, hint = done.err.splitlines()
    wrong, instead = MISTAKES[line]
    assert done.code == 2
    assert wrong in error, error
    assert instead in hint, hint
    assert "s3cret" not in done.err
