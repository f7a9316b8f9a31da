"""All stores at once: opened empty, brought up to date without Dagster, and read to be compared."""

import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest.mock import patch

import psycopg
from psycopg import sql

from ml_assets.documents.chunking import Chunker
from ml_assets.documents.refresh import refresh_chunks, refresh_documents
from ml_assets.documents.sources.base import Source
from ml_assets.embeddings.encoder import Encoder
from ml_assets.embeddings.refresh import refresh_embeddings
from ml_assets.embeddings.space import VectorSpace
from ml_assets.features.documents import refresh_document_features
from ml_assets.features.offline import current_rows
from ml_assets.features.online import refresh_online
from ml_assets.features.registry import refresh_definitions
from ml_assets.features.views.document_text import DOCUMENT_TEXT
from ml_assets.operations.pending import find_pending
from ml_assets.search.generation import ensure_generation
from ml_assets.search.indexes.chroma.index import ChromaIndex
from ml_assets.search.indexes.keyword.index import KeywordIndex
from ml_assets.search.indexes.kinds import index_parameters, sync_index
from ml_assets.search.indexes.pgvector.index import PgvectorIndex
from ml_assets.search.model import CHUNKING
from ml_assets.settings import load_settings
from ml_assets.stores import chroma, duckdb, online, postgres

TABLES = {
    "collections": "select collection, fingerprint, document_count, read_error from collections"
    " where fingerprint <> '' order by 1",
    "documents": "select document_id, collection, title, text, label, content_hash"
    " from documents where deleted_at is null order by 1",
    "chunks": "select chunk_id, collection, start_offset, end_offset, token_count, heading, path,"
    " text, text_hash from current_chunks order by 1",
    "vectors": "select chunk_id, collection, text_hash, embedding::text from"
    " document_embeddings where space_id = %(space_id)s"
    " and chunker = (select chunker from chunkers where is_current) order by 1",
}

Index = PgvectorIndex | ChromaIndex | KeywordIndex


@contextmanager
def empty_stores(server: str) -> Iterator[tuple[postgres.Connection, Path]]:
    """An empty database and an empty home, gone afterwards."""
    name = f"test_{uuid.uuid4().hex}"
    home = Path(tempfile.mkdtemp())
    try:
        with postgres.connect(postgres.server_url(server, home, name), home) as connection:
            yield connection, home
    finally:
        shutil.rmtree(home)
        with psycopg.connect(server, autocommit=True) as connection:
            drop = sql.SQL("drop database {} with (force)").format(sql.Identifier(name))
            connection.execute(drop)


def refresh_stores(
    connection: postgres.Connection,
    home: Path,
    source: Source,
    chunker: Chunker,
    space: VectorSpace,
    load: Callable[[], Encoder],
) -> None:
    """One whole run from the source to the online store."""
    names = find_pending(connection, source, chunker, space).collections
    refresh_documents(connection, source, names, max_removed_fraction=1)
    with patch("ml_assets.documents.refresh._BATCH", 2):
        refresh_chunks(connection, chunker, names)
    with patch("ml_assets.embeddings.refresh._BATCH", 2):
        refresh_embeddings(connection, space, load, names)
    with open_indexes(connection, home, space) as indexes:
        for index in indexes:
            sync_index(connection, index)
    refresh_definitions(connection)
    with (
        duckdb.connect(home / "offline.duckdb") as duck,
        online.connect(None, home) as store,
    ):
        now = datetime.now(UTC)
        refresh_document_features(connection, duck, space.space_id, known_time=now)
        refresh_online(duck, store, DOCUMENT_TEXT)


@contextmanager
def open_indexes(
    connection: postgres.Connection, home: Path, space: VectorSpace, **settings: object
) -> Iterator[tuple[Index, ...]]:
    """The three indexes of the generation of `space` and the settings."""
    row = connection.execute("select chunker from chunkers where is_current").fetchone()
    parameters = index_parameters(load_settings(**settings))
    parameters = {**parameters, CHUNKING: {"chunker": row and row[0]}}
    generation = ensure_generation(connection, space.space_id, parameters)
    with chroma.connect(None, home) as client:
        indexes = (
            PgvectorIndex(connection, generation),
            ChromaIndex(client, generation),
            KeywordIndex(home / "keyword", generation),
        )
        try:
            yield indexes
        finally:
            for index in indexes:
                index.close()


def read_stores(
    connection: postgres.Connection, home: Path, space: VectorSpace, **settings: object
) -> dict[str, Any]:
    """Every row of the tables, the three indexes, and the offline and online features."""
    held = read_tables(connection, space)
    with open_indexes(connection, home, space, **settings) as indexes:
        for index in indexes:
            held[index.kind] = {chunk_id for chunk_id, _ in index.revisions()}
            if not isinstance(index, PgvectorIndex):
                held[f"{index.kind} revisions"] = set(index.revisions())
    with (
        duckdb.connect(home / "offline.duckdb") as duck,
        online.connect(None, home) as store,
    ):
        columns = ", ".join(["entity_id", *DOCUMENT_TEXT.columns])
        rows = duck.execute(f"select {columns} from ({current_rows(DOCUMENT_TEXT)}) order by 1")
        held["offline"] = _rounded(rows.fetchall())
        ids = sorted(store.revisions(DOCUMENT_TEXT.key))
        values = store.get_many(DOCUMENT_TEXT.key, ids).values
        held["online"] = _rounded([(name, *values[name].values()) for name in ids])
    return held


def read_tables(connection: postgres.Connection, space: VectorSpace) -> dict[str, Any]:
    """The rows of collections, documents, chunks and vectors, without times."""
    return {
        name: connection.execute(query, {"space_id": space.space_id}).fetchall()
        for name, query in TABLES.items()
    }


def _rounded(rows: Sequence[Sequence[Any]]) -> list[tuple[Any, ...]]:
    return [
        tuple(round(value, 9) if isinstance(value, float) else value for value in row)
        for row in rows
    ]
