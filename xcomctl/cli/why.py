"""`xcomctl why`: why a pull returns nothing, from what the metadata database knows."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from xcomctl.cli.console import parse_outputs
from xcomctl.cli.names import read_name, resolve
from xcomctl.cli.next_command import connection_words
from xcomctl.cli.options import Connection, Manners, Output
from xcomctl.errors import NotFoundError
from xcomctl.formats import Column, Layout
from xcomctl.model import MAX_INTEGER, MIN_INTEGER

if TYPE_CHECKING:
    from collections.abc import Sequence

    from xcomctl.audit.causes import Explanation
    from xcomctl.audit.evidence import Evidence
    from xcomctl.audit.next_commands import Command
    from xcomctl.formats import Part, Row

EXAMPLES = (
    ("Why the newest run has no return value of a task", "xcomctl why xcom_dag task_4"),
    (
        "Why a key is missing in the run before the newest",
        "xcomctl why xcom_dag training_model_a model_accuracy -r latest~1",
    ),
    ("Only the cause, for a script", "xcomctl why xcom_dag task_4 -o csv --columns cause"),
)
_COLUMNS = (
    Column("verdict"),
    Column("cause"),
    Column("evidence"),
    Column("commands"),
    Column("dag_id"),
    Column("task_id"),
    Column("key"),
    Column("run_id"),
    Column("map_index"),
)


@dataclass(frozen=True, slots=True)
class Options:
    """The arguments and options of `why` alone."""

    dag_id: Annotated[
        str,
        typer.Argument(
            metavar="DAG_ID",
            help="DAG id; or DAG/RUN/TASK[INDEX]:KEY alone, as notes and findings print it.",
        ),
    ]
    task_id: Annotated[
        str | None,
        typer.Argument(metavar="TASK_ID", help="Task id, with the prefix of its task group."),
    ] = None
    key: Annotated[
        str | None, typer.Argument(metavar="[KEY]", help="Key. [default: return_value]")
    ] = None
    run_id: Annotated[
        str | None,
        typer.Option(
            "--run-id",
            "-r",
            metavar="RUN",
            help="Run id; latest is the newest run, latest~1 the one before it. [default: latest]",
        ),
    ] = None
    map_index: Annotated[
        int | None,
        typer.Option(
            "--map-index",
            "-m",
            min=MIN_INTEGER,
            max=MAX_INTEGER,
            metavar="N",
            help="Index of a mapped task.",
        ),
    ] = None
    external: Annotated[
        bool,
        typer.Option(
            "--external/--no-external",
            help="Check whether a file that the value refers to exists. [default: on]",
        ),
    ] = True


def command(connection: Connection, output: Output, manners: Manners, options: Options) -> None:
    """Explain why pulling an XCom returns nothing."""
    from xcomctl.cli import console

    manners.apply(console)
    outputs = parse_outputs(output.output)
    chosen = output.chosen(_COLUMNS)
    name = read_name(
        "why",
        options.dag_id,
        options.task_id,
        options.key,
        run_id=options.run_id,
        map_index=options.map_index,
    )
    target, _ = connection.resolve(console)

    from xcomctl.audit.causes import explain
    from xcomctl.audit.evidence import Question
    from xcomctl.db import open_store
    from xcomctl.db.read.evidence import collect

    with open_store(target) as store:
        if isinstance(name, str):
            name = resolve(store, name)
        question = Question(name.dag_id, name.task_id, name.key, name.run_id, name.map_index)
        evidence = collect(store, question, external=options.external)
    explanation = explain(evidence)
    if explanation is None:
        raise _nothing_known(evidence)
    layout = Layout(
        "xcomctl.why/1",
        "",
        _COLUMNS,
        chosen=chosen,
        prose=_paragraphs,
        header=not output.no_header,
        raw_cells=output.raw_cells,
    )
    row = _row(evidence, explanation, connection_words(connection))
    console.write(layout, [row], outputs)


def _row(evidence: Evidence, explanation: Explanation, words: Sequence[str]) -> Row:
    question, run = evidence.question, evidence.run
    return {
        "verdict": explanation.verdict,
        "cause": explanation.cause,
        "evidence": list(explanation.evidence),
        "commands": [_command_line(one, words) for one in explanation.commands],
        "dag_id": question.dag_id,
        "task_id": question.task_id,
        "key": question.key,
        "run_id": question.run_id if run is None else run.run_id,
        "map_index": question.map_index,
    }


def _paragraphs(row: Row) -> Sequence[tuple[Part, str]]:
    """Return the answer as people read it."""
    evidence, commands = row["evidence"], row["commands"]
    assert isinstance(evidence, list)
    assert isinstance(commands, list)
    title = str(row["verdict"])
    return [
        ("title", title[:1].upper() + title[1:]),
        *(("item", str(one)) for one in evidence),
        *(("command", str(one)) for one in commands),
    ]


def _command_line(command: Command, words: Sequence[str]) -> str:
    """Return a command as it is typed, with the options that name the database."""
    return shlex.join([*command, *(words if command[0] == "xcomctl" else ())])


def _nothing_known(evidence: Evidence) -> NotFoundError:
    question = evidence.question
    missing = [
        name
        for name, there in (
            ("dag_run", evidence.has_runs),
            ("task_instance", evidence.has_instances),
        )
        if not there
    ]
    reason = f"{' and '.join(missing)} cannot be read." if missing else None
    return NotFoundError(
        f'nothing is known about "{question.dag_id}/{question.task_id}:{question.key}"',
        detail=reason,
        hint='"xcomctl info" shows which tables exist and may be read.' if missing else None,
    )
