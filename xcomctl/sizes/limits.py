"""How large a value each database lets an XCom be, where no live server is asked.

The limits in force come from the database itself (`db`); these are the products' own bounds and
defaults, for comparing backends, and the figures that the case study quotes.
"""

from __future__ import annotations

import re
from typing import Final

from xcomctl.errors import UsageError
from xcomctl.model import Limit, Size

MAX_BYTEA: Final = Size(1_073_741_799)
"""The largest bytea that a row can hold: one allocation (1 GiB less 1) less the row's head.

https://www.postgresql.org/docs/current/limits.html
"""
MAX_READABLE_BYTEA: Final = Size(536_870_906)
"""Above it PostgreSQL cannot write a bytea out as text (`\\x` and two digits a byte), which is
how psycopg2, Airflow's driver, reads it."""
MAX_JSONB: Final = Size(268_435_455)
"""The largest string, and the largest sum of an array's or object's elements: 28 bits."""

CAPACITY_BY_TYPE: Final = {
    "tinyblob": Size(255),
    "blob": Size(65_535),
    "mediumblob": Size(16_777_215),
    "longblob": Size(4_294_967_295),
    "longtext": Size(4_294_967_295),
    "json": Size(4_294_967_295),
}
"""What a MySQL or MariaDB column of the type holds.

https://dev.mysql.com/doc/refman/8.4/en/storage-requirements.html
"""

_PACKET_DEFAULT = {"mysql": Size(64 * 2**20), "mariadb": Size(16 * 2**20)}
_SQLITE_DEFAULT = Size(1_000_000_000)

NOMINAL: Final = {
    "postgresql": Size(2_000_000_000),
    "sqlite": Size(1_000_000_000),
    "mysql": Size(64_000),
    "mariadb": Size(64_000),
}
"""The case study's figures: 2 GB PostgreSQL, 1 GB SQLite, 64 KB MySQL, in powers of ten."""

BACKENDS: Final = ("sqlite", "postgresql", "mysql", "mariadb")


def nominal(backend: str) -> Limit:
    """Return the figure that the case study quotes for the backend."""
    return Limit(
        "nominal", NOMINAL[backend], "the case study's figure, enforced by nothing", "", hard=False
    )


def typical(backend: str, airflow: tuple[int, int]) -> Limit:
    """Return the limit that a backend with default settings puts on that Airflow's XComs."""
    major = airflow[0]
    if backend == "sqlite":
        return Limit("sqlite_max_length", _SQLITE_DEFAULT, "SQLITE_MAX_LENGTH, by default")
    if backend == "postgresql":
        if major >= 3:
            return Limit("jsonb", MAX_JSONB, "a jsonb column: 28 bits for a container's elements")
        return Limit(
            "bytea_readable", MAX_READABLE_BYTEA, "a bytea column, read back as text by the driver"
        )
    if airflow < (2, 9):
        return Limit("blob", CAPACITY_BY_TYPE["blob"], "a BLOB column, until Airflow 2.9")
    column = "LONGBLOB" if major < 3 else "JSON"
    return Limit(
        "max_allowed_packet",
        _PACKET_DEFAULT[backend],
        f"a {column} column under the server's default max_allowed_packet",
    )


_ALIASES = {"postgres": "postgresql", "pg": "postgresql"}


def parse_as(text: str, default: tuple[int, int]) -> tuple[str, tuple[int, int]]:
    """Return backend and Airflow version of a `--as` such as `mysql:2.8`.

    Raises:
        UsageError: an unknown backend, or no version of Airflow from 1.10 to 3.
    """
    name, _, version = text.strip().lower().partition(":")
    backend = _ALIASES.get(name, name)
    if backend not in BACKENDS:
        raise UsageError(
            f'unknown backend "{name}" in --as',
            hint=f"It is one of {', '.join(BACKENDS)}, with an Airflow version: mysql:2.8.",
        )
    if not version:
        return backend, default
    match = re.fullmatch(r"(\d+)(?:\.(\d+))?(?:\.\d+)*", version)
    if not match or not 1 <= int(match[1]) <= 3:
        raise UsageError(
            f'cannot read the Airflow version "{version}" in --as',
            hint="Give one from 1.10 to 3.3: mysql:2.8.",
        )
    major = int(match[1])
    # A bare major means its newest release, which is what an upgrade leads to.
    minor = int(match[2]) if match[2] else {1: 10, 2: 11, 3: 3}[major]
    return backend, (major, minor)
