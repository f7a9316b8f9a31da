"""Rows a second into the stores: as ml_assets writes them, and by the library's plainest use."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tantivy
from numpy.typing import NDArray
from pgvector import HalfVector

from bench import corpus, ours
from bench.measure import say
from bench.rows import Figure, Row
from ml_assets.search.indexes.chroma.index import ChromaIndex
from ml_assets.search.indexes.contract import Entry
from ml_assets.search.indexes.keyword.index import KeywordIndex
from ml_assets.search.indexes.kinds import index_parameters
from ml_assets.search.indexes.ledger import VECTORS_AT_A_TIME
from ml_assets.search.model import CHUNKING, Generation
from ml_assets.settings import load_settings
from ml_assets.stores import chroma, postgres

DIMENSION = 384


@dataclass(frozen=True)
class Rows:
    """The same rows for every store: the entries of an index, and their vectors."""

    entries: Sequence[Entry]
    vectors: NDArray[np.float32]
    generation: Generation

    @property
    def ids(self) -> list[str]:
        """The chunk ids."""
        return [entry.chunk_id for entry in self.entries]


Write = Callable[[Rows, Path, str], float]
"""Write all rows into an empty store in a folder, or a database; return the seconds."""

Way = tuple[str, Write]


def measure(work: Path, server: str, texts: Sequence[corpus.Text], repetitions: int) -> list[Row]:
    """Write the same rows both ways, by turns, each time into an empty store."""
    say(f"stores, {len(texts):,} rows")
    rows = _rows(texts)
    measured = []
    for number, (what, *ways) in enumerate(_PAIRS):
        mine, plain = _by_turns(ways, rows, work / str(number), server, repetitions)
        measured.append(Row(f"{what}, {len(texts):,} rows", mine, plain))
    return measured


def _by_turns(
    ways: Sequence[Way], rows: Rows, work: Path, server: str, repetitions: int
) -> list[Figure]:
    rates: dict[str, list[float]] = {name: [] for name, _ in ways}
    for repetition in range(repetitions):
        for name, write in ways:
            folder = work / f"{name}-{repetition}"
            folder.mkdir(parents=True)
            with ours.database(server) as url:
                rates[name].append(len(rows.entries) / write(rows, folder, url))
    return [Figure(name, tuple(samples), "/s") for name, samples in rates.items()]


def _rows(texts: Sequence[corpus.Text]) -> Rows:
    vectors = np.random.default_rng(0).standard_normal((len(texts), DIMENSION), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    entries = [
        Entry(
            text.id, b"\0" * 32, text.title, text.text, "bench", None, None, {}, HalfVector(vector)
        )
        for text, vector in zip(texts, vectors, strict=True)
    ]
    parameters = {**index_parameters(load_settings()), CHUNKING: {"chunker": "bench"}}
    return Rows(entries, vectors, Generation("bench", "bench", DIMENSION, parameters))


@contextmanager
def _table(url: str) -> Iterator[postgres.Connection]:
    with postgres.connect(url, Path()) as connection:
        connection.execute(f"create table vectors (id text, embedding halfvec({DIMENSION}))")
        yield connection


def _copy(rows: Rows, folder: Path, url: str) -> float:
    with _table(url) as connection:
        started = time.perf_counter()
        pairs = zip(rows.ids, map(HalfVector, rows.vectors), strict=True)
        postgres.copy_rows(connection, "vectors", ("id", "embedding"), ("text", "halfvec"), pairs)
        return time.perf_counter() - started


def _insert(rows: Rows, folder: Path, url: str) -> float:
    with _table(url) as connection:
        started = time.perf_counter()
        pairs = zip(rows.ids, map(HalfVector, rows.vectors), strict=True)
        with connection.transaction(), connection.cursor() as cursor:
            cursor.executemany("insert into vectors values (%s, %s)", pairs)
        return time.perf_counter() - started


def _chroma_index(rows: Rows, folder: Path, url: str) -> float:
    with chroma.connect(None, folder) as client:
        started = time.perf_counter()
        index = ChromaIndex(client, rows.generation)
        for start in range(0, len(rows.entries), VECTORS_AT_A_TIME):
            index.upsert(rows.entries[start : start + VECTORS_AT_A_TIME])
        return time.perf_counter() - started


def _chroma_add(rows: Rows, folder: Path, url: str) -> float:
    with chroma.connect(None, folder) as client:
        started = time.perf_counter()
        collection = client.create_collection(
            "vectors",
            embedding_function=None,
            configuration={"hnsw": {"space": "cosine", "max_neighbors": 16, "ef_construction": 64}},
        )
        size = client.get_max_batch_size()
        for start in range(0, len(rows.ids), size):
            part = slice(start, start + size)
            collection.add(ids=rows.ids[part], embeddings=rows.vectors[part])
        return time.perf_counter() - started


def _keyword_index(rows: Rows, folder: Path, url: str) -> float:
    index = KeywordIndex(folder, rows.generation)
    started = time.perf_counter()
    index.upsert(rows.entries)
    index.close()
    return time.perf_counter() - started


def _tantivy_add(rows: Rows, folder: Path, url: str) -> float:
    schema = tantivy.SchemaBuilder()
    schema.add_text_field("id", stored=True, tokenizer_name="raw")
    for field in ("title", "text"):
        schema.add_text_field(field, tokenizer_name="en_stem")
    index = tantivy.Index(schema.build(), path=str(folder))
    started = time.perf_counter()
    writer = index.writer()
    for entry in rows.entries:
        writer.add_document(tantivy.Document(id=entry.chunk_id, title=entry.title, text=entry.text))
    writer.commit()
    writer.wait_merging_threads()
    return time.perf_counter() - started


_PAIRS: Sequence[tuple[str, Way, Way]] = (
    ("PostgreSQL, halfvec(384)", ("ml_assets, binary COPY", _copy), ("executemany", _insert)),
    ("Chroma", ("ml_assets", _chroma_index), ("plain add, no metadata", _chroma_add)),
    ("keyword index", ("ml_assets", _keyword_index), ("plain tantivy", _tantivy_add)),
)
