"""Conditions in SQL, on live `documents d`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, LiteralString

from ml_assets.search.filters.language import (
    Among,
    And,
    Compare,
    Condition,
    Filter,
    In,
    Not,
    Operator,
    Or,
    metadata_key,
    values_of,
)
from ml_assets.stores.sql import statement

if TYPE_CHECKING:
    from ml_assets.stores import postgres

Bind = Callable[[object], str]
"""Takes a value, and gives the placeholder that stands for it."""

_SIGNS: dict[Operator, LiteralString] = {"<": "<", "<=": "<=", ">": ">", ">=": ">="}
"""Looked up, so that no text of a condition becomes part of the SQL."""


def sql_condition(condition: Filter) -> tuple[LiteralString, dict[str, Any]]:
    """The condition on live `documents d` and their `chunks c`, and its bound values.

    Only what is asked for is in it: the planner guesses low for each comparison that is there.
    """
    bound: dict[str, Any] = {}

    def bind(value: object) -> str:
        name = f"filter_{len(bound)}"
        bound[name] = value
        return f"%({name})s"

    if isinstance(condition, Among):
        return "d.deleted_at is null and c.chunk_id = any(%(among)s)", {
            "among": list(condition.chunk_ids)
        }
    asked = condition.conditions if isinstance(condition, And) else (condition,)
    parts = ["d.deleted_at is null", *(_sql(one, bind) for one in asked)]
    return " and ".join(parts), bound


def matching_chunk_ids(connection: postgres.Connection, condition: Condition) -> list[str]:
    """The ids of the live chunks whose document passes, in no order."""
    from psycopg import sql

    asked, bound = sql_condition(condition)
    query = sql.SQL(statement("postgres/search/filters/matching_chunks")).format(
        filter=sql.SQL(asked)
    )
    return [chunk_id for (chunk_id,) in connection.execute(query, bound)]


def _sql(condition: Condition, bind: Bind) -> str:
    match condition:
        case And(parts):
            return f"({' and '.join(_sql(one, bind) for one in parts) or 'true'})"
        case Or(parts):
            return f"({' or '.join(_sql(one, bind) for one in parts) or 'false'})"
        case Not(inner):
            return f"({_sql(inner, bind)}) is not true"  # null is false, so this is true
        case In() | Compare():
            return _comparison(condition, bind)


def _comparison(condition: In | Compare, bind: Bind) -> str:
    from psycopg.types.json import Jsonb

    key = metadata_key(condition.field)
    field = f"d.{condition.field}" if key is None else f"(d.metadata -> {bind(key)}::text)"
    wrapped = [value if key is None else Jsonb(value) for value in values_of(condition)]
    if isinstance(condition, In):
        return f"{field} = any({bind(wrapped)}{'::jsonb[]' if key else ''})"
    compared = f"{field} {_SIGNS[condition.operator]} {bind(wrapped[0])}"
    # jsonb has an order over all types: without the guard, true were more than any number.
    return f"(jsonb_typeof({field}) = 'number' and {compared})" if key else compared
