"""What a condition means, in plain Python: every store has to agree."""

from __future__ import annotations

import operator
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from typing import Any

from ml_assets.search.filters.language import (
    And,
    Compare,
    Condition,
    In,
    Not,
    Or,
    Value,
    metadata_key,
)
from ml_assets_tests.search.corpus import Doc

_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def matches(condition: Condition, doc: Doc) -> bool:
    """Whether the condition holds for the document."""
    match condition:
        case And(parts):
            return all(matches(part, doc) for part in parts)
        case Or(parts):
            return any(matches(part, doc) for part in parts)
        case Not(inner):
            return not matches(inner, doc)
        case In(field, values):
            return _held(doc, field) in [_comparable(value) for value in values]
        case Compare(field, sign, value):
            kind, held = _held(doc, field)
            asked_kind, asked = _comparable(value)
            return kind == asked_kind and _COMPARE[sign](held, asked)


def _held(doc: Doc, field: str) -> tuple[str, object]:
    key = metadata_key(field)
    value = getattr(doc, field) if key is None else doc.metadata.get(key)
    return ("missing", None) if value is None else _comparable(value)


def _comparable(value: Value) -> tuple[str, Any]:
    """The value with its type: true is not 1, and a number is what it is written as."""
    if isinstance(value, bool | str | datetime):
        return type(value).__name__, value
    return "number", Decimal(repr(value))
