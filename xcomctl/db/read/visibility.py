"""What a listing does not show: rows that the database hides, and filters that match nothing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import sqlalchemy as sa

from xcomctl.model import Selection, is_glob, runs_back
from xcomctl.text import nearest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from xcomctl.db.backends.base import Element
    from xcomctl.db.read.rows import Rows
    from xcomctl.db.read.suggest import Suggest

Kind = Literal["dag_id", "run_id", "task_id", "key"]

_NOUNS: dict[Kind, str] = {"dag_id": "DAG", "run_id": "run", "task_id": "task", "key": "key"}


@dataclass(frozen=True, slots=True)
class Unmatched:
    """A filter that no XCom matches."""

    kind: Kind
    text: str
    nearest: str | None
    """The nearest name that exists, if one is near."""

    def __str__(self) -> str:
        """Return it as a warning."""
        verb = "matching" if is_glob(self.text) else "found for"
        text = f'no XComs {verb} {_NOUNS[self.kind]} "{self.text}"'
        return f'{text}; did you mean "{self.nearest}"?' if self.nearest else text


class Visibility:
    """Whether what a reader sees is all there is. Raises DatabaseError as every reader does."""

    def __init__(self, rows: Rows, suggest: Suggest) -> None:
        self._rows = rows
        self._suggest = suggest
        self._table = rows.table

    def hidden(self) -> list[str]:
        """Return why rows of xcom, or of the runs that name them, may be hidden from this role."""
        tables = [*self._table.sources, *(["dag_run"] if self._table.joined else [])]
        tables += ["task_instance"] if self._table.schema.split else []
        with self._table.explained():
            reasons = (self._table.backend.hidden_rows(name) for name in tables)
            return [reason for reason in reasons if reason is not None]

    def unmatched(self, selection: Selection, matched: int) -> Iterator[Unmatched]:
        """Yield the filters that match no XCom on their own. The whole selection matched `matched`.

        Tasks, keys and runs are looked for in the selected DAGs. A single filter of its kind has
        matched if anything has, and costs nothing.
        """
        filters: dict[Kind, tuple[str, ...]] = {
            "dag_id": selection.dag_ids,
            "run_id": selection.run_ids,
            "task_id": selection.task_ids,
            "key": selection.keys,
        }
        dags: list[str] = []
        for kind, texts in filters.items():
            if matched and len(texts) < 2:
                continue
            within = Selection() if kind == "dag_id" else Selection(dag_ids=selection.dag_ids)
            if kind != "dag_id" and dags and len(dags) == len(selection.dag_ids):
                # They have no tasks, keys or runs either.
                return
            for text in texts:
                if kind == "run_id" and runs_back(text) is not None:
                    continue
                if not self._exists(_with(within, kind, text)):
                    if kind == "dag_id":
                        dags.append(text)
                    yield Unmatched(kind, text, self._nearest(kind, text, within))

    def _exists(self, selection: Selection) -> bool:
        one: Element = sa.literal(1)
        statement = self._rows.over(selection, one).limit(1)
        with self._table.explained():
            return self._table.connection.execute(statement).first() is not None

    def _nearest(self, kind: Kind, text: str, within: Selection) -> str | None:
        if is_glob(text):
            return None
        return nearest(text, self._suggest.ids(kind, "", within))


def _with(selection: Selection, kind: Kind, text: str) -> Selection:
    if kind == "dag_id":
        return replace(selection, dag_ids=(text,))
    if kind == "run_id":
        return replace(selection, run_ids=(text,))
    if kind == "task_id":
        return replace(selection, task_ids=(text,))
    return replace(selection, keys=(text,))
