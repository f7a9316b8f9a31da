"""Documents and rejected rows, as they travel between rooms."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

MAX_NAME = 200
"""Longest collection name, document id or label, in characters."""

LONGEST_TITLE = 1_000
"""Characters; a longer title is cut, since every chunk is searched with it."""


class Heading(NamedTuple):
    """A heading of a text: where its section begins, in characters, its level, and its words.

    It begins with a word: a cut within one could make tokens that were not counted.
    Level 1 is the outermost; a section ends where the next one of its level, or above it, begins.
    """

    offset: int
    level: int
    words: str


def headings_of(rows: Iterable[Iterable[Any]]) -> tuple[Heading, ...]:
    """The headings that were written as JSON."""
    return tuple(Heading(*row) for row in rows)


class Page(NamedTuple):
    """What a file of one document says; the title is empty where it has none."""

    title: str
    text: str
    headings: tuple[Heading, ...] = ()


@dataclass(frozen=True, slots=True)
class Document:
    """One document of a source; `text` and `title` are already normalised.

    `headings` are those that the format tells apart from the text, in its order.
    `group` joins documents that must stay on one side of a train/test split
    (the members of one class, the versions of one page); empty: the document alone.
    `location`: where it stands, as of a rejected row; empty: its source does not tell.
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
    headings: tuple[Heading, ...] = ()
    location: str = field(default="", compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Rejected:
    """A row that was quarantined: where it stands, and why; the others go on."""

    collection: str
    location: str
    reason: str
    document_id: str | None = None
