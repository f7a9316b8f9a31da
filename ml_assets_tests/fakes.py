"""Deterministic stand-ins for unit tests: a source held in memory and a hash-based encoder."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ml_assets.documents.chunkers import follow_chunkers
from ml_assets.documents.model import Document, Rejected
from ml_assets.documents.sources.base import UNATTRIBUTED, named_alike
from ml_assets.embeddings.refresh import ensure_space
from ml_assets.embeddings.space import VectorSpace
from ml_assets.errors import SourceError
from ml_assets.stores.postgres import Connection

SPACE = VectorSpace(
    model="hash",
    weights_sha256="0" * 64,
    tokenizer_sha256="0" * 64,
    pooling="hash",
    max_tokens=256,
    normalized=True,
    prompt="",
    dimension=16,
)


CHUNKER = "0" * 16
"""Of the chunks that a test writes itself."""


def ensure_partitions(connection: Connection, space: VectorSpace = SPACE) -> None:
    """Create the partitions of what a test writes itself."""
    follow_chunkers(connection, CHUNKER, [])
    ensure_space(connection, space, [CHUNKER])


class MemorySource:
    """Documents in a list; a fingerprint is a hash of the collection's documents."""

    name = "memory"

    def __init__(self, documents: Sequence[Document | Rejected] = ()) -> None:
        self.documents = list(documents)

    def stamp(self) -> str:
        return repr(self.documents)

    def collections(self) -> dict[str, str]:
        names = sorted({row.collection for row in self.documents} - {UNATTRIBUTED})
        return {
            name: hashlib.sha256(
                repr([row for row in self.documents if row.collection == name]).encode()
            ).hexdigest()
            for name in names
        }

    def columns(self) -> dict[str, tuple[str, ...]]:
        return named_alike("document_id", "collection", "text", "title", "label", "group")

    def read(self, collections: Collection[str]) -> Iterator[Document | Rejected]:
        wanted = {*collections, UNATTRIBUTED}
        yield from (row for row in self.documents if row.collection in wanted)

    def judged_queries(self) -> None:
        return None


def unplugged(source: MemorySource, *collections: str) -> MemorySource:
    """The source, where reading any of these fails after the first document."""

    class Unplugged(MemorySource):
        def read(self, wanted: Collection[str]) -> Iterator[Document | Rejected]:
            for row in super().read(wanted):
                yield row
                if row.collection in collections:
                    raise SourceError("the disk went away", do="Plug it in", where=row.collection)

    return Unplugged(source.documents)


class HashEncoder:
    """Vectors drawn from the sha256 of the text: equal texts, equal vectors."""

    def __init__(self, space: VectorSpace = SPACE) -> None:
        self.space = space
        self.texts: list[str] = []

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.texts += texts
        vectors = [self._vector(text) for text in texts]
        return np.asarray(vectors, dtype=np.float32).reshape(len(texts), self.space.dimension)

    def encode_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return self.encode(texts)

    def _vector(self, text: str) -> NDArray[np.float32]:
        digest = hashlib.sha256(f"{self.space.space_id}{text}".encode()).digest()
        seed = int.from_bytes(digest[:8], "big")
        vector = np.random.default_rng(seed).standard_normal(self.space.dimension)
        return (vector / np.linalg.norm(vector)).astype(np.float32)


def other_space(prompt: str = "query: ") -> VectorSpace:
    """A second space of the same dimension."""
    return replace(SPACE, prompt=prompt)
