"""Row-level security and views of PostgreSQL: whether a role sees every row of a table."""

from __future__ import annotations

import sqlalchemy as sa

from xcomctl.db.backends.views import hides_rows

_RELATION = sa.text("""
    SELECT c.oid, c.relkind::text AS kind, row_security_active(c.oid) AS active,
           pg_get_viewdef(c.oid) AS definition, current_user AS role
    FROM pg_catalog.pg_class c WHERE c.oid = to_regclass(:name)
""")
"""https://www.postgresql.org/docs/current/functions-info.html#FUNCTIONS-INFO-ACCESS"""

_SHOWS_ALL = sa.text("""
    SELECT coalesce(bool_or(p.polpermissive AND shows), false)
       AND coalesce(bool_and(p.polpermissive OR shows), true)
    FROM pg_catalog.pg_policy p,
         LATERAL (SELECT pg_get_expr(p.polqual, p.polrelid) = 'true' AS shows) AS read
    WHERE p.polrelid = :oid AND p.polcmd IN ('r', '*')
      AND (0 = ANY (p.polroles) OR EXISTS (
          SELECT FROM unnest(p.polroles) AS role WHERE pg_has_role(role, 'USAGE')))
""")
"""Whether a permissive policy lets the role see every row, and no restrictive one hides any."""

_SOURCES = sa.text("""
    SELECT DISTINCT format('%I.%I', n.nspname, c.relname) AS name, c.relrowsecurity AS secured
    FROM pg_catalog.pg_rewrite w
    JOIN pg_catalog.pg_depend d ON d.objid = w.oid AND d.classid = 'pg_rewrite'::regclass
    JOIN pg_catalog.pg_class c ON c.oid = d.refobjid AND d.refclassid = 'pg_class'::regclass
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE w.ev_class = :oid AND c.oid <> :oid
""")


def hidden_rows(connection: sa.Connection, name: str, quoted: str) -> str | None:
    """Return why a table or view may show only some of its rows, None where it shows all.

    `quoted` is its name in SQL.
    """
    relation = connection.execute(_RELATION, {"name": quoted}).first()
    if relation is None:
        return None
    if relation.active and not connection.scalar(_SHOWS_ALL, {"oid": relation.oid}):
        return f'row-level security can hide rows of "{name}" from the role "{relation.role}"'
    if relation.kind not in ("v", "m"):
        return None
    if hides_rows(relation.definition):
        return f'"{name}" is a view that can hide rows'
    for source in connection.execute(_SOURCES, {"oid": relation.oid}).all():
        if source.secured:
            return f'"{name}" is a view of a table with row-level security'
        if (reason := hidden_rows(connection, name, source.name)) is not None:
            return reason
    return None
