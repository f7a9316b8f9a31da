"""Conditions as Chroma's `where`, and what Chroma stores for them beside a vector.

Chroma takes a missing key for unequal to everything, as we do, but knows no `not`: that is pushed
down to the comparisons, and one of order under it would have to hold where the key is missing,
which Chroma cannot tell. It compares a double with a stored integer by cutting it (1.5 would equal
1), so that metadata numbers are stored as doubles.
"""

from __future__ import annotations

from datetime import datetime
from hashlib import sha256
from typing import Any

from ml_assets.search.filters import language
from ml_assets.search.filters.language import And, Compare, Condition, In, Not, Or, Scalar, Value
from ml_assets.search.indexes.contract import Entry

Where = dict[str, Any]

_SIGNS: dict[language.Operator, str] = {"<": "$lt", "<=": "$lte", ">": "$gt", ">=": "$gte"}
_LARGEST = 2**1023

VECTOR = "vector"
"""The metadata that is the hash of the vector."""

MOST_VALUES = 500
"""Values of a condition, at most: it becomes a statement of SQLite, which takes 32,766 variables
and expressions that are 1,000 deep. PostgreSQL resolves what is longer."""


def chroma_metadata(entry: Entry) -> dict[str, Scalar]:
    """What Chroma stores beside a vector: the revision, and what `chroma_where` asks for.

    And a hash of the vector, by which equal ones are found.
    """
    own = {field: getattr(entry, field) for field in language.OWN_FIELDS}
    return {
        "revision": entry.revision.hex(),
        VECTOR: sha256(entry.vector.tobytes()).hexdigest()[:32],
        **{field: value for field, value in own.items() if value is not None},
        **{language.METADATA + key: _comparable(value) for key, value in entry.metadata.items()},
    }


def is_expressible(condition: Condition) -> bool:
    """Whether `chroma_where` is exactly the condition, and Chroma takes it."""
    return language.size(condition) <= MOST_VALUES and _is_exact(condition, holds=True)


def _is_exact(condition: Condition, *, holds: bool) -> bool:
    """Whether it is exactly the condition, or its negation unless it `holds`."""
    match condition:
        case And(parts) | Or(parts):
            return bool(parts) and all(_is_exact(part, holds=holds) for part in parts)
        case Not(inner):
            return _is_exact(inner, holds=not holds)
        case _:
            ordered = isinstance(condition, Compare)
            return (holds or not ordered) and all(map(language.is_exact, condition.values))


def chroma_where(condition: Condition, *, holds: bool = True) -> Where:
    """The condition as Chroma's `where`, or what holds where it does not."""
    match condition:
        case And(parts) | Or(parts):
            every = isinstance(condition, And) == holds
            return _joined([chroma_where(part, holds=holds) for part in parts], every)
        case Not(inner):
            return chroma_where(inner, holds=not holds)
        case Compare(field, operator, value):
            return {field: {_SIGNS[operator]: _comparable(value)}}
        case In(field, values):
            # One list for each type: Chroma takes no mixed ones.
            lists: dict[type, list[Scalar]] = {}
            for scalar in map(_comparable, values):
                lists.setdefault(type(scalar), []).append(scalar)
            sign = "$in" if holds else "$nin"
            return _joined([{field: {sign: scalars}} for scalars in lists.values()], not holds)


def _joined(wheres: list[Where], every: bool) -> Where:
    return wheres[0] if len(wheres) == 1 else {"$and" if every else "$or": wheres}


def _comparable(value: Value) -> Scalar:
    if isinstance(value, datetime):
        return language.microseconds(value)
    if isinstance(value, bool | str):
        return value
    # A larger one is compared by PostgreSQL.
    return float(min(max(value, -_LARGEST), _LARGEST)) + 0.0  # minus zero is zero
