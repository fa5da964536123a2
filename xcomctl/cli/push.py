"""`xcomctl push`: write one value exactly as the Airflow that owns the database does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from xcomctl.cli.attempts import RegionOption, parse_region
from xcomctl.cli.given_text import given_text
from xcomctl.cli.next_command import undo_note
from xcomctl.cli.options import Connection, Manners, Writing
from xcomctl.cli.partial_file import place_of
from xcomctl.cli.undo_file import undo_file
from xcomctl.errors import RefusedError, UsageError
from xcomctl.model import (
    MAX_INTEGER,
    MIN_INTEGER,
    RETURN_VALUE,
    UNMAPPED,
    Size,
    format_percent,
    format_time,
)
from xcomctl.sizes.notation import size_and_limit
from xcomctl.text import suggestion, visible

if TYPE_CHECKING:
    from xcomctl.cli.console import Console
    from xcomctl.config.file import Config
    from xcomctl.config.target import Target
    from xcomctl.db.read.store import Store
    from xcomctl.db.write.push import Push
    from xcomctl.db.write.statements import Current, Place
    from xcomctl.model import Budget, Limit, XComEntry
    from xcomctl.values.encode import Encoded, Traits
    from xcomctl.values.typed import Type

EXAMPLES = (
    (
        "Show what would be written, and how it differs",
        "xcomctl push xcom_dag task_4 '\"training_model_a\"' --replace --dry-run",
    ),
    (
        "Replace the value of the newest run, and save the old one",
        "xcomctl push xcom_dag task_4 '\"training_model_a\"' --replace --yes --undo-file undo.jsonl",
    ),
    (
        "Write a text under another key",
        "xcomctl push xcom_dag task_4 comment 'checked by hand' --string",
    ),
)
_SHOWN = 200_000
"""Length in characters up to which a plan shows a value and compares it line by line."""


@dataclass(frozen=True, slots=True)
class Options:
    """The arguments and options of `push` alone."""

    dag_id: Annotated[str, typer.Argument(metavar="DAG_ID", help="DAG id.")]
    task_id: Annotated[
        str, typer.Argument(metavar="TASK_ID", help="Task id, with the prefix of its task group.")
    ]
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="[KEY] VALUE",
            help="Key (default: return_value) and value: JSON, - for stdin, or @FILE. A negative number needs -- before the arguments.",
        ),
    ]
    string: Annotated[bool, typer.Option("--string", help="The value is text, not JSON.")] = False
    type_: Annotated[
        str | None,
        typer.Option(
            "--type",
            metavar="TYPE",
            help="Python type to store: datetime, date, timedelta, decimal, tuple, set, frozenset or uuid. [default: json]",
        ),
    ] = None
    run_id: Annotated[
        str | None,
        typer.Option(
            "--run-id",
            "-r",
            metavar="RUN",
            help="Run id; latest is the newest run, latest~1 the one before it. [default: the newest run that has the task instance]",
        ),
    ] = None
    map_index: Annotated[
        int,
        typer.Option(
            "--map-index",
            "-m",
            min=MIN_INTEGER,
            max=MAX_INTEGER,
            metavar="N",
            help="Index of a mapped task. [default: -1, not mapped]",
        ),
    ] = UNMAPPED
    region: RegionOption = None
    replace: Annotated[bool, typer.Option("--replace", help="Replace an existing value.")] = False
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be written, without writing it.")
    ] = False
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Do not ask before replacing a value.")
    ] = False
    allow_over_limit: Annotated[
        bool,
        typer.Option(
            "--allow-over-limit",
            help="Write a value over a budget or the configured limit (never over the limit of the database).",
        ),
    ] = False
    allow_reserved_keys: Annotated[
        bool,
        typer.Option(
            "--allow-reserved-keys",
            help="Write objects with keys that Airflow's serialization uses, such as __classname__.",
        ),
    ] = False


def command(connection: Connection, writing: Writing, manners: Manners, options: Options) -> None:
    """Write an XCom as Airflow would."""
    from xcomctl.cli import console

    manners.apply(console)
    request = _read_options(writing, options)
    target, config = connection.resolve(console)
    if not options.dry_run:
        writing.refuse_read_only(target)
    value = _read_value(request)

    from xcomctl.db import open_for_writing

    wait_s = None if options.dry_run else request.wait_s
    with open_for_writing(target, lock_timeout_s=wait_s) as store:
        plan = _plan(console, config, store, request, value)
        if options.dry_run:
            _show_plan(console, store, plan)
            plan.check.warn(Size(len(plan.encoded.data)))
        else:
            _carry_out(console, target, plan, request)
    if request.undo_file and not options.dry_run:
        console.note(undo_note(connection, request.undo_file, replace=True))


# --- options ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Request:
    """What to write, and how."""

    options: Options
    key: str
    given: str
    """The value as given: JSON or text, `-` or `@FILE`."""
    type: Type
    wait_s: float
    undo_file: str | None
    region: tuple[str, int] | None = None


def _read_options(writing: Writing, options: Options) -> _Request:
    """Return the request that the options describe.

    Raises:
        UsageError: an option is invalid, or contradicts another.
    """
    key, given = _words(options.words)
    return _Request(
        options,
        key,
        given,
        _type(options.type_, options.string),
        writing.wait_s(),
        writing.undo_file,
        None if options.region is None else parse_region(options.region),
    )


def _words(words: list[str]) -> tuple[str, str]:
    if len(words) > 2:
        raise UsageError(
            f"push takes a key and a value, not {len(words)} words",
            hint="Quote the value: '{\"a\": 1}'.",
        )
    return (words[0], words[1]) if len(words) == 2 else (RETURN_VALUE, words[0])


def _type(text: str | None, string: bool) -> Type:
    from xcomctl.values.typed import TYPES

    if text is None:
        return "json"
    if string:
        raise UsageError(
            "--string and --type cannot be combined", hint="--string already sets the type."
        )
    name = text.lower()
    for known in TYPES:
        if name == known:
            kind: Type = known  # type: ignore[assignment]
            return kind
    raise UsageError(f'unknown --type "{text}"', hint=suggestion(name, TYPES))


def _read_value(request: _Request) -> object:
    """Return the value, from the argument, stdin or a file.

    Raises:
        UsageError: it cannot be read, or is not JSON.
    """
    from xcomctl.values import encode

    text = given_text(request.given)
    return text if request.options.string else encode.parse(text)


# --- checks -----------------------------------------------------------------------------------


def describe(store: Store) -> Traits:
    """Return what the encoding of values depends on in this database."""
    from xcomctl.values.encode import Traits

    return Traits(
        context=store.context,
        backend=store.facts().backend,
    )


def refuse_pickling(store: Store, push: Push) -> None:
    """Raise RefusedError for an Airflow 1.10 that stores pickles, or may do so."""
    if store.schema.major > 1:
        return
    pickled = push.pickles()
    if pickled is False:
        return
    raise RefusedError(
        "cannot push to an Airflow 1.10 that pickles its XComs",
        detail="Most of its newest XComs are pickles, and with enable_xcom_pickling it reads nothing else."
        if pickled
        else "It has no XComs that show whether it does, and by default it does.",
        hint="xcomctl never writes a pickle: loading one runs code. Set enable_xcom_pickling to "
        "False and let a task push first.",
    )


def _check_key(store: Store, key: str) -> None:
    from xcomctl.db.write.statements import KEY_LENGTH
    from xcomctl.values.key_route import key_problem

    reason = None
    if not key:
        reason = "Airflow treats an empty key as None, and would return another."
    elif len(key) > KEY_LENGTH:
        reason = f"It has {len(key)} characters, and the column holds {KEY_LENGTH}."
    elif problem := key_problem(key, store.schema.release):
        reason = f"In this Airflow {problem}."
    if reason:
        raise RefusedError(f'cannot push the key "{key[:80]}"', detail=reason)


class _SizeCheck:
    """Compares sizes with the database's limit, the configured one and the budget."""

    def __init__(
        self, console: Console, config: Config, store: Store, place: Place, allow: bool
    ) -> None:
        from xcomctl.cli.findings import limits_to_apply
        from xcomctl.config.file import parse_share

        self._console = console
        self._allow = allow
        self._place = place
        self._product = store.facts().product
        self._hard: Limit = store.limits()[0]
        self._soft: Limit = limits_to_apply(store, config.audit.size_limit or "auto", None)[0]
        self._warn_at = parse_share(config.audit.warn_at or "80%")
        self._json = store.schema.storage == "json"
        self._budget = self._budget_of(config)

    def _budget_of(self, config: Config) -> Budget | None:
        ref = self._place.ref
        matching = [
            one
            for one in config.audit.budgets
            if one.matches(ref.dag_id, ref.task_id, ref.key) and one.max_size is not None
        ]
        return max(matching, key=lambda one: one.specificity, default=None)

    def before(self, encoded: Encoded) -> None:
        """Raise RefusedError if the value is certain to be too large, before it is sent."""
        from xcomctl.values.encode import least_size

        if len(encoded.data) > self._hard.size or not self._json:
            size = least_size(encoded.value) if self._json else len(encoded.data)
            self.after(Size(size))

    def after(self, size: Size) -> None:
        """Raise RefusedError if a value of this size is too large."""
        if size > self._hard.size:
            raise self._too_large(size, self._hard.size, self._hard.source, None)
        if self._allow:
            return
        hint = "Use --allow-over-limit to write it anyway."
        if size > self._soft.size:
            raise self._too_large(size, self._soft.size, self._soft.source, hint)
        budget = self._budget
        if budget is not None and budget.max_size is not None and size > budget.max_size:
            said = f"a budget of the configuration{f': {budget.message}' if budget.message else ''}"
            raise self._too_large(size, budget.max_size, said, hint)

    def _too_large(self, size: Size, most: Size, source: str, hint: str | None) -> RefusedError:
        own, limit = size_and_limit(size, most)
        return RefusedError(
            f'could not write "{self._place.ref}": {own} exceeds the limit of {limit}',
            detail=f"The limit: {source} ({self._product}).",
            hint=hint or 'Store the data elsewhere and push its path, or see "xcomctl limits".',
        )

    def warn(self, size: Size) -> None:
        """Print a warning if the value is close to the limit."""
        most = self._soft.size
        at = most * self._warn_at if isinstance(self._warn_at, float) else self._warn_at
        if size >= at:
            own, limit = size_and_limit(size, most)
            self._console.warn(
                f"{own} is {format_percent(100 * size / most)} of the limit of {limit}: {self._soft.source}"
            )


def _stale(push: Push, place: Place, key: str, encoded: Encoded) -> list[str]:
    """Return a warning if a task is mapped over this value and was expanded by another length."""
    if key != RETURN_VALUE or not isinstance(encoded.value, list | dict):
        return []
    length = push.expected_length(place)
    if length is None or length == len(encoded.value):
        return []
    return [
        f"a task downstream is mapped over this value and expects {length} elements; "
        f"this value has {len(encoded.value)}"
    ]


def _confirm(console: Console, there: Current, replace: bool, yes: bool, stdin: bool) -> None:
    """Raise RefusedError unless the existing value may be replaced."""
    entry = there.entry
    size = entry.size or Size(0)
    if not replace:
        raise RefusedError(
            f'"{entry.ref}" exists, with {size} pushed {format_time(entry.timestamp)}',
            hint="--replace replaces it; --dry-run shows what would change.",
        )
    if yes or (not stdin and console.confirmed(f'Replace "{entry.ref}" ({size})?')):
        return
    raise RefusedError(
        f'did not replace "{entry.ref}": not confirmed',
        hint="Use --yes to confirm without a prompt.",
    )


# --- the plan ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is to be written, where, and over what."""

    push: Push
    place: Place
    encoded: Encoded
    existing: Current | None
    check: _SizeCheck


def _plan(
    console: Console, config: Config, store: Store, request: _Request, value: object
) -> _Plan:
    """Return what is to be written, and print what the user should know about it.

    Raises:
        RefusedError: the value cannot be written, or should not.
        NotFoundError: the run or the task instance does not exist.
    """
    from xcomctl.db.write.push import Push
    from xcomctl.db.write.split_push import SplitPush
    from xcomctl.values import encode

    options = request.options
    encoded = encode.encode(
        value,
        request.type,
        describe(store),
        allow_reserved_keys=options.allow_reserved_keys,
    )
    push = SplitPush(store, request.region) if store.schema.split else Push(store)
    _check_key(store, request.key)
    refuse_pickling(store, push)
    run_id = options.run_id
    if run_id is not None:
        run_id = store.suggest.run_id(options.dag_id, run_id)
    place = push.place(options.dag_id, options.task_id, request.key, run_id, options.map_index)
    if place.ref.run != options.run_id:
        console.note(f'into the run "{place.ref.run}"')
    existing = push.current(place)
    check = _SizeCheck(console, config, store, place, options.allow_over_limit)
    check.before(encoded)
    for note in (*encoded.notes, *_stale(push, place, request.key, encoded)):
        console.warn(note)
    return _Plan(push, place, encoded, existing[0] if existing else None, check)


def _carry_out(console: Console, target: Target, plan: _Plan, request: _Request) -> None:
    """Write the value, and say so once it is committed."""
    options = request.options
    if plan.existing:
        _confirm(console, plan.existing, options.replace, options.yes, request.given == "-")
    done = "replaced" if plan.existing else "pushed"

    def pushed(entry: XComEntry) -> None:
        size = entry.size or Size(0)
        console.note(f'{done} "{plan.place.ref}", {size}')
        plan.check.warn(size)
        if undo is not None:
            undo.finish()

    asked = {"command": "push", **place_of(target), "xcom": str(plan.place.ref)}
    with undo_file(request.undo_file, asked) as undo:
        plan.push.write(
            plan.place,
            plan.encoded,
            plan.existing,
            accept=plan.check.after,
            undo=undo,
            pushed=pushed,
        )


def _show_plan(console: Console, store: Store, plan: _Plan) -> None:
    encoded, existing = plan.encoded, plan.existing
    verb = "replace" if existing else "add"
    console.paragraph(f'would {verb} "{plan.place.ref}" in {store.facts().product}')
    size = Size(len(encoded.data))
    stored = encoded.text if size <= _SHOWN else f"{encoded.text[:_SHOWN]}..."
    kind = "as bytes" if store.schema.storage == "bytes" else f"as {store.schema.value_type}"
    lines = [f"stored {kind}, {size.exactly()} of JSON text:", stored]
    if existing:
        lines += _difference(store, existing, encoded)
    console.text("".join(f"{visible(line)}\n" for line in lines))


def _difference(store: Store, there: Current, encoded: Encoded) -> list[str]:
    """Return a unified diff of the existing value and the new one."""
    import difflib

    from xcomctl.values import decode, render, strictjson

    if (there.entry.size or 0) > _SHOWN or len(encoded.text) > _SHOWN:
        return [f"replaces {there.entry.size}, which is too large to compare here"]

    def lines_of(raw: bytes | str | int | float | None) -> list[str]:
        value, _ = render.to_json(decode.decode(raw, store.context).value)
        return strictjson.dumps(value, indent=2).splitlines()

    new = encoded.data if store.schema.storage == "bytes" else encoded.text
    lines = difflib.unified_diff(
        lines_of(there.raw),
        lines_of(new),
        f"current, pushed {format_time(there.entry.timestamp)}",
        "new",
        lineterm="",
    )
    return [*lines] or ["the value is the same"]
