"""Conditions in PostgreSQL: in SQL, on live `documents d`, and the metadata that there is."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any, LiteralString

from psycopg import sql
from psycopg.types.json import Jsonb

from ml_assets.errors import UserError
from ml_assets.search.filters import language
from ml_assets.search.filters.language import METADATA, Among, And, Compare, In, Not, Or
from ml_assets.search.generation import on_vectors
from ml_assets.search.model import Generation
from ml_assets.stores import postgres
from ml_assets.stores.sql import statement

Bind = Callable[[object], str]
"""Takes a value, and gives the placeholder that stands for it."""

_SIGNS: dict[language.Operator, LiteralString] = {"<": "<", "<=": "<=", ">": ">", ">=": ">="}
"""Looked up, so that no text of a condition becomes part of the SQL."""

_KINDS = {"string": "a text", "number": "a number", "boolean": "true or false"}
"""What a person calls the types of jsonb; metadata has no others."""
_MOST_SHOWN = 20


def sql_condition(condition: language.Filter) -> tuple[LiteralString, dict[str, Any]]:
    """The condition on live `documents d` and their `chunks c`, and its bound values.

    Only what is asked for is in it: the planner guesses low for each comparison that is there.
    """
    bound: dict[str, Any] = {}

    def bind(value: object) -> str:
        name = f"filter_{len(bound)}"
        bound[name] = value
        return f"%({name})s"

    asked = condition.conditions if isinstance(condition, And) else (condition,)
    return " and ".join(["d.deleted_at is null", *(_sql(part, bind) for part in asked)]), bound


def matching_chunk_ids(
    connection: postgres.Connection, generation: Generation, condition: language.Condition
) -> list[str]:
    """The ids of the live chunks of a generation whose document passes, in no order."""
    asked, bound = sql_condition(condition)
    text = statement("postgres/search/filters/matching_chunks")
    rows = connection.execute(on_vectors(generation, text, filter=sql.SQL(asked)), bound)
    return [chunk_id for (chunk_id,) in rows]


def check_known(connection: postgres.Connection, condition: language.Condition) -> None:
    """Refuse metadata keys that no live document has, and types that a key never has.

    A filter on them would silently find nothing. Of several values of an `in` one suffices: sources
    such as CSV keep numbers as texts. A key that is there is looked up at the first document which
    has it; only an error reads all.

    Raises:
        UserError: names the keys, or the types, that there are.
    """
    asked = [
        (key, list(dict.fromkeys(map(_kind, comparison.values))))
        for comparison in language.comparisons(condition)
        if (key := language.metadata_key(comparison.field))
    ]
    if not asked:
        return
    keys, kinds = zip(*sorted({(key, kind) for key, of in asked for kind in of}), strict=True)
    query = statement("postgres/search/filters/present_metadata")
    present = set(connection.execute(query, {"keys": list(keys), "kinds": list(kinds)}))
    for key, of in asked:
        if not any((key, kind) in present for kind in of):
            raise _unknown(connection, key, of)


def _kind(value: language.Value) -> str:
    """The type of a value in jsonb."""
    if isinstance(value, bool):
        return "boolean"
    return "string" if isinstance(value, str | datetime) else "number"


def _unknown(connection: postgres.Connection, key: str, asked: Iterable[str]) -> UserError:
    query = statement("postgres/search/filters/metadata_kinds")
    known: dict[str, list[str]] = dict(connection.execute(query).fetchall())
    if key in known:
        what = f"{METADATA}{key} is never {_in_words(asked)}"
        return UserError(what, where="filter", do=f"Compare it with {_in_words(known[key])}")
    shown = [f"{name} ({_in_words(kinds)})" for name, kinds in known.items()]
    listed = ", ".join(shown[:_MOST_SHOWN] + ["…"] * (len(shown) > _MOST_SHOWN))
    do = f"Known: {listed}" if listed else "No document has any: leave the filter out"
    return UserError(f"no document has metadata {key!r}", where="filter", do=do)


def _in_words(kinds: Iterable[str]) -> str:
    return " or ".join(_KINDS[kind] for kind in kinds)


def _sql(condition: language.Filter, bind: Bind) -> str:
    match condition:
        case Among(chunk_ids):
            return f"c.chunk_id = any({bind(list(chunk_ids))})"
        case And(parts):
            return f"({' and '.join(_sql(part, bind) for part in parts) or 'true'})"
        case Or(parts):
            return f"({' or '.join(_sql(part, bind) for part in parts) or 'false'})"
        case Not(inner):
            return f"({_sql(inner, bind)}) is not true"  # null is false, so this is true
        case In() | Compare():
            return _comparison(condition, bind)


def _comparison(condition: In | Compare, bind: Bind) -> str:
    key = language.metadata_key(condition.field)
    field = f"d.{condition.field}" if key is None else f"(d.metadata -> {bind(key)}::text)"
    wrapped = [value if key is None else Jsonb(value) for value in condition.values]
    if isinstance(condition, In):
        return f"{field} = any({bind(wrapped)}{'::jsonb[]' if key else ''})"
    compared = f"{field} {_SIGNS[condition.operator]} {bind(wrapped[0])}"
    # jsonb has an order over all types: without the guard, true were more than any number.
    return f"(jsonb_typeof({field}) = 'number' and {compared})" if key else compared
