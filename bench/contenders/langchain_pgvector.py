"""LangChain: `index()` with a record manager into PGVectorStore, then HNSW, as documented.

https://docs.langchain.com/oss/python/integrations/vectorstores/pgvectorstore
"""

from __future__ import annotations

from pathlib import Path

import psycopg
import sqlalchemy
from langchain_classic.indexes import SQLRecordManager
from langchain_core.documents import Document
from langchain_core.indexing import index
from langchain_huggingface import HuggingFaceEmbeddings
from langchain_postgres import PGEngine, PGVectorStore
from langchain_postgres.v2.indexes import HNSWIndex
from langchain_text_splitters import RecursiveCharacterTextSplitter

from bench.contenders.protocol import CHUNK_CHARACTERS, CHUNK_OVERLAP, Job, read_documents

TABLE = "documents"


class Pipeline:
    """Splitter, embeddings, store and record manager on one database."""

    def __init__(self, job: Job) -> None:
        self._database = job.database
        self._url = job.database.replace("postgresql://", "postgresql+psycopg://")
        self._splitter = RecursiveCharacterTextSplitter(
            chunk_size=CHUNK_CHARACTERS, chunk_overlap=CHUNK_OVERLAP
        )
        self._embeddings = HuggingFaceEmbeddings(model_name=str(job.model))
        self._store: PGVectorStore | None = None

    def warm_up(self) -> None:
        """Load the model."""
        self._embeddings.embed_documents(["a"] * 32)

    def ingest(self, documents: Path) -> int:
        """Bring the database to the state of the file."""
        records = SQLRecordManager(f"pgvector/{TABLE}", db_url=self._url)
        records.create_schema()
        store = self._store = self._store or self._open()
        whole = [
            Document(page_content=text, metadata={"source": identity})
            for identity, text in read_documents(documents)
        ]
        index(
            self._splitter.split_documents(whole),
            records,
            store,
            cleanup="full",
            source_id_key="source",
        )
        if not store.is_valid_index():
            store.apply_vector_index(HNSWIndex())
        with psycopg.connect(self._database) as connection:
            row = connection.execute("select count(*) from documents").fetchone()
        return int(row[0]) if row else 0

    def _open(self) -> PGVectorStore:
        engine = PGEngine.from_connection_string(url=self._url)
        with sqlalchemy.create_engine(self._url).connect() as connection:
            exists = sqlalchemy.inspect(connection).has_table(TABLE)
        if not exists:
            engine.init_vectorstore_table(table_name=TABLE, vector_size=384)
        return PGVectorStore.create_sync(
            engine=engine, table_name=TABLE, embedding_service=self._embeddings
        )
