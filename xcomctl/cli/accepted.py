"""The findings that a team accepts: those of its ignores and of its baseline."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from xcomctl.config.file import parse_growth
from xcomctl.model import parse_size

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from xcomctl.audit import Report
    from xcomctl.config.file import Config
    from xcomctl.model import Ignore


def accept(
    report: Report,
    config: Config,
    *,
    ignores: Sequence[Ignore],
    baseline: Path | None,
    update: bool,
    complete: bool,
) -> Report:
    """Return the report with ignores and the baseline applied.

    With `update` every finding is known. `complete` says that no filter was set.
    """
    from xcomctl.audit import decisions

    report = decisions.apply_ignores(
        report,
        ignores,
        today=datetime.now(UTC).date(),
        complete=complete,
        file=config.path.name if config.path else None,
    )
    return report if baseline is None else _with_baseline(report, baseline, config, update)


def _with_baseline(report: Report, path: Path, config: Config, update: bool) -> Report:
    """Return the report with known findings marked: with `update` all, else those of the file."""
    from xcomctl.audit import decisions
    from xcomctl.cli import console

    growth = decisions.Growth()
    if config.audit.max_growth is not None:
        growth = replace(growth, share=parse_growth(config.audit.max_growth))
    if config.audit.min_growth is not None:
        growth = replace(growth, size=parse_size(config.audit.min_growth))
    if update:
        sizes = {one.fingerprint: one.max_size for one in report.findings if one.state == "open"}
        return decisions.apply_baseline(report, decisions.Baseline(sizes), growth)
    baseline = decisions.read_baseline(path)
    gone = decisions.gone(report, baseline)
    if gone:
        console.note(
            f"{gone} of the baseline's {len(baseline.sizes)} findings "
            f"{'was' if gone == 1 else 'were'} fixed or not checked; --update-baseline removes them"
        )
    return decisions.apply_baseline(report, baseline, growth)
