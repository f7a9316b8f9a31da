"""What statements read and write: counts, batches, many rows at once."""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterable, Mapping, Sequence
from typing import Any

import psycopg
from psycopg import sql
from psycopg.abc import Query
from psycopg.rows import TupleRow, class_row, dict_row

from ml_assets.problem import EXAMPLES, Problem
from ml_assets.stores.sql import statement

Connection = psycopg.Connection[TupleRow]

ANALYZE_ROWS = 100
ANALYZE_SHARE = 0.05


def text_array(values: Collection[str]) -> str:
    """Texts as the literal of a `text[]`: psycopg takes several times as long for a list.

    A text has no NUL, as PostgreSQL keeps none.
    """
    if not values:
        return "{}"
    joined = "\0".join(values).replace("\\", r"\\").replace('"', r"\"")
    return '{"' + joined.replace("\0", '","') + '"}'


def read_counts(
    connection: Connection, text: str | sql.SQL | sql.Composed, parameters: Any = None
) -> dict[str, int]:
    """The one row of integers that a statement gives, by column name."""
    with connection.cursor(row_factory=dict_row) as cursor:
        (row,) = cursor.execute(text, parameters).fetchall()
    return {name: int(value) for name, value in row.items()}


def read_problems(
    connection: Connection, path: str, parameters: Mapping[str, object]
) -> list[Problem]:
    """Group the rows (problem, name) that the statement at `path` gives; none when all is well."""
    text = (
        "select problem, count(*)::int as rows,"  # noqa: S608
        f" (array_agg(name order by name))[:{EXAMPLES}] as examples"
        f" from ({statement(path)}) as offenders group by problem order by problem"
    )
    with connection.cursor(row_factory=class_row(Problem)) as cursor:
        return cursor.execute(text, parameters).fetchall()


def read_batches(
    connection: Connection,
    text: Query,
    parameters: Any = None,
    *,
    size: int = 2000,
    binary: bool = False,
) -> Generator[list[TupleRow]]:
    """Stream a query in batches through a server-side cursor that survives commits."""
    with connection.cursor(name="batches", withhold=True) as cursor:
        cursor.execute(text, parameters, binary=binary)
        while batch := cursor.fetchmany(size):
            yield batch


def copy_rows(
    connection: Connection,
    table: str,
    columns: Sequence[str],
    types: Sequence[str],
    rows: Iterable[Sequence[object]],
) -> None:
    """Write `rows` by binary COPY; `types` are names of types of PostgreSQL."""
    command = sql.SQL("copy {} ({}) from stdin (format binary)").format(
        sql.Identifier(table), sql.SQL(", ").join(map(sql.Identifier, columns))
    )
    with connection.cursor() as cursor, cursor.copy(command) as copy:
        copy.set_types(list(types))
        for row in rows:
            copy.write_row(row)


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
