"""What a document, a rejected row and a row delta are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

MAX_NAME = 200
"""Longest collection name, document id or label, in characters."""


@dataclass(frozen=True, slots=True)
class Document:
    """One document of a source; `text` and `title` are already normalised.

    `group` joins documents that must stay on one side of a train/test split
    (the members of one class, the versions of one page); empty: the document alone.
    """

    document_id: str
    collection: str
    text: str
    title: str = ""
    label: str | None = None
    url: str | None = None
    group: str = ""
    metadata: Mapping[str, str | int | float | bool] = field(default_factory=dict)
    created_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Rejected:
    """A row that was set aside: where it stands, and why; the others go on."""

    collection: str
    location: str
    reason: str
    document_id: str | None = None


@dataclass(frozen=True, slots=True)
class Delta:
    """How many rows a stage added, changed, removed and left alone."""

    added: int = 0
    changed: int = 0
    removed: int = 0
    unchanged: int = 0

    def __add__(self, other: Delta) -> Delta:
        """Sum two deltas, count by count."""
        return Delta(
            self.added + other.added,
            self.changed + other.changed,
            self.removed + other.removed,
            self.unchanged + other.unchanged,
        )

    @property
    def touched(self) -> int:
        """Rows that were written or removed."""
        return self.added + self.changed + self.removed

    @property
    def total(self) -> int:
        """Rows that are there now."""
        return self.added + self.changed + self.unchanged
