"""The configuration file: found, read, and every key and value of it checked.

Errors name the file, the key and the nearest right one. `settings` decides what a profile means.
"""

from __future__ import annotations

import contextlib
import os
import re
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xcomctl.errors import UsageError
from xcomctl.model import Budget, Ignore, parse_size
from xcomctl.text import nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

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
    """What `[audit]` of the configuration says; None is not given."""

    size_limit: str | None = None
    warn_at: str | None = None
    fail_on: str | None = None
    baseline: str | None = None
    """The file of known findings; relative to the configuration."""
    max_growth: str | None = None
    min_growth: str | None = None
    budgets: tuple[Budget, ...] = ()
    ignores: tuple[Ignore, ...] = ()
    source_root: Mapping[str, str] = field(default_factory=dict)
    """Where the database's paths of DAG files lie in the repository: the root there → here."""


@dataclass(frozen=True, slots=True)
class Config:
    """A configuration file, checked."""

    path: Path | None = None
    default_profile: str | None = None
    profiles: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    audit: AuditConfig = field(default_factory=AuditConfig)


def load_config(typed: str | None = None, *, start: Path | None = None) -> Config:
    """Return the configuration in force; an empty one where there is none.

    Raises:
        UsageError: a named file is missing, is not TOML, or holds an unknown key.
    """
    named = typed or os.environ.get("XCOMCTL_CONFIG")
    if named:
        path = Path(named).expanduser()
        if not path.is_file():
            origin = "--config" if typed else "XCOMCTL_CONFIG"
            raise UsageError(
                f'could not read the configuration "{path}"',
                detail="There is no such file.",
                hint=f"{origin} names it.",
            )
        return _read_config(path)
    for path in _config_places(start or Path.cwd()):
        try:
            config = _read_config(path) if path.is_file() else None
        except PermissionError:
            # Somebody else's home, under sudo: it is not ours to read, so it says nothing.
            continue
        if config is not None and config.path is not None:
            return config
    return Config()


def _config_places(start: Path) -> Iterable[Path]:
    home = Path.home()
    for folder in (start, *start.parents):
        yield folder / CONFIG_NAME
        yield folder / "pyproject.toml"
        if (folder / ".git").exists() or folder == home:
            break
    base = os.environ.get("XDG_CONFIG_HOME") or os.environ.get("APPDATA") or str(home / ".config")
    yield Path(base) / "xcomctl" / CONFIG_NAME


def _read_config(path: Path) -> Config:
    import tomllib

    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        # The text of a TOML error names line and column, never the line itself.
        detail = error.strerror if isinstance(error, OSError) else str(error)
        raise UsageError(f'could not read the configuration "{path}"', detail=detail) from None
    if path.name == "pyproject.toml":
        document = document.get("tool", {}).get("xcomctl")
        if document is None:
            return Config()
    return _check_config(path, document)


def _check_config(path: Path, document: Any) -> Config:
    def table(value: Any, where: str, known: tuple[str, ...] | None) -> Mapping[str, Any]:
        if not isinstance(value, dict):
            raise UsageError(f"{where} in {path} must be a table")
        for key in value:
            if known is not None and key not in known:
                near = nearest(key, known)
                raise UsageError(
                    f'unknown key "{key}" in {path} {where}',
                    hint=f'Did you mean "{near}"?' if near else f"It may hold {', '.join(known)}.",
                )
        return value

    def text(table_: Mapping[str, Any], key: str, where: str) -> str | None:
        value = table_.get(key)
        if value is not None and (isinstance(value, bool) or not isinstance(value, str | int)):
            raise UsageError(f'"{key}" in {path} {where} must be a text')
        return None if value is None else str(value)

    top = table(document, "[top level]", _TOP_KEYS)
    profiles = table(top.get("profiles", {}), "[profiles]", None)
    for name, profile in profiles.items():
        where = f"[profiles.{name}]"
        for key in table(profile, where, _PROFILE_KEYS):
            if key == "read_only":
                if not isinstance(profile[key], bool):
                    raise UsageError(f'"{key}" in {path} {where} must be true or false')
            else:
                text(profile, key, where)
        places = [key for key in ("url", "url_env", "airflow_home") if key in profile]
        if len(places) != 1:
            raise UsageError(
                f"{path} {where} must say where the metadata DB is, once",
                detail=f"It has {' and '.join(places) or 'none'} of url, url_env and airflow_home.",
            )
    audit = table(top.get("audit", {}), "[audit]", _AUDIT_KEYS)
    roots = table(audit.get("source_root", {}), "[audit.source_root]", None)

    def tables(key: str, known: tuple[str, ...]) -> list[Mapping[str, Any]]:
        where = f"[[audit.{key}]]"
        if not isinstance(audit.get(key, []), list):
            raise UsageError(f"{where} in {path} needs two brackets on each side")
        return [table(one, where, known) for one in audit.get(key, [])]

    for key, parse in _AUDIT_CHECKS.items():
        if (value := text(audit, key, "[audit]")) is not None:
            with _naming(f'"{key}" in {path} [audit]'):
                parse(value)
    baseline = text(audit, "baseline", "[audit]")
    default = text(top, "default_profile", "[top level]")
    if default is not None and default not in profiles:
        raise UsageError(f'default_profile in {path} names no profile: "{default}"')
    return Config(
        path=path,
        default_profile=default,
        profiles=profiles,
        audit=AuditConfig(
            size_limit=text(audit, "size_limit", "[audit]"),
            warn_at=text(audit, "warn_at", "[audit]"),
            fail_on=text(audit, "fail_on", "[audit]"),
            baseline=None if baseline is None else str(path.parent / baseline),
            max_growth=text(audit, "max_growth", "[audit]"),
            min_growth=text(audit, "min_growth", "[audit]"),
            budgets=tuple(_budget(one, path) for one in tables("budget", _BUDGET_KEYS)),
            ignores=tuple(_ignore(one, path) for one in tables("ignore", _IGNORE_KEYS)),
            source_root={root: str(text(roots, root, "[audit.source_root]")) for root in roots},
        ),
    )


@contextlib.contextmanager
def _naming(place: str) -> Iterator[None]:
    """Put the file and the key in front of what is wrong with a value."""
    try:
        yield
    except UsageError as error:
        error.message = f"{place}: {error.message}"
        raise


def _budget(table: Mapping[str, Any], path: Path) -> Budget:
    where = f"{path} [[audit.budget]]"
    given = dict(table)
    for key in _BUDGET_SIZES:
        if key in given:
            with _naming(f'"{key}" in {where}'):
                given[key] = parse_size(str(given[key]))
    count = given.get("max_count")
    if count is not None and (isinstance(count, bool) or not isinstance(count, int) or count < 0):
        raise UsageError(f'"max_count" in {where} must be a whole number')
    if given.get("severity", "error") not in _SEVERITIES:
        raise UsageError(
            f'unknown severity "{given["severity"]}" in {where}', hint=f"{', '.join(_SEVERITIES)}."
        )
    for key in ("max_total_per_run", "max_total"):
        if given.get("max_size", 0) > given.get(key, given.get("max_size", 0)):
            raise UsageError(
                f'"max_size" in {where} is above "{key}"',
                detail="One value alone would be over the total, so its own bound bounds nothing.",
            )
    if not any(key in given for key in (*_BUDGET_SIZES, "max_count")):
        raise UsageError(
            f"a budget in {where} bounds nothing",
            hint=f"It needs one of {', '.join(_BUDGET_SIZES)} or max_count.",
        )
    return Budget(**_globs(given, where))


def _ignore(table: Mapping[str, Any], path: Path) -> Ignore:
    where = f"{path} [[audit.ignore]]"
    given = dict(table)
    for key in ("rule", "reason"):
        if not isinstance(given.get(key), str) or not given[key].strip():
            raise UsageError(
                f'an ignore in {where} has no "{key}"',
                hint="Say why, for whoever reads it next year."
                if key == "reason"
                else "Name the rule whose findings are ignored.",
            )
    if "max_size" in given:
        with _naming(f'"max_size" in {where}'):
            given["max_size"] = parse_size(str(given["max_size"]))
    until = given.get("until")
    if isinstance(until, str):
        with contextlib.suppress(ValueError):
            given["until"] = until = date.fromisoformat(until)
    if isinstance(until, datetime):
        given["until"] = until = until.date()
    if until is not None and not isinstance(until, date):
        raise UsageError(f'"until" in {where} must be a date: 2027-01-31')
    return Ignore(**_globs(given, where))


def _globs(given: dict[str, Any], where: str) -> dict[str, Any]:
    for key in ("dag_id", "task_id", "key", "message"):
        if key in given and not isinstance(given[key], str):
            raise UsageError(f'"{key}" in {where} must be a text')
        if key != "message" and "[" in re.sub(r"\[!?\]?[^]]*\]", "", given.get(key, "")):
            raise UsageError(
                f'cannot read the glob "{given[key]}" of "{key}" in {where}',
                detail="Its [ has no ].",
                hint="Write [[] for the character itself.",
            )
        if key in given and given[key] == "":
            raise UsageError(
                f'"{key}" in {where} is empty and matches nothing', hint="Leave it out for all."
            )
    return given


def config_schema() -> dict[str, object]:
    """Return the JSON Schema of a configuration file, for editors.

    https://json-schema.org/draft/2020-12/schema
    """
    text: dict[str, object] = {"type": "string"}
    size: dict[str, object] = {
        "type": ["string", "integer"],
        "description": 'Bytes, or a text such as "48 KiB" or "1 MB".',
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
    profile["oneOf"] = [{"required": [key]} for key in ("url", "url_env", "airflow_home")]
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
    """Return `80%` as 0.8, and a size as its bytes.

    Raises:
        UsageError: it is neither, or a share outside 0 to 100 %.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*%\s*", text)
    if not match:
        return int(parse_size(text))
    share = float(match[1]) / 100
    if not 0 < share <= 1:
        raise UsageError(f'a share must be above 0 % and at most 100 %, not "{text}"')
    return share


def parse_growth(text: str) -> float:
    """Return `50%` as 0.5; growth may be more than 100 %.

    Raises:
        UsageError: it is no percentage.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*%\s*", text)
    if not match:
        raise UsageError(f'max_growth must be a percentage such as 50%, not "{text}"')
    return float(match[1]) / 100


def _check_fail_on(text: str) -> None:
    if text not in (*_SEVERITIES, "never"):
        raise UsageError(f'unknown severity "{text}"', hint=f"{', '.join(_SEVERITIES)} or never.")


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
