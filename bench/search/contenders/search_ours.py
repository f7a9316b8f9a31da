"""Hybrid search of ml_assets: `search()` on an open engine, with the encoder for many."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.search.contenders.protocol import Search
from bench.search.tables import parameters_of
from ml_assets.embeddings.encoder import load_query_encoder
from ml_assets.search.answering.engine import open_engine, search
from ml_assets.search.generation import ensure_generation
from ml_assets.search.indexes.keyword.index import KeywordIndex
from ml_assets.search.indexes.kinds import Indexes, sync_index
from ml_assets.search.indexes.pgvector.index import PgvectorIndex
from ml_assets.settings import load_settings
from ml_assets.stores import postgres


@contextmanager
def open_search(database: str, state: Path, model: Path) -> Iterator[Search]:
    """Build the indexes of the tables that are there, and open them."""
    settings = load_settings(home=state / "home")
    encoder = load_query_encoder(settings)
    with postgres.connect(database, state) as connection:
        parameters = parameters_of(connection, settings)
        generation = ensure_generation(connection, encoder.space.space_id, parameters)
        sync_index(connection, PgvectorIndex(connection, generation))
        sync_index(connection, KeywordIndex(settings.keyword_folder, generation))
        with open_engine(connection, Indexes(settings), generation) as engine:
            yield lambda text: [hit.document_id for hit in search(engine, text, encoder).hits]
