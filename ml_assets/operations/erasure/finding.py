"""What is to be forgotten is found: the documents, what stores know them by, and their marks.

A mark is a piece of bytes by which one sees that something was left. Only what nothing else says
can be one: a word that no other document has, or five words that stand nowhere else in this order.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from psycopg.rows import class_row

from ml_assets.documents.history import IDS
from ml_assets.errors import NothingToDoError
from ml_assets.operations.erasure.subject import Marks, Subject
from ml_assets.operations.erasure.traces.matching import Matcher
from ml_assets.operations.erasure.traces.patterns import Pattern
from ml_assets.stores import postgres
from ml_assets.stores.sql import statement

_WORD = re.compile(r"\w+")
_SHINGLE = 5
"""Words in a row: of English text so many stand nowhere else, as a rule."""

_MOST_MARKS = 256
"""Of all documents together, and at least `_LEAST_MARKS` of each: each file is searched for all."""
_LEAST_MARKS = 3
_AROUND = 24
"""Characters on both sides of a rare word, with which it can be no word of a dictionary."""
_LONGEST = 96
"""Characters of a mark: of a longer one only pieces are looked for, which others may have."""
_LEAST_BYTES = 12
"""Of a mark: fewer stand somewhere by chance, or as a word of a tokenizer's vocabulary."""


@dataclass(frozen=True, slots=True)
class Said:
    """All that one row says of a document."""

    document_id: str
    collection: str
    title: str
    text: str
    label: str | None
    url: str | None
    group_id: str
    metadata: Mapping[str, Any]

    @property
    def texts(self) -> list[str]:
        """Its text, and what a model sees of it: under its title, where it has one."""
        if not self.text:
            return []
        return [self.text, *([f"{self.title}\n{self.text}"] if self.title else [])]

    @property
    def fields(self) -> list[str]:
        """What it says beside its text."""
        named = [self.document_id, self.title, self.label, self.url, self.group_id]
        return [each for each in (*named, *_values(self.metadata)) if each]


def find_subject(
    connection: postgres.Connection, request_id: str, document_ids: Sequence[str]
) -> Subject:
    """Find all that is known of these documents.

    Raises:
        NothingToDoError: no run ever saw one of them.
    """
    bound = {"document_ids": list(document_ids)}
    rows = connection.execute(statement("postgres/documents/known_documents"), bound).fetchall()
    known = {document_id for (document_id,) in rows}
    if unknown := [each for each in document_ids if each not in known]:
        raise NothingToDoError(f"no run ever saw a document {unknown[0]!r}", do=IDS)
    with connection.cursor(row_factory=class_row(Said)) as cursor:
        said = cursor.execute(statement("postgres/documents/said_of_documents"), bound).fetchall()
    chunks = connection.execute(statement("postgres/documents/chunks_of_documents"), bound)
    hashes = {chunk_id: bytes(text_hash) for chunk_id, text_hash in chunks.fetchall()}
    alone = connection.execute(statement("postgres/documents/labels_of_documents_alone"), bound)
    others = postgres.read_batches(
        connection, statement("postgres/documents/said_of_others"), bound
    )
    words = marks_of(said, (value for batch in others for row in batch for value in row))
    return Subject(
        request_id=request_id,
        documents=tuple(sorted(known)),
        collections=tuple(sorted({each.collection for each in said})),
        chunks=tuple(hashes),
        text_hashes=tuple(sorted(set(hashes.values()))),
        texts=tuple(dict.fromkeys(text for each in said for text in each.texts)),
        labels=tuple(label for (label,) in alone.fetchall()),
        marks=Marks(words, tuple(_vectors(connection, list(hashes)))),
    )


def texts_elsewhere(connection: postgres.Connection, subject: Subject) -> dict[str, list[str]]:
    """The ids of other documents that have a text of the subject, by that text."""
    bound = {"document_ids": list(subject.documents), "texts": list(subject.texts)}
    query = statement("postgres/documents/texts_of_others")
    found: dict[str, list[str]] = {}
    for document_id, text in connection.execute(query, bound).fetchall():
        found.setdefault(text, []).append(document_id)
    return found


def marks_of(said: Sequence[Said], others: Iterable[str]) -> tuple[str, ...]:
    """Pieces of what is said of documents that `others` do not say, in which case ever."""
    words, shingles = _candidates(said)
    vocabulary: set[str] = set()
    for value in others:
        spoken = _WORD.findall(value.casefold())
        vocabulary.update(spoken)
        shingles.difference_update(_in_rows(spoken))
    rare = words - vocabulary
    # Of `a-1` another document may have `a-12`.
    parts = Matcher([Pattern(each.encode(), each, "UTF-8") for each in rare])
    rare -= {found.mark for _, found in parts.find(f"{each} ".encode() for each in vocabulary)}
    most = max(_LEAST_MARKS, _MOST_MARKS // max(1, len(said)))
    marks: dict[str, None] = {}
    for each in said:
        own: dict[str, None] = {}
        for field in each.fields:
            if len(field) > _LONGEST:
                own.update(dict.fromkeys(_pieces(field, rare, set())))
            elif not rare.isdisjoint(_WORD.findall(field.casefold())):
                own.update(dict.fromkeys(_forms(field)))
        own.update(dict.fromkeys(_pieces(each.text, rare, shingles)))
        marks.update(dict.fromkeys(_spread(own, most)))
    return tuple(marks)


def _candidates(said: Sequence[Said]) -> tuple[set[str], set[tuple[str, ...]]]:
    rare: set[str] = set()
    shingles: set[tuple[str, ...]] = set()
    for each in said:
        words = _WORD.findall(each.text.casefold())
        rare.update(words)
        shingles.update(_in_rows(words))
        for field in each.fields:
            rare.update(_WORD.findall(field.casefold()))
    return rare, shingles


def _in_rows(words: list[str]) -> Iterator[tuple[str, ...]]:
    return zip(*(words[start:] for start in range(_SHINGLE)), strict=False)


def _pieces(text: str, rare: set[str], shingles: set[tuple[str, ...]]) -> Iterator[str]:
    """Pieces of a text: rare words that are like no other, others with what is around them."""
    found = list(_WORD.finditer(text))
    for match in found:
        if match[0].casefold() in rare:
            if is_like_no_other(match[0]):
                yield from _forms(match[0])
            else:
                yield from _forms(_line(text, match.start(), match.end()))
    words = [match[0].casefold() for match in found]
    for place, shingle in enumerate(_in_rows(words)):
        # With what ends its words: others may have them as parts of longer ones.
        start, end = found[place].start() - 1, found[place + _SHINGLE - 1].end() + 1
        if shingle in shingles and start >= 0 and end <= len(text):
            yield from _forms(text[start:end])


def is_like_no_other(word: str) -> bool:
    """Whether no vocabulary has it: letters and digits together."""
    return any(map(str.isdigit, word)) and any(map(str.isalpha, word))


def _line(text: str, start: int, end: int) -> str:
    """What is around a place in its line: stores write line ends in several ways."""
    before = text[max(0, start - _AROUND) : start].rpartition("\n")[2]
    after = text[end : end + _AROUND].partition("\n")[0]
    return f"{before}{text[start:end]}{after}"[:_LONGEST]


def _forms(piece: str) -> list[str]:
    """A piece as it is and in lower case, as the words of an index are, if it is long enough."""
    forms = dict.fromkeys((piece, piece.lower()))
    return [each for each in forms if len(each.encode()) >= _LEAST_BYTES and len(each) <= _LONGEST]


def _spread(marks: Iterable[str], most: int) -> list[str]:
    """At most so many, evenly: the fields come first, then the text."""
    found = list(marks)
    if len(found) <= most:
        return found
    places = np.linspace(0, len(found) - 1, most).round().astype(int)
    return [found[place] for place in dict.fromkeys(places.tolist())]


def _values(metadata: Mapping[str, Any]) -> list[str]:
    return [value for value in metadata.values() if isinstance(value, str)]


def _vectors(
    connection: postgres.Connection, chunk_ids: list[str]
) -> Iterator[NDArray[np.float32]]:
    query, bound = statement("postgres/embeddings/vectors_of_alone"), {"chunk_ids": chunk_ids}
    for (vector,) in connection.execute(query, bound):
        yield vector.to_numpy().astype(np.float32)
