"""The day of a timestamp as a number, in each product's SQL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles

if TYPE_CHECKING:
    from sqlalchemy.sql.compiler import SQLCompiler


class DayNumber(sa.ColumnElement[int]):
    """The day (UTC) of a timestamp as Python's `date.toordinal` counts it, 0 where there is none.

    The session's time zone must be UTC.
    """

    inherit_cache = True
    type = sa.BigInteger()
    _traverse_internals = [("moment", sa.sql.visitors.InternalTraversal.dp_clauseelement)]  # noqa: RUF012

    def __init__(self, moment: sa.ColumnElement[Any]) -> None:
        """Return the day of this column."""
        self.moment = moment


@compiles(DayNumber, "postgresql")
def _postgresql(element: DayNumber, compiler: SQLCompiler, **given: Any) -> str:
    moment = compiler.process(element.moment, **given)
    # Python has no day for -infinity, for infinity, nor for one outside of its 9,999 years.
    inside = f"{moment} >= '0001-01-01' AND {moment} < '9999-12-31'"
    return f"CASE WHEN {inside} THEN ({moment}::date - DATE '0001-01-01' + 1)::bigint ELSE 0 END"


@compiles(DayNumber, "mysql")
@compiles(DayNumber, "mariadb")
def _mysql(element: DayNumber, compiler: SQLCompiler, **given: Any) -> str:
    # TO_DAYS counts from the year 0, which had 366 days, and 0001-01-01 is 1 here.
    return f"GREATEST(COALESCE(TO_DAYS({compiler.process(element.moment, **given)}) - 365, 0), 0)"


@compiles(DayNumber, "sqlite")
def _sqlite(element: DayNumber, compiler: SQLCompiler, **given: Any) -> str:
    moment = compiler.process(element.moment, **given)
    # julianday() rounds to milliseconds, which may be the next day's; a date alone is exact.
    # A text with an offset is longer than `2026-01-31 07:08:09.123456`.
    text = f"CASE WHEN length({moment}) > 26 THEN date({moment}) ELSE substr({moment}, 1, 10) END"
    number = f"CAST(julianday(CASE typeof({moment}) WHEN 'text' THEN {text} END) AS INTEGER)"
    # The Julian day begins at noon; 0001-01-01 00:00 is 1721425.5.
    return f"max(COALESCE({number} - 1721424, 0), 0)"
