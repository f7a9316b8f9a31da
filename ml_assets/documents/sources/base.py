"""The contract of every source of documents."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from ml_assets.documents.model import Document, Rejected

MAX_COLLECTIONS = 64
"""Most collections of one source: Dagster's own bookkeeping grows with their number."""

UNATTRIBUTED = ""
"""The `collection` of a rejected row that does not say to which collection it belongs."""


@dataclass(frozen=True, slots=True)
class JudgedQuery:
    """A question, and the graded documents that answer it (grade > 0: relevant)."""

    query_id: str
    text: str
    relevant: Mapping[str, int]
    half: Literal["tuning", "reporting"]


JudgedQueries = tuple[JudgedQuery, ...]


def named_alike(*fields: str) -> dict[str, tuple[str, ...]]:
    """The columns of a source that is no table: each is called as the field it becomes."""
    return {field: (field,) for field in fields}


class Source(Protocol):
    """Documents from outside, in at most `MAX_COLLECTIONS` collections."""

    @property
    def name(self) -> str:
        """The source as people know it, without secrets, e.g. `python_docs`."""

    def stamp(self) -> str:
        """Return a word that is another one whenever what the source holds was written since.

        It costs little, and says nothing of content: what was written again as it was has another.
        """

    def collections(self) -> dict[str, str]:
        """Return every collection, sorted, with the fingerprint of its content.

        Raises:
            SourceError: the source cannot be read, or has too many collections.
        """

    def columns(self) -> Mapping[str, Sequence[str]]:
        """Return the columns that are read, with the fields of a document that each becomes.

        Fields are those of `Document`, of metadata `metadata.KEY`. What is no table has columns of
        the same names. Nothing is read for it: a column may be absent where it is not named.
        """

    def read(self, collections: Collection[str]) -> Iterator[Document | Rejected]:
        """Stream the documents of these collections in one pass; other rows are passed over.

        The read is complete when it returns without raising. Rows of which no collection is
        known come as `Rejected` with the collection `UNATTRIBUTED`, whatever was asked for.

        Raises:
            SourceError: the source cannot be read, so nothing may be concluded from it.
        """

    def judged_queries(self) -> JudgedQueries | None:
        """Return the questions whose answers are known, or None when the source has none.

        Raises:
            SourceError: there are some, but they cannot be read.
        """


@runtime_checkable
class Held(Protocol):
    """A source that can be held as it is, while others write to it."""

    def snapshot(self) -> AbstractContextManager[Source]:
        """The source, of which all that it is asked is told of one state."""


def snapshot(source: Source) -> AbstractContextManager[Source]:
    """The source in one state, where it can be held; else itself, of which stamps tell."""
    return source.snapshot() if isinstance(source, Held) else nullcontext(source)
