"""Which metadata the documents have: a filter on what none has would silently find nothing."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from ml_assets.errors import UserError
from ml_assets.search.filters.language import (
    METADATA,
    Compare,
    Condition,
    In,
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
    that is there is found at the first document which has it; only an error reads all.

    Raises:
        UserError: names the keys, or the types, that there are.
    """
    asked = [
        (key, _types(one)) for one in comparisons(condition) if (key := metadata_key(one.field))
    ]
    if not asked:
        return
    pairs = sorted({(key, kind) for key, kinds in asked for kind in kinds})
    held = _held(connection, pairs)
    for key, kinds in asked:
        if not any((key, kind) in held for kind in kinds):
            raise _unknown(connection, key, kinds)


def _types(comparison: In | Compare) -> list[str]:
    return [_type(value) for value in values_of(comparison)]


def _type(value: Value) -> str:
    """The type of a value in jsonb."""
    if isinstance(value, bool):
        return "boolean"
    return "string" if isinstance(value, str | datetime) else "number"


def _held(
    connection: postgres.Connection, pairs: Sequence[tuple[str, str]]
) -> set[tuple[str, str]]:
    keys, kinds = zip(*pairs, strict=True)
    bound = {"keys": list(keys), "kinds": list(kinds)}
    return set(postgres.run(connection, statement("postgres/search/filters/held_metadata"), bound))


def _unknown(connection: postgres.Connection, key: str, kinds: Sequence[str]) -> UserError:
    known: dict[str, list[str]] = {}
    for one, kind in postgres.run(connection, statement("postgres/search/filters/metadata_types")):
        known.setdefault(one, []).append(_KINDS[kind])
    if key in known:
        asked = " or ".join(_KINDS[kind] for kind in dict.fromkeys(kinds))
        return UserError(
            f"{METADATA}{key} is never {asked}",
            where="filter",
            do=f"Compare it with {' or '.join(known[key])}",
        )
    shown = [f"{one} ({' or '.join(of)})" for one, of in known.items()]
    more = ["…"] if len(shown) > _MOST_SHOWN else []
    listed = ", ".join(shown[:_MOST_SHOWN] + more)
    return UserError(
        f"no document has metadata {key!r}",
        where="filter",
        do=f"Known: {listed}" if listed else "No document has any: leave the filter out",
    )
