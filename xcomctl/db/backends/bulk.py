"""Rows found and written by the thousand, in few statements."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import sqlalchemy as sa

if TYPE_CHECKING:
    from collections.abc import Sequence

    from xcomctl.db.backends.sql_script import SqlScript
    from xcomctl.db.schema import Column
    from xcomctl.model import Raw, Size, Storage

    Element = sa.ColumnElement[Any]


class Product(Protocol):
    """What is asked of the backend: see there."""

    connection: sa.Connection

    def script(self) -> SqlScript:
        """Return what writes SQL as text."""

    def described(self, column: Element) -> Column | None:
        """Return what the catalogue says of a column."""

    def exact(self, column: Element) -> Element:
        """Return an id column such that only equal texts are equal."""

    def is_one_of(self, columns: list[Element], rows: list[tuple[object, ...]]) -> Element:
        """Return whether columns are one of some rows, which are bound as parameters."""

    def stored(self, raw: Raw, storage: Storage) -> Element:
        """Return a value as it is bound."""

    def streamed_time(self, moment: Element) -> Element:
        """Return a time in the form that is read fastest."""

    def largest_answer(self, storage: Storage) -> Size | None:
        """Return the largest value that a plain statement can read."""


class Bulk:
    """What a backend does for many rows at once, here in standard SQL: right, but slow.

    A product overrides what it has a faster way for. What `only` returns is another statement each
    time: execute it with `execution_options={"compiled_cache": None}`.
    """

    def __init__(self, backend: Product) -> None:
        self._backend = backend

    def only(
        self,
        statement: sa.Select[Any],
        columns: Sequence[Element],
        rows: Sequence[tuple[object, ...]],
    ) -> sa.Select[Any]:
        """Return the query for those of its rows in which columns of one table are a listed row.

        They are found along an index. Where a database folds case or ignores trailing spaces, it
        finds others, too. No row is listed twice.
        """
        return statement.where(self._is_listed(columns, rows))

    def only_exactly(
        self,
        statement: sa.Select[Any],
        columns: Sequence[Element],
        rows: Sequence[tuple[object, ...]],
    ) -> sa.Select[Any] | None:
        """Return `only` such that it finds no others; None if only reading them tells."""
        return None

    def _is_listed(
        self, columns: Sequence[Element], rows: Sequence[tuple[object, ...]]
    ) -> sa.ColumnElement[bool]:
        return self._backend.is_one_of(list(columns), list(rows))

    def exact_moment(self, column: Element) -> Element:
        """Return a timestamp column in a form that is equal only where the time is the same.

        Whatever is quick to fetch: it is only compared.
        """
        return column

    def own_id(self, table: sa.TableClause) -> Element | None:
        """Return the id to give a new row of Airflow 1.10, None where the database numbers it."""
        return None

    def delete(
        self, table: sa.TableClause, columns: Sequence[str], rows: Sequence[tuple[object, ...]]
    ) -> int:
        """Delete the listed rows of a table, and return how many that were."""
        is_listed = self._is_listed([table.c[name] for name in columns], rows)
        return self._backend.connection.execute(
            sa.delete(table).where(is_listed), execution_options={"compiled_cache": None}
        ).rowcount

    def insert(
        self,
        table: sa.TableClause,
        columns: Sequence[str],
        rows: Sequence[Sequence[Any]],
        storage: Storage,
    ) -> None:
        """Insert rows; the last column is the value, a `Raw`. Times are as `bound_moment` has them.

        Raises:
            sqlalchemy.exc.DBAPIError: a row was not accepted; others may have been inserted.
        """
        for row in rows:
            given = dict(zip(columns, row, strict=True))
            given[columns[-1]] = self._backend.stored(row[-1], storage)
            self._backend.connection.execute(sa.insert(table).values(given))
