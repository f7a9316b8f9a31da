"""Conditions as Chroma's `where`, and what Chroma stores for them beside a vector.

Chroma takes a missing key for unequal to everything, as we do, but knows no `not`: that is pushed
down to the comparisons. It compares a double with a stored integer by cutting it (1.5 would equal
1), so that metadata numbers are stored as doubles; what a large integer has beyond its double is
stored as `rest.<field>`. And it has no way to ask whether a key is missing: `number.<field>` says
that a field can be compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from ml_assets.search.filters.language import (
    METADATA,
    NO_FILTER,
    And,
    Compare,
    Condition,
    In,
    Not,
    Operator,
    Or,
    Scalar,
    microseconds,
)
from ml_assets.search.filters.numbers import EXACT, split_number

Where = dict[str, Any]

_SIGNS: dict[Operator, str] = {"<": "$lt", "<=": "$lte", ">": "$gt", ">=": "$gte"}
_OPPOSITE: dict[Operator, Operator] = {"<": ">=", "<=": ">", ">": "<=", ">=": "<"}


def chroma_metadata(
    collection: str, label: str | None, created_at: int | None, metadata: Mapping[str, Scalar]
) -> dict[str, Scalar]:
    """What Chroma stores beside a vector, so that `chroma_where` can find it."""
    stored: dict[str, Scalar] = {"collection": collection}
    if label is not None:
        stored["label"] = label
    if created_at is not None:
        stored |= {"created_at": created_at, "number.created_at": True}
    for key, value in metadata.items():
        stored |= _stored(METADATA + key, value)
    return stored


def chroma_where(condition: Condition) -> Where | None:
    """The condition as Chroma's `where`, or None when it admits everything."""
    return None if condition == NO_FILTER else _where(condition, holds=True)


def _stored(field: str, value: Scalar) -> dict[str, Scalar]:
    if isinstance(value, bool | str):
        return {field: value}
    nearest, rest = split_number(value)
    beyond = {f"rest.{field}": rest} if abs(nearest) >= EXACT else {}
    return {field: nearest, f"number.{field}": True, **beyond}


def _where(condition: Condition, *, holds: bool) -> Where:
    """The condition, or what holds where it does not."""
    match condition:
        case And(parts):
            return _all([_where(one, holds=holds) for one in parts], holds=holds)
        case Or(parts):
            return _all([_where(one, holds=holds) for one in parts], holds=not holds)
        case Not(inner):
            return _where(inner, holds=not holds)
        case In():
            return _in(condition, holds=holds)
        case Compare():
            return _compare(condition, holds=holds)


def _in(condition: In, *, holds: bool) -> Where:
    """One list for each type: Chroma takes no mixed ones."""
    field = condition.field
    lists: dict[type, list[Scalar]] = {}
    parts: list[Where] = []
    for value in condition.values:
        if isinstance(value, datetime):
            lists.setdefault(int, []).append(microseconds(value))
        elif isinstance(value, bool | str):
            lists.setdefault(type(value), []).append(value)
        elif abs(nearest := split_number(value)[0]) < EXACT:
            lists.setdefault(float, []).append(nearest)
        else:
            parts.append(_large(field, value, holds=holds))
    sign = "$in" if holds else "$nin"
    parts += [{field: {sign: values}} for values in lists.values()]
    return _all(parts, holds=not holds)


def _large(field: str, value: int | float, *, holds: bool) -> Where:
    nearest, rest = split_number(value)
    sign = "$eq" if holds else "$ne"
    return _all([{field: {sign: nearest}}, {f"rest.{field}": {sign: rest}}], holds=holds)


def _compare(condition: Compare, *, holds: bool) -> Where:
    field, operator = condition.field, condition.operator
    if not holds:
        opposite = Compare(field, _OPPOSITE[operator], condition.value)
        missing = {f"number.{field}": {"$ne": True}}
        return {"$or": [missing, _compare(opposite, holds=True)]}
    if isinstance(condition.value, datetime):
        return {field: {_SIGNS[operator]: microseconds(condition.value)}}
    nearest, rest = split_number(condition.value)
    if abs(nearest) < EXACT:
        return {field: {_SIGNS[operator]: nearest}}
    beyond = {field: {"$lt" if operator in ("<", "<=") else "$gt": nearest}}
    beside = {"$and": [{field: {"$eq": nearest}}, {f"rest.{field}": {_SIGNS[operator]: rest}}]}
    return {"$or": [beyond, beside]}


def _all(parts: list[Where], *, holds: bool) -> Where:
    """All of the parts, or any of them; of none, everything or nothing."""
    if not parts:
        return {"revision": {"$ne" if holds else "$eq": ""}}  # every entry has one
    if len(parts) == 1:
        return parts[0]
    return {"$and" if holds else "$or": parts}
