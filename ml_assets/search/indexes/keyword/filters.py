"""Conditions as tantivy queries, and the tokens the keyword index stores for them.

tantivy compares neither JSON paths nor texts in its range queries: an order it knows of times only.
"""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from typing import TYPE_CHECKING

from ml_assets.search.filters import language
from ml_assets.search.filters.language import Among, And, Compare, Condition, In, Not, Or, Scalar

if TYPE_CHECKING:
    import tantivy

_LONGEST_TOKEN = 1000


def attribute_token(key: str, value: Scalar) -> str:
    """One metadata item as one raw token of the keyword index; a long one by its hash."""
    if language.is_exact(value) and not isinstance(value, bool | str):
        value = float(value) + 0.0  # 2 is 2.0, and minus zero is zero
    token = json.dumps([key, value], ensure_ascii=False)
    if len(token) <= _LONGEST_TOKEN:
        return token
    return hashlib.sha256(token.encode()).hexdigest()


def is_expressible(condition: Condition) -> bool:
    """Whether `keyword_query` matches exactly the documents that pass."""
    return all(
        (isinstance(part, In) or part.field == "created_at")
        and all(map(language.is_exact, part.values))
        for part in language.comparisons(condition)
    )


def keyword_query(condition: language.Filter, schema: tantivy.Schema) -> tantivy.Query:
    """The condition as a query that matches what passes."""
    from tantivy import Occur, Query

    match condition:
        case Among(chunk_ids):
            return Query.term_set_query(schema, "chunk_id", list(chunk_ids))
        case And(parts):
            # Of nothing but exclusions, tantivy finds nothing; and of nothing, nothing.
            needed = [(Occur.Must, keyword_query(part, schema)) for part in parts]
            return Query.boolean_query([(Occur.Must, Query.all_query()), *needed])
        case Or(parts):
            enough = [(Occur.Should, keyword_query(part, schema)) for part in parts]
            return Query.boolean_query(enough)
        case Not(inner):
            excluded = (Occur.MustNot, keyword_query(inner, schema))
            return Query.boolean_query([(Occur.Must, Query.all_query()), excluded])
        case In(field, values):
            key = language.metadata_key(field)
            terms = [language.microseconds(v) if isinstance(v, datetime) else v for v in values]
            if key:
                field, terms = "attribute", [attribute_token(key, term) for term in terms]
            return Query.term_set_query(schema, field, terms)
        case Compare():
            return _range(condition, schema)


def _range(condition: Compare, schema: tantivy.Schema) -> tantivy.Query:
    from tantivy import FieldType, Query

    if not isinstance(condition.value, datetime):
        raise TypeError(f"tantivy knows no order of {condition.field}")
    below, inclusive = condition.operator[0] == "<", condition.operator[-1] == "="
    moment = language.microseconds(condition.value)
    return Query.range_query(
        schema,
        condition.field,
        FieldType.Integer,
        None if below else moment,
        moment if below else None,
        include_lower=inclusive or below,
        include_upper=inclusive or not below,
    )
