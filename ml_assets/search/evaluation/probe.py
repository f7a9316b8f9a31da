"""A query whose answer is known, for any corpus."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ml_assets.search.generation import on_vectors
from ml_assets.search.model import Generation, Vector
from ml_assets.stores import postgres
from ml_assets.stores.sql import statement

WORDS = 12


@dataclass(frozen=True, slots=True)
class Probe:
    """The first words of a live document, and its vector."""

    document_id: str
    text: str
    vector: Vector


def find_probe(connection: postgres.Connection, generation: Generation) -> Probe | None:
    """A query with a known answer, always the same for the same documents; None without any."""
    query = on_vectors(generation, statement("postgres/search/evaluation/find_probe"))
    row = connection.execute(query, binary=True).fetchone()
    if row is None:
        return None
    document_id, text, embedding = row
    words = " ".join(text.split()[:WORDS])
    return Probe(document_id, words, embedding.to_numpy().astype(np.float32))
