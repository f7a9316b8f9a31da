"""Statements of `sql/`, run with bound values."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import psycopg
from psycopg.abc import Query, QueryNoTemplate
from psycopg.rows import TupleRow

Connection = psycopg.Connection[TupleRow]


def read_counts(
    connection: Connection, text: QueryNoTemplate, parameters: Any = None
) -> dict[str, int]:
    """The one row of integers that a statement gives, by column name."""
    cursor = connection.execute(text, parameters)
    (row,) = cursor.fetchall()
    names = [column.name for column in cursor.description or ()]
    return {name: int(value) for name, value in zip(names, row, strict=True)}


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
