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
    lines = (state / "texts.jsonl").read_text(encoding="utf-8").splitlines()
    texts: list[str] = [json.loads(line) for line in lines]
    embeddings = HuggingFaceEmbeddings(model_name=str(model))
    engine = PGEngine.from_connection_string(
        url=database.replace("postgresql://", "postgresql+psycopg://")
    )
    vectors = load(state / "vectors")
    engine.init_vectorstore_table(table_name=TABLE, vector_size=vectors.dimension)
    store = PGVectorStore.create_sync(engine=engine, table_name=TABLE, embedding_service=embeddings)
    written = 0
    for block in vectors.blocks():
        for start in range(0, len(block), _BATCH):
            part = block[start : start + _BATCH].tolist()
            store.add_embeddings(texts[written : written + len(part)], part)
            written += len(part)
    store.apply_vector_index(HNSWIndex())
    keyword = BM25Retriever.from_texts(texts)
    keyword.k = K
    both = EnsembleRetriever(
        retrievers=[keyword, store.as_retriever(search_kwargs={"k": K})], weights=[0.5, 0.5]
    )
    yield lambda text: [document.page_content for document in both.invoke(text)]
