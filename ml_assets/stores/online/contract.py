"""What every online store does."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

Value = int | float | bool | str | None
Values = Mapping[str, Value]

COLUMNS = {"view": "text", "entity_id": "text", "revision": "text", "features": "json"}
"""What a store holds of an entity."""


class OnlineStore(Protocol):
    """Rows of values by entity. A `view` is a key with its version, such as `document_text_v1`."""

    def put_many(self, view: str, rows: Mapping[str, Values], revisions: Mapping[str, str]) -> None:
        """Write the values of entities, each with a revision that tells one state from another."""

    def get_many(self, view: str, entity_ids: Sequence[str]) -> dict[str, dict[str, Value]]:
        """Read the values of those of `entity_ids` that the store has."""

    def views(self) -> list[str]:
        """The views that have entities."""

    def revisions(self, view: str) -> dict[str, str]:
        """Read the revision of every entity of `view`."""

    def delete_many(self, view: str, entity_ids: Iterable[str]) -> None:
        """Remove entities; one that is not there is no mistake."""


def pack(value: object) -> str:
    """Write a value as JSON: numbers keep their type and every digit."""
    return json.dumps(value, allow_nan=False)
