"""SQLAlchemy's engine for a URL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.pool import NullPool

if TYPE_CHECKING:
    from collections.abc import Mapping

    from xcomctl.config.urls import Url


def make_engine(driver: str, url: Url, arguments: Mapping[str, Any]) -> sa.Engine:
    """Return an engine that opens one connection at a time, and none yet."""
    address = sa.URL.create(
        driver,
        username=url.username,
        password=url.password,
        host=url.host,
        port=url.port,
        database=url.database,
    )
    return sa.create_engine(address, poolclass=NullPool, connect_args=dict(arguments))
