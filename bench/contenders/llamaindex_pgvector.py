"""LlamaIndex: an `IngestionPipeline` with a document store into PGVectorStore with HNSW.

https://developers.llamaindex.ai/python/examples/ingestion/document_management_pipeline
"""

from __future__ import annotations

from pathlib import Path

import psycopg
from llama_index.core import Document
from llama_index.core.ingestion import DocstoreStrategy, IngestionPipeline
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.storage.docstore import SimpleDocumentStore
from llama_index.embeddings.huggingface import HuggingFaceEmbedding
from llama_index.vector_stores.postgres import PGVectorStore

from bench.contenders.protocol import CHUNK_CHARACTERS, CHUNK_OVERLAP, Job, read_documents

CHARACTERS_PER_TOKEN = 4


class Pipeline:
    """The documented pipeline, persisted to a folder after every run."""

    def __init__(self, job: Job) -> None:
        self._database = job.database
        self._folder = str(job.state / "pipeline_storage")
        self._embeddings = HuggingFaceEmbedding(model_name=str(job.model))
        self._pipeline = IngestionPipeline(
            transformations=[
                SentenceSplitter(
                    chunk_size=CHUNK_CHARACTERS // CHARACTERS_PER_TOKEN,
                    chunk_overlap=CHUNK_OVERLAP // CHARACTERS_PER_TOKEN,
                ),
                self._embeddings,
            ],
            docstore=SimpleDocumentStore(),
            docstore_strategy=DocstoreStrategy.UPSERTS_AND_DELETE,
            vector_store=PGVectorStore(
                connection_string=job.database.replace("postgresql:", "postgresql+psycopg2:"),
                async_connection_string=job.database.replace("postgresql:", "postgresql+asyncpg:"),
                table_name="documents",
                embed_dim=384,
                hnsw_kwargs={"hnsw_m": 16, "hnsw_ef_construction": 64, "hnsw_ef_search": 100},
            ),
        )
        if Path(self._folder).exists():
            self._pipeline.load(self._folder)

    def warm_up(self) -> None:
        """Load the model."""
        self._embeddings.get_text_embedding_batch(["a"] * 32)

    def ingest(self, documents: Path) -> int:
        """Bring the database to the state of the file."""
        self._pipeline.run(
            documents=[
                Document(id_=identity, text=text) for identity, text in read_documents(documents)
            ]
        )
        self._pipeline.persist(self._folder)
        with psycopg.connect(self._database) as connection:
            row = connection.execute("select count(*) from data_documents").fetchone()
        return int(row[0]) if row else 0
