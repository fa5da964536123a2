"""What an open metadata database answers, for readers and for stand-ins in tests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol

from xcomctl.model import UNMAPPED

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from xcomctl.model import Raw, RowSink, Selection, SortKey, XComEntry


class EntrySource(Protocol):
    """What lists and reads XComs: `db.read.entries.Entries`, or a stand-in in a test.

    Every method raises DatabaseError where the database cannot be read.
    """

    def scan(
        self,
        selection: Selection,
        *,
        sort: SortKey | None = None,
        descending: bool = False,
        limit: int | None = None,
        text: bool = False,
        stored: bool = False,
        heads: int | None = None,
        after: Sequence[object] | None = None,
    ) -> Iterator[XComEntry]:
        """Yield the selected XComs without their values, lazily; unsorted by default."""

    def count(self, selection: Selection) -> int:
        """Return how many XComs are selected."""

    def find(
        self,
        dag_id: str,
        task_id: str,
        key: str,
        *,
        run_id: str | None = None,
        map_index: int | None = UNMAPPED,
    ) -> list[XComEntry]:
        """Return the entries of one name in its newest run that has it, or in `run_id`."""

    def values(
        self, selection: Selection, *, text: bool = False
    ) -> Iterator[tuple[XComEntry, Raw]]:
        """Yield the selected XComs with their whole values, unsorted, one by one."""

    def read(self, entry: XComEntry) -> Raw:
        """Return the whole value of an entry as it is stored."""

    def read_pieces(self, entry: XComEntry) -> Iterator[bytes]:
        """Yield the whole value of an entry, text as UTF-8, in pieces of some MB."""

    def stream_into(
        self,
        selection: Selection,
        sink: RowSink,
        *,
        ordered: bool = False,
        after: tuple[int, str, int, str] | None = None,
    ) -> None:
        """Write the selected rows with their values into a sink; `ordered` by primary key."""


class NameSource(Protocol):
    """What knows which names and runs exist: `db.read.suggest.Suggest`, or a stand-in in a test.

    Every method raises DatabaseError where the database cannot be read.
    """

    def dag_ids(self) -> list[str]:
        """Return the dag_ids that have an XCom."""

    def names(
        self,
        column: Literal["task_id", "key", "run_id", "map_index"],
        dag_id: str,
        task_id: str | None = None,
        key: str | None = None,
        run_id: str | None = None,
        most: int = 1000,
    ) -> list[str]:
        """Return up to `most` names under which XComs exist, sorted; map indexes as text."""

    def has_run(self, dag_id: str, run_id: str) -> bool:
        """Return whether dag_run has the run."""

    def newer_run(self, entry: XComEntry) -> str | None:
        """Return the newest run of the DAG where it is newer than the entry's, else None."""

    def has_its_run(self, entry: XComEntry) -> bool:
        """Return whether the run that the row points to is the run that it names."""
