"""Times as databases hand them over."""

from __future__ import annotations

from datetime import UTC, datetime

from xcomctl.model import format_time


def iso(value: object) -> str | None:
    """Return a stored time as RFC 3339 text in UTC, None where it is none that Python can hold."""
    if isinstance(value, str) and len(value) == 26 and value[20:].isdigit():
        try:
            datetime.fromisoformat(value)
        except ValueError:
            return None
        # The usual form is only put together anew.
        end = "Z" if value.endswith(".000000") else f"{value[19:]}Z"
        return f"{value[:10]}T{value[11:19]}{end}"
    return format_time(to_moment(value))


def to_moment(value: object) -> datetime | None:
    """Return a stored time as UTC, None where it is none that Python can hold."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return None
    if not isinstance(value, datetime):
        return None
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Times:
    """Reads times that came as bytes, most of them in the same minute as the one before."""

    def __init__(self) -> None:
        self._minute = b""
        self._until_minute = ""

    def read(self, stamp: object) -> str | None:
        """Return a time in the form that SQLAlchemy writes as RFC 3339 text, or any other.

        None of what is no time, which SQLite takes, too.
        """
        if not isinstance(stamp, bytes):
            return iso(stamp)
        rest = stamp[17:]
        if (
            stamp[:17] == self._minute
            and len(rest) == 9
            and rest.translate(None, b"0123456789") == b"."
        ):
            if rest[2:] == b".000000":
                return f"{self._until_minute}{rest[:2].decode()}Z"
            return f"{self._until_minute}{rest.decode()}Z"
        told = iso(stamp.decode("utf-8", "replace"))
        if told is not None and len(stamp) == 26:
            self._minute, self._until_minute = stamp[:17], told[:17]
        return told


def no_time(stamp: object) -> None:
    """Read no time, where none is wanted."""
