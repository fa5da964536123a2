"""What MySQL's and MariaDB's information_schema says of a table's columns."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from xcomctl.db.schema import Column

if TYPE_CHECKING:
    from collections.abc import Mapping

_COLUMNS = sa.table(
    "columns",
    *map(sa.column, ("table_schema", "table_name", "column_name", "data_type")),
    *map(sa.column, ("is_nullable", "column_default", "extra", "column_key")),
    *map(sa.column, ("character_set_name", "collation_name")),
    schema="information_schema",
)
_VIEWS = sa.table(
    "views",
    *map(sa.column, ("table_schema", "table_name", "view_definition")),
    schema="information_schema",
)


def read_columns(connection: sa.Connection, table: str, schema: str | None) -> Mapping[str, Column]:
    """Return the columns of a table by name, none if there is no such table.

    `schema` is None for the database in use.
    """
    c = _COLUMNS.c
    wanted = (c.column_name, c.data_type, c.is_nullable, c.column_default, c.extra)
    about_text = (c.character_set_name, c.collation_name, c.column_key)
    is_ours = c.table_schema == (schema or sa.func.database())
    rows = connection.execute(sa.select(*wanted, *about_text).where(c.table_name == table, is_ours))
    return {
        str(name): Column(
            str(name),
            _text(kind).lower(),
            _text(nullable).upper() == "YES",
            default is not None or "auto_increment" in _text(extra).lower(),
            charset=_text(charset) or None,
            collation=_text(collation) or None,
            primary=_text(key) == "PRI",
        )
        for name, kind, nullable, default, extra, charset, collation, key in rows
    }


def view_definition(connection: sa.Connection, name: str, schema: str | None) -> str | None:
    """Return the SQL of a view, empty if it may not be read; None if there is no such view."""
    c = _VIEWS.c
    is_ours = c.table_schema == (schema or sa.func.database())
    statement = sa.select(c.view_definition).where(c.table_name == name, is_ours)
    found = connection.execute(statement).first()
    return None if found is None else _text(found[0])


def _text(value: object) -> str:
    """Return a text of the catalogue, which MySQL may return as bytes."""
    if isinstance(value, bytes):
        return value.decode()
    return "" if value is None else str(value)
