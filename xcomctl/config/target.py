"""Which metadata DB the user means: typed, environment, configuration file, Airflow's own.

Every value keeps its origin, so that `info` can name the winner and what it beat. Nothing here
opens a database.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xcomctl.config import urls
from xcomctl.config.file import CONFIG_NAME, Config
from xcomctl.errors import DatabaseError, UsageError
from xcomctl.text import nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

DEFAULT_TIMEOUT = "60s"
DEFAULT_CONNECT_TIMEOUT = "10s"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A place that names a metadata DB."""

    origin: str
    url: str

    @property
    def shown(self) -> str:
        """Return the url without its password."""
        return urls.hide_password(self.url)


@dataclass(frozen=True, slots=True)
class Target:
    """The metadata DB to open, and how."""

    url: str
    origin: str
    overridden: tuple[Candidate, ...] = ()
    schema: str | None = None
    timeout_s: float | None = 60.0
    """Per statement; None for no bound."""
    connect_timeout_s: float = 10.0
    profile: str | None = None
    read_only: bool = False

    @property
    def shown(self) -> str:
        """Return the url without its password."""
        return urls.hide_password(self.url)


# --- values -----------------------------------------------------------------------------------

_DURATION_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def parse_duration(text: str) -> timedelta:
    """Return the time that a duration such as `90m`, `7d` or `1.5h` names.

    Raises:
        UsageError: it is none.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smhdw]?)\s*", text)
    if not match or (not match[2] and float(match[1]) != 0):
        raise UsageError(
            f'cannot read the duration "{text}"',
            hint="Give a number with s, m, h, d or w: 90m, 24h, 7d.",
        )
    try:
        return timedelta(seconds=float(match[1]) * _DURATION_UNITS[match[2] or "s"])
    except OverflowError:
        raise UsageError(f'the duration "{text}" is too long') from None


def parse_moment(text: str, now: datetime | None = None) -> datetime:
    """Return the UTC time that `7d` (ago) or an ISO 8601 time names. Naive means UTC.

    Raises:
        UsageError: it is neither.
    """
    moment = parse_iso(text)
    if moment is not None:
        return moment
    try:
        return (now or datetime.now(UTC)) - parse_duration(text)
    except (UsageError, OverflowError):
        raise UsageError(
            f'cannot read the time "{text}"',
            hint="Give a duration back from now (7d, 24h, 90m) or ISO 8601 (2026-01-31T07:00).",
        ) from None


def parse_iso(text: str) -> datetime | None:
    """Return the UTC time that an ISO 8601 text names, None where it is no such text."""
    if not re.match(r"\d{4}-?\d\d-?\d\d", text):
        return None
    try:
        moment = datetime.fromisoformat(text)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


# --- which metadata DB ------------------------------------------------------------------------


def resolve_target(
    *,
    url: str | None = None,
    profile: str | None = None,
    airflow_home: str | None = None,
    schema: str | None = None,
    timeout: str | None = None,
    connect_timeout: str | None = None,
    config: Config | None = None,
) -> Target:
    """Return the metadata DB that is meant: the first place that names one, and what it beat.

    Raises:
        UsageError: a profile that is not there, a command that failed, a secrets backend.
        DatabaseError: no place names a metadata DB.
    """
    config = config or Config()
    settings: Mapping[str, Any] = {}
    chosen_profile: str | None = None
    candidates: list[Candidate] = []

    def add_profile(name: str, origin: str) -> None:
        nonlocal settings, chosen_profile
        found = _profile(config, name, origin)
        if not candidates:
            settings, chosen_profile = found, name
        candidates.append(_profile_candidate(found, name, origin, config))

    if url is not None:
        if not url.strip():
            # An unset variable of a script; another database would be taken silently.
            raise UsageError("--url is empty", hint="Name a metadata DB, or leave --url out.")
        candidates.append(Candidate("--url", url))
    if profile:
        add_profile(profile, f"--profile {profile}")
    if env_url := os.environ.get("XCOMCTL_URL"):
        candidates.append(Candidate("XCOMCTL_URL", env_url))
    env_profile = os.environ.get("XCOMCTL_PROFILE")
    # A profile that could not win anyway must not make a command fail.
    if env_profile and (not candidates or env_profile in config.profiles):
        add_profile(env_profile, f"XCOMCTL_PROFILE={env_profile}")
    if config.default_profile:
        add_profile(config.default_profile, f'default_profile "{config.default_profile}"')
    airflow = AirflowSettings(airflow_home)
    candidates += airflow.candidates(needed=not candidates)
    if not candidates:
        raise DatabaseError(
            "could not find a metadata DB",
            detail=f"No url was given, and there is no airflow.cfg and no airflow.db in {airflow.home}.",
            hint='Give --url, set XCOMCTL_URL or AIRFLOW_HOME, or try "xcomctl demo".',
        )
    winner, *overridden = candidates
    limit_s = parse_duration(timeout or str(settings.get("timeout") or DEFAULT_TIMEOUT))
    connect = parse_duration(
        connect_timeout or str(settings.get("connect_timeout") or DEFAULT_CONNECT_TIMEOUT)
    )
    from_airflow = winner.origin.startswith(("airflow", "AIRFLOW"))
    return Target(
        url=winner.url.strip(),
        origin=winner.origin,
        overridden=tuple(overridden),
        schema=schema or settings.get("schema") or (airflow.schema() if from_airflow else None),
        timeout_s=limit_s.total_seconds() or None,
        connect_timeout_s=max(connect.total_seconds(), 1.0),
        profile=chosen_profile,
        read_only=bool(settings.get("read_only", False)),
    )


def _profile(config: Config, name: str, origin: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] | None = config.profiles.get(name)
    if found is None:
        near = nearest(name, config.profiles)
        place = config.path or f"no {CONFIG_NAME} was found"
        raise UsageError(
            f'there is no profile "{name}"',
            detail=f"{origin} names it; the configuration is {place}."
            if config.path
            else f"{origin} names it, and {place}.",
            hint=f'Did you mean "{near}"?' if near else None,
        )
    return found


def _profile_candidate(
    settings: Mapping[str, Any], name: str, origin: str, config: Config
) -> Candidate:
    if "url" in settings:
        return Candidate(origin, str(settings["url"]))
    if "url_env" in settings:
        variable = str(settings["url_env"])
        value = os.environ.get(variable)
        if not value:
            raise UsageError(
                f'profile "{name}" takes its url from the variable "{variable}", which is not set',
                detail=f"{config.path} says so.",
            )
        return Candidate(f"{origin} (variable {variable})", value)
    airflow = AirflowSettings(str(settings["airflow_home"]), environment=False)
    found = airflow.candidates(needed=True)
    if not found:
        raise DatabaseError(
            f'could not find the metadata DB of profile "{name}"',
            detail=f"There is no airflow.cfg and no airflow.db in {airflow.home}.",
        )
    return Candidate(f"{origin} ({found[0].origin})", found[0].url)


class AirflowSettings:
    """Airflow's own rules for where its metadata DB is."""

    def __init__(self, home: str | None = None, *, environment: bool = True) -> None:
        """`home` is the typed AIRFLOW_HOME; without `environment` only its files count."""
        self._environ = os.environ if environment else {}
        self.home = Path(_expand(home or os.environ.get("AIRFLOW_HOME") or "~/airflow"))
        named = None if home else os.environ.get("AIRFLOW_CONFIG")
        self.file = Path(_expand(named)) if named else self.home / "airflow.cfg"
        self._options = self._read()

    def _read(self) -> dict[tuple[str, str], str]:
        if not _exists(self.file):
            return {}
        import configparser

        parser = configparser.RawConfigParser(strict=False)
        try:
            parser.read_string(self.file.read_text(encoding="utf-8"))
        except OSError as error:
            raise UsageError(f'could not read "{self.file}"', detail=error.strerror) from None
        except (configparser.Error, UnicodeDecodeError) as error:
            # The parser's own message quotes the line, which may hold a password.
            line = getattr(error, "lineno", None)
            where = f" at line {line}" if line else ""
            raise UsageError(
                f'could not read "{self.file}"', detail=f"It is no configuration file{where}."
            ) from None
        return {
            (section, name): value.replace("%%", "%")
            for section in ("database", "core")
            if parser.has_section(section)
            for name, value in parser.items(section)
        }

    def candidates(self, *, needed: bool) -> list[Candidate]:
        """Return the places that name the metadata DB, the one that Airflow takes first.

        A command is run, and a secrets backend refused, only where `needed` and nothing in
        front of it names the database.
        """
        found: list[Candidate] = []

        def add(origin: str, read: Callable[[], str]) -> None:
            if needed and not found:
                found.append(Candidate(origin, read()))

        for section in ("DATABASE", "CORE"):
            name = f"AIRFLOW__{section}__SQL_ALCHEMY_CONN"
            if name in self._environ:
                found.append(Candidate(name, _expand(self._environ[name])))
            if command := self._environ.get(f"{name}_CMD"):
                add(f"{name}_CMD", lambda command=command: _run(command))  # type: ignore[misc]
            if f"{name}_SECRET" in self._environ:
                add(f"{name}_SECRET", lambda name=name: _refuse_secret(f"{name}_SECRET"))  # type: ignore[misc]
        for suffix in ("", "_cmd", "_secret"):
            for section in ("database", "core"):
                value = self._options.get((section, f"sql_alchemy_conn{suffix}"))
                if not value:
                    continue
                origin = f"airflow.cfg [{section}] sql_alchemy_conn{suffix} ({self.file})"
                if not suffix:
                    found.append(Candidate(origin, _expand(value)))
                elif suffix == "_cmd":
                    add(origin, lambda value=value: _run(_expand(value)))  # type: ignore[misc]
                else:
                    add(origin, lambda origin=origin: _refuse_secret(origin))  # type: ignore[misc]
        database = self.home / "airflow.db"
        if self._options or _exists(database):
            found.append(Candidate(f"airflow's default ({database})", f"sqlite:///{database}"))
        return found

    def schema(self) -> str | None:
        """Return Airflow's `sql_alchemy_schema`."""
        for section in ("DATABASE", "CORE"):
            if value := self._environ.get(f"AIRFLOW__{section}__SQL_ALCHEMY_SCHEMA"):
                return value
        for section in ("database", "core"):
            if value := self._options.get((section, "sql_alchemy_schema")):
                return value
        return None


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except PermissionError:
        return False


def _expand(text: str) -> str:
    """Return the text with variables and `~` expanded until nothing changes, as Airflow does."""
    for _ in range(10):
        expanded = os.path.expanduser(os.path.expandvars(text))  # noqa: PTH111 - a url, too
        if expanded == text:
            break
        text = expanded
    return text


def _run(command: str) -> str:
    """Return what a command prints: Airflow's `_cmd` options. No shell is involved."""
    import shlex
    import subprocess

    try:
        words = shlex.split(command)
        done = subprocess.run(words, capture_output=True, check=False, stdin=subprocess.DEVNULL)
        problem = f"It ended with exit code {done.returncode}." if done.returncode else None
        text = done.stdout.decode("utf-8", "replace").rstrip("\r\n")
    except (OSError, IndexError, ValueError) as error:
        problem, text = f"It could not be started: {type(error).__name__}.", ""
    if problem or not text:
        # What it printed may hold the password, so none of it is repeated.
        raise UsageError(
            "could not get the metadata DB's url from Airflow's command",
            detail=problem or "It printed nothing.",
            hint="--url or XCOMCTL_URL name the database directly.",
        )
    return text


def _refuse_secret(origin: str) -> str:
    raise UsageError(
        f"cannot ask a secrets backend for the url: {origin}",
        detail="Airflow's secrets backends need Airflow itself.",
        hint="Give the url with --url, XCOMCTL_URL or a profile's url_env.",
    )
