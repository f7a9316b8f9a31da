"""Many rows at once: binary COPY, and statistics for the planner after it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from psycopg import sql

from ml_assets.stores.postgres.statements import Connection

ANALYZE_ROWS = 100
ANALYZE_SHARE = 0.05


def copy_rows(
    connection: Connection,
    table: str,
    columns: Sequence[str],
    types: Sequence[str],
    rows: Iterable[Sequence[object]],
) -> int:
    """Write `rows` by binary COPY and return their count; `types` are PostgreSQL type names."""
    command = sql.SQL("copy {} ({}) from stdin (format binary)").format(
        sql.Identifier(table), sql.SQL(", ").join(map(sql.Identifier, columns))
    )
    count = 0
    with connection.cursor() as cursor, cursor.copy(command) as copy:
        copy.set_types(list(types))
        for row in rows:
            copy.write_row(row)
            count += 1
    return count


def analyze(connection: Connection, table: str, touched: int) -> None:
    """Refresh the planner's statistics of `table` after a bulk write of `touched` rows.

    Autovacuum comes a minute later, and never to a new partition's parent: till then the planner
    takes nested loops. Few rows among many change no plan, and are left to it.
    """
    if touched < ANALYZE_ROWS:
        return
    row = connection.execute(
        "select reltuples from pg_class where oid = to_regclass(%s)", [table]
    ).fetchone()
    if row is None or touched >= ANALYZE_SHARE * row[0]:
        connection.execute(sql.SQL("analyze {}").format(sql.Identifier(table)))
