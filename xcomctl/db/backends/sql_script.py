"""SQL as text, with its values in it: what `preflight` prints for people to run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

if TYPE_CHECKING:
    from collections.abc import Callable


class SqlScript:
    """Writes statements in standard SQL, one line each. A product's own overrides what differs."""

    preamble: tuple[str, ...] = ()
    """Statements that make a client read the others as they are meant."""
    begin = "BEGIN"

    def __init__(self, dialect: sa.Dialect, schema: str | None) -> None:
        self._dialect = dialect
        self._schema = schema

    def statement(self, statement: sa.ClauseElement) -> str:
        """Return a statement as one line of text."""

        def replace(element: Any, **_: Any) -> Any:
            value = getattr(element, "value", None)
            if not isinstance(element, sa.BindParameter):
                return None
            plain = isinstance(value, str) and value.isprintable() and "\\" not in value
            if isinstance(value, str | bytes) and not plain:
                return sa.literal_column(self.literal(value))
            return None

        replaced: Any = sa.sql.visitors.replacement_traverse(statement, {}, replace)
        # "named", because the driver's own style doubles every per cent sign.
        make: Callable[..., sa.Dialect] = type(self._dialect)
        compiled = replaced.compile(
            dialect=make(paramstyle="named"), compile_kwargs={"literal_binds": True}
        )
        return " ".join(str(compiled).split("\n"))

    def literal(self, value: str | bytes) -> str:
        """Return a value on one line, whatever characters it holds."""
        if isinstance(value, bytes):
            return f"X'{value.hex()}'"
        return f"CAST(X'{value.encode('utf-8', 'surrogateescape').hex()}' AS TEXT)"

    def copy_table(self, table: str, copy: str) -> str:
        """Return the statement that makes an empty table with the columns of another."""
        source = self.quoted(table)
        return (
            f"CREATE TABLE IF NOT EXISTS {self.quoted(copy)} AS SELECT * FROM {source} WHERE 1 = 0"
        )

    def quoted(self, table: str) -> str:
        """Return the name of one of Airflow's tables, with its schema where one is set."""
        quote = self._dialect.identifier_preparer.quote
        return f"{quote(self._schema)}.{quote(table)}" if self._schema else quote(table)


class MySQLScript(SqlScript):
    """MySQL's and MariaDB's."""

    preamble = ("SET NAMES utf8mb4", "SET time_zone = '+00:00'")
    begin = "START TRANSACTION"

    def __init__(self, dialect: sa.Dialect, schema: str | None, *, has_primary_key: bool) -> None:
        """Write for an xcom that has a primary key, or for a view, which has none."""
        super().__init__(dialect, schema)
        self._has_primary_key = has_primary_key

    def literal(self, value: str | bytes) -> str:
        if isinstance(value, bytes):
            return f"X'{value.hex()}'"
        # What a backslash means in a plain literal depends on sql_mode.
        return f"_utf8mb4 X'{value.encode().hex()}'"

    def copy_table(self, table: str, copy: str) -> str:
        if not self._has_primary_key:
            return super().copy_table(table, copy)
        # With AS SELECT it would have no primary key, which sql_require_primary_key demands, and
        # enforce_gtid_consistency forbids it before 8.0.21.
        return f"CREATE TABLE IF NOT EXISTS {self.quoted(copy)} LIKE {self.quoted(table)}"


def with_parameters(statement: sa.ClauseElement, dialect: sa.Dialect) -> tuple[str, Any]:
    """Return a statement and its parameters as the driver itself takes them."""
    compiled = statement.compile(dialect=dialect, compile_kwargs={"render_postcompile": True})
    given = compiled.params
    names = getattr(compiled, "positiontup", None)
    return str(compiled), given if names is None else tuple(given[name] for name in names)
