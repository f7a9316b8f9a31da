"""Conditions in PostgreSQL: in SQL, on live `documents d`, and the metadata that there is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches
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
_MOST_SHOWN = 5
_MOST_MEANT = 3
_NAMES = {
    "collection": ("present_collections", "collections"),
    "label": ("present_labels", "labels"),
}
"""The statements that tell which of some values there are, and which there are at all."""

_MOST_WRITTEN = 20
"""Values that a person writes, at most; a longer list is a program's, and may run ahead."""


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
    rows = connection.execute(on_vectors(generation, text, filter=asked), bound)
    return [chunk_id for (chunk_id,) in rows]


def matching_document_ids(
    connection: postgres.Connection, condition: language.Condition
) -> list[str]:
    """The ids of the live documents that pass, in order.

    Raises:
        UserError: no live document has such a value, or such a key.
    """
    check_known(connection, condition)
    asked, bound = sql_condition(condition)
    text = statement("postgres/search/filters/matching_documents")
    rows = connection.execute(sql.SQL(text).format(filter=sql.SQL(asked)), bound)
    return [document_id for (document_id,) in rows]


def check_known(connection: postgres.Connection, condition: language.Condition) -> None:
    """Refuse collections, labels and metadata keys that no live document has, and wrong types.

    A filter on them would silently find nothing, or, under a `not`, leave out nothing. Of a type
    that a key never has, one of several suffices: sources such as CSV keep numbers as texts. Of
    more than `_MOST_WRITTEN` collections or labels, which no person wrote, one must be there. What
    is there is looked up at the first document which has it; only an error reads all.

    Raises:
        UserError: names what there is, and what is meant, as it seems.
    """
    asked = list(language.comparisons(condition))
    for field in ("collection", "label"):
        values = [value for one in asked if one.field == field for value in one.values]
        if values:
            _check_values(connection, field, [str(value) for value in dict.fromkeys(values)])
    _check_metadata(connection, asked)


def _check_values(connection: postgres.Connection, field: str, values: list[str]) -> None:
    present_of, all_of = _NAMES[field]
    query = statement(f"postgres/search/filters/{present_of}")
    present = {name for (name,) in connection.execute(query, {"values": values})}
    lacking = [value for value in values if value not in present]
    if not lacking or (present and len(values) > _MOST_WRITTEN):
        return
    known = [name for (name,) in connection.execute(statement(f"postgres/search/filters/{all_of}"))]
    what = f"no document has the {field} {lacking[0]!r}"
    do = _suggestion(lacking[0], known, f"No document has a {field}: leave the filter out")
    raise UserError(what, where="filter", do=do)


def _suggestion(wrong: str, known: Sequence[str], none: str) -> str:
    """What was meant, as it seems, or what there is."""
    if not known:
        return none
    lower = {name.lower(): name for name in reversed(known)}
    near = [lower[name] for name in get_close_matches(wrong.lower(), lower, _MOST_MEANT)]
    if near:
        return f"Did you mean {' or '.join(map(repr, near))}?"
    if len(known) <= _MOST_SHOWN:
        return f"Known: {', '.join(known)}"
    closest = get_close_matches(wrong.lower(), lower, _MOST_SHOWN, cutoff=0)
    return f"Of {len(known):,} the closest: {', '.join(lower[name] for name in closest)}"


def _check_metadata(
    connection: postgres.Connection, comparisons: Iterable[language.In | Compare]
) -> None:
    asked = [
        (key, list(dict.fromkeys(map(_kind, comparison.values))))
        for comparison in comparisons
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
    return "string" if isinstance(value, str) else "number"


def _unknown(connection: postgres.Connection, key: str, asked: Iterable[str]) -> UserError:
    if key in language.OWN_FIELDS:
        option = "--since and --until" if key == "created_at" else f"--{key}"
        what = f"no document has metadata {key!r}; it is a field of its own"
        return UserError(what, where="filter", do=f"Use {option}, or {key} in --filter")
    query = statement("postgres/search/filters/metadata_kinds")
    known: dict[str, list[str]] = dict(connection.execute(query).fetchall())
    if key in known:
        what = f"{METADATA}{key} is never {_in_words(asked)}"
        return UserError(what, where="filter", do=f"Compare it with {_in_words(known[key])}")
    shown = {name: f"{name} ({_in_words(kinds)})" for name, kinds in known.items()}
    closest = get_close_matches(key, known, _MOST_SHOWN, cutoff=0)
    listed = ", ".join(shown[name] for name in closest)
    do = f"Of {len(shown):,} the closest: {listed}"
    if len(shown) <= _MOST_SHOWN:
        listed = ", ".join(shown.values())
        do = f"Known: {listed}" if listed else "No document has any: leave the filter out"
    if near := get_close_matches(key, known, _MOST_MEANT):
        do = f"Did you mean {' or '.join(shown[name] for name in near)}?"
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
    if isinstance(condition, In) and key and len(condition.values) <= _MOST_WRITTEN:
        # In the form that the index on all metadata serves; with many values it would be slower.
        contained = [Jsonb({key: value}) for value in condition.values]
        return f"d.metadata @> any({bind(contained)}::jsonb[])"
    field = f"d.{condition.field}" if key is None else f"(d.metadata -> {bind(key)}::text)"
    wrapped = [value if key is None else Jsonb(value) for value in condition.values]
    if isinstance(condition, In):
        return f"{field} = any({bind(wrapped)}{'::jsonb[]' if key else ''})"
    compared = f"{field} {_SIGNS[condition.operator]} {bind(wrapped[0])}"
    # jsonb has an order over all types: without the guard, true were more than any number.
    return f"(jsonb_typeof({field}) = 'number' and {compared})" if key else compared
