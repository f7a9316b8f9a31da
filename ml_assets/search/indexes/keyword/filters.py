"""Conditions as tantivy queries, and the tokens the keyword index stores for them.

tantivy compares neither JSON paths nor texts in its range queries, but its query language does:
numbers are tokens whose order is that of the numbers.
"""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from typing import TYPE_CHECKING

from ml_assets.search.filters.language import (
    And,
    Compare,
    Condition,
    In,
    Not,
    Or,
    Scalar,
    metadata_key,
    microseconds,
)
from ml_assets.search.filters.numbers import sortable

if TYPE_CHECKING:
    import tantivy

_LONGEST_TOKEN = 1000


def attribute_token(key: str, value: Scalar) -> str:
    """One metadata item as one raw token of the keyword index; a long one by its hash."""
    if not isinstance(value, bool | str):
        return _numbers_of(key) + sortable(value)
    token = json.dumps([key, value], ensure_ascii=False)
    if len(token) <= _LONGEST_TOKEN:
        return token
    return hashlib.sha256(token.encode()).hexdigest()


def keyword_query(condition: Condition, index: tantivy.Index) -> tantivy.Query:
    """The condition as a query that matches what passes."""
    from tantivy import Occur, Query

    match condition:
        case And(parts):
            # Of nothing but exclusions, tantivy finds nothing; and of nothing, nothing.
            needed = [(Occur.Must, keyword_query(one, index)) for one in parts]
            return Query.boolean_query([(Occur.Must, Query.all_query()), *needed])
        case Or(parts):
            return Query.boolean_query([(Occur.Should, keyword_query(one, index)) for one in parts])
        case Not(inner):
            excluded = (Occur.MustNot, keyword_query(inner, index))
            return Query.boolean_query([(Occur.Must, Query.all_query()), excluded])
        case In():
            return _in(condition, index.schema)
        case Compare():
            return _compare(condition, index)


def _in(condition: In, schema: tantivy.Schema) -> tantivy.Query:
    from tantivy import Query

    key = metadata_key(condition.field)
    if key is None:
        terms = [
            microseconds(value) if isinstance(value, datetime) else value
            for value in condition.values
        ]
        return Query.term_set_query(schema, condition.field, terms)
    tokens = [
        attribute_token(key, value)
        for value in condition.values
        if not isinstance(value, datetime)  # only created_at has times
    ]
    return Query.term_set_query(schema, "attribute", tokens)


def _compare(condition: Compare, index: tantivy.Index) -> tantivy.Query:
    from tantivy import FieldType, Query

    below, inclusive = condition.operator[0] == "<", condition.operator[-1] == "="
    if not isinstance(condition.value, datetime):
        key = metadata_key(condition.field) or ""
        return index.parse_query(_range_of_tokens(key, condition.value, below, inclusive))
    moment = microseconds(condition.value)
    return Query.range_query(
        index.schema,
        condition.field,
        FieldType.Integer,
        None if below else moment,
        moment if below else None,
        include_lower=inclusive or below,
        include_upper=inclusive or not below,
    )


def _range_of_tokens(key: str, value: int | float, below: bool, inclusive: bool) -> str:
    """A range in tantivy's query language; tokens are letters and digits, and need no quotes."""
    all_numbers, token = _numbers_of(key), attribute_token(key, value)
    if below:
        return f"attribute:[{all_numbers} TO {token}{']' if inclusive else '}'}"
    # g comes after all hex digits.
    return f"attribute:{'[' if inclusive else '{'}{token} TO {all_numbers}g]"


def _numbers_of(key: str) -> str:
    """What the tokens of all numbers of a metadata key begin with, and no others."""
    return "n" + hashlib.sha256(key.encode()).hexdigest()[:16]
