"""Read MySQL's option files (`my.cnf`), as its own clients do.

https://dev.mysql.com/doc/refman/8.4/en/option-files.html
"""

from __future__ import annotations

import re
from pathlib import Path

from xcomctl.config.settings_file import read_text
from xcomctl.errors import UsageError

_ESCAPES = {"b": "\b", "t": "\t", "n": "\n", "r": "\r", "s": " ", "\\": "\\", '"': '"', "'": "'"}
_DEEPEST = 10
"""Levels of `!include`, the limit of MySQL's own reader."""


def read_option_file(path: str, group: str | None = None) -> dict[str, str]:
    """Return the options of `[client]` and of the group; names have dashes, the last value counts.

    Raises:
        FileNotFoundError: the file does not exist.
        UsageError: it cannot be read, or a line of it is not an option. No line is quoted, as it
            may hold a password.
    """
    options: dict[str, str] = {}
    _read(_expanded(path), {"client", group or "client"}, options, 0)
    return options


def _expanded(path: str) -> Path:
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise UsageError(f'cannot find the home directory in "{path}"') from None


def _read(path: Path, groups: set[str], options: dict[str, str], depth: int) -> None:
    try:
        text = read_text(path)
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "It is not UTF-8 text."
        raise _unreadable(path, reason) from None
    group = None
    for number, full_line in enumerate(text.split("\n"), 1):
        line = full_line.strip()
        if not line or line[0] in "#;":
            continue
        if line.startswith("!"):
            _include(line, path, number, groups, options, depth)
        elif line.startswith("["):
            header = re.match(r"\[([^\]]*)\]", line)
            if header is None:
                raise _unreadable(path, f'Line {number} has a "[" without a "]".')
            group = header[1].strip()
        elif group is None:
            raise _unreadable(path, f"Line {number} is in front of the first [group].")
        else:
            name, equals, value = line.partition("=")
            name = name.strip().lower().replace("_", "-")
            if not re.fullmatch(r"[\w.-]+", name):
                raise _unreadable(path, f"Line {number} is not an option.")
            if group in groups:
                options[name] = _value(value) if equals else ""


def _include(
    line: str, path: Path, number: int, groups: set[str], options: dict[str, str], depth: int
) -> None:
    directive, _, name = line.partition(" ")
    if directive not in ("!include", "!includedir") or not name.strip() or depth >= _DEEPEST:
        raise _unreadable(path, f"Line {number} is not a directive that can be followed.")
    included = path.parent / _expanded(name.strip())
    try:
        files = sorted(included.glob("*.cnf")) if directive == "!includedir" else [included]
        for file in files:
            _read(file, groups, options, depth + 1)
    except OSError:
        raise _unreadable(path, f"Line {number} includes what cannot be read.") from None


def _value(text: str) -> str:
    """Return a value without its comment and quotes, its escapes resolved."""
    value = text.strip()
    quoted = re.match(r"""(["'])((?:\\.|(?!\1).)*)\1""", value)
    value = quoted[2] if quoted else re.sub(r"\s+#.*", "", value)
    return re.sub(r"""\\([btnrs\\"'])""", lambda match: _ESCAPES[match[1]], value)


def _unreadable(path: Path, detail: str | None) -> UsageError:
    return UsageError(
        f'could not read the option file "{path}"',
        detail=detail,
        hint='The file is named by "read_default_file" of the database URL.',
    )
