"""Size limits of each backend that hold without asking a server.

The limits in force come from the database itself (`db`). These are the products' maximums and
defaults, for comparing backends, and the commonly quoted figures.
"""

from __future__ import annotations

import re
from typing import Final

from xcomctl.errors import UsageError
from xcomctl.model import Limit, Size

MAX_BYTEA: Final = Size(1_073_741_799)
"""The largest bytea in a row: one allocation (1 GiB - 1 byte) minus the row header.

https://www.postgresql.org/docs/current/limits.html
"""
MAX_READABLE_BYTEA: Final = Size(536_870_906)
"""The largest bytea that PostgreSQL can send as text (`\\x` and two hex digits per byte), which
is how psycopg2, Airflow's driver, reads it."""
MAX_JSONB: Final = Size(268_435_455)
"""The largest string in a jsonb, and the largest sum of an array's or object's elements: 28 bits.

https://github.com/postgres/postgres/blob/REL_15_STABLE/src/include/utils/jsonb.h
"""

CAPACITY_BY_TYPE: Final = {
    "tinyblob": Size(255),
    "blob": Size(65_535),
    "mediumblob": Size(16_777_215),
    "longblob": Size(4_294_967_295),
    "longtext": Size(4_294_967_295),
    "json": Size(4_294_967_295),
}
"""Capacity of a MySQL or MariaDB column by its type.

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
"""The commonly quoted figures: 2 GB for PostgreSQL, 1 GB for SQLite, 64 KB for MySQL (powers of ten).

No software enforces them.
"""

BACKENDS: Final = ("sqlite", "postgresql", "mysql", "mariadb")


def nominal(backend: str) -> Limit:
    """Return the commonly quoted limit of the backend."""
    return Limit(
        "nominal", NOMINAL[backend], "the commonly quoted figure, not enforced", "", hard=False
    )


def typical(backend: str, airflow: tuple[int, int]) -> Limit:
    """Return the limit of XComs of that Airflow (major, minor) on a backend with default settings."""
    major = airflow[0]
    if backend == "sqlite":
        return Limit("sqlite_max_length", _SQLITE_DEFAULT, "SQLITE_MAX_LENGTH default")
    if backend == "postgresql":
        if major >= 3:
            return Limit("jsonb", MAX_JSONB, "a jsonb column (28 bits for a container's elements)")
        return Limit(
            "bytea_readable", MAX_READABLE_BYTEA, "a bytea column that the driver reads as text"
        )
    if airflow < (2, 9):
        return Limit("blob", CAPACITY_BY_TYPE["blob"], "a BLOB column (Airflow before 2.9)")
    column = "LONGBLOB" if major < 3 else "JSON"
    return Limit(
        "max_allowed_packet",
        _PACKET_DEFAULT[backend],
        f"a {column} column with the default max_allowed_packet",
    )


_ALIASES = {"postgres": "postgresql", "pg": "postgresql"}


def parse_as(text: str, default: tuple[int, int]) -> tuple[str, tuple[int, int]]:
    """Return the backend and the Airflow version of an `--as` such as `mysql:2.8`.

    Without a version `default` is returned; a bare major version means its newest release.

    Raises:
        UsageError: the backend is unknown, or the version is not from 1.10 to 3.
    """
    name, _, version = text.strip().lower().partition(":")
    backend = _ALIASES.get(name, name)
    if backend not in BACKENDS:
        raise UsageError(
            f'unknown backend "{name}" in --as',
            hint=f"Valid backends: {', '.join(BACKENDS)}, with an Airflow version: mysql:2.8.",
        )
    if not version:
        return backend, default
    match = re.fullmatch(r"(\d)(?:\.(\d{1,3}))?(?:\.\d{1,9})*", version)
    if not match or not 1 <= int(match[1]) <= 3:
        raise UsageError(
            f'cannot read the Airflow version "{version}" in --as',
            hint="Valid versions: 1.10 to 3.3, such as mysql:2.8.",
        )
    major = int(match[1])
    minor = int(match[2]) if match[2] else {1: 10, 2: 11, 3: 3}[major]
    return backend, (major, minor)
