"""`xcomctl config`: check the configuration, show it with the origin of each value, or start one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xcomctl.cli.audit import DEFAULTS
from xcomctl.cli.console import parse_outputs
from xcomctl.cli.findings import check_ignores
from xcomctl.cli.options import Connection, Manners, Output
from xcomctl.config.file import CONFIG_NAME, config_schema, load_config, prefixing
from xcomctl.errors import RefusedError, UsageError, XcomctlError
from xcomctl.formats import Column, Layout
from xcomctl.text import suggestion

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from xcomctl.cli.console import Console
    from xcomctl.config.file import Config
    from xcomctl.formats import Row

EXAMPLES = (
    ("Create xcomctl.toml in this directory", "xcomctl config init"),
    ("Check it", "xcomctl config check"),
    ("Show the settings in use, and where each comes from", "xcomctl config show"),
)
_ACTIONS = ("check", "show", "init", "schema")
_COLUMNS = (Column("key", "id"), Column("value", "id"), Column("origin", "id"))
CHOICES = {"columns": [one.name for one in _COLUMNS]}

_SAMPLE = """\
# Configuration of xcomctl. `xcomctl config check` finds mistakes in it,
# `xcomctl config show` the settings in use and their origin.

# default_profile = "prod"

# [profiles.prod]
# url_env = "PROD_AIRFLOW_URL"     # the name of a variable, not the secret
# timeout = "5m"

[audit]
# size_limit = "auto"              # or "nominal", or a size
# warn_at = "80%"
# fail_on = "error"
# baseline = "xcom-baseline.json"
# max_growth = "50%"               # both must be exceeded
# min_growth = "16 KiB"
# source_root = { "/opt/airflow/dags" = "dags" }

# [[audit.budget]]
# dag_id = "daily_etl"             # globs; also task_id and key
# max_size = "48 KiB"              # also max_total_per_run, max_total, max_count
# severity = "warning"
# message = "Write the frame to S3 and return the URI."

# [[audit.ignore]]
# rule = "xcom-over-limit"
# dag_id = "legacy_*"
# until = 2027-01-31
# reason = "OPS-42: moving to object storage"
"""


def command(
    connection: Connection,
    output: Output,
    manners: Manners,
    action: Annotated[
        str,
        typer.Argument(
            metavar="[check|show|init|schema]",
            help="Validate the file, show settings with their origin, create a file, or print its JSON Schema. [default: show]",
        ),
    ] = "show",
    of: Annotated[
        str,
        typer.Argument(
            metavar="[config|snapshot]",
            help="With schema: the file that it describes. [default: config]",
        ),
    ] = "config",
) -> None:
    """Check, show or create the configuration."""
    from xcomctl.cli import console

    manners.apply(console)
    if action == "check":
        _check(console, connection)
    elif action == "show":
        _show(console, connection, output)
    elif action == "init":
        _init(console)
    elif action == "schema":
        from xcomctl.values.strictjson import dumps

        console.text(dumps(_schema(of), indent=2) + "\n")
    else:
        from xcomctl.config import redact

        raise UsageError(
            f'unknown action "{redact.shown_name(action)}" of config',
            hint=suggestion(action, _ACTIONS),
        )


def _schema(of: str) -> dict[str, object]:
    if of == "snapshot":
        from xcomctl.sizes.snapshot_schema import snapshot_schema

        return snapshot_schema()
    if of != "config":
        raise UsageError(f'unknown schema "{of}"', hint=suggestion(of, ("config", "snapshot")))
    return config_schema()


def _check(console: Console, connection: Connection) -> None:
    config = load_config(connection.config)
    if config.path is None:
        raise UsageError(
            "found no configuration to check", hint='"xcomctl config init" creates one.'
        )
    check_ignores(config)
    for name, profile in config.profiles.items():
        with prefixing(f"{config.path} [profiles.{name}]"):
            _check_profile(profile)
    if config.audit.baseline is not None:
        from xcomctl.audit.decisions import read_baseline

        read_baseline(Path(config.audit.baseline))
    sections = {
        "profile": config.profiles,
        "budget": config.audit.budgets,
        "ignore": config.audit.ignores,
    }
    counts = (
        f"{len(ones)} {word}{'' if len(ones) == 1 else 's'}" for word, ones in sections.items()
    )
    console.paragraph(f"{config.path} is valid: {', '.join(counts)}")


def _check_profile(profile: Mapping[str, Any]) -> None:
    """Raise a UsageError for a URL or a duration that no command could use."""
    from xcomctl.config import urls
    from xcomctl.config.target import parse_duration

    if "url" in profile:
        urls.parse(str(profile["url"])).options()
    for key in ("timeout", "connect_timeout"):
        if key in profile:
            parse_duration(str(profile[key]))


def _init(console: Console) -> None:
    path = Path(CONFIG_NAME)
    if path.exists():
        raise RefusedError(
            f'could not write "{path}": the file already exists',
            hint='Run "xcomctl config check" to validate it.',
        )
    console.save(path, [_SAMPLE.encode()])
    console.paragraph(f"wrote {path}")


def _show(console: Console, connection: Connection, output: Output) -> None:
    outputs = parse_outputs(output.output)
    chosen = output.chosen(_COLUMNS)
    config = load_config(connection.config)
    check_ignores(config)
    rows = [*_target_rows(console, connection), *_profile_rows(config), *_audit_rows(config)]
    layout = Layout(
        "xcomctl.config/1",
        "settings",
        _COLUMNS,
        before=lambda: {"file": str(config.path) if config.path else None},
        chosen=chosen,
        header=not output.no_header,
        raw_cells=output.raw_cells,
    )
    console.write(layout, rows, outputs)


def _target_rows(console: Console, connection: Connection) -> Iterator[Row]:
    """Yield the database that is used, those it overrides, and how it is opened."""
    try:
        target, _ = connection.resolve(console)
    except XcomctlError as missing:
        yield _row("url", None, missing.message)
        return
    yield _row("url", target.shown, target.origin)
    for overridden in target.overridden:
        yield _row("url (overridden)", overridden.shown, overridden.origin)
    profile = f"[profiles.{target.profile}]"
    given = target.profile_settings
    for name, value, typed in (
        ("schema", target.schema, connection.schema),
        ("timeout", f"{target.timeout_s or 0:g}s", connection.timeout),
        ("connect_timeout", f"{target.connect_timeout_s:g}s", connection.connect_timeout),
        ("read_only", target.read_only, None),
    ):
        origin = "default"
        if typed is not None:
            origin = f"--{name.replace('_', '-')}"
        elif name in given:
            origin = profile
        elif name == "schema" and value is not None:
            origin = "Airflow's sql_alchemy_schema"
        yield _row(name, value, origin)


def _profile_rows(config: Config) -> Iterator[Row]:
    """Yield every value of every profile, URLs without their passwords."""
    from xcomctl.config import redact

    file = str(config.path)
    if config.default_profile is not None:
        yield _row("default_profile", config.default_profile, file)
    for name, profile in config.profiles.items():
        for key, value in profile.items():
            shown = redact.shown(str(value)) if key in ("url", "url_env", "airflow_home") else value
            yield _row(f"profiles.{name}.{key}", shown, file)


def _audit_rows(config: Config) -> Iterator[Row]:
    """Yield every value of `[audit]`, one row per budget and per ignore."""
    audit = config.audit
    file = str(config.path)
    for name, default in DEFAULTS.items():
        value = getattr(audit, name)
        yield _row(
            f"audit.{name}", default if value is None else value, file if value else "default"
        )
    for root, place in audit.source_root.items():
        yield _row(f"audit.source_root.{root}", place, file)
    for number, budget in enumerate(audit.budgets, 1):
        limits = {
            "max_size": budget.max_size,
            "max_total_per_run": budget.max_total_per_run,
            "max_total": budget.max_total,
            "max_count": budget.max_count,
        }
        parts = [f"{name} {value}" for name, value in limits.items() if value is not None]
        parts.append(f"severity {budget.severity}")
        if budget.message:
            parts.append(f'message "{budget.message}"')
        name = f"{budget.dag_id}/{budget.task_id}:{budget.key}"
        yield _row(f"audit.budget {number}", f"{name}: {', '.join(parts)}", file)
    for number, ignore in enumerate(audit.ignores, 1):
        name = f"{ignore.rule} of {ignore.dag_id}/{ignore.task_id}:{ignore.key}"
        size = "" if ignore.max_size is None else f" up to {ignore.max_size}"
        until = f" until {ignore.until}" if ignore.until else ""
        yield _row(f"audit.ignore {number}", f"{name}{size}{until}: {ignore.reason}", file)


def _row(key: str, value: object, origin: str) -> Row:
    return {"key": key, "value": value, "origin": origin}
