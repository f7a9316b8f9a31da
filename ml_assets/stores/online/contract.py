"""What every online store does."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from math import isfinite
from typing import Protocol

import msgpack

from ml_assets.errors import StoreError

Value = int | float | bool | str | None
Values = Mapping[str, Value]

COLUMNS = {"build": "integer", "entity_id": "text", "revision": "text", "features": "blob"}
"""What a store holds of an entity."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_FIRST = (datetime.min.replace(tzinfo=UTC) - _EPOCH) // _MICROSECOND
_LAST = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // _MICROSECOND


@dataclass(frozen=True, slots=True)
class Row:
    """The values of an entity; `revision` tells one state of them from another.

    After `expires_at` readers get no values; None: they hold till they are replaced.
    """

    values: Values
    revision: str
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """What there is of the entities that were asked for: each is in one of three places.

    `values` hold; those that are `expired` did, till then; of those that are `missing` there is
    nothing. `tag` names the build that all of it is of; None: there is no build of the view.
    """

    tag: str | None
    values: dict[str, Values] = field(default_factory=dict)
    expired: dict[str, datetime] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)


class OnlineStore(Protocol):
    """Rows by entity. A `view` is a key with its version, such as `document_text_v1`.

    All rows of a view are of one build, and readers see one build at a time: another is written
    beside it and takes its place at once. The values of one entity change together.
    """

    def get_many(
        self, view: str, entity_ids: Sequence[str], now: datetime | None = None
    ) -> Reading:
        """Read the values that hold at `now`, all of one build; None: at this moment."""

    def get_rows(self, view: str, entity_ids: Sequence[str]) -> dict[str, Row]:
        """Read what is stored, expired or not; a row that cannot be read is not there."""

    def put_many(self, view: str, rows: Mapping[str, Row]) -> None:
        """Write entities into the build that is read."""

    def delete_many(self, view: str, entity_ids: Iterable[str]) -> None:
        """Remove entities; one that is not there is no mistake."""

    def replace(self, view: str, batches: Iterable[Mapping[str, Row]], entities: int) -> None:
        """Write a build of about so many `entities`, and let it take the place of the one before.

        Readers see that one till then. What a killed call leaves is never read; the next call
        removes it.

        Raises:
            StoreError: another call for the same view began meanwhile; that one will be read.
        """

    def views(self) -> list[str]:
        """The views that have a build with entities."""

    def revisions(self, view: str) -> dict[str, str]:
        """Read the revision of every entity of `view`."""


def reading(
    tag: str | None, packed: Mapping[str, bytes], asked: Sequence[str], now: datetime | None
) -> Reading:
    """Sort what was asked for by what holds at `now`; a row that cannot be read is missing."""
    given = Reading(tag)
    moment = ((now or datetime.now(UTC)) - _EPOCH) // _MICROSECOND
    for entity_id in dict.fromkeys(asked):
        stored = packed.get(entity_id)
        if stored is None or (parts := _parts(stored)) is None:
            given.missing.append(entity_id)
            continue
        _, ends, values = parts
        if ends is not None and ends < moment:
            given.expired[entity_id] = _EPOCH + timedelta(microseconds=ends)
        else:
            given.values[entity_id] = values
    return given


def overtaken(view: str) -> StoreError:
    """The error of a build in whose place another was begun."""
    return StoreError(
        "another process writes all its values",
        where=f"the online values of {view}",
        do="Let it end; what it writes will be read",
    )


def pack(row: Row) -> bytes:
    """Write a row: numbers keep their type and every bit.

    Raises:
        ValueError: a number is not finite.
    """
    for value in row.values.values():
        if type(value) is float and not isfinite(value):
            raise ValueError(f"a value of {value} is no number")
    ends = row.expires_at and (row.expires_at - _EPOCH) // _MICROSECOND
    packed: bytes = msgpack.packb([row.revision, ends, row.values])
    return packed


def unpacked(packed: Mapping[str, bytes]) -> dict[str, Row]:
    """The rows as they were written; one that is damaged is not there."""
    rows = {}
    for entity_id, stored in packed.items():
        if parts := _parts(stored):
            revision, ends, values = parts
            expires_at = None if ends is None else _EPOCH + timedelta(microseconds=ends)
            rows[entity_id] = Row(values, revision, expires_at)
    return rows


def _parts(packed: bytes) -> tuple[str, int | None, Values] | None:
    """The revision, the microsecond at which the values end, and these; None: it is damaged."""
    try:
        revision, ends, values = msgpack.unpackb(packed)
        is_sound = isinstance(values, dict) and (ends is None or _FIRST <= ends <= _LAST)
    except (ValueError, TypeError, msgpack.UnpackException):
        return None
    return (revision, ends, values) if is_sound else None
