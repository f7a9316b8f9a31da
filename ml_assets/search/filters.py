"""Filters: one typed description of which documents may be found, for every index alike."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, LiteralString

from ml_assets.errors import UserError

if TYPE_CHECKING:
    import tantivy

Scalar = str | int | float | bool

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MAX_INTEGER = 2**63
_LONGEST_TOKEN = 1000
_ANY_OF: LiteralString = (
    "not exists (select from jsonb_each(%(alternatives)s) as asked"
    " where not coalesce(asked.value @> (d.metadata -> asked.key), false))"
)


@dataclass(frozen=True, slots=True)
class SearchFilter:
    """Documents of any of these collections and labels, of this time, with all of this metadata.

    A tuple of metadata values admits any of them. What is empty admits everything. `created_from`
    is inclusive, `created_to` exclusive; a time without zone is UTC. A document without a creation
    time is outside of every time range.

    Raises:
        UserError: a value is of a type that no document can have, or the range is reversed.
    """

    collections: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    created_from: datetime | None = None
    created_to: datetime | None = None
    metadata: Mapping[str, Scalar | tuple[Scalar, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("collections", "labels"):
            _check_names(name, getattr(self, name))
        for name in ("created_from", "created_to"):
            object.__setattr__(self, name, _in_utc(name, getattr(self, name)))
        if self.created_from and self.created_to and self.created_from >= self.created_to:
            raise UserError(
                f"created_from ({self.created_from}) is not before created_to ({self.created_to})",
                where="filter",
            )
        metadata = {key: _checked(key, value) for key, value in self.metadata.items()}
        object.__setattr__(self, "metadata", metadata)

    def __bool__(self) -> bool:
        bounds = self.created_from, self.created_to
        return bool(self.collections or self.labels or self.metadata or any(bounds))


def microseconds(moment: datetime) -> int:
    """Microseconds since 1970: exact in every store, unlike a float of seconds."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


def normalized_scalar(value: Scalar) -> Scalar:
    """The form in which equal numbers are equal in every store: 2.0 is 2; true is not 1."""
    if isinstance(value, float) and value.is_integer() and abs(value) < _MAX_INTEGER:
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= _MAX_INTEGER:
        return float(value)
    return value


def is_unicode(text: str) -> bool:
    """Whether a text can be written as UTF-8; what a prompt made of other bytes cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def sql_condition(filters: SearchFilter) -> tuple[LiteralString, dict[str, Any]]:
    """The filter as a condition on live `documents d`, and its bound values.

    Only what is asked for is in the condition: the planner guesses low for each that is there.
    """
    from psycopg.types.json import Jsonb

    asked: dict[LiteralString, tuple[str, Any]] = {
        "d.collection = any(%(collections)s)": ("collections", list(filters.collections)),
        "d.label = any(%(labels)s)": ("labels", list(filters.labels)),
        "d.created_at >= %(created_from)s": ("created_from", filters.created_from),
        "d.created_at < %(created_to)s": ("created_to", filters.created_to),
    }
    exact = {key: value for key, value in filters.metadata.items() if not isinstance(value, tuple)}
    if exact:
        asked["d.metadata @> %(metadata)s"] = ("metadata", Jsonb(exact))
    either = {key: value for key, value in filters.metadata.items() if isinstance(value, tuple)}
    if either:
        asked[_ANY_OF] = ("alternatives", Jsonb(either))
    conditions = [condition for condition, (_, value) in asked.items() if value]
    condition = " and ".join(["d.deleted_at is null", *conditions])
    return condition, {name: value for name, value in asked.values() if value}


def chroma_metadata(
    collection: str, label: str | None, created_at: int | None, metadata: Mapping[str, Scalar]
) -> dict[str, Scalar]:
    """What Chroma stores beside a vector, so that `chroma_where` can find it."""
    own = {"collection": collection, "label": label, "created_at": created_at}
    stored: dict[str, Scalar] = {key: value for key, value in own.items() if value is not None}
    return stored | {f"metadata.{key}": _chroma_scalar(value) for key, value in metadata.items()}


def chroma_where(filters: SearchFilter) -> dict[str, Any] | None:
    """The filter as Chroma's `where`, or None when it admits everything."""
    conditions: list[dict[str, Any]] = []
    if filters.collections:
        conditions.append({"collection": {"$in": list(filters.collections)}})
    if filters.labels:
        conditions.append({"label": {"$in": list(filters.labels)}})
    if filters.created_from:
        conditions.append({"created_at": {"$gte": microseconds(filters.created_from)}})
    if filters.created_to:
        conditions.append({"created_at": {"$lt": microseconds(filters.created_to)}})
    for key, values in filters.metadata.items():
        either = [{f"metadata.{key}": {"$eq": _chroma_scalar(value)}} for value in _any_of(values)]
        conditions.append({"$or": either} if len(either) > 1 else either[0])
    return {"$and": conditions} if len(conditions) > 1 else next(iter(conditions), None)


def _chroma_scalar(value: Scalar) -> Scalar:
    # Chroma compares a float with a stored integer by cutting it: 1.5 would equal 1.
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def attribute_token(key: str, value: Scalar) -> str:
    """One metadata item as one raw token of the keyword index; a long one by its hash."""
    token = json.dumps([key, normalized_scalar(value)], ensure_ascii=False)
    if len(token) <= _LONGEST_TOKEN:
        return token
    return hashlib.sha256(token.encode()).hexdigest()


def keyword_conditions(filters: SearchFilter, schema: tantivy.Schema) -> list[tantivy.Query]:
    """The filter as tantivy queries that must all match."""
    from tantivy import FieldType, Query

    conditions: list[Query] = []
    if filters.collections:
        conditions.append(Query.term_set_query(schema, "collection", list(filters.collections)))
    if filters.labels:
        conditions.append(Query.term_set_query(schema, "label", list(filters.labels)))
    if filters.created_from or filters.created_to:
        conditions.append(
            Query.range_query(
                schema,
                "created_at",
                FieldType.Integer,
                microseconds(filters.created_from) if filters.created_from else None,
                microseconds(filters.created_to) if filters.created_to else None,
                include_upper=filters.created_to is None,
            )
        )
    conditions += [
        Query.term_set_query(
            schema, "attribute", [attribute_token(key, value) for value in _any_of(values)]
        )
        for key, values in filters.metadata.items()
    ]
    return conditions


def _check_names(name: str, values: object) -> None:
    if not isinstance(values, tuple) or not all(isinstance(value, str) for value in values):
        raise UserError(f"{name} must be a tuple of strings, got {values!r}", where="filter")
    for value in values:
        _check_text(name, value)


def _check_text(name: str, value: str) -> None:
    if "\0" in value or not is_unicode(value):
        raise UserError(f"{name} cannot equal {value!r}, which no store can hold", where="filter")


def _in_utc(name: str, moment: object) -> datetime | None:
    if moment is None:
        return None
    if not isinstance(moment, datetime):
        raise UserError(f"{name} must be a datetime, got {moment!r}", where="filter")
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


def _any_of(values: Scalar | tuple[Scalar, ...]) -> tuple[Scalar, ...]:
    return values if isinstance(values, tuple) else (values,)


def _checked(key: object, values: object) -> Scalar | tuple[Scalar, ...]:
    if not isinstance(values, tuple):
        return _checked_scalar(key, values)
    if not values:
        raise UserError(f"metadata {key!r} has no value to equal", where="filter")
    return tuple(_checked_scalar(key, value) for value in values)


def _checked_scalar(key: object, value: object) -> Scalar:
    if not isinstance(key, str) or not key:
        raise UserError(f"a metadata key must be a word, got {key!r}", where="filter")
    if not isinstance(value, str | int | float):
        raise UserError(
            f"metadata {key!r} cannot equal {value!r} ({type(value).__name__})",
            where="filter",
            do="Give a text, a number, or true or false",
        )
    if isinstance(value, float) and not math.isfinite(value):
        raise UserError(f"metadata {key!r} cannot equal {value}", where="filter")
    for text in (key, value):
        if isinstance(text, str):
            _check_text(f"metadata {key!r}", text)
    return normalized_scalar(value)


NO_FILTER = SearchFilter()
