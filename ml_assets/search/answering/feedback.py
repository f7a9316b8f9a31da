"""Pseudo-relevance feedback: the query moves towards the first documents, and runs again."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ml_assets.search.generation import on_vectors
from ml_assets.search.model import Generation, Vector
from ml_assets.stores import postgres
from ml_assets.stores.sql import statement

DOCUMENTS = 3
WEIGHT = 0.5
"""How many documents move the query, and how far; chosen on the tuning halves of SciFact, Cranfield
and `python_docs` among 2, 3 and 5 documents, and 0.3, 0.5 and 1."""


def rocchio(query: Vector, first: Sequence[Vector], weight: float = WEIGHT) -> Vector:
    """The query plus `weight` times the mean of `first`, at unit norm; all of shape (dimension,).

    Source: J. Rocchio, "Relevance feedback in information retrieval", 1971, without its negative
    part.
    """
    if not first:
        return query
    moved = query + weight * np.mean(first, axis=0)
    unit: Vector = (moved / np.linalg.norm(moved)).astype(np.float32)
    return unit


def read_vectors(
    connection: postgres.Connection, generation: Generation, chunk_ids: Sequence[str]
) -> list[Vector]:
    """The vectors of these chunks in the space of the generation, of shape (dimension,) each.

    They come in the order of their ids; a chunk that is gone is passed over.
    """
    query = on_vectors(generation, statement("postgres/search/answering/vectors"))
    rows = connection.execute(query, {"chunk_ids": list(chunk_ids)}, binary=True)
    return [embedding.to_numpy().astype(np.float32) for (embedding,) in rows]
