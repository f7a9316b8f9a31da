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
    tag: str | None, rows: Mapping[str, Row], asked: Sequence[str], now: datetime | None
) -> Reading:
    """Sort what was asked for by what holds at `now`."""
    given = Reading(tag)
    now = now or datetime.now(UTC)
    for entity_id in dict.fromkeys(asked):
        row = rows.get(entity_id)
        if row is None:
            given.missing.append(entity_id)
        elif row.expires_at and row.expires_at < now:
            given.expired[entity_id] = row.expires_at
        else:
            given.values[entity_id] = row.values
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


def unpack(packed: bytes) -> Row | None:
    """Read a row; None: it is damaged."""
    try:
        revision, ends, values = msgpack.unpackb(packed)
        expires_at = None if ends is None else _EPOCH + timedelta(microseconds=ends)
    except (ValueError, TypeError, OverflowError, msgpack.UnpackException):
        return None
    return Row(values, revision, expires_at) if isinstance(values, dict) else None
