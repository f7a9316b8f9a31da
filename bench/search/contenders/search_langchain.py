"""LangChain: `EnsembleRetriever` of `BM25Retriever` and `PGVectorStore` with HNSW, as documented.

https://docs.langchain.com/oss/python/integrations/vectorstores/pgvectorstore
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from langchain_classic.retrievers import EnsembleRetriever
from langchain_community.retrievers import BM25Retriever
from langchain_core.embeddings import FakeEmbeddings
from langchain_huggingface import HuggingFaceEmbeddings
from langchain_postgres import PGEngine, PGVectorStore
from langchain_postgres.v2.indexes import HNSWIndex

from bench.search.contenders.protocol import Search
from bench.search.vectors import K, load

TABLE = "bench"
_BATCH = 1000


@contextmanager
def open_search(database: str, state: Path, model: Path) -> Iterator[Search]:
    """Fill a table with the chunks and vectors in `state`, and open both retrievers."""
    fill(database, state)
    yield opened(database, state, model)


def fill(database: str, state: Path) -> None:
    """Write the chunks and vectors in `state` into a table with an HNSW index."""
    texts, vectors = _texts(state), load(state / "vectors")
    engine = _engine(database)
    engine.init_vectorstore_table(table_name=TABLE, vector_size=vectors.dimension)
    # It is given vectors, and encodes nothing.
    store = PGVectorStore.create_sync(
        engine=engine, table_name=TABLE, embedding_service=FakeEmbeddings(size=vectors.dimension)
    )
    written = 0
    for block in vectors.blocks():
        for start in range(0, len(block), _BATCH):
            part = block[start : start + _BATCH].tolist()
            store.add_embeddings(texts[written : written + len(part)], part)
            written += len(part)
    store.apply_vector_index(HNSWIndex())


def opened(database: str, state: Path, model: Path) -> Search:
    """Both retrievers over what was filled, fused."""
    embeddings = HuggingFaceEmbeddings(model_name=str(model))
    store = PGVectorStore.create_sync(
        engine=_engine(database), table_name=TABLE, embedding_service=embeddings
    )
    keyword = BM25Retriever.from_texts(_texts(state))
    keyword.k = K
    both = EnsembleRetriever(
        retrievers=[keyword, store.as_retriever(search_kwargs={"k": K})], weights=[0.5, 0.5]
    )
    return lambda text: [document.page_content for document in both.invoke(text)]


def _engine(database: str) -> PGEngine:
    return PGEngine.from_connection_string(
        url=database.replace("postgresql://", "postgresql+psycopg://")
    )


def _texts(state: Path) -> list[str]:
    lines = (state / "texts.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]
