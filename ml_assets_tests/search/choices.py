"""Every index that can be configured."""

from collections.abc import Callable

from ml_assets.search.indexes.chroma.index import ChromaIndex
from ml_assets.search.indexes.faiss.index import FaissIndex
from ml_assets.search.indexes.keyword.index import KeywordIndex
from ml_assets.search.indexes.pgvector.index import PgvectorIndex

AnyIndex = PgvectorIndex | ChromaIndex | FaissIndex | KeywordIndex
OpenIndex = Callable[[], AnyIndex]

CHOICES: dict[str, dict[str, str]] = {
    "pgvector": {},
    "pgvector vector": {"pgvector_type": "vector"},
    "pgvector ivfflat": {"pgvector_index": "ivfflat"},
    "pgvector binary": {"pgvector_index": "binary"},
    "chroma": {},
    "chroma server": {},
    "faiss flat": {"vector_index": "faiss-flat"},
    "faiss ivfpq": {"vector_index": "faiss-ivfpq"},
    "keyword": {},
}
"""Every index that can be configured, by the settings that choose it."""
