"""What a metadata database knows about one XCom: its DAG, run, task, task instances and rows.

`db.read.evidence` collects it, `causes` explains it. What a release of Airflow does not record is
None, and says nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from xcomctl.model import RETURN_VALUE, UNMAPPED

if TYPE_CHECKING:
    from datetime import datetime

    from xcomctl.model import Encoding, Size


@dataclass(frozen=True, slots=True)
class Question:
    """The name of the XCom that is missing, as it was asked for."""

    dag_id: str
    task_id: str
    key: str = RETURN_VALUE
    run_id: str | None = None
    """None asks for the newest run."""
    map_index: int | None = None
    """None where no index was given."""


@dataclass(frozen=True, slots=True)
class Run:
    """A row of dag_run."""

    run_id: str
    state: str | None
    logical_date: datetime | None
    started: datetime | None
    ended: datetime | None
    clears: int | None
    """How often it was cleared, from Airflow 2.8 on."""

    @property
    def is_over(self) -> bool:
        """Return whether nothing of it will run any more."""
        return self.state in ("success", "failed")


@dataclass(frozen=True, slots=True)
class Attempt:
    """An earlier try of a task instance, from Airflow 2.10 on."""

    map_index: int
    number: int
    state: str | None
    ended: datetime | None


@dataclass(frozen=True, slots=True)
class Instance:
    """A row of task_instance."""

    map_index: int
    state: str | None
    try_number: int
    started: datetime | None
    ended: datetime | None
    operator: str | None
    ran: bool
    """Whether a worker has had it: the scheduler alone leaves no host name."""
    trigger: str | None
    """The class of the trigger that it waits for, where it is deferred."""


@dataclass(frozen=True, slots=True)
class Definition:
    """A task in the serialized DAG."""

    operator: str | None
    pushes: bool
    """`do_xcom_push`"""
    multiple_outputs: bool
    mapped: bool
    of_run: bool
    """Whether it is the version of the DAG that the run used, as far as that is recorded."""


@dataclass(frozen=True, slots=True)
class Upstream:
    """A task directly upstream, in the same run."""

    task_id: str
    states: tuple[str | None, ...]
    """Of its instances; empty where the run has none."""
    followed: tuple[str, ...] | None
    """The tasks that it chose, where it is a branch."""
    lengths: tuple[int, ...]
    """The lengths of what it pushed for tasks that are mapped over it."""


Condition = Literal["readable", "null", "json-null", "undecodable", "external-missing", "unchecked"]


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the xcom table."""

    map_index: int
    size: Size | None
    encoding: Encoding
    pushed: datetime | None
    condition: Condition = "unchecked"
    problem: str = ""
    """Why it cannot be decoded."""
    orphan: Literal["", "run", "instance", "pointer"] = ""
    """What is missing that the row belongs to; `pointer` where its dag_run_id is another run's."""
    caveat: str = ""
    """Why it is not certain that Airflow can read the value."""
    reference: str | None = None
    """The URL in object storage that stands in place of the value."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything that was found out. Names are collected only as far as a suggestion needs them."""

    question: Question
    dag_is_known: bool
    has_runs: bool
    """Whether dag_run exists and may be read."""
    has_instances: bool
    """Whether task_instance exists and may be read."""
    major: int
    """1, 2 or 3: which Airflow this is."""
    keeps_history: bool
    """Whether this Airflow records the earlier tries of a task instance."""
    run: Run | None = None
    """The run that was asked for, or the newest."""
    instances: tuple[Instance, ...] = ()
    """Those of the task in the run, by map index."""
    attempts: tuple[Attempt, ...] = ()
    definition: Definition | None = None
    has_definitions: bool = False
    """Whether there is a serialized DAG, which then says which tasks exist."""
    rows: tuple[Row, ...] = ()
    """Those with the name in the run, by map index."""
    archived: tuple[tuple[str, int], ...] = ()
    """Table and map index of rows with the name in the run that were put aside."""
    keys_in_run: tuple[tuple[int, str], ...] = ()
    """Map index and key of all that the task pushed in the run."""
    keys: tuple[str, ...] = ()
    """Keys that the task pushed in any run."""
    tasks: tuple[str, ...] = ()
    """The tasks of the DAG, from its task instances, XComs and serialized form."""
    dags: tuple[str, ...] = ()
    runs: tuple[str, ...] = ()
    """The newest runs of the DAG, newest first."""
    run_of_date: str | None = None
    """The run whose logical date was given in place of its id."""
    dag_of_run: str | None = None
    """Another DAG that has a run of that id."""
    run_with_key: str | None = None
    """The newest run that has the XCom."""
    upstream: tuple[Upstream, ...] = ()
    instances_in_run: int | None = None
    """How many task instances the run has, where the task has none."""
    run_has_xcoms: bool = True
    """Whether the run has any XCom, of any task; looked up where the task succeeded."""
    has_older_xcoms: bool = True
    """Whether the DAG has any XCom of the run or an older one; looked up where a newer has this."""

    @property
    def asked(self) -> Instance | None:
        """Return the task instance that was asked for, None where there is none or several."""
        index = self.question.map_index
        if index is None:
            return self.instances[0] if len(self.instances) == 1 else None
        return next((one for one in self.instances if one.map_index == index), None)

    @property
    def is_mapped(self) -> bool:
        """Return whether the task is mapped, as far as anything tells."""
        indexes = {one.map_index for one in self.instances}
        indexes |= {one.map_index for one in self.rows}
        is_defined_so = self.definition is not None and self.definition.mapped
        return is_defined_so or any(index != UNMAPPED for index in indexes)
