"""Find, read and check the configuration file (`xcomctl.toml` or `pyproject.toml`).

Every key and value is checked; errors name the file, the key and the nearest valid key.
`config.target` decides which database the configuration selects.
"""

from __future__ import annotations

import contextlib
import os
import re
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xcomctl.config.settings_file import read_text
from xcomctl.errors import UsageError
from xcomctl.model import Budget, Ignore, parse_size
from xcomctl.text import nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    Table = Mapping[str, Any]

CONFIG_NAME = "xcomctl.toml"

_PROFILE_KEYS = (
    "url",
    "url_env",
    "airflow_home",
    "schema",
    "read_only",
    "timeout",
    "connect_timeout",
)
_LOCATION_KEYS = ("url", "url_env", "airflow_home")
"""The keys of a profile that say where its database is: exactly one of them is required."""
_AUDIT_KEYS = (
    "size_limit",
    "warn_at",
    "fail_on",
    "baseline",
    "max_growth",
    "min_growth",
    "source_root",
    "budget",
    "ignore",
)
_SEVERITIES = ("note", "warning", "error")
_BUDGET_SIZES = ("max_size", "max_total_per_run", "max_total")
_BUDGET_KEYS = ("dag_id", "task_id", "key", *_BUDGET_SIZES, "max_count", "severity", "message")
_IGNORE_KEYS = ("rule", "dag_id", "task_id", "key", "max_size", "until", "reason")
_TOP_KEYS = ("default_profile", "profiles", "audit")


@dataclass(frozen=True, slots=True)
class AuditConfig:
    """The `[audit]` table of the configuration; None where a key is not set."""

    size_limit: str | None = None
    warn_at: str | None = None
    fail_on: str | None = None
    baseline: str | None = None
    """Path of the baseline file, resolved against the configuration's directory."""
    max_growth: str | None = None
    min_growth: str | None = None
    budgets: tuple[Budget, ...] = ()
    ignores: tuple[Ignore, ...] = ()
    source_root: Mapping[str, str] = field(default_factory=dict)
    """DAG folder as recorded in the database → the same folder in the repository."""


@dataclass(frozen=True, slots=True)
class Config:
    """A checked configuration file."""

    path: Path | None = None
    """None if no file was found."""
    default_profile: str | None = None
    profiles: Mapping[str, Table] = field(default_factory=dict)
    """Profile name → its keys, as written in the file."""
    audit: AuditConfig = field(default_factory=AuditConfig)


# --- finding and reading the file -------------------------------------------------------------


def load_config(typed: str | None = None, *, start: Path | None = None) -> Config:
    """Return the configuration in force, an empty one if there is no file.

    `typed` is the value of `--config`; without it and without XCOMCTL_CONFIG the file is
    searched upward from `start` (the working directory), then in the user's config directory.

    Raises:
        UsageError: a named file is missing, or a file cannot be read, is not valid TOML or
            has an invalid key or value.
    """
    named = typed or os.environ.get("XCOMCTL_CONFIG")
    if named:
        path = Path(os.path.expanduser(named))  # noqa: PTH111 - it leaves an unknown ~user
        if not path.is_file():
            from xcomctl.config import redact

            origin = "--config" if typed else "XCOMCTL_CONFIG"
            raise UsageError(
                f'could not read the configuration "{redact.shown(named)}"',
                detail="The file does not exist.",
                hint=f"The path comes from {origin}.",
            )
        return _read_config(path)
    for path in _candidate_paths(start or _working_directory()):
        try:
            config = _read_config(path) if path.is_file() else None
        except OSError:
            # Under sudo the home directory may be another user's, and private.
            continue
        if config is not None and config.path is not None:
            return config
    return Config()


def _working_directory() -> Path | None:
    try:
        return Path.cwd()
    except OSError:
        # It was removed.
        return None


def _candidate_paths(start: Path | None) -> Iterable[Path]:
    """Yield the paths to try, nearest first; the search stops at a repository root or home."""
    # In a container an unknown user may have no home.
    home = os.path.expanduser("~")  # noqa: PTH111 - Path.home() raises there
    for folder in (start, *start.parents) if start else ():
        yield folder / CONFIG_NAME
        yield folder / "pyproject.toml"
        if _is_there(folder / ".git") or str(folder) == home:
            break
    base = os.environ.get("XDG_CONFIG_HOME") or os.environ.get("APPDATA") or f"{home}/.config"
    yield Path(base) / "xcomctl" / CONFIG_NAME


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:
        return False


def _read_config(path: Path) -> Config:
    """Return the checked file; `Config()` for a pyproject.toml without `[tool.xcomctl]`."""
    import tomllib

    try:
        # -sig: editors on Windows put a byte order mark in front.
        document: Any = tomllib.loads(read_text(path))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        # A TOML error names line and column and never quotes the line, which may hold a password.
        detail = error.strerror if isinstance(error, OSError) else str(error)
        raise UsageError(f'could not read the configuration "{path}"', detail=detail) from None
    if path.name == "pyproject.toml":
        tool = document.get("tool")
        document = tool.get("xcomctl") if isinstance(tool, dict) else None
        if document is None:
            return Config()
    return _check_config(path, document)


# --- checking its content ---------------------------------------------------------------------


def _check_config(path: Path, document: Any) -> Config:
    top = _table(document, f"{path} [top level]", _TOP_KEYS)
    profiles = _table(top.get("profiles", {}), f"{path} [profiles]", None)
    for name, profile in profiles.items():
        _check_profile(profile, f"{path} [profiles.{name}]")
    default = _text(top, "default_profile", f"{path} [top level]")
    if default is not None and default not in profiles:
        from xcomctl.config import redact

        raise UsageError(f'unknown default_profile "{redact.shown_name(default)}" in {path}')
    audit = _check_audit(top.get("audit", {}), path)
    return Config(path=path, default_profile=default, profiles=profiles, audit=audit)


def _check_profile(profile: Any, where: str) -> None:
    for key in _table(profile, where, _PROFILE_KEYS):
        if key != "read_only":
            _text(profile, key, where)
        elif not isinstance(profile[key], bool):
            raise UsageError(f'"{key}" in {where} must be true or false')
    locations = [key for key in _LOCATION_KEYS if key in profile]
    if len(locations) != 1:
        raise UsageError(
            f"{where} must have exactly one of {', '.join(_LOCATION_KEYS)}",
            detail=f"It has {' and '.join(locations) or 'none of them'}.",
        )


def _check_audit(given: Any, path: Path) -> AuditConfig:
    where = f"{path} [audit]"
    audit = _table(given, where, _AUDIT_KEYS)
    texts = {key: _text(audit, key, where) for key in ("baseline", *_AUDIT_CHECKS)}
    for key, parse in _AUDIT_CHECKS.items():
        if (value := texts[key]) is not None:
            with prefixing(f'"{key}" in {where}'):
                parse(value)
    baseline = texts["baseline"]
    roots_at = f"{path} [audit.source_root]"
    roots = _table(audit.get("source_root", {}), roots_at, None)
    return AuditConfig(
        size_limit=texts["size_limit"],
        warn_at=texts["warn_at"],
        fail_on=texts["fail_on"],
        baseline=None if baseline is None else str(path.parent / baseline),
        max_growth=texts["max_growth"],
        min_growth=texts["min_growth"],
        budgets=tuple(
            _budget(one, f"{path} [[audit.budget]]")
            for one in _tables(audit, "budget", path, _BUDGET_KEYS)
        ),
        ignores=tuple(
            _ignore(one, f"{path} [[audit.ignore]]")
            for one in _tables(audit, "ignore", path, _IGNORE_KEYS)
        ),
        source_root={root: str(_text(roots, root, roots_at)) for root in roots},
    )


def _table(value: Any, where: str, known: tuple[str, ...] | None) -> Table:
    """Return the value as a table whose keys are all `known` (None: any key is allowed)."""
    if not isinstance(value, dict):
        raise UsageError(f"{where} must be a table")
    for key in value:
        if known is not None and key not in known:
            near = nearest(key, known)
            raise UsageError(
                f'unknown key "{key}" in {where}',
                hint=f'Did you mean "{near}"?' if near else f"Valid keys: {', '.join(known)}.",
            )
    return value


def _tables(audit: Table, key: str, path: Path, known: tuple[str, ...]) -> list[Table]:
    where = f"{path} [[audit.{key}]]"
    given = audit.get(key, [])
    if not isinstance(given, list):
        raise UsageError(f"{where} needs two brackets on each side")
    return [_table(one, where, known) for one in given]


def _text(table: Table, key: str, where: str) -> str | None:
    """Return a string (or an integer as one), None if the key is not set."""
    value = table.get(key)
    if value is not None and (isinstance(value, bool) or not isinstance(value, str | int)):
        raise UsageError(f'"{key}" in {where} must be a string')
    return None if value is None else str(value)


@contextlib.contextmanager
def prefixing(place: str) -> Iterator[None]:
    """Put file and key in front of the message of a UsageError raised inside."""
    try:
        yield
    except UsageError as error:
        error.message = f"{place}: {error.message}"
        raise


def _budget(table: Table, where: str) -> Budget:
    given = dict(table)
    for key in _BUDGET_SIZES:
        if key in given:
            with prefixing(f'"{key}" in {where}'):
                given[key] = parse_size(str(given[key]))
    count = given.get("max_count")
    if count is not None and (isinstance(count, bool) or not isinstance(count, int) or count < 0):
        raise UsageError(f'"max_count" in {where} must be a whole number')
    if given.get("severity", "error") not in _SEVERITIES:
        raise UsageError(
            f'unknown severity "{given["severity"]}" in {where}',
            hint=f"Valid values: {', '.join(_SEVERITIES)}.",
        )
    for key in ("max_total_per_run", "max_total"):
        if given.get("max_size", 0) > given.get(key, given.get("max_size", 0)):
            raise UsageError(
                f'"max_size" in {where} is above "{key}"',
                detail="A single value of that size would already exceed the total.",
            )
    if not any(key in given for key in (*_BUDGET_SIZES, "max_count")):
        raise UsageError(
            f"a budget in {where} sets no limit",
            hint=f"Add one of {', '.join(_BUDGET_SIZES)} or max_count.",
        )
    _check_globs(given, where)
    return Budget(**given)


def _ignore(table: Table, where: str) -> Ignore:
    given = dict(table)
    for key, hint in (
        ("rule", "Name the rule whose findings are ignored."),
        ("reason", "Add a reason, for whoever reads it next year."),
    ):
        if not isinstance(given.get(key), str) or not given[key].strip():
            raise UsageError(f'an ignore in {where} has no "{key}"', hint=hint)
    if "max_size" in given:
        with prefixing(f'"max_size" in {where}'):
            given["max_size"] = parse_size(str(given["max_size"]))
    until = given.get("until")
    if isinstance(until, str):
        with contextlib.suppress(ValueError):
            given["until"] = until = date.fromisoformat(until)
    if isinstance(until, datetime):
        given["until"] = until = until.date()
    if until is not None and not isinstance(until, date):
        raise UsageError(f'"until" in {where} must be a date such as 2027-01-31')
    _check_globs(given, where)
    return Ignore(**given)


def _check_globs(given: Table, where: str) -> None:
    for key in ("dag_id", "task_id", "key", "message"):
        if key in given and not isinstance(given[key], str):
            raise UsageError(f'"{key}" in {where} must be a string')
        if key != "message" and "[" in re.sub(r"\[!?\]?[^]]*\]", "", given.get(key, "")):
            raise UsageError(
                f'invalid glob "{given[key]}" for "{key}" in {where}',
                detail='It has a "[" without a "]".',
                hint='Write "[[]" for the character itself.',
            )
        if key in given and given[key] == "":
            raise UsageError(
                f'"{key}" in {where} is empty and matches nothing',
                hint="Leave it out to match everything.",
            )


# --- the schema for editors -------------------------------------------------------------------


def config_schema() -> dict[str, object]:
    """Return the JSON Schema of the configuration file, for editors.

    https://json-schema.org/draft/2020-12/schema
    """
    text: dict[str, object] = {"type": "string"}
    size: dict[str, object] = {
        "type": ["string", "integer"],
        "description": 'Bytes, or a size such as "48 KiB" or "1 MB".',
    }
    special: dict[str, dict[str, object]] = {
        "read_only": {"type": "boolean"},
        "max_count": {"type": "integer", "minimum": 0},
        "severity": {"enum": [*_SEVERITIES]},
        "fail_on": {"enum": [*_SEVERITIES, "never"]},
        "until": {"type": "string", "format": "date"},
        "size_limit": size,
        "min_growth": size,
        "warn_at": size,
        **dict.fromkeys(_BUDGET_SIZES, size),
    }

    def table(keys: Iterable[str], **more: object) -> dict[str, object]:
        properties = {key: special.get(key, text) for key in keys}
        return {"type": "object", "additionalProperties": False, "properties": properties, **more}

    profile = table(_PROFILE_KEYS)
    profile["oneOf"] = [{"required": [key]} for key in _LOCATION_KEYS]
    special["source_root"] = {"type": "object", "additionalProperties": text}
    special["budget"] = {"type": "array", "items": table(_BUDGET_KEYS)}
    special["ignore"] = {
        "type": "array",
        "items": table(_IGNORE_KEYS, required=["rule", "reason"]),
    }
    special["profiles"] = {"type": "object", "additionalProperties": profile}
    special["audit"] = table(_AUDIT_KEYS)
    return table(
        _TOP_KEYS, **{"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "xcomctl"}
    )


# --- the audit's thresholds -------------------------------------------------------------------


def parse_share(text: str) -> float | int:
    """Return `80%` as the float 0.8, and a size as its bytes (int).

    Raises:
        UsageError: neither a size nor a percentage above 0 and up to 100 %.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*%\s*", text)
    if not match:
        return int(parse_size(text))
    share = float(match[1]) / 100
    if not 0 < share <= 1:
        raise UsageError(f'a share must be above 0 % and at most 100 %, not "{text}"')
    return share


def parse_growth(text: str) -> float:
    """Return `50%` as 0.5; growth may exceed 100 %.

    Raises:
        UsageError: not a percentage.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*%\s*", text)
    if not match:
        raise UsageError(f'max_growth must be a percentage such as 50%, not "{text}"')
    return float(match[1]) / 100


def _check_fail_on(text: str) -> None:
    if text not in (*_SEVERITIES, "never"):
        valid = ", ".join((*_SEVERITIES, "never"))
        raise UsageError(f'unknown severity "{text}"', hint=f"Valid values: {valid}.")


def _check_size_limit(text: str) -> None:
    if text not in ("auto", "nominal"):
        parse_size(text)


_AUDIT_CHECKS: dict[str, Callable[[str], object]] = {
    "size_limit": _check_size_limit,
    "fail_on": _check_fail_on,
    "warn_at": parse_share,
    "max_growth": parse_growth,
    "min_growth": parse_size,
}
"""Key of `[audit]` → the function that raises UsageError for an invalid value."""
