"""What the CI formats share: a finding's name, message and location."""

from __future__ import annotations

import posixpath
import re
from typing import TYPE_CHECKING, Any, cast

from xcomctl.text import visible

if TYPE_CHECKING:
    from collections.abc import Mapping

    from xcomctl.formats import Layout, Row


def name_of(row: Row) -> str:
    """Return `dag/task:key` of a finding."""
    return visible(f"{row['dag_id']}/{row['task_id']}:{row['key']}")


def title_of(layout: Layout, row: Row) -> str:
    """Return the title of a finding's rule."""
    return rules_of(layout)[str(row["rule"])]["title"]


def message_of(row: Row) -> str:
    """Return the finding's message behind its name, with the number of XComs and an example."""
    example = cast("Mapping[str, Any]", row["example"])
    times = cast("int", row["occurrences"])
    index = "" if example["map_index"] == -1 else f", map_index {example['map_index']}"
    text = f"{name_of(row)}: {row['message']}"
    if example["run_id"] is None:
        return visible(text)
    where = f"largest of {times:,}: " if times > 1 else ""
    return visible(f"{text} ({where}run {example['run_id']}{index})")


def located(row: Row) -> str:
    """Return the path that a finding is shown on: the DAG's file, relative and with `/`.

    Code hosts require a file, so one is made of the ids where the DAG's is not known. Whatever
    the ids are, the path never leads out of the repository.
    """
    file = row.get("file")
    path = (
        posixpath.normpath(str(file)) if file else f"metadata-db/{row['dag_id']}/{row['task_id']}"
    )
    text = re.sub(r"^[A-Za-z]:", "", visible(path)).replace("\\", "/")
    return "/".join(one for one in text.split("/") if one not in ("", ".", "..")) or "metadata-db"


def rules_of(layout: Layout) -> Mapping[str, Mapping[str, str]]:
    """Return title, help and severity of each rule that was applied, by rule id."""
    return cast("Mapping[str, Mapping[str, str]]", layout.context["rules"])


def summary_of(layout: Layout) -> Mapping[str, Any]:
    """Return the document's counts."""
    return cast("Mapping[str, Any]", layout.before()["summary"])
