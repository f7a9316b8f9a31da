"""Documents and rejected rows, as they travel between rooms."""

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
    """A row that was quarantined: where it stands, and why; the others go on."""

    collection: str
    location: str
    reason: str
    document_id: str | None = None
