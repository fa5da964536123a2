"""What one would write without xcomctl: an ORM loop that prints every XCom as a line of JSON.

Reads `XCOMCTL_URL`; its argument says how the values are stored: `bytes` or `json`.
"""

from __future__ import annotations

import datetime as dt  # noqa: TC003 (SQLAlchemy reads the annotations)
import json
import os
import sys
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

STORAGE = sys.argv[1] if len(sys.argv) > 1 else "bytes"


class Base(DeclarativeBase):
    """The mapped classes' base."""


class XCom(Base):
    """A row of xcom."""

    __tablename__ = "xcom"

    dag_run_id: Mapped[int] = mapped_column(primary_key=True)
    task_id: Mapped[str] = mapped_column(primary_key=True)
    map_index: Mapped[int] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    dag_id: Mapped[str]
    run_id: Mapped[str]
    timestamp: Mapped[dt.datetime]
    value: Mapped[Any] = mapped_column(sa.JSON if STORAGE == "json" else sa.LargeBinary)


def main() -> None:
    """Print every row."""
    engine = sa.create_engine(os.environ["XCOMCTL_URL"])
    with Session(engine) as session:
        for row in session.execute(sa.select(XCom)).scalars():
            entry = {
                "dag_id": row.dag_id,
                "task_id": row.task_id,
                "run_id": row.run_id,
                "map_index": row.map_index,
                "key": row.key,
                "timestamp": row.timestamp.isoformat(),
                "value": row.value if STORAGE == "json" else json.loads(row.value),
            }
            print(json.dumps(entry))


if __name__ == "__main__":
    main()
