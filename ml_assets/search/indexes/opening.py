"""Opening all indexes of a generation."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager

from ml_assets.search.indexes.chroma.index import ChromaIndex
from ml_assets.search.indexes.faiss.index import FaissIndex
from ml_assets.search.indexes.keyword.index import KeywordIndex
from ml_assets.search.indexes.pgvector.index import PgvectorIndex
from ml_assets.search.model import Generation, VectorIndex
from ml_assets.settings import Settings, secret
from ml_assets.stores import chroma, postgres


@contextmanager
def open_indexes(
    connection: postgres.Connection, settings: Settings, generation: Generation
) -> Iterator[tuple[dict[str, VectorIndex], KeywordIndex]]:
    """All indexes of a generation: the vector indexes by their kinds, and the keyword index."""
    with ExitStack() as stack:
        client = stack.enter_context(chroma.connect(secret(settings.chroma_url), settings.home))
        vectors: dict[str, VectorIndex] = {
            "pgvector": PgvectorIndex(connection, generation, build_memory=settings.build_memory),
            "chroma": ChromaIndex(client, generation),
        }
        if "faiss" in generation.parameters:
            faiss = FaissIndex(settings.faiss_folder, connection, generation)
            vectors["faiss"] = stack.enter_context(closing(faiss))
        keyword = KeywordIndex(settings.keyword_folder, generation)
        yield vectors, stack.enter_context(closing(keyword))
