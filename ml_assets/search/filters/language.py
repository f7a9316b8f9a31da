"""Conditions on documents: which of them may be found.

A field is `collection`, `label`, `created_at` or `metadata.<key>`. A condition is true or false,
never unknown: a field that a document does not have equals nothing and is neither less nor more
than anything, so that `not` of such a comparison is true. Numbers are compared as the decimal
numbers they are written as: 2.0 is 2, and 9007199254740993 is not 9007199254740992. A truth value
is no number, and a text never equals a number.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal, TypeAlias, get_args

from ml_assets.errors import UserError

Scalar: TypeAlias = str | int | float | bool
Value: TypeAlias = Scalar | datetime
Operator = Literal["<", "<=", ">", ">="]

OWN_FIELDS = ("collection", "label", "created_at")
METADATA = "metadata."
"""What the field of a metadata key begins with."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EXACT = 2**53
"""From here on doubles are further apart than integers."""


@dataclass(frozen=True, slots=True)
class In:
    """The field equals one of the values; they may be of several types.

    A time without zone is UTC.

    Raises:
        UserError: there is no such field, no value, or one that no document can have.
    """

    field: str
    values: tuple[Value, ...]

    def __post_init__(self) -> None:
        if not isinstance(self.values, tuple) or not self.values:
            what = f"{self.field} needs a tuple of values, got {self.values!r}"
            raise _wrong(what, "Give one or more")
        checked = tuple(_checked(self.field, value) for value in self.values)
        object.__setattr__(self, "values", checked)


@dataclass(frozen=True, slots=True)
class Compare:
    """The field is a number or a time, and is less or more than the value.

    Raises:
        UserError: there is no such operator, the field has no order, or the value is neither a
            number nor a time.
    """

    field: str
    operator: Operator
    value: int | float | datetime

    def __post_init__(self) -> None:
        # The types do not hold for callers that are not checked.
        if self.operator not in get_args(Operator):
            known = " ".join(get_args(Operator))
            raise _wrong(f"there is no operator {self.operator!r}", f"Known: {known}")
        if self.field in ("collection", "label"):
            raise _wrong(f"{self.field} has no order", "Ask for equality, or `in`")
        object.__setattr__(self, "value", _checked(self.field, self.value))
        if isinstance(self.value, bool | str):
            what = f"{self.field} is compared with a number, not with {self.value!r}"
            raise _wrong(what, "Ranges are on numbers of the metadata and on created_at")

    @property
    def values(self) -> tuple[Value, ...]:
        """The value, as `In` has several."""
        return (self.value,)


@dataclass(frozen=True, slots=True)
class And:
    """All of the conditions hold; of none, they do."""

    conditions: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """One of the conditions holds; of none, none does."""

    conditions: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """The condition does not hold."""

    condition: Condition


@dataclass(frozen=True, slots=True)
class Among:
    """The chunk is one of these: a condition that PostgreSQL has resolved."""

    chunk_ids: Sequence[str]


Condition: TypeAlias = In | Compare | And | Or | Not
Filter: TypeAlias = Condition | Among
"""What an index is asked for: a condition that it expresses exactly, or the chunks that pass."""
NO_FILTER: Condition = And(())


def all_of(*conditions: Condition) -> Condition:
    """All of the conditions hold, those that ask for nothing left out."""
    asked = tuple(condition for condition in conditions if condition != NO_FILTER)
    return asked[0] if len(asked) == 1 else And(asked)


def created_between(since: datetime | None, until: datetime | None) -> Condition:
    """Created at or after `since`, and before `until`; None is open.

    Raises:
        UserError: the range is reversed.
    """
    if since and until and in_utc(since) >= in_utc(until):
        what = f"created_at cannot be from {since} and before {until}"
        raise _wrong(what, "Give --until a later date")
    bounds: list[tuple[Operator, datetime | None]] = [(">=", since), ("<", until)]
    return all_of(*(Compare("created_at", sign, moment) for sign, moment in bounds if moment))


def comparisons(condition: Condition) -> Iterator[In | Compare]:
    """Yield all comparisons of which a condition is made."""
    match condition:
        case And(parts) | Or(parts):
            for part in parts:
                yield from comparisons(part)
        case Not(inner):
            yield from comparisons(inner)
        case _:
            yield condition


def size(condition: Condition) -> int:
    """How many values a condition compares with."""
    return sum(len(comparison.values) for comparison in comparisons(condition))


def is_exact(value: Value) -> bool:
    """Whether a double tells the value from all others, if it is a number."""
    return isinstance(value, str | datetime) or -_EXACT < value < _EXACT


def metadata_key(field: str) -> str | None:
    """The metadata key of a field; None for the document's own fields."""
    return field.removeprefix(METADATA) if field.startswith(METADATA) else None


def microseconds(moment: datetime) -> int:
    """Microseconds since 1970: exact in every store, unlike a float of seconds."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


def in_utc(moment: datetime) -> datetime:
    """The moment in UTC; one without zone is in UTC already."""
    try:
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except OverflowError:
        what = f"created_at cannot be {moment}, which no store can hold"
        raise _wrong(what, "Give a year from 1 to 9999") from None


def is_unicode(text: str) -> bool:
    """Whether a text can be written as UTF-8; what a prompt made of other bytes cannot."""
    return re.search(r"[\ud800-\udfff]", text) is None


def _checked(field: object, value: object) -> Value:
    """The value, in UTC, unless the field or the value is wrong."""
    if not isinstance(field, str) or (field not in OWN_FIELDS and not metadata_key(field)):
        known = ", ".join((*OWN_FIELDS, f"{METADATA}<key>"))
        raise _wrong(f"there is no field {field!r}", f"Known: {known}")
    for name, text in (("a field", field), (field, value)):
        if isinstance(text, str) and ("\0" in text or not is_unicode(text)):
            what = f"{name} cannot be {text!r}, which no store can hold"
            raise _wrong(what, "Leave out NUL and lone surrogates")
    if field == "created_at":
        if not isinstance(value, datetime):
            what = f"created_at is compared with a date, not with {value!r}"
            raise _wrong(what, "Write 2026-01-31")
        return in_utc(value)
    is_text = metadata_key(field) is None
    if not isinstance(value, str | int | float) or (is_text and not isinstance(value, str)):
        known = "a text" if is_text else "a text, a number, or true or false"
        raise _wrong(f"{field} cannot be {value!r} ({type(value).__name__})", f"Give {known}")
    if isinstance(value, float) and not math.isfinite(value):
        raise _wrong(f"{field} cannot be {value}", "Give a finite number")
    return value


def _wrong(what: str, do: str) -> UserError:
    return UserError(what, where="filter", do=do)
