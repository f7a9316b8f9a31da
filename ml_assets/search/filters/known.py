"""Which metadata the documents have: a filter on what none has would silently find nothing."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from ml_assets.errors import UserError
from ml_assets.search.filters.language import (
    METADATA,
    Condition,
    Value,
    comparisons,
    metadata_key,
    values_of,
)
from ml_assets.stores import postgres
from ml_assets.stores.sql import statement

_KINDS = {"string": "a text", "number": "a number", "boolean": "true or false"}
"""What a person calls the types of jsonb; metadata has no others."""
_MOST_SHOWN = 20


def check_known(connection: postgres.Connection, condition: Condition) -> None:
    """Refuse metadata keys that no live document has, and types that a key never has.

    Of several values of an `in` one suffices: sources such as CSV keep numbers as texts. A key
    that is there is looked up at the first document which has it; only an error reads all.

    Raises:
        UserError: names the keys, or the types, that there are.
    """
    asked = [
        (key, list(dict.fromkeys(map(_type, values_of(comparison)))))
        for comparison in comparisons(condition)
        if (key := metadata_key(comparison.field))
    ]
    if not asked:
        return
    keys, kinds = zip(*sorted({(key, kind) for key, of in asked for kind in of}), strict=True)
    query = statement("postgres/search/filters/held_metadata")
    present = set(connection.execute(query, {"keys": list(keys), "kinds": list(kinds)}))
    for key, of in asked:
        if not any((key, kind) in present for kind in of):
            raise _unknown(connection, key, of)


def _type(value: Value) -> str:
    """The type of a value in jsonb."""
    if isinstance(value, bool):
        return "boolean"
    return "string" if isinstance(value, str | datetime) else "number"


def _unknown(connection: postgres.Connection, key: str, asked: Iterable[str]) -> UserError:
    known: dict[str, list[str]] = {}
    for name, kind in connection.execute(statement("postgres/search/filters/metadata_types")):
        known.setdefault(name, []).append(_KINDS[kind])
    if key in known:
        return UserError(
            f"{METADATA}{key} is never {' or '.join(_KINDS[kind] for kind in asked)}",
            where="filter",
            do=f"Compare it with {' or '.join(known[key])}",
        )
    shown = [f"{name} ({' or '.join(kinds)})" for name, kinds in known.items()]
    listed = ", ".join(shown[:_MOST_SHOWN] + ["…"] * (len(shown) > _MOST_SHOWN))
    return UserError(
        f"no document has metadata {key!r}",
        where="filter",
        do=f"Known: {listed}" if listed else "No document has any: leave the filter out",
    )
