"""Decide which metadata database to use: option, environment, profile, or Airflow's own settings.

Each candidate keeps its origin, so that `info` can show the one in use and those it overrides.
Nothing here opens a database. Durations and times are parsed here, too.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xcomctl.config.file import CONFIG_NAME, Config
from xcomctl.config.settings_file import read_text
from xcomctl.errors import DatabaseError, UsageError, XcomctlError
from xcomctl.text import nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

DEFAULT_TIMEOUT = "60s"
DEFAULT_CONNECT_TIMEOUT = "10s"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A place that names a metadata database, and the URL found there."""

    origin: str
    url: str = field(repr=False)

    @property
    def shown(self) -> str:
        """Return the URL without its password."""
        return _shown(self.url)


@dataclass(frozen=True, slots=True)
class Target:
    """The metadata database to open, and how."""

    url: str = field(repr=False)
    origin: str
    overridden: tuple[Candidate, ...] = ()
    schema: str | None = None
    timeout_s: float | None = 60.0
    """Per statement; None = no limit."""
    connect_timeout_s: float = 10.0
    profile: str | None = None
    profile_settings: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """The keys of the profile, as written in the configuration; it may hold a password."""
    read_only: bool = False

    @property
    def shown(self) -> str:
        """Return the URL without its password."""
        return _shown(self.url)

    def hide_secrets(self, message: str) -> str:
        """Return a driver's or a server's message without the password."""
        from xcomctl.config import redact

        secrets = {*redact.secrets_of(self.url), os.environ.get("PGPASSWORD", "")}
        return redact.hide(message, secrets)


def _shown(text: str) -> str:
    # Its patterns take longer to compile than all else here, and --help needs none of them.
    from xcomctl.config import redact

    return redact.shown(text)


def _shown_name(text: str) -> str:
    from xcomctl.config import redact

    return redact.shown_name(text)


# --- values -----------------------------------------------------------------------------------

_DURATION_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def parse_duration(text: str) -> timedelta:
    """Parse a duration such as `90m`, `7d` or `1.5h`; `0` needs no unit.

    Raises:
        UsageError: not a duration, or longer than a timedelta can hold.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smhdw]?)\s*", text)
    if not match or (not match[2] and float(match[1]) != 0):
        raise UsageError(
            f'cannot read the duration "{text}"',
            hint="Use a number and a unit (s, m, h, d or w): 90m, 24h, 7d.",
        )
    try:
        return timedelta(seconds=float(match[1]) * _DURATION_UNITS[match[2] or "s"])
    except OverflowError:
        raise UsageError(f'the duration "{text}" is too long') from None


def parse_moment(text: str, now: datetime | None = None) -> datetime:
    """Parse a duration back from now (`7d`) or an ISO 8601 time (naive = UTC) to a UTC time.

    Raises:
        UsageError: neither of them.
    """
    moment = parse_iso(text)
    if moment is not None:
        return moment
    try:
        return (now or datetime.now(UTC)) - parse_duration(text)
    except (UsageError, OverflowError):
        raise UsageError(
            f'cannot read the time "{text}"',
            hint="Use a duration back from now (7d, 24h, 90m) or ISO 8601 (2026-01-31T07:00).",
        ) from None


def parse_iso(text: str) -> datetime | None:
    """Parse an ISO 8601 date or time (naive = UTC) to a UTC time; None if it is not one."""
    if not re.match(r"\d{4}-?\d\d-?\d\d", text):
        return None
    try:
        moment = datetime.fromisoformat(text)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


# --- choosing the database --------------------------------------------------------------------


def resolve_target(
    *,
    url: str | None = None,
    profile: str | None = None,
    airflow_home: str | None = None,
    schema: str | None = None,
    timeout: str | None = None,
    connect_timeout: str | None = None,
    config: Config | None = None,
    run_commands: bool = True,
) -> Target:
    """Return the metadata database to use, with the lower-priority ones it overrides.

    The parameters are what was typed on the command line. Nothing is opened. Without
    `run_commands` a database that only a command of Airflow's names is not found.

    Raises:
        UsageError: an unknown profile, a command that failed, or a secrets backend.
        DatabaseError: nothing names a metadata database.
    """
    config = config or Config()
    airflow = AirflowSettings(airflow_home, run_commands=run_commands)
    chain = _Chain(config, run_commands=run_commands)
    chain.add_all(url, profile, airflow)
    if not chain.candidates:
        raise DatabaseError(
            "could not find a metadata database",
            detail=f'No URL was given, and there is no airflow.cfg and no airflow.db in "{airflow.shown_home}".',
            hint='Give --url, set XCOMCTL_URL or AIRFLOW_HOME, or try "xcomctl demo".',
        )
    winner, *overridden = chain.candidates
    if not winner.url.strip():
        raise UsageError(
            f"the database URL from {winner.origin} is empty",
            hint="Set it, unset it, or give --url.",
        )
    settings = chain.settings
    limit = parse_duration(timeout or str(settings.get("timeout") or DEFAULT_TIMEOUT))
    connect = parse_duration(
        connect_timeout or str(settings.get("connect_timeout") or DEFAULT_CONNECT_TIMEOUT)
    )
    from_airflow = winner.origin.startswith(("airflow", "AIRFLOW"))
    return Target(
        url=winner.url.strip(),
        origin=winner.origin,
        overridden=tuple(overridden),
        schema=schema or settings.get("schema") or (airflow.schema() if from_airflow else None),
        timeout_s=limit.total_seconds() or None,
        connect_timeout_s=max(connect.total_seconds(), 1.0),
        profile=chain.profile,
        profile_settings=settings,
        read_only=bool(settings.get("read_only", False)),
    )


class _Chain:
    """Collects the places that name a metadata database, highest priority first."""

    def __init__(self, config: Config, *, run_commands: bool) -> None:
        self._run_commands = run_commands
        self.candidates: list[Candidate] = []
        self.profile: str | None = None
        """The profile whose database is used, if any."""
        self.settings: Mapping[str, Any] = {}
        """The keys of that profile."""
        self._config = config

    def add_all(self, url: str | None, profile: str | None, airflow: AirflowSettings) -> None:
        """Add every place, in order of priority."""
        config = self._config
        if url is not None:
            if not url.strip():
                # An unset variable in a script must not select another database silently.
                raise UsageError("--url is empty", hint="Name a database, or leave --url out.")
            self.candidates.append(Candidate("--url", url))
        if profile:
            self._add_profile(profile, f"--profile {_shown_name(profile)}")
        if env_url := os.environ.get("XCOMCTL_URL"):
            self.candidates.append(Candidate("XCOMCTL_URL", env_url))
        env_profile = os.environ.get("XCOMCTL_PROFILE")
        # An unknown profile is an error only where it would be used.
        if env_profile and (not self.candidates or env_profile in config.profiles):
            origin = f"XCOMCTL_PROFILE={_shown_name(env_profile)}"
            self._add_profile(env_profile, origin)
        if config.default_profile:
            origin = f'default_profile "{config.default_profile}"'
            self._add_profile(config.default_profile, origin)
        self.candidates += airflow.candidates(needed=not self.candidates)

    def _add_profile(self, name: str, origin: str) -> None:
        settings = _profile(self._config, name, origin)
        used = not self.candidates
        if used:
            self.settings, self.profile = settings, name
        elif name == self.profile:
            # A profile does not override itself.
            return
        try:
            candidate = _profile_candidate(
                settings,
                name,
                origin,
                self._config,
                used=used,
                run_commands=used and self._run_commands,
            )
        except XcomctlError:
            if used:
                raise
            return
        if candidate is not None:
            self.candidates.append(candidate)


def _profile(config: Config, name: str, origin: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] | None = config.profiles.get(name)
    if found is None:
        near = nearest(name, config.profiles)
        place = f'the configuration is "{config.path}"'
        raise UsageError(
            f'unknown profile "{_shown_name(name)}"',
            detail=f"It comes from {origin}; {place if config.path else f'no {CONFIG_NAME} was found'}.",
            hint=f'Did you mean "{near}"?' if near else None,
        )
    return found


def _profile_candidate(
    settings: Mapping[str, Any],
    name: str,
    origin: str,
    config: Config,
    *,
    used: bool,
    run_commands: bool,
) -> Candidate | None:
    """Return what a profile's url, url_env or airflow_home names.

    If it is not `used`, no command is run, and None means that only a command would tell.

    Raises:
        UsageError: the variable is not set.
        DatabaseError: the directory holds neither airflow.cfg nor airflow.db.
    """
    if "url" in settings:
        return Candidate(origin, str(settings["url"]))
    if "url_env" in settings:
        variable = str(settings["url_env"])
        value = os.environ.get(variable)
        if not value:
            shown = _shown_name(variable)
            raise UsageError(
                f'profile "{name}" needs the environment variable "{shown}", which is not set',
                detail=f'It is the url_env of the profile in "{config.path}".',
                hint="Set url_env to the name of a variable, or url to the URL itself."
                if shown != variable
                else None,
            )
        return Candidate(f"{origin} (variable {variable})", value)
    home = str(settings["airflow_home"])
    airflow = AirflowSettings(home, environment=False, run_commands=run_commands)
    found = airflow.candidates(needed=used)
    if not found and not used:
        return None
    if not found:
        raise DatabaseError(
            f'could not find the metadata database of profile "{name}"',
            detail=f'There is no airflow.cfg and no airflow.db in "{airflow.shown_home}".',
        )
    return Candidate(f"{origin} ({found[0].origin})", found[0].url)


class AirflowSettings:
    """Finds the metadata database as Airflow does: environment variables, then airflow.cfg.

    https://airflow.apache.org/docs/apache-airflow/stable/howto/set-config.html
    """

    def __init__(
        self, home: str | None = None, *, environment: bool = True, run_commands: bool = True
    ) -> None:
        """Read airflow.cfg. `home` replaces AIRFLOW_HOME.

        Without `environment` Airflow's variables are ignored.

        Raises:
            UsageError: airflow.cfg cannot be read.
        """
        self._run_commands = run_commands
        self._environ = os.environ if environment else {}
        typed = home or os.environ.get("AIRFLOW_HOME") or "~/airflow"
        self.home = Path(_expand(typed))
        self._typed_home = typed
        named = None if home else os.environ.get("AIRFLOW_CONFIG")
        self.file = Path(_expand(named)) if named else self.home / "airflow.cfg"
        self._options = self._read()

    @property
    def shown_home(self) -> str:
        """Return the directory, which may be a database URL by mistake, without a password."""
        from xcomctl.config import redact

        return str(self.home) if redact.is_path(self._typed_home) else _shown(self._typed_home)

    def _read(self) -> dict[tuple[str, str], str]:
        if not _exists(self.file):
            return {}
        import configparser

        parser = configparser.RawConfigParser(strict=False)
        try:
            parser.read_string(read_text(self.file))
        except OSError as error:
            raise UsageError(f'could not read "{self.file}"', detail=error.strerror) from None
        except (configparser.Error, UnicodeDecodeError) as error:
            # The parser's own message quotes the line, which may contain a password.
            line = getattr(error, "lineno", None)
            where = f" at line {line}" if line else ""
            raise UsageError(
                f'could not read "{self.file}"',
                detail=f"It is not a valid configuration file{where}.",
            ) from None
        return {
            (section, name): value.replace("%%", "%")
            for section in ("database", "core")
            if parser.has_section(section)
            for name, value in parser.items(section)
        }

    def candidates(self, *, needed: bool) -> list[Candidate]:
        """Return the places that name the metadata database, in Airflow's order of priority.

        A `_CMD` is run, and a secrets backend refused, only if `needed` and nothing of higher
        priority names the database.

        Raises:
            UsageError: the command failed, or only a secrets backend names the database.
        """
        found: list[Candidate] = []
        unread = False

        def add(origin: str, read: Callable[[], str]) -> None:
            nonlocal unread
            if needed and not found:
                found.append(Candidate(origin, read()))
            unread = unread or not found

        for section in ("DATABASE", "CORE"):
            name = f"AIRFLOW__{section}__SQL_ALCHEMY_CONN"
            if name in self._environ:
                found.append(Candidate(name, _expand(self._environ[name])))
            if command := self._environ.get(f"{name}_CMD"):
                add(f"{name}_CMD", lambda command=command: self._run(command))  # type: ignore[misc]
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
                    add(origin, lambda value=value: self._run(_expand(value)))  # type: ignore[misc]
                else:
                    add(origin, lambda origin=origin: _refuse_secret(origin))  # type: ignore[misc]
        database = self.home / "airflow.db"
        if not unread and (self._options or _exists(database)):
            found.append(Candidate(f"airflow's default ({database})", f"sqlite:///{database}"))
        return found

    def _run(self, command: str) -> str:
        if not self._run_commands:
            raise UsageError("the command that names the database is not run now")
        return _run(command)

    def schema(self) -> str | None:
        """Return Airflow's `sql_alchemy_schema`, None if it is not set."""
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
    """Expand variables and `~` until nothing changes, as Airflow does."""
    for _ in range(10):
        expanded = os.path.expanduser(os.path.expandvars(text))  # noqa: PTH111 - also URLs
        if expanded == text:
            break
        text = expanded
    return text


def _run(command: str) -> str:
    """Run a command of Airflow's `_cmd` options, without a shell, and return what it prints.

    Raises:
        UsageError: it cannot be started, fails, or prints nothing.
    """
    import shlex
    import subprocess

    try:
        words = shlex.split(command)
        done = subprocess.run(words, capture_output=True, check=False, stdin=subprocess.DEVNULL)
        problem = f"The command exited with code {done.returncode}." if done.returncode else None
        text = done.stdout.decode("utf-8", "replace").rstrip("\r\n")
    except (OSError, IndexError, ValueError) as error:
        problem, text = f"The command could not be started: {type(error).__name__}.", ""
    if problem or not text:
        # Nothing the command printed is shown: it may contain the password.
        raise UsageError(
            "could not get the database URL from Airflow's command",
            detail=problem or "The command printed nothing.",
            hint="Give the URL with --url or XCOMCTL_URL instead.",
        )
    return text


def _refuse_secret(origin: str) -> str:
    raise UsageError(
        f"cannot read the database URL from a secrets backend: {origin}",
        detail="Airflow's secrets backends need Airflow itself.",
        hint="Give the URL with --url, XCOMCTL_URL or a profile's url_env.",
    )
