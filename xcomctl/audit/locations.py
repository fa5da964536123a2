"""The source file of each finding's DAG, as a path in the team's repository."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from xcomctl.audit.report import Report


def with_files(
    report: Report,
    file_by_dag: Mapping[str, tuple[str | None, str | None]],
    source_root: Mapping[str, str],
) -> Report:
    """Return the report with the DAG's source file on each finding that has none.

    `file_by_dag` has what Airflow stores for each DAG: the absolute path, and the path relative
    to its bundle. `source_root` maps directories of the deployment to directories of the
    repository.
    """
    found = [
        one
        if one.file is not None
        else replace(one, file=source_path(*file_by_dag.get(one.dag_id, (None, None)), source_root))
        for one in report.findings
    ]
    return replace(report, findings=found)


def source_path(
    path: str | None, relative: str | None, source_root: Mapping[str, str]
) -> str | None:
    """Return the path of a DAG file in the repository.

    The longest matching root of `source_root` wins. If none matches: the path relative to the
    DAG bundle, which Airflow 3 stores, or else the absolute path.
    """
    if path is None:
        return relative
    roots = [root for root in source_root if _inside(path, root)]
    if not roots:
        return relative or path
    root = max(roots, key=len)
    rest = path[len(root.rstrip("/")) :].lstrip("/")
    return "/".join(part for part in (source_root[root].strip("/"), rest) if part not in ("", "."))


def _inside(path: str, root: str) -> bool:
    return path == root or path.startswith(root.rstrip("/") + "/")
